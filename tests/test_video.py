"""Films and the window: what a run's policy does, in real time, with its reward beside it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pygame
import pytest
from PIL import Image, ImageSequence
from short_runs import TINY
from stable_baselines3 import PPO
from watched import Watched

from prefrl import commands
from prefrl.api import load_run
from prefrl.bench import rendering
from prefrl.cli import main
from prefrl.config import EnvConfig
from prefrl.environments import make_env
from prefrl.render import window
from prefrl.render.bars import BLUE, ORANGE
from prefrl.render.film import film_paths, pictures, shrunk, stride_for, write_gif, write_mp4
from prefrl.render.play import Step, play
from prefrl.render.window import Playback
from prefrl.types import Array, PrefrlError

FIXTURES = Path(__file__).parent / "fixtures"

Prefrl = Callable[..., Any]


def train(env_id: str, run: Path, *words: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "evaluate", lambda *_: {})
        patch.setattr(commands, "report", lambda *_: Path())
        assert main(["train", env_id, *TINY, "--run", str(run), *words]) == 0
    return run


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("Pendulum-v1", tmp_path_factory.mktemp("pendulum") / "run")


@pytest.fixture
def trained(prefrl: Prefrl, pendulum: Path) -> Path:
    """A copy of the run, in the folder that `prefrl` runs in."""
    return Path(shutil.copytree(pendulum, "done"))


# ---- prefrl video


def decoded(path: Path) -> tuple[Any, list[Array]]:
    with av.open(str(path)) as film:
        (stream,) = film.streams.video
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        return (
            stream.codec_context.name,
            stream.codec_context.pix_fmt,
            stream.average_rate,
        ), frames


def has(frame: Array, colour: tuple[int, int, int], within: int = 30) -> bool:
    """Whether there is a patch of about this colour: compression changes it a little."""
    near = np.abs(frame.astype(int) - colour).max(axis=-1) < within
    return int(near.sum()) > 40


def test_mp4_and_gif_of_a_run(prefrl: Prefrl, trained: Path) -> None:
    done = prefrl("video", "done", "--seconds", "2", "--format", "both")
    assert done.status == 0, done.err
    name = "000000002048-seed0"
    mp4, gif = (trained / "videos" / f"{name}.{kind}" for kind in ("mp4", "gif"))
    assert f"written: {mp4} (648x480, 30 frames/s" in done.out
    assert f"{name}.gif (488x320, 15 frames/s" in done.out
    assert not list((trained / "videos").glob(".*"))

    (codec, pix_fmt, rate), frames = decoded(mp4)
    assert (codec, pix_fmt, rate) == ("h264", "yuv420p", 30)
    assert len(frames) == 60 and frames[0].shape == (480, 648, 3)
    assert mp4.read_bytes()[:4096].find(b"moov") > 0, "browsers start before the end"
    assert any((a != b).any() for a, b in itertools.pairwise(frames)), "it moves"
    assert any(has(frame, BLUE) for frame in frames)
    assert any(has(frame, ORANGE) for frame in frames), "Pendulum's true reward is known"

    with Image.open(gif) as film:
        durations = [f.info["duration"] for f in ImageSequence.Iterator(film)]
        assert film.info["loop"] == 0
    assert len(durations) == 30 and sum(durations) == 2000


def test_the_same_seed_films_the_same(prefrl: Prefrl, trained: Path) -> None:
    for out, seed in (("a.gif", "1"), ("b.gif", "1"), ("c.gif", "2")):
        done = prefrl("video", "done", "--seconds", "1", "--out", out, "--seed", seed)
        assert done.status == 0, done.err
    a, b, c = (Path(name).read_bytes() for name in ("a.gif", "b.gif", "c.gif"))
    assert a == b and a != c


def test_a_film_goes_into_a_folder_that_is_named(prefrl: Prefrl, trained: Path) -> None:
    Path("films").mkdir()
    for out in ("films", "."):
        done = prefrl("video", "done", "--seconds", "1", "--format", "gif", "--out", out)
        assert done.status == 0, done.err
        assert [p.name[-10:] for p in Path(out).glob("*.gif")] == ["-seed0.gif"]


def test_fewer_frames_at_the_same_pace(prefrl: Prefrl, trained: Path) -> None:
    words = ["--seconds", "2", "--fps", "10", "--size", "200", "--out", "new/folder/film"]
    done = prefrl("video", "done", "--deterministic", *words)
    assert done.status == 0, done.err
    (*_, rate), frames = decoded(Path("new/folder/film.mp4"))
    assert rate == 10 and len(frames) == 20
    assert frames[0].shape[0] == 400, "200 pixels are enlarged for the labels"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["nothere"], "nothere holds no run"),
        (["done", "--format", "avi"], "unknown format 'avi': known: both, gif, mp4"),
        (["done", "--format", "mp5"], "unknown format 'mp5': did you mean 'mp4'?"),
        (["done", "--out", "film.mov"], "unknown format 'mov'"),
        (["done", "--out", "film.gif", "--format", "mp4"], "contradict each other"),
        (["done", "--seconds", "0"], "--seconds = 0 is out of range: it must be from 0.1 to 3600"),
        (["done", "--fps", "0"], "--fps = 0 is out of range"),
        (["done", "--seed", "-1"], "--seed = -1 is out of range: it must be from 0 to 2147483648"),
        (["done", "--size", "5"], "--size = 5 is out of range: it must be from 64 to 2160"),
    ],
)
def test_mistakes_are_named(prefrl: Prefrl, trained: Path, words: list[str], wanted: str) -> None:
    done = prefrl("video", *words)
    assert done.status == 2
    assert wanted in done.err and "Traceback" not in done.err
    assert not (trained / "videos").exists()


@pytest.mark.parametrize("command", ["video", "watch"])
def test_a_run_without_a_checkpoint(
    prefrl: Prefrl, trained: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    shutil.rmtree(trained / "checkpoints")
    done = prefrl(command, "done")
    assert done.status == 2
    assert "done has no checkpoint yet: train it first" in done.err


def test_an_environment_that_cannot_be_drawn(prefrl: Prefrl) -> None:
    train("FrozenLake-v1", Path("lake"), "--segment-length", "10")
    done = prefrl("video", "lake")
    assert done.status == 2
    assert "FrozenLake-v1 cannot be drawn again" in done.err
    assert "set_render_state(state)" in done.err and "Traceback" not in done.err


# ---- steps, pictures, files


def test_the_policy_plays_on_after_an_episode(pendulum: Path) -> None:
    agent, reward = load_run(pendulum)
    with closing(play(agent, reward, EnvConfig(id="Pendulum-v1"), seed=3)) as endless:
        steps = list(itertools.islice(endless, 250))  # an episode has 200
    assert all(np.isfinite([step.predicted, step.true]).all() for step in steps)
    assert len({step.predicted for step in steps}) > 100
    angles = np.array([step.render_state[0] for step in steps])
    jumps = np.abs(np.diff(np.unwrap(angles)))  # of 0.4 at most while it swings
    assert jumps.argmax() == 199 and jumps[199] > 0.5, "the next one starts somewhere else"


@pytest.mark.parametrize("deterministic", [True, False])
def test_policy_and_ensemble_see_what_they_saw_in_training(deterministic: bool) -> None:
    """The one normalised observations, the other the environment's own."""
    policy, judged = Watched(), []

    class Judge:
        def predict(self, obs: Array, actions: Array) -> Array:
            judged.append(obs)
            return np.zeros(len(obs), np.float32)

    env = EnvConfig(id="Pendulum-v1")
    with closing(play(policy, Judge(), env, 0, deterministic)) as endless:  # type: ignore[arg-type]
        steps = list(itertools.islice(endless, 20))
    policy.check(deterministic)
    angles = np.array([step.render_state[0] for step in steps[:-1]])
    np.testing.assert_allclose(np.concatenate(judged)[1:, 0], np.cos(angles), atol=1e-5)


