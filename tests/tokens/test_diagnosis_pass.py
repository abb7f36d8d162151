"""The streaming pass against whole matrices and against the trainer's own metrics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diagnosis_models import families, trained, trained_on
from spinlock.analysis.rate_distortion import gaussian_distortion
from spinlock.errors import DataError
from spinlock.tokens.diagnosis import Diagnosis
from spinlock.tokens.diagnosis_pass import DiagnosisPass
from spinlock.training.checkpoint import SavedModel
from spinlock.training.metrics import evaluate

WIDTHS = {"shape": 6, "colour": 4, "one": 1}
FORMS: dict[str, dict[str, Any]] = {
    "residual": {},
    "independent": {"model": {"hierarchy": "independent"}},
    "one level": {"model": {"compression_ratios": "0.8"}},
}


@pytest.fixture(scope="module", params=FORMS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    return trained(tmp_path_factory.mktemp("form"), WIDTHS, **FORMS[request.param])


def raw_rows(count: int = 150, seed: int = 5) -> np.ndarray[Any, Any]:
    return np.concatenate(list(families(WIDTHS, count, seed).values()), axis=1)


def in_order(saved: SavedModel, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    names = [f"{family}::{i}" for family, width in WIDTHS.items() for i in range(width)]
    return rows[:, [names.index(name) for name in saved.preprocessing.names]]


def same(left: Diagnosis, right: Diagnosis) -> None:
    """Equal but for rounding."""

    def compare(a: Any, b: Any) -> None:
        assert type(a) is type(b)
        if isinstance(a, dict):
            assert a.keys() == b.keys()
            for key in a:
                compare(a[key], b[key])
        elif isinstance(a, list):
            assert len(a) == len(b)
            for one, other in zip(a, b, strict=True):
                compare(one, other)
        elif isinstance(a, float):
            assert a == pytest.approx(b, rel=1e-5, abs=1e-9)
        else:
            assert a == b

    compare(left.to_dict(), right.to_dict())


def test_it_agrees_with_the_trainers_metrics(saved: SavedModel) -> None:
    rows = in_order(saved, raw_rows())
    found = DiagnosisPass(saved).update(rows).finalise()
    x = torch.from_numpy(saved.preprocessing.transform(rows))
    metrics = evaluate(saved.model, x)
    for category in found.categories:
        assert category.mse == pytest.approx(metrics.category_mse[category.name], rel=1e-6)
    assert found.mean_mse == pytest.approx(metrics.mean_mse, rel=1e-6)
    assert found.feature_mse == pytest.approx(metrics.feature_mse, rel=1e-6)
    assert found.worst.name == metrics.worst_category
    assert tuple(q.utilization for q in found.quantizers) == metrics.utilization_per_quantizer
    assert tuple(q.perplexity for q in found.quantizers) == metrics.perplexity
    assert found.bits == pytest.approx(metrics.bits)


@torch.no_grad()
def test_against_whole_matrices(saved: SavedModel) -> None:
    rows = in_order(saved, raw_rows())
    found = DiagnosisPass(saved).update(rows).finalise()
    x = saved.preprocessing.transform(rows)
    tokens = saved.model.get_tokens(torch.from_numpy(x)).numpy()
    decoded = saved.model.decode_from_tokens(torch.from_numpy(tokens)).numpy()
    error = (decoded.astype(np.float64) - x) ** 2
    own_units = saved.preprocessing.normaliser.scale_
    r2 = 1.0 - error.sum(0) / ((x - x.mean(0, dtype=np.float64)) ** 2).sum(0)
    for column, feature in enumerate(found.features):
        assert feature.name == saved.preprocessing.feature_names[column]
        assert feature.mse == pytest.approx(error[:, column].mean(), rel=1e-4)
        assert feature.r2 == pytest.approx(r2[column], rel=1e-3, abs=1e-5)
        assert feature.rmse == pytest.approx(
            np.sqrt(error[:, column].mean()) * own_units[column], rel=1e-4
        )
    for index, quantizer in enumerate(found.quantizers):
        counts = np.bincount(tokens[:, index], minlength=quantizer.num_codes)
        assert quantizer.counts == tuple(counts.tolist())
        share = counts[counts > 0] / len(rows)
        assert quantizer.entropy_bits == pytest.approx(-(share * np.log2(share)).sum())
        assert quantizer.dead_codes == int((counts == 0).sum())
    config = saved.model.config
    assert [q.name for q in found.quantizers] == [
        f"{name}/L{level}" for name in config.category_names for level in range(config.num_levels)
    ]
    starts = np.cumsum([0, *config.category_sizes])
    for number, name in enumerate(config.category_names):
        category = next(c for c in found.categories if c.name == name)
        part = x[:, starts[number] : starts[number + 1]].astype(np.float64)
        spectrum = np.linalg.eigvalsh(np.cov(part.T, bias=True).reshape(part.shape[1], -1))[::-1]
        np.testing.assert_allclose(category.spectrum, spectrum, rtol=1e-6, atol=1e-9)
        assert category.gaussian_mse == pytest.approx(gaussian_distortion(spectrum, category.bits))
        levels = config.num_levels
        own = tokens[:, number * levels : (number + 1) * levels]
        _, where, times = np.unique(own, axis=0, return_inverse=True, return_counts=True)
        assert category.collisions.rate == pytest.approx((times[where.ravel()] > 1).mean())
        assert category.collisions.exact
    _, where, times = np.unique(tokens, axis=0, return_inverse=True, return_counts=True)
    assert found.collisions.rate == pytest.approx((times[where.ravel()] > 1).mean())


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(0, 90), max_size=5), turned=st.booleans())
def test_any_blocks_and_merges_give_the_same(
    saved: SavedModel, cuts: list[int], turned: bool
) -> None:
    rows = in_order(saved, raw_rows(90))
    whole = DiagnosisPass(saved).update(rows).finalise()
    ends = [*sorted(cuts), 90]
    pieces, parts, start = DiagnosisPass(saved), [], 0
    for end in ends:
        pieces.update(rows[start:end])
        parts.append(DiagnosisPass(saved).update(rows[start:end], first_row=start))
        start = end
    merged = parts.pop(0 if turned else -1)
    for part in parts:
        merged.merge(part)
    same(whole, pieces.finalise())
    same(whole, merged.finalise())


@torch.no_grad()
def test_own_error_knows_no_other_category(saved: SavedModel) -> None:
    rows = in_order(saved, raw_rows(60))
    found = DiagnosisPass(saved).update(rows).finalise()
    model, config = saved.model, saved.model.config
    x = torch.from_numpy(saved.preprocessing.transform(rows))
    error = model.own_errors(x, model.get_tokens(x))[:, 0].mean()
    category = next(c for c in found.categories if c.name == config.category_names[0])
    assert category.own_mse == pytest.approx(float(error), rel=1e-4)


DRIFTING = {f"f{i:02}": 1 for i in range(40)}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    return trained(tmp_path_factory.mktemp("many"), DRIFTING)


@torch.no_grad()
@pytest.mark.parametrize("count", [1_500, 6_000])
def test_own_errors_are_of_the_whole_sample(count: int, many: SavedModel) -> None:
    # The first rows lie at the centre, the last ones far out, where errors are largest.
    drift = np.linspace(0.01, 3.0, count)[:, None]
    rows = np.random.default_rng(2).normal(size=(count, len(DRIFTING))).astype("f4") * drift
    found = DiagnosisPass(many).update(rows).finalise()
    assert found.sampled_rows == min(count, 2_048)
    x = torch.from_numpy(many.preprocessing.transform(rows.astype("f4")))
    errors = many.model.own_errors(x, many.model.get_tokens(x)).double()
    # All rows where they are few, a uniform sample of them above.
    near = 1e-5 if count == found.sampled_rows else 0.15
    own = {category.name: category.own_mse for category in found.categories}
    for name, expected in zip(many.model.config.category_names, errors.mean(0), strict=True):
        assert own[name] == pytest.approx(float(expected), rel=near)


def test_a_category_on_its_own_needs_no_other(tmp_path: Path) -> None:
    saved = trained(tmp_path, {"only": 5}, model={"compression_ratios": "1.0"})
    rows = families({"only": 5}, 40, 3)["only"]
    found = DiagnosisPass(saved).update(rows).finalise()
    assert len(found.categories) == len(found.quantizers) == 1
    assert found.categories[0].own_mse == pytest.approx(found.mean_mse, rel=1e-5)
    assert found.ratio_to_best(found.worst) == found.ratio_to_mean(found.worst) == 1.0


def test_figures_are_strict_json(saved: SavedModel) -> None:
    found = DiagnosisPass(saved).update(in_order(saved, raw_rows(1))).finalise()
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["rows"] == 1
    assert plain["features"][0]["r2"] is None  # one row has no variance
    assert plain["categories"][0]["gaussian_mse"] is None  # nor a spectrum
    assert plain["worst_over_best"] >= 1.0


def test_holes_are_filled_as_in_training(saved: SavedModel) -> None:
    rows = in_order(saved, raw_rows(30))
    rows[3, 2] = np.nan
    assert np.isfinite(DiagnosisPass(saved).update(rows).finalise().mean_mse)


def test_the_model_is_left_as_it_was(saved: SavedModel) -> None:
    before = {name: tensor.clone() for name, tensor in saved.model.state_dict().items()}
    DiagnosisPass(saved).update(in_order(saved, raw_rows(30))).finalise()
    for name, tensor in saved.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_no_rows_and_other_columns_are_refused(saved: SavedModel) -> None:
    with pytest.raises(DataError, match="no rows to diagnose"):
        DiagnosisPass(saved).finalise()
    with pytest.raises(DataError, match="no rows to diagnose"):
        DiagnosisPass(saved).update(raw_rows(0)).finalise()
    with pytest.raises(DataError, match=r"must be \[N, 11\]"):
        DiagnosisPass(saved).update(raw_rows()[:, :5])


def test_images_come_from_every_pixel(tmp_path: Path) -> None:
    saved = trained_on(tmp_path, "builtin:digits", training={"num_epochs": 1})
    from spinlock.data import load_table

    table = load_table("builtin:digits")
    found = DiagnosisPass(saved).update(table.features[:40]).finalise()
    (images,) = found.images
    assert images.family == "pixels"
    assert images.originals.shape == images.reconstructions.shape
    assert images.originals.shape[1:] == (8, 8)
    assert any((images.originals[0].ravel() == row[:64]).all() for row in table.features[:40])
    # Blank corners were dropped by cleaning and come back as what they are.
    assert (images.reconstructions[:, 0, 0] == 0.0).all()
