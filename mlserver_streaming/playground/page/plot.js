// Times as bars, the newest at the right.

const MOST = 120;
const LEFT = 54;
const BOTTOM = 6;
const TOP = 10;
const WIDEST = 14;

export class Plot {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    canvas.hidden = true;
    this.values = [];
    this.waiting = false;
    new ResizeObserver(() => this.#later()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#later());
  }

  /** @param {number} milliseconds */
  add(milliseconds) {
    this.values.push(milliseconds);
    if (this.values.length > MOST) this.values.shift();
    this.#later();
  }

  clear() {
    this.values = [];
    this.#later();
  }

  #later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#draw();
    });
  }

  #draw() {
    this.canvas.hidden = this.values.length === 0;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !this.values.length) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    pen.scale(ratio, ratio);
    pen.font = `11px ${style.fontFamily}`;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const most = round(Math.max(1, ...this.values));
    const high = height - BOTTOM - TOP;
    for (const share of [0, 0.5, 1]) {
      const y = TOP + high * (1 - share);
      pen.fillStyle = style.getPropertyValue("--soft");
      pen.fillText(`${most * share} ms`.replace(/^0 ms/, "0"), LEFT - 6, y);
      pen.fillStyle = style.getPropertyValue("--line");
      pen.fillRect(LEFT, Math.round(y), width - LEFT, 1);
    }
    const step = Math.min(WIDEST, (width - LEFT) / Math.max(40, this.values.length));
    pen.fillStyle = style.getPropertyValue("--accent");
    this.values.forEach((value, at) => {
      const tall = (value / most) * high;
      pen.fillRect(LEFT + at * step, TOP + high - tall, Math.max(1, step - 1), Math.max(1, tall));
    });
  }
}

/** The next 1, 2 or 5 times a power of ten. @param {number} value */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value);
}
