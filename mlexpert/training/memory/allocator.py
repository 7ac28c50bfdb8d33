"""How the C library keeps freed memory: for itself, which is fast, or not at all, which is exact.

glibc keeps freed blocks of up to 32 MiB, and splinters them: a training step on a CPU then takes
1.1 to 2.5 times the memory that its tensors need (measured on eight networks; before glibc 2.38 an
aligned request cannot even take the very block that was freed for its like). With a low threshold
for `mmap` every larger tensor is a mapping of its own, which goes back as soon as it is freed. What
a step takes is then what its tensors need, within a few per cent; the kernel has to clear every
page again, so a step takes 1.0 to 2 times as long.
"""

from __future__ import annotations

import ctypes
import os

SPLINTERING = 3
"""How many times its tensors' memory a process may come to take while freed blocks are kept."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # from malloc.h
_MIB = 2**20


def is_steerable() -> bool:
    """Return whether the C library is glibc, the one that can be told."""
    return _glibc() is not None


def give_back_at_once() -> None:
    """Keep no freed block above 64 KiB, from here on and in the whole process.

    New threads get no heap of their own either, for which 64 MiB each would be reserved: that
    counts where `ulimit -v` is the limit, and torch starts eight threads for a fake backward.
    """
    _set(mmap_threshold=_MIB // 16, trim_threshold=_MIB // 8, arenas=1)
    trim()


def keep_freed() -> None:
    """Keep freed blocks, as glibc does by itself once it has freed a large one."""
    _set(mmap_threshold=32 * _MIB, trim_threshold=64 * _MIB, arenas=0)


def trim() -> None:
    """Give back to the system what is free already."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _set(*, mmap_threshold: int, trim_threshold: int, arenas: int) -> None:
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, mmap_threshold)
        libc.mallopt(_TRIM_THRESHOLD, trim_threshold)
        libc.mallopt(_ARENA_MAX, arenas)  # 0: as many as there are processors, and more


def _glibc() -> ctypes.CDLL | None:
    """Return this process's C library where it is glibc; others have no `malloc_trim`."""
    if os.name == "nt":
        return None
    libc = ctypes.CDLL(None)
    try:
        _ = libc.malloc_trim
    except AttributeError:
        return None
    return libc
