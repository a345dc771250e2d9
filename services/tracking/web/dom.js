// Builds elements, icons, buttons, notices and the confirmation dialog, and announces changes to screen readers.
// Every module that draws calls it.

const SVG = "http://www.w3.org/2000/svg";

// Paths in a box of 24 by 24, drawn in the colour of the text.
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
  pending: "M12 4a8 8 0 1 1-8 8",
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

// h("button.quiet", {type: "button", onclick: act}, "Undo") creates an element. A function becomes an event listener,
// any other value an attribute; null, undefined and false are left out, also among the children.
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  const given = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...given);
  return element;
}

// action: the value of data-action, by which focus.js finds the button again after a redraw.
export function button(action, label, onclick, { look = "quiet", symbol, ...attributes } = {}) {
  const all = { type: "button", "data-action": action, onclick, ...attributes };
  return h(`button.${look}`, all, symbol ? icon(symbol) : null, label);
}

export function notice(look, { title, text }, ...more) {
  return h(`section.notice.${look}`, {}, h("h2", {}, title), h("p", {}, text), more);
}

export function errorMessage(text) {
  return h("p.error", { role: "alert" }, icon("alert"), text);
}

// Announces a change that happened without the user's action to a screen reader. Several at once become one text.
let announcements = [];
export function announce(text) {
  announcements.push(text);
  if (announcements.length > 1) return;
  setTimeout(() => {
    document.getElementById("announcements").textContent = announcements.slice(-3).join(" ");
    announcements = [];
  }, 60);
}

// Opens a modal dialog. Returns a promise of whether the user accepts.
export function confirmDialog({ title, text, accept }) {
  return new Promise((resolve) => {
    const close = (accepted) => {
      dialog.close();
      dialog.remove();
      resolve(accepted);
    };
    const cancel = (event) => {
      event.preventDefault();
      close(false);
    };
    const dialog = h(
      "dialog.dialog",
      { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text", oncancel: cancel },
      h("h2", { id: "dialog-title" }, title),
      h("p", { id: "dialog-text" }, text),
      h(
        "div.row",
        {},
        button("cancel", "Cancel", () => close(false)),
        button("accept", accept, () => close(true), { look: "primary" }),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
