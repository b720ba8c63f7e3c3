"""A segment's blob: the same bits back, and damage is noticed."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prefrl.store.blobs import _MAGIC, decode_segment, encode_segment
from prefrl.types import PrefrlError, Segment

DTYPES = st.one_of(
    hnp.floating_dtypes(endianness="?"),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(),
    hnp.boolean_dtypes(),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
SEGMENTS = st.builds(
    Segment,
    obs=ARRAYS,
    actions=ARRAYS,
    true_rewards=hnp.arrays(np.float32, 5, elements=st.floats(width=32)),  # NaN included
    render_states=st.none() | ARRAYS,
    step=st.integers(0, 2**40),
)


def assert_same(one: Segment, other: Segment) -> None:
    assert one.step == other.step
    for name in ("obs", "actions", "true_rewards", "render_states"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), name


@given(SEGMENTS)
def test_round_trip_is_bit_for_bit(segment: Segment) -> None:
    back = decode_segment(encode_segment(segment), segment.step)
    assert_same(segment, back)
    assert back.obs.flags.writeable
    assert back.obs.flags.aligned


def test_strided_array_comes_back_in_its_order() -> None:
    grid = np.arange(12.0).reshape(3, 4)
    segment = Segment(grid.T, grid[:, ::-2], np.array([np.nan, -0.0, np.inf]))
    assert_same(segment, decode_segment(encode_segment(segment), 0))


@given(st.data())
def test_a_changed_byte_is_noticed_or_harmless(data: st.DataObject) -> None:
    segment = Segment(np.arange(20.0).reshape(5, 4), np.ones((5, 1)), np.full(5, np.nan))
    blob = bytearray(encode_segment(segment))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    try:
        back = decode_segment(bytes(blob), 0)
    except ValueError:
        return
    assert_same(segment, back)  # padding bits of the compressed stream


@pytest.mark.parametrize("n", [0, 3, 4, 10, -1])
def test_a_cut_blob_is_noticed(n: int) -> None:
    blob = encode_segment(Segment(np.zeros((2, 2)), np.zeros((2, 1)), np.zeros(2)))
    with pytest.raises(ValueError, match="not a segment"):
        decode_segment(blob[:n], 0)


@pytest.mark.parametrize(
    "head",
    [
        '[["obs", "|O", [1]]]',
        '[["obs", "<f8", [-1]]]',
        '[["obs", "<f8", [100]]]',
        '[["obs", "what", [1]]]',
        '[["sobs", "<f8", [1]]]',
        '[["obs"]]',
        "{}",
        "7",
        "\ufffd",
    ],
)
def test_a_made_up_header_is_refused(head: str) -> None:
    """A store can come from somebody else: pointers are never read from one."""
    raw = head.encode()
    blob = _MAGIC + zlib.compress(len(raw).to_bytes(4, "little") + raw + b"\1" * 8)
    with pytest.raises(ValueError, match="not a segment"):
        decode_segment(blob, 0)


def test_objects_and_records_are_refused_by_name() -> None:
    for bad in (np.array([None, {}]), np.zeros(2, [("x", "f4")])):
        with pytest.raises(PrefrlError, match="render_states of dtype"):
            encode_segment(Segment(np.zeros(2), np.zeros(2), np.zeros(2), bad))
