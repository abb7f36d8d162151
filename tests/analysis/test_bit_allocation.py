"""The strategy rate_distortion: budgets, limits, what it says of its sample, determinism."""

import json
import math
from typing import Any

import numpy as np
import pytest

from spinlock.analysis.allocation_record import BitAllocation, RateDistortionOptions
from spinlock.analysis.bit_allocation import allocate_bits, described_dims
from spinlock.analysis.bit_spending import greedy_path, mean_error, reach_error
from spinlock.analysis.category_curves import default_max_codes, measure_curves
from spinlock.analysis.rate_distortion import gaussian_distortion, water_level
from spinlock.errors import ConfigError, DataError

Rows = dict[str, np.ndarray]


def made_up(count: int = 900, seed: int = 0) -> Rows:
    """Independent features, redundant ones, and a single one; all z-scored."""
    rng = np.random.default_rng(seed)
    redundant = rng.normal(size=(count, 2)) @ rng.normal(size=(2, 12))
    redundant += 0.1 * rng.normal(size=redundant.shape)
    rows = {
        "independent": rng.normal(size=(count, 10)),
        "redundant": redundant,
        "single": rng.standard_t(4, size=(count, 1)),
    }
    return {name: (x - x.mean(0)) / x.std(0) for name, x in rows.items()}


ROWS = made_up()


def allocated(rows: Rows = ROWS, **options: Any) -> BitAllocation:
    keywords = {"default_bits": 30.0}
    for key in ("default_bits", "num_levels", "given", "training_rows", "seed"):
        if key in options:
            keywords[key] = options.pop(key)
    return allocate_bits(rows, options=RateDistortionOptions(**options), **keywords)


def test_bits_go_where_they_are_needed() -> None:
    found = allocated()
    independent, redundant, single = found.categories
    assert (found.method, found.rule, found.budget) == ("measured", "uniform_default", 30.0)
    assert 29.5 < found.bits <= 30.0
    assert independent.bits > redundant.bits > single.bits
    assert (found.rows, found.training_rows, found.max_codes) == (900, 900, 90)
    for category in found.categories:
        width = ROWS[category.name].shape[1]
        assert category.latent_dim <= width
        assert category.ratio == pytest.approx(category.latent_dim / width, rel=1e-2)
        spectrum = np.linalg.eigvalsh(np.atleast_2d(np.cov(ROWS[category.name].T, bias=True)))
        expected = gaussian_distortion(spectrum, category.bits)
        assert category.gaussian_mse == pytest.approx(expected, rel=1e-6)


def test_the_same_seed_gives_the_same_plan() -> None:
    assert allocated() == allocated()
    assert allocated(seed=1) != allocated()
    single_precision = {name: rows.astype(np.float32) for name, rows in ROWS.items()}
    assert allocated(single_precision).bits == pytest.approx(allocated().bits, abs=0.5)


def test_predicted_errors_are_those_of_the_sizes_chosen() -> None:
    """With nothing in common, a shared decoder changes next to nothing."""
    found = allocated()
    curves = measure_curves(ROWS)
    for category in found.categories:
        point = curves.at(category.name, category.codebook_sizes)
        assert category.predicted_mse == pytest.approx(point.distortion, rel=0.15)


