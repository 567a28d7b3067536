#!/usr/bin/env bash
# h2 4.4.1 (hyperframe 6.1.0): what a connection does with each frame that it reads, with no logger set.
#
# Expected: without a logger (`H2Configuration` has one that drops all) no frame is written out.
# Seen: `repr` of each is made before the logger is asked, and that serialises the frame's body once
# more: a body of 16 KiB is copied only to be cut to a few bytes of hexadecimal and dropped.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet h2==4.4.1 hyperframe==6.1.0 hpack==4.2.0
venv/bin/python - <<'PYTHON'
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import DataFrame

FRAMES, SIZE = 3, 16_384

client = H2Connection(H2Configuration(client_side=True))
server = H2Connection(H2Configuration(client_side=False))
client.initiate_connection()
server.initiate_connection()
server.receive_data(client.data_to_send())
client.receive_data(server.data_to_send())
fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
client.send_headers(1, fields)
server.receive_data(client.data_to_send())

for _ in range(FRAMES):
    client.send_data(1, bytes(SIZE))
data = client.data_to_send()

written, serialised = [], []
plain_repr, plain_body = DataFrame.__repr__, DataFrame.serialize_body


def counted_repr(frame):
    found = plain_repr(frame)
    written.append(found)
    return found


def counted_body(frame):
    body = plain_body(frame)
    serialised.append(len(body))
    return body


DataFrame.__repr__, DataFrame.serialize_body = counted_repr, counted_body
server.receive_data(data)
print(f"{FRAMES} frames read; written out: {len(written)}, the first as {written[0]!r}")
print(f"their bodies were serialised {len(serialised)} times more, {sum(serialised)} bytes")
assert len(written) == FRAMES
assert serialised == [SIZE] * FRAMES
PYTHON
