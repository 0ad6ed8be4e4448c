// Making and changing nodes. Text is only ever put in as text, and what has not changed is not touched: a selection, a
// focus and a scroll position outlive any number of updates.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id; the page always has it. */
export const at = (id) => document.getElementById(id);

/** An HTML element. `attributes` with null are left out; `children` are nodes or text. */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...children);
  return node;
}

/** The text of a node that has nothing but text in it. */
export function say(node, text) {
  const held = node.firstChild;
  if (held === null) {
    if (text !== "") node.append(text);
  } else if (held.data !== text) {
    held.data = text;
  }
}

/** An attribute; null takes it away. */
export function set(node, name, value) {
  if (value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

/** Shows a node, or hides it. */
export function show(node, whether) {
  if (node.hidden === whether) node.hidden = !whether;
}

const rows = new WeakMap();

/**
 * Gives `parent` one child for each item, in their order. A child stays with its key: `create(item)` makes it, and
 * `update(node, item)` is called for each one each time. The parent has no other children.
 */
export function keyed(parent, items, keyOf, create, update) {
  const before = rows.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (after.has(key)) continue; // twice the same key is a mistake of whoever told us; the first one counts
    after.set(key, [before.get(key)?.[0] ?? create(item), item]);
  }
  for (const [key, [node]] of before) if (!after.has(key)) node.remove();
  let here = parent.firstChild;
  for (const [node, item] of after.values()) {
    if (node === here) here = here.nextSibling;
    else parent.insertBefore(node, here);
    update(node, item);
  }
  rows.set(parent, after);
}

// Asked for only when it changes: to ask in the middle of an update costs a layout each time.
let selected = null;
document.addEventListener("selectionchange", () => {
  const selection = document.getSelection();
  selected = selection === null || selection.isCollapsed ? null : selection.anchorNode;
});

/** Whether somebody is selecting text in there: it must not change under the mouse. */
export const isSelecting = (node) => selected !== null && node.contains(selected);

/** A text that teaches, with a command in it that can be copied. */
export function teach(node, text, command) {
  const told = `${text}\n${command ?? ""}`;
  if (node.dataset.told === told) return;
  node.dataset.told = told;
  node.replaceChildren(make("p", {}, text));
  if (command) node.append(make("pre", { tabindex: 0 }, make("code", {}, command)));
}
