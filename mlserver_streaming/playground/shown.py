"""Whether there is the page at all."""

from ..access.authenticator import is_loopback


def is_shown(setting: bool | None, host: str) -> bool:
    """What `streaming.playground` says; left open, the page is for who sits at this machine.

    Args:
        host: where the service listens.
    """
    return is_loopback(host) if setting is None else setting
