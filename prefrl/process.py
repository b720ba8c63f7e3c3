"""How a process of ours uses the machine."""

from __future__ import annotations

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def set_up_process(threads: int) -> None:
    """Torch threads, and memory that is kept for reuse.

    glibc hands every buffer over 128 KiB back to the system when it is freed; fetching it
    again costs page faults, which took half the time of a reward fit.
    """
    torch.set_num_threads(threads)
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
