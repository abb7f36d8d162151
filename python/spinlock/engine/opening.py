"""From the name of an engine to one that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spinlock.engine.engine import IN_PROCESS, Engine
from spinlock.errors import ConfigError

ENGINES = ("local", "ray")


def check_engine(name: str) -> None:
    """Refuses what is no engine.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in ENGINES:
        raise ConfigError(f"--engine is {name!r}; expected one of {', '.join(ENGINES)}")


@contextmanager
def open_engine(name: str = "local", address: str | None = None) -> Iterator[Engine]:
    """The engine of that name, until the end of the block.

    Args:
        name: ``local``: this process; ``ray``: Ray Data.
        address: of a Ray cluster, as ``ray.init`` takes it (``auto``, ``host:port``,
            ``ray://host:port``); None: the cluster that this process is connected to or that the
            environment names, else one that is started on this machine and ends with the block.

    Raises:
        ConfigError: an unknown name, an address for another engine, Ray is not installed, or there
            is no cluster at that address.
    """
    check_engine(name)
    if name == "local":
        if address is not None:
            raise ConfigError(
                f"--address {address!r} is the address of a Ray cluster: give --engine ray as well"
            )
        yield IN_PROCESS
        return
    from spinlock.engine.ray_engine import connected

    with connected(address) as engine:
        yield engine
