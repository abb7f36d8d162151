"""The sections ``training`` and ``logging``."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spinlock.config.base import (
    Count,
    EmptyIsDefault,
    Issue,
    NonNegative,
    Positive,
    Section,
    Text,
    raise_conflicts,
)
from spinlock.config.paths import expand_user
from spinlock.config.refit import RefitConfig

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(Section):
    """The loop, its checkpoints, and how features are grouped into categories."""

    num_epochs: Count = 100
    batch_size: Count = 512
    learning_rate: Positive = 2e-3
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: NonNegative = 0.0
    scheduler: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    gradient_clip: Positive | None = None
    autocast: Literal["bfloat16"] | None = None
    num_threads: Count | None = None
    cuda_graph: Literal["auto"] | bool = "auto"
    checkpoint_dir: Text = "checkpoints/vqvae"
    checkpoint_every_n_epochs: Count = 10
    keep_checkpoints: Count = 3
    validation_split: Share = 0.2
    val_every_n_epochs: Count = 1
    early_stopping_patience: Count | None = None
    early_stopping_min_delta: NonNegative = 0.0
    dead_code_threshold: NonNegative = 0.02
    dead_code_interval: Count = 1
    dead_code_stop_fraction: Annotated[float, Field(ge=0, le=1)] = 0.8
    refit: Annotated[RefitConfig, EmptyIsDefault] = RefitConfig()
    category_assignment: Literal["auto", "families", "manual"] = "auto"
    category_file: Text | None = None
    num_categories_auto: Count | None = None
    max_clusters: Count = 25
    min_features_per_category: Count = 3
    isolated_families: list[Text] = Field(default=[])

    @property
    def total_epochs(self) -> int:
        """Epochs of training and of all refit rounds."""
        return self.num_epochs + self.refit.rounds * self.refit.epochs

    @field_validator("checkpoint_dir")
    @classmethod
    def _at_home(cls, value: str) -> str:
        return expand_user(value, "training.checkpoint_dir")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        raise_conflicts([*self._schedule_issues(), *self._category_issues()])
        return self

    def _schedule_issues(self) -> list[Issue]:
        if self.warmup_epochs <= self.num_epochs:
            return []
        text = (
            f"expected at most num_epochs ({self.num_epochs}), got {self.warmup_epochs}: the "
            "learning rate would never be reached; lower it or raise training.num_epochs"
        )
        return [Issue("warmup_epochs", text, ("num_epochs",))]

    def _category_issues(self) -> list[Issue]:
        issues = []
        if self.category_assignment == "families" and self.num_categories_auto is not None:
            text = (
                f"got {self.num_categories_auto}, but with category_assignment 'families' every "
                "family is a category and nothing is clustered; remove this key or set "
                "training.category_assignment to auto"
            )
            issues.append(Issue("num_categories_auto", text, ("category_assignment",)))
        issues += self._manual_issues()
        counts = Counter(self.isolated_families)
        repeated = [repr(family) for family, count in counts.items() if count > 1]
        if repeated:
            text = f"expected each family once, got {', '.join(repeated)} several times; keep one"
            issues.append(Issue("isolated_families", text))
        return issues

    def _manual_issues(self) -> list[Issue]:
        """A file goes with ``manual``, and nothing else decides about categories then."""
        keys = ("category_assignment",)
        if self.category_assignment != "manual":
            if self.category_file is None:
                return []
            text = (
                f"got {self.category_file!r}, but category_assignment is "
                f"{self.category_assignment!r}; set training.category_assignment to manual or "
                "remove this key"
            )
            return [Issue("category_file", text, keys)]
        issues = []
        if self.category_file is None:
            text = (
                "missing with category_assignment 'manual': name a YAML or JSON file "
                "{category: [column, ...]}"
            )
            issues.append(Issue("category_file", text, keys))
        given = {
            "num_categories_auto": self.num_categories_auto is not None,
            "isolated_families": bool(self.isolated_families),
        }
        return issues + [
            Issue(
                name,
                "got a value, but with category_assignment 'manual' the file alone decides; remove "
                "this key",
                keys,
            )
            for name, there in given.items()
            if there
        ]


class LoggingConfig(Section):
    """What a run says while it works, and where; flags override it."""

    verbosity: Literal["quiet", "normal", "verbose"] = "normal"
    interval_seconds: NonNegative = 10.0
    tensorboard_dir: Text | None = None

    @field_validator("tensorboard_dir")
    @classmethod
    def _at_home(cls, value: str | None) -> str | None:
        return None if value is None else expand_user(value, "logging.tensorboard_dir")
