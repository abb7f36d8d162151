"""Whole comparisons: equal conditions for everybody, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparing import settings
from spinlock.comparison import contenders
from spinlock.comparison.plans import changed
from spinlock.comparison.runner import compare
from spinlock.comparison.summary import summarise
from spinlock.config import TrainConfig
from spinlock.data import load_table
from spinlock.data.split import split_rows
from spinlock.errors import ConfigError, DataError, SpinlockError
from spinlock.training import pipeline
from spinlock.training.checkpoint import read_run
from spinlock.training.pipeline import TrainResult


def test_everybody_has_the_same_rows_categories_and_bits(
    config: TrainConfig, tmp_path: Path
) -> None:
    record = compare(config, settings(peers=None), tmp_path / "out", keep_models=True)
    assert len(record.rows) == 2 * 5
    for seed in (0, 1):
        rows = [row for row in record.rows.values() if row.seed == seed]
        assert len({row.budget for row in rows}) == 1
        measured = [row for row in rows if row.metrics is not None]
        assert len({tuple(row.metrics.category_mse) for row in measured if row.metrics}) == 1
        raw = [{n: v["raw"] for n, v in (row.accuracy or {}).items()} for row in measured]
        assert all(scores == raw[0] for scores in raw)
        assert {row.held_out_rows for row in rows} == {30}
        for row in measured:
            assert row.metrics is not None
            assert row.metrics.bits <= row.budget + 0.05
            over = {"joint_rq": 1.0, "fsq": 1.5}.get(row.name, 0.05)
            assert row.bits_over is not None
            assert abs(row.bits_over) < over
        # What the pipeline itself trained on.
        for name in ("uniform", "dimensionality"):
            run = read_run(tmp_path / "out" / "runs" / f"{name}-seed-{seed}" / "epoch_0002")
            assert run.config.random_seed == seed
            assert run.plan.names == ("shape", "colour")
            assert run.plan.bits == pytest.approx(rows[0].budget, abs=0.05)


def test_the_uniform_row_is_the_run_of_the_uniform_configuration(
    config: TrainConfig, tmp_path: Path
) -> None:
    narrow = changed(config, model={"compression_ratios": [0.3, 0.3, 0.3]})
    record = compare(narrow, settings(), tmp_path / "out")
    metrics = pipeline.train(changed(narrow, random_seed=1)).metrics
    row = record.rows["uniform", 1, None]
    assert metrics is not None
    assert row.metrics is not None
    assert row.metrics.category_mse == pytest.approx(metrics.category_mse, rel=1e-5)
    assert row.metrics.bits == row.budget == row.own_bits == metrics.bits
    assert row.exponent == 1.0
    other = record.rows["dimensionality", 1, None]
    assert other.own_bits is not None
    assert other.own_bits > row.budget + 0.5
    assert other.exponent is not None
    assert 0.7 < other.exponent < 0.98
    assert other.metrics is not None
    assert other.metrics.bits == pytest.approx(row.budget, abs=0.05)


def test_folds_measure_every_row_once(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[TrainResult] = []

    def watched(*args: Any, **kwargs: Any) -> TrainResult:
        trained.append(pipeline.train(*args, **kwargs))
        return trained[-1]

    monkeypatch.setattr(contenders, "train", watched)
    asked = settings(folds=3, num_seeds=1)
    record = compare(config, asked, tmp_path / "out")
    assert list(record.rows) == [(n, 0, f) for f in range(3) for n in asked.strategies]
    table = load_table(config.dataset_path)
    held_out = [
        run.prepared.preprocessing.restore(run.prepared.validation)[:, 0] for run in trained[::2]
    ]
    shuffled = np.concatenate(split_rows(150, 0.0, 0))
    assert np.concatenate(held_out).shape == (150,)
    close = np.isclose(np.concatenate(held_out), table.features[shuffled, 0], atol=1e-4)
    assert close.mean() > 0.9  # all but outliers, which cleaning caps
    for one, other in zip(trained[::2], trained[1::2], strict=True):
        assert np.array_equal(one.prepared.validation, other.prepared.validation)


def test_bits_are_the_users_where_given(config: TrainConfig, tmp_path: Path) -> None:
    record = compare(config, settings(bits=30.0, num_seeds=1), tmp_path / "out")
    for row in record.wanted:
        assert row.budget == 30.0
        assert row.metrics is not None
        assert row.metrics.bits == pytest.approx(30.0, abs=0.1)
        assert row.exponent is not None
        assert row.exponent > 1.0
    with pytest.raises(ConfigError, match="fewer than the 6 codebooks"):
        compare(config, settings(bits=3.0, num_seeds=1), tmp_path / "few")


@pytest.mark.parametrize("bits", [None, 18.0])
def test_a_strategy_that_spends_bits_is_told_how_many(
    config: TrainConfig, tmp_path: Path, bits: float | None
) -> None:
    asked = settings(strategies="uniform,rate_distortion", bits=bits, num_seeds=1)
    # Its own budget does not count.
    own = changed(config, model={"rate_distortion": {"bits": 60.0}})
    record = compare(own, asked, tmp_path / "out", keep_models=True)
    row = record.rows["rate_distortion", 0, None]
    assert row.metrics is not None
    assert row.own_bits is not None
    assert row.budget == (bits or record.rows["uniform", 0, None].own_bits)
    assert row.budget - 1.5 < row.own_bits <= row.budget + 1e-6
    assert row.metrics.bits == pytest.approx(row.budget, abs=0.05)
    run = read_run(tmp_path / "out" / "runs" / "rate_distortion-seed-0" / "epoch_0002")
    uniform = read_run(tmp_path / "out" / "runs" / "uniform-seed-0" / "epoch_0002")
    assert run.plan.codebook_sizes != uniform.plan.codebook_sizes


def test_bits_that_a_strategy_cannot_spend_are_a_row_that_says_so(
    config: TrainConfig, tmp_path: Path
) -> None:
    asked = settings(strategies="uniform,rate_distortion", bits=40.0, num_seeds=1)
    record = compare(config, asked, tmp_path / "out")
    uniform, other = record.wanted
    assert uniform.metrics is not None
    assert other.metrics is None
    assert "rate_distortion.bits is 40" in (other.note or "")


def test_what_the_configuration_says_itself_is_compared_as_config(
    config: TrainConfig, tmp_path: Path
) -> None:
    ratios = {"shape": [0.3, 0.3, 0.3], "colour": [1.0, 1.0, 1.0]}
    own = changed(config, model={"compression_ratios": ratios})
    asked = settings(strategies="uniform,config", num_seeds=1)
    record = compare(own, asked, tmp_path / "out", keep_models=True)
    run = read_run(tmp_path / "out" / "runs" / "config-seed-0" / "epoch_0002")
    assert run.plan.ratios == ((0.3, 0.3, 0.3), (1.0, 1.0, 1.0))
    row = record.rows["config", 0, None]
    assert row.metrics is not None
    assert row.metrics.bits == pytest.approx(row.budget, abs=0.05)
    levels = {"L0": "variance", "L1": "balanced", "L2": "dimensionality"}
    per_level = changed(config, model={"auto_compression_strategy": levels})
    other = compare(per_level, asked, tmp_path / "levels").rows["config", 0, None]
    assert other.metrics is not None
    with pytest.raises(ConfigError, match="auto_compression_strategy"):
        compare(config, asked, tmp_path / "levels")


def test_one_that_fails_does_not_keep_the_others_from_running(
    config: TrainConfig, tmp_path: Path
) -> None:
    wild = changed(config, training={"learning_rate": 1e30})
    asked = settings(strategies="uniform", peers="pca_kmeans", num_seeds=1)
    uniform, peer = compare(wild, asked, tmp_path / "out").wanted
    assert "training diverged" in (uniform.note or "")
    assert peer.metrics is not None
    alone = settings(strategies="uniform,variance", num_seeds=1)
    with pytest.raises(DataError, match=r"no contender could run; uniform: training diverged"):
        compare(wild, alone, tmp_path / "alone")


def test_a_device_that_is_not_there_is_found_first(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device"):
        compare(changed(config, device="tpu"), settings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_without_labels_have_no_accuracy(config: TrainConfig, tmp_path: Path) -> None:
    arrays = dict(np.load(config.dataset_path))
    del arrays["labels"]
    np.savez(config.dataset_path, **arrays)
    record = compare(config, settings(num_seeds=1), tmp_path / "out")
    assert {row.accuracy for row in record.wanted} == {None}
    assert summarise(record.settings, record.wanted)[0].means["retention"] is None


def test_what_cannot_be_compared(config: TrainConfig, tmp_path: Path) -> None:
    levels = {"levels": {"shape": [{"num_tokens": 8}] * 3}}
    with pytest.raises(ConfigError, match="nothing to decide"):
        compare(changed(config, model=levels), settings(), tmp_path / "out")
    none = changed(config, training={"validation_split": 0.0})
    with pytest.raises(ConfigError, match=r"no rows are held out.*--folds"):
        compare(none, settings(), tmp_path / "out")
    with pytest.raises(DataError, match="--folds 100 of 150 rows"):
        compare(config, settings(folds=100), tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(SpinlockError, match="name another --output"):
        compare(config, settings(), tmp_path / "file" / "out")
