"""Streams remembered: the same question, asked again or by many at once, costs one run.

wishes      what a request says of the cache
identity    which model answers: its settings and weights, digested
key         which question it is
recording   a stream's responses as bytes, and back
flight      one run of a model, and all who listen to it
memory      recordings kept in this process
stream_cache  puts these together in front of `streams.answers`
"""

from .stream_cache import StreamCache

__all__ = ["StreamCache"]
