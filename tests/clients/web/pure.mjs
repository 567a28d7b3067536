// Bytes in, values out.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  ServiceError,
  StreamingClient,
  decodeMessage,
  encodeMessage,
  failureOf,
  readEvents,
} from "../../../clients/web/streaming.js";

const bytes = (text) => new TextEncoder().encode(text);

async function events(...chunks) {
  const found = [];
  for await (const event of readEvents(chunks)) found.push(event);
  return found;
}

test("events are the same however their bytes are cut", async () => {
  const text = "\ufeffdata: one\r\n\r\n: keep-alive\n\nid: 7\rdata: zwei ü 🎈\rdata:second\r\revent: error\ndata: {}\nretry: 5\n\n";
  const whole = bytes(text);
  const wanted = [
    { event: "message", data: "one", id: "" },
    { event: "message", data: "zwei ü 🎈\nsecond", id: "7" },
    { event: "error", data: "{}", id: "7" },
  ];
  assert.deepEqual(await events(whole), wanted);
  assert.deepEqual(await events(...[...whole].map((byte) => Uint8Array.of(byte))), wanted);
  for (let at = 0; at <= whole.length; at++) {
    assert.deepEqual(await events(whole.slice(0, at), whole.slice(at)), wanted, `cut at ${at}`);
  }
});

test("an event that is cut off is none, nor is one without data", async () => {
  assert.deepEqual(await events(bytes("event: a\n\ndata: b\n")), []);
});

test("leaving a loop of events closes what they come from", async () => {
  let closed = false;
  const stream = new ReadableStream({
    pull: (controller) => controller.enqueue(bytes("data: x\n\n")),
    cancel: () => {
      closed = true;
    },
  });
  for await (const _ of readEvents(stream)) break;
  assert.ok(closed);
});

test("a request without bytes is text", () => {
  const request = { id: "a", inputs: [{ name: "x", datatype: "INT32", shape: [1], data: [1] }] };
  assert.deepEqual(JSON.parse(encodeMessage(request)), request);
  assert.equal(encodeMessage({ text_input: "a" }), '{"text_input":"a"}');
});

test("numbers and BYTES go as they are, after the JSON and its length", () => {
  const message = encodeMessage({
    inputs: [
      { name: "a", datatype: "INT16", shape: [2], data: Int16Array.of(1, -2), parameters: { p: 1 } },
      { name: "b", datatype: "BYTES", shape: [2], data: [bytes("xy"), bytes("")] },
      { name: "c", datatype: "BYTES", shape: [1], data: ["text"] },
    ],
  });
  const length = new DataView(message.buffer).getUint32(0, true);
  const { inputs } = JSON.parse(new TextDecoder().decode(message.subarray(4, 4 + length)));
  assert.deepEqual(inputs, [
    { name: "a", datatype: "INT16", shape: [2], parameters: { p: 1, binary_data_size: 4 } },
    { name: "b", datatype: "BYTES", shape: [2], parameters: { binary_data_size: 10 } },
    { name: "c", datatype: "BYTES", shape: [1], data: ["text"] },
  ]);
  assert.deepEqual([...message.subarray(4 + length)], [1, 0, 254, 255, 2, 0, 0, 0, 120, 121, 0, 0, 0, 0]);
});

test("a part of a longer buffer is that part", () => {
  const part = Int16Array.of(1, 2, 3).subarray(1, 2);
  const message = encodeMessage({ inputs: [{ name: "a", datatype: "INT16", shape: [1], data: part }] });
  assert.deepEqual([...message.subarray(-2)], [2, 0]);
  assert.ok(new TextDecoder().decode(message).includes('"binary_data_size":2}'));
});

test("a binary answer has typed arrays and lists of bytes", () => {
  const head = bytes(
    JSON.stringify({
      id: "1",
      outputs: [
        { name: "a", datatype: "FP32", shape: [1], parameters: { binary_data_size: 4 } },
        { name: "b", datatype: "BYTES", shape: [2], parameters: { binary_data_size: 9 } },
        { name: "c", datatype: "INT64", shape: [1], parameters: { binary_data_size: 8 } },
        { name: "d", datatype: "INT32", shape: [1], data: [5] },
      ],
    }),
  );
  const tail = [0, 0, 128, 63, 1, 0, 0, 0, 65, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
  const whole = new Uint8Array([head.length & 255, head.length >> 8, 0, 0, ...head, ...tail]);
  const { outputs } = decodeMessage(whole);
  assert.deepEqual(outputs.map(({ data }) => data), [
    Float32Array.of(1),
    [bytes("A"), bytes("")],
    BigInt64Array.of(-1n),
    [5],
  ]);
});

test("a failed request among others is told by its parameters, or flat", () => {
  assert.equal(failureOf({ outputs: [], parameters: { final: true } }), null);
  const failed = failureOf({ outputs: [], parameters: { error: "No JPEG.", error_code: 422 } });
  assert.deepEqual([failed.message, failed.status], ["No JPEG.", 422]);
  const flat = failureOf({ error: "Too long.", error_code: 413 });
  assert.deepEqual([flat.message, flat.status], ["Too long.", 413]);
});

test("nobody there is one sentence", async () => {
  const client = new StreamingClient("http://127.0.0.1:9");
  await assert.rejects(client.models(), (error) => {
    assert.ok(error instanceof ServiceError);
    assert.deepEqual([error.message, error.status], ["The service cannot be reached.", 0]);
    return true;
  });
});
