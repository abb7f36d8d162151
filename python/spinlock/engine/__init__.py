"""Passes over data: the same work on every part, here or on a cluster, put together in order."""

from spinlock.engine.engine import IN_PROCESS, Engine, InProcess, Part, Tell, silent
from spinlock.engine.opening import ENGINES, check_engine, open_engine
from spinlock.engine.reduction import Mergeable, map_reduce

__all__ = [
    "ENGINES",
    "IN_PROCESS",
    "Engine",
    "InProcess",
    "Mergeable",
    "Part",
    "Tell",
    "check_engine",
    "map_reduce",
    "open_engine",
    "silent",
]
