// What all tabs have: a model, figures, a state, one problem in a sentence, and what runs until it is stopped.

import { Side } from "./side.js";

export class Panel {
  /**
   * @param {string} name of the tab.
   * @param {(inputs: Set<string>, outputs: Set<string>, metadata: any) => boolean} fits whether a model is one
   *   for this tab.
   */
  constructor(name, fits) {
    this.root = document.getElementById(`panel-${name}`);
    this.form = this.root.querySelector(".controls");
    this.side = new Side(this.root);
    this.fits = fits;
    this.client = null;
    this.running = null;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.field("stop").addEventListener("click", () => this.running?.abort());
  }

  /** A control by its name. */
  field(name) {
    return this.form.elements.namedItem(name);
  }

  get model() {
    return this.field("model").value;
  }

  /** Offer those of the models that fit. */
  offer(client, models) {
    this.client = client;
    const fitting = models.filter((each) => {
      const names = (tensors) => new Set((tensors ?? []).map((tensor) => tensor.name));
      return this.fits(names(each.inputs), names(each.outputs), each);
    });
    const before = this.model;
    this.field("model").replaceChildren(...fitting.map(({ name }) => new Option(name, name)));
    if (fitting.some(({ name }) => name === before)) this.field("model").value = before;
    this.root.querySelector(".absent").hidden = fitting.length > 0;
    this.form.inert = fitting.length === 0;
    this.form.dispatchEvent(new Event("input"));
  }

  /** Show the request as code, where there is a model for it. @param {() => Record<string, string>} snippets */
  code(snippets) {
    this.side.show(this.client && this.model ? snippets() : {});
  }

  figure(name, value) {
    this.root.querySelector(`[data-figure=${name}]`).textContent = value;
  }

  clearFigures() {
    for (const each of this.root.querySelectorAll("[data-figure]")) each.textContent = "–";
  }

  /** Said to a screen reader: seldom, and whole sentences. */
  say(text) {
    this.root.querySelector(".state").textContent = text;
  }

  problem(text) {
    const place = this.root.querySelector(".work > .problem");
    place.hidden = !text;
    place.textContent = text;
  }

  /**
   * Run until it ends or is stopped; what goes wrong is shown.
   * @param {(signal: AbortSignal) => Promise<string>} work the sentence at its end.
   */
  async run(work) {
    if (this.running) return;
    const running = (this.running = new AbortController());
    this.problem("");
    this.say("");
    this.#busy(true);
    try {
      this.say(await work(running.signal));
    } catch (error) {
      if (running.signal.aborted) {
        this.say("Stopped.");
      } else {
        this.say("");
        this.problem(describe(error));
        this.side.raw("bad", String(error.message));
      }
    } finally {
      this.running = null;
      this.#busy(false);
    }
  }

  #busy(busy) {
    const stop = this.field("stop");
    const hadFocus = this.form.contains(document.activeElement) ? document.activeElement : null;
    for (const button of this.form.querySelectorAll(".buttons button")) button.disabled = busy;
    stop.disabled = !busy;
    if (!busy) this.form.dispatchEvent(new Event("input"));
    // A control that is switched off would take the keyboard's place with it.
    if (hadFocus?.disabled) (busy ? stop : this.form.querySelector(".primary")).focus();
  }
}

const DENIED = {
  NotAllowedError: "The browser does not allow it: permit the camera or microphone for this page.",
  NotFoundError: "There is no camera or microphone here.",
  NotReadableError: "Another program has the camera or microphone.",
};

function describe(error) {
  if (DENIED[error.name]) return DENIED[error.name];
  const later = error.retryAfter ? ` Try again in ${Math.ceil(error.retryAfter)} s.` : "";
  return `${error.message || "Something failed."}${later}`;
}

/** A camera or a microphone; a sentence where a browser has none to give. */
export async function media(wanted) {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give cameras and microphones to pages from localhost or over https only.");
  }
  return navigator.mediaDevices.getUserMedia(wanted);
}

/** Files may be dropped on a place that has an input for them. */
export function takeDrops(place) {
  const input = place.querySelector("input[type=file]");
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

/** @param {number} milliseconds */
export function shown(milliseconds) {
  if (milliseconds >= 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}

/** @param {number[]} values @param {number} share */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
