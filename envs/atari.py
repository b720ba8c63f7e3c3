"""Atari games as Christiano et al. 2017 prepared them: no score, and no end that can be seen."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from numpy.typing import NDArray

FRAME_SKIP = 4
FRAME_RATE = 60
"""Frames that the console draws in a second."""

STATE_SIZE = 8320
"""Bytes of a render state: the 104 games need at most 8,260, the paper's seven 7,726."""
Rectangle = Sequence[int]
"""(top, bottom, left, right) in pixels of the raw 210x160 screen; bottom and right exclusive."""


@dataclass(frozen=True)
class Game:
    """What training on a game needs beyond its ROM.

    Penalties are in points, about what 25 steps (1.7 s) of good play earn: the paper penalises
    the end of a game and does not say by how much.
    """

    instruction: str = "Choose the clip in which the game is played better."
    penalty: float = 0.0
    """Points that the end of a game costs."""
    hidden: tuple[Rectangle, ...] = ()
    """Parts of the screen to paint black."""
    resume: str = "FIRE"
    """Action that starts a game, and goes on after a lost life, where the console waits for it."""


GAMES = {
    "beam_rider": Game(
        "Choose the clip in which the ship shoots down more saucers and is not hit.",
        penalty=88,  # two white saucers
        hidden=((9, 19, 0, 160), (31, 42, 16, 44)),  # score; enemies left in the sector
        resume="RIGHT",  # after a lost life it waits for the stick, not for the button
    ),
    "breakout": Game(
        "Choose the clip in which more bricks are hit and the ball is not lost.",
        penalty=10,  # 1 to 7 points a brick
        hidden=((5, 15, 32, 84),),
    ),
    "enduro": Game(
        "Choose the clip in which the car overtakes more cars.",
        penalty=5,  # cars
        hidden=((161, 191, 48, 112),),  # the panel: distance, day, cars to pass
        resume="NOOP",
    ),
    "pong": Game(
        "Choose the clip in which the green paddle, on the right, plays better.",
        hidden=((0, 24, 0, 160),),
        resume="NOOP",
    ),
    "qbert": Game(
        "Choose the clip in which more cubes change colour and the player is not caught.",
        penalty=100,  # four cubes
        hidden=((5, 14, 30, 80),),
        resume="NOOP",
    ),
    "seaquest": Game(
        "Choose the clip in which the submarine shoots more, saves more divers, and survives.",
        penalty=60,  # three fish
        hidden=((8, 18, 56, 112),),
        resume="NOOP",
    ),
    "space_invaders": Game(
        "Choose the clip in which more invaders are shot and the cannon is not hit.",
        penalty=30,  # 5 to 30 points an invader
        hidden=((9, 21, 0, 160),),
        resume="NOOP",
    ),
}


