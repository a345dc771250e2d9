// Elements, symbols, and words for screen readers.

const SVG = "http://www.w3.org/2000/svg";

// Paths in a box of 24 by 24, drawn with the text's colour.
const ICONS = {
  email: "M3.5 6.5h17v11h-17z M4 7l8 6 8-6",
  meeting: "M4 6h16v14H4z M4 10.5h16 M8.5 3.5V8 M15.5 3.5V8 M8 14.5h3 M13 14.5h3",
  lock: "M6.5 11h11v8.5h-11z M8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  people: "M9 11.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4z M3 19c.4-3.2 2.8-5 6-5s5.600 1.800 6 5 M16 11.300a2.800 2.800 0 1 0-.6-5.500 M17.500 14.200c2 .5 3.200 2.200 3.500 4.800",
  check: "M5 12.500l4.500 4.500L19 7.500",
  alert: "M12 4l9 16H3z M12 10v4.500 M12 17.200v.3",
  chevron: "M8 10l4 4 4-4",
  back: "M14 6l-6 6 6 6",
  search: "M10.500 17a6.500 6.500 0 1 0 0-13 6.500 6.500 0 0 0 0 13z M15.500 15.500L20.500 20.500",
  open: "M13 5h6v6 M19 5l-8.500 8.500 M16.500 14v5h-12V7H10",
  link: "M10 14l4-4 M8.500 11l-2 2a3.200 3.200 0 0 0 4.500 4.500l2-2 M15.500 13l2-2A3.200 3.200 0 0 0 13 6.500l-2 2",
  wait: "M12 4a8 8 0 1 1-8 8",
};

export function icon(name, label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("focusable", "false");
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  } else {
    svg.setAttribute("aria-hidden", "true");
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// h("button.quiet", {type: "button", onclick: act}, "Undo"): what is not a function becomes an attribute; null children are left out.
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function button(act, label, does, more = {}) {
  const { look = "quiet", symbol, ...attributes } = more;
  return h(`button.${look}`, { type: "button", "data-act": act, onclick: does, ...attributes }, symbol ? icon(symbol) : null, label);
}

// What changed without anybody's doing, for who does not see it.
let waiting = [];
export function announce(text) {
  waiting.push(text);
  if (waiting.length > 1) return;
  setTimeout(() => {
    document.getElementById("said").textContent = waiting.slice(-3).join(" ");
    waiting = [];
  }, 60);
}

// Puts children in this order, and moves only what is not in its place: a moved element loses the focus.
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, place) => {
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
}

// Puts these children there, and touches only what looks different: what stays keeps the focus.
export function patch(parent, children) {
  children.forEach((child, place) => {
    const there = parent.children[place];
    if (!there) parent.append(child);
    else if (!there.isEqualNode(child)) there.replaceWith(child);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

export function notice(look, { title, text }, ...more) {
  return h(`section.notice.${look}`, {}, h("h2", {}, title), h("p", {}, text), more);
}

// A question that must be answered first; true where the answer is yes.
export function confirm(title, text, yes) {
  return new Promise((resolve) => {
    const answer = (value) => {
      dialog.close();
      dialog.remove();
      resolve(value);
    };
    const dialog = h(
      "dialog.ask",
      { "aria-labelledby": "ask-title", "aria-describedby": "ask-text", oncancel: (event) => { event.preventDefault(); answer(false); } },
      h("h2", { id: "ask-title" }, title),
      h("p", { id: "ask-text" }, text),
      h("div.row", {}, button("no", "Cancel", () => answer(false)), button("yes", yes, () => answer(true), { look: "primary" })),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
