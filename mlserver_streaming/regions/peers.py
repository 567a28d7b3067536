"""Whether a caller is on this host: by the address that it calls from."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

# What a proxy adds: it may be here, whom it speaks for need not be.
FORWARDED = ("forwarded", "x-forwarded-for")


def is_local(host: str | None, headers: Mapping[str, Any]) -> bool:
    """
    Args:
        host: the address of the other end, as text; None or empty for a Unix socket.
        headers: the call's; their names are in lower case.
    """
    if any(name in headers for name in FORWARDED):
        return False
    return not host or _is_loopback(host)


@lru_cache(256)
def _is_loopback(host: str) -> bool:
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
