"""Which rows a model is diagnosed on: its own data set's, split as in training, or another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from spinlock.data.columns import match_columns
from spinlock.data.sampling import sample_rows
from spinlock.errors import ConfigError, DataError
from spinlock.tokens.diagnosis import Diagnosis
from spinlock.tokens.diagnosis_pass import DiagnosisPass
from spinlock.training.callbacks import Event
from spinlock.training.prepare import data_fingerprint, ignore, load, split
from spinlock.training.source import open_source, source_text
from spinlock.training.wording import counted

if TYPE_CHECKING:
    from spinlock.data.dataset import Dataset
    from spinlock.training.callbacks import EventHandler
    from spinlock.training.checkpoint import SavedModel

Split = Literal["validation", "training", "all"]
Blocks = Iterator[NDArray[np.float32]]

_BLOCK_ROWS = 8_192
_KNOWN = "no rows were held out in training: these are rows that the model knows"
_CHANGED = (
    "the data set has changed since the model was trained: held-out rows may be others than then, "
    "and the model may know some of them"
)


@dataclass(frozen=True)
class RowSource:
    """Raw rows for a diagnosis, in the columns of a model.

    Attributes:
        data: the data set, for headings.
        rows: which of its rows, for headings, such as ``359 held-out rows``.
        num_rows: how many.
        blocks: starts an iteration over them, ``[n, D]``.
        data_changed: the data set is another than the model was trained on; None where that is
            not known, as for data sets that the model never saw.
        notes: what the reader should know about the choice of rows.
    """

    data: str
    rows: str
    num_rows: int
    blocks: Callable[[], Blocks]
    data_changed: bool | None = None
    notes: tuple[str, ...] = ()


def own_rows(
    saved: SavedModel,
    split_name: Split = "validation",
    *,
    max_rows: int | None = None,
    on_event: EventHandler = ignore,
) -> RowSource:
    """Rows of the data set that the model was trained on, split as it was split then.

    Args:
        saved: the model.
        split_name: the held-out rows, the training rows, or both.  Where none were held out,
            ``validation`` means the training rows.
        max_rows: a uniform sample of so many.
        on_event: is told what was loaded, and each of the notes.

    Raises:
        DataError: the data set cannot be read, or has other columns by now.
        ConfigError: an unknown split, or ``max_rows`` below 1.
    """
    _check_max_rows(max_rows)
    if split_name not in ("validation", "training", "all"):
        raise ConfigError(f"split {split_name!r}: expected validation, training or all")
    try:
        with open_source(saved.config, None) as source:
            table = load(saved.config, source, on_event)
    except DataError as error:
        raise DataError(
            f"{error}\nThis is the data set that the model was trained on; name the data to "
            "diagnose it on after the checkpoint if it lies elsewhere by now."
        ) from error
    order = _columns(saved, table.names, "the data set that the model was trained on")
    training, validation = split(saved.config, table, ignore)
    notes = []
    if split_name == "validation" and len(validation) == 0:
        split_name = "training"
        notes.append(_note("known_rows", _KNOWN, on_event))
    chosen, what = {
        "validation": (validation, "held-out row"),
        "training": (training, "training row"),
        "all": (np.arange(table.num_rows, dtype=np.int64), "row"),
    }[split_name]
    rows = counted(len(chosen), what)
    if max_rows is not None and max_rows < len(chosen):
        rows = f"{max_rows:,} of {rows}"
        chosen = chosen[sample_rows(len(chosen), max_rows, saved.config.random_seed)]
    chosen = np.sort(chosen)
    known = saved.data_fingerprint
    changed = None if known is None else known != data_fingerprint(table)
    if changed:
        notes.append(_note("data_changed", _CHANGED, on_event))

    def blocks() -> Blocks:
        for start in range(0, len(chosen), _BLOCK_ROWS):
            yield table.features[chosen[start : start + _BLOCK_ROWS]][:, order]

    return RowSource(source_text(saved.config), rows, len(chosen), blocks, changed, tuple(notes))


def dataset_rows(saved: SavedModel, dataset: Dataset, *, max_rows: int | None = None) -> RowSource:
    """All rows of an open data set, or a uniform sample; columns are found by name.

    Raises:
        DataError: columns are missing, or there are others.
        ConfigError: ``max_rows`` below 1.
    """
    _check_max_rows(max_rows)
    order = _columns(saved, dataset.names, dataset.where)
    count = dataset.num_rows
    rows = counted(count, "row")
    chosen = None
    if max_rows is not None and max_rows < count:
        rows = f"{max_rows:,} of {rows}"
        chosen = sample_rows(count, max_rows, saved.config.random_seed)

    def blocks() -> Blocks:
        first = 0
        for block in dataset.blocks(_BLOCK_ROWS):
            if chosen is not None:
                start, end = np.searchsorted(chosen, [first, first + len(block)])
                first += len(block)
                block = block[chosen[start:end] - (first - len(block))]
            yield block[:, order]

    return RowSource(dataset.where, rows, count if chosen is None else len(chosen), blocks)


def diagnose(
    saved: SavedModel,
    source: RowSource,
    *,
    device: str = "cpu",
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Diagnosis:
    """Measures a model on rows, block by block.

    Args:
        saved: the model; it is moved to ``device``.
        source: as :func:`own_rows` and :func:`dataset_rows` give it.
        device: where the network runs.
        on_progress: is told of rows done and rows in all.

    Raises:
        DataError: no rows, or rows that cannot be read.
    """
    found = DiagnosisPass(saved, device=device, seed=saved.config.random_seed)
    for block in source.blocks():
        found.update(block)
        if on_progress is not None:
            on_progress(found.num_rows, source.num_rows)
    return found.finalise()


def _note(kind: str, message: str, on_event: EventHandler) -> str:
    on_event(Event(kind, message))
    return message


def _columns(saved: SavedModel, names: tuple[str, ...], what: str) -> NDArray[np.int64]:
    return match_columns(saved.preprocessing.names, names, what)


def _check_max_rows(max_rows: int | None) -> None:
    if max_rows is not None and max_rows < 1:
        raise ConfigError(f"--max-rows: expected at least 1 row, got {max_rows}")
