// The picture as the map and the lists need it: who there is, who calls whom, and what of it is shown. Pure.

import { callerName, serviceLevel, tally } from "./words.js";

/** With more services and callers than this, the map shows the most important ones and the rest as one. */
const MANY = 80;
/** So many of them are shown then. */
const SHOWN = 24;
/** With those in trouble, so many at most. */
const MOST = 40;
/** A call that is not made any more stays in the map for so long, in seconds: lines that come and go can't be read. */
const LINGER = 60;
/** The node that stands for all that is not shown. No service can have this name. */
export const REST = "\u0000rest";

/**
 * A picture in which nothing is missing that the page looks at. Endpoints that have failed get `failedSecondsAgo`, out of
 * the list of failures.
 */
export function tidy(picture) {
  const list = (value) => (Array.isArray(value) ? value : []);
  const failed = new Map();
  for (const { service, endpoint, at } of list(picture.failures)) {
    const key = `${service}\u0000${endpoint}`;
    failed.set(key, Math.max(at, failed.get(key) ?? 0));
  }
  const services = list(picture.services).map((service) => ({
    ...service,
    aliases: list(service.aliases),
    endpoints: list(service.endpoints).map((endpoint) => {
      const at = failed.get(`${service.service}\u0000${endpoint.address}`);
      return at === undefined ? endpoint : { ...endpoint, failedSecondsAgo: Math.max(0, picture.now - at) };
    }),
  }));
  return {
    ...picture,
    services,
    callers: list(picture.callers).map((caller) => ({ ...caller, proxies: list(caller.proxies) })),
    calls: list(picture.calls),
    proxies: list(picture.proxies),
    failures: list(picture.failures),
    troubles: list(picture.troubles),
  };
}

/** What the mesh does as a whole: { requestsPerSecond, successRatio, endpoints (a tally), behind, silent }. */
export function totals(picture) {
  let [requests, good] = [0, 0];
  for (const service of picture.services) {
    requests += service.requestsPerSecond;
    good += service.requestsPerSecond * (service.successRatio ?? 1);
  }
  return {
    requestsPerSecond: requests,
    successRatio: requests > 0 ? good / requests : null,
    endpoints: tally(picture.services.flatMap((service) => service.endpoints)),
    behind: picture.proxies.filter((proxy) => proxy.behind > 0).length,
    silent: picture.proxies.every(
      (proxy) => proxy.reportedSecondsAgo === null || proxy.reportedSecondsAgo === undefined,
    ),
  };
}

/** Remembers calls for a while, and which services are shown when there are too many. */
export class World {
  #calls = new Map();
  #shown = new Set();
  #chosenAt = -Infinity;

  /**
   * What is to be drawn: { nodes, edges, hidden }. A node is { id, name, service (or null), caller (or null), tally,
   * level, rate, ratio, p99 }, an edge { key, from, to, rate, ratio, p50, p99 }. `wish`: { filter, all, keep (a name
   * that stays), hold (true: what is shown stays as it is) }.
   */
  look(picture, wish) {
    const calls = this.#remember(picture);
    const nodes = new Map();
    for (const service of picture.services) {
      const found = tally(service.endpoints);
      nodes.set(service.service, {
        id: service.service,
        name: service.service,
        service,
        caller: null,
        tally: found,
        level: serviceLevel(service, found),
        rate: service.requestsPerSecond,
        ratio: service.successRatio,
        p99: service.p99Milliseconds,
      });
    }
    for (const caller of picture.callers) this.#caller(nodes, caller.caller, caller);
    for (const call of calls) {
      this.#caller(nodes, call.from, null);
    }
    const edges = calls.map((call) => ({
      key: `${call.from}\u0000${call.to}`,
      from: call.from,
      to: call.to,
      rate: call.requestsPerSecond,
      ratio: call.successRatio,
      p50: call.p50Milliseconds,
      p99: call.p99Milliseconds,
    }));
    // Who only calls is told by what it calls.
    const out = Map.groupBy(edges, (edge) => edge.from);
    for (const node of nodes.values()) {
      if (node.service === null && out.has(node.id)) {
        const { rate, ratio, p99 } = merge("", "", "", out.get(node.id));
        Object.assign(node, { rate, ratio, p99 });
      }
    }
    return this.#narrow(nodes, edges, picture.now, wish);
  }

