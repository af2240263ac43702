"""Large pages for what lies in memory: fewer entries of the page table to look up."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import BinaryIO

_LARGE = 2 << 20
_MAP_FIXED, _MADV_COLLAPSE = 0x10, 25
"""Linux's numbers, the second since 6.1; Python names neither."""


def collapse(file: BinaryIO) -> bool:
    """Ask for a file in memory to lie in pages of 2 MiB, but for its last part.

    An inference reads every weight once, and pages of 4 KiB that lie anywhere cost MobileNet V1
    1 to 2% of its time (benchmarks/pages.py); to gather them takes 5 ms.

    Parameters
    ----------
    file : binary file
        From memfd_create. Its content stays as it is.

    Returns
    -------
    bool
        Whether it does: an older kernel, or one without as much memory in one piece, leaves
        it in the pages that it has.
    """
    size = os.fstat(file.fileno()).st_size // _LARGE * _LARGE
    if not size:
        return False
    libc = ctypes.CDLL(None)
    map_, unmap = libc.mmap, libc.munmap
    map_.restype = ctypes.c_void_p
    map_.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    # The kernel gathers what is mapped at a multiple of the page: a place is looked for first.
    room, failed = size + _LARGE, ctypes.c_void_p(-1).value
    base = map_(None, room, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if base is None or base == failed:
        return False
    try:
        at = -(-base // _LARGE) * _LARGE
        fixed = mmap.MAP_PRIVATE | _MAP_FIXED
        if map_(at, size, mmap.PROT_READ, fixed, file.fileno(), 0) != at:
            return False
        return bool(libc.madvise(at, size, _MADV_COLLAPSE) == 0)
    finally:
        unmap(base, room)
