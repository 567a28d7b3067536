// The client against a service with keys: URL, KEY.

import assert from "node:assert/strict";
import { test } from "node:test";

import { StreamingClient, failureOf } from "../../../clients/web/streaming.js";

const { URL: url, KEY: key } = process.env;
const client = new StreamingClient(url, { key });

async function all(stream) {
  const found = [];
  for await (const each of stream) found.push(each);
  return found;
}

test("a flat stream, and one with tensors", async () => {
  const flat = await all(client.stream("text-model", { text_input: "a b", parameters: { delay: 0 } }));
  assert.deepEqual(flat.map((answer) => answer.text_output), ["a", " b"]);
  const inputs = [{ name: "prompt", datatype: "BYTES", shape: [1], data: ["a b"] }];
  const whole = await all(client.stream("text-model", { inputs, parameters: { delay: 0 } }));
  assert.deepEqual(whole.map(({ outputs }) => outputs[0].data[0]), ["a", " b"]);
});

test("a stream that is aborted", async () => {
  const stop = new AbortController();
  const words = client.stream("text-model", { text_input: "a b", parameters: { delay: 5 } }, { signal: stop.signal });
  const reading = all(words);
  stop.abort();
  await assert.rejects(reading, { name: "AbortError" });
});

test("errors have their status and the service's sentence", async () => {
  await assert.rejects(client.metadata("nobody"), { name: "ServiceError", status: 404, message: /not found/ });
  await assert.rejects(all(client.chat({ model: "nobody", messages: [{ role: "user", content: "a" }] })), { status: 404 });
  await assert.rejects(new StreamingClient(url).models(), { status: 401, message: /needs a key/ });
  await assert.rejects(new StreamingClient(url).socket("text-model"), /cannot be opened/);
});

test("a chat", async () => {
  const messages = [{ role: "user", content: "one two" }];
  const chunks = await all(client.chat({ model: "language", messages }));
  assert.equal(chunks.map(({ choices }) => choices[0]?.delta?.content ?? "").join(""), "one two");
});

test("a socket: requests in order, a failed one among them, one of its own that is cancelled", async () => {
  const socket = await client.socket("text-model");
  const ask = (id, delay) => ({
    id,
    inputs: [{ name: "prompt", datatype: "BYTES", shape: [1], data: [new TextEncoder().encode("a b")] }],
    parameters: { delay },
  });
  await socket.send(ask("first", 0));
  await socket.send({ id: "bad", inputs: [{ name: "prompt", datatype: "INT32", shape: [1], data: ["x"] }] });
  await socket.send({ ...ask("slow", 5), own_stream: true });
  const ended = [];
  for await (const answer of socket) {
    const failure = failureOf(answer);
    if (answer.final) ended.push("final");
    else ended.push(failure ? `${answer.id} ${failure.status}` : answer.id);
    if (answer.id === "bad") socket.cancel("slow");
    if (answer.final) socket.end();
  }
  assert.deepEqual(ended.filter((each) => each === "first").length, 2);
  assert.ok(ended.includes("bad 400"), ended.join());
  assert.deepEqual(ended.slice(-2), ["slow 499", "final"]);
});
