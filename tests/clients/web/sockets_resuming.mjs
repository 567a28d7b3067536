// StreamSocket and streams that outlive their sockets, against stand_in.py: five answers, one at a time.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ServiceError, StreamSocket } from "../../../clients/web/streaming.js";

const REQUEST = { text_input: "x", resumable: true, own_stream: true };

async function opened(name, settings = {}) {
  const socket = new StreamSocket(`${process.env.STAND_IN}/resumable/${name}`, { pause: 1, ...settings });
  await socket.open();
  return socket;
}

/** The numbers of the answers, and what else came. */
async function answers(socket) {
  const found = [];
  for await (const { parameters, final } of socket) {
    found.push(parameters ? Number(parameters.resume_id.split(".")[1]) : final);
    if (final) socket.close();
  }
  return found;
}

for (const how of ["cut", "moved"]) {
  test(`each answer comes once from a socket that is ${how} after each`, async () => {
    const sent = [];
    const onraw = (direction, data) => direction === "sent" && sent.push(JSON.parse(data));
    const socket = await opened(how, { onraw });
    assert.equal(await socket.send(REQUEST), "1");
    assert.deepEqual(await answers(socket), [1, 2, 3, 4, 5, true]);
    assert.deepEqual(sent.slice(1, 3), [1, 2].map((n) => ({ resume: `abcdefghijklmnopqrstuv.${n}`, id: "1" })));
  });
}

test("who has said that no more comes still comes back, and says it again", async () => {
  const sent = [];
  const onraw = (direction, data) => direction === "sent" && sent.push(JSON.parse(data));
  const socket = await opened("cut", { onraw });
  await socket.send(REQUEST);
  const taken = socket[Symbol.asyncIterator]();
  await taken.next();
  socket.end();
  for (let n = 2; n <= 6; n++) await taken.next();
  assert.equal((await taken.next()).done, true);
  assert.deepEqual(sent.at(-1), { end: true });
});

test("coming back in vain has an end, and a gap is one", async () => {
  const vain = await opened("vain");
  await vain.send(REQUEST);
  await assert.rejects(answers(vain), new ServiceError("The service restarts. Without an answer: 1."));
  const gap = await opened("gap");
  await gap.send(REQUEST);
  await assert.rejects(answers(gap), /Answer 3 of the stream came after 1/);
});

test("who is to come back never is told of a loss", async () => {
  const never = await opened("cut", { reconnects: 0 });
  await never.send(REQUEST);
  await assert.rejects(answers(never), ServiceError);
});
