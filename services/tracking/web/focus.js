// Keeps the keyboard focus while the page redraws, and moves it where an action removes the focused control.
// Every module that redraws or moves the focus calls it.

// Puts the children in this order and moves only those that are in another place: a moved element loses the focus.
export function placeChildren(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
}

// Replaces only the children that differ: an equal child stays in the document and keeps the focus.
export function replaceChangedChildren(parent, children) {
  children.forEach((child, index) => {
    const current = parent.children[index];
    if (!current) parent.append(child);
    else if (!current.isEqualNode(child)) current.replaceWith(child);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

export const hasFocus = (element) => element.contains(document.activeElement);

// Redraws an element; if the focus was inside and is lost, the control of the same action gets it.
export function redrawWithFocus(element, draw) {
  const action = hasFocus(element) ? document.activeElement.dataset.action : null;
  draw();
  if (action && !hasFocus(element)) focusAction(element, action);
}

// Focuses the control of an action inside an element; its first button where there is no such control.
export function focusAction(element, action = "toggle") {
  const control = element.querySelector(`[data-action="${action}"]:not([disabled])`);
  (control ?? element.querySelector("button"))?.focus();
}

// Focuses a tile, unless the user has moved the focus elsewhere in the meantime.
export function focusTileUnlessMoved(tileElement) {
  if (document.activeElement === document.body || hasFocus(tileElement)) focusAction(tileElement);
}

// Focuses the tile that is now at this index of the list; the heading where there is none.
export function focusTileAt(timelineElement, index, heading) {
  (timelineElement.querySelectorAll(".tile .toggle")[Math.max(0, index)] ?? heading).focus();
}
