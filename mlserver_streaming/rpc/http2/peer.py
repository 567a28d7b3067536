"""A client's address as gRPC writes one. https://github.com/grpc/grpc/blob/master/doc/naming.md"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any
from urllib.parse import quote


def named(address: Any) -> str:
    """`ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`; `unix:` where it is no pair."""
    if not isinstance(address, tuple):
        return "unix:"
    host, port = address[:2]
    if ":" not in host:
        return f"ipv4:{host}:{port}"
    # One of IPv4 that came to a port of both.
    inner = IPv6Address(host.partition("%")[0]).ipv4_mapped
    if inner is not None:
        return f"ipv4:{inner}:{port}"
    return f"ipv6:{quote(f'[{host}]', safe=':')}:{port}"
