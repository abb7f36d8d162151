"""Several gloo processes on this machine, for the tests of what they compute together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

Work = Callable[..., Any]

# Forked from a server that has only imported: spawned ones would each import torch anew.
METHOD = "forkserver"
multiprocessing.get_context(METHOD).set_forkserver_preload(
    [
        *("pytest", "spinlock.training.pipeline", "spinlock.compat.vector_quantize_pytorch"),
        "torch._dynamo",  # DistributedDataParallel imports it
    ]
)


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
    given = (size, str(folder), work, arguments)
    multiprocessing.start_processes(_enter, given, nprocs=size, start_method=METHOD)
    names = [folder / f"result-{size}-{rank}.pt" for rank in range(size)]
    return [torch.load(name, weights_only=False) for name in names]
