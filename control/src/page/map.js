// The live map: the nodes and lines that layout.js places, drawn as SVG and changed in place. One node is in the tab
// order; arrow keys go from there to the next one.

import { draw, keyed, say, set } from "./dom.js";
import { layout } from "./layout.js";
import { callerLine, fit, lastLine, lowLine, nodeWords } from "./marks.js";
import { callerName, callWords, duration, endpointState, level, percent, rate, SIGNS } from "./words.js";
import { REST } from "./world.js";

const WIDTH = 196;
const TALL = 70;
const LOW = 26;
const SLIM = 164;
/** With more nodes than this, each has one line. */
const CROWD = 18;
/** Lines into one node that have room for words. */
const WORDED = 5;
const MARGIN = 14;
const WORDS = 112;
/** Room for the bend of a line. */
const BEND = 64;
const SLIM_BEND = 50;
/** Endpoints that are drawn one by one. */
const DOTS = 14;
const SHAPES = {
  active: "M0 4a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
  failing: "M4 0L8.500 8H-.5Z",
  partly: "M4 0L8.500 8H-.5Z",
  ejected: "M.5 .5L7.500 7.500M7.500 .5L.5 7.500",
  draining: "M.7 4a3.300 3.300 0 1 0 6.600 0a3.300 3.300 0 1 0 -6.600 0",
};

/** The map below `parent`. `open(node)` is called for a node that is chosen. */
export class MeshMap {
  #parent;
  #open;
  #svg = draw("svg", { role: "group", "aria-label": "Map of who calls whom", "aria-describedby": "map-help" });
  #lines = draw("g");
  #nodes = draw("g");
  #shape = "";
  #placed = null;
  #at = null; // the node in the tab order
  #lit = null; // the node or line that is looked at
  #chosen = null;
  #drawn = { nodes: [], edges: [] };

