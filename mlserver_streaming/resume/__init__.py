"""Streams that outlive their connections: a run of its own, read from wherever a reader stopped.

position      where a reader is: `<stream>.<n>`
head          what is known of a stream from its beginning on
response_log  what a stream said, by number, as compact bytes; the oldest can be dropped
run           a model at work for nobody in particular, and what it said
reader        one who reads a run, from any response that is kept on
runs          all of them: begun, found, bounded, cancelled
figures       the metrics

It knows no wire: an edge asks `Runs` whether a request wants this, begins a run, and reads it; and
not what a tensor means. Unlike the cache it keeps a stream for its caller alone, and for a while.
"""

from .runs import Runs

__all__ = ["Runs"]
