"""Of several processes that fail, one says why: the first."""

from __future__ import annotations

import os
from datetime import timedelta

from spinlock.distributed.launch import launched_world_size
from spinlock.errors import ConfigError

__all__ = ["may_speak"]

_KEY = "spinlock/speaks"
_answer: bool | None = None


def may_speak() -> bool:
    """Whether this process tells why the job ends; True for one process of a job, and alone.

    The first one that asks is the one, for what it has met is the cause of what the others meet.
    They are told by the store that ``torchrun`` keeps; where that is gone, process 0 speaks.
    """
    global _answer
    if _answer is None:
        _answer = _first_to_ask()
    return _answer


def _first_to_ask() -> bool:
    try:
        if launched_world_size() == 1:
            return True
    except ConfigError:  # what is wrong with the variables everybody says
        return True
    from torch import distributed

    try:
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=10),
        )
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return int(store.add(f"{_KEY}/{attempt}", 1)) == 1
    except (RuntimeError, ValueError):
        return os.environ["RANK"] == "0"
