"""Folds cover every row once, and the pipeline holds out exactly what a split says."""

import numpy as np
import pytest

from spinlock.comparison.plans import changed
from spinlock.comparison.splits import arranged, make_split
from spinlock.config import TrainConfig
from spinlock.data.split import split_rows
from spinlock.data.table import FeatureTable
from spinlock.errors import DataError
from spinlock.training.prepare import prepare


@pytest.mark.parametrize(("rows", "folds"), [(10, 2), (11, 3), (150, 5), (9, 4)])
def test_folds_hold_out_every_row_once(rows: int, folds: int) -> None:
    parts = [make_split(rows, 3, f, folds=folds, validation_split=0.2) for f in range(folds)]
    assert sorted(np.concatenate([part.held_out for part in parts])) == list(range(rows))
    for part in parts:
        both = np.concatenate([part.training, part.held_out])
        assert sorted(both) == list(range(rows))
        assert abs(len(part.held_out) - rows / folds) < 1


def test_seeds_cut_the_rows_differently() -> None:
    one, other = (make_split(50, s, 0, folds=5, validation_split=0.2) for s in (0, 1))
    assert set(one.held_out) != set(other.held_out)


def test_without_folds_it_is_the_published_split() -> None:
    split = make_split(150, 2, None, folds=None, validation_split=0.25)
    training, held_out = split_rows(150, 0.25, 2)
    assert split.training.tolist() == training.tolist()
    assert split.held_out.tolist() == held_out.tolist()


@pytest.mark.parametrize(
    ("folds", "share", "says"), [(6, 0.2, "fewer folds"), (None, 0.01, "none")]
)
def test_too_few_rows(folds: int | None, share: float, says: str) -> None:
    fold = None if folds is None else 0
    with pytest.raises(DataError, match=says):
        make_split(11, 0, fold, folds=folds, validation_split=share)


@pytest.mark.parametrize("rows", [7, 64, 101, 1797])
def test_a_table_is_turned_so_that_the_pipeline_takes_the_fold(
    rows: int, config: TrainConfig
) -> None:
    table = FeatureTable.from_families({"a": np.arange(rows, dtype=np.float32).reshape(-1, 1)})
    for fold in range(3):
        split = make_split(rows, 1, fold, folds=3, validation_split=0.2)
        fold_config, turned = arranged(config, table, split)
        training, held_out = split_rows(rows, fold_config.training.validation_split, 1)
        assert turned.features[training, 0].tolist() == split.training.tolist()
        assert turned.features[held_out, 0].tolist() == split.held_out.tolist()


def test_nothing_of_the_held_out_fold_is_fitted_on(config: TrainConfig) -> None:
    rng = np.random.default_rng(0)
    table = FeatureTable.from_families({"a": rng.uniform(size=(60, 4)).astype(np.float32)})
    split = make_split(60, 0, 1, folds=3, validation_split=0.2)
    plain = changed(config, feature_cleaning={"enabled": False})
    fold, turned = arranged(plain, table, split)
    prepared = prepare(fold, table=turned)
    assert np.allclose(prepared.train.mean(axis=0), 0.0, atol=1e-5)
    assert prepared.validation.shape == (20, 4)
    raw = prepared.preprocessing.inverse_transform(prepared.validation)
    assert np.allclose(raw, table.features[split.held_out], atol=1e-5)
