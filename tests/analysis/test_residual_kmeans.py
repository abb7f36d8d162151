"""Residual k-means through the kernels, against plain numpy in float64."""

import numpy as np
import pytest

from spinlock.analysis.curve_measurer import CurveMeasurer
from spinlock.analysis.operational_curve import candidate_sizes
from spinlock.analysis.residual_kmeans import CodebookStack, columns_of, spread_rows


def nearest(rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Numbers of the nearest codes, by the definition."""
    return ((rows[:, None].astype(np.float64) - codes[None]) ** 2).sum(2).argmin(1)


def stack_of(
    rng: np.random.Generator, sizes: tuple[int, ...], dim: int
) -> tuple[CodebookStack, list[np.ndarray]]:
    stack = CodebookStack(sizes, dim)
    codes = [rng.normal(size=(size, dim)).astype(np.float32) for size in sizes]
    for index, chosen in enumerate(codes):
        stack.set_codes(index, chosen)
    return stack, codes


@pytest.mark.parametrize("sizes", [(1,), (3, 1, 17), (40, 2, 5, 5)])
def test_lookup_and_errors(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(sizes))
    stack, codes = stack_of(rng, sizes, dim=8)
    rows = rng.normal(size=(70, 8 * len(sizes))).astype(np.float32)
    expected = np.concatenate(
        [chosen[nearest(rows[:, 8 * q : 8 * q + 8], chosen)] for q, chosen in enumerate(codes)],
        axis=1,
    )
    np.testing.assert_array_equal(stack.quantized(rows), expected)
    missed = ((rows - expected).astype(np.float64) ** 2).reshape(70, len(sizes), 8).sum((0, 2))
    np.testing.assert_allclose(stack.squared_errors(rows), missed, rtol=1e-5)


def test_refining_is_lloyds_algorithm() -> None:
    rng = np.random.default_rng(3)
    sizes = (7, 30, 2)
    stack, codes = stack_of(rng, sizes, dim=4)
    # Codes far away that no row ever chooses stay where they are.
    codes[1][5] = 1e3
    stack.set_codes(1, codes[1])
    rows = rng.normal(size=(200, 12)).astype(np.float32)
    stack.refine(rows, steps=3)
    for q, start in enumerate(codes):
        own, moved = rows[:, 4 * q : 4 * q + 4], start.astype(np.float64)
        for _ in range(3):
            chosen = nearest(own, moved)
            for code in np.unique(chosen):
                moved[code] = own[chosen == code].mean(0, dtype=np.float64)
        found = stack.quantized(np.tile(own, 3))[:, 4 * q : 4 * q + 4]
        np.testing.assert_allclose(found, moved[nearest(own, moved)], atol=1e-5)
    assert 1e3 in stack.quantized(np.full((1, 12), 1e3, np.float32))


def spread(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    (found,) = spread_rows(rows, rows.shape[1], [count], [np.random.default_rng(seed)])
    return found


def test_spread_rows_are_different_rows_while_there_are_any() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    chosen = spread(rows, 50, seed=1)
    assert sorted(chosen) == list(range(50))
    assert len(spread(rows, 70, seed=1)) == 70
    # The first of many are the few, so that one drawing starts codebooks of every size.
    for few in (1, 3, 16, 21):
        assert set(spread(rows, few, seed=1)) == set(chosen[:few])


def test_spread_rows_find_a_far_cluster() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 4)).astype(np.float32)
    rows[:3] += 1000.0
    assert all(set(spread(rows, 2, seed)) & {0, 1, 2} for seed in range(20))


def test_spreading_several_problems_at_once_changes_none_of_them() -> None:
    rows = np.random.default_rng(0).normal(size=(90, 12)).astype(np.float32)
    counts = [7, 90, 1]
    together = spread_rows(rows, 4, counts, [np.random.default_rng(s) for s in range(3)])
    for index, found in enumerate(together):
        own = np.ascontiguousarray(rows[:, 4 * index : 4 * index + 4])
        np.testing.assert_array_equal(found, spread(own, counts[index], seed=index))


def test_equal_rows_are_no_problem() -> None:
    rows = np.ones((20, 4), np.float32)
    assert len(set(spread(rows, 8, seed=0))) == 8
    point = CurveMeasurer(np.ones((30, 3)), most_bits=6.0).measure([(4, 4)])[0]
    assert point.distortion == 0.0


def test_columns_are_repeated_in_order() -> None:
    rows = np.arange(16, dtype=np.float32).reshape(2, 8)
    found = columns_of(rows, 4, [1, 1, 0])
    np.testing.assert_array_equal(found[0], [4, 5, 6, 7, 4, 5, 6, 7, 0, 1, 2, 3])
    assert found.flags.c_contiguous


def test_a_curve_point_is_the_error_of_residual_codebooks_on_held_out_rows() -> None:
    """One level of two codes on one feature: everything can be done by hand."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random(400) < 0.5, -1.0, 1.0) + 0.05 * rng.normal(size=400)
    point = CurveMeasurer(values[:, None], most_bits=3.0, seed=5).measure([(2,)])[0]
    order = np.random.default_rng(5).permutation(400)
    lost = 0.0
    for part in range(4):
        out = order[100 * part : 100 * part + 100]
        fit, held = np.delete(values, out), values[out]
        low, high = fit[fit < 0].mean(), fit[fit > 0].mean()
        lost += (np.where(held < 0, held - low, held - high) ** 2).sum()
    assert point.distortion == pytest.approx(lost / 400, rel=1e-4)


def test_every_row_is_held_out_once_and_never_fitted_to_then() -> None:
    """Rows that are all different and infinitely many codes: only held rows have an error."""
    rows = np.random.default_rng(0).normal(size=(40, 2))
    measurer = CurveMeasurer(rows, most_bits=16.0)
    seen = []
    for fold in measurer.decoded((30,)):
        np.testing.assert_allclose(fold.fit, fold.fit_decoded, atol=1e-5)
        assert np.abs(fold.held - fold.held_decoded).max() > 0.05
        seen.append(len(fold.held))
        assert len(fold.fit) + len(fold.held) == 40
    assert seen == [10, 10, 10, 10]


def test_decoded_rows_have_the_error_of_their_point() -> None:
    rows = np.random.default_rng(4).normal(size=(300, 7)) * np.arange(1, 8)
    measurer = CurveMeasurer(rows, most_bits=12.0)
    lost = sum(
        ((fold.held - fold.held_decoded).astype(np.float64) ** 2).sum()
        for fold in measurer.decoded((16, 8, 4))
    )
    (point,) = measurer.measure([(16, 8, 4)])
    assert point.distortion == pytest.approx(lost / rows.size, rel=1e-4)


def test_sizes_far_from_the_curve_are_left_out_and_the_others_measured_alike() -> None:
    rows = np.random.default_rng(2).normal(size=(600, 5))
    measurer = CurveMeasurer(rows, most_bits=9.0)
    sizes = candidate_sizes(3, 32)
    kept = measurer.measure_promising(sizes)
    everything = {point.codebook_sizes: point for point in measurer.measure(sizes)}
    assert 4 < len(kept) < len(sizes)
    for point in kept:
        other = everything[point.codebook_sizes]
        assert point.distortion == pytest.approx(other.distortion, rel=1e-12)


def test_what_lies_outside_the_leading_components_is_lost() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(800, 30)) * np.r_[np.full(2, 10.0), np.full(28, 0.5)]
    measurer = CurveMeasurer(rows, most_bits=4.0)
    (point,) = measurer.measure([(2, 2)])
    # Two components are worth bits at 4 bits, four are kept; 26 of variance 1/4 are always lost.
    assert point.distortion > 26 * 0.25 / 30 * 0.9
    finest = CurveMeasurer(rows, most_bits=4.0).measure([(256, 256)])[0]
    assert finest.distortion > 26 * 0.25 / 30 * 0.9


def test_a_point_does_not_depend_on_what_else_is_measured() -> None:
    rows = np.random.default_rng(2).normal(size=(600, 5))
    measurer = CurveMeasurer(rows, most_bits=9.0)
    alone = [measurer.measure([sizes])[0] for sizes in ((8, 4, 2), (8, 8, 8), (2, 2, 2))]
    together = measurer.measure([(8, 4, 2), (8, 8, 8), (2, 2, 2)])
    assert alone == together
    assert measurer.measure([(8, 4, 2)])[0] == alone[0]
