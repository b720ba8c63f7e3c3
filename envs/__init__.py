"""Gymnasium environments without early termination, registered as `prefrl/...`.

An episode that ends at a fall tells an agent how it did; here only the time limit ends an
episode, as a truncation, and a fall costs reward instead (Christiano et al. 2017, appendix A).
`import envs` registers them all, and so does `gymnasium.make("envs:prefrl/Hopper-v0")`.
Every environment's `metadata["instruction"]` is what a person who compares clips is asked, and
`metadata["true_reward"]` what a simulated labeler compares.

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

# MuJoCo: the tasks of Christiano et al. 2017 on Gymnasium's v5 models, and Humanoid
register("prefrl/HalfCheetah-v0", "envs.locomotion:HalfCheetahEnv", max_episode_steps=1000)
register("prefrl/Hopper-v0", "envs.locomotion:HopperEnv", max_episode_steps=1000)
register("prefrl/Walker2d-v0", "envs.locomotion:Walker2dEnv", max_episode_steps=1000)
register("prefrl/Swimmer-v0", "envs.locomotion:SwimmerEnv", max_episode_steps=1000)
register("prefrl/Ant-v0", "envs.locomotion:AntEnv", max_episode_steps=1000)
register("prefrl/Humanoid-v0", "envs.locomotion:HumanoidEnv", max_episode_steps=1000)
register("prefrl/Reacher-v0", "envs.reacher:ReacherEnv", max_episode_steps=50)
register(
    "prefrl/InvertedDoublePendulum-v0",
    "envs.double_pendulum:InvertedDoublePendulumEnv",
    max_episode_steps=1000,
)

# MuJoCo: behaviours whose true reward is for simulated labelers and for evaluation alone
register(
    "prefrl/HopperBackflip-v0",
    "envs.hopper_backflip:HopperBackflipEnv",
    max_episode_steps=2500,  # 20 s
)
register(
    "prefrl/HalfCheetahOneLeg-v0",
    "envs.half_cheetah_one_leg:HalfCheetahOneLegEnv",
    max_episode_steps=1000,
)
register(
    "prefrl/DeceptiveGrasp-v0", "envs.deceptive_grasp:DeceptiveGraspEnv", max_episode_steps=100
)

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
