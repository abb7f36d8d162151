"""A run in several processes: what it can be, how it starts, and what is said when one is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinlock.data.table import FeatureTable
from spinlock.distributed.world import World, WorldError
from spinlock.errors import ConfigError, DataError
from spinlock.training.callbacks import Event, EventHandler
from spinlock.training.prepared import Prepared
from spinlock.training.shared_rows import share_rows
from spinlock.training.team import Team

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


def share_run(
    prepared: Prepared | None,
    config: TrainConfig,
    world: World,
    table: FeatureTable | None,
    on_event: EventHandler,
) -> tuple[Prepared, Team]:
    """What process 0 has prepared, with this process's rows, and the team that trains on them.

    Raises:
        ConfigError: something that runs in one process only.
        DataError: fewer rows than processes, or not the data set that process 0 has read.
    """
    mine, train, validation = share_rows(prepared, config, world, table)
    check_shared(config, world, train.total)
    message = (
        f"training in {world.size} processes; a batch of "
        f"{min(config.training.batch_size, train.total):,} rows is what all have together"
    )
    on_event(Event("processes", message, {"processes": world.size}))
    model = mine.config.model
    if model.hierarchy == "independent" and model.orthogonality_weight + model.topographic_weight:
        message = (
            "the orthogonality and topographic losses compare rows within each process, not across "
            "processes: they are not those of one process"
        )
        on_event(Event("pairwise_losses", message))
    return mine, Team(world, train, validation)


def another_number_of_processes(state: Mapping[str, Any], team: Team | None) -> str:
    """What to add to the message of a resumed run whose processes were others."""
    before, now = int(state.get("processes", 1)), 1 if team is None else team.world.size
    if before == now:
        return ""
    return (
        f"; on {now} {'process' if now == 1 else 'processes'} instead of {before}: batches stay "
        "the same, but sums are rounded in another order"
    )


def lost_process(error: WorldError, checkpoint: Path | None) -> WorldError:
    """The error with what is left of the run, and how to go on."""
    if checkpoint is None:
        return WorldError(f"{error}; nothing was saved yet: look at its output, then start again")
    return WorldError(
        f"{error}; '{checkpoint}' is intact: look at the output of the other process, then go on "
        "with --resume, on as many processes as you like"
    )


def check_shared(config: TrainConfig, world: World, training_rows: int) -> None:
    """What several processes can train.

    Raises:
        ConfigError: something that runs in one process only.
        DataError: fewer rows than processes.
    """
    training = config.training
    if training.refit.rounds:
        raise ConfigError(
            f"training.refit.rounds is {training.refit.rounds}, but refit rounds run in one "
            f"process and this run has {world.size}: set it to 0, or start without torchrun"
        )
    if training.cuda_graph is True:
        raise ConfigError(
            f"training.cuda_graph: true records steps of one process, and this run has "
            f"{world.size}: set it to auto or false, or start without torchrun"
        )
    rows = min(training.batch_size, training_rows)
    if rows < world.size:
        what = "training rows" if rows < training.batch_size else "rows in a batch"
        kind = DataError if rows < training.batch_size else ConfigError
        raise kind(
            f"{world.size} processes for {rows} {what} leave some without work: start fewer "
            "(torchrun --nproc-per-node), or raise training.batch_size, which counts the rows of "
            "all processes together"
        )
