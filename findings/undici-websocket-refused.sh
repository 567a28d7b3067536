#!/usr/bin/env bash
# undici 6.24.1, which Node 20.20 has as its WebSocket (--experimental-websocket): a socket whose
# upgrade is refused.
#
# Expected (the WebSockets standard, "fail the WebSocket connection"): an `error`, then a `close` with
# code 1006, as browsers and undici 7.16.0 have it.
# Seen: an `error` alone; who waits for `close` waits for ever.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for version in 6.24.1 7.16.0; do
    npm install --silent --no-audit --no-fund --prefix "$version" "undici@$version"
    NODE_PATH="$version/node_modules" node - "$version" <<'JAVASCRIPT'
const assert = require("node:assert");
const { WebSocket } = require("undici");

const server = require("node:http").createServer();
server.on("upgrade", (_, socket) => socket.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"));
server.listen(0, "127.0.0.1", () => {
  const seen = [];
  const socket = new WebSocket(`ws://127.0.0.1:${server.address().port}/`);
  socket.onerror = () => seen.push("error");
  socket.onclose = ({ code }) => seen.push(`close ${code}`);
  setTimeout(() => {
    console.log(process.argv[2], seen);
    assert.deepEqual(seen, process.argv[2] === "6.24.1" ? ["error"] : ["error", "close 1006"]);
    process.exit();
  }, 1000);
});
JAVASCRIPT
done