def test_what_categories_say_of_each_other_moves_bits() -> None:
    """Two views of the same plane need fewer bits than a category that nothing tells of."""
    rng = np.random.default_rng(0)
    plane, other = rng.normal(size=(2, 900, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    exact = {"view": plane, "same": plane @ turn, "alone": other}
    rows = {name: x + 0.02 * rng.normal(size=x.shape) for name, x in exact.items()}
    plans = [allocated(rows, bits=float(b), alpha=4.0).categories for b in range(14, 30, 3)]
    bits = np.mean([[c.bits for c in plan] for plan in plans], axis=0)
    assert bits[2] > max(bits[:2]) + 0.4
    apart = measure_curves(rows)
    sizes = dict.fromkeys(rows, (4, 4, 2))
    together = apart.with_shared_decoder(sizes)
    assert 0.9 < together.shares["alone"] < 1.1
    assert max(together.shares["view"], together.shares["same"]) < 0.8
    for name in rows:
        ratio = together.at(name, (4, 4, 2)).distortion / apart.at(name, (4, 4, 2)).distortion
        assert ratio == pytest.approx(together.shares[name])
    again = together.with_shared_decoder(sizes)
    assert again.points["view"][0].distortion == pytest.approx(
        together.points["view"][0].distortion
    )


def test_a_large_exponent_favours_the_worst_category() -> None:
    plans = {alpha: allocated(alpha=alpha, default_bits=22.0) for alpha in (1.0, 4.0, 16.0)}
    worst = {a: max(c.predicted_mse for c in plan.categories) for a, plan in plans.items()}
    assert worst[1.0] > worst[4.0] >= worst[16.0] * 0.95
    assert plans[1.0].mean_mse < plans[16.0].mean_mse


@pytest.mark.parametrize("num_levels", [1, 2, 4, 5])
def test_other_numbers_of_levels(num_levels: int) -> None:
    found = allocated(num_levels=num_levels, default_bits=18.0)
    assert {len(c.codebook_sizes) for c in found.categories} == {num_levels}
    assert 16.5 < found.bits <= 18.0


def test_a_budget_of_ones_own() -> None:
    few, many = allocated(bits=12.0), allocated(bits=36.0)
    assert few.bits <= 12.0 < 35.0 < many.bits <= 36.0
    assert (few.rule, few.budget) == ("bits", 12.0)
    assert few.mean_mse > many.mean_mse
    with pytest.raises(ConfigError, match=r"budget of 8\.00 bits .* take 9\.00 bits"):
        allocated(bits=8.0)
    with pytest.raises(ConfigError, match=r"bits is 200, but beyond .* at most 90 codes"):
        allocated(bits=200.0)


def test_an_error_to_reach() -> None:
    found = allocated(target_mse=0.3)
    assert (found.rule, found.budget) == ("target_mse", found.bits)
    assert 0.2 < found.mean_mse <= 0.3
    assert allocated(target_mse=0.2).bits > found.bits
    said = r"rate_distortion\.target_mse 1e-06 is out of reach.* 90 codes .* one decoder for all"
    with pytest.raises(ConfigError, match=said):
        allocated(target_mse=1e-6)
    few = made_up(150)
    with pytest.raises(ConfigError, match="predicted, for Gaussians, to be"):
        allocated(few, target_mse=1e-6)


def related(noise: float, count: int = 900) -> Rows:
    """Five categories of eight features, all of the same four factors and noise of their own."""
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(count, 4))
    rows = {}
    for name in "abcde":
        rows[name] = factors @ rng.normal(size=(4, 8)) + noise * rng.normal(size=(count, 8))
    return {name: (x - x.mean(0)) / x.std(0) for name, x in rows.items()}


def test_an_error_that_only_a_shared_decoder_reaches() -> None:
    rows = related(0.1)
    path = list(greedy_path(measure_curves(rows, max_codes=4).points, 4.0))
    alone = mean_error(path[-1])
    found = allocated(rows, target_mse=0.6 * alone, max_codes=4)
    assert found.mean_mse <= 0.6 * alone
    assert found.bits < sum(point.bits for point in path[-1].values())


def test_an_error_to_reach_takes_no_more_bits_than_it_needs() -> None:
    """What categories say of each other is measured where they end, not where they start."""
    rows = related(1.0)
    found = allocated(rows, target_mse=0.3)
    sizes = {category.name: category.codebook_sizes for category in found.categories}
    again = measure_curves(rows).with_shared_decoder(sizes)
    needed = reach_error(again.points, 0.3, 4.0)
    assert found.mean_mse <= 0.3
    assert mean_error({name: again.at(name, sizes[name]) for name in sizes}) <= 0.3
    assert found.bits <= 1.05 * sum(point.bits for point in needed.values())


def test_sizes_given_by_hand_are_kept_and_count() -> None:
    found = allocated(given={"single": (16, 4, 4)})
    sizes = {c.name: c.codebook_sizes for c in found.categories}
    assert sizes["single"] == (16, 4, 4)
    assert 29.0 < found.bits <= 30.0
    with pytest.raises(ConfigError, match="given for unknown other"):
        allocated(given={"other": (2, 2, 2)})


def test_limits_of_codebook_sizes() -> None:
    capped = allocated(max_codes=8, default_bits=20.0)
    assert max(size for c in capped.categories for size in c.codebook_sizes) <= 8
    nearly_all = allocated(default_bits=45.3)
    assert max(size for c in nearly_all.categories for size in c.codebook_sizes) <= 90
    published = allocated(level_split="published")
    for category in published.categories:
        coarse, middle, fine = map(math.log2, category.codebook_sizes)
        assert coarse - middle < 1.6
        assert middle - fine < 1.6
    assert [default_max_codes(n) for n in (2, 199, 1280, 2999, 3000)] == [2, 19, 128, 128, 256]


def test_few_rows_fall_back_on_the_gaussian_and_say_so() -> None:
    rows = made_up(count=150)
    found = allocated(rows, default_bits=20.0)
    assert found.method == "gaussian"
    for category in found.categories:
        assert category.predicted_mse == pytest.approx(category.gaussian_mse)
    # Alone, each category gets bits so that the last one wins as much in each: water-filling.
    level = {}
    wide = allocated(rows, bits=24.0, alpha=1.0, max_codes=64)
    for category in wide.categories[:2]:
        spectrum = np.linalg.eigvalsh(np.cov(rows[category.name].T, bias=True))
        level[category.name] = water_level(spectrum, category.bits) / len(spectrum)
    assert 0.4 < level["independent"] / level["redundant"] < 2.5


def test_many_rows_are_sampled_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinlock.analysis.category_curves.SAMPLE_ROWS", 500)
    found = allocated(training_rows=5000)
    assert (found.rows, found.training_rows, found.max_codes) == (500, 5000, 256)
    assert found == allocated(training_rows=5000)


def test_unequal_or_missing_rows_are_refused() -> None:
    with pytest.raises(DataError, match="the same rows"):
        allocated({"a": np.zeros((5, 1)), "b": np.zeros((6, 1))})
    with pytest.raises(DataError, match="no category"):
        allocated({})


def test_dims_follow_the_water_level() -> None:
    spectrum = [8.0, 4.0, 1.0, 0.1, 0.1, 0.1, 0.1]
    assert described_dims(spectrum, 0.1) == 2
    assert described_dims(spectrum, 4.0) == 6
    assert described_dims(spectrum, 40.0) == 7
    assert described_dims([1.0], 5.0) == 1


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"bits": 0.0}, "bits must be a number > 0, got 0.0"),
    ({"bits": math.inf}, "bits must be a number > 0"),
    ({"target_mse": -1.0}, "target_mse must be a number > 0"),
    ({"bits": 5.0, "target_mse": 0.1}, "give one of them"),
    ({"alpha": 0.5}, "alpha must be a number >= 1 and <= 32, got 0.5"),
    ({"alpha": True}, "alpha must be a number"),
    ({"level_split": "equal"}, "unknown rate_distortion.level_split 'equal'"),
    ({"max_codes": 1}, "max_codes must be an integer >= 2"),
    ({"max_codes": 10**6}, "at most 65536"),
]


