"""EnvPool's environments behind SB3's interface, where they equal Gymnasium's.

EnvPool steps many copies in one call of compiled code, in as many threads as there are cores.
`tasks.py` lists the environments that have an equal, `atari.py` plays Atari as `envs/atari.py`
does, `vec.py` makes an SB3 VecEnv of either.
"""

from prefrl.pools.vec import PoolVecEnv, draws, pool_vec_env

__all__ = ["PoolVecEnv", "draws", "pool_vec_env"]