def test_pictures_are_judged_as_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels last, as cameras give them: agent and reward see them first."""
    monkeypatch.syspath_prepend(FIXTURES)
    env = EnvConfig(id="odd/DrawnImage-v0", module="odd_envs")
    recorder = make_env(env.id, 1, module=env.module)
    seen: list[Array] = []

    class Judge:
        def predict(self, obs: Array, actions: Array) -> Array:
            seen.append(obs)
            return np.zeros(len(obs), np.float32)

    agent = PPO("CnnPolicy", recorder, policy_kwargs={"features_extractor_kwargs": {}})
    with closing(play(agent, Judge(), env, seed=0)) as endless:  # type: ignore[arg-type]
        next(endless)
    assert recorder.observation_space.shape == (3, 36, 44) == seen[0].shape[1:]
    recorder.close()


@dataclass
class Painter:
    """Draws a render state as its number, in grey, and remembers it."""

    fps: float = 20.0
    drawn: list[int] = field(default_factory=list)

    def frame(self, state: Array) -> Array:
        self.drawn.append(int(state[0]))
        return np.full((320, 320, 3), state[0] % 256, np.uint8)


def steps_of(predicted: Sequence[float], true: Sequence[float]) -> list[Step]:
    return [Step(np.array([t]), p, r) for t, (p, r) in enumerate(zip(predicted, true, strict=True))]


@pytest.mark.parametrize(
    ("rate", "most", "stride"),
    [(20, 30, 1), (125, 30, 5), (50, 30, 2), (30, 30, 1), (30, 15, 2), (60, 29.97, 3), (4, 30, 1)],
)
def test_steps_are_left_out_to_stay_in_real_time(rate: float, most: float, stride: int) -> None:
    assert stride_for(rate, most) == stride


def bar(frame: Array, colour: tuple[int, int, int]) -> int:
    return int((frame == colour).all(axis=-1).any(axis=1).sum())


def test_a_picture_stands_for_the_steps_since_the_last_one() -> None:
    painter: Any = Painter()
    steps = steps_of([1, 3, 0, 2, -2, -6, 99], [0, 1, 0, 0, 0, 0, 0])
    drawn = list(pictures(steps, painter, 2, 320))
    assert painter.drawn == [1, 3, 5], "the last step of each two; an odd one is left out"
    lengths = [bar(frame, BLUE) for frame in drawn]  # of the means 2, 1, -4
    assert lengths[2] == pytest.approx(2 * lengths[0], abs=3)
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=3)
    assert bar(drawn[0], ORANGE) > 50 and bar(drawn[1], ORANGE) <= 1


@pytest.mark.parametrize("true", [0.0, float("nan")])
def test_a_true_reward_that_nobody_knows_is_not_drawn(true: float) -> None:
    painter: Any = Painter()
    known, unknown = (
        list(pictures(steps_of([1.0] * 3, rewards), painter, 1, 320))
        for rewards in ([1.0, 2.0, 0.0], [true] * 3)
    )
    assert unknown[0].shape[1] < known[0].shape[1]
    assert not any(bar(frame, ORANGE) for frame in unknown)


def test_a_picture_is_made_smaller_never_larger() -> None:
    frame = np.zeros((400, 600, 3), np.uint8)
    assert shrunk(frame, 300).shape == (200, 300, 3)
    assert shrunk(frame, 600) is frame
    assert shrunk(frame, float("inf")) is frame


def colours(n: int, height: int, width: int) -> list[Array]:
    """Pictures of one colour each."""
    rng = np.random.default_rng(0)
    return [np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(n)]


def test_odd_sides_become_even_in_an_mp4(tmp_path: Path) -> None:
    frames = colours(5, 31, 47)
    write_mp4(tmp_path / "film", iter(frames), 125 / 9)
    (*_, rate), back = decoded(tmp_path / "film")
    assert rate == Fraction(125, 9)
    assert [frame.shape for frame in back] == [(32, 48, 3)] * 5
    for frame, wanted in zip(back, frames, strict=True):
        assert np.abs(frame.astype(int) - wanted[0, 0]).mean() < 6


def test_a_gif_keeps_flat_colours_and_the_time(tmp_path: Path) -> None:
    frames = colours(7, 20, 30)
    write_gif(tmp_path / "film", iter(frames), 125 / 9)
    with Image.open(tmp_path / "film") as film:
        back = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(film)]
        film.seek(0)
        durations = [f.info["duration"] for f in ImageSequence.Iterator(film)]
    for frame, wanted in zip(back, frames, strict=True):
        np.testing.assert_array_equal(frame, wanted)
    assert sum(durations) == 500 and set(durations) == {70, 80}  # 7 * 9 / 125 = 0.504 s


def test_the_files_of_a_film() -> None:
    assert film_paths(Path("a/b"), None) == {"mp4": Path("a/b.mp4")}
    assert film_paths(Path("a.gif"), None) == {"gif": Path("a.gif")}
    assert film_paths(Path("a.gif"), "both") == {"mp4": Path("a.mp4"), "gif": Path("a.gif")}
    with pytest.raises(PrefrlError, match="contradict"):
        film_paths(Path("a.gif"), "mp4")


# ---- prefrl watch


def endless() -> Iterator[Step]:
    for t in itertools.count():
        yield Step(np.array([t]), float(np.sin(t)), float(t >= 40))


def test_the_window_keeps_the_pace_of_the_clock() -> None:
    painter: Any = Painter(fps=20)
    playback = Playback(endless(), painter, 320)
    assert playback.advance(0) is not None, "the first step at once"
    assert playback.advance(0.02) is None, "not due yet"
    for _ in range(10):
        playback.advance(0.1)
    assert painter.drawn == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20], "two steps in 0.1 s"
    playback.paused = True
    assert playback.advance(100) is None
    playback.paused = False
    playback.advance(100)
    assert painter.drawn[-1] == 25, "after a break it goes on, a quarter of a second on at most"


def test_a_true_reward_appears_in_the_window_when_there_is_one() -> None:
    painter: Any = Painter(fps=10)
    playback = Playback(endless(), painter, 320)
    frames = [frame for _ in range(50) if (frame := playback.advance(0.1)) is not None]
    assert len({frame.shape for frame in frames}) == 1
    assert not any(bar(frame, ORANGE) for frame in frames[:39])
    assert bar(frames[-1], ORANGE) > 50
    assert any(bar(frame, BLUE) > 50 for frame in frames[:39])


@pytest.fixture
def shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDL's dummy driver counts as a display here."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("DISPLAY", ":none")
    monkeypatch.setattr(window, "_HEADLESS", ())


def press(*keys: int) -> None:
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))


@pytest.mark.parametrize("end", ["escape", "close"])
def test_the_window_shows_pauses_and_closes(
    shown_nowhere: None, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    painter: Any = Painter(fps=1000)
    playback = Playback(endless(), painter, 320)
    seen: list[tuple[bool, Any]] = []
    advance = Playback.advance

    def scripted(self: Playback, seconds: float) -> Array | None:
        surface = pygame.display.get_surface()
        seen.append((self.paused, None if surface is None else surface.get_size()))
        if len(seen) in (3, 6):
            press(pygame.K_SPACE)
        if len(seen) == 9 and end == "escape":
            press(pygame.K_ESCAPE)
        if len(seen) == 9 and end == "close":
            pygame.event.post(pygame.event.Event(pygame.QUIT))
        return advance(self, seconds)

    monkeypatch.setattr(Playback, "advance", scripted)
    with window.display("a title", "look away"):
        assert pygame.display.get_caption()[0] == "a title"
        window.show(playback)
    assert not pygame.display.get_init()
    assert [paused for paused, _ in seen] == [False] * 3 + [True] * 3 + [False] * 3
    assert seen[-1][1] == (320 + 2 * 84, 320)


def test_watch_plays_a_run(
    prefrl: Prefrl, trained: Path, shown_nowhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    advance = Playback.advance

    def scripted(self: Playback, seconds: float) -> Array | None:
        picture = advance(self, seconds)
        if picture is not None:
            sizes.append(picture.shape)
        if len(sizes) == 5:
            press(pygame.K_ESCAPE)
        return picture

    monkeypatch.setattr(Playback, "advance", scripted)
    done = prefrl("watch", "done")
    assert done.status == 0, done.err
    assert "checkpoint 000000002048; Space pauses, Escape closes" in done.out
    assert sizes == [(480, 648, 3)] * 5


@pytest.mark.parametrize("display", ["", ":99999"])
def test_without_a_display_the_remedy_is_named(
    prefrl: Prefrl, trained: Path, monkeypatch: pytest.MonkeyPatch, display: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    done = prefrl("watch", "done")
    assert done.status == 2
    assert "there is no display for a window" in done.err and "prefrl video done" in done.err
    if display:
        monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
        assert "SDL_VIDEODRIVER=dummy opens none, unset it" in prefrl("watch", "done").err


@pytest.mark.display
def test_a_real_window_beside_mujoco() -> None:
    """SDL must not show it through GL: the process would end."""
    from prefrl.render import SegmentRenderer

    state = np.zeros(18)
    with (
        window.display("cheetah", "look away"),
        SegmentRenderer("HalfCheetah-v5", size=320) as renderer,
    ):
        steps = (Step(state, 1.0, 1.0) for _ in range(10_000))
        playback = Playback(steps, renderer, 320)
        pygame.time.set_timer(pygame.QUIT, 1500, loops=1)
        window.show(playback)
        screen = pygame.display.get_surface()
        assert screen is not None and screen.get_size() == (320 + 2 * 84, 320)


# ---- prefrl bench rendering


def test_the_study_measures_both_sides() -> None:
    spec = {"family": "classic", "env": "CartPole-v1", "repeats": 2, "seconds": 0.05}
    row = rendering.measure(spec, Path())
    assert row.items() >= spec.items()
    assert row["frames_per_second"] > 1 and row["default_frames_per_second"] > 1
    assert row["backend"] == ""


def test_the_headline_is_of_medians_over_a_family() -> None:
    rows = [
        {"family": "mujoco", "ratio": ratio, "frames_per_second": 10 * ratio}
        for ratio in (10.0, 30.0, 20.0)
    ]
    found = rendering.headline(rows)
    assert found["mujoco_speedup"] == 20 and found["mujoco_frames_per_second"] == 200
    assert np.isnan(found["ale_speedup"])
    assert {row["family"] for row in rendering.specs(True)} == {"mujoco", "classic", "ale"}
