"""Segments as compressed blobs of plain bytes, and back, bit for bit."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np

from prefrl.types import PrefrlError, Segment

_MAGIC = b"PSG1"
_FIELDS = ("obs", "actions", "true_rewards", "render_states")
_NOT_PLAIN = "OV"  # dtype kinds: Python objects and records


def encode_segment(segment: Segment) -> bytes:
    """The segment's arrays as bytes: zlib of (header length, JSON header, raw arrays).

    Raises:
      PrefrlError: an array of Python objects or records, which have no plain bytes.
    """
    header, parts = [], []
    for name in _FIELDS:
        if (array := getattr(segment, name)) is None:
            continue
        if array.dtype.kind in _NOT_PLAIN:
            raise PrefrlError(
                f"segment {name} of dtype {array.dtype} cannot be stored: make it plain numbers"
            )
        header.append((name, array.dtype.str, array.shape))
        parts.append(array.tobytes())
    head = json.dumps(header).encode()
    return _MAGIC + zlib.compress(b"".join([len(head).to_bytes(4, "little"), head, *parts]), 1)


def decode_segment(blob: bytes, step: int) -> Segment:
    """The segment that `encode_segment` was given, with writable arrays.

    Raises:
      ValueError: the bytes are damaged.
    """
    try:
        if blob[:4] != _MAGIC:
            raise ValueError("wrong first bytes")
        data = zlib.decompress(blob[4:])
        start = 4 + int.from_bytes(data[:4], "little")
        arrays: dict[str, Any] = {}
        for name, dtype, shape in json.loads(data[4:start]):
            if (plain := np.dtype(dtype)).kind in _NOT_PLAIN:  # would read pointers
                raise ValueError(f"{name} of dtype {dtype}")
            array = np.ndarray(shape, plain, data, start)
            start += array.nbytes
            arrays[name] = array.copy()
        return Segment(**arrays, step=step)
    except (zlib.error, TypeError, ValueError) as error:
        raise ValueError(f"not a segment: {error}") from error
