// The lists: services (the map as a table), proxies, failures, troubles.

import { at, isSelecting, keyed, make, say, set, show, teach } from "./dom.js";
import { success } from "./panel.js";
import { Table } from "./table.js";
import {
  callerName,
  clock,
  count,
  milliseconds,
  NOTHING,
  number,
  percent,
  rate,
  reasonWords,
  SIGNS,
  span,
  tallyWords,
} from "./words.js";
import { REST } from "./world.js";

/** The services as a table; `open(node)` is called for one that is chosen. */
export class ServiceList {
  #table;
  #callers = new Map();

  constructor(open) {
    this.#table = new Table(
      at("list"),
      "Services and callers",
      [
        {
          head: "name",
          kind: "name",
          cell: (node) => ({ text: callerName(node.name), open: () => open(node) }),
          sort: (node) => node.name,
        },
        {
          head: "state",
          kind: "text",
          sort: (node) => (node.service === null ? "caller" : tallyWords(node.tally)),
          cell: (node) =>
            node.service === null
              ? { text: "caller", sign: "◇" }
              : { text: tallyWords(node.tally), sign: SIGNS[node.level], level: node.level },
        },
        { head: "called by", kind: "text", cell: (node) => this.#calledBy(node) },
        { head: "requests/s", kind: "figure", cell: (node) => rate(node.rate), sort: (node) => node.rate },
        {
          head: "success",
          kind: "figure",
          cell: (node) => success({ successRatio: node.ratio }),
          sort: (node) => node.ratio,
        },
        { head: "p99 ms", kind: "figure", cell: (node) => milliseconds(node.p99), sort: (node) => node.p99 },
      ],
      (node) => node.id,
    );
  }

  /** Shows a world as {@link World.look} gives it. */
  update(world) {
    if (isSelecting(at("list"))) return;
    this.#callers = Map.groupBy(world.edges, (edge) => edge.to);
    this.#table.update(world.nodes.filter((node) => node.id !== REST));
  }

  #calledBy(node) {
    const names = (this.#callers.get(node.id) ?? []).map((edge) => callerName(edge.from));
    if (names.length <= 3) return names.length === 0 ? NOTHING : names.join(", ");
    return { text: `${names.slice(0, 2).join(", ")} and ${names.length - 2} more`, title: names.join(", ") };
  }
}

/** How far a proxy is behind. */
function lag(proxy) {
  return proxy.behind > 0
    ? { text: `${count(proxy.behind, "revision", "revisions")} behind`, sign: "▲", level: "some" }
    : { text: "up to date", sign: "●", level: "good" };
}

function refusals(proxy) {
  if (proxy.nacks === 0) return "none";
  return { text: `${number(proxy.nacks)}${proxy.lastNack ? `: ${proxy.lastNack}` : ""}`, sign: "✕", level: "bad" };
}

