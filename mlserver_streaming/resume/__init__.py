"""Streams that outlive their connections: a run of its own, read from wherever a reader stopped.

position      where a reader is: `<stream>.<n>`
head          what is known of a stream from its beginning on
response_log  what a stream said, by number, as compact bytes; the oldest can be dropped
run           a model at work for nobody in particular, and what it said
reader        one who reads a run, from any response that is kept on
runs          all of them: begun, found, bounded, cancelled
figures       the metrics

and, where there is a store that all instances share:

store         what it holds: the interface; redis_store, _link, _scripts, bell and seal are it
elsewhere     a run of another instance, as a list shows it
sharing       this instance's part in it
publications  our runs there; counted, of how many requests each is
publisher     writes a run of ours; endings and request_bytes, what is written beside responses
mirror        a run of another instance, read here
taking_over   a run whose instance is gone, taken over here
going_on      how a model goes on with what was said elsewhere
moves         runs that go on under another id
opening       what the settings name

It knows no wire: an edge asks `Runs` whether a request wants this, begins a run, and reads it; and
not what a tensor means. Unlike the cache it keeps a stream for its caller alone, and for a while.
"""

from .opening import share
from .runs import Runs

__all__ = ["Runs", "share"]
