// Speech goes in, in order on one socket; words come back while it is spoken.

import { Panel, media, shown, takeDrops } from "./panel.js";
import { RATE, chunksOf } from "./recorder.js";
import { speechSnippets } from "./snippets.js";
import { failureOf } from "./streaming.js";

export function setUpSpeech() {
  const panel = new Panel("speech", (inputs) => inputs.has("audio"));
  const finals = panel.root.querySelector(".finals");
  const partial = panel.root.querySelector(".partial");
  const level = panel.root.querySelector("meter");
  takeDrops(panel.root.querySelector(".drop"));

  panel.form.addEventListener("input", () => {
    panel.field("play").disabled = !panel.field("file").files.length || panel.running !== null;
    panel.code(() => speechSnippets(panel.client, panel.model, RATE));
  });
  panel.form.addEventListener("submit", () => panel.run(listen));
  panel.field("play").addEventListener("click", () => panel.run(hear));

  function connected() {
    // A recording is not taken up again in its middle.
    const onraw = (direction, data) => panel.side.raw(direction, data);
    return panel.client.socket(panel.model, { reconnects: 0, onraw });
  }

  /** Send the microphone until it is stopped; the last words still come. */
  async function listen(signal) {
    const microphone = await media({ audio: { channelCount: 1 } });
    const over = new AbortController();
    signal.addEventListener("abort", () => over.abort());
    if (signal.aborted) over.abort();
    let socket = null;
    clear();
    try {
      socket = await connected();
      const shownAll = show(socket, performance.now());
      let sent = 0;
      const sending = (async () => {
        for await (const { samples, rate, level: loud } of chunksOf(microphone, over.signal)) {
          const tensor = { name: "audio", datatype: "INT16", shape: [samples.length], data: samples };
          await socket.send({ inputs: [tensor], parameters: { sample_rate: rate } }, { counted: false });
          sent += samples.length / rate;
          level.value = loud;
          panel.figure("sent", `${sent.toFixed(1)} s`);
        }
        socket.end();
      })();
      await Promise.all([sending, shownAll]);
    } finally {
      over.abort();
      socket?.close();
      microphone.getTracks().forEach((track) => track.stop());
      level.value = 0;
    }
    return said();
  }

  /** Send a file, whole; it is heard as a stream of its own, which can be stopped. */
  async function hear(signal) {
    const file = panel.field("file").files[0];
    clear();
    const data = [new Uint8Array(await file.arrayBuffer())];
    const socket = await connected();
    try {
      signal.addEventListener("abort", () => socket.close());
      const begin = performance.now();
      await socket.send({ inputs: [{ name: "audio", datatype: "BYTES", shape: [1], data }], own_stream: true });
      panel.figure("sent", `${Math.ceil(data[0].length / 1024)} KiB`);
      socket.end();
      await show(socket, begin);
    } finally {
      socket.close();
    }
    if (signal.aborted) throw new Error("Stopped.");
    return said();
  }

  /** Show what comes until the socket ends. */
  async function show(socket, begin) {
    const counts = { partials: 0, finals: 0 };
    for await (const response of socket) {
      const failure = failureOf(response);
      if (failure) throw failure;
      if (!response.outputs?.length) continue;
      const text = response.outputs[0].data[0];
      if (!counts.partials && !counts.finals) panel.figure("first", shown(performance.now() - begin));
      if (response.parameters?.final) {
        counts.finals++;
        partial.textContent = "";
        final(text, response.parameters);
      } else {
        counts.partials++;
        partial.textContent = text;
      }
      panel.figure("partials", counts.partials);
      panel.figure("finals", counts.finals);
    }
    partial.textContent = "";
  }

  function final(text, { start, end }) {
    const item = document.createElement("li");
    if (start !== undefined) {
      const time = document.createElement("time");
      time.textContent = `${start.toFixed(1)} to ${end.toFixed(1)} s`;
      item.append(time);
    }
    item.append(text);
    finals.append(item);
  }

  function clear() {
    finals.replaceChildren();
    partial.textContent = "";
    panel.clearFigures();
  }

  function said() {
    const count = finals.children.length;
    return count ? `${count} ${count === 1 ? "utterance" : "utterances"} heard.` : "Nothing was said.";
  }

  return panel;
}
