"""Runs what a comparison lacks, split by split, and writes every row as soon as it is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spinlock.comparison.contenders import Contenders
from spinlock.comparison.plans import changed, comparable
from spinlock.comparison.record import NAME, PAGE, ComparisonRecord, check_ours
from spinlock.comparison.rows import Row
from spinlock.comparison.settings import ComparisonSettings
from spinlock.comparison.splits import make_split
from spinlock.data.table import FeatureTable
from spinlock.errors import CheckpointError, ConfigError, DataError, SpinlockError
from spinlock.training.callbacks import Callback
from spinlock.training.prepare import data_fingerprint, load
from spinlock.training.run_lock import RunLock
from spinlock.training.source import open_source, source_text
from spinlock.training.start import find_device

if TYPE_CHECKING:
    from spinlock.config import TrainConfig

RUNS = "runs"


class Listener(Callback):
    """Hears of a comparison beside the training runs in it; the defaults do nothing."""

    def on_start(self, record: ComparisonRecord) -> None:
        """The record stands, with the rows that were there before."""

    def on_contender(self, name: str, split: tuple[int, int | None]) -> None:
        """A contender begins on a split (seed, fold)."""

    def on_row(self, record: ComparisonRecord, row: Row) -> None:
        """A row is written."""


def compare(
    config: TrainConfig,
    settings: ComparisonSettings,
    folder: Path,
    *,
    listener: Listener | None = None,
    fresh: bool = False,
    keep_models: bool = False,
) -> ComparisonRecord:
    """Runs every contender on every split; what ``folder`` holds already is not run again.

    Per split all contenders have the same training and held-out rows, cleaning, categories,
    normalisation, bits, model, optimiser and epochs.  A training that was stopped continues from
    its last checkpoint.

    Args:
        config: what to train; its ratios are the strategies' to decide.
        settings: what to compare.
        folder: ``compare.json`` and the runs; made where it is missing.
        listener: is told of rows, and of the training runs as a callback of theirs.
        fresh: forget what ``folder`` holds of an earlier comparison.
        keep_models: keep each run's checkpoints under ``runs``.

    Raises:
        ConfigError: a configuration that cannot be compared, or a folder with another comparison.
        DataError: data that cannot be used, or that no contender could be run on.
        SpinlockError: the folder cannot be written to.
        KeyboardInterrupt: a signal came; rows and checkpoints are kept.
    """
    listener = listener or Listener()
    config = comparable(config)
    if settings.folds is None and config.training.validation_split == 0.0:
        raise ConfigError(
            "training.validation_split is 0, so that no rows are held out to compare on: raise "
            "it, or give --folds"
        )
    find_device(config.device)  # what is not there is the same for everyone
    with _held(folder):
        if fresh:
            forget(folder)
        record = ComparisonRecord(folder, config, settings, source_text(config))
        listener.on_start(record)
        table: FeatureTable | None = None
        loaded_for: int | None = None
        for seed, fold in settings.splits:
            missing = [name for name in settings.names if not record.has(name, seed, fold)]
            if not missing:
                continue
            if table is None or seed != loaded_for:
                table, loaded_for = _load(config, seed, listener), seed
                record.check_data(seed, data_fingerprint(table))
            contenders = Contenders(
                config=changed(config, random_seed=seed),
                table=table,
                split=make_split(
                    table.num_rows,
                    seed,
                    fold,
                    folds=settings.folds,
                    validation_split=config.training.validation_split,
                ),
                bits=settings.bits,
                runs=folder / RUNS,
                callback=listener,
            )
            for name in missing:
                listener.on_contender(name, (seed, fold))
                row = contenders.row(name)
                record.add(row)
                listener.on_row(record, row)
                if not keep_models:
                    shutil.rmtree(contenders.folder(name), ignore_errors=True)
        if not keep_models and (folder / RUNS).is_dir() and not any((folder / RUNS).iterdir()):
            (folder / RUNS).rmdir()
        record.write()
    _check_any(record)
    return record


def forget(folder: Path) -> None:
    """Removes what an earlier comparison has left in ``folder``; nothing else in it is touched.

    Raises:
        ConfigError: a ``compare.json`` that no comparison has written.
        SpinlockError: something cannot be removed.
    """
    check_ours(folder / NAME)
    try:
        # First: a run that stayed would be gone on with as if it were of the new comparison.
        if (folder / RUNS).is_dir():
            shutil.rmtree(folder / RUNS)
        for name in (NAME, PAGE):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise SpinlockError(
            f"--fresh: cannot remove '{error.filename or folder / RUNS}' "
            f"({error.strerror or error}): remove it yourself, or name another --output"
        ) from error


def _check_any(record: ComparisonRecord) -> None:
    """Raises DataError where not a single contender ran."""
    rows = record.wanted
    if all(row.metrics is None for row in rows):
        raise DataError(f"no contender could run; {rows[0].name}: {rows[0].note}")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it, so that no second comparison writes to it."""
    lock = RunLock()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpinlockError(
            f"cannot make the folder '{folder}' ({error.strerror}): name another --output"
        ) from error
    try:
        lock.acquire(folder)
    except CheckpointError as error:
        raise SpinlockError(
            f"'{folder}' cannot be held for this comparison, or another one is writing to it: wait "
            "for it to end, or name another --output"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _load(config: TrainConfig, seed: int, listener: Listener) -> FeatureTable:
    """The rows that all runs of a seed have in memory."""
    seeded = changed(config, random_seed=seed)
    with open_source(seeded, None) as source:
        return load(seeded, source, listener.on_event)
