// A microphone as chunks of samples. Blobs of a MediaRecorder would not do: none but the first can be decoded
// alone.

export const RATE = 16000;

/**
 * @param {MediaStream} microphone
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{ samples: Int16Array, rate: number, level: number }>} until it is stopped; level
 *   from 0 to 1.
 */
export async function* chunksOf(microphone, signal) {
  const { context, source } = opened(microphone);
  const chunks = [];
  let wake = () => {};
  const woken = () => wake();
  try {
    await context.audioWorklet.addModule("playground/recorder_worklet.js");
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => {
      chunks.push({ ...data, rate: context.sampleRate });
      wake();
    };
    source.connect(recorder);
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

/** @param {MediaStream} microphone */
function opened(microphone) {
  const context = new AudioContext({ sampleRate: RATE });
  try {
    return { context, source: context.createMediaStreamSource(microphone) };
  } catch {
    // Firefox takes a microphone at its own rate only. The service takes any.
    context.close();
    const own = new AudioContext();
    return { context: own, source: own.createMediaStreamSource(microphone) };
  }
}
