// Pictures go in over one socket, boxes come back. Only the newest frame is sent: those that come while the
// service has enough to do are dropped, and counted.

import { drawBoxes, foundIn } from "./boxes.js";
import { FrameSource, jpegOf } from "./frame_source.js";
import { Panel, media, quantile, shown, takeDrops } from "./panel.js";
import { Plot } from "./plot.js";
import { videoSnippets } from "./snippets.js";
import { failureOf } from "./streaming.js";

const MEASURED = 120;

export function setUpVideo() {
  const panel = new Panel("video", (inputs, outputs) => outputs.has("boxes"));
  const stage = panel.root.querySelector(".stage");
  const [video, picture, overlay] = stage.children;
  const plot = new Plot(panel.root.querySelector(".plot"));
  takeDrops(panel.root.querySelector(".drop"));

  const parameters = () => ({
    confidence: Number(panel.field("confidence").value),
    track: panel.field("track").checked,
  });

  panel.form.addEventListener("input", () => {
    panel.field("play").disabled = !panel.field("file").files.length || panel.running !== null;
    panel.code(() => videoSnippets(panel.client, panel.model, parameters()));
  });
  panel.form.addEventListener("submit", () =>
    panel.run(async (signal) => {
      const camera = await media({ video: { width: { ideal: 1280 } } });
      return watch(camera, signal);
    }),
  );
  panel.field("play").addEventListener("click", () =>
    panel.run((signal) => {
      const file = panel.field("file").files[0];
      return file.type.startsWith("image/") ? look(file, signal) : watch(file, signal);
    }),
  );

  /** Open a socket for a run; it ends with the run. */
  async function connected(signal, ahead) {
    const socket = await panel.client.socket(panel.model, {
      ahead,
      onraw: (direction, data) => panel.side.raw(direction, data),
      onstate: (state) => panel.say(state === "lost" ? "The connection was lost; trying again ..." : ""),
    });
    signal.addEventListener("abort", () => socket.close());
    if (signal.aborted) socket.close();
    return socket;
  }

  /** Send a stream of frames, and draw what comes back. */
  async function watch(source, signal) {
    const counts = { sent: 0, answered: 0, dropped: 0 };
    const sentAt = new Map();
    const latencies = [];
    const begin = performance.now();
    const tell = () => {
      for (const [name, count] of Object.entries(counts)) panel.figure(name, count);
    };
    panel.clearFigures();
    plot.clear();
    tell();
    picture.hidden = true;
    video.hidden = false;
    const frames = new FrameSource(video);
    const over = new AbortController();
    signal.addEventListener("abort", () => over.abort());
    if (signal.aborted) over.abort();
    let socket = null;
    try {
      await frames.open(source);
      stage.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
      socket = await connected(signal, Number(panel.field("ahead").value) || 2);
      await Promise.all([send(), receive()]);
    } finally {
      over.abort();
      socket?.close();
      frames.close();
      overlay.width = overlay.width;
    }
    return `${counts.sent} frames sent, ${counts.answered} answered, ${counts.dropped} dropped.`;

    async function send() {
      let encoding = null;
      let failure = null;
      for await (const at of frames.frames(over.signal)) {
        if (failure) throw failure;
        if (encoding || !socket.free) {
          counts.dropped++;
          tell();
          continue;
        }
        // Made beside the next frames, which are counted meanwhile.
        encoding = frames.jpeg(Number(panel.field("width").value)).then(async ({ bytes, ...size }) => {
          const id = `frame-${counts.sent++}`;
          sentAt.set(id, { at, size });
          await socket.send({
            id,
            inputs: [{ name: "image", datatype: "BYTES", shape: [1], data: [bytes] }],
            parameters: parameters(),
          });
        });
        encoding = encoding.then(
          () => (encoding = null),
          (error) => (failure = error),
        );
        tell();
      }
      await encoding;
      // What is cut off by the stop is no failure.
      if (failure && !signal.aborted) throw failure;
      socket.end();
    }

    async function receive() {
      for await (const response of socket) {
        const failure = failureOf(response);
        if (failure) throw failure;
        const sent = sentAt.get(response.id);
        if (!sent) continue;
        sentAt.delete(response.id);
        counts.answered++;
        const now = performance.now();
        latencies.push(now - sent.at);
        if (latencies.length > MEASURED) latencies.shift();
        plot.add(now - sent.at);
        const found = foundIn(response);
        drawBoxes(overlay, sent.size, found);
        tell();
        panel.figure("rate", ((counts.answered * 1000) / (now - begin)).toFixed(1));
        panel.figure("median", shown(quantile(latencies, 0.5)));
        panel.figure("p95", shown(quantile(latencies, 0.95)));
        panel.figure("objects", found.boxes.length);
      }
    }
  }

  /** One picture. */
  async function look(file, signal) {
    panel.clearFigures();
    plot.clear();
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(file);
    await picture.decode().catch(() => {
      throw new Error("The browser cannot read this picture; try a JPEG or a PNG.");
    });
    picture.hidden = false;
    video.hidden = true;
    stage.style.aspectRatio = `${picture.naturalWidth} / ${picture.naturalHeight}`;
    const { naturalWidth, naturalHeight } = picture;
    const width = Number(panel.field("width").value);
    const { bytes, ...size } = await jpegOf(document.createElement("canvas"), picture, naturalWidth, naturalHeight, width);
    const socket = await connected(signal, 1);
    const begin = performance.now();
    const tensor = { name: "image", datatype: "BYTES", shape: [1], data: [bytes] };
    await socket.send({ inputs: [tensor], parameters: { confidence: parameters().confidence } });
    socket.end();
    let count = 0;
    for await (const response of socket) {
      const failure = failureOf(response);
      if (failure) throw failure;
      const found = foundIn(response);
      count = found.boxes.length;
      drawBoxes(overlay, size, found);
      plot.add(performance.now() - begin);
      panel.figure("median", shown(performance.now() - begin));
    }
    panel.figure("sent", 1);
    panel.figure("answered", 1);
    panel.figure("objects", count);
    return `${count} found in the picture.`;
  }

  return panel;
}
