"""A request whose Host is none that HTTP allows goes no further.

Frameworks build a request's URL from that header, and what one cannot read as an address breaks
them, or moves a part of the path elsewhere.
https://www.rfc-editor.org/rfc/rfc9112#section-3.2
"""

import re
from functools import lru_cache
from urllib.parse import urlsplit

# A name or an IPv4 address, or an IPv6 address in brackets; perhaps a port.
HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")
# A name has up to 253 characters (RFC 1035).
MAX_BYTES = 260
# Callers use few.
KEPT = 256


def are_proper(hosts: list[bytes], version: str) -> bool:
    """Whether the Hosts of a request are one that is one; HTTP/1.0 needs none."""
    if not hosts:
        return version == "1.0"
    return len(hosts) == 1 and len(hosts[0]) <= MAX_BYTES and is_host(hosts[0])


@lru_cache(KEPT)
def is_host(value: bytes) -> bool:
    """Whether a Host header is one: its form, its IPv6 address, its port."""
    if HOST.fullmatch(value) is None:
        return False
    try:
        _ = urlsplit(b"//" + value).port
    except ValueError:
        return False
    return True
