// Asks control for the picture: twice a second, less often when nobody looks, when control is away, and when answers
// take long (a thin tunnel must not be filled by a page).

/** The usual time between two questions, in milliseconds. */
const OFTEN = 500;
/** The longest: a hidden tab, or control away. */
const SELDOM = 5000;
/** An answer that takes longer is none. */
const PATIENCE = 10_000;

/** An admin page's address. The page may lie below any prefix, and at `/` as well as at `/ui`. */
export const address = (path) => new URL(`../${path}`, import.meta.url);

/** JSON from an admin page. Throws an Error whose message can be shown. */
export async function ask(path, signal = AbortSignal.timeout(PATIENCE)) {
  let response;
  try {
    response = await fetch(address(path), { signal, cache: "no-store", headers: { accept: "application/json" } });
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? "no answer within 10 s" : "nothing answers at its address");
  }
  const text = await response.text();
  if (!response.ok) throw new Error(text.trim() || `it answered with status ${response.status}`);
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("its answer is no JSON; is this control of another version?");
  }
}

/**
 * Asks for `path` until the page is closed. `onAnswer(answer)` gets what came, `onState({ state, why, next })` is told
 * how it goes: `live`, `slow`, `hidden`, `paused` or `away`; `next` is the time to the next question in milliseconds.
 */
export class Poll {
  #path;
  #onAnswer;
  #onState;
  #timer = null;
  #asking = false;
  #failed = 0;
  #paused = false;

  constructor(path, onAnswer, onState) {
    this.#path = path;
    this.#onAnswer = onAnswer;
    this.#onState = onState;
    document.addEventListener("visibilitychange", () => this.#again());
    window.addEventListener("online", () => this.#again());
    this.#again();
  }

  /** Stops asking, or goes on. */
  pause(whether) {
    this.#paused = whether;
    this.#again();
  }

  #again() {
    clearTimeout(this.#timer);
    if (this.#paused) this.#onState({ state: "paused" });
    else if (document.hidden) this.#later("hidden", SELDOM);
    else void this.#now();
  }

  #later(state, next, why) {
    this.#onState({ state, next, why });
    this.#timer = setTimeout(() => void this.#now(), next);
  }

  async #now() {
    if (this.#asking) return;
    this.#asking = true;
    const began = performance.now();
    let answer = null;
    let why = null;
    try {
      answer = await ask(this.#path);
    } catch (error) {
      why = error.message;
    }
    this.#asking = false;
    if (this.#paused) return;
    clearTimeout(this.#timer);
    if (why === null) {
      this.#failed = 0;
      // First the next question: a picture that can't be drawn must not be the last one.
      const took = performance.now() - began;
      const next = Math.min(SELDOM, Math.max(OFTEN, 3 * took));
      if (document.hidden) this.#later("hidden", SELDOM);
      else this.#later(next > 2 * OFTEN ? "slow" : "live", next);
      this.#onAnswer(answer);
    } else {
      this.#failed += 1;
      this.#later("away", Math.min(SELDOM, OFTEN * 2 ** this.#failed), why);
    }
  }
}