  #caller(nodes, name, caller) {
    if (!nodes.has(name)) nodes.set(name, nobody(name));
    if (caller !== null) nodes.get(name).caller = caller;
  }

  #remember(picture) {
    const now = picture.now;
    for (const call of picture.calls) this.#calls.set(`${call.from}\u0000${call.to}`, { call, seen: now });
    const there = new Set(picture.services.map((service) => service.service));
    const found = [];
    for (const [key, { call, seen }] of this.#calls) {
      if (now - seen > LINGER || !there.has(call.to)) this.#calls.delete(key);
      else
        found.push(
          seen === now
            ? call
            : { ...call, requestsPerSecond: 0, successRatio: null, p50Milliseconds: null, p99Milliseconds: null },
        );
    }
    return found.sort((a, b) => (a.from === b.from ? (a.to < b.to ? -1 : 1) : a.from < b.from ? -1 : 1));
  }

  #narrow(nodes, edges, now, wish) {
    const filter = wish.filter.trim().toLowerCase();
    let stay;
    if (filter !== "") {
      const fits = (id) => callerName(id).toLowerCase().includes(filter);
      stay = new Set([...nodes.keys()].filter(fits));
      for (const edge of edges) {
        if (fits(edge.from)) stay.add(edge.to);
        if (fits(edge.to)) stay.add(edge.from);
      }
      return cut(nodes, edges, stay, false);
    }
    if (nodes.size <= MANY || wish.all)
      return { nodes: [...nodes.values()], edges, hidden: 0, many: nodes.size > MANY };
    stay = this.#important(nodes, now, wish);
    return { ...cut(nodes, edges, stay, true), many: true };
  }

  /** The busiest, and all that are in trouble. They stay for ten seconds at least. */
  #important(nodes, now, wish) {
    const weigh = (node) => (node.level === "bad" ? 2e12 : 0) + (node.level === "some" ? 1e12 : 0) + node.rate;
    const gone = [...this.#shown].some((id) => !nodes.has(id));
    if (gone || (!wish.hold && now - this.#chosenAt > 10)) {
      const sorted = [...nodes.values()].sort((a, b) => weigh(b) - weigh(a) || (a.id < b.id ? -1 : 1));
      this.#shown = new Set(sorted.slice(0, SHOWN).map((node) => node.id));
      this.#chosenAt = now;
    }
    const stay = new Set(this.#shown);
    // A new trouble does not wait, as long as the map stays readable.
    for (const node of nodes.values()) if (node.level === "bad" && stay.size < MOST) stay.add(node.id);
    if (nodes.has(wish.keep)) stay.add(wish.keep);
    return stay;
  }
}

const nobody = (name) => ({
  id: name,
  name,
  service: null,
  caller: null,
  tally: tally([]),
  level: "none",
  rate: 0,
  ratio: null,
  p99: null,
});

/** Only those nodes; with `rest`, the others as one. */
function cut(nodes, edges, stay, rest) {
  const shown = [...nodes.values()].filter((node) => stay.has(node.id));
  const hidden = nodes.size - shown.length;
  const inside = edges.filter((edge) => stay.has(edge.from) && stay.has(edge.to));
  if (!rest || hidden === 0) return { nodes: shown, edges: inside, hidden, many: false };
  const others = [...nodes.values()].filter((node) => !stay.has(node.id));
  const sum = merge(
    REST,
    "",
    REST,
    others.filter((node) => node.service !== null).map((node) => ({ ...node, p50: null })),
  );
  shown.push({ ...nobody(REST), name: `${others.length} more`, rate: sum.rate, ratio: sum.ratio, p99: sum.p99 });
  // What the rest calls is not drawn: it would stand on the left and on the right of all the others.
  const across = Map.groupBy(
    edges.filter((edge) => stay.has(edge.from) && !stay.has(edge.to)),
    (edge) => edge.from,
  );
  const merged = [...across].map(([from, some]) => merge(`${from}\u0000${REST}`, from, REST, some));
  return { nodes: shown, edges: [...inside, ...merged], hidden, many: true };
}

/** Several calls as one: rates add up, success is weighed by rate, and of percentiles the worst is told. */
function merge(key, from, to, calls) {
  const requests = calls.reduce((sum, call) => sum + call.rate, 0);
  const good = calls.reduce((sum, call) => sum + call.rate * (call.ratio ?? 1), 0);
  const worst = (of) => calls.reduce((most, call) => (call[of] === null ? most : Math.max(most ?? 0, call[of])), null);
  return {
    key,
    from,
    to,
    rate: requests,
    ratio: requests > 0 ? good / requests : null,
    p50: worst("p50"),
    p99: worst("p99"),
  };
}
