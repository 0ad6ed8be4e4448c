// The panel of one service, or of one caller: figures, endpoints, the last hour, who calls it and what it calls.

import { at, isSelecting, keyed, make, say, show } from "./dom.js";
import { History } from "./graph.js";
import { Table } from "./table.js";
import {
  callerName,
  duration,
  endpointState,
  level,
  milliseconds,
  NOTHING,
  number,
  percent,
  rate,
  SIGNS,
} from "./words.js";

/** What `held` and `settled` mean to somebody who reads them here. */
const NOTES = {
  held: (name) =>
    "It has lost all its endpoints at once. Its last ones stay in use until somebody confirms that they are gone: " +
    `POST /allow-empty?service=${encodeURIComponent(name)}`,
  unsettled: () =>
    "Control has started a short while ago, and not all tasks have registered again. The list may not be complete.",
};

/** How many proxies have taken an endpoint out. */
function ejectedBy(endpoint) {
  if (endpoint.seenBy === 0) return { text: "not seen yet", title: "No proxy has reported anything of this endpoint." };
  return {
    text: `${number(endpoint.ejectedBy)} of ${number(endpoint.seenBy)}`,
    level: endpoint.ejectedBy > 0 ? "bad" : null,
  };
}

/** How bad an endpoint's failures are; null: not worth a colour. */
function failing({ requestsPerSecond, failuresPerSecond }) {
  const share = failuresPerSecond / Math.max(requestsPerSecond, failuresPerSecond);
  return share >= 0.05 ? "bad" : share >= 0.01 ? "some" : null; // none of none is NaN, and neither
}

const ENDPOINTS = [
  { head: "address", kind: "name", cell: (one) => one.address, sort: (one) => one.address },
  { head: "zone", kind: "text", cell: (one) => one.zone ?? NOTHING, sort: (one) => one.zone },
  {
    head: "state",
    kind: "text",
    sort: (one) => endpointState(one).word,
    cell: (one) => {
      const state = endpointState(one);
      return { text: state.word, sign: state.sign, level: state.level };
    },
  },
  { head: "weight", kind: "figure", cell: (one) => number(one.weight), sort: (one) => one.weight },
  {
    head: "requests/s",
    kind: "figure",
    cell: (one) => rate(one.requestsPerSecond),
    sort: (one) => one.requestsPerSecond,
  },
  {
    head: "failures/s",
    kind: "figure",
    sort: (one) => one.failuresPerSecond,
    cell: (one) => ({ text: rate(one.failuresPerSecond), level: failing(one) }),
  },
  {
    head: "p50 ms",
    kind: "figure",
    cell: (one) => milliseconds(one.p50Milliseconds),
    sort: (one) => one.p50Milliseconds,
  },
  {
    head: "p99 ms",
    kind: "figure",
    cell: (one) => milliseconds(one.p99Milliseconds),
    sort: (one) => one.p99Milliseconds,
  },
  { head: "in flight", kind: "figure", cell: (one) => number(one.inFlight), sort: (one) => one.inFlight },
  { head: "ejected by", kind: "figure", cell: ejectedBy, sort: (one) => one.ejectedBy },
];

/** The columns of a call, seen from one of its ends. */
function callColumns(head, other, open) {
  return [
    { head, kind: "name", cell: (call) => ({ text: callerName(call[other]), open: () => open(call[other]) }) },
    { head: "requests/s", kind: "figure", cell: (call) => rate(call.requestsPerSecond) },
    { head: "success", kind: "figure", cell: (call) => success(call) },
    { head: "p50 ms", kind: "figure", cell: (call) => milliseconds(call.p50Milliseconds) },
    { head: "p99 ms", kind: "figure", cell: (call) => milliseconds(call.p99Milliseconds) },
  ];
}

/** A share of successes as a cell of a table. */
export function success({ successRatio }) {
  const good = level(successRatio);
  return { text: percent(successRatio), sign: good === "none" ? "" : SIGNS[good], level: good };
}

