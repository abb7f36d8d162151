"""Continuing a run: is it the same run, on the same data, and where did it stand?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinlock.config.paths import expand_user
from spinlock.data.table import FeatureTable
from spinlock.engine import IN_PROCESS, Engine
from spinlock.errors import CheckpointError, ConfigError, DataError
from spinlock.training.callbacks import EventHandler
from spinlock.training.checkpoint import SavedRun, find_checkpoint
from spinlock.training.folder import RunDirectory, position
from spinlock.training.prepare import about, data_fingerprint, load, split
from spinlock.training.prepared import Prepared
from spinlock.training.source import open_source, source_text

if TYPE_CHECKING:
    from spinlock.config import TrainConfig

# What may differ between a run and its continuation, for none of it moves a weight (a device
# does, but a run may have to move to another machine).
_FREE = {
    "dataset_path",
    "device",
    "logging",
    "training.checkpoint_dir",
    "training.checkpoint_every_n_epochs",
    "training.keep_checkpoints",
}
# Written by the run itself; a configuration from before the run does not have them.
_COMPUTED = {
    "model.compression_ratios_strategy",
    "model.compression_ratios_computed",
    "model.compression_ratios_metrics",
    "model.compression_ratios_allocation",
}


def resume_path(resume: str | Path, config: TrainConfig) -> Path:
    """The checkpoint folder that ``resume`` means: ``"latest"``, a checkpoint_dir or a folder.

    Raises:
        CheckpointError: there is no such checkpoint.
        ConfigError: nobody's home directory.
    """
    directory = Path(config.training.checkpoint_dir)
    resume = expand_user(str(resume), "resume")
    if resume in ("latest", "best"):
        return find_checkpoint(directory / resume)
    return find_checkpoint(Path(resume))


def check_nothing_later(folder: Path, directory: RunDirectory) -> None:
    """Refuses to continue from an older checkpoint in a directory that holds later ones.

    Later ones are those up to ``latest``: what lies after it a crash has left.

    Raises:
        CheckpointError: there are later ones.
    """
    if folder.resolve().parent != directory.path.resolve():
        return
    latest = directory.pointer("latest")
    at, names = position(folder.name) or (0, 0), directory.checkpoints()
    last = at if not names else position(latest or names[-1]) or at
    later = [name for name in names if at < (position(name) or at) <= last]
    if later:
        raise CheckpointError(
            f"'{directory.path}' goes on to '{later[-1]}' after '{folder.name}', and continuing "
            "from "
            "there would overwrite it: resume from latest, or give another "
            "training.checkpoint_dir (--output) to branch off"
        )


def prepare_resumed(
    config: TrainConfig,
    saved: SavedRun,
    on_event: EventHandler,
    table: FeatureTable | None = None,
    engine: Engine = IN_PROCESS,
) -> Prepared:
    """What :func:`~spinlock.training.prepare.prepare` gave the run, from its checkpoint.

    The data set is read again, by ``engine``, and must be the same; nothing is fitted again.

    Raises:
        ConfigError: a key differs that would change the result.
        DataError: the data set has changed.
    """
    config = about(config, table)
    _check_config(config, saved)
    with open_source(config, table) as source:
        table = load(config, source, on_event, engine)
    fingerprint = data_fingerprint(table)
    if fingerprint != saved.data_fingerprint:
        schema = "columns" if table.names != saved.preprocessing.names else "values"
        raise DataError(
            f"{source_text(config)} is not the data set that '{saved.path}' was trained on: its "
            f"{schema} differ. Resume with the same data, or start a new run on this one"
        )
    train, validation = split(config, table, on_event)
    preprocessing = saved.preprocessing
    return Prepared(
        config=config.model_copy(update={"model": saved.config.model}),
        preprocessing=preprocessing,
        plan=saved.plan,
        train=preprocessing.transform(table.features[train]),
        validation=preprocessing.transform(table.features[validation]),
        cleaning_report=preprocessing.cleaner.report_,
        data_fingerprint=fingerprint,
        ratios_reused=saved.plan.source == "auto",
    )


def _check_config(config: TrainConfig, saved: SavedRun) -> None:
    given, before = (
        _flat(config.model_dump(mode="json")),
        _flat(saved.config.model_dump(mode="json")),
    )
    computed_absent = all(given.get(key) is None for key in _COMPUTED)
    differing = []
    for key in sorted(given.keys() | before.keys()):
        if _covered(key, _FREE) or (computed_absent and _covered(key, _COMPUTED)):
            continue
        if given.get(key) != before.get(key):
            differing.append(f"{key} was {before.get(key)!r}, now {given.get(key)!r}")
    if differing:
        raise ConfigError(
            f"the run in '{saved.path}' cannot be continued with another configuration: "
            f"{'; '.join(differing)}. The schedule and every later step depend on these keys: "
            "restore them, or start a new run without --resume"
        )


def _covered(key: str, keys: set[str]) -> bool:
    return any(key == other or key.startswith(other + ".") for other in keys)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
