"""Work file by file: one output per input, each whole or not there, none done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinlock.data.builtin import PREFIX
from spinlock.data.dataset import Unchanged
from spinlock.data.opening import extension_of
from spinlock.data.table import listed
from spinlock.engine import Engine, Tell
from spinlock.errors import ConfigError
from spinlock.training.durable import TEMPORARY
from spinlock.vqvae.contract import TokenContract

ORIGIN = "spinlock.origin"


@dataclass(frozen=True)
class FileWork:
    """One file to make of another; a part of the work that engines do.

    Attributes:
        path: of the file to read, absolute, or ``builtin:<name>``.
        file: as it was when the work was planned; None for built-in sets.
        num_rows: that it holds.
        output: the ``.parquet`` file to write, absolute.
        origin: what the output will say that it was made of.
    """

    path: str
    file: Unchanged | None
    num_rows: int
    output: Path
    origin: str

    @property
    def done(self) -> bool:
        """The output is there, and says that it was made of this file in this way."""
        return self.output.is_file() and _origin_of(self.output) == self.origin

    @property
    def metadata(self) -> dict[str, str]:
        """What the output says of itself."""
        return {ORIGIN: self.origin}

    def check(self) -> None:
        """Refuses a file that has changed.

        Raises:
            DataError: it was written to since the work was planned.
        """
        if self.file is not None:
            self.file.check()


@dataclass(frozen=True)
class WrittenFiles:
    """A folder of files that were made.

    Attributes:
        folder: where they are.
        paths: all of them, in the order of what they were made of.
        rows: of all of them together.
        columns: per row.
        kept: files among them that an earlier call had made.
        reordered, ignored, labels: as in :class:`~spinlock.tokens.encoding.Written`.
    """

    folder: Path
    paths: tuple[Path, ...]
    rows: int
    columns: int
    kept: int = 0
    reordered: bool = False
    ignored: tuple[str, ...] = ()
    labels: bool = False


def plan_files(
    inputs: Iterable[tuple[str, int]],
    folder: Path,
    contract: TokenContract,
    options: Mapping[str, Any],
    *,
    overwrite: bool,
) -> list[FileWork]:
    """What is to be made of each input; the folder is made where it is missing.

    Args:
        inputs: paths of files, each with its rows.
        folder: of the outputs, which have the inputs' names and the ending ``.parquet``.
        contract: of the model that does the work.
        options: all else that the outputs depend on.
        overwrite: whether other files of those names may be replaced.

    Raises:
        ConfigError: two inputs of one name, outputs among the inputs, a folder that cannot be, or
            files in it that are not what this work would make.
    """
    made = _digest(json.dumps([contract.to_dict(), dict(options)], sort_keys=True))
    home = folder.expanduser().absolute()
    works = []
    for path, rows in inputs:
        file = None if path.startswith(PREFIX) else Unchanged.of(Path(path).expanduser().absolute())
        said = {"made": made, "name": Path(path).name, "rows": rows}
        if file is not None:
            said |= {"bytes": file.state[0], "modified_ns": file.state[1]}
        output = home / f"{_stem(path)}.parquet"
        where = path if file is None else str(file.path)
        works.append(FileWork(where, file, rows, output, json.dumps(said)))
    _check_names(works, folder)
    try:
        home.mkdir(exist_ok=True)
    except OSError as error:
        reason = "is a file" if home.is_file() else error.strerror
        raise ConfigError(f"the output folder '{folder}' cannot be made: {reason}") from error
    there = [work.output.name for work in works if work.output.exists() and not work.done]
    if there and not overwrite:
        raise ConfigError(
            f"the output folder '{folder}' holds files that were made of other data, by another "
            f"model or with other options: {listed(there, 5)}; choose another folder, or replace "
            "them with --overwrite (in Python overwrite=True)"
        )
    return works


def do_files(
    engine: Engine,
    work: Callable[[FileWork, Tell], int],
    works: Sequence[FileWork],
    on_progress: Callable[[int, int | None], None] | None,
) -> int:
    """Does what is not done; returns how many files had been done before.

    Args:
        engine: where.
        work: makes one file and gives its rows.
        works: from :func:`plan_files`.
        on_progress: is called with rows done and rows in all.
    """
    left = [one for one in works if not one.done]
    total = sum(one.num_rows for one in works)
    done = total - sum(one.num_rows for one in left)

    def tell(rows: int) -> None:
        nonlocal done
        done += rows
        if on_progress is not None:
            on_progress(done, total)

    for one, _ in zip(left, engine.map(work, left, tell), strict=True):
        # A process that was killed leaves behind what it had begun.
        for begun in one.output.parent.glob(f"{TEMPORARY}{one.output.name}-*"):
            with suppress(OSError):
                begun.unlink()
    return len(works) - len(left)


def _check_names(works: Sequence[FileWork], folder: Path) -> None:
    names = [work.output.name for work in works]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(names) > 1 else []
    if len(set(names)) < len(names):
        raise ConfigError(
            f"several files would become {listed(twice, 5)} in '{folder}': give files of different "
            "names, or one folder after the other"
        )
    if any(work.path == str(work.output) for work in works):
        raise ConfigError(
            f"the output folder '{folder}' holds the files that are read; choose another folder"
        )


def _stem(path: str) -> str:
    if path.startswith(PREFIX):
        return path.removeprefix(PREFIX)
    extension = extension_of(Path(path)) or ""
    return Path(path).name[: -len(extension)] if extension else Path(path).name


def _origin_of(path: Path) -> str | None:
    """What a Parquet file says that it was made of; None where it says nothing."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    text = metadata.get(ORIGIN.encode())
    return None if text is None else text.decode("utf-8", errors="replace")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def require_local_work(device: str, engine: Engine) -> None:
    """Refuses a device that an engine's workers do not have.

    Raises:
        ConfigError: not the processor.
    """
    if engine.name != "local" and device != "cpu":
        raise ConfigError(
            f"--device {device}: the workers of --engine {engine.name} run on processors: leave "
            "--device out, or work in one process"
        )
