"""Keeping freed memory instead of handing it back: an evaluation allocates the same large tensors again and again."""

import ctypes

# glibc's names for them (malloc.h), and values it takes; large blocks come from the heap, whose end is not trimmed
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
NEVER, LARGE = 2**31 - 1, 2**25


def keep_freed_memory() -> bool:
    """Spares this process the page faults of every fresh tensor; whether its C library can do that."""
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is None:
        return False
    return bool(adjust(MMAP_THRESHOLD, LARGE)) and bool(adjust(TRIM_THRESHOLD, NEVER))
