"""How a process of ours uses the machine."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Iterator

import torch

from prefrl.types import PrefrlError

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


def choose_device(name: str, images: bool) -> torch.device:
    """The device of a run's networks.

    Args:
      name: auto, cpu or cuda.
      images: whether observations are images; small MLPs are faster on the CPU.
    Raises:
      PrefrlError: a GPU that is not there.
    """
    if name == "auto":
        name = "cuda" if images and torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise PrefrlError(
            "device = 'cuda': torch sees no GPU here; take device = 'auto' or 'cpu', or install a "
            "GPU's driver and a build of torch for it"
        )
    return torch.device(name)


@contextlib.contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, which a terminal sends to all of them.

    The trainer alone stops, saves, and then ends the others.
    """
    multiprocessing.resource_tracker.ensure_running()  # its own start lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, even by kill -9."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
