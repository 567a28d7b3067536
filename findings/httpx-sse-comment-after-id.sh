#!/usr/bin/env bash
# httpx-sse 0.4.3 with httpx 0.28.1: a keep-alive comment in an event stream whose events have ids,
# and a stream that begins with a byte order mark.
#
# Expected (the HTML standard, "server-sent events"): a comment is no event; a leading mark is
# dropped.
# Seen: once an event had an `id`, each comment and its empty line give one more event with empty
# data; the first event behind a mark is lost.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet httpx==0.28.1 httpx-sse==0.4.3
venv/bin/python - <<'PYTHON'
import httpx
import httpx_sse


def heard(body):
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, headers=headers, content=body)
    )
    with httpx.Client(transport=transport) as client:
        with httpx_sse.connect_sse(client, "GET", "http://stream.test/") as source:
            return [event.data for event in source.iter_sse()]


without = heard(b"data: a\n\n: alive\n\ndata: b\n\n")
with_id = heard(b"id: 1\ndata: a\n\n: alive\n\ndata: b\n\n")
marked = heard(b"\xef\xbb\xbfdata: a\n\ndata: b\n\n")
print("without ids:", without, "with an id:", with_id, "behind a mark:", marked)
assert without == ["a", "b"]
assert with_id == ["a", "", "b"]
assert marked == ["b"]
PYTHON
