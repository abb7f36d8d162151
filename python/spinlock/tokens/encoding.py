"""Whole data sets to token files and back, in blocks: memory does not grow with their rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.columns import match_columns
from spinlock.data.dataset import Dataset, open_dataset
from spinlock.errors import DataError
from spinlock.tokens.codec import Codec
from spinlock.tokens.files import ENDINGS, LABELS, closed_after, open_tokens, token_writer
from spinlock.tokens.output import (
    CsvRows,
    NpzRows,
    ParquetRows,
    RowWriter,
    check_output,
    require_pyarrow,
    row_writer,
)
from spinlock.training.saved import SavedModel

DATA_ENDINGS = (".npz", ".parquet", ".csv")
_EXTRA_REMEDY = (
    "Drop them, or leave them out with --ignore-extra-columns (in Python ignore_extra_columns=True)"
)

AnyPath = str | os.PathLike[str]
Data = AnyPath | Sequence[AnyPath] | Dataset
OnProgress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Written:
    """A file that was made.

    Attributes:
        path: the file.
        rows: N.
        columns: per row: quantizers, or raw columns.
        reordered: the data set had its columns in another order, which was put right by name.
        ignored: columns of the data set that the model does not know.
        labels: the file holds labels as well.
    """

    path: Path
    rows: int
    columns: int
    reordered: bool = False
    ignored: tuple[str, ...] = ()
    labels: bool = False


def encode_dataset(
    saved: SavedModel,
    data: Data,
    output: AnyPath,
    on_progress: OnProgress | None = None,
    *,
    device: str = "cpu",
    block_rows: int = 8192,
    beam: int = 1,
    sweeps: int = 0,
    own_error_limit: float | None = None,
    restarts: int = 0,
    labels: bool = False,
    ignore_extra_columns: bool = False,
    overwrite: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Written:
    """Tokens of every row of a data set, in a file beside the contract that says what they mean.

    Columns are found by name.  The file takes its place when it is whole.

    Args:
        saved: from :func:`~spinlock.training.checkpoint.load_model`.
        data: an open data set, or whatever :func:`~spinlock.data.dataset.open_dataset` takes; then
            it is opened with the families, excluded columns and label column of the run.
        output: ``.npz`` or ``.parquet``.
        on_progress: is called with rows done and rows in all.
        device, block_rows, beam, sweeps, own_error_limit, restarts: as in
            :class:`~spinlock.tokens.codec.Codec`.
        labels: keep the labels of the data set beside the tokens; they are held in memory.
        ignore_extra_columns: leave columns out that the model does not know, instead of refusing
            them.
        overwrite: replace a file that is there.
        metadata: more to say in a ``.parquet`` file.

    Raises:
        ConfigError: an output that cannot be, such as a file that is there.
        DataError: the data set lacks columns or cannot be read, or the file cannot be written.
    """
    path = Path(output)
    reads = str(data) if isinstance(data, str | os.PathLike) else None
    check_output(path, ENDINGS, overwrite=overwrite, reads=reads)
    codec = Codec(
        saved,
        device=device,
        block_rows=block_rows,
        beam=beam,
        sweeps=sweeps,
        own_error_limit=own_error_limit,
        restarts=restarts,
    )
    with opened_for(saved, data) as dataset:
        order = columns_for(saved, dataset, ignore_extra_columns=ignore_extra_columns)
        as_it_is = len(order) == len(dataset.names) and bool((order == np.arange(len(order))).all())
        kept = _labels_of(dataset) if labels else None
        total = dataset.num_rows
        with (
            closed_after(dataset.blocks(codec.block_rows)) as blocks,
            token_writer(path, codec.contract, total, kept, metadata) as write,
        ):
            done = 0
            for block in blocks:
                write(codec.encode(block if as_it_is else block[:, order]))
                done += len(block)
                if on_progress is not None:
                    on_progress(done, total)
        return Written(
            path,
            rows=done,
            columns=len(codec.quantizers),
            reordered=bool((np.diff(order) < 0).any()),
            ignored=unknown_columns(saved, dataset),
            labels=labels,
        )


def decode_tokens(
    saved: SavedModel,
    tokens: AnyPath,
    output: AnyPath,
    on_progress: OnProgress | None = None,
    *,
    device: str = "cpu",
    block_rows: int = 8192,
    overwrite: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Written:
    """The raw rows that a token file stands for: all raw columns, in raw units, with their names.

    Labels in the token file are kept.  What comes out is a data set that every command reads.

    Args:
        saved: the model that encoded them; any other is refused.
        tokens: a token file.
        output: ``.npz`` (``features`` and ``feature_names``), ``.parquet`` or ``.csv``.
        on_progress: is called with rows done and rows in all.
        device, block_rows: as in :class:`~spinlock.tokens.codec.Codec`.
        overwrite: replace a file that is there.
        metadata: more to say in a ``.parquet`` file.

    Raises:
        ConfigError: an output that cannot be, such as a file that is there.
        DataError: the tokens are of another model, out of range or cannot be read, or the file
            cannot be written.
    """
    path = Path(output)
    check_output(path, DATA_ENDINGS, overwrite=overwrite, reads=str(tokens))
    with open_tokens(Path(tokens)) as file:
        saved.contract.require(file.contract, file.where, owner=saved.where)
        codec = Codec(saved, device=device, block_rows=block_rows)
        labels, total = file.labels(), file.num_rows

        def make(temporary: Path) -> RowWriter:
            return _data_writer(path, temporary, codec.names, total, labels, metadata or {})

        with (
            closed_after(file.blocks(codec.block_rows)) as blocks,
            row_writer(path, make, total) as write,
        ):
            done = 0
            for block in blocks:
                write(codec.decode(block))
                done += len(block)
                if on_progress is not None:
                    on_progress(done, total)
        return Written(path, rows=done, columns=len(codec.names), labels=labels is not None)


@contextmanager
def opened_for(saved: SavedModel, data: Data) -> Iterator[Dataset]:
    """The data set, opened as the run opened its own; excluded columns and labels may be absent.

    Raises:
        DataError: as :func:`~spinlock.data.dataset.open_dataset`.
    """
    if not isinstance(data, str | os.PathLike | Sequence):
        yield data
        return
    config = saved.config
    with open_dataset(
        data,
        config.families,
        exclude_columns=config.exclude_columns,
        label_column=config.label_column,
        required=False,
    ) as dataset:
        yield dataset


def columns_for(
    saved: SavedModel, dataset: Dataset, *, ignore_extra_columns: bool
) -> NDArray[np.int64]:
    """Where the model's columns lie among those of a data set.

    Raises:
        DataError: columns that are missing, or unknown ones that are not to be ignored.
    """
    return match_columns(
        saved.preprocessing.names,
        dataset.names,
        dataset.where,
        allow_extra=ignore_extra_columns,
        extra_remedy=_EXTRA_REMEDY,
    )


def unknown_columns(saved: SavedModel, dataset: Dataset) -> tuple[str, ...]:
    """Columns of a data set that the model does not know."""
    known = set(saved.preprocessing.names)
    return tuple(name for name in dataset.names if name not in known)


def _labels_of(dataset: Dataset) -> NDArray[Any]:
    labels = dataset.labels()
    if labels is None:
        raise DataError(
            f"{dataset.where} holds no labels to keep: name their column as label_column in the "
            "run's configuration, or encode without labels"
        )
    return labels


def _data_writer(
    output: Path,
    temporary: Path,
    names: tuple[str, ...],
    num_rows: int,
    labels: NDArray[Any] | None,
    metadata: Mapping[str, str],
) -> RowWriter:
    ending = output.suffix.lower()
    if ending == ".npz":
        beside = {"feature_names": np.array(names, dtype=np.str_)}
        if labels is not None:
            beside[LABELS] = labels
        return NpzRows(temporary, "features", num_rows, len(names), np.dtype(np.float32), beside)
    named = None if labels is None else (LABELS, labels)
    if ending == ".csv":
        return CsvRows(temporary, names, named)
    require_pyarrow(output)
    return ParquetRows(temporary, names, [np.dtype(np.float32)] * len(names), metadata, named)
