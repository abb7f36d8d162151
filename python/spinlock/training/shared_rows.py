"""The rows of a run that one of several processes reads and keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spinlock.data.dataset import Dataset
from spinlock.data.sampling import sample_rows
from spinlock.data.split import split_rows
from spinlock.data.table import FeatureTable
from spinlock.distributed.rows import RowShare
from spinlock.distributed.world import World
from spinlock.errors import DataError
from spinlock.training.prepared import Prepared
from spinlock.training.preprocessing import Matrix
from spinlock.training.source import open_source

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


def share_rows(
    prepared: Prepared | None, config: TrainConfig, world: World, table: FeatureTable | None
) -> tuple[Prepared, RowShare, RowShare]:
    """What process 0 has prepared, with the rows of this process instead of all.

    The data set is cut into one block of consecutive rows per process.  Process 0 has read all of
    it to measure it; the others read no further than their block and keep nothing else.

    Args:
        prepared: in process 0, with all rows.
        config: the run's configuration.
        world: the processes.
        table: data in memory.

    Returns:
        the prepared run, which training rows it holds, and which held-out ones.

    Raises:
        DataError: the data set is not the one that process 0 has read.
    """
    without = None if prepared is None else _without_rows(prepared)
    everything: Prepared = world.object_from_first(without)
    with open_source(config, table) as source:
        seen = source.num_rows, source.names
        _check_same(world, seen, source.where)
        training, validation = _places(config, source.num_rows)
        block = RowShare.block(source.num_rows, world.rank, world.size)
        shares = RowShare.of(training, block), RowShare.of(validation, block)
        own = [share.numbers.numpy() for share in shares]
        if prepared is not None:
            matrices = [prepared.train[own[0]], prepared.validation[own[1]]]
        else:
            places = training[own[0]], validation[own[1]]
            matrices = _read(source, everything, block, places)
    return replace(everything, train=matrices[0], validation=matrices[1]), *shares


def _without_rows(prepared: Prepared) -> Prepared:
    return replace(prepared, train=prepared.train[:0], validation=prepared.validation[:0])


def _places(config: TrainConfig, num_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place in the data set of each training row and of each held-out one."""
    kept = min(num_rows, config.max_samples or num_rows)
    split = split_rows(kept, config.training.validation_split, config.random_seed)
    if kept == num_rows:
        return split
    numbers = sample_rows(num_rows, kept, config.random_seed)
    return numbers[split[0]], numbers[split[1]]


def _read(
    source: Dataset,
    prepared: Prepared,
    block: tuple[int, int],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> list[Matrix]:
    """The model's input at places within a block of the data set."""
    wanted = np.sort(np.concatenate(places))
    parts, start = [np.zeros((0, len(source.names)), np.float32)], 0
    for rows in source.blocks():
        if start >= block[1]:
            break
        low, high = np.searchsorted(wanted, (start, start + len(rows)))
        parts.append(rows[wanted[low:high] - start])
        start += len(rows)
    features = prepared.preprocessing.transform(np.concatenate(parts))
    return [features[np.searchsorted(wanted, of_split)] for of_split in places]


def _check_same(world: World, seen: tuple[int, tuple[str, ...]], where: str) -> None:
    first: tuple[int, tuple[str, ...]] = world.object_from_first(seen)
    if seen != first:
        raise DataError(
            f"process {world.rank} of {world.size} finds another data set than process 0 at "
            f"{where}: {seen[0]:,} rows and {len(seen[1])} columns, not {first[0]:,} and "
            f"{len(first[1])} of the same names: give all machines the same files"
        )