export class Proxies {
  #table = new Table(
    at("proxies-table"),
    "Proxies",
    [
      { head: "proxy", kind: "name", cell: (proxy) => proxy.id, sort: (proxy) => proxy.id },
      { head: "caller", kind: "text", cell: (proxy) => callerName(proxy.caller ?? ""), sort: (proxy) => proxy.caller },
      {
        head: "kind",
        kind: "text",
        cell: (proxy) => `${proxy.kind} ${proxy.version}`,
        sort: (proxy) => `${proxy.kind} ${proxy.version}`,
      },
      { head: "zone", kind: "text", cell: (proxy) => proxy.zone ?? NOTHING, sort: (proxy) => proxy.zone },
      { head: "configuration", kind: "text", cell: lag, sort: (proxy) => proxy.behind },
      {
        head: "acknowledged, ms",
        kind: "figure",
        cell: (proxy) => milliseconds(proxy.acknowledgedAfterMilliseconds),
        sort: (proxy) => proxy.acknowledgedAfterMilliseconds,
      },
      {
        head: "last report",
        kind: "figure",
        sort: (proxy) => proxy.reportedSecondsAgo ?? null,
        cell: (proxy) =>
          (proxy.reportedSecondsAgo ?? null) === null ? "none yet" : `${span(proxy.reportedSecondsAgo)} ago`,
      },
      {
        head: "connected",
        kind: "figure",
        cell: (proxy) => ({ text: span(proxy.connectedSeconds), title: `from ${proxy.peer}` }),
        sort: (proxy) => proxy.connectedSeconds,
      },
      { head: "refused pushes", kind: "text", cell: refusals, sort: (proxy) => proxy.nacks },
    ],
    (proxy) => proxy.id,
  );
  #filter = at("proxies-filter");

  /** `redraw()` is called when somebody filters. */
  constructor(redraw) {
    this.#filter.addEventListener("input", redraw);
  }

  update(picture) {
    if (isSelecting(at("proxies"))) return;
    const all = picture.proxies;
    const wanted = this.#filter.value.trim().toLowerCase();
    const fits = (proxy) =>
      [proxy.id, proxy.caller, proxy.zone, proxy.version, proxy.kind].some((text) =>
        (text ?? "").toLowerCase().includes(wanted),
      );
    // Those that refuse something first; else by name, so that rows stay where they are.
    const shown = all
      .filter((proxy) => wanted === "" || fits(proxy))
      .sort((a, b) => (b.nacks > 0) - (a.nacks > 0) || (a.id < b.id ? -1 : 1));
    this.#table.update(shown);
    say(at("proxies-count"), wanted === "" ? "" : `${number(shown.length)} of ${number(all.length)}`);
    show(this.#filter, all.length > 0);
    show(at("proxies-empty"), all.length === 0);
    if (all.length > 0) return;
    // The port is control's default: this page doesn't know on which one it serves proxies.
    teach(
      at("proxies-empty"),
      "No proxy is connected. Start one beside an app:",
      `bowline-proxy run --control http://${location.hostname || "127.0.0.1"}:18000 --namespace ${picture.namespace || "NAMESPACE"}`,
    );
  }
}

export class Failures {
  #list = at("failures-list");
  #service = at("failures-service");
  #told = at("failures-told");

