"""Folders of files to tokens and back, file by file, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spinlock.data.dataset import Dataset, FileDataset
from spinlock.data.shards import ShardedDataset, expand
from spinlock.engine import IN_PROCESS, Engine, Tell
from spinlock.errors import DataError
from spinlock.tokens.encoding import (
    AnyPath,
    OnProgress,
    columns_for,
    decode_tokens,
    encode_dataset,
    opened_for,
    unknown_columns,
)
from spinlock.tokens.file_work import (
    FileWork,
    WrittenFiles,
    do_files,
    plan_files,
    require_local_work,
)
from spinlock.tokens.files import open_tokens
from spinlock.tokens.output import require_pyarrow
from spinlock.training.saved import SavedModel


def encode_shards(
    saved: SavedModel,
    data: AnyPath | Sequence[AnyPath],
    folder: AnyPath,
    on_progress: OnProgress | None = None,
    *,
    engine: Engine = IN_PROCESS,
    device: str = "cpu",
    block_rows: int = 8192,
    beam: int = 1,
    sweeps: int = 0,
    own_error_limit: float | None = None,
    restarts: int = 0,
    labels: bool = False,
    ignore_extra_columns: bool = False,
    overwrite: bool = False,
) -> WrittenFiles:
    """One Parquet file of tokens for every file of a data set.

    A file takes its place when it is whole.  A call that is stopped is gone on with by the same
    call: files that say they were made of the same file (name, size and time of change), by the
    same model and in the same way, are kept.

    Args:
        saved, data, device, block_rows, beam, sweeps, own_error_limit, restarts, labels,
            ignore_extra_columns: as in :func:`~spinlock.tokens.encoding.encode_dataset`.
        folder: of the token files, named after the files of the data set; made if missing.
        on_progress: is called with rows done and rows in all.
        engine: works on the files.
        overwrite: replace other files of those names.

    Raises:
        ConfigError: a folder that cannot be, or that holds other files of those names.
        DataError: the data set lacks columns or cannot be read, or a file cannot be written.
    """
    home = Path(folder)
    require_pyarrow(home)
    require_local_work(device, engine)
    with opened_for(saved, data) as dataset:
        order = columns_for(saved, dataset, ignore_extra_columns=ignore_extra_columns)
        ignored = unknown_columns(saved, dataset)
        wanted = {
            "beam": beam,
            "sweeps": sweeps,
            "own_error_limit": own_error_limit,
            "restarts": restarts,
            "labels": labels,
        }
        works = plan_files(_files(dataset), home, saved.contract, wanted, overwrite=overwrite)
    how = {"device": device, "block_rows": block_rows, "ignore_extra_columns": ignore_extra_columns}
    kept = do_files(engine, _Encode(saved, wanted | how), works, on_progress)
    return WrittenFiles(
        folder=home,
        paths=tuple(work.output for work in works),
        rows=sum(work.num_rows for work in works),
        columns=len(saved.contract.quantizers),
        kept=kept,
        reordered=bool((np.diff(order) < 0).any()),
        ignored=ignored,
        labels=labels,
    )


def decode_shards(
    saved: SavedModel,
    tokens: AnyPath | Sequence[AnyPath],
    folder: AnyPath,
    on_progress: OnProgress | None = None,
    *,
    engine: Engine = IN_PROCESS,
    device: str = "cpu",
    block_rows: int = 8192,
    overwrite: bool = False,
) -> WrittenFiles:
    """One Parquet file of raw rows for every token file; stopped and gone on with as encoding is.

    Args:
        saved, device, block_rows: as in :func:`~spinlock.tokens.encoding.decode_tokens`.
        tokens: token files: a folder, a glob, a file or a list of these.
        folder: of the data files, named after the token files; made if missing.
        on_progress, engine, overwrite: as in :func:`encode_shards`.

    Raises:
        ConfigError: a folder that cannot be, or that holds other files of those names.
        DataError: tokens of another model, or that cannot be read, or a file cannot be written.
    """
    home = Path(folder)
    require_pyarrow(home)
    require_local_work(device, engine)
    inputs = []
    for path in expand(tokens):
        with open_tokens(Path(path).expanduser()) as file:
            saved.contract.require(file.contract, file.where, owner=saved.where)
            inputs.append((path, file.num_rows))
    works = plan_files(inputs, home, saved.contract, {"decoded": True}, overwrite=overwrite)
    kept = do_files(engine, _Decode(saved, device, block_rows), works, on_progress)
    return WrittenFiles(
        folder=home,
        paths=tuple(work.output for work in works),
        rows=sum(work.num_rows for work in works),
        columns=len(saved.preprocessing.names),
        kept=kept,
    )


@dataclass(frozen=True)
class _Encode:
    saved: SavedModel
    options: dict[str, Any]

    def __call__(self, work: FileWork, tell: Tell) -> int:
        work.check()
        written = encode_dataset(
            self.saved,
            work.path,
            work.output,
            _rows_told(tell),
            overwrite=True,
            metadata=work.metadata,
            **self.options,
        )
        work.check()
        return written.rows


@dataclass(frozen=True)
class _Decode:
    saved: SavedModel
    device: str
    block_rows: int

    def __call__(self, work: FileWork, tell: Tell) -> int:
        work.check()
        written = decode_tokens(
            self.saved,
            work.path,
            work.output,
            _rows_told(tell),
            device=self.device,
            block_rows=self.block_rows,
            overwrite=True,
            metadata=work.metadata,
        )
        work.check()
        return written.rows


def _rows_told(tell: Tell) -> OnProgress:
    before = 0

    def told(done: int, total: int | None) -> None:
        nonlocal before
        del total
        tell(done - before)
        before = done

    return told


def _files(dataset: Dataset) -> list[tuple[str, int]]:
    if isinstance(dataset, ShardedDataset):
        return [(str(shard.file.path), shard.rows) for shard in dataset.shards]
    if not isinstance(dataset, FileDataset):
        raise DataError(f"{dataset.where} is no file: name files, to make one of each")
    return [(dataset.path, dataset.num_rows)]
