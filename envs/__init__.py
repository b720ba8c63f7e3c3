"""Gymnasium environments without early termination, registered as `prefrl/...`.

An episode that ends at a fall tells an agent how it did; here only the time limit ends an
episode, as a truncation, and a fall costs reward instead (Christiano et al. 2017, appendix A).
`import envs` registers them all, and so does `gymnasium.make("envs:prefrl/Hopper-v0")`.
Every environment's `metadata["instruction"]` is what a person who compares clips is asked.

To add one: a class in a file of this folder, and a line below.
"""

from __future__ import annotations

from gymnasium.envs.registration import register

register("prefrl/CartPole-v0", "envs.cart_pole:CartPoleEnv", max_episode_steps=500)
register("prefrl/Pendulum-v0", "envs.pendulum:PendulumEnv", max_episode_steps=200)
register(
    "prefrl/MountainCarContinuous-v0",
    "envs.mountain_car:MountainCarContinuousEnv",
    max_episode_steps=999,
)
register("prefrl/HalfCheetah-v0", "envs.locomotion:HalfCheetahEnv", max_episode_steps=1000)
register("prefrl/Hopper-v0", "envs.locomotion:HopperEnv", max_episode_steps=1000)
register("prefrl/Walker2d-v0", "envs.locomotion:Walker2dEnv", max_episode_steps=1000)

register("prefrl/MovingDot-v0", "envs.moving_dot:MovingDotEnv", max_episode_steps=50)

# Five minutes of play: 60 frames a second, four frames a step.
_ATARI_STEPS = 4500
for _name, _game in {
    "Atari": "pong",  # or any other, with game=...
    "BeamRider": "beam_rider",
    "Breakout": "breakout",
    "Enduro": "enduro",
    "Pong": "pong",
    "Qbert": "qbert",
    "Seaquest": "seaquest",
    "SpaceInvaders": "space_invaders",
}.items():
    register(
        f"prefrl/{_name}-v0",
        "envs.atari:AtariEnv",
        max_episode_steps=_ATARI_STEPS,
        kwargs={"game": _game},
    )
register(
    "prefrl/EnduroStayEven-v0", "envs.enduro:EnduroStayEvenEnv", max_episode_steps=_ATARI_STEPS
)
