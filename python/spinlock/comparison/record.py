"""``compare.json``: written after every row, so that a comparison that was stopped goes on."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinlock import __version__
from spinlock.comparison.rows import Row
from spinlock.comparison.settings import ComparisonSettings
from spinlock.comparison.summary import summarise
from spinlock.errors import ConfigError, SpinlockError
from spinlock.training.durable import replaced_file

if TYPE_CHECKING:
    from spinlock.config import TrainConfig

FORMAT = 1
NAME, PAGE = "compare.json", "compare.html"
MARK = "spinlock compare"

# Keys that decide nothing that is measured, or that a comparison sets.
_FREE = (
    "dataset_path",
    "logging",
    "random_seed",
    "training.checkpoint_dir",
    "training.checkpoint_every_n_epochs",
    "training.keep_checkpoints",
    "model.rate_distortion.bits",
    "model.rate_distortion.target_mse",
)


class ComparisonRecord:
    """The rows of a comparison in a folder.

    Args:
        folder: where ``compare.json`` lies or will lie.
        config: what is trained.
        settings: what is compared; strategies and seeds may be other ones than before.
        dataset: what the data set is called.

    Attributes:
        rows: by key, what was there before included.
        data: seed -> SHA-256 of the rows that were loaded for it.

    Raises:
        ConfigError: the folder holds another comparison, or a file of that name that is none.
    """

    def __init__(
        self, folder: Path, config: TrainConfig, settings: ComparisonSettings, dataset: str
    ) -> None:
        self.path = folder / NAME
        self.settings = settings
        self.dataset = dataset
        self.conditions = conditions(config, settings)
        self.rows: dict[tuple[str, int, int | None], Row] = {}
        self.data: dict[str, str] = {}
        if self.path.exists():
            self._read()

    @property
    def wanted(self) -> list[Row]:
        """The rows that this comparison asks for, in the order of splits and contenders."""
        keys = [(name, *split) for split in self.settings.splits for name in self.settings.names]
        return [self.rows[key] for key in keys if key in self.rows]

    def has(self, name: str, seed: int, fold: int | None) -> bool:
        """Whether there is this row, measured; one that could not run is tried again."""
        row = self.rows.get((name, seed, fold))
        return row is not None and row.metrics is not None

    def check_data(self, seed: int, fingerprint: str) -> None:
        """Notes the data of a seed.

        Raises:
            ConfigError: rows of this seed were measured on other data.
        """
        known = self.data.setdefault(str(seed), fingerprint)
        if known != fingerprint:
            raise ConfigError(
                f"'{self.path}' holds rows that were measured on other data than {self.dataset} "
                "has now: begin anew with --fresh, or name another --output"
            )

    def add(self, row: Row) -> None:
        """Keeps a row and writes everything.

        Raises:
            SpinlockError: the file cannot be written.
        """
        self.rows[row.key] = row
        self.write()

    def write(self) -> None:
        """Writes rows, summary and verdicts in one step; what was there before stays if it fails.

        Raises:
            SpinlockError: the file cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        try:
            with replaced_file(self.path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SpinlockError(
                f"could not write '{self.path}' ({error.strerror}); what was there before is "
                "untouched: free some space or name another --output"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """The file's content."""
        lines = summarise(self.settings, list(self.rows.values()))
        return {
            "made_by": MARK,
            "format": FORMAT,
            "dataset": self.dataset,
            "baseline": self.settings.baseline,
            "strategies": list(self.settings.strategies),
            "peers": list(self.settings.peers),
            "seeds": list(self.settings.seeds),
            "environment": environment(),
            "conditions": self.conditions,
            "data": self.data,
            "summary": [line.to_dict() for line in lines],
            "rows": [row.to_dict() for row in self.rows.values()],
        }

    def _read(self) -> None:
        known = check_ours(self.path)
        if known.get("format") != FORMAT:
            raise ConfigError(
                f"'{self.path}' has format {known.get('format')!r}, expected {FORMAT}: begin anew "
                "with --fresh, or name another --output"
            )
        differing = differences(known.get("conditions") or {}, self.conditions)
        if differing:
            raise ConfigError(
                f"'{self.path}' holds another comparison: {'; '.join(differing)}. Restore these, "
                "begin anew with --fresh, or name another --output"
            )
        try:
            rows = [Row.from_dict(row) for row in known["rows"]]
            self.data = {str(seed): str(text) for seed, text in known["data"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"'{self.path}' is damaged ({type(error).__name__}: {error}): begin anew with "
                "--fresh, or name another --output"
            ) from error
        self.rows = {row.key: row for row in rows}


def check_ours(path: Path) -> dict[str, Any]:
    """What a comparison has written to ``path``; empty where there is no such file.

    Raises:
        ConfigError: something else is there, or it cannot be read.
    """
    if not path.exists():
        return {}
    known = None
    try:
        with suppress(ValueError, RecursionError):
            known = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read '{path}' ({error.strerror}): name another --output, or remove it"
        ) from error
    if not isinstance(known, dict) or known.get("made_by") != MARK:
        raise ConfigError(
            f"'{path}' exists and was not written by {MARK}: name another --output, or remove it"
        )
    return known


def conditions(config: TrainConfig, settings: ComparisonSettings) -> dict[str, Any]:
    """What every row of a comparison has in common, flat: key -> plain value."""
    tree = flattened(config.model_dump(mode="json"))
    kept = {
        key: value
        for key, value in tree.items()
        if not any(key == free or key.startswith(f"{free}.") for free in _FREE)
    }
    own = {"folds": settings.folds, "bits": settings.bits, "spinlock": __version__}
    # As the file will give them back.
    plain: dict[str, Any] = json.loads(json.dumps(kept | own))
    return plain


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``key was a, now b`` for each key that differs.

    >>> differences({"folds": None, "bits": 90.0}, {"folds": 5, "bits": 90.0})
    ['folds was None, now 5']
    """
    return [
        f"{key} was {before.get(key)!r}, now {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def environment() -> dict[str, Any]:
    """Machine, versions and date behind the figures."""
    import torch

    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "spinlock": __version__,
        "threads": torch.get_num_threads(),
    }


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings with dotted keys.

    >>> flattened({"a": {"b": 1}, "c": []})
    {'a.b': 1, 'c': []}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flattened(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
