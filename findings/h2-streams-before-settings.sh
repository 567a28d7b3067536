#!/usr/bin/env bash
# h2 4.4.1, a server's side: a client opens more streams than MAX_CONCURRENT_STREAMS before it can
# have read that setting.
#
# Expected (RFC 9113): until SETTINGS are read there is no limit (6.5.2), and a stream past it is an
# error of that stream alone (5.1.2): the hundred before it go on, and the client tries again.
# Seen: TooManyStreamsError, a ProtocolError, from receive_data; the server is left with a GOAWAY to
# send, and the connection is over for all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet h2==4.4.1 hpack==4.2.0 hyperframe==6.1.0
venv/bin/python - <<'PYTHON'
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import TooManyStreamsError

LIMIT = 100  # h2's own
REQUEST = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]

server = H2Connection(H2Configuration(client_side=False))
server.initiate_connection()
assert server.local_settings.max_concurrent_streams == LIMIT
client = H2Connection(H2Configuration(client_side=True))
client.initiate_connection()
opening = [client.data_to_send()]
for _ in range(LIMIT + 1):
    client.send_headers(client.get_next_available_stream_id(), REQUEST, end_stream=True)
    opening.append(client.data_to_send())

server.clear_outbound_data_buffer()
for data in opening[:-1]:
    server.receive_data(data)
try:
    server.receive_data(opening[-1])
except TooManyStreamsError as error:
    print("the stream past the limit ->", type(error).__name__, error)
else:
    raise SystemExit("The stream past the limit was let in, or refused alone.")
server.clear_outbound_data_buffer()
try:
    server.send_headers(1, [(":status", "200")])
except Exception as error:
    print("an answer to the first stream ->", type(error).__name__)
else:
    raise SystemExit("The first stream can still be answered.")
PYTHON
