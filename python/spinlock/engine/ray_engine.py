"""``RayEngine``: parts as the rows of a Ray Data set, which schedules, streams and retries."""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from spinlock.engine.engine import P, Tell, silent
from spinlock.errors import ConfigError, EngineError, SpinlockError, import_failure

R = TypeVar("R")
_PART, _RESULT, _INDEX = "part", "result", "index"


class RayEngine:
    """An :class:`~spinlock.engine.engine.Engine` on the Ray cluster that this process is part of.

    Each part is one task of Ray Data on one processor.  Tasks of lost workers and machines run
    again, results come in the order of the parts, and no more of them are on their way than the
    object store has room for.  Made by :func:`~spinlock.engine.open_engine`.
    """

    name = "ray"

    def map(
        self, work: Callable[[P, Tell], R], parts: Sequence[P], tell: Tell | None = None
    ) -> Iterator[R]:
        """``work`` of every part; rows are told part by part.

        Raises:
            SpinlockError: what ``work`` raised.
            EngineError: Ray failed, or ``work`` raised anything else.
        """
        import ray.data
        from ray import cloudpickle
        from ray.exceptions import RayError

        if not parts:
            return
        # Also parts whose classes a script or a notebook defines.
        packed: Callable[[P], bytes] = cloudpickle.dumps
        items = [{_INDEX: i, _PART: packed(part)} for i, part in enumerate(parts)]
        with _settings():
            tasks = ray.data.from_items(items, override_num_blocks=len(items))
            done = tasks.map_batches(
                _Task(work), batch_size=None, batch_format="pyarrow", num_cpus=1
            )
            tables = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
        expected = 0
        try:
            for table in tables:
                for index, result in _results(table):
                    if index != expected:
                        raise EngineError(
                            f"Ray gave the result of part {index} where that of part {expected} "
                            "was due: report it with the version of ray"
                        )
                    expected += 1
                    (tell or silent)(parts[index].num_rows)
                    yield result
        except RayError as error:
            raise EngineError(f"Ray could not do the work: {_first_line(error)}") from error
        if expected != len(parts):
            raise EngineError(f"Ray gave {expected} results of {len(parts)} parts")


class _Task:
    """What a Ray worker does to a table of parts: the work, and what came of it in bytes."""

    def __init__(self, work: Callable[[Any, Tell], Any]) -> None:
        self.work = work

    def __call__(self, table: Any) -> Any:
        import pyarrow as pa

        results = [pickle.dumps(self._outcome(part.as_py()), protocol=5) for part in table[_PART]]
        # Arrow's plain binary ends at 2 GiB; a covariance of 16,000 columns does not.
        return pa.table({_INDEX: table[_INDEX], _RESULT: pa.array(results, pa.large_binary())})

    def _outcome(self, part: bytes) -> tuple[bool, Any]:
        try:
            return True, self.work(pickle.loads(part), silent)
        except SpinlockError as error:
            return False, error
        except Exception as error:
            kind = type(error).__name__
            told = f"a Ray worker failed with {kind}: {error}\n{traceback.format_exc()}"
            return False, EngineError(told.rstrip())


def _results(table: Any) -> Iterator[tuple[int, Any]]:
    for index, result in zip(table[_INDEX], table[_RESULT], strict=True):
        worked, found = pickle.loads(result.as_buffer())
        if not worked:
            raise found
        yield index.as_py(), found


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def _settings() -> Iterator[None]:
    """Ray Data in order and without bars of its own, for data sets made inside."""
    from ray.data import DataContext

    context = DataContext.get_current()
    options = context.execution_options
    before = options.preserve_order, context.enable_progress_bars, context.print_on_execution_start
    options.preserve_order = True
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield
    finally:
        options.preserve_order, context.enable_progress_bars = before[:2]
        context.print_on_execution_start = before[2]


@contextmanager
def _own_termination() -> Iterator[None]:
    """What SIGTERM does stays: Ray would have it end the process, with nothing cleaned up."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def connected(address: str | None) -> Iterator[RayEngine]:
    """The engine on a cluster; one that was started for it ends with it.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            f"--engine ray needs Ray Data{import_failure(error)}: pip install 'spinlock-vq[ray]'"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It warns that there are no bars, which is as wanted.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield RayEngine()
        return
    own: dict[str, Any] = {} if address is not None else {"include_dashboard": False}
    try:
        with _own_termination():
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = "on this machine" if address is None else f"at {address!r}"
        raise ConfigError(f"--engine ray: no cluster {where}: {_first_line(error)}") from error
    try:
        yield RayEngine()
    finally:
        ray.shutdown()