  /** `redraw()` is called when somebody filters. */
  constructor(redraw) {
    for (const control of [this.#service, this.#told]) control.addEventListener("change", redraw);
  }

  update(picture) {
    this.#options(picture);
    if (isSelecting(this.#list)) return;
    const [service, told] = [this.#service.value, this.#told.checked];
    const shown = withKeys(picture.failures).filter(
      ([, failure]) => (service === "" || failure.service === service) && (failure.told || !told),
    );
    keyed(
      this.#list,
      shown,
      ([key]) => key,
      () => this.#row(),
      (row, [, failure]) => this.#fill(row, failure),
    );
    show(this.#list, shown.length > 0);
    show(at("failures-empty"), shown.length === 0);
    say(
      at("failures-empty"),
      picture.failures.length > 0
        ? "None of the recent failures is of this kind."
        : picture.proxies.length === 0
          ? "Proxies report failures with their reasons; none is connected yet."
          : "No failure has been reported. This is where the next one is, with its reason.",
    );
  }

  #options(picture) {
    if (document.activeElement === this.#service) return; // an open menu must not change
    const chosen = this.#service.value;
    const names = new Set(picture.failures.map((failure) => failure.service));
    if (chosen !== "") names.add(chosen);
    const options = ["", ...[...names].filter((name) => name !== "").sort()];
    if (
      this.#service.length === options.length &&
      options.every((name, index) => this.#service.options[index].value === name)
    )
      return;
    this.#service.replaceChildren(
      ...options.map((name) => make("option", { value: name }, name === "" ? "all services" : name)),
    );
    this.#service.value = chosen;
  }

  #row() {
    return make(
      "li",
      {},
      make(
        "p",
        { class: "head" },
        make("span", { class: "sign", "aria-hidden": "true" }),
        make("strong"),
        make("span", { class: "times" }),
        make("time", { class: "quiet" }),
      ),
      make("p", { class: "way name" }),
      make("p", { class: "detail name" }),
      make("p", { class: "quiet end" }),
    );
  }

  #fill(row, failure) {
    const [head, way, detail, end] = row.children;
    const [sign, reason, times, when] = head.children;
    set(row, "data-level", failure.told ? "bad" : "some");
    say(sign, failure.told ? "✕ " : "▲ ");
    say(reason, reasonWords(failure.reason));
    say(times, failure.times > 1 ? ` ${number(failure.times)} times` : "");
    say(when, clock(failure.at));
    const endpoint = failure.endpoint ? ` at ${failure.endpoint}` : "";
    say(way, `${callerName(failure.caller ?? "")} → ${failure.service || "no service of the mesh"}${endpoint}`);
    say(detail, failure.detail ?? "");
    say(end, `${outcome(failure)} · proxy ${failure.proxy}`);
  }
}

/** What became of the request, if there was one. */
function outcome(failure) {
  if (failure.told) return "The app got this failure";
  return failure.reason === "ejected" ? "Others get its requests" : "Tried again: the app saw nothing of it";
}

/**
 * Failures newest first, each with a key that stays its own while others come: equal ones are counted from the oldest.
 */
function withKeys(failures) {
  const counts = new Map();
  return [...failures]
    .sort((a, b) => a.at - b.at)
    .map((failure) => {
      const base = JSON.stringify([
        failure.proxy,
        failure.service,
        failure.endpoint,
        failure.reason,
        failure.detail,
        failure.told,
      ]);
      const before = counts.get(base) ?? 0;
      counts.set(base, before + 1);
      return [`${base}${before}`, failure];
    })
    .reverse();
}

/** The troubles of control's sources. */
export function troubles(picture) {
  const section = at("troubles");
  show(section, picture.troubles.length > 0);
  if (isSelecting(section)) return;
  keyed(
    at("troubles-list"),
    picture.troubles,
    (one) => JSON.stringify([one.source, one.service]),
    () =>
      make(
        "li",
        {},
        make("span", { class: "sign", "aria-hidden": "true" }, "▲ "),
        make("strong"),
        make("span", { class: "name" }),
        make("span", { class: "quiet" }),
      ),
    (item, one) => {
      const [, what, why, since] = item.children;
      say(what, one.service ? `${one.source}, ${one.service}: ` : `${one.source}: `);
      say(why, one.why);
      say(since, ` · for ${span(one.seconds)}; what it found last stays in use`);
    },
  );
}

/** The figures in the header. */
export function figures(picture, sums) {
  const tell = (id, text, good = null) => {
    say(at(id), text);
    set(at(id), "data-level", good);
  };
  const out = sums.endpoints.ejected + sums.endpoints.partly;
  say(at("namespace"), picture.namespace ?? "");
  tell("figure-rate", rate(sums.requestsPerSecond));
  tell(
    "figure-success",
    percent(sums.successRatio),
    sums.successRatio === null ? null : success({ successRatio: sums.successRatio }).level,
  );
  tell("figure-services", number(picture.services.length));
  tell(
    "figure-endpoints",
    `${number(sums.endpoints.all)}${out > 0 ? `, ✕ ${number(out)} ejected` : ""}`,
    out > 0 ? "bad" : null,
  );
  tell(
    "figure-proxies",
    `${number(picture.proxies.length)}${sums.behind > 0 ? `, ▲ ${number(sums.behind)} behind` : ""}`,
    sums.behind > 0 ? "some" : null,
  );
  tell(
    "figure-troubles",
    picture.troubles.length > 0 ? `▲ ${number(picture.troubles.length)}` : "none",
    picture.troubles.length > 0 ? "some" : null,
  );
  tell("figure-revision", number(picture.revision ?? 0));
}
