"""MuJoCo's messages through Python's logging instead of the console and a file."""

from __future__ import annotations

import importlib
import importlib.util
import logging

_LOGGER = logging.getLogger("mujoco")


def quiet_mujoco() -> None:
    """Send MuJoCo's warnings to `logging.getLogger("mujoco")`.

    By itself MuJoCo prints them and appends them to MUJOCO_LOG.TXT in the working directory;
    MuJoCo 4 does so for a model of Gymnasium's own, HalfCheetah-v5, because of a deprecated
    attribute that no user can change. That message becomes DEBUG; all others, such as that of
    an unstable simulation, stay WARNING, which Python prints to stderr unless told otherwise.

    Call it in every process that builds a MuJoCo environment; a second call changes nothing,
    and a handler that somebody else has set stays. Without MuJoCo it does nothing.
    """
    if importlib.util.find_spec("mujoco") is None:
        return
    mujoco = importlib.import_module("mujoco")
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_log)


def _log(message: str) -> None:
    level = logging.DEBUG if " is deprecated" in message else logging.WARNING
    _LOGGER.log(level, "%s", message.strip())
