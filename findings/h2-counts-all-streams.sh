#!/usr/bin/env bash
# h2 4.4.1 (hyperframe 6.1.0): what a server's side does to let one more stream in.
#
# Expected: how many streams are open is a number that is kept, and a new one costs the same whether
# ten or a thousand are open.
# Seen: each new stream has all that the connection holds looked at, one by one, to count them: to
# open n takes n * (n - 1) / 2 looks.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet h2==4.4.1 hyperframe==6.1.0 hpack==4.2.0
venv/bin/python - <<'PYTHON'
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.stream import H2Stream

STREAMS = 100

client = H2Connection(H2Configuration(client_side=True))
server = H2Connection(H2Configuration(client_side=False))
client.initiate_connection()
server.initiate_connection()
server.receive_data(client.data_to_send())
client.receive_data(server.data_to_send())
fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
opened = []
for number in range(1, 2 * STREAMS, 2):
    client.send_headers(number, fields)
    opened.append(client.data_to_send())

looks = 0
is_open = H2Stream.open.fget


def counted(stream):
    global looks
    looks += 1
    return is_open(stream)


H2Stream.open = property(counted)
of_each = []
for data in opened:
    before = looks
    server.receive_data(data)
    of_each.append(looks - before)
print(f"{STREAMS} streams opened with {looks} looks at others; the last took {of_each[-1]}")
assert of_each == list(range(STREAMS)), of_each
PYTHON
