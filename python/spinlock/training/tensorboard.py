"""A run's figures as TensorBoard events; the extra ``[tensorboard]``, imported when it is used.

The events are written by this module, not by TensorBoard's own writer: that one works in a thread
of its own, whose failure on a full disk is a traceback on stderr.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinlock.config.writing import dump_config
from spinlock.errors import ConfigError
from spinlock.training.callbacks import Callback, EpochRecord, Event, EventHandler, RunInfo

if TYPE_CHECKING:
    from spinlock.training.prepared import Prepared

KEY = "logging.tensorboard_dir"
MEAN, WORST = "validation/mean_mse", "validation/worst_mse"
# What cannot be a hyperparameter to compare runs by: it differs by the machine or by the run.
_PLACES = ("training.checkpoint_dir", "training.num_threads", "model.compression_ratios_")


def require_tensorboard() -> None:
    """Finds out before a run whether its events can be written.

    Raises:
        ConfigError: the package is missing.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError(
            f"{KEY} needs tensorboard: pip install 'spinlock-vq[tensorboard]', or set the key to "
            "null"
        )


class TensorBoardLog(Callback):
    """Writes an event file; the x axis is epochs.  Close it at the end, or use it as a context.

    A resumed run adds a file that takes the place of what an earlier one wrote from the resumed
    epoch on.  When the disk is full, or writing fails otherwise, the run goes on: there is one
    event ``tensorboard_failed`` and nothing more is written.

    Args:
        folder: is made if it is not there.
        on_event: is told of a failure.

    Raises:
        ConfigError: tensorboard is missing, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, on_event: EventHandler) -> None:
        require_tensorboard()
        self.folder = folder
        self._on_event = on_event
        self._prepared: Prepared | None = None
        self._file: _EventFile | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"{KEY}: cannot write to '{folder}' ({error.strerror}); choose another folder, or "
                "set the key to null"
            ) from error

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_prepared(self, prepared: Prepared) -> None:
        """Kept for the first events."""
        self._prepared = prepared

    def on_train_begin(self, run: RunInfo) -> None:
        """Opens the file, and hides what earlier ones say of the epochs to come."""
        try:
            self._file = _EventFile(self.folder, first_step=run.first_epoch)
            if self._prepared is not None:
                self._file.describe(self._prepared, step=run.first_epoch - 1)
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """One point of every curve."""
        if self._file is not None:
            try:
                self._file.scalars(record.epoch, scalars(record))
                self._file.flush()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._give_up(error)
            self._file = None

    def _give_up(self, error: OSError) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.abandon()
        message = (
            f"no more TensorBoard events are written to '{self.folder}' ({error.strerror}); the "
            "run goes on, and history.json holds the same figures"
        )
        self._on_event(Event("tensorboard_failed", message, {"path": str(self.folder)}))


def scalars(record: EpochRecord) -> dict[str, float]:
    """The points of an epoch, by the names of their curves.

    >>> record = EpochRecord(epoch=1, step=9, learning_rate=0.1, losses={"total": 0.5},
    ...     utilization=1.0, perplexity=8.0, dead_codes=0, revived=0, validation=None,
    ...     split="validation", seconds=0.1)
    >>> list(scalars(record))[:3]
    ['loss/total', 'training/learning_rate', 'training/seconds_per_epoch']
    """
    found = {f"loss/{name}": value for name, value in record.losses.items()}
    found["training/learning_rate"] = record.learning_rate
    found["training/seconds_per_epoch"] = record.seconds
    found["codes/utilization"] = record.utilization
    found["codes/perplexity"] = record.perplexity
    found["codes/dead"] = record.dead_codes
    found["codes/revived"] = record.revived
    metrics = record.validation
    if metrics is not None:
        found[MEAN] = metrics.mean_mse
        found[WORST] = metrics.worst_mse
        found["validation/utilization"] = metrics.utilization
        found["validation/perplexity"] = metrics.mean_perplexity
        for category, error in metrics.category_mse.items():
            found[f"category_mse/{category}"] = error
    return found


class _EventFile:
    """Records in TensorBoard's format, written in this thread."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = event_pb2.Event
        # TensorBoard reads files by name: the count keeps those of one second in order.
        count = sum(1 for _ in folder.glob("events.out.tfevents.*"))
        name = f"events.out.tfevents.{int(time.time()):010d}.{count:04d}.{os.getpid()}"
        self._stream = (folder / name).open("xb")
        self._records = RecordWriter(self._stream)
        self._write(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=first_step, session_log=start)

    def describe(self, prepared: Prepared, step: int) -> None:
        """The configuration, as text and as hyperparameters to compare runs by."""
        from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
        from tensorboard.plugins.hparams import summary_v2 as hparams
        from tensorboard.plugins.text.metadata import create_summary_metadata

        text = "".join(f"    {line}\n" for line in dump_config(prepared.config).splitlines())
        shape = tensor_shape_pb2.TensorShapeProto
        value = summary_pb2.Summary.Value(
            tag="configuration",
            metadata=create_summary_metadata(display_name=None, description=None),
            tensor=tensor_pb2.TensorProto(
                dtype=types_pb2.DT_STRING,
                string_val=[text.encode("utf-8")],
                tensor_shape=shape(dim=[shape.Dim(size=1)]),
            ),
        )
        self._write(step=step, summary=summary_pb2.Summary(value=[value]))
        given = _hyperparameters(prepared)
        metrics = [hparams.Metric(MEAN), hparams.Metric(WORST)]
        names = [hparams.HParam(name) for name in given]
        self._write(summary=hparams.hparams_config_pb(names, metrics))
        self._write(summary=hparams.hparams_pb(given, trial_id=str(self._stream.name)))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One point of each curve."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step=step, summary=Summary(value=points))

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._stream.close()

    def abandon(self) -> None:
        """Lets go of the file; what is not written yet is lost."""
        with suppress(OSError):
            self._stream.close()

    def _write(self, **fields: Any) -> None:
        event = self._event(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())


def _hyperparameters(prepared: Prepared) -> dict[str, bool | float | str]:
    """Dotted keys of ``model``, ``training`` and the seed, as far as they are plain values."""
    tree = prepared.config.model_dump(mode="json")
    flat = {f"{part}.{key}": v for part in ("model", "training") for key, v in tree[part].items()}
    flat["random_seed"] = tree["random_seed"]
    return {
        key: value
        for key, value in flat.items()
        if isinstance(value, bool | int | float | str) and not key.startswith(_PLACES)
    }
