// The part of a tile that expands: when, who, why it is here, the text, and further buttons.
// tile.js calls tileDetails at each redraw of an expanded tile.

import { formatAllDayRange, formatFull, formatFullRange, formatShort } from "./dates.js";
import { button, errorMessage, h, icon } from "./dom.js";
import { htmlToText } from "./mail-text.js";
import { recordName, ROLES, subjectOf, trackerName } from "./texts.js";

const PEOPLE_SHOWN = 10; // of each role at first: an e-mail may have a thousand recipients

export function tileDetails(tile) {
  const rows = [["When", when(tile.activity)]];
  for (const [role, label] of Object.entries(ROLES)) {
    const found = people(tile, role);
    if (found.length) rows.push([label, found]);
  }
  if (tile.state === "tracked") rows.push(...trackers(tile), ...otherRecords(tile));
  const list = h("dl", {}, rows.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
  const buttons = tile.state === "tracked" ? trackedButtons(tile) : suggestionButtons(tile);
  return [list, reasons(tile.entry.data), text(tile), h("div.row", {}, buttons)];
}

function when({ start, end, all_day, at }) {
  if (!start) return formatFull(at);
  if (all_day) return formatAllDayRange(start, end ?? start);
  return end ? formatFullRange(start, end) : formatFull(start);
}

function people(tile, role) {
  const all = tile.activity.participants
    .filter((person) => person.role === role)
    .map(({ name, address }) => h("span.person", {}, name ? [h("b", {}, name), ` ${address}`] : address));
  if (all.length <= PEOPLE_SHOWN + 1) return all;
  const ontoggle = (event) => tile.expandedRoles[event.target.open ? "add" : "delete"](role);
  const summary = h("summary", { "data-action": `more-${role}` }, `and ${all.length - PEOPLE_SHOWN} more`);
  const rest = h("details", { open: tile.expandedRoles.has(role), ontoggle }, summary, all.slice(PEOPLE_SHOWN));
  return [...all.slice(0, PEOPLE_SHOWN), rest];
}

function trackers(tile) {
  const name = (regarding) => (regarding.by === tile.context.user.oid ? "You" : trackerName(regarding));
  const all = tile.regardingHere.map((regarding) =>
    h("span.person", {}, h("b", {}, name(regarding)), ` ${formatShort(regarding.at)}`),
  );
  return all.length > 1 ? [["Tracked by", all]] : [];
}

function otherRecords(tile) {
  const { type, id } = tile.context.key;
  const others = tile.entry.data.regarding.filter((regarding) => regarding.type !== type || regarding.id !== id);
  const nameOf = (regarding) => (regarding.deleted ? "a deleted record" : recordName(regarding));
  const names = new Map(others.map((regarding) => [`${regarding.type}/${regarding.id}`, nameOf(regarding)]));
  return names.size ? [["Also on", [...names.values()].join(", ")]] : [];
}

function reasons({ why = [], more_reasons: more }) {
  if (!why.length) return "";
  const items = why.map((reason) => h("li", {}, reason));
  if (more) items.push(h("li", {}, `and ${more} more`));
  return h("div.reasons", {}, h("h4", {}, "Why it is here"), h("ul", {}, items));
}

function text({ content, activity }) {
  if (!content) return "";
  if (content.loading) return h("p.text.loading", { role: "status" }, "Loading the text…");
  if (content.error) return errorMessage(content.error);
  const plain = (content.html ? htmlToText(content.text) : content.text).trim();
  const cut = content.cut ? h("p.cut", {}, "The text is longer; it is cut here.") : null;
  return h(
    "div.text",
    { tabindex: "0", role: "region", "data-action": "read", "aria-label": `Text of ${subjectOf(activity)}` },
    plain || "(no text)",
    cut,
  );
}

function suggestionButtons(tile) {
  const { content } = tile;
  const isShown = Boolean(content && !content.error);
  const label = isShown ? "Hide text" : content?.error ? "Try again" : "Show text";
  const buttons = [
    button("text", label, () => (isShown ? tile.hideText() : tile.showText()), {
      "aria-expanded": String(isShown),
      title: "Loaded from your mailbox, only for you, and not stored",
    }),
  ];
  const link = tile.entry.data.web_link;
  if (/^https:\/\//.test(link ?? "")) buttons.push(outlookLink(link));
  return buttons;
}

function outlookLink(link) {
  const attributes = { href: link, "data-action": "open", target: "_blank", rel: "noopener noreferrer" };
  return h("a.quiet", attributes, icon("open"), "Open in Outlook", h("span.visually-hidden", {}, " (new tab)"));
}

function trackedButtons(tile) {
  const { user } = tile.context;
  const buttons = tile.content?.error ? [button("text", "Try again", () => tile.showText())] : [];
  for (const regarding of tile.regardingHere) {
    const isOwn = regarding.by === user.oid;
    if (isOwn || user.admin) buttons.push(untrackButton(tile, regarding, isOwn));
  }
  return buttons;
}

function untrackButton(tile, regarding, isOwn) {
  const label = isOwn ? "Untrack" : `Remove what ${trackerName(regarding)} tracked`;
  return button(`untrack-${regarding.by}`, label, () => tile.actions.untrack(tile, regarding, isOwn), {
    disabled: tile.busy,
    title: isOwn ? null : "Administrators can remove anyone's entry from this record",
    "aria-label": `${label}: ${subjectOf(tile.activity)}`,
  });
}
