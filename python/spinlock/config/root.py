"""``TrainConfig``: all that a run depends on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from spinlock.config.base import Count, EmptyIsDefault, Expected, Section, Text
from spinlock.config.cleaning import CleaningConfig
from spinlock.config.model import ModelConfig
from spinlock.config.training import LoggingConfig, TrainingConfig

# Above it the seed of numpy's legacy permutation, 1000 + seed, leaves 32 bits.
MAX_SEED = 2**32 - 1 - 1000


class FamilyConfig(Section):
    """Where a family's array lies and how it becomes columns; see docs/formats.md."""

    path: Text | None = None
    encoder: Text | None = None


Families = Annotated[
    dict[str, Annotated[FamilyConfig, EmptyIsDefault]] | None,
    Expected("a mapping {family: {path, encoder}}, or null"),
]


def _path_or_paths(value: Any) -> Any:
    """A text, or a list of texts, none of them empty, all of them Unicode."""
    entries = value if isinstance(value, list) else [value]
    if not entries or not all(isinstance(entry, str) and entry for entry in entries):
        raise ValueError
    "".join(entries).encode("utf-8")
    return value


DatasetPath = Annotated[
    Any,
    AfterValidator(_path_or_paths),
    Expected("a path, a glob, builtin:<name>, or a list of paths"),
]


class TrainConfig(Section):
    """A run, from its data set to its checkpoints; docs/configuration.md describes every key."""

    dataset_path: DatasetPath
    max_samples: Count | None = None
    fit_rows: Literal["sample", "all"] = "sample"
    families: Families = None
    exclude_columns: list[Text] = Field(default=[])
    label_column: Text | None = None
    model: Annotated[ModelConfig, EmptyIsDefault] = ModelConfig()
    feature_cleaning: Annotated[CleaningConfig, EmptyIsDefault] = CleaningConfig()
    normalization_method: Literal["standard", "mad"] = "standard"
    training: Annotated[TrainingConfig, EmptyIsDefault] = TrainingConfig()
    logging: Annotated[LoggingConfig, EmptyIsDefault] = LoggingConfig()
    random_seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    device: Text = "cpu"
