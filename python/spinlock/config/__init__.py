"""Strict configuration: YAML in, every problem named at once, the resolved YAML out."""

from spinlock.config.cleaning import CleaningConfig
from spinlock.config.loading import load_config, make_config, parse_config
from spinlock.config.model import LevelConfig, ModelConfig
from spinlock.config.overrides import parse_assignment
from spinlock.config.root import FamilyConfig, TrainConfig
from spinlock.config.training import LoggingConfig, TrainingConfig
from spinlock.config.writing import dump_config

__all__ = [
    "CleaningConfig",
    "FamilyConfig",
    "LevelConfig",
    "LoggingConfig",
    "ModelConfig",
    "TrainConfig",
    "TrainingConfig",
    "dump_config",
    "load_config",
    "make_config",
    "parse_assignment",
    "parse_config",
]
