"""Taking part in what ``torchrun`` started: its variables, the backend, the device of a process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from spinlock.errors import ConfigError

if TYPE_CHECKING:
    from spinlock.distributed.world import World

__all__ = ["device_of_process", "joined", "launched_world_size", "rank_of_launch"]

_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Other processes wait while process 0 reads and measures the data set.
_TIMEOUT = timedelta(hours=6)


def launched_world_size(environment: Mapping[str, str] = os.environ) -> int:
    """Processes that ``torchrun`` started, from its variable WORLD_SIZE; 1 without it.

    Raises:
        ConfigError: the variable is no number, or its companions are missing or senseless.

    >>> launched_world_size({})
    1
    >>> launched_world_size({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"})
    Traceback (most recent call last):
    spinlock.errors.ConfigError: WORLD_SIZE is 2, but MASTER_ADDR and MASTER_PORT are not set: ...
    """
    size = _number(environment, "WORLD_SIZE", 1)
    if size <= 1:
        return 1
    missing = [name for name in _NEEDED if not environment.get(name)]
    if missing:
        verb = "are" if len(missing) > 1 else "is"
        raise ConfigError(
            f"WORLD_SIZE is {size}, but {' and '.join(missing)} {verb} not set: start several "
            "processes with torchrun, which sets them all, or unset WORLD_SIZE to train in one"
        )
    rank = _number(environment, "RANK", 0)
    if not 0 <= rank < size:
        raise ConfigError(
            f"RANK is {rank}, expected 0 to {size - 1} (WORLD_SIZE is {size}): start the processes "
            "with torchrun"
        )
    return size


def rank_of_launch(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process among those that ``torchrun`` started; 0 without it."""
    return _number(environment, "RANK", 0) if launched_world_size(environment) > 1 else 0


def device_of_process(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The device that a process takes: the GPU of its LOCAL_RANK where a GPU is meant.

    Args:
        name: ``device`` of the configuration.
        environment: with ``torchrun``'s variables.

    Raises:
        ConfigError: one GPU named for several processes, or fewer GPUs than processes here.
    """
    import torch

    local = _number(environment, "LOCAL_RANK", 0)
    here = _number(environment, "LOCAL_WORLD_SIZE", 1)
    if name.startswith("cuda:") and here > 1:
        raise ConfigError(
            f"device is '{name}', but {here} processes run on this machine and each takes a GPU of "
            "its own: set device to cuda"
        )
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        found = torch.cuda.device_count()
        if local >= found:
            raise ConfigError(
                f"{here} processes run on this machine, but it has {found} "
                f"{'GPU' if found == 1 else 'GPUs'}: start as many processes as GPUs "
                "(--nproc-per-node), or set device to cpu"
            )
        return f"cuda:{local}"
    return "cpu" if name == "auto" else name


@contextmanager
def joined(device: str) -> Iterator[World | None]:
    """The processes that train together; None where this one trains alone.

    Takes part in what ``torchrun`` started, for the length of the block, or in a group that the
    caller has already initialised.  Tensors on the CPU travel by gloo, those on a GPU by nccl.

    Args:
        device: of the configuration.

    Raises:
        ConfigError: as :func:`launched_world_size` and :func:`device_of_process`.
        WorldError: the processes do not find each other.
    """
    launched = launched_world_size()
    if launched == 1 and not _is_initialised():
        yield None
        return
    from torch import distributed

    from spinlock.distributed.speaker import may_speak
    from spinlock.distributed.world import World, WorldError

    if distributed.is_initialized():
        yield World() if distributed.get_world_size() > 1 else None
        return
    # Imported later, its functions take the group as a default and keep it: the threads of the
    # group then outlive the interpreter, which ends the process with an abort.
    import_module("torch.distributed.nn")
    kind = device_of_process(device).partition(":")[0]
    backend = "gloo" if kind == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        distributed.init_process_group(backend, timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise WorldError(
            f"process {rank_of_launch()} of {launched} did not find the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} "
            f"({(str(error).splitlines() or [''])[0]}): look at the address and port that torchrun "
            "was given, and at the network between the machines"
        ) from error
    try:
        yield World()
    except BaseException:
        # Before the others lose this process, and say so instead of the reason.
        may_speak()
        _outlive_launcher()
        raise
    finally:
        # Time for its threads to take the GIL and drop their last tensors: torch 2.6 waits for them
        # while it holds the GIL, for ever.
        time.sleep(0.01)
        distributed.destroy_process_group()


def _outlive_launcher() -> None:
    """torchrun ends the others as soon as one has ended, but they may have something to say."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _is_initialised() -> bool:
    if "torch.distributed" not in sys.modules:  # nobody has, and the import would take its time
        return False
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"{name} is {text!r}, expected a whole number: start several processes with torchrun, "
            f"or unset {name}"
        ) from None
