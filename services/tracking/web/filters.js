// The bar of filters above a timeline. timeline.js draws it once and gets each choice.

import { h, icon } from "./dom.js";
import { FILTERS } from "./texts.js";

const STATE_ICONS = { own: "lock", tracked: "people" }; // the icons of the tiles

// onChoose(name, value)
export function filterBar(onChoose) {
  const option = (name, value, label) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: `filter-${name}`,
        value,
        checked: value === "",
        onchange: () => onChoose(name, value),
      }),
      h("span", {}, STATE_ICONS[value] ? icon(STATE_ICONS[value]) : null, label),
    );
  const groups = Object.entries(FILTERS).map(([name, { label, choices }]) =>
    h(
      "fieldset.filter",
      {},
      h("legend.visually-hidden", {}, label),
      Object.entries(choices).map(([value, text]) => option(name, value, text)),
    ),
  );
  return h("div.filters", { role: "group", "aria-label": "Filters" }, groups);
}

// Selects "all" in each filter and focuses the first one.
export function resetFilterBar(bar) {
  for (const input of bar.querySelectorAll("input")) input.checked = input.value === "";
  bar.querySelector("input:checked").focus();
}
