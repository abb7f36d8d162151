"""``load_table``: any data set, in files or built in, as one ``FeatureTable`` in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from spinlock.data.dataset import Dataset, DatasetPath, open_dataset
from spinlock.data.encoded import Block
from spinlock.data.families import FamilyEntry, FamilyLike, FamilySpec
from spinlock.data.parts import BLOCK_ROWS, Numbers, RowPart, parts_of_rows
from spinlock.data.sampling import sample_rows
from spinlock.data.sources import check_memory, num_bytes
from spinlock.data.table import FeatureTable
from spinlock.engine import IN_PROCESS, Engine, Tell
from spinlock.errors import DataError

__all__ = ["FamilyEntry", "FamilyLike", "FamilySpec", "load_table", "read_table"]

Progress = Callable[[int, int | None], None]


def load_table(
    dataset_path: DatasetPath,
    families: Mapping[str, FamilyEntry] | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    *,
    exclude_columns: Sequence[str] = (),
    label_column: str | None = None,
    on_progress: Progress | None = None,
) -> FeatureTable:
    """Read a data set; docs/formats.md describes the formats.

    Args:
        dataset_path: a file, ``builtin:<name>``, a glob, a directory of files of one format, or a
            list of paths.
        families: the families to load, in this order, each with a ``FamilySpec`` (or a mapping
            with its keys, or None for its defaults); None: all that the data set has.
        max_samples: at most this many rows: a uniform sample drawn with ``seed``, kept in the
            order of the file; the sample of n rows contains that of any m < n rows.
        seed: of that sample only; built-in data sets are the same for every seed.
        exclude_columns: names or globs of columns to leave out.
        label_column: the column or array that holds the labels; None: ``labels``, if there is one.
        on_progress: is told rows read and rows in all, after every block.

    Returns:
        Features as float32, column names ``family::name``, the labels where there are any. A
        family's columns stand together, families in the order asked for, else of the data set.

    Raises:
        DataError: anything about the data set that cannot be used, in one readable message.

    >>> table = load_table("builtin:digits", {"moments": FamilySpec()}, max_samples=100)
    >>> table.num_rows, table.names[0]
    (100, 'moments::raw_0_0')
    """
    if max_samples is not None and max_samples < 1:
        raise DataError(f"max_samples is {max_samples}; expected at least 1, or none for all rows.")
    with open_dataset(
        dataset_path, families, exclude_columns=exclude_columns, label_column=label_column
    ) as dataset:
        return read_table(dataset, max_samples, seed, on_progress=on_progress)


def read_table(
    dataset: Dataset,
    max_samples: int | None = None,
    seed: int = 0,
    *,
    on_progress: Progress | None = None,
    engine: Engine = IN_PROCESS,
) -> FeatureTable:
    """An open data set, or a sample of its rows, as a table; see :func:`load_table`.

    The parts of the data set are read by ``engine``.
    """
    num_rows = dataset.num_rows
    kept = min(num_rows, max_samples or num_rows)
    check_memory(dataset.where, num_bytes((kept, len(dataset.names)), 4))
    selected = None if kept == num_rows else sample_rows(num_rows, kept, seed)
    features = np.empty((kept, len(dataset.names)), np.float32)
    filled = 0
    for block, seen in _chosen_blocks(dataset, selected, engine):
        features[filled : filled + len(block)] = block
        filled += len(block)
        if on_progress is not None:
            on_progress(seen, num_rows)
    labels = dataset.labels()
    return FeatureTable(
        features=features,
        names=dataset.names,
        families=dataset.families,
        labels=labels if labels is None or selected is None else labels[selected],
    )


def _chosen_blocks(
    dataset: Dataset, selected: Numbers | None, engine: Engine
) -> Iterator[tuple[Block, int]]:
    """The rows of these numbers, or all, in order; with the rows of the data set seen so far."""
    seen = 0
    if engine is not IN_PROCESS:
        parts = dataset.parts()
        chosen = parts if selected is None else parts_of_rows(parts, selected)
        for part, rows in zip(parts, engine.map(_rows_of, chosen), strict=True):
            seen += part.num_rows
            yield rows, seen
        return
    for block in dataset.blocks(BLOCK_ROWS):
        start, seen = seen, seen + len(block)
        if selected is not None:
            low, high = np.searchsorted(selected, (start, seen))
            block = block[selected[low:high] - start]
        yield block, seen


def _rows_of(part: RowPart, tell: Tell) -> Block:
    blocks = []
    for block in part.blocks():
        blocks.append(block)
        tell(len(block))
    return np.concatenate(blocks)
