// On the browser's audio thread: what the microphone hears, mono, as INT16 chunks.

const CHUNK_SECONDS = 0.1;

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(Math.round(sampleRate * CHUNK_SECONDS));
    this.filled = 0;
    this.loudest = 0;
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let at = 0; at < length; at++) {
      let sample = 0;
      for (const channel of channels) sample += channel[at] / channels.length;
      sample = Math.max(-1, Math.min(1, sample));
      this.loudest = Math.max(this.loudest, Math.abs(sample));
      this.chunk[this.filled++] = sample * 32767;
      if (this.filled === this.chunk.length) this.#send();
    }
    return true;
  }

  #send() {
    const samples = this.chunk;
    this.port.postMessage({ samples, level: this.loudest }, [samples.buffer]);
    this.chunk = new Int16Array(Math.round(sampleRate * CHUNK_SECONDS));
    this.filled = 0;
    this.loudest = 0;
  }
}

registerProcessor("recorder", Recorder);
