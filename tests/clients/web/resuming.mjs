// A stream that outlives its connection: every answer once, or a sentence.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { ServiceError, StreamingClient } from "../../../clients/web/streaming.js";

const STREAM = "abcdefghijklmnopqrstuv";

/** A service whose stream has `count` answers; `answer` may do something else at its n-th request. */
async function serving(count, answer, use) {
  const asked = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const last = request.headers["last-event-id"];
    asked.push({ url: request.url, last, body });
    const from = last === undefined ? 0 : Number(last.split(".")[1]);
    const head = { "content-type": "text/event-stream", "x-stream-id": STREAM };
    const say = (n) => response.write(`id: ${STREAM}.${n}\ndata: {"text_output":"${n}"}\n\n`);
    if (answer({ at: asked.length, from, response, say, head }) === true) return;
    response.writeHead(200, head);
    for (let n = from + 1; n <= count; n++) say(n);
    response.end();
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  try {
    await use(new StreamingClient(`http://127.0.0.1:${server.address().port}`), asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function words(client, how = {}) {
  const found = [];
  for await (const { text_output } of client.stream("m", { text_input: "x" }, { resumable: true, ...how })) {
    found.push(Number(text_output));
  }
  return found;
}

const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

test("a connection that is cut after each answer costs none and repeats none", async () => {
  const cut = ({ from, response, say, head }) => {
    response.writeHead(200, head);
    if (from === 50) {
      response.end();
    } else {
      say(from + 1);
      setTimeout(() => response.destroy(), 5);
    }
    return true;
  };
  let times = 0;
  await serving(50, cut, async (client, asked) => {
    assert.deepEqual(await words(client, { onresume: (often) => (times = often) }), upTo(50));
    assert.equal(asked[0].url, "/v2/models/m/generate_stream");
    assert.equal(asked[3].url, `/v2/streams/${STREAM}`);
    assert.equal(asked[3].last, `${STREAM}.3`);
  });
  assert.equal(times, 50);
});

test("a service that stops sends its reader on, also before the first answer", async () => {
  const stops = ({ at, from, response, say, head }) => {
    if (at > 2) return false;
    response.writeHead(200, head);
    if (at === 2) say(from + 1);
    response.end(": come back\nretry: 1\n\n");
    return true;
  };
  await serving(3, stops, async (client, asked) => {
    assert.deepEqual(await words(client), upTo(3));
    assert.deepEqual(asked.map(({ last }) => last), [undefined, undefined, `${STREAM}.1`]);
  });
});

test("a service that is away is asked again, one that refuses is not", async () => {
  const away = ({ at, from, response, say, head }) => {
    if (at === 1) {
      response.writeHead(200, head);
      say(1);
      setTimeout(() => response.destroy(), 5);
    } else if (at === 2) {
      response.writeHead(503, { "retry-after": "0" }).end("{}");
    } else if (from === 1) {
      response.writeHead(410).end('{"error": "It is lost."}');
    }
    return true;
  };
  await serving(2, away, async (client, asked) => {
    await assert.rejects(words(client), new ServiceError("It is lost.", { status: 410 }));
    assert.equal(asked.length, 3);
  });
});

test("a failure of the stream is its end, and so is a gap", async () => {
  const fails = ({ response, say, head }) => {
    response.writeHead(200, head);
    say(1);
    response.end('event: error\ndata: {"error": "It failed."}\n\n');
    return true;
  };
  await serving(2, fails, async (client, asked) => {
    await assert.rejects(words(client), /It failed/);
    assert.equal(asked.length, 1);
  });
  const skips = ({ response, say, head }) => {
    response.writeHead(200, head);
    say(2);
    response.end();
    return true;
  };
  await serving(2, skips, async (client) => {
    await assert.rejects(words(client), /Answer 2 of the stream came after 0/);
  });
});

test("a chat that is cut after each chunk comes whole, and ends with its end", async () => {
  const cut = ({ from, response, head }) => {
    response.writeHead(200, head);
    const data = from < 3 ? JSON.stringify({ choices: [{ delta: { content: `${from + 1}` } }] }) : "[DONE]";
    response.write(`id: ${STREAM}.${from + 1}\ndata: ${data}\n\n`);
    setTimeout(() => response.destroy(), 5);
    return true;
  };
  await serving(3, cut, async (client, asked) => {
    let times = 0;
    const chat = client.chat({ model: "m", messages: [] }, { resumable: true, onresume: (often) => (times = often) });
    const found = [];
    for await (const { choices } of chat) found.push(Number(choices[0].delta.content));
    assert.deepEqual([found, times], [upTo(3), 3]);
    assert.deepEqual(asked.map(({ url }) => url), ["/v1/chat/completions", ...upTo(3).map(() => `/v2/streams/${STREAM}`)]);
    assert.deepEqual(JSON.parse(asked[0].body), { model: "m", messages: [], stream: true, resumable: true });
  });
});

test("a chat whose service is lost for good says so, and one that is over without its end", async () => {
  const lost = ({ at, response, say, head }) => {
    if (at > 1) response.writeHead(410).end('{"error": {"message": "It is lost."}}');
    else {
      response.writeHead(200, head);
      say(1);
      setTimeout(() => response.destroy(), 5);
    }
    return true;
  };
  const all = async (client) => {
    for await (const chunk of client.chat({ model: "m" }, { resumable: true })) assert.ok(chunk);
  };
  await serving(1, lost, (client) => assert.rejects(all(client), { status: 410, message: "It is lost." }));
  await serving(1, () => false, (client) => assert.rejects(all(client), /broke off before its end/));
});
