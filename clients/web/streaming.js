/**
 * Streams of an MLServer Streaming service, for browsers, Node and Deno. One file, nothing else needed:
 * copy it, or import it from a service that shows its page (`/playground/streaming.js`).
 *
 *     const client = new StreamingClient("http://127.0.0.1:8080/", { key });
 *     for await (const answer of client.stream("text-model", { text_input: "Hello there." })) {
 *       console.log(answer.text_output);
 *     }
 *
 *     const socket = await client.socket("motion");
 *     await socket.send({ inputs: [{ name: "image", datatype: "BYTES", shape: [1], data: [jpegBytes] }] });
 *     for await (const response of socket) console.log(response.id, response.outputs);
 *
 * The wire: docs/wire.md and docs/websocket.md; this client: docs/playground.md.
 *
 * @typedef {Uint8Array | Int8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array
 *   | Float64Array | BigInt64Array | BigUint64Array} TypedArray
 * @typedef {{ name: string, datatype: string, shape: number[], data?: any[] | TypedArray | Uint8Array[],
 *   parameters?: Record<string, any> }} Tensor
 *   `data` as a typed array, or of BYTES as a list of Uint8Array, goes over a socket as it is, not as JSON.
 * @typedef {{ id?: string, inputs: Tensor[], outputs?: object[], parameters?: Record<string, any> }}
 *   InferenceRequest
 * @typedef {{ id?: string, model_name?: string, outputs?: Tensor[], parameters?: Record<string, any>,
 *   text_output?: string, final?: boolean, error?: string, error_code?: number }} Answer
 *   An InferenceResponse, or its flat form.
 * @typedef {{ event: string, data: string, id: string }} ServerEvent
 */

