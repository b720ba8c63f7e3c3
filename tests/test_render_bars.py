"""Reward bars: as long as the reward, beside the picture, which stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from prefrl.render.bars import BLUE, ORANGE, Bar, draw_bars, enlarged, with_reward_bars
from prefrl.types import Array


def picture(height: int = 320, width: int = 400, seed: int = 0) -> Array:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width, 1), dtype=np.uint8)
    return grey.repeat(3, axis=2)


def rows_of(frame: Array, colour: tuple[int, int, int]) -> Array:
    """The rows in which a colour is."""
    return np.flatnonzero((frame == colour).all(axis=-1).any(axis=1))


def zero_of(frame: Array) -> int:
    """The row from which bars start."""
    up, down = (
        rows_of(draw_bars(frame, [Bar("x", value, 1, BLUE)]), BLUE) for value in (1.0, -1.0)
    )
    assert abs(up.max() - down.min()) <= 2 and abs(len(up) - len(down)) <= 1
    return int(down.min())


@pytest.mark.parametrize("value", [1.0, 0.5, 0.1, -0.1, -0.5, -1.0])
def test_a_bar_is_as_long_as_the_reward(value: float) -> None:
    frame = picture()
    full = len(rows_of(draw_bars(frame, [Bar("x", 1.0, 1, BLUE)]), BLUE))
    rows = rows_of(draw_bars(frame, [Bar("x", value, 1, BLUE)]), BLUE)
    assert len(rows) == pytest.approx(abs(value) * full, abs=2)
    middle = zero_of(frame)
    assert rows.max() <= middle if value > 0 else rows.min() >= middle
    doubled = rows_of(draw_bars(frame, [Bar("x", 2 * value, 2, BLUE)]), BLUE)
    np.testing.assert_array_equal(doubled, rows)


def test_nothing_leaves_the_scale() -> None:
    frame = picture()
    full, over = (draw_bars(frame, [Bar("x", value, 1, BLUE)]) for value in (1.0, 50.0))
    np.testing.assert_array_equal(full, over)


def test_a_clip_is_scaled_to_its_own_range() -> None:
    frames = [picture()] * 3
    predicted, true = np.array([0.02, -0.04, 0.0]), np.array([5.0, 10.0, 0.0])
    drawn = list(with_reward_bars(frames, predicted, true))
    blue, orange = ([rows_of(frame, colour) for frame in drawn] for colour in (BLUE, ORANGE))
    assert len(blue[1]) == pytest.approx(2 * len(blue[0]), abs=3)
    assert blue[0].max() < blue[1].min() + 3, "up, then down"
    assert len(orange[1]) == pytest.approx(2 * len(orange[0]), abs=3)
    assert len(blue[2]) <= 1 and len(orange[2]) <= 1


def test_the_picture_stays_and_the_true_reward_may_be_unknown() -> None:
    frame = picture()
    (both,) = with_reward_bars([frame], np.array([1.0]), np.array([1.0]))
    (alone,) = with_reward_bars([frame], np.array([1.0]))
    for drawn in (both, alone):
        np.testing.assert_array_equal(drawn[:, :400], frame)
        assert drawn.dtype == np.uint8 and len(rows_of(drawn, BLUE))
    assert len(rows_of(both, ORANGE)) and not len(rows_of(alone, ORANGE))
    assert both.shape[1] > alone.shape[1] > 400


def test_room_is_kept_for_a_bar_that_may_come() -> None:
    bar = Bar("predicted", 1.0, 1, BLUE)
    one, two = (draw_bars(picture(), [bar] * n, columns=2) for n in (1, 2))
    assert one.shape == two.shape


def test_all_rewards_are_zero() -> None:
    (drawn,) = with_reward_bars([picture()], np.zeros(1))
    assert len(rows_of(drawn, BLUE)) <= 1


@pytest.mark.parametrize(("height", "width", "factor"), [(84, 84, 4), (210, 160, 2), (320, 1, 1)])
def test_small_pictures_are_enlarged_in_whole_pixels(height: int, width: int, factor: int) -> None:
    small = picture(height, width)
    large = enlarged(small)
    assert large.shape == (factor * height, factor * width, 3)
    np.testing.assert_array_equal(large[::factor, ::factor], small)
    np.testing.assert_array_equal(large[factor - 1 :: factor, factor - 1 :: factor], small)


def test_labels_are_written() -> None:
    """Dark pixels that differ with the words."""
    panels = [
        draw_bars(picture(), [Bar(label, 0.0, limit, BLUE)])[:, 400:]
        for label, limit in [("predicted", 1.0), ("true", 1.0), ("predicted", 2.5)]
    ]
    assert all((panel.max(axis=-1) < 100).sum() > 60 for panel in panels)
    assert (panels[0] != panels[1]).any() and (panels[0] != panels[2]).any()
