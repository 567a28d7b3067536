"""A model of another server, served here: its address, its dialect's messages, a stream to it."""

from .model import UpstreamModel

__all__ = ["UpstreamModel"]
