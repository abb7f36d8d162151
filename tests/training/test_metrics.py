"""Metrics against their definitions, written out in numpy."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spinlock.errors import InputError
from spinlock.training.metrics import EvaluationMetrics, evaluate


class Table(nn.Module):
    """A model that looks its answers up: the first column of x is the row's number."""

    def __init__(self, reconstruction: Tensor, indices: Tensor, sizes: Any, codes: Any) -> None:
        super().__init__()
        self.reconstruction, self.indices = reconstruction, indices
        names = tuple(f"c{i}" for i in range(len(sizes)))
        self.config = SimpleNamespace(
            category_names=names, category_sizes=sizes, codebook_sizes=codes
        )
        self.modes: list[bool] = []

    def encode(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        return x[:, 0].long()

    def quantize(self, rows: Tensor) -> Any:
        return SimpleNamespace(quantized=rows, indices=self.indices[rows])

    def decode(self, rows: Tensor) -> Tensor:
        return self.reconstruction[rows]


def problem(rows: int, sizes: list[int], codes: list[list[int]], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, sum(sizes))).astype(np.float32)
    x[:, 0] = np.arange(rows)
    reconstruction = x + rng.normal(size=x.shape).astype(np.float32)
    flat = [k for levels in codes for k in levels]
    indices = np.stack([rng.integers(0, k, rows) for k in flat], 1)
    model = Table(torch.from_numpy(reconstruction), torch.from_numpy(indices), tuple(sizes), codes)
    return model, x, reconstruction, indices, flat


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 60),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    levels=st.integers(1, 3),
    seed=st.integers(0, 1000),
    block=st.integers(1, 70),
)
def test_against_the_definitions(
    rows: int, sizes: list[int], levels: int, seed: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = [[int(k) for k in rng.integers(1, 9, levels)] for _ in sizes]
    model, x, reconstruction, indices, flat = problem(rows, sizes, codes, seed)
    metrics = evaluate(model, torch.from_numpy(x), dead_codes=3, block_rows=block)
    error = (reconstruction.astype(np.float64) - x) ** 2
    parts = np.split(error, np.cumsum(sizes)[:-1], axis=1)
    expected = [part.mean() for part in parts]
    assert list(metrics.category_mse) == [f"c{i}" for i in range(len(sizes))]
    np.testing.assert_allclose(list(metrics.category_mse.values()), expected, rtol=1e-5)
    np.testing.assert_allclose(metrics.mean_mse, np.mean(expected), rtol=1e-5)
    np.testing.assert_allclose(metrics.feature_mse, error.mean(), rtol=1e-5)
    assert metrics.worst_category == f"c{int(np.argmax(expected))}"
    assert metrics.best_category == f"c{int(np.argmin(expected))}"
    np.testing.assert_allclose(metrics.worst_over_mean, max(expected) / np.mean(expected), 1e-5)
    np.testing.assert_allclose(metrics.worst_over_best, max(expected) / min(expected), 1e-5)
    used = [len(np.unique(column)) / k for column, k in zip(indices.T, flat, strict=True)]
    np.testing.assert_allclose(metrics.utilization_per_quantizer, used)
    np.testing.assert_allclose(metrics.utilization, np.mean(used))
    shares = [np.unique(column, return_counts=True)[1] / rows for column in indices.T]
    perplexity = [np.exp(-(p * np.log(p)).sum()) for p in shares]
    np.testing.assert_allclose(metrics.perplexity, perplexity)
    np.testing.assert_allclose(metrics.mean_perplexity, np.mean(perplexity))
    np.testing.assert_allclose(metrics.bits, np.log2(flat).sum())
    assert metrics.rows == rows
    assert metrics.dead_share == 3 / sum(flat)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_used_in_evaluation_mode_and_left_as_it_came(training: bool) -> None:
    model, x, *_ = problem(4, [2], [[3]], 0)
    model.part, model.frozen = nn.Sequential(nn.Dropout()), nn.Sequential(nn.Dropout())
    model.train(training)
    model.frozen.train(not training)
    evaluate(model, torch.from_numpy(x))
    assert model.modes == [False]
    assert (model.training, model.part.training, model.part[0].training) == (training,) * 3
    assert (model.frozen.training, model.frozen[0].training) == (not training,) * 2


def test_modes_are_put_back_when_the_model_fails() -> None:
    model, x, *_ = problem(4, [2], [[3]], 0)
    model.part = nn.Dropout()
    model.train().part.eval()
    with pytest.raises(IndexError):
        evaluate(model, torch.from_numpy(x) + 9.0)
    assert (model.training, model.part.training) == (True, False)


def test_no_rows_are_an_error() -> None:
    model, x, *_ = problem(4, [2], [[3]], 0)
    with pytest.raises(InputError, match="at least 1 row"):
        evaluate(model, torch.from_numpy(x[:0]))


@pytest.mark.parametrize("dead", [None, 7])
def test_metrics_survive_json(dead: int | None) -> None:
    model, x, *_ = problem(20, [2, 3], [[3, 2], [5, 1]], 0)
    metrics = evaluate(model, torch.from_numpy(x), dead_codes=dead)
    text = json.dumps(metrics.to_dict(), allow_nan=False)
    assert EvaluationMetrics.from_dict(json.loads(text)) == metrics


@pytest.mark.parametrize(
    ("errors", "ratio", "written"), [((0.5, 0.0), math.inf, None), ((0.0, 0.0), 1.0, 1.0)]
)
def test_errors_of_zero_have_ratios(
    errors: tuple[float, float], ratio: float, written: float | None
) -> None:
    metrics = EvaluationMetrics(
        category_mse={"a": errors[0], "b": errors[1]},
        feature_mse=0.0,
        utilization_per_quantizer=(1.0,),
        perplexity=(1.0,),
        bits=0.0,
        rows=1,
    )
    assert metrics.worst_over_best == ratio
    assert metrics.to_dict()["worst_over_best"] == written