class AtariEnv(gym.Env[NDArray[np.uint8], np.int64]):
    """One game of the Arcade Learning Environment, for learning from preferences.

    Observation (4, 84, 84), uint8: the last four steps in grey, the newest last. A step is four
    frames of the same action and shows the maximum of the last two; no action is sticky; a game
    starts after 1 to 30 frames without action (Mnih et al. 2015, through Gymnasium's wrappers).

    From Christiano et al. 2017, appendix A.2:
    - the score is painted black before the picture is made smaller, and so are BeamRider's
      count of enemies and Enduro's speedometer. Everything else stays visible: spare lives
      (all games but Enduro and Pong), BeamRider's sector and torpedoes, Seaquest's oxygen and
      divers, and whatever changes on the field because of a score, such as Breakout's bricks;
    - neither a lost life nor the end of a game is reported: the next game starts within the
      same step, and only the time limit ends an episode;
    - the end of a game costs a penalty, in all games but Pong.

    The reward is the change of the score, not clipped, less the penalty. The picture that
    `render` draws is the screen in colour with the same parts black: whoever compares clips
    judges by what the reward model can see.

    Breakout waits for FIRE before each ball, BeamRider for a move of the stick after each lost
    life. An agent that never does so is stuck on a still picture, and safe from the penalty.
    So these actions are taken for it, within the step that lost the life. (The usual wrapper of
    the paper's time pressed FIRE at the start of what it called an episode, a life; as lives are
    hidden here, it could not.) Games that are not in GAMES get FIRE, if they have it.

    Args:
      game: name of a ROM, in snake_case: "pong", "ms_pacman".
      penalty: points that the end of a game costs; as in GAMES unless given, else 0.
      hidden: rectangles (top, bottom, left, right) to paint black; as in GAMES unless given,
        else none: find the score's before training on another game.
      render_mode: "rgb_array" or None.
    Raises:
      gymnasium.error.NameNotFound: no such game for one player.
    """

    metadata = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": ["rgb_array"],
        "render_fps": FRAME_RATE // FRAME_SKIP,
    }

    def __init__(
        self,
        game: str = "pong",
        penalty: float | None = None,
        hidden: Sequence[Rectangle] | None = None,
        render_mode: str | None = None,
    ) -> None:
        known = GAMES.get(game, Game())
        self.render_mode = render_mode
        self.game = game
        self.penalty = price = known.penalty if penalty is None else penalty
        self.hidden = known.hidden if hidden is None else tuple(hidden)
        self.metadata = type(self).metadata | {
            "instruction": known.instruction,
            "true_reward": f"score, less {price:g} at the end of a game" if price else "score",
        }
        self._games = _EndlessGames(
            self._console(game),
            penalty=price,
            hidden=self.hidden,
            resume=known.resume,
        )
        self._stack = FrameStackObservation(self._games, 4)
        self.observation_space = self._stack.observation_space
        self.action_space = self._stack.action_space

    def _console(self, game: str) -> gym.Env[Any, Any]:
        """The emulator, a frame a step."""
        known = {spec.kwargs["game"] for spec in gym.registry.values() if spec.namespace == "ALE"}
        if game not in known:
            close = difflib.get_close_matches(game, known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"known: {sorted(known)}"
            raise gym.error.NameNotFound(f"no game {game!r} for one player: {remedy}")
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # or it prints a greeting
        console: gym.Env[Any, Any] = ale_py.AtariEnv(
            game, obs_type="grayscale", frameskip=1, repeat_action_probability=0.0
        )
        return console

    @property
    def ale(self) -> ale_py.ALEInterface:
        """The emulator."""
        ale: ale_py.ALEInterface = self._games.ale
        return ale

    @property
    def resume(self) -> int:
        """Number of the action that starts a game; 0 where none has to be taken."""
        return self._games.resume

    @property
    def can_wait(self) -> bool:
        """Whether there is an action that does nothing, with which games start at random."""
        return self._games.noop_max > 0

    @property
    def game_scores(self) -> list[float]:
        """Scores of the games that ended in this episode, without penalties."""
        return list(self._games.scores)

    @property
    def score(self) -> float:
        """Score of the game that is being played, without penalties."""
        return self._games.score

    @property
    def lives(self) -> int:
        """Lives left in this game; 0 where the game has none."""
        return self.ale.lives()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._games.scores.clear()
        obs, _ = self._stack.reset(seed=seed)
        return obs, {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        obs, reward, *_ = self._stack.step(action)
        return obs, float(reward), False, False, {}

    def render(self) -> NDArray[np.uint8] | None:
        """The screen at the end of the step, or None without a render mode.

        Returns:
          (210, 160, 3), uint8; a few games outside GAMES have up to 250 rows.
        """
        if self.render_mode is None:
            return None
        return self._games.paint_black(self.ale.getScreenRGB())

    def render_state(self) -> NDArray[np.uint8]:
        """The action of the current step, and the emulator's state before it.

        Returns:
          (STATE_SIZE,), padded with zeros. The random numbers of sticky actions are left out,
          as no action is sticky: they would double it.
        """
        state, action = self._games.shown
        content = bytes([action]) + state.serialize()
        return np.frombuffer(content.ljust(STATE_SIZE, b"\0"), dtype=np.uint8)

    def set_render_state(self, state: NDArray[np.uint8]) -> None:
        """Take a recorded step again, so that `render` draws it; the game goes on from there.

        Args:
          state: what `render_state` returned, here or in another process, in the same game.
        Raises:
          ValueError: its length is not STATE_SIZE.
        """
        if state.shape != (STATE_SIZE,):
            raise ValueError(f"render state of shape {state.shape}: must be ({STATE_SIZE},)")
        self._games.draw(state)


class _EndlessGames(AtariPreprocessing):
    """One game after the other, in frames of 84x84 without the score.

    Every picture is that of an action on an emulator's state, so that both can draw it again;
    also the first picture of a game, which is that of the resuming action.
    """

    def __init__(
        self, env: gym.Env[Any, Any], penalty: float, hidden: Sequence[Rectangle], resume: str
    ) -> None:
        meanings: list[str] = env.get_wrapper_attr("get_action_meanings")()
        noop_max = 30 if meanings[0] == "NOOP" else 0  # two board games have no such action
        super().__init__(env, noop_max=noop_max, frame_skip=FRAME_SKIP, screen_size=84)
        self.resume = meanings.index(resume) if resume in meanings else 0  # 0 is no action
        self._penalty = penalty
        self._hidden = [(slice(*rows), slice(*columns)) for rows, columns in map(_split, hidden)]
        self.scores: list[float] = []
        self.score = 0.0
        self.shown = self.ale.cloneState(), self.resume

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.score = 0.0
        obs, _, _ = self._act(self.resume)
        return obs, {}

    def step(  # type: ignore[override]
        self, action: np.int64
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        lives = self.ale.lives()
        obs, reward, over = self._act(int(action))
        if self.resume and not over and self.ale.lives() < lives:
            obs, more, over = self._act(self.resume)
            reward += more
        if over:
            self.scores.append(self.score)
            reward -= self._penalty
            obs, _ = self.reset()
        return obs, reward, False, False, {}

    def draw(self, state: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame, (84, 84), of a recorded step; the emulator's screen shows it too."""
        self.ale.restoreState(ale_py.ALEState(state[1:].tobytes()))
        return self._act(int(state[0]))[0]

    def paint_black(self, screen: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Paint the hidden parts of a raw screen, (210, 160) or (210, 160, 3), in place."""
        for place in self._hidden:
            screen[place] = 0
        return screen

    def _act(self, action: int) -> tuple[NDArray[np.uint8], float, bool]:
        """A step of the game: frame, points, and whether the game is over."""
        self.shown = self.ale.cloneState(), action
        obs, points, over, _, _ = super().step(action)
        self.score += float(points)
        return obs, float(points), over

    def _get_obs(self) -> NDArray[np.uint8]:
        for screen in self.obs_buffer:
            self.paint_black(screen)
        obs: NDArray[np.uint8] = super()._get_obs()  # type: ignore[no-untyped-call]
        return obs


def _split(rectangle: Rectangle) -> tuple[tuple[int, int], tuple[int, int]]:
    top, bottom, left, right = rectangle
    return (top, bottom), (left, right)