@pytest.mark.parametrize(("options", "reason"), BAD_OPTIONS)
def test_bad_options(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        RateDistortionOptions(**options)


def test_the_record_survives_json() -> None:
    found = allocated()
    assert BitAllocation.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert hash(found) == hash(allocated())


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("method", "guessed", "allocation.method"),
        ("rule", None, "allocation.rule"),
        ("budget", "7", "allocation.budget must be a number"),
        ("alpha", 0, "allocation.alpha"),
        ("rows", 1, "allocation.rows"),
        ("extra", 1, "must have the keys"),
        ("categories", {}, "must map every category"),
        ("categories.single", [], "must map"),
        ("categories.single.codebook_sizes", [], "must be a list of sizes"),
        ("categories.single.codebook_sizes", [1], r"codebook_sizes\[0\] must be an integer >= 2"),
        ("categories.single.ratio", 0.0, "ratio must be a number > 0"),
        ("categories.single.predicted_mse", math.nan, "predicted_mse must be a number"),
    ],
)
def test_damaged_records_are_refused(path: str, value: Any, reason: str) -> None:
    data = allocated().to_dict()
    *parents, last = path.split(".")
    node = data
    for key in parents:
        node = node[key]
    node[last] = value
    with pytest.raises(ConfigError, match=reason):
        BitAllocation.from_dict(data)
