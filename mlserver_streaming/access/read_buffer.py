"""What a TLS connection reads into: uvloop and asyncio give each one a buffer of 256 KiB.

Its pages would cost nothing before they are written to. But glibc cuts it from where the handshake
before left its own, which then lie in it, written to and never used: 22 KiB a connection.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
from typing import Any

# madvise(2): what is in these pages is not needed any more. Linux and the BSDs.
_DONTNEED = getattr(mmap, "MADV_DONTNEED", None)
_madvise: Any = getattr(ctypes.CDLL(None), "madvise", None)


def give_back_pages(transport: Any) -> None:
    """Let the kernel have the pages of a TLS transport's read buffer; they come back, empty, when
    they are written to. Between two reads nothing that is needed is in it.

    It does nothing where there is no such buffer.
    """
    if _DONTNEED is None or _madvise is None:
        return
    # The transport names its protocol to nobody else. What that is to asyncio is documented: a
    # BufferedProtocol.
    for protocol in gc.get_referents(transport):
        if hasattr(protocol, "get_buffer"):
            buffer = protocol.get_buffer(1)
            begin = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            first, end = -(-begin // mmap.PAGESIZE), (begin + len(buffer)) // mmap.PAGESIZE
            if end > first:
                start, size = first * mmap.PAGESIZE, (end - first) * mmap.PAGESIZE
                # Pages that are locked stay: that it says so changes nothing.
                _madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _DONTNEED)
            return
