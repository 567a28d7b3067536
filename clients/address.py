"""Where a server is: its address as URLs and gRPC targets write it."""

from __future__ import annotations

import ipaddress


def join_address(host: str, port: int) -> str:
    """`host:port`, with the brackets that an IPv6 host needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: a proxy set in the environment must not be asked for it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
