// Tables that change in place. On a narrow screen each row becomes a card (page.css), which is why every cell knows its
// heading, and why the roles are written out: a table that is laid out otherwise loses them in some browsers.

import { keyed, make, say, set, show } from "./dom.js";

/** Rows that are in the page at a time; the rest is told as a number. */
const MOST = 300;
/** A table that is sorted by a live figure takes up its new order this often, in milliseconds: rows that jump twice a
 * second can't be read. */
const SORT_EVERY = 5000;

/**
 * A table below `parent`. `columns`: { head, cell(item), kind?, sort?(item) }. `cell` gives text, or { text, sign?, level?,
 * title?, open? }; a cell with `open` is a button that calls it. `kind`: `name` heads its row, `figure` stands right,
 * `text` may be long. Columns with `sort` can be sorted by; until then rows stay as they are given.
 */
export class Table {
  #columns;
  #keyOf;
  #parent;
  #body = make("tbody", { role: "rowgroup" });
  #more = make("p", { class: "quiet", hidden: "" });
  #heads = [];
  #by = null;
  #down = false;
  #order = new Map();
  #sorted = -Infinity;
  #items = [];

  constructor(parent, label, columns, keyOf) {
    this.#columns = columns;
    this.#keyOf = keyOf;
    this.#parent = parent;
    const heads = columns.map((column, index) => this.#head(column, index));
    const table = make(
      "table",
      { role: "table", "aria-label": label },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
      this.#body,
    );
    parent.append(make("div", { class: "scroll" }, table), this.#more);
  }

  /** Shows these; none hides the table. */
  update(items) {
    this.#items = items;
    show(this.#parent, items.length > 0);
    const shown = this.#inOrder(items).slice(0, MOST);
    keyed(
      this.#body,
      shown,
      this.#keyOf,
      () => this.#row(),
      (row, item) => this.#fill(row, item),
    );
    show(this.#more, shown.length < items.length);
    if (shown.length < items.length)
      say(this.#more, `${shown.length} of ${items.length} are shown; the filter finds the others.`);
  }

  #head(column, index) {
    const name = column.sort ? make("button", { type: "button", class: "sort" }, column.head) : column.head;
    const head = make("th", { role: "columnheader", scope: "col", class: column.kind }, name);
    if (column.sort) name.addEventListener("click", () => this.#sortBy(index));
    this.#heads.push(head);
    return head;
  }

  /** First falling for figures and rising for names, then the other way round, then as given. */
  #sortBy(index) {
    const falls = this.#columns[index].kind === "figure";
    if (this.#by !== index) [this.#by, this.#down] = [index, falls];
    else if (this.#down === falls) this.#down = !falls;
    else this.#by = null;
    this.#heads.forEach((head, one) =>
      set(head, "aria-sort", one === this.#by ? (this.#down ? "descending" : "ascending") : null),
    );
    this.#sorted = -Infinity;
    this.update(this.#items);
  }

  #inOrder(items) {
    if (this.#by === null) return items;
    const now = performance.now();
    if (now - this.#sorted > SORT_EVERY) {
      const { sort } = this.#columns[this.#by];
      const worth = new Map(items.map((item) => [item, sort(item)]));
      const sign = this.#down ? -1 : 1;
      const sorted = [...items].sort((a, b) => sign * compare(worth.get(a), worth.get(b)));
      this.#order = new Map(sorted.map((item, place) => [this.#keyOf(item), place]));
      this.#sorted = now;
    }
    const place = (item) => this.#order.get(this.#keyOf(item)) ?? Infinity;
    return [...items].sort((a, b) => compare(place(a), place(b)));
  }

  #row() {
    return make(
      "tr",
      { role: "row" },
      ...this.#columns.map((column) => {
        const name = column.kind === "name";
        const roles = name ? { role: "rowheader", scope: "row" } : { role: "cell" };
        const cell = make(name ? "th" : "td", { ...roles, class: column.kind, "data-head": column.head });
        cell.append(make("span", { class: "sign", "aria-hidden": "true" }), make("span", { class: "said" }));
        return cell;
      }),
    );
  }

  #fill(row, item) {
    this.#columns.forEach((column, index) => {
      const cell = row.children[index];
      const told = column.cell(item);
      const {
        text,
        sign = "",
        level = null,
        title = null,
        open = null,
      } = typeof told === "string" ? { text: told } : told;
      set(cell, "data-level", level);
      set(cell, "title", title);
      say(cell.children[0], sign === "" ? "" : `${sign}\u00a0`);
      if (open !== null && cell.children[1].localName !== "button") {
        cell.children[1].replaceWith(make("button", { type: "button", class: "said open" }));
        cell.children[1].addEventListener("click", () => cell.children[1].open());
      }
      if (open !== null) cell.children[1].open = open;
      say(cell.children[1], text);
    });
  }
}

/** Nothing comes before everything, figures by size, names as people sort them. */
function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}
