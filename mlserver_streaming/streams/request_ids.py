"""Ids for requests that have none."""

import os


def new_id() -> str:
    """A random UUID (RFC 9562, 5.4) as text. `uuid.uuid4` makes an object of it first, which takes
    as long again as all else that is done about an id."""
    random = bytearray(os.urandom(16))
    random[6] = random[6] & 0x0F | 0x40
    random[8] = random[8] & 0x3F | 0x80
    text = random.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
