// Frames of a camera or a file, as they are shown, and as JPEGs.

const QUALITY = 0.8;

export class FrameSource {
  /** @param {HTMLVideoElement} video that shows them. */
  constructor(video) {
    this.video = video;
    this.canvas = document.createElement("canvas");
  }

  /** @param {MediaStream | File} source */
  async open(source) {
    if (source instanceof File) {
      this.url = URL.createObjectURL(source);
      this.video.src = this.url;
    } else {
      this.stream = source;
      this.video.srcObject = source;
    }
    await new Promise((resolve, reject) => {
      this.video.onloadeddata = resolve;
      this.video.onerror = () => reject(new Error("The browser cannot play this file; try another, such as an MP4."));
    });
    await this.video.play();
  }

  close() {
    this.video.pause();
    this.video.onloadeddata = this.video.onerror = null;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    this.video.load();
    if (this.url) URL.revokeObjectURL(this.url);
  }

  /** Each new picture on the screen, until the source ends or is stopped. @param {AbortSignal} signal */
  async *frames(signal) {
    while (!signal.aborted && !this.video.ended && !this.#cameraGone()) {
      if (await this.#next(signal)) yield performance.now();
    }
  }

  #cameraGone() {
    return this.stream !== undefined && !this.stream.active;
  }

  /** Whether there is another one; false where it ended. */
  #next(signal) {
    return new Promise((resolve) => {
      const end = () => settle(false);
      const settle = (found) => {
        signal.removeEventListener("abort", end);
        this.video.removeEventListener("ended", end);
        resolve(found);
      };
      signal.addEventListener("abort", end);
      this.video.addEventListener("ended", end);
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(() => settle(true));
      else requestAnimationFrame(() => settle(true));
    });
  }

  /** The picture on the screen. @param {number} width in pixels, at most. */
  jpeg(width) {
    return jpegOf(this.canvas, this.video, this.video.videoWidth, this.video.videoHeight, width);
  }
}

/** @param {HTMLCanvasElement} canvas @returns {Promise<{ bytes: Uint8Array, width: number, height: number }>} */
export async function jpegOf(canvas, picture, width, height, most) {
  const scale = Math.min(1, most / width);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const size = { width: canvas.width, height: canvas.height };
  canvas.getContext("2d").drawImage(picture, 0, 0, size.width, size.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  if (!blob) throw new Error("The browser cannot make a JPEG of this picture.");
  return { bytes: new Uint8Array(await blob.arrayBuffer()), ...size };
}
