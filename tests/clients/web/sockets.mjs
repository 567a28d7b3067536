// StreamSocket against stand_in.py, whose paths are what goes on there.

import assert from "node:assert/strict";
import { test } from "node:test";

import { StreamSocket, StreamingClient } from "../../../clients/web/streaming.js";

const BASE = process.env.STAND_IN;
const REQUEST = { inputs: [{ name: "x", datatype: "INT32", shape: [1], data: [1] }] };

async function opened(name, settings = {}) {
  const socket = new StreamSocket(`${BASE}/${name}`, { pause: 10, ...settings });
  await socket.open();
  return socket;
}

async function answers(socket) {
  const found = [];
  for await (const answer of socket) found.push(answer);
  return found;
}

/** What a promise has come to once all that can happen has. */
async function settled(promise) {
  const turn = new Promise((resolve) => setImmediate(() => resolve("waits")));
  return Promise.race([promise.then(() => "done"), turn]);
}

test("answers come with their requests' ids, and the end is an end", async () => {
  const socket = await opened("echo");
  assert.equal(await socket.send(REQUEST), "1");
  assert.equal(await socket.send({ ...REQUEST, id: "mine" }), "mine");
  socket.end();
  assert.deepEqual((await answers(socket)).map(({ id }) => id), ["1", "mine"]);
  await assert.rejects(socket.send(REQUEST), /closed/);
});

test("bytes go and come as bytes", async () => {
  const socket = await opened("echo");
  const data = Float32Array.of(1.5, -2);
  await socket.send({ inputs: [{ name: "x", datatype: "FP32", shape: [2], data }] });
  socket.end();
  assert.deepEqual((await answers(socket))[0].outputs[0].data, data);
});

test("a token is a second sub-protocol, asked for at each opening", async () => {
  let count = 0;
  const token = async () => `t${++count}`;
  const socket = await opened("token-then-restart", { token });
  await socket.send(REQUEST);
  const found = [];
  for await (const { outputs } of socket) {
    found.push(outputs[0].data[0]);
    if (found.length === 2) break;
    await socket.send(REQUEST);
  }
  assert.deepEqual(found, ["token.t1", "token.t2"]);
  socket.close();
});

test("send waits until an answer was taken", async () => {
  const socket = await opened("echo", { ahead: 2 });
  await socket.send(REQUEST);
  await socket.send(REQUEST);
  const third = socket.send(REQUEST);
  assert.equal(await settled(third), "waits");
  const taken = socket[Symbol.asyncIterator]();
  await taken.next();
  assert.equal(await third, "3");
  assert.equal(socket.free, false);
  socket.close();
});

test("a later answer of one model says that an earlier request has none", async () => {
  const socket = await opened("last-of-three");
  await socket.send({ ...REQUEST, model_name: "other" });
  for (let count = 0; count < 3; count++) await socket.send(REQUEST);
  const taken = socket[Symbol.asyncIterator]();
  assert.equal((await taken.next()).value.id, "4");
  assert.equal(socket.unanswered, 1);
  socket.close();
});

test("a stream of its own ends with final, and can be cancelled", async () => {
  const socket = await opened("own");
  const id = await socket.send({ ...REQUEST, own_stream: true });
  const taken = socket[Symbol.asyncIterator]();
  assert.deepEqual((await taken.next()).value, { id, outputs: [] });
  assert.equal(socket.unanswered, 1);
  socket.cancel(id);
  assert.equal((await taken.next()).value.parameters.error_code, 499);
  assert.deepEqual((await taken.next()).value, { id, final: true });
  assert.equal(socket.unanswered, 0);
  socket.close();
});

test("it comes back after a restart where all was answered", async () => {
  const states = [];
  const socket = await opened("restart", { onstate: (state) => states.push(state) });
  await socket.send(REQUEST);
  const taken = socket[Symbol.asyncIterator]();
  await taken.next();
  const next = taken.next();
  await new Promise((resolve) => setTimeout(resolve, 0));
  await socket.send(REQUEST);
  assert.equal((await next).value.id, "2");
  socket.close();
  assert.deepEqual(states, ["open", "lost", "open", "closed"]);
});

test("what was asked and not answered is not asked again", async () => {
  const socket = await opened("restart-unanswered");
  await socket.send(REQUEST);
  await assert.rejects(answers(socket), { message: "The service restarts. Without an answer: 1." });
});

test("a recording is not taken up again in its middle", async () => {
  const socket = await opened("restart-unanswered");
  await socket.send(REQUEST, { counted: false });
  await assert.rejects(answers(socket), { message: "The service restarts." });
});

test("who does not come back is waited for so long only", async () => {
  const socket = await opened("gone", { reconnects: 2 });
  await socket.send(REQUEST);
  const waiting = answers(socket);
  await assert.rejects(waiting, { message: "The service did not come back in 2 tries." });
  await assert.rejects(socket.send(REQUEST), /did not come back/);
});

test("a socket that the service ends has its status and its sentence", async () => {
  const socket = await opened("too-many");
  await assert.rejects(answers(socket), { message: "Too many.", status: 429 });
});

test("a socket that cannot be opened", async () => {
  await assert.rejects(opened("refused"), /cannot be opened/);
});

test("the client finds the path, percent-encoded", async () => {
  const client = new StreamingClient(BASE.replace("ws", "http"));
  const socket = await client.socket("a/b c", { version: "v1" });
  await socket.send(REQUEST);
  socket.end();
  assert.equal((await answers(socket))[0].path, "/v2/models/a%2Fb%20c/versions/v1/stream");
});
