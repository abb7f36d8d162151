"""What a whole training process is asked and what it reports; torch-free, so that any peer can.

Every contender of the training suite is a module that ``python -m`` runs with these arguments; it
loads, cleans, groups and plans as spinlock does, and prints a :class:`WholeRun` as JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinlock.config import TrainConfig

__all__ = ["Measured", "WholeRun", "arguments_parser", "config_of", "peak_bytes", "report"]


@dataclass(frozen=True)
class Measured:
    """One validation of a run.

    Attributes:
        at: ``time.monotonic()`` when its error was known.
        mse: held-out squared error, mean over rows and features, in z-units.
        seconds: of the epoch that it ends, validation included; 0 where there are no epochs.
    """

    at: float
    mse: float
    seconds: float = 0.0


@dataclass
class WholeRun:
    """What one process did, and when.

    Times are ``time.monotonic()``, which counts from boot: a process that starts another one can
    compare its own with them.

    Attributes:
        stamps: ``imported`` (arguments read), ``cleaned`` (data loaded, split and cleaned),
            ``prepared`` (categories, profile, plan, normalised rows), ``training`` (model
            initialised, the first step comes next), ``end``.
        measured: every validation, in order.
        category_mse: held-out error per category at the end.
        bits: per row.
        training_rows, held_out_rows, features: of the data.
        peak_bytes: the most memory that was resident, or None where the system does not say.
        note: what else a reader must know.
    """

    stamps: dict[str, float] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    category_mse: list[float] = field(default_factory=list)
    bits: float = 0.0
    training_rows: int = 0
    held_out_rows: int = 0
    features: int = 0
    peak_bytes: int | None = None
    note: str = ""

    def stamp(self, name: str) -> None:
        """Notes that something is done now."""
        self.stamps[name] = time.monotonic()

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WholeRun:
        """The run that :meth:`to_json` wrote."""
        plain = json.loads(text)
        plain["measured"] = [Measured(**entry) for entry in plain["measured"]]
        return cls(**plain)


def arguments_parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every contender takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="a training configuration")
    parser.add_argument("--epochs", type=int, help="instead of the configuration's")
    parser.add_argument("--rows", type=int, help="take a sample of this many rows")
    parser.add_argument("--hierarchy", choices=("residual", "independent"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help="checkpoint_dir instead of the configuration's")
    parser.add_argument("--json", action="store_true", help="print the run as one line of JSON")
    return parser


def config_of(options: argparse.Namespace) -> TrainConfig:
    """The configuration with what the arguments change."""
    from spinlock.config import load_config

    changes: dict[str, Any] = {
        "training.num_epochs": options.epochs,
        "max_samples": options.rows,
        "model.hierarchy": options.hierarchy,
        "training.checkpoint_dir": options.folder,
        "training.num_threads": options.threads,
        "device": "cpu",
    }
    given = {key: value for key, value in changes.items() if value is not None}
    return load_config(options.config, given)


def peak_bytes() -> int | None:
    """The most memory that this program held resident.

    ``ru_maxrss`` would not do: on Linux it survives exec, so that a process started by a large
    one never looks smaller than its parent.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return None if found is None else int(found[1]) * 1024


def report(run: WholeRun, as_json: bool) -> None:
    """Ends a run: stamps its end, takes its peak memory and prints it."""
    run.stamp("end")
    run.peak_bytes = peak_bytes()
    if as_json:
        print(run.to_json())
        return
    last, stamps = run.measured[-1], run.stamps
    epochs = sorted(entry.seconds for entry in run.measured)
    print(
        f"held-out MSE {last.mse:.4f} at {run.bits:.1f} bits; "
        f"analysis {stamps['prepared'] - stamps['cleaned']:.2f} s, "
        f"{epochs[len(epochs) // 2]:.3f} s per epoch, "
        f"{stamps['end'] - stamps['imported']:.1f} s without imports"
    )
