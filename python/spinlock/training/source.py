"""Where a run's rows come from: the data set that its configuration names, or a table in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from spinlock.data.dataset import Dataset, open_dataset
from spinlock.data.opening import MEMORY
from spinlock.data.parts import BLOCK_ROWS, RowPart, array_parts
from spinlock.data.table import FeatureTable
from spinlock.training.preprocessing import Matrix

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


@dataclass(frozen=True, eq=False)
class TableDataset:
    """A table in memory as a :class:`~spinlock.data.dataset.Dataset`."""

    table: FeatureTable
    where: str = MEMORY

    @property
    def names(self) -> tuple[str, ...]:
        """D column names."""
        return self.table.names

    @property
    def families(self) -> tuple[str, ...]:
        """The family of each column."""
        return self.table.families

    @property
    def num_rows(self) -> int:
        """N."""
        return self.table.num_rows

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Matrix]:
        """Views of at most ``rows`` rows."""
        return self.table.blocks(rows)

    def parts(self, rows: int | None = None) -> Sequence[RowPart]:
        """Ranges of rows; pickled, they take their rows along."""
        return array_parts(self.table.features, rows)

    def labels(self) -> NDArray[Any] | None:
        """The table's labels."""
        return self.table.labels


@contextmanager
def open_source(config: TrainConfig, table: FeatureTable | None) -> Iterator[Dataset]:
    """The table, or the data set that the configuration names.

    Raises:
        DataError: it cannot be opened.
    """
    if table is not None:
        yield TableDataset(table)
        return
    with open_dataset(
        config.dataset_path,
        config.families,
        exclude_columns=config.exclude_columns,
        label_column=config.label_column,
    ) as dataset:
        yield dataset


def source_text(config: TrainConfig) -> str:
    """What messages call the data set of a configuration.

    >>> from spinlock.config import make_config
    >>> source_text(make_config({"dataset_path": ["a.npz", "b.npz"]}))
    '2 files (a.npz to b.npz)'
    """
    path = config.dataset_path
    if isinstance(path, str):
        return path
    return path[0] if len(path) == 1 else f"{len(path)} files ({path[0]} to {path[-1]})"
