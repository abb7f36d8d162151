"""Figures against plain loops and against the trainer's own."""

import math

import numpy as np
import pytest
import torch

from spinlock.analysis.rate_distortion import gaussian_distortion
from spinlock.comparison.measuring import (
    Fitted,
    gaussian_gap,
    measured,
    spectrum,
    unused_codes,
)
from spinlock.comparison.models import fitted_model
from spinlock.config import TrainConfig
from spinlock.training.metrics import EvaluationMetrics, evaluate
from spinlock.training.pipeline import train


def fitted(decoded: np.ndarray, tokens: np.ndarray, sizes: tuple[int, ...]) -> Fitted:
    return Fitted(decoded, decoded, tokens, sizes, 2, 10, 0, 0.0)


def test_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(40, 5)).astype(np.float32) for _ in range(2))
    sizes = (3, 8)
    tokens = np.stack([rng.integers(0, size, 40) for size in sizes], axis=1)
    found = measured(fitted(y, tokens, sizes), x, [("a", 2), ("b", 3)])
    for name, columns in (("a", (0, 1)), ("b", (2, 3, 4))):
        errors = [(float(x[r, c]) - float(y[r, c])) ** 2 for r in range(40) for c in columns]
        assert found.category_mse[name] == pytest.approx(sum(errors) / len(errors), rel=1e-6)
    assert found.feature_mse == pytest.approx(
        (2 * found.category_mse["a"] + 3 * found.category_mse["b"]) / 5
    )
    for quantizer, size in enumerate(sizes):
        column = tokens[:, quantizer].tolist()
        shares = [column.count(code) / 40 for code in range(size)]
        assert found.utilization_per_quantizer[quantizer] == sum(s > 0 for s in shares) / size
        entropy = -sum(s * math.log(s) for s in shares if s)
        assert found.perplexity[quantizer] == pytest.approx(math.exp(entropy))
    assert found.bits == pytest.approx(math.log2(3) + 3)
    assert (found.dead_codes, found.dead_share) == (2, 2 / 11)


def test_unused_codes() -> None:
    assert unused_codes(np.array([[0, 0], [2, 0]]), (3, 4)) == 1 + 3


def test_a_model_is_measured_as_its_trainer_does(config: TrainConfig) -> None:
    result = train(config)
    metrics = result.metrics
    assert metrics is not None
    prepared = result.prepared
    found = fitted_model(
        result.model,
        prepared.train,
        prepared.validation,
        dead_codes=metrics.dead_codes or 0,
        code_numbers=7,
        epochs=2,
        seconds=1.0,
    )
    categories = [(c.name, c.num_features) for c in prepared.plan.categories]
    mine = measured(found, prepared.validation, categories)
    assert mine.category_mse == pytest.approx(metrics.category_mse, rel=1e-5)
    assert mine.utilization_per_quantizer == metrics.utilization_per_quantizer
    assert mine.perplexity == pytest.approx(metrics.perplexity)
    assert mine.bits == metrics.bits
    assert mine.dead_codes == metrics.dead_codes
    on_training = evaluate(result.model, torch.from_numpy(prepared.train))
    errors = np.square(found.decoded_training.astype(np.float64) - prepared.train).mean()
    assert errors == pytest.approx(on_training.feature_mse, rel=1e-5)
    assert found.parameters == 7 + sum(p.numel() for p in result.model.parameters())


def test_the_gap_is_measured_over_all_features() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    rows[:, 1] = rows[:, 0]
    eigenvalues = spectrum(rows)
    assert eigenvalues.sum() == pytest.approx(rows.var(axis=0).sum(), rel=1e-5)
    metrics = EvaluationMetrics({"a": 0.5, "b": 0.1}, 0.2, (1.0,), (2.0,), 4.0, 10)
    bound, gap = gaussian_gap(metrics, eigenvalues)
    assert bound == gaussian_distortion(eigenvalues, 4.0)
    assert gap == pytest.approx(10 * math.log10(0.2 / bound))
    nothing = EvaluationMetrics({"a": 0.0}, 0.0, (1.0,), (2.0,), 4.0, 10)
    assert gaussian_gap(nothing, eigenvalues)[1] is None