export class Panel {
  #panel = at("panel");
  #name = null;
  #endpoints = new Table(at("endpoints"), "Endpoints", ENDPOINTS, (one) => one.address);
  #calledBy;
  #calls;
  #history = new History(at("history"));

  /** `open(name)` opens another one's panel; `close()` is called when this one is to be closed. */
  constructor(open, close) {
    this.#calledBy = new Table(at("called-by"), "Called by", callColumns("caller", "from", open), (call) => call.from);
    this.#calls = new Table(at("calls"), "Calls", callColumns("service", "to", open), (call) => call.to);
    at("panel-close").addEventListener("click", close);
  }

  /** Opens it for this name, or closes it (null). `go`: whoever asked for it wants to be there. */
  open(name, go) {
    if (name !== this.#name) this.#history.of(null);
    this.#name = name;
    show(this.#panel, name !== null);
    if (name === null || !go) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    at("panel-title").focus({ preventScroll: true });
    this.#panel.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  }

  /** Shows what the picture says. */
  update(picture) {
    if (this.#name === null || isSelecting(this.#panel)) return;
    const name = this.#name;
    const service = picture.services.find((one) => one.service === name) ?? null;
    const caller = picture.callers.find((one) => one.caller === name) ?? null;
    say(at("panel-title"), callerName(name));
    say(at("panel-aliases"), service === null ? "" : service.aliases.map((alias) => `http://${alias}`).join("  "));
    this.#note(service, caller, name);
    this.#figures(service, caller);
    show(at("panel-service"), service !== null);
    if (service !== null) {
      this.#endpoints.update(service.endpoints);
      show(at("endpoints-empty"), service.endpoints.length === 0);
      say(at("endpoints-empty"), empty(service));
      this.#history.of(name);
    }
    const into = picture.calls.filter((call) => call.to === name);
    const out = picture.calls.filter((call) => call.from === name);
    show(at("panel-from"), service !== null);
    this.#calledBy.update(into);
    show(at("called-by-empty"), into.length === 0);
    say(at("called-by-empty"), "Nobody has called it lately.");
    show(at("panel-to"), caller !== null || out.length > 0);
    this.#calls.update(out);
    show(at("calls-empty"), out.length === 0);
    say(at("calls-empty"), "It has called nothing lately.");
  }

  #note(service, caller, name) {
    const notes = [];
    if (service === null && caller === null) notes.push("It is not in the mesh any more.");
    if (service?.held) notes.push(NOTES.held(name));
    if (service?.settled === false) notes.push(NOTES.unsettled());
    if (name === "")
      notes.push("These proxies were not told whom they serve. Set OTEL_SERVICE_NAME beside the app, or --register.");
    show(at("panel-note"), notes.length > 0);
    say(at("panel-note"), notes.join(" "));
  }

  #figures(service, caller) {
    const figures =
      service === null
        ? []
        : [
            ["requests/s", rate(service.requestsPerSecond)],
            ["success", percent(service.successRatio), level(service.successRatio)],
            ["p50", duration(service.p50Milliseconds)],
            ["p95", duration(service.p95Milliseconds)],
            ["p99", duration(service.p99Milliseconds)],
            ["in flight", number(service.inFlight)],
            ["retries/s", rate(service.retriesPerSecond)],
            ["endpoints from", service.source],
          ];
    if (caller !== null) figures.push(["proxies", number(caller.proxies.length)]);
    keyed(
      at("panel-figures"),
      figures,
      ([head]) => head,
      ([head]) => make("div", {}, make("dt", {}, head), make("dd")),
      (box, [, text, good]) => {
        say(box.lastChild, text);
        if (good) box.lastChild.dataset.level = good;
      },
    );
  }
}

/** Why a service may have no endpoints, and what to do about it. */
function empty(service) {
  switch (service.source) {
    case "registered":
      return `No task has registered for it yet. The proxy beside one does: bowline-proxy run … --register ${service.service}=PORT`;
    case "dns":
      return "DNS has no address for it. Is the name in the mesh file right? See Troubles.";
    case "cloudMap":
      return "Cloud Map has no instance of it.";
    default:
      return "The mesh file gives it none.";
  }
}
