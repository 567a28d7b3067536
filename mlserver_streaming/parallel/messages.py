"""What the service and a worker say to one another: tuples that begin with one of these.

`number` names an exchange; the service chooses it, and every exchange ends with DONE or FAILED.
"""

# From the service.
# A stream: number, model, version, first request or None, whether no more come, whether the
# last response must be known for such; what was said of it before, which is to be gone on with, or
# None.
OPEN = 1
PREDICT = 2  # number, model, version, request: a unary call
CALL = 3  # number, model, version, method, pickled arguments: a custom handler, the metadata
UPDATE = 4  # number, load or unload, the model's settings as JSON
REQUEST = 5  # number, request: the next of a stream
END = 6  # number: a stream has no more requests
TAKEN = 7  # number, count: so many responses more were taken
CANCEL = 8  # number
PING = 9

# From the worker.
WANT = 20  # number: the model asks for the next request
RESPONSE = 21  # number, response
LAST = 26  # number, response: the same, and the stream's last
DONE = 22  # number, result
FAILED = 23  # number, text, status
GONE = 24  # (model, version), ids: sequences that the model holds no longer
PONG = 25
LOADING = 27  # number: a load has begun, which may keep the process from any other sign of life

ModelKey = tuple[str, str | None]
