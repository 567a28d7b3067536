"""Streams over WebSockets, for browsers above all: requests and responses of the V2 protocol,
several models on one connection.

How a connection is upgraded, read and written is rest/'s; what an answer is, the core's.
"""

from .endpoint import SocketEndpoint

__all__ = ["SocketEndpoint"]
