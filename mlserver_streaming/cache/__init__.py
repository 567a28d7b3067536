"""Streams remembered: the same question, asked again or by many at once, costs one run.

wishes, declared     what a request, and a model's settings, say of the cache
identity             which model answers: its settings and weights, digested
key                  which question it is
flight               one run of a model, and all who listen to it
memory               recordings kept in this process
memcached            recordings kept for all instances: envelope, memcached_server
answer, in_order     what one request gets, and a stream's requests in their order
sequences            which requests of a sequence may be answered without the model
figures              the metrics
stream_cache         puts these together in front of `streams.answers`

It knows no wire, and not what a tensor means.
"""

from .stream_cache import StreamCache

__all__ = ["StreamCache"]
