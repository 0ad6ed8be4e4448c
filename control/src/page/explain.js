// The explain box: a URL in, and what would become of a request to it out.

import { at, make } from "./dom.js";
import { ask } from "./poll.js";

/** Wires the box up. */
export class Explain {
  #answer = at("explain-answer");
  #field = at("explain-url");
  #asked = 0;

  constructor() {
    at("explain-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ask(this.#field.value.trim());
    });
  }

  /** Gives an example that works in this mesh, while nothing is written there. */
  update(picture) {
    const alias = picture.services.find((service) => service.aliases.length > 0)?.aliases[0];
    this.#field.placeholder = `http://${alias ?? "server.hello-world.com:5000"}/`;
  }

  async #ask(written) {
    if (written === "") return;
    // Most people leave out what is always the same.
    const url = written.includes("://") ? written : `http://${written}`;
    const number = (this.#asked += 1);
    let nodes;
    try {
      nodes = said(await ask(`explain?url=${encodeURIComponent(url)}`));
    } catch (error) {
      nodes = [make("p", { class: "note bad" }, `✕ ${error.message}`)];
    }
    if (number === this.#asked) this.#answer.replaceChildren(...nodes);
  }
}

/** An explanation as nodes. */
function said(explanation) {
  const nodes = [make("h3", {}, explanation.service ? `To ${explanation.service}` : "To no service of this mesh")];
  nodes.push(make("ol", { class: "steps" }, ...(explanation.steps ?? []).map((step) => make("li", {}, step))));
  const candidates = explanation.candidates ?? [];
  if (explanation.service) {
    nodes.push(make("h4", {}, "Endpoints that it could go to now"));
    nodes.push(
      candidates.length === 0
        ? make("p", { class: "note bad" }, "✕ none")
        : make(
            "ul",
            { class: "ends" },
            ...candidates.map((one) =>
              make(
                "li",
                { "data-level": "good" },
                make("span", { class: "sign", "aria-hidden": "true" }, "● "),
                make("span", { class: "name" }, one),
              ),
            ),
          ),
    );
  }
  const others = explanation.notCandidates ?? [];
  if (others.length > 0) {
    nodes.push(make("h4", {}, "Endpoints that it would not go to"));
    nodes.push(
      make(
        "ul",
        { class: "ends" },
        ...others.map((one) =>
          make(
            "li",
            { "data-level": "bad" },
            make("span", { class: "sign", "aria-hidden": "true" }, "✕ "),
            make("span", { class: "name" }, one.address),
            make("span", { class: "quiet" }, ` ${one.why}`),
          ),
        ),
      ),
    );
  }
  return nodes;
}
