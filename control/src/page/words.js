// How figures and states are said. Pure: nothing here knows of the page.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** What stands where there is nothing to say. */
export const NOTHING = "–";

/** A rate: `0`, `3.2`, `250`, `12.3 k`. */
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return NOTHING;
  if (perSecond === 0) return "0";
  if (perSecond < 0.05) return "<0.1";
  if (perSecond < 9.95) return tenths.format(perSecond);
  if (perSecond < 99_950) return whole.format(perSecond);
  return `${tenths.format(perSecond / 1000)} k`;
}

/** A share, rounded down: what is not 100 % never reads as 100 %. */
export function percent(ratio) {
  if (ratio === null || ratio === undefined) return NOTHING;
  if (ratio >= 1) return "100 %";
  const share = ratio * 100;
  if (share < 10) return `${tenths.format(share)} %`;
  return `${(Math.floor(share * 100 + 1e-6) / 100).toFixed(share >= 99 ? 2 : 1)} %`;
}

/** Milliseconds, without the unit. */
export function milliseconds(value) {
  if (value === null || value === undefined) return NOTHING;
  return value < 9.95 ? tenths.format(value) : whole.format(value);
}

/** The same with the unit, and seconds from one second on. */
export function duration(value) {
  if (value === null || value === undefined) return NOTHING;
  return value < 1000 ? `${milliseconds(value)} ms` : `${tenths.format(value / 1000)} s`;
}

/** A time span in seconds: `4 s`, `3 min`, `2.5 h`, `3 d`. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds < 10) return `${tenths.format(Math.max(0, seconds))} s`;
  if (seconds < 120) return `${whole.format(seconds)} s`;
  if (seconds < 7200) return `${whole.format(seconds / 60)} min`;
  if (seconds < 172_800) return `${tenths.format(seconds / 3600)} h`;
  return `${whole.format(seconds / 86_400)} d`;
}

/** A number with thousands marked. */
export const number = (value) => whole.format(value);

/** `1 proxy`, `3 proxies`. */
export const count = (value, one, many) => `${whole.format(value)} ${value === 1 ? one : many}`;

/** The time of day of a moment in Unix seconds. */
export const clock = (seconds) => time.format(new Date(seconds * 1000));

/** The same without seconds. */
export const clockMinute = (seconds) => minute.format(new Date(seconds * 1000));

/** Requests in one line: `250 requests/s, 99.96 % successful, p50 3.2 ms, p99 13 ms`. `p50` may be left out. */
export function callWords(perSecond, ratio, p50, p99) {
  if (perSecond === 0) return "no requests";
  const middle = p50 === undefined ? "" : `p50 ${duration(p50)}, `;
  return `${rate(perSecond)} requests/s, ${percent(ratio)} successful, ${middle}p99 ${duration(p99)}`;
}

/** How good a share of successes is: `good`, `some` (some fail), `bad`, or `none` where there was no request. */
export function level(ratio) {
  if (ratio === null || ratio === undefined) return "none";
  if (ratio >= 0.999) return "good";
  return ratio >= 0.95 ? "some" : "bad";
}

/** A sign for each level, so that colour says nothing alone. */
export const SIGNS = { good: "●", some: "▲", bad: "✕", none: "○" };

/** A caller's name; a proxy that was not told whom it serves has none. */
export const callerName = (caller) => (caller === "" ? "(unnamed)" : caller);

/** For so long a failure is a part of the endpoint's state, in seconds. */
const LATELY = 10;

/**
 * The state of an endpoint: { kind, sign, word, level }. `failing` is our own word for one that is active and fails more
 * than one attempt in twenty, or has failed lately: a dead one that gets next to nothing is ejected late, because that
 * takes several failures.
 */
export function endpointState(endpoint) {
  if (endpoint.state === "draining") return { kind: "draining", sign: "◌", word: "draining", level: "none" };
  if (endpoint.state === "ejected" || endpoint.ejectedBy > 0) {
    return endpoint.ejectedBy > 0 && endpoint.ejectedBy < endpoint.seenBy
      ? { kind: "partly", sign: "▲", word: "ejected by some", level: "some" }
      : { kind: "ejected", sign: "✕", word: "ejected", level: "bad" };
  }
  if (endpoint.failuresPerSecond > 0.05 * Math.max(endpoint.requestsPerSecond, endpoint.failuresPerSecond)) {
    return { kind: "failing", sign: "▲", word: "failing", level: "some" };
  }
  if (endpoint.failedSecondsAgo <= LATELY) {
    return { kind: "failing", sign: "▲", word: `failed ${Math.round(endpoint.failedSecondsAgo)} s ago`, level: "some" };
  }
  return { kind: "active", sign: "●", word: "active", level: "good" };
}

/** How many endpoints are in which state: { active, failing, partly, ejected, draining, all }. */
export function tally(endpoints) {
  const found = { active: 0, failing: 0, partly: 0, ejected: 0, draining: 0, all: endpoints.length };
  for (const endpoint of endpoints) found[endpointState(endpoint).kind] += 1;
  return found;
}

/** `5 endpoints`, `5 endpoints, 1 ejected`. */
export function tallyWords(found) {
  const more = ["ejected", "failing", "draining"]
    .filter((kind) => found[kind] > 0)
    .map((kind) => `, ${number(found[kind])} ${kind}`);
  const partly = found.partly > 0 ? `, ${number(found.partly)} ejected by some` : "";
  return `${count(found.all, "endpoint", "endpoints")}${partly}${more.join("")}`;
}

/** A reason of failure in words: `connect_failure` → `connect failure`. */
export const reasonWords = (reason) => reason.replaceAll("_", " ");

/** The level of a whole service: its success, or worse where endpoints are out. */
export function serviceLevel(service, found = tally(service.endpoints)) {
  const own = level(service.successRatio);
  if (own === "bad" || (found.all > 0 && found.ejected === found.all)) return "bad";
  if (own === "some" || found.ejected + found.partly + found.failing > 0 || found.all === 0) return "some";
  return own;
}
