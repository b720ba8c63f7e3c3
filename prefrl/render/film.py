"""Films: steps as pictures in real time, written as mp4 or gif."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from prefrl.files import whole_file
from prefrl.names import choose
from prefrl.render.bars import with_reward_bars
from prefrl.render.play import Step
from prefrl.render.segments import SegmentRenderer
from prefrl.types import Array, MachineError, PrefrlError

_CRF = "20"  # x264's quality: 18 looks lossless, 23 is its default
_PALETTE_PICTURES = 8  # from which a gif's 256 colours are chosen


def stride_for(step_rate: float, max_fps: float) -> int:
    """Steps from one picture to the next in a film in real time.

    Args:
      step_rate: steps of the environment in a second.
      max_fps: pictures in a second, at most.
    """
    return max(1, math.ceil(step_rate / max_fps - 1e-6))


def pictures(
    steps: Sequence[Step], renderer: SegmentRenderer, stride: int, max_side: float
) -> Iterator[Array]:
    """One picture for every `stride` steps, with the mean rewards of these steps as bars.

    A true reward that is always zero counts as unknown.

    Yields:
      (H, W, 3) uint8.
    """
    n = len(steps) // stride
    shown = steps[stride - 1 : n * stride : stride]
    predicted = _means([step.predicted for step in steps], n, stride)
    true = _means([step.true for step in steps], n, stride)
    known = bool(np.isfinite(true).all() and true.any())
    states = (step.render_state for step in shown)
    frames = (shrunk(renderer.frame(state), max_side) for state in states)
    return with_reward_bars(frames, predicted, true if known else None)


def shrunk(frame: Array, max_side: float) -> Array:
    """A picture whose longer side has at most `max_side` pixels."""
    factor = max_side / max(frame.shape[:2])
    if factor >= 1:
        return frame
    height, width = (max(1, round(side * factor)) for side in frame.shape[:2])
    small: Array = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return small


def write_mp4(path: Path, frames: Iterable[Array], fps: float) -> None:
    """Write H.264 that browsers play: 4:2:0 colour, even sides, its index in front.

    Args:
      frames: (H, W, 3) uint8, at least one.
    """
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": _CRF})
        stream.pix_fmt = "yuv420p"
        even = map(_even, frames)
        first = next(even)
        stream.height, stream.width = first.shape[:2]
        for frame in itertools.chain([first], even):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_gif(path: Path, frames: Iterable[Array], fps: float) -> None:
    """Write a gif that repeats without end, in 256 colours, without dithering, which costs bytes.

    Args:
      frames: (H, W, 3) uint8, at least one.
    """
    images = [Image.fromarray(frame) for frame in frames]
    palette = _palette(images)
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=rest,
        duration=_gif_durations(len(images), fps),
        loop=0,
        optimize=False,
    )


@dataclass(frozen=True)
class Format:
    """A kind of film.

    Attributes:
      write: (path, frames, pictures in a second).
      fps: pictures in a second, at most.
      max_side: longer side of the picture without its bars, in pixels, at most.
    """

    write: Callable[[Path, Iterable[Array], float], None]
    fps: float
    max_side: float = math.inf


FORMATS = {"mp4": Format(write_mp4, 30), "gif": Format(write_gif, 15, 320)}


def write_film(
    path: Path,
    kind: Format,
    steps: Sequence[Step],
    renderer: SegmentRenderer,
    max_fps: float,
    max_side: int,
) -> tuple[float, tuple[int, int]]:
    """Write a film of steps in real time, whole or not at all.

    Returns:
      Pictures in a second, and the width and height of a picture, in pixels.
    """
    stride = min(stride_for(renderer.fps, max_fps), len(steps))
    fps = renderer.fps / stride
    frames = pictures(steps, renderer, stride, min(max_side, kind.max_side))
    first = next(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as part:
            kind.write(part, itertools.chain([first], frames), fps)
    except OSError as error:
        raise MachineError(
            f"cannot write {path} ({error}): make room there, or name another file with --out"
        ) from error
    return fps, first.shape[1::-1]


def film_paths(out: Path, name: str | None) -> Mapping[str, Path]:
    """The file of each format to write.

    Args:
      out: the film's file; its suffix may be left out, or is replaced for both formats.
      name: a name in FORMATS, or "both"; None leaves it to the suffix of `out`, or is mp4.
    Raises:
      PrefrlError: no such format, or another suffix than its own.
    """
    suffix = out.suffix.removeprefix(".")
    name = name or suffix or "mp4"
    choose({**FORMATS, "both": None}, name, "format")
    if name == "both":
        return {name: out.with_suffix(f".{name}") for name in FORMATS}
    if suffix not in ("", name):
        raise PrefrlError(f"--out {out} and --format {name} contradict each other: leave one out")
    return {name: out.with_suffix(f".{name}")}


def _means(rewards: Sequence[float], n: int, stride: int) -> Array:
    means: Array = np.array(rewards[: n * stride]).reshape(n, stride).mean(axis=1)
    return means


def _even(frame: Array) -> Array:
    height, width = frame.shape[:2]
    padded: Array = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return padded


def _palette(images: Sequence[Image.Image]) -> Image.Image:
    picked = images[:: -(-len(images) // _PALETTE_PICTURES)]
    together = Image.fromarray(np.concatenate([np.asarray(image) for image in picked]))
    return together.quantize(256, Image.Quantize.MAXCOVERAGE)  # exact where it is flat


def _gif_durations(n: int, fps: float) -> list[int]:
    """Milliseconds of each picture: gif counts hundredths of a second, so some last one longer."""
    ends = [round(100 * (i + 1) / fps) for i in range(n)]
    return [10 * (end - start) for start, end in itertools.pairwise([0, *ends])]
