"""The header, or gRPC metadata, by which a balancer finds the replica that knows a sequence."""

from __future__ import annotations

from urllib.parse import quote

SEQUENCE_HEADER = "x-sequence-id"
# Printable ASCII, which is what a header may hold on every wire.
_SAFE = "".join(map(chr, range(33, 127))).replace("%", "")


def sequence_headers(sequence_id: int | str | None) -> dict[str, str]:
    """The header for requests of a sequence; none for 0, "" and None, which are no sequence."""
    if not sequence_id:
        return {}
    return {SEQUENCE_HEADER: quote(str(sequence_id), safe=_SAFE)}
