#!/usr/bin/env bash
# orjson 3.13.0, glibc's malloc: what the bytes of `orjson.dumps` take while they are kept.
#
# Expected: about as much as bytes of their length (as `json.dumps(...).encode()` takes).
# Seen: results of some 440 bytes take 4 KiB each; a copy of one takes half a KiB. Whoever keeps many
# (a cache, a log of responses) keeps copies.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet orjson==3.13.0
venv/bin/python - <<'PYTHON'
import json

import orjson

COUNT = 20_000
VALUE = {"words": ["x" * 40] * 10}


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def held(make):
    """Bytes of memory for each result that is kept."""
    kept = [None] * COUNT
    before = resident()
    for index in range(COUNT):
        kept[index] = make()
    return (resident() - before) / COUNT


length = len(orjson.dumps(VALUE))
ours = held(lambda: orjson.dumps(VALUE))
copies = held(lambda: bytes(bytearray(orjson.dumps(VALUE))))
plain = held(lambda: json.dumps(VALUE).encode())
print(f"{length} bytes: orjson {ours:.0f}, copies of its results {copies:.0f}, json {plain:.0f}")
assert ours > 6 * length
assert copies < 2 * length
assert plain < 2 * length
PYTHON
