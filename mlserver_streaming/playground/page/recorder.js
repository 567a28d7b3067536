// A microphone as chunks of samples. Blobs of a MediaRecorder would not do: none but the first can be decoded
// alone.

export const RATE = 16000;

/**
 * @param {MediaStream} microphone
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{ samples: Int16Array, level: number }>} until it is stopped; level from 0 to 1.
 */
export async function* chunksOf(microphone, signal) {
  // The browser changes the rate of the microphone to this one.
  const context = new AudioContext({ sampleRate: RATE });
  const chunks = [];
  let wake = () => {};
  const woken = () => wake();
  try {
    await context.audioWorklet.addModule("playground/recorder_worklet.js");
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => {
      chunks.push(data);
      wake();
    };
    context.createMediaStreamSource(microphone).connect(recorder);
    await context.resume();
    signal.addEventListener("abort", woken);
    while (!signal.aborted && microphone.active) {
      while (chunks.length) yield chunks.shift();
      await new Promise((resolve) => {
        wake = resolve;
        if (chunks.length || signal.aborted) resolve();
      });
    }
    yield* chunks;
  } finally {
    signal.removeEventListener("abort", woken);
    microphone.getTracks().forEach((track) => track.stop());
    await context.close();
  }
}
