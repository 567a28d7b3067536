"""The ports that the service is about to listen on: one that cannot be had stops the start."""

from __future__ import annotations

import socket
from collections.abc import Mapping


def require_free(host: str, ports: Mapping[str, int | None]) -> None:
    """Try each port, before anything is started that would have to be stopped again.

    Args:
        ports: by their settings; None is not listened on.

    Raises:
        SystemExit: one is taken, or is somebody else's, or is given to two of ours.
    """
    with_names: dict[int, str] = {}
    for name, port in ports.items():
        if port is None:
            continue
        if port in with_names:
            raise SystemExit(f"'{with_names[port]}' and '{name}' are both port {port}.")
        with_names[port] = name
        if not is_free(host, port):
            raise cannot_listen(host, port)


def is_free(host: str, port: int) -> bool:
    """Whether the port can be had. Nobody is let in meanwhile: it is bound, not listened on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        # As a listening socket has it: what clients left behind of an earlier service is no matter.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, port))
        except OSError:
            return False
    return True


def cannot_listen(host: str, port: int) -> SystemExit:
    return SystemExit(
        f"Port {port} of {host} cannot be listened on; choose another or stop what holds it."
    )
