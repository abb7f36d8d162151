"""Several gloo processes on this machine, for the tests of what they compute together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

Work = Callable[..., Any]


def _enter(rank: int, size: int, folder: str, work: Work, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet-{size}", rank=rank, world_size=size
    )
    result = work(*arguments)
    torch.save(result, Path(folder) / f"result-{size}-{rank}.pt")
    distributed.destroy_process_group()


def in_processes(size: int, folder: Path, work: Work, *arguments: Any) -> list[Any]:
    """What ``work(*arguments)``, a function of a module, returns in each of ``size`` processes."""
    multiprocessing.spawn(_enter, (size, str(folder), work, arguments), nprocs=size)
    names = [folder / f"result-{size}-{rank}.pt" for rank in range(size)]
    return [torch.load(name, weights_only=False) for name in names]
