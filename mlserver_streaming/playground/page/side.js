// Beside each tab: its request as code, ready to copy, and the messages that went to and fro.

const KEPT = 100;
const MOST_CHARACTERS = 2000;
const SIGNS = { sent: "→", received: "←", bad: "!" };
const PREFERRED = { value: "curl" };

export class Side {
  /** @param {HTMLElement} root the panel that it is put into. */
  constructor(root) {
    const aside = document.getElementById("side").content.cloneNode(true).querySelector("aside");
    root.append(aside);
    this.code = aside.querySelector(".code");
    this.list = aside.querySelector(".raw");
    this.language = aside.querySelector("[name=language]");
    this.snippets = {};
    /** @type {[string, string | Uint8Array][]} */
    this.pending = [];
    this.language.addEventListener("change", () => {
      PREFERRED.value = this.language.value;
      this.#showCode();
    });
    document.addEventListener("tab", () => {
      this.language.value = PREFERRED.value;
      this.#showCode();
    });
    aside.querySelector("[name=copy]").addEventListener("click", ({ target }) => this.#copy(target));
    aside.querySelector("[name=clear]").addEventListener("click", () => this.list.replaceChildren());
  }

  /** @param {Record<string, string>} snippets by language. */
  show(snippets) {
    this.snippets = snippets;
    this.#showCode();
  }

  #showCode() {
    this.code.textContent = this.snippets[this.language.value] ?? "";
  }

  /**
   * A message that went by.
   * @param {"sent" | "received" | "bad"} kind
   * @param {string | Uint8Array} data
   */
  raw(kind, data) {
    this.pending.push([kind, data]);
    if (this.pending.length > KEPT) this.pending.shift();
    if (this.pending.length === 1) requestAnimationFrame(() => this.#flush());
  }

  /** Those of one picture at once: many come in a second. */
  #flush() {
    // Whoever reads further up is not moved.
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    this.list.append(...this.pending.splice(0).map(item));
    while (this.list.children.length > KEPT) this.list.firstChild.remove();
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  async #copy(button) {
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      button.textContent = "Copied";
    } catch {
      // Not over plain http from elsewhere: it is marked, for Ctrl-C.
      getSelection().selectAllChildren(this.code);
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }
}

/** @param {[string, string | Uint8Array]} message */
function item([kind, data]) {
  const text = typeof data === "string" ? data : binary(data);
  const found = document.createElement("li");
  const sign = document.createElement("b");
  sign.textContent = `${SIGNS[kind]} `;
  sign.setAttribute("aria-label", kind);
  sign.setAttribute("role", "img");
  const cut = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)} ...` : text;
  found.append(sign, cut);
  found.classList.toggle("bad", kind === "bad");
  return found;
}

/** The JSON of a binary message, and how much follows. @param {Uint8Array} message */
function binary(message) {
  const length = new DataView(message.buffer, message.byteOffset).getUint32(0, true);
  const json = new TextDecoder().decode(message.subarray(4, 4 + length));
  return `${json} + ${message.length - 4 - length} bytes`;
}
