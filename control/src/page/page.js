// The page: asks for the picture, and hands each one to everything that shows a part of it.

import { Changes } from "./changes.js";
import { at, say, set, show, teach } from "./dom.js";
import { Explain } from "./explain.js";
import { Failures, figures, Proxies, ServiceList, troubles } from "./lists.js";
import { MeshMap } from "./map.js";
import { legend } from "./marks.js";
import { Panel } from "./panel.js";
import { Poll } from "./poll.js";
import { clock } from "./words.js";
import { REST, tidy, totals, World } from "./world.js";

/** Below this width the map is a list. Keep in step with page.css. */
const NARROW = matchMedia("(max-width: 700px)");
/** From this width on, the first picture opens the busiest service. */
const WIDE = matchMedia("(min-width: 1000px)");

class Page {
  #picture = null;
  #chosen = null;
  #isList = false;
  #all = false;
  #paused = false;
  #world = new World();
  #map = new MeshMap(at("map"), (node) => this.#openNode(node));
  #list = new ServiceList((node) => this.#openNode(node));
  #panel = new Panel(
    (name) => this.#open(name),
    () => this.#close(),
  );
  #proxies = new Proxies(() => this.#redraw());
  #failures = new Failures(() => this.#redraw());
  #explain = new Explain();
  #changes = new Changes();
  #poll;

  constructor() {
    legend(at("legend"));
    at("filter").addEventListener("input", () => this.#redraw());
    at("all").addEventListener("click", () => this.#showAll(!this.#all));
    at("as-map").addEventListener("click", () => this.#asList(false));
    at("as-list").addEventListener("click", () => this.#asList(true));
    at("pause").addEventListener("click", () => this.#pause());
    document.addEventListener("keydown", (event) => this.#key(event));
    window.addEventListener("hashchange", () => this.#fromAddress(true));
    NARROW.addEventListener("change", () => this.#redraw());
    this.#fromAddress(false);
    this.#poll = new Poll(
      "picture",
      (answer) => this.#take(answer),
      (state) => this.#link(state),
    );
  }

  #take(answer) {
    const first = this.#picture === null;
    this.#picture = tidy(answer);
    if (first && this.#chosen === null && WIDE.matches) {
      const busiest = [...this.#picture.services].sort((a, b) => b.requestsPerSecond - a.requestsPerSecond)[0];
      if (busiest) this.#choose(busiest.service, false);
    }
    this.#changes.update(this.#picture);
    this.#redraw();
  }

  #redraw() {
    const picture = this.#picture;
    if (picture === null) return;
    const isList = this.#isList || NARROW.matches;
    const sums = totals(picture);
    figures(picture, sums);
    say(at("window"), String(picture.windowSeconds ?? 10));
    const out = sums.endpoints.ejected + sums.endpoints.partly;
    const title = `${out > 0 ? `✕ ${out} ejected – ` : ""}${picture.namespace ?? ""} – Bowline`;
    if (document.title !== title) document.title = title;
    troubles(picture);
    const world = this.#world.look(picture, {
      filter: at("filter").value,
      all: this.#all || isList,
      keep: this.#chosen,
      hold: this.#map.isHeld,
    });
    show(at("map"), !isList && world.nodes.length > 0);
    show(at("list"), isList);
    show(at("legend"), !isList && world.nodes.length > 0);
    set(at("as-map"), "aria-pressed", String(!isList));
    set(at("as-list"), "aria-pressed", String(isList));
    show(at("all"), !isList && world.many === true);
    say(at("all"), this.#all ? "Show the busiest" : `Show all ${picture.services.length}`);
    if (isList) this.#list.update(world);
    else this.#map.update(world, this.#chosen);
    this.#empty(picture, world, sums);
    this.#panel.update(picture);
    this.#proxies.update(picture);
    this.#failures.update(picture);
    this.#explain.update(picture);
  }

  #empty(picture, world, sums) {
    const box = at("services-empty");
    const alias = picture.services.find((service) => service.aliases.length > 0)?.aliases[0];
    if (picture.services.length === 0) {
      teach(
        box,
        "No service yet. Write one into the mesh file that control watches; it is here half a second later:",
        `namespace: ${picture.namespace || "hello-world.com"}\nservices:\n  - discoveryName: server\n` +
          `    clientAliases: [{ dnsName: server.${picture.namespace || "hello-world.com"}, port: 5000 }]\n` +
          '    endpoints:\n      static: [{ address: "127.0.0.1:9001" }]',
      );
    } else if (world.nodes.length === 0) {
      teach(box, "No service and no caller has such a name.");
    } else if (picture.proxies.length > 0 && sums.silent) {
      teach(
        box,
        "No proxy has reported a request yet. Make one through a proxy:",
        `curl -x http://127.0.0.1:15001 http://${alias ?? "server.hello-world.com:5000"}/`,
      );
    } else if (picture.proxies.length === 0) {
      teach(
        box,
        "These are the services of the mesh. Who calls them is here when a proxy reports: see Proxies for how to start one.",
      );
    } else {
      show(box, false);
      return;
    }
    show(box, true);
  }

  /** How it goes with control, in the header and, when it is away, across the page. */
  #link({ state, why, next }) {
    const every = next === undefined ? "" : `every ${(next / 1000).toFixed(1).replace(".0", "")} s`;
    const words = {
      live: ["● live", every],
      slow: ["● live, answers are slow", every],
      hidden: ["◌ in the background", every],
      paused: ["‖ paused", ""],
      away: ["✕ control is away", `next try in ${((next ?? 0) / 1000).toFixed(0)} s`],
    }[state];
    say(at("link"), words[0]);
    say(at("link-more"), words[1]);
    set(at("link"), "data-level", { live: "good", slow: "some", away: "bad" }[state] ?? "none");
    set(document.documentElement, "data-link", state);
    show(at("away"), state === "away");
    if (state !== "away") return;
    // A control that comes back has to be told of ejections again: what it says first is no news.
    this.#changes.forget();
    const since =
      this.#picture === null
        ? "Nothing has come from it yet."
        : `What is shown is from ${clock(this.#picture.now)}. Proxies go on without control, with what they know.`;
    say(at("away"), `✕ Control does not answer: ${why}. ${since}`);
  }

  #openNode(node) {
    if (node.id === REST) this.#showAll(true);
    else this.#open(node.id);
  }

  /** Opens a panel, as the address then says, so that it can be handed on. */
  #open(name) {
    const hash = `#service=${encodeURIComponent(name)}`;
    if (location.hash !== hash) history.pushState(null, "", hash);
    this.#choose(name, true);
    this.#redraw();
  }

  #close() {
    const was = this.#chosen;
    if (location.hash !== "") history.pushState(null, "", location.pathname + location.search);
    this.#choose(null, false);
    this.#redraw();
    // Back to where it was opened from.
    const node = [...document.querySelectorAll("#map .node")].find((one) => one.getAttribute("tabindex") === "0");
    (was !== null && node ? node : at("services")).focus({ preventScroll: true });
  }

  #choose(name, go) {
    this.#chosen = name;
    this.#panel.open(name, go && this.#picture !== null);
  }

  #fromAddress(go) {
    const found = /^#service=(.*)$/.exec(location.hash);
    if (found === null) {
      if (go && location.hash === "" && this.#chosen !== null) this.#close();
      return;
    }
    try {
      this.#choose(decodeURIComponent(found[1]), go);
      this.#redraw();
    } catch {
      // Not an address of ours.
    }
  }

  #asList(whether) {
    this.#isList = whether;
    this.#redraw();
  }

  #showAll(whether) {
    this.#all = whether;
    this.#redraw();
  }

  #pause() {
    this.#paused = !this.#paused;
    say(at("pause"), this.#paused ? "Go on" : "Pause");
    set(at("pause"), "aria-pressed", String(this.#paused));
    this.#poll.pause(this.#paused);
  }

  #key(event) {
    const writes = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (event.key === "/" && !writes && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      at("filter").focus();
    }
    if (event.key !== "Escape") return;
    if (writes) {
      if (event.target.type === "search" && event.target.value !== "") {
        event.target.value = "";
        this.#redraw();
      }
    } else if (this.#chosen !== null && at("panel").contains(event.target)) {
      this.#close();
    }
  }
}

new Page();