/** What went wrong, in one sentence for people. */
export class ServiceError extends Error {
  /**
   * @param {string} message
   * @param {object} [told]
   * @param {number} [told.status] an HTTP status; 0 where there is none (no connection, a later failure).
   * @param {number | null} [told.retryAfter] seconds after which to ask again.
   * @param {unknown} [told.cause]
   */
  constructor(message, { status = 0, retryAfter = null, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ServiceError";
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Calls over HTTP; what they need of a socket too. */
export class StreamingClient {
  /**
   * @param {string | URL} base where the service is: `http://127.0.0.1:8080/`.
   * @param {object} [settings]
   * @param {string | null} [settings.key] a key or a JSON web token; left out where none is needed.
   * @param {string} [settings.openai] the prefix of OpenAI's routes.
   */
  constructor(base, { key = null, openai = "v1" } = {}) {
    this.base = new URL(base);
    if (!this.base.pathname.endsWith("/")) this.base.pathname += "/";
    this.key = key;
    this.openai = openai;
  }

  /** The models that this key may use: `{ name, state, reason }`. @returns {Promise<any[]>} */
  async models() {
    return (await this.call("v2/repository/index", { body: {} })).json();
  }

  /** A model's inputs and outputs. @param {string} model */
  async metadata(model) {
    return (await this.call(modelPath(model), {})).json();
  }

  /**
   * A stream of answers, as server-sent events. Leaving the loop stops the model.
   *
   * @param {string} model
   * @param {InferenceRequest | Record<string, any>} request with `inputs`, or the flat form, which is
   *   answered flat.
   * @param {object} [how]
   * @param {AbortSignal} [how.signal]
   * @param {(data: string) => void} [how.onraw]
   * @param {boolean} [how.resumable] ask for a stream that outlives its connection; where that is lost, or the
   *   service sends its readers elsewhere, the rest is fetched (docs/resume.md).
   * @param {(times: number) => void} [how.onresume] told when it is, and how often it was.
   * @returns {AsyncGenerator<Answer>} one of these may tell of a failure (`failureOf`).
   */
  async *stream(model, request, { signal, onraw, resumable, onresume } = {}) {
    const call = "inputs" in request ? "infer_stream" : "generate_stream";
    const body = resumable ? { ...request, parameters: { ...request.parameters, resumable } } : request;
    for await (const data of this.#events(`${modelPath(model)}/${call}`, body, signal, onresume)) {
      onraw?.(data);
      yield JSON.parse(data);
    }
  }

  /**
   * A chat, as OpenAI streams it.
   *
   * @param {Record<string, any>} body of `/v1/chat/completions`; `stream` is set here.
   * @param {{ signal?: AbortSignal, onraw?: (data: string) => void, resumable?: boolean,
   *   onresume?: (times: number) => void }} [how] as of `stream`.
   * @returns {AsyncGenerator<any>} chunks
   */
  async *chat(body, { signal, onraw, resumable, onresume } = {}) {
    const path = `${this.openai}/chat/completions`;
    const asked = { ...body, stream: true, ...(resumable && { resumable }) };
    for await (const data of this.#events(path, asked, signal, onresume)) {
      onraw?.(data);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
    throw new ServiceError("The answer broke off before its end.");
  }

  /**
   * What a browser shows in place of a key when it opens a socket, since it cannot send headers: once,
   * for one model. @param {string} model @param {number} [seconds] @returns {Promise<string>}
   */
  async token(model, seconds = 60) {
    return (await (await this.call("v2/tokens", { body: { model, seconds } })).json()).token;
  }

  /**
   * An open socket to a model. @param {string} model
   * @param {SocketSettings & { version?: string }} [settings]
   */
  async socket(model, { version, ...settings } = {}) {
    const url = new URL(`${modelPath(model, version)}/stream`, this.base);
    url.protocol = url.protocol.replace("http", "ws");
    const token = this.key ? () => this.token(model) : undefined;
    const socket = new StreamSocket(url, { token, ...settings });
    await socket.open();
    return socket;
  }

  /**
   * One call; an answer that is no success is thrown.
   *
   * @param {string} path without a slash before it.
   * @param {{ body?: object, signal?: AbortSignal, accept?: string, place?: string }} how with a body it is a
   *   POST; `place` is the last event's id that came of a stream.
   * @returns {Promise<Response>}
   */
  async call(path, { body, signal, accept = "application/json", place }) {
    /** @type {Record<string, string>} */
    const headers = { accept };
    if (place) headers["last-event-id"] = place;
    if (body !== undefined) headers["content-type"] = "application/json";
    if (this.key) headers.authorization = `Bearer ${this.key}`;
    let answer;
    try {
      answer = await fetch(new URL(path, this.base), {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
        cache: "no-store",
      });
    } catch (cause) {
      if (signal?.aborted) throw cause;
      throw new ServiceError("The service cannot be reached.", { cause });
    }
    if (!answer.ok) throw await refusal(answer);
    return answer;
  }

  /** The data of the events that answer a call. @param {string} path @param {object} body
   *  @param {AbortSignal} [signal] @param {(times: number) => void} [onresume]
   *  @returns {AsyncGenerator<string>} */
  async *#events(path, body, signal, onresume) {
    const place = new Place();
    const accept = "text/event-stream";
    for (let vain = 0, times = 0; ; vain++) {
      /** @type {number | null} milliseconds, where the service has us come back */
      let pause = null;
      let told = null;
      let lost = new ServiceError("The service stops; ask again.", { status: 503 });
      try {
        const answer = place.stream
          ? await this.call(`v2/streams/${place.stream}`, { signal, accept, place: place.id })
          : await this.call(path, { body, signal, accept });
        if (place.stream) onresume?.(++times);
        place.stream ||= answer.headers.get("x-stream-id") ?? "";
        for await (const { event, data, id } of readEvents(answer.body, (retry) => (pause = retry))) {
          if (event === "error") {
            told = new ServiceError(sentence(data));
            break;
          }
          if (place.reached(id)) vain = 0;
          yield data;
        }
        if (told === null && pause === null) return;
      } catch (cause) {
        const refused = cause instanceof ServiceError;
        if (signal?.aborted || (refused && !isAway(cause))) throw cause;
        lost = refused ? cause : new ServiceError("The connection was lost before the stream's end.", { cause });
        pause = lost.retryAfter === null ? FIRST_PAUSE * 2 ** vain : lost.retryAfter * 1000;
      }
      if (told !== null) throw told;
      if (!place.stream || vain >= TRIES) throw lost;
      await after(Math.min(pause ?? 0, LONGEST_PAUSE), signal);
    }
  }
}

// How often one comes back in vain: over some 20 s, since a service may have to start again.
const TRIES = 8;
const FIRST_PAUSE = 100;

/** Where a reader is in a stream that outlives its connection: the last event's id, `<stream>.<n>`. */
class Place {
  id = "";
  stream = "";
  /** How often one came back to it in vain; over a socket. */
  vain = 0;
  /** Whether the service has said that it goes on elsewhere; over a socket. */
  moved = false;
  #number = 0;

  /** An event came; whether it has a place. Ids of another form are of streams that end with their connection.
   *  @param {string} id */
  reached(id) {
    const found = /^([A-Za-z0-9_-]{16,128})\.([0-9]{1,15})$/.exec(id);
    if (!found) return false;
    // A replica that goes on with a lost one's stream may give it another id, not other numbers.
    if (Number(found[2]) !== this.#number + 1) {
      throw new ServiceError(`Answer ${found[2]} of the stream came after ${this.#number}.`, { status: 502 });
    }
    this.#number++;
    [this.id, this.stream] = found;
    return true;
  }
}

/** Where an answer is in its stream, if that can be read on. @param {Answer & { resume_id?: string }} answer */
function placeIn(answer) {
  return answer.resume_id ?? answer.parameters?.resume_id ?? "";
}

/** Whether it is worth coming back: the service is away, or too busy. @param {ServiceError} error */
function isAway({ status }) {
  return [0, 429, 503, 504].includes(status);
}

/** @param {number} milliseconds @param {AbortSignal} [signal] */
function after(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve(undefined);
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** @param {string} model @param {string} [version] */
function modelPath(model, version) {
  const path = `v2/models/${encodeURIComponent(model)}`;
  return version ? `${path}/versions/${encodeURIComponent(version)}` : path;
}

/** An answer's status and sentence. @param {Response} answer */
async function refusal(answer) {
  const text = await answer.text().catch(() => "");
  const { status } = answer;
  const retryAfter = seconds(answer.headers.get("retry-after"));
  return new ServiceError(sentence(text) || `The service answered ${status}.`, { status, retryAfter });
}

/** The sentence in V2's errors and in OpenAI's. @param {string} text */
function sentence(text) {
  try {
    const { error } = JSON.parse(text);
    return typeof error === "string" ? error : (error?.message ?? "");
  } catch {
    return "";
  }
}

/** A Retry-After: seconds, or a date. @param {string | null} header */
function seconds(header) {
  if (!header) return null;
  const found = Number(header);
  const left = Number.isNaN(found) ? (Date.parse(header) - Date.now()) / 1000 : found;
  return Number.isNaN(left) ? null : Math.max(0, left);
}

/**
 * The failure of one request among others, where an answer tells of one; else null.
 * @param {Answer} answer
 */
export function failureOf(answer) {
  const told = answer.parameters?.error === undefined ? answer : answer.parameters;
  if (typeof told.error !== "string") return null;
  return new ServiceError(told.error, { status: told.error_code ?? 0 });
}

/**
 * Server-sent events, as they come. Comments (the service sends some to keep a silent stream alive) are
 * passed over, and so is an event that is cut off.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 *
 * @param {ReadableStream<Uint8Array> | AsyncIterable<Uint8Array> | null} bytes
 * @param {(milliseconds: number) => void} [onretry] told how long to wait before coming back.
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* readEvents(bytes, onretry) {
  const lines = new Lines();
  let event = "";
  let id = "";
  /** @type {string[]} */
  let data = [];
  for await (const chunk of chunksOf(bytes)) {
    for (const line of lines.of(chunk)) {
      if (line === "") {
        if (data.length) yield { event: event || "message", data: data.join("\n"), id };
        event = "";
        data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
      if (field === "data") data.push(value);
      else if (field === "event") event = value;
      else if (field === "id" && !value.includes("\0")) id = value;
      else if (field === "retry" && /^[0-9]+$/.test(value)) onretry?.(Number(value));
    }
  }
}

/** Lines that end with LF, CR or both, however the bytes are cut. */
class Lines {
  #decoder = new TextDecoder();
  #rest = "";
  #afterReturn = false;

  /** The lines that a chunk completes. @param {Uint8Array} chunk */
  *of(chunk) {
    let text = this.#decoder.decode(chunk, { stream: true });
    if (!text) return;
    if (this.#afterReturn && text[0] === "\n") text = text.slice(1);
    this.#afterReturn = text ? text.endsWith("\r") : false;
    const found = text.split(/\r\n|\n|\r/);
    found[0] = this.#rest + found[0];
    this.#rest = /** @type {string} */ (found.pop());
    yield* found;
  }
}

/** Not every browser's streams can be iterated. @param {any} bytes */
async function* chunksOf(bytes) {
  if (!bytes?.getReader) {
    yield* bytes ?? [];
    return;
  }
  const reader = bytes.getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    // What nobody reads any more is closed: the model stops.
    await reader.cancel().catch(() => {});
  }
}

/**
 * @typedef {object} SocketSettings
 * @property {() => Promise<string | null>} [token] what stands for the caller, asked for at each opening.
 * @property {number} [ahead] requests that may be without an answer before `send` waits.
 * @property {number} [reconnects] tries to come back after the connection was lost; 0 never does.
 * @property {number} [pause] milliseconds before the first of them; each later one waits twice as long.
 * @property {(state: "open" | "lost" | "closed", detail: string) => void} [onstate]
 * @property {(direction: "sent" | "received", data: string | Uint8Array) => void} [onraw]
 */

export const SUB_PROTOCOL = "v2.stream";
const LONGEST_PAUSE = 8000;
const NORMAL = 1000;
const LOST = 1006;
const RESTARTS = 1012;
// The service ends a whole socket with 4000 and an HTTP status.
const STATUSES = 4000;
const UNOPENED = "The socket cannot be opened: the service is away, or refuses this caller or model.";

/**
 * Requests and answers over one connection, those of one model in order.
 *
 * Answers are counted, and `send` waits while `ahead` requests have none that was taken from this iterator:
 * a browser takes in whatever is sent, and its `bufferedAmount` tells nothing before 4 to 10 MB are on
 * their way.
 *
 * A connection that is lost (1006), or whose service restarts (1012), is opened anew if nothing is left
 * unanswered, or only requests with `own_stream` and the parameter `resumable` whose answers have begun: their
 * rest is fetched (docs/resume.md). What may have been computed already is never asked twice.
 */
export class StreamSocket {
  /** @type {WebSocket | null} */
  #socket = null;
  #url;
  /** @type {Required<SocketSettings>} */
  #settings;
  #next = 1;
  /** Ids without an answer, in the order sent, with the stream that each belongs to. @type {Map<string, string>} */
  #unanswered = new Map();
  /** Where those are that can be read on, by their ids. @type {Map<string, Place>} */
  #places = new Map();
  /** How often the connection was lost since the last answer with a place. */
  #vain = 0;
  /** Something was sent whose answers nobody counts, such as a recording's chunks. */
  #uncounted = false;
  #ending = false;
  /** @type {Answer[]} */
  #answers = [];
  /** @type {Error | null} */
  #failure = null;
  #closed = false;
  /** Whoever waits for a change. @type {Set<() => void>} */
  #waiting = new Set();

  /** @param {string | URL} url `ws://.../v2/models/{model}/stream` @param {SocketSettings} [settings] */
  constructor(url, settings = {}) {
    this.#url = String(url);
    this.#settings = {
      token: async () => null,
      ahead: 8,
      reconnects: 5,
      pause: 500,
      onstate: () => {},
      onraw: () => {},
      ...Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)),
    };
  }

  /** How many requests have no answer yet. */
  get unanswered() {
    return this.#unanswered.size;
  }

  /** Whether `send` would not wait. */
  get free() {
    return this.#isOpen && this.#unanswered.size < this.#settings.ahead;
  }

  get #isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Connect; a ServiceError where that cannot be. */
  async open() {
    const protocols = [SUB_PROTOCOL];
    const token = await this.#settings.token();
    if (token) protocols.push(`token.${token}`);
    if (this.#closed) throw this.#failure ?? new ServiceError("The socket is closed.");
    const socket = new WebSocket(this.#url, protocols);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      // Browsers do not tell why, and Node 20 does not close what it could not open.
      socket.onerror = socket.onclose = () => reject(new ServiceError(UNOPENED));
    });
    socket.onerror = null;
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => void this.#lost(code, reason);
    this.#uncounted = false;
    this.#settings.onstate("open", "");
    this.#changed();
  }

  /**
   * Send a request once there is room for it; its id comes back.
   *
   * @param {(InferenceRequest | Record<string, any>) & { model_name?: string, model_version?: string,
   *   own_stream?: boolean }} request another `model_name` asks another model; `own_stream` answers it
   *   beside the others, and ends its answers with `{ id, final: true }`.
   * @param {{ counted?: boolean }} [how] `counted: false` for requests that may have no answer of their own,
   *   such as chunks of a recording.
   * @returns {Promise<string>}
   */
  async send(request, { counted = true } = {}) {
    while (!this.#closed && !(counted ? this.free : this.#isOpen)) await this.#change();
    if (this.#closed) throw this.#failure ?? new ServiceError("The socket is closed.");
    if (this.#ending) throw new ServiceError("Nothing can be sent after the end.");
    const id = request.id || String(this.#next++);
    this.#write(encodeMessage({ ...request, id }));
    // One with a timeout ends with `final` too.
    const own = request.own_stream || request.parameters?.timeout !== undefined;
    if (counted || own) {
      this.#unanswered.set(id, own ? `own ${id}` : `of ${request.model_name ?? ""}`);
    } else {
      this.#uncounted = true;
    }
    return id;
  }

  /** A request's answers are wanted no longer. @param {string} id */
  cancel(id) {
    if (this.#isOpen) this.#write(JSON.stringify({ cancel: id }));
  }

  /** No more requests come; the answers still do, and then the iterator ends. */
  end() {
    this.#ending = true;
    if (this.#isOpen) this.#write(JSON.stringify({ end: true }));
  }

  /** Close at once: what is under way stops. */
  close() {
    this.#ended(null);
    this.#socket?.close(NORMAL);
  }

  /** Answers, until the end; a ServiceError where it is not a good one. @returns {AsyncGenerator<Answer>} */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      const answer = this.#answers.shift();
      if (answer !== undefined) {
        this.#taken(answer);
        yield answer;
      } else if (this.#closed) {
        if (this.#failure) throw this.#failure;
        return;
      } else {
        await this.#change();
      }
    }
  }

  /** @param {string | Uint8Array} message */
  #write(message) {
    this.#settings.onraw("sent", message);
    this.#socket?.send(/** @type {any} */ (message));
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    const bytes = typeof data === "string" ? null : new Uint8Array(data);
    this.#settings.onraw("received", bytes ?? /** @type {string} */ (data));
    const answer = bytes ? decodeMessage(bytes) : JSON.parse(/** @type {string} */ (data));
    if (this.#places.size || placeIn(answer)) {
      try {
        if (!this.#follow(answer)) return;
      } catch (failure) {
        this.#ended(/** @type {ServiceError} */ (failure));
        return this.#socket?.close(NORMAL);
      }
    }
    this.#answers.push(answer);
    this.#changed();
  }

  /** Note where a resumable stream is; whether the answer is for whoever asked. @param {Answer} answer */
  #follow(answer) {
    const id = answer.id ?? "";
    if (!this.#unanswered.get(id)?.startsWith("own ")) return true;
    const place = this.#places.get(id) ?? new Place();
    if (place.reached(placeIn(answer))) {
      this.#places.set(id, place);
      this.#vain = place.vain = 0;
      return true;
    }
    const failure = failureOf(answer);
    if (place.stream && failure && isAway(failure) && place.vain < TRIES) {
      place.moved = true;
      return false;
    }
    if (!answer.final) return true;
    if (place.moved) void this.#comeBack(id, place);
    else this.#places.delete(id);
    return !place.moved;
  }

  /** Read a stream on that the service gave up, while the socket goes on. @param {string} id @param {Place} place */
  async #comeBack(id, place) {
    const socket = this.#socket;
    await after(Math.min(LONGEST_PAUSE, this.#settings.pause * 2 ** place.vain++));
    // Of another socket it is read already.
    if (this.#isOpen && socket === this.#socket && this.#places.get(id) === place) this.#resume(id, place);
  }

  /** @param {string} id @param {Place} place */
  #resume(id, place) {
    place.moved = false;
    this.#write(JSON.stringify({ resume: place.id, id }));
  }

  /** A request with an answer has room for another. @param {Answer} answer */
  #taken(answer) {
    const id = answer.id ?? "";
    const stream = this.#unanswered.get(id);
    if (stream === undefined) return;
    if (stream.startsWith("own ")) {
      if (answer.final) this.#unanswered.delete(id);
    } else {
      // Those of one model are answered in order: an earlier one that has no answer gets none.
      for (const [earlier, its] of this.#unanswered) {
        if (its === stream) this.#unanswered.delete(earlier);
        if (earlier === id) break;
      }
    }
    this.#changed();
  }

  /** @param {number} code @param {string} reason */
  async #lost(code, reason) {
    if (this.#closed) return;
    if (code === NORMAL && this.#ending) return this.#ended(null);
    const comesBack = (code === LOST || code === RESTARTS) && this.#vain < TRIES;
    // Answers that came, and were not taken yet, are answers.
    const open = new Set(this.#unanswered.keys());
    for (const answer of this.#answers) {
      const stream = this.#unanswered.get(answer.id ?? "");
      if (stream && (answer.final || !stream.startsWith("own "))) open.delete(answer.id ?? "");
    }
    const resumable = open.size ? [...open].every((id) => this.#places.has(id)) : !this.#ending;
    if (comesBack && resumable && !this.#uncounted && this.#settings.reconnects) {
      this.#settings.onstate("lost", reason);
      return this.#reconnect();
    }
    const status = code >= STATUSES ? code - STATUSES : 0;
    const left = open.size ? ` Without an answer: ${open.size}.` : "";
    const told = reason || (code === LOST ? "The connection was lost." : `The service closed the socket (${code}).`);
    this.#ended(new ServiceError(told + left, { status }));
  }

  async #reconnect() {
    const { reconnects, pause } = this.#settings;
    /** @type {unknown} */
    let failure = null;
    const vain = this.#places.size ? this.#vain++ : 0;
    for (let tried = 0; tried < reconnects; tried++) {
      const longest = Math.min(LONGEST_PAUSE, pause * 2 ** (vain + tried));
      // Not all clients of a service that restarts at the same moment.
      await new Promise((resolve) => setTimeout(resolve, longest * (0.5 + Math.random() / 2)));
      if (this.#closed) return;
      try {
        await this.open();
        for (const [id, place] of this.#places) this.#resume(id, place);
        if (this.#ending) this.end();
        return;
      } catch (error) {
        failure = error;
      }
    }
    this.#ended(new ServiceError(`The service did not come back in ${reconnects} tries.`, { cause: failure }));
  }

  /** @param {ServiceError | null} failure */
  #ended(failure) {
    if (this.#closed) return;
    this.#closed = true;
    this.#failure = failure;
    this.#settings.onstate("closed", failure?.message ?? "");
    this.#changed();
  }

  #change() {
    return new Promise((resolve) => this.#waiting.add(() => resolve(undefined)));
  }

  #changed() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}

const LENGTH_BYTES = 4;
/** @type {Record<string, any>} */
const ARRAYS = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP32: Float32Array,
  FP64: Float64Array,
};

/**
 * A request as a message: text, or, where a tensor's data are bytes, V2's binary form with the JSON's length
 * (uint32, little-endian) before it.
 *
 * @param {Record<string, any>} request
 * @returns {string | Uint8Array}
 */
export function encodeMessage(request) {
  /** @type {Uint8Array[]} */
  const tails = [];
  const inputs = request.inputs?.map((/** @type {Tensor} */ tensor) => {
    const { data, ...head } = tensor;
    const tail = rawBytes(data);
    if (!tail) return tensor;
    tails.push(tail);
    return { ...head, parameters: { ...head.parameters, binary_data_size: tail.length } };
  });
  if (!tails.length) return JSON.stringify(request);
  const json = new TextEncoder().encode(JSON.stringify({ ...request, inputs }));
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, json.length, true);
  return joined([length, json, ...tails]);
}

/** A tensor's data as bytes; null where JSON carries them. @param {any} data */
function rawBytes(data) {
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (!Array.isArray(data) || !data.length || !data.every((each) => each instanceof Uint8Array)) return null;
  return joined(
    data.flatMap((element) => {
      const length = new Uint8Array(LENGTH_BYTES);
      new DataView(length.buffer).setUint32(0, element.length, true);
      return [length, element];
    }),
  );
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * A binary message as an answer: numbers become typed arrays (FP16 and BF16 their bits), BYTES a list of
 * Uint8Array. @param {Uint8Array} message @returns {Answer}
 */
export function decodeMessage(message) {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const end = LENGTH_BYTES + view.getUint32(0, true);
  const answer = JSON.parse(new TextDecoder().decode(message.subarray(LENGTH_BYTES, end)));
  let at = end;
  for (const tensor of answer.outputs ?? []) {
    const size = tensor.parameters?.binary_data_size;
    if (size === undefined) continue;
    const bytes = message.slice(at, at + size);
    at += size;
    tensor.data = tensor.datatype === "BYTES" ? elements(bytes) : new (ARRAYS[tensor.datatype] ?? Uint16Array)(bytes.buffer);
  }
  return answer;
}

/** @param {Uint8Array} bytes */
function elements(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    const from = at + LENGTH_BYTES;
    at = from + view.getUint32(at, true);
    found.push(bytes.subarray(from, at));
  }
  return found;
}
