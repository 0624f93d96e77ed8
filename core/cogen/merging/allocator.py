"""Keep freed memory for the next block."""

from __future__ import annotations

import ctypes
import functools

#: Names of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@functools.cache
def keep_freed_memory() -> None:
    """Tell glibc's malloc not to hand blocks of up to 4 MB back to the kernel after every use.

    Larger ones still come from the kernel and go back to it, so that they don't leave holes. A merge allocates and
    frees buffers of a megabyte all the time. By default each comes from the kernel anew, which clears its pages: half
    of a linear merge's time. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 4 << 20)
    mallopt(_TRIM_THRESHOLD, 256 << 20)
