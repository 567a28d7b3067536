"""Keep large freed buffers in the process, so that the next frame need not fault them in again.

glibc hands every block above its mmap threshold (128 KiB at first) back to the kernel when it is
freed: a video frame's buffers then cost some 400 page faults a frame.
https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
"""

import ctypes
import os

# mallopt(3)'s names for what it sets.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MIB = 1 << 20
# 32 MiB is the most that glibc takes for the mmap threshold on 64-bit machines.
LIMITS = {M_MMAP_THRESHOLD: 32 * MIB, M_TRIM_THRESHOLD: 256 * MIB, M_TOP_PAD: 64 * MIB}


def keep_freed_memory() -> None:
    """Raise glibc's thresholds for this process; does nothing under another C library.

    Limits that the environment sets (`MALLOC_MMAP_THRESHOLD_` and the like) are left alone.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for limit, size in LIMITS.items():
            mallopt(limit, size)
