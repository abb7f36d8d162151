"""Which rows a model is diagnosed on: its own data set's, split as in training, or another's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from spinlock.data.columns import match_columns
from spinlock.data.parts import RowPart, array_parts, parts_of_rows
from spinlock.data.sampling import sample_rows
from spinlock.engine import IN_PROCESS, Engine, map_reduce
from spinlock.errors import ConfigError, DataError
from spinlock.tokens.diagnosis import Diagnosis
from spinlock.tokens.diagnosis_pass import DiagnosisPass
from spinlock.tokens.file_work import require_local_work
from spinlock.training.callbacks import Event
from spinlock.training.prepare import data_fingerprint, ignore, load, split
from spinlock.training.source import open_source, source_text
from spinlock.training.wording import counted

if TYPE_CHECKING:
    from spinlock.data.dataset import Dataset
    from spinlock.training.callbacks import EventHandler
    from spinlock.training.checkpoint import SavedModel

Split = Literal["validation", "training", "all"]

_KNOWN = "no rows were held out in training: these are rows that the model knows"
_CHANGED = (
    "the data set has changed since the model was trained: held-out rows may be others than then, "
    "and the model may know some of them"
)


@dataclass(frozen=True)
class RowSource:
    """Raw rows for a diagnosis.

    Attributes:
        data: the data set, for headings.
        rows: which of its rows, for headings, such as ``359 held-out rows``.
        num_rows: how many.
        parts: of them, wherever they are.
        order: where the model's columns lie among theirs.
        data_changed: the data set is another than the model was trained on; None where that is
            not known, as for data sets that the model never saw.
        notes: what the reader should know about the choice of rows.
    """

    data: str
    rows: str
    num_rows: int
    parts: Sequence[RowPart]
    order: NDArray[np.int64]
    data_changed: bool | None = None
    notes: tuple[str, ...] = ()


def own_rows(
    saved: SavedModel,
    split_name: Split = "validation",
    *,
    max_rows: int | None = None,
    on_event: EventHandler = ignore,
    engine: Engine = IN_PROCESS,
) -> RowSource:
    """Rows of the data set that the model was trained on, split as it was split then.

    Args:
        saved: the model.
        split_name: the held-out rows, the training rows, or both.  Where none were held out,
            ``validation`` means the training rows.
        max_rows: a uniform sample of so many.
        on_event: is told what was loaded, and each of the notes.
        engine: reads the data set.

    Raises:
        DataError: the data set cannot be read, or has other columns by now.
        ConfigError: an unknown split, or ``max_rows`` below 1.
    """
    _check_max_rows(max_rows)
    if split_name not in ("validation", "training", "all"):
        raise ConfigError(f"split {split_name!r}: expected validation, training or all")
    try:
        with open_source(saved.config, None) as source:
            table = load(saved.config, source, on_event, engine)
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

    everything = len(chosen) == table.num_rows
    parts = array_parts(table.features if everything else table.features[chosen])
    return RowSource(
        source_text(saved.config), rows, len(chosen), parts, order, changed, tuple(notes)
    )


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
    parts: Sequence[RowPart] = dataset.parts()
    if max_rows is not None and max_rows < count:
        rows = f"{max_rows:,} of {rows}"
        parts = parts_of_rows(parts, sample_rows(count, max_rows, saved.config.random_seed))
        count = max_rows
    return RowSource(dataset.where, rows, count, parts, order)


def diagnose(
    saved: SavedModel,
    source: RowSource,
    *,
    device: str = "cpu",
    on_progress: Callable[[int, int | None], None] | None = None,
    engine: Engine = IN_PROCESS,
) -> Diagnosis:
    """Measures a model on rows, part by part.

    Args:
        saved: the model; it is moved to ``device``.
        source: as :func:`own_rows` and :func:`dataset_rows` give it.
        device: where the network runs.
        on_progress: is told of rows done and rows in all.
        engine: works on the parts.  Counts are the same on every engine; sums may differ in their
            last digits where workers multiply matrices with another number of threads.

    Raises:
        DataError: no rows, or rows that cannot be read.
        ConfigError: a device that the engine's workers do not have.
    """
    require_local_work(device, engine)
    done = 0

    def told(rows: int) -> None:
        nonlocal done
        done += rows
        if on_progress is not None:
            on_progress(done, source.num_rows)

    # Parts of a sample may have no rows at all.
    parts = [part for part in source.parts if part.num_rows]
    make_state = partial(DiagnosisPass, saved, device=device, seed=saved.config.random_seed)
    change = partial(_in_order, source.order)
    return map_reduce(engine, parts, make_state, change, told).finalise()


def _in_order(order: NDArray[np.int64], block: NDArray[np.float32]) -> NDArray[np.float32]:
    return block[:, order]


def _note(kind: str, message: str, on_event: EventHandler) -> str:
    on_event(Event(kind, message))
    return message


def _columns(saved: SavedModel, names: tuple[str, ...], what: str) -> NDArray[np.int64]:
    return match_columns(saved.preprocessing.names, names, what)


def _check_max_rows(max_rows: int | None) -> None:
    if max_rows is not None and max_rows < 1:
        raise ConfigError(f"--max-rows: expected at least 1 row, got {max_rows}")
