// The last hour of a service: rate, success and latency. Arrow keys or the mouse read the values at one moment; they are
// there as a table, too.

import { draw, keyed, make, say, set, show } from "./dom.js";
import { ask } from "./poll.js";
import { Table } from "./table.js";
import { callWords, clock, clockMinute, milliseconds, percent, rate } from "./words.js";

/** How often the history is asked for, in milliseconds: it has a point every ten seconds. */
const EVERY = 10_000;
const HOUR = 3600;
/** A control that has just started has less than an hour to tell: then the graph is of so much at least, in seconds. */
const LEAST = 300;
/** What may lie between two moments that are written below the graph, in seconds. */
const MARKS = [60, 120, 300, 600, 900, 1800];
const HEIGHT = 118;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;
/** The mouse reads where it is; these keys go so many points. */
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };

const KINDS = [
  {
    id: "rate",
    title: "requests/s",
    lines: [["requestsPerSecond", "rate"]],
    range: fromZero,
    tick: (value) => rate(value),
  },
  {
    id: "success",
    title: "success, %",
    lines: [["successRatio", "success"]],
    range: share,
    tick: (value) => (value * 100).toFixed(1).replace(/\.0$/, ""),
  },
  {
    id: "latency",
    title: "latency, ms",
    lines: [
      ["p50Milliseconds", "p50"],
      ["p99Milliseconds", "p99"],
    ],
    range: fromZero,
    tick: (value) => milliseconds(value).replace(/\.0$/, ""),
  },
];

export class History {
  #parent;
  #service = null;
  #points = [];
  #step = 10;
  #now = 0;
  #cursor = null; // the moment that is read, in Unix seconds; null: the newest
  #timer = null;
  #charts;
  #frame;
  #readout = make("p", { class: "readout" });
  #empty = make("p", { class: "empty", hidden: "" });
  #table;
  #details;