  constructor(parent, open) {
    this.#parent = parent;
    this.#open = open;
    this.#svg.append(this.#lines, this.#nodes);
    parent.append(this.#svg);
    this.#svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#redo()).observe(parent);
  }

  /** Whether somebody looks at a node: then nothing should move. */
  get isHeld() {
    return this.#lit !== null || this.#svg.contains(document.activeElement);
  }

  /** Draws a world: what {@link World.look} returned, and the id of the node whose panel is open. */
  update(world, chosen) {
    this.#chosen = chosen;
    this.#drawn = world;
    this.#redo();
  }

  #redo() {
    const { nodes, edges } = this.#drawn;
    const room = this.#parent.clientWidth;
    if (room === 0) return; // the list is shown instead
    this.#place(nodes, edges, room);
    if (!this.#placed.nodes.has(this.#at)) this.#at = nodes[0]?.id ?? null;
    if (this.#lit !== null && !this.#placed.nodes.has(this.#lit) && !this.#placed.edges.has(this.#lit))
      this.#lit = null;
    keyed(
      this.#lines,
      edges,
      (edge) => edge.key,
      (edge) => this.#newLine(edge),
      (group, edge) => this.#line(group, edge),
    );
    keyed(
      this.#nodes,
      nodes,
      (node) => node.id,
      (node) => this.#newNode(node),
      (group, node) => this.#node(group, node),
    );
    this.#light();
  }

  /** New places only when there are other nodes or lines, or another width. */
  #place(nodes, edges, room) {
    const shape = JSON.stringify([room, nodes.map((node) => node.id), edges.map((edge) => edge.key)]);
    if (shape === this.#shape) return;
    this.#shape = shape;
    const into = new Map();
    for (const edge of edges) into.set(edge.to, (into.get(edge.to) ?? 0) + 1);
    const low = nodes.length > CROWD;
    const boxes = (width) =>
      nodes.map((node) => {
        const lines = into.get(node.id) ?? 0;
        const height = low
          ? Math.max(LOW, 7 * lines)
          : lines <= WORDED
            ? Math.max(TALL, 42 * lines)
            : Math.max(TALL, 9 * lines);
        return { id: node.id, width, height, right: node.service !== null || node.id === REST };
      });
    const words = low ? 14 : WORDS;
    const gaps = { layer: words + (low ? SLIM_BEND : BEND), node: low ? 7 : 20, lane: low ? 5 : 20, words };
    let placed = layout(boxes(low ? SLIM : WIDTH), edges, gaps);
    // Lines that go back need room on both sides.
    const margin = [...placed.edges.values()].some((edge) => edge.back) ? 2 * MARGIN : MARGIN;
    // What is left of the width goes into names first, and between the layers then.
    let spare = room - 2 * margin - placed.width;
    const wider = placed.layers * (WIDTH - SLIM);
    const wide = !low || spare >= wider;
    if (low && wide) spare -= wider;
    const gap = placed.layers > 1 ? Math.min(220, Math.floor(Math.max(0, spare) / (placed.layers - 1))) : 0;
    if (gap > 0 || (low && wide))
      placed = layout(boxes(wide ? WIDTH : SLIM), edges, { ...gaps, layer: gaps.layer + gap });
    this.#placed = { ...placed, into, low };
    const width = Math.max(room, placed.width + 2 * margin);
    const left = Math.max(margin, Math.floor((room - placed.width) / 2));
    const height = placed.height + 2 * MARGIN + 6;
    set(this.#svg, "width", width);
    set(this.#svg, "height", height);
    set(this.#svg, "viewBox", `0 0 ${width} ${height}`);
    for (const group of [this.#lines, this.#nodes]) set(group, "transform", `translate(${left} ${MARGIN})`);
  }

  #newLine(edge) {
    const group = draw(
      "g",
      { class: "call" },
      draw("title"),
      draw("path", { class: "touch" }),
      draw("path", { class: "stroke" }),
      draw("path", { class: "tip" }),
      draw("text", { class: "above", "text-anchor": "end" }),
      draw("text", { class: "below", "text-anchor": "end" }),
    );
    group.addEventListener("pointerenter", () => this.#look(edge.key));
    group.addEventListener("pointerleave", () => this.#look(null));
    return group;
  }

  #line(group, edge) {
    const [title, touch, stroke, tip, above, below] = group.children;
    const { path, tip: end } = this.#placed.edges.get(edge.key);
    const good = edge.rate > 0 ? level(edge.ratio) : "none";
    const busy = (this.#placed.low ? 0.9 : 1.7) * Math.log10(1 + edge.rate);
    const width = edge.rate > 0 ? Math.min(8, 1.3 + busy) : 1.2;
    set(group, "data-level", good);
    set(touch, "d", path);
    set(stroke, "d", path);
    set(stroke, "stroke-width", width.toFixed(1));
    const size = this.#placed.low ? 4 : 5 + width / 2;
    set(tip, "d", `M${end.x} ${end.y}l${-1.6 * size} ${-size}v${2 * size}z`);
    const crowded = this.#placed.low || (this.#placed.into.get(edge.to) ?? 0) > WORDED;
    set(group, "data-words", crowded ? "asked" : "always");
    for (const [text, dy] of [
      [above, -5 - width / 2],
      [below, 12.5 + width / 2],
    ]) {
      set(text, "x", end.x - 16);
      set(text, "y", (end.y + dy).toFixed(1));
    }
    say(above, `${rate(edge.rate)} req/s`);
    say(below, edge.rate > 0 ? `${percent(edge.ratio)} · p99 ${duration(edge.p99)}` : "nothing lately");
    say(
      title,
      `${callerName(edge.from)} → ${this.#name(edge.to)}: ${callWords(edge.rate, edge.ratio, edge.p50, edge.p99)}`,
    );
  }

  #name(id) {
    return this.#drawn.nodes.find((node) => node.id === id)?.name ?? id;
  }

  #newNode(node) {
    const group = draw(
      "g",
      { class: "node", role: "button", tabindex: -1 },
      draw("title"),
      draw("rect", { class: "box", rx: 7 }),
      draw("rect", { class: "edge", width: 4, rx: 2, x: 0 }),
      draw("text", { class: "sign" }),
      draw("text", { class: "title" }),
      draw("text", { class: "line" }),
      draw("g", { class: "dots" }),
      draw("text", { class: "line last" }),
    );
    group.addEventListener("click", () => this.#choose(node.id));
    group.addEventListener("pointerenter", () => this.#look(node.id));
    group.addEventListener("pointerleave", () => this.#look(null));
    group.addEventListener("focus", () => {
      this.#at = node.id;
      this.#look(node.id);
      this.#redo();
    });
    group.addEventListener("blur", () => this.#look(null));
    return group;
  }

  #node(group, node) {
    const [title, box, edge, sign, name, line, dots, last] = group.children;
    const spot = this.#placed.nodes.get(node.id);
    const { low } = this.#placed;
    set(group, "transform", `translate(${spot.x} ${spot.y})`);
    set(group, "data-level", node.level);
    set(group, "data-kind", node.id === REST ? "rest" : node.service === null ? "caller" : "service");
    set(group, "tabindex", node.id === this.#at ? 0 : -1);
    set(group, "aria-pressed", String(node.id === this.#chosen));
    for (const rect of [box, edge]) set(rect, "height", spot.height);
    set(box, "width", spot.width);
    // A node may be higher than its words: they stand in its middle.
    const top = Math.floor((spot.height - (low ? LOW : TALL)) / 2);
    for (const text of [sign, name]) set(text, "y", top + (low ? 17.5 : 22));
    set(line, "y", top + (low ? 17.5 : 41));
    set(sign, "x", low ? 10 : 14);
    set(name, "x", low ? 25 : 31);
    set(line, "x", low ? spot.width - 9 : 14);
    set(line, "text-anchor", low ? "end" : null);
    const caller = node.service === null;
    say(sign, node.id === REST ? "…" : caller ? "◇" : SIGNS[node.level]);
    const words = low
      ? lowLine(node)
      : caller && node.id !== REST
        ? callerLine(node)
        : node.rate > 0
          ? `${rate(node.rate)}/s · ${percent(node.ratio)} · p99 ${duration(node.p99)}`
          : "no requests lately";
    say(line, words);
    // In steps, so that a name is not cut at another letter with each figure.
    const taken = low ? 40 + 6.3 * Math.max(5, words.length) : 42;
    say(name, fit(callerName(node.name), spot.width - taken));
    set(dots, "transform", `translate(14 ${top + 52})`);
    const shown = low ? [] : (node.service?.endpoints ?? []).slice(0, DOTS);
    keyed(
      dots,
      shown,
      (one) => one.address,
      () => draw("path"),
      (path, one) => {
        const { kind } = endpointState(one);
        set(path, "transform", `translate(${12 * shown.indexOf(one)} 0)`);
        set(path, "d", SHAPES[kind]);
        set(path, "data-state", kind);
      },
    );
    set(last, "x", 14 + 12 * shown.length + (shown.length > 0 ? 3 : 0));
    set(last, "y", top + 60);
    say(last, low ? "" : lastLine(node, shown.length));
    const label = nodeWords(node);
    say(title, label);
    // A label that changes under a reader's cursor is read again and again.
    if (document.activeElement !== group) set(group, "aria-label", label);
  }

  #choose(id) {
    const node = this.#drawn.nodes.find((one) => one.id === id);
    if (node) this.#open(node);
  }

  #look(id) {
    this.#lit = id;
    this.#light();
  }

  /** What hangs together with the node or line that is looked at stands out. */
  #light() {
    const { edges } = this.#drawn;
    const id = this.#lit;
    set(this.#svg, "class", id === null ? null : "looking");
    const touches = (edge) => edge.key === id || edge.from === id || edge.to === id;
    const near = new Set(edges.filter(touches).flatMap((edge) => [edge.from, edge.to]));
    near.add(id);
    [...this.#lines.children].forEach((group, index) =>
      set(group, "data-lit", id !== null && touches(edges[index]) ? "" : null),
    );
    [...this.#nodes.children].forEach((group, index) =>
      set(group, "data-lit", near.has(this.#drawn.nodes[index].id) ? "" : null),
    );
  }

  #key(event) {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#choose(this.#at);
      return;
    }
    const next = this.#next(event.key);
    if (next === null) return;
    event.preventDefault();
    const index = this.#drawn.nodes.findIndex((node) => node.id === next);
    this.#nodes.children[index]?.focus();
  }

  /** The node that an arrow key leads to: up and down in the layer, left and right to the nearest one. */
  #next(key) {
    const here = this.#placed?.nodes.get(this.#at);
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (here === undefined || step === undefined) return null;
    const [across, down] = step;
    const joined = new Set(
      this.#drawn.edges.flatMap((edge) => (edge.from === here.id ? [edge.to] : edge.to === here.id ? [edge.from] : [])),
    );
    let best = null;
    for (const [id, spot] of this.#placed.nodes) {
      if (id === here.id) continue;
      const way =
        across === 0 ? (spot.layer === here.layer ? (spot.y - here.y) * down : -1) : (spot.layer - here.layer) * across;
      if (way <= 0) continue;
      const far = across === 0 ? way : way * 1e6 + (joined.has(id) ? 0 : 1e5) + Math.abs(spot.y - here.y);
      if (best === null || far < best.far) best = { id, far };
    }
    return best?.id ?? null;
  }
}
