"""The rows of every (seed, fold), and tables that make the pipeline hold out just those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spinlock.data.split import Rows, split_rows
from spinlock.data.table import FeatureTable
from spinlock.errors import ConfigError, DataError

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


@dataclass(frozen=True, eq=False)
class Split:
    """Which rows are trained on and which are held out.

    Attributes:
        seed: of the split and of every run on it.
        fold: the part that is held out; None for the published split rule.
        training, held_out: row numbers of the table.
    """

    seed: int
    fold: int | None
    training: Rows
    held_out: Rows


def make_split(
    num_rows: int, seed: int, fold: int | None, *, folds: int | None, validation_split: float
) -> Split:
    """The published split rule, or part ``fold`` of the rows in the published order.

    Args:
        num_rows: N.
        seed: of the permutation, 1000 + seed, that the published rule draws.
        fold: 0 to folds - 1; None without folds.
        folds: parts, as equal as can be.
        validation_split: share held out where there are no folds.

    Raises:
        DataError: rows too few for the folds or the share.

    >>> parts = [make_split(5, 0, f, folds=2, validation_split=0.2) for f in (0, 1)]
    >>> [split.held_out.tolist() for split in parts], parts[0].training.tolist()
    ([[2, 1, 0], [4, 3]], [4, 3])
    """
    if folds is None or fold is None:
        training, held_out = split_rows(num_rows, validation_split, seed)
        if len(held_out) == 0:
            raise DataError(
                f"training.validation_split {validation_split:g} of {num_rows} rows holds out "
                "none; raise it"
            )
        return Split(seed, None, training, held_out)
    if num_rows < 2 * folds:
        raise DataError(
            f"--folds {folds} of {num_rows} rows leave fewer than 2 rows in a fold: give fewer "
            "folds or more rows"
        )
    shuffled, _ = split_rows(num_rows, 0.0, seed)
    parts = np.array_split(shuffled, folds)
    training = np.concatenate([part for number, part in enumerate(parts) if number != fold])
    return Split(seed, fold, training, parts[fold])


def arranged(
    config: TrainConfig, table: FeatureTable, split: Split
) -> tuple[TrainConfig, FeatureTable]:
    """A configuration and a table whose published split is ``split``, row for row.

    The pipeline holds out the first ``int(share * N)`` rows of a permutation that its seed draws;
    the table is put in the order in which those are the split's held-out rows.

    >>> from spinlock.config import make_config
    >>> table = FeatureTable.from_families({"a": np.arange(5.0).reshape(5, 1)})
    >>> split = make_split(5, 0, 1, folds=2, validation_split=0.2)
    >>> config, turned = arranged(make_config({"dataset_path": "x.npz"}), table, split)
    >>> rows = split_rows(5, config.training.validation_split, config.random_seed)
    >>> turned.features[rows[1], 0].tolist() == split.held_out.tolist()
    True
    """
    count, held_out = table.num_rows, len(split.held_out)
    # In the middle between two whole numbers of rows, so that no rounding moves it.
    share = (held_out + 0.5) / count
    training_at, held_out_at = split_rows(count, share, split.seed)
    if len(held_out_at) != held_out:
        raise ConfigError(f"{held_out} of {count} rows cannot be held out: give fewer folds")
    order = np.empty(count, dtype=np.int64)
    order[training_at], order[held_out_at] = split.training, split.held_out
    training = config.training.model_copy(update={"validation_split": share})
    changes = {"training": training, "max_samples": None, "random_seed": split.seed}
    return config.model_copy(update=changes), table.take_rows(order)
