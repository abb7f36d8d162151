"""The options that commands share, and the configuration keys that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spinlock.cli.session import Session
from spinlock.errors import ConfigError

if TYPE_CHECKING:
    from spinlock.config import TrainConfig

LATEST = "latest"

# Flag -> the key that it sets.
KEYS = {
    "input": "dataset_path",
    "output": "training.checkpoint_dir",
    "epochs": "training.num_epochs",
    "batch_size": "training.batch_size",
    "learning_rate": "training.learning_rate",
    "device": "device",
    "seed": "random_seed",
}


def _remember_traceback(context: typer.Context, wanted: bool) -> bool:
    context.find_object(Session).show_traceback = wanted  # type: ignore[union-attr]
    return wanted


# Paths are text up to expand_user: Path("") is the current directory.
ConfigOption = Annotated[
    str, typer.Option("--config", metavar="FILE", help="The configuration, a YAML file.")
]
InputOption = Annotated[
    str | None,
    typer.Option("--input", metavar="DATA", help="Data set: a file or builtin:<name>."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 or auto.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", metavar="N", help="Random seed.")]
RecomputeOption = Annotated[
    bool,
    typer.Option(
        "--recompute-ratios",
        help="Measure 'auto' ratios anew although the configuration carries computed ones.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any key, such as model.hierarchy=independent; may be repeated.",
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="What reads and works on the data: local (this process) or ray.",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        show_default=False,
        help="With --engine ray, the cluster: auto, host:port or ray://host:port; left out: the "
        "one that RAY_ADDRESS names, else one on this machine for as long as the command runs.",
    ),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say what cleaning did, column by column.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say nothing but warnings, errors and the result.")
]
TracebackOption = Annotated[
    bool,
    typer.Option(
        "--traceback", callback=_remember_traceback, help="Show where in the code an error arose."
    ),
]


def give_resume_a_value(arguments: Sequence[str]) -> list[str]:
    """``--resume`` without a folder means the latest checkpoint of the run.

    >>> give_resume_a_value(["--resume", "--quiet"]), give_resume_a_value(["--resume", "runs/a"])
    (['--resume=latest', '--quiet'], ['--resume', 'runs/a'])
    """
    given = list(arguments)
    for index, argument in enumerate(given):
        if argument == "--resume" and (given[index + 1 : index + 2] or ["-"])[0].startswith("-"):
            given[index] = f"--resume={LATEST}"
    return given


def resume_folder(value: str) -> str:
    """What ``--resume`` names, with ``~`` expanded.

    Raises:
        ConfigError: an empty name.
    """
    from spinlock.config.paths import expand_user

    if not value:
        raise ConfigError(
            "--resume: expected a folder, got text without a character; give --resume alone for "
            "the latest checkpoint of training.checkpoint_dir"
        )
    return expand_user(value, "--resume")


def load(
    path: str,
    flags: Mapping[str, Any],
    assignments: Sequence[str] | None,
    *,
    recompute_ratios: bool,
) -> TrainConfig:
    """The configuration in a file, with flags over it and ``--set`` over those.

    Args:
        path: the file.
        flags: by the names in ``KEYS``; None where a flag was not given.
        assignments: the ``KEY=VALUE`` of each ``--set``.
        recompute_ratios: leave out what an earlier run computed.

    Raises:
        ConfigError: everything that is wrong.
    """
    from spinlock.config import load_config, parse_assignment
    from spinlock.config.model import SAVED_KEYS
    from spinlock.config.paths import expand_user

    overrides = [(KEYS[name], value) for name, value in flags.items() if value is not None]
    overrides += [parse_assignment(text) for text in assignments or ()]
    if recompute_ratios:
        overrides += [(f"model.{key}", None) for key in SAVED_KEYS]
    return load_config(expand_user(path, "--config"), overrides)


def verbosity(config: TrainConfig, *, verbose: bool, quiet: bool) -> str:
    """What the flags say, else the configuration: quiet, normal or verbose.

    Raises:
        ConfigError: both flags.
    """
    if verbose and quiet:
        raise ConfigError("--verbose and --quiet contradict each other: give one of them")
    return "verbose" if verbose else "quiet" if quiet else config.logging.verbosity
