"""What a socket is closed with.

https://www.rfc-editor.org/rfc/rfc6455#section-7.4
"""

from ..errors import DrainingError, InternalError, MLServerError
from ..rest.websocket_connection import RESTART, SENTENCES

DONE = (1000, "All requests are answered.")
COME_BACK = (RESTART, SENTENCES[RESTART])
INTERNAL = 1011
# What is ours, with an HTTP status behind it.
PRIVATE = 4000


def close_of(error: MLServerError) -> tuple[int, str]:
    """The code and the reason for a socket that an error ends."""
    if isinstance(error, DrainingError):
        return COME_BACK
    code = INTERNAL if isinstance(error, InternalError) else PRIVATE + error.status_code
    return code, str(error)
