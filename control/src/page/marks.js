// What is written in the map, and what its signs mean.

import { draw, make } from "./dom.js";
import { callerName, callWords, count, level, number, percent, rate, SIGNS, tallyWords } from "./words.js";
import { REST } from "./world.js";

/** The last line of a high node that has so many endpoints drawn. */
export function lastLine(node, dots) {
  if (node.id === REST) return "Enter or click: show all";
  if (node.service === null) return node.caller === null ? "" : count(node.caller.proxies.length, "proxy", "proxies");
  if (node.tally.all === 0) return "no endpoints";
  if (dots < node.tally.all) return `+${number(node.tally.all - dots)}`;
  const out = node.tally.ejected + node.tally.partly;
  if (out > 0) return `${number(out)} ejected`;
  return node.tally.failing > 0 ? `${number(node.tally.failing)} failing` : "";
}

/** All of a node, for a reader and as a tooltip. */
export function nodeWords(node) {
  if (node.id === REST) return `${node.name}: show all`;
  const name = callerName(node.name);
  if (node.service === null) return `${name}, a caller, ${callerLine(node)}`;
  return `${name}: ${callWords(node.rate, node.ratio, undefined, node.p99)}, ${tallyWords(node.tally)}`;
}

/** All that a low node has room for: the rate, or the share of successes where it is not good. */
export function lowLine(node) {
  if (node.rate === 0) return "idle";
  return ["some", "bad"].includes(level(node.ratio)) ? percent(node.ratio) : `${rate(node.rate)}/s`;
}

/** What a caller does. */
export function callerLine(node) {
  return node.rate > 0 ? `calls ${rate(node.rate)}/s · ${percent(node.ratio)}` : "calls nothing lately";
}

/** The signs of the map and the lists, for people who see them for the first time. */
export function legend(parent) {
  const sample = (level, words) => {
    const line = draw(
      "svg",
      { width: 34, height: 10, "aria-hidden": "true" },
      draw(
        "g",
        { class: "call", "data-level": level },
        draw("path", { class: "stroke", d: "M0 5H34", "stroke-width": 3 }),
      ),
    );
    parent.append(make("li", {}, line, ` ${SIGNS[level]} ${words}`));
  };
  sample("good", "99.9 % or more succeed");
  sample("some", "95 % or more, or endpoints are out");
  sample("bad", "fewer succeed");
  sample("none", "no requests lately");
}

const pen = document.createElement("canvas").getContext("2d");
const widths = new Map();

/** As much of a name as fits. */
export function fit(text, width) {
  const key = `${width} ${text}`;
  const known = widths.get(key);
  if (known !== undefined) return known;
  pen.font = "600 13.5px system-ui, sans-serif";
  let cut = [...text.slice(0, 80)];
  while (cut.length > 1 && pen.measureText(`${cut.join("")}…`).width > width) cut = cut.slice(0, -1);
  const fits = text.length <= 80 && pen.measureText(text).width <= width ? text : `${cut.join("")}…`;
  if (widths.size > 5000) widths.clear();
  widths.set(key, fits);
  return fits;
}
