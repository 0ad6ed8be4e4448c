// What has changed from one picture to the next, in one line that screen readers announce: politely, and not more often
// than somebody can listen.

import { at, say, set } from "./dom.js";
import { clock, count, endpointState } from "./words.js";

/** Between two announcements, in milliseconds. */
const PAUSE = 4000;
/** More than this at once are told as a number. */
const FEW = 2;

const OUT = new Set(["ejected", "partly"]);

/** The changes of endpoints between two states of the mesh: [{ words, level }]. Pure. */
export function changes(before, after) {
  const found = [];
  for (const [key, { service, address, kind }] of after) {
    const was = before.get(key)?.kind;
    if (was === undefined || OUT.has(was) === OUT.has(kind)) continue;
    found.push(
      OUT.has(kind)
        ? { words: `✕ ${address} of ${service} is ejected`, out: true }
        : { words: `● ${address} of ${service} is back`, out: false },
    );
  }
  return found;
}

/** The state of each endpoint, as {@link changes} compares it. */
export function states(picture) {
  const found = new Map();
  for (const { service, endpoints } of picture.services) {
    for (const endpoint of endpoints) {
      found.set(`${service}\u0000${endpoint.address}`, {
        service,
        address: endpoint.address,
        kind: endpointState(endpoint).kind,
      });
    }
  }
  return found;
}

export class Changes {
  #before = null;
  #waiting = [];
  #timer = null;
  #line = at("change");

  update(picture) {
    const after = states(picture);
    if (this.#before !== null) {
      this.#waiting.push(...changes(this.#before, after));
      if (this.#waiting.length > 0 && this.#timer === null) this.#tell(picture.now);
    }
    this.#before = after;
  }

  /** What was is not known any more: the next picture is compared with nothing. */
  forget() {
    this.#before = null;
  }

  #tell(now) {
    const some = this.#waiting.splice(0);
    const out = some.filter((change) => change.out).length;
    const back = some.length - out;
    const words =
      some.length <= FEW
        ? some.map((change) => change.words).join(", ")
        : [
            out > 0 ? `✕ ${count(out, "endpoint", "endpoints")} ejected` : "",
            back > 0 ? `● ${count(back, "endpoint", "endpoints")} back` : "",
          ]
            .filter(Boolean)
            .join(", ");
    say(this.#line, `${clock(now)}  ${words}`);
    set(this.#line, "data-level", out > 0 ? "bad" : "good");
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#waiting.length > 0) this.#tell(Date.now() / 1000);
    }, PAUSE);
  }
}