  constructor(parent) {
    this.#parent = parent;
    this.#charts = KINDS.map((kind) => new Chart(kind));
    this.#frame = make(
      "div",
      {
        class: "charts",
        role: "slider",
        tabindex: 0,
        "aria-label": "Values of the last hour",
        "aria-describedby": "history-title",
        "aria-orientation": "horizontal",
      },
      ...this.#charts.map((chart) => chart.figure),
    );
    const rows = make("div");
    this.#details = make("details", {}, make("summary", {}, "The values as a table"), rows);
    this.#table = new Table(
      rows,
      "Values of the last hour",
      [
        { head: "time", kind: "name", cell: (point) => clock(point.at) },
        { head: "requests/s", kind: "figure", cell: (point) => rate(point.requestsPerSecond) },
        { head: "success", kind: "figure", cell: (point) => percent(point.successRatio) },
        { head: "p50 ms", kind: "figure", cell: (point) => milliseconds(point.p50Milliseconds) },
        { head: "p99 ms", kind: "figure", cell: (point) => milliseconds(point.p99Milliseconds) },
      ],
      (point) => point.at,
    );
    parent.append(this.#frame, this.#readout, this.#empty, this.#details);
    this.#details.addEventListener("toggle", () => this.#draw());
    this.#frame.addEventListener("keydown", (event) => this.#key(event));
    this.#frame.addEventListener("blur", () => this.#read(null));
    for (const chart of this.#charts) {
      chart.figure.addEventListener("pointermove", (event) => this.#read(chart.momentAt(event.clientX, this.#now)));
      chart.figure.addEventListener("pointerleave", () => this.#read(null));
    }
    new ResizeObserver(() => this.#draw()).observe(this.#frame);
    document.addEventListener("visibilitychange", () => this.#again());
  }

  /** Whose history it is; null: nobody's. */
  of(service) {
    if (service === this.#service) return;
    this.#service = service;
    this.#points = [];
    this.#cursor = null;
    this.#draw(); // nothing, rather than somebody else's
    this.#again();
  }

  #again() {
    clearTimeout(this.#timer);
    if (this.#service !== null && !document.hidden) void this.#ask(this.#service);
  }

  async #ask(service) {
    let why = "";
    let history = null;
    try {
      history = await ask(`history?service=${encodeURIComponent(service)}`);
    } catch (error) {
      why = `The history can't be had: ${error.message}`;
    }
    if (service !== this.#service) return; // somebody has opened another one meanwhile
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), EVERY);
    if (history !== null) {
      this.#points = (Array.isArray(history.points) ? history.points : []).slice(-720);
      this.#step = history.stepSeconds ?? 10;
      this.#now = this.#points.at(-1)?.at ?? Date.now() / 1000;
      why =
        this.#points.length < 2
          ? "The graph begins with the first two points, twenty seconds after the first request."
          : "";
    }
    show(this.#empty, why !== "");
    say(this.#empty, why);
    this.#draw();
  }

  #draw() {
    show(this.#frame, this.#points.length >= 2);
    show(this.#details, this.#points.length >= 2);
    show(this.#readout, this.#points.length >= 2);
    if (this.#points.length < 2 || this.#parent.clientWidth === 0) return;
    for (const chart of this.#charts) chart.draw(this.#points, this.#now, this.#step);
    if (this.#details.open) this.#table.update([...this.#points].reverse().slice(0, 300));
    this.#read(this.#cursor);
  }

  #key(event) {
    const step = STEPS[event.key];
    if (step === undefined || this.#points.length === 0) return;
    event.preventDefault();
    const last = this.#points.length - 1;
    const here = this.#cursor === null ? last : this.#indexAt(this.#cursor);
    this.#read(this.#points[Math.max(0, Math.min(last, here + step))].at);
  }

  #indexAt(moment) {
    let best = 0;
    this.#points.forEach((point, index) => {
      if (Math.abs(point.at - moment) < Math.abs(this.#points[best].at - moment)) best = index;
    });
    return best;
  }

  #read(moment) {
    this.#cursor = moment;
    if (this.#points.length < 2) return;
    const index = moment === null ? this.#points.length - 1 : this.#indexAt(moment);
    const point = this.#points[index];
    const { requestsPerSecond, successRatio, p50Milliseconds, p99Milliseconds } = point;
    const said = callWords(requestsPerSecond, successRatio, p50Milliseconds, p99Milliseconds);
    const words = `${clock(point.at)}: ${said}`;
    say(this.#readout, words);
    set(this.#frame, "aria-valuemin", 0);
    set(this.#frame, "aria-valuemax", this.#points.length - 1);
    set(this.#frame, "aria-valuenow", index);
    set(this.#frame, "aria-valuetext", words);
    for (const chart of this.#charts) chart.point(moment === null ? null : point, this.#now);
  }
}

/** One graph with its axes. */
class Chart {
  #kind;
  #svg = draw("svg", { height: HEIGHT, "aria-hidden": "true" });
  #grid = draw("g", { class: "grid" });
  #hours = draw("g", { class: "grid" });
  #lines;
  #mark = draw("path", { class: "mark" });
  #dots = draw("g");
  #width = 0;
  #high = 1;
  #low = 0;
  #span = HOUR;
  figure;

  constructor(kind) {
    this.#kind = kind;
    this.#lines = kind.lines.map(([, id]) => draw("path", { class: `series ${id}` }));
    this.#svg.append(this.#grid, this.#hours, ...this.#lines, this.#mark, this.#dots);
    const keys =
      kind.lines.length < 2
        ? []
        : kind.lines.map(([, id]) =>
            make(
              "span",
              { class: `key ${id}` },
              draw(
                "svg",
                { width: 22, height: 8, "aria-hidden": "true" },
                draw("path", { class: `series ${id}`, d: "M0 4H22" }),
              ),
              ` ${id}`,
            ),
          );
    this.figure = make("figure", {}, make("figcaption", {}, kind.title, ...keys), this.#svg);
  }

  draw(points, now, step) {
    this.#width = Math.max(160, this.figure.clientWidth);
    this.#span = Math.min(HOUR, Math.max(LEAST, now - points[0].at));
    set(this.#svg, "width", this.#width);
    set(this.#svg, "viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    const values = points
      .flatMap((point) => this.#kind.lines.map(([key]) => point[key]))
      .filter((value) => value !== null && value !== undefined);
    const { low, high, ticks } = this.#kind.range(values);
    [this.#low, this.#high] = [low, high];
    keyed(
      this.#grid,
      ticks,
      String,
      () => draw("g", {}, draw("path"), draw("text", { "text-anchor": "end" })),
      (group, tick) => {
        const y = this.#y(tick).toFixed(1);
        set(group.firstChild, "d", `M${LEFT} ${y}H${this.#width - RIGHT}`);
        set(group.lastChild, "x", LEFT - 6);
        set(group.lastChild, "y", Number(y) + 3.5);
        say(group.lastChild, this.#kind.tick(tick));
      },
    );
    const between = MARKS.find((seconds) => this.#span / seconds <= (this.#width < 260 ? 2 : 4)) ?? HOUR;
    const first = Math.ceil((now - this.#span) / between) * between;
    const marks = [];
    for (let moment = first; moment <= now; moment += between) marks.push(moment);
    keyed(
      this.#hours,
      marks,
      String,
      () => draw("g", {}, draw("path"), draw("text", { "text-anchor": "middle" })),
      (group, moment) => {
        const x = this.#x(moment, now);
        set(group.firstChild, "d", `M${x.toFixed(1)} ${HEIGHT - BOTTOM}v4`);
        set(group.lastChild, "x", Math.min(this.#width - 18, Math.max(18, x)).toFixed(1));
        set(group.lastChild, "y", HEIGHT - 4);
        say(group.lastChild, clockMinute(moment));
      },
    );
    this.#kind.lines.forEach(([key], index) => set(this.#lines[index], "d", this.#path(points, key, now, step)));
  }

  /** The line; where there is nothing to say, there is none. A point alone is a dot. */
  #path(points, key, now, step) {
    let path = "";
    let last = null;
    for (const point of points) {
      const value = point[key];
      if (value === null || value === undefined || point.at < now - this.#span - step) {
        last = null;
        continue;
      }
      const joined = last !== null && point.at - last < 2.5 * step;
      path += `${joined ? "L" : "M"}${this.#x(point.at, now).toFixed(1)} ${this.#y(value).toFixed(1)}${joined ? "" : "h.1"}`;
      last = point.at;
    }
    return path;
  }

  /** Marks one point; null: none. */
  point(point, now) {
    set(this.#mark, "d", point === null ? null : `M${this.#x(point.at, now).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}`);
    const dots =
      point === null ? [] : this.#kind.lines.filter(([key]) => point[key] !== null && point[key] !== undefined);
    keyed(
      this.#dots,
      dots,
      ([key]) => key,
      ([, id]) => draw("circle", { r: 3.5, class: `dot ${id}` }),
      (dot, [key]) => {
        set(dot, "cx", this.#x(point.at, now).toFixed(1));
        set(dot, "cy", this.#y(point[key]).toFixed(1));
      },
    );
  }

  /** Which moment lies there on the screen. */
  momentAt(clientX, now) {
    const x = clientX - this.#svg.getBoundingClientRect().left;
    return now - this.#span + ((x - LEFT) / (this.#width - LEFT - RIGHT)) * this.#span;
  }

  #x(moment, now) {
    return LEFT + ((moment - now + this.#span) / this.#span) * (this.#width - LEFT - RIGHT);
  }

  #y(value) {
    return TOP + (1 - (value - this.#low) / (this.#high - this.#low)) * (HEIGHT - TOP - BOTTOM);
  }
}

/** An axis from zero to a round figure, 1 at least. */
function fromZero(values) {
  const most = Math.max(1, ...values);
  const rough = most / 2;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 2.5, 5, 10].map((times) => times * power).find((size) => size * 2 >= most);
  return { low: 0, high: 2 * unit, ticks: [0, unit, 2 * unit] };
}

/** An axis of shares: from 99, 90 or 0 % to 100 %, whichever shows all. What it begins with stands beside it. */
function share(values) {
  const least = Math.min(1, ...values);
  const low = least >= 0.99 ? 0.99 : least >= 0.9 ? 0.9 : 0;
  return { low, high: 1, ticks: [low, (low + 1) / 2, 1] };
}
