"""Latent dims and codebook sizes: both published rules, monotone and total."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinlock.analysis.dims import (
    align_up,
    codes_for_features,
    codes_for_latent_dim,
    fill_latent_dims,
    fill_num_tokens,
    latent_dims,
    level_positions,
)
from spinlock.errors import ConfigError

COUNT = st.integers(1, 100_000)
RATIO = st.floats(1e-4, 100.0)
ALIGNMENT = st.sampled_from([1, 2, 4, 8, 16, 64])


@pytest.mark.parametrize(
    ("num_features", "ratios", "dims"),
    [
        (24, (0.31, 0.85, 1.91), (8, 24, 48)),
        (5, (0.32, 0.88, 2.0), (4, 8, 12)),
        (1, (0.5, 1.0, 1.5), (4, 4, 4)),
        (10, (1.2, 0.4, 2.0), (12, 4, 20)),
        (100, (0.28,), (28,)),
        (300, (0.07,), (24,)),
        (100, (0.07,), (8,)),
    ],
)
def test_latent_dims(num_features: int, ratios: tuple[float, ...], dims: tuple[int, ...]) -> None:
    assert latent_dims(num_features, ratios) == dims


@given(n=st.integers(1, 5000), hundredths=st.integers(1, 500), alignment=ALIGNMENT)
def test_ratios_of_two_digits_round_up_as_on_paper(n: int, hundredths: int, alignment: int) -> None:
    exact = max(1, -(-n * hundredths // (100 * alignment))) * alignment
    assert latent_dims(n, (hundredths / 100,), alignment) == (exact,)


@given(n=COUNT, ratio=RATIO, alignment=ALIGNMENT)
def test_latent_dims_are_aligned_enough_and_never_far_more(
    n: int, ratio: float, alignment: int
) -> None:
    (dim,) = latent_dims(n, (ratio,), alignment)
    assert dim % alignment == 0
    assert dim >= alignment
    assert dim >= n * ratio - 1e-6 * alignment
    assert dim < max(n * ratio, 0) + alignment + 1e-6
    assert latent_dims(n, (ratio,), alignment, limit=n) == (min(dim, n),)


@given(n=COUNT, more=st.integers(0, 1000), ratio=RATIO, factor=st.floats(1.0, 4.0))
def test_latent_dims_grow_with_features_and_ratio(
    n: int, more: int, ratio: float, factor: float
) -> None:
    (dim,) = latent_dims(n, (ratio,))
    assert latent_dims(n + more, (ratio,))[0] >= dim
    assert latent_dims(n, (ratio * factor,))[0] >= dim


@given(value=st.integers(0, 10**12), alignment=ALIGNMENT)
def test_align_up(value: int, alignment: int) -> None:
    assert align_up(value, alignment) == math.ceil(value / alignment) * alignment


def test_codes_for_latent_dim_follow_the_document() -> None:
    expected = [max(2, int(7 * math.log2(d)) // 4 * 4) for d in range(1, 500)]
    found = [codes_for_latent_dim(d) for d in range(1, 500)]
    assert found == expected
    assert found == sorted(found)
    assert found[0] == 2


@pytest.mark.parametrize(
    ("num_features", "num_samples", "sizes"),
    [
        (24, 10_000, (32, 16, 8)),
        (5, 10_000, (16, 8, 6)),
        (10, 1000, (20, 11, 6)),
        (128, 25_000, (48, 24, 12)),
        (1, 1000, (2, 6, 6)),
        (1, 1001, (5, 6, 6)),
        (3, 4000, (9, 6, 6)),
        (3, 10_000, (15, 6, 6)),
        (3, 10**9, (28, 6, 6)),
    ],
)
def test_codes_for_features(num_features: int, num_samples: int, sizes: tuple[int, ...]) -> None:
    assert codes_for_features(num_features, 3, num_samples) == sizes


@given(n=COUNT, levels=st.integers(1, 10), samples=st.integers(1, 10**8))
def test_codes_for_features_are_total_and_monotone(n: int, levels: int, samples: int) -> None:
    sizes = codes_for_features(n, levels, samples)
    assert len(sizes) == levels
    assert min(sizes) >= 2
    assert list(sizes[1:]) == sorted(sizes[1:], reverse=True)
    for wider, longer in ((n + 1, samples), (n, samples + 1000)):
        larger = codes_for_features(wider, levels, longer)
        assert all(b >= a for a, b in zip(sizes, larger, strict=True))


def test_size_factors_are_geometric_over_level_position() -> None:
    base = int(7 * math.log2(4096))
    assert codes_for_features(4096, 1, 100) == (84,)
    assert codes_for_features(4096, 2, 100) == (84, 21)
    assert codes_for_features(4096, 3, 100) == (84, 42, 21)
    assert codes_for_features(4096, 5, 100) == (84, int(base / 2**0.5), 42, int(base / 2**1.5), 21)
    assert level_positions(4) == (0.0, 2 / 3, 4 / 3, 2.0)


def test_the_row_count_must_be_known() -> None:
    with pytest.raises(ConfigError, match="num_samples"):
        codes_for_features(5, 3, None)


def test_filling_keeps_what_is_given() -> None:
    levels = [{"latent_dim": 7, "num_tokens": None}, {"num_tokens": 3}, {}]
    before = [dict(level) for level in levels]
    filled = fill_latent_dims(levels, 24, (0.31, 0.85, 1.91), limit=24)
    assert [level["latent_dim"] for level in filled] == [7, 24, 24]
    assert [level["num_tokens"] for level in fill_num_tokens(filled)] == [16, 3, 32]
    sized = fill_num_tokens(
        filled, codebook_sizing="feature_count", num_features=24, num_samples=10_000
    )
    assert [level["num_tokens"] for level in sized] == [32, 3, 8]
    assert levels == before


def test_complete_levels_need_no_rule_input() -> None:
    levels = [{"num_tokens": 5}]
    assert fill_num_tokens(levels, codebook_sizing="feature_count") == levels


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ([], "must be a list"),
        ("ab", "must be a list"),
        (None, "must be a list"),
        ([3, 4], r"levels\[0\] must map"),
        ([{"latent_dims": 3}, {}], r"levels\[0\].*did you mean 'latent_dim'"),
        ([{}, {"latent_dim": 0}], r"levels\[1\].latent_dim must be an integer >= 1, got 0"),
        ([{}, {"latent_dim": True}], "got True"),
        ([{}, {"latent_dim": 2.5}], "got 2.5"),
        ([{}, {"num_tokens": 1}], "integer >= 2"),
        ([{}], "1 levels but 2 ratios"),
        ([{}, {"latent_dim": 25}], r"levels\[1\].latent_dim is 25, but.*at most 24"),
    ],
)
def test_bad_levels_raise(levels: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        fill_latent_dims(levels, 24, (0.5, 1.0), limit=24)


def test_rules_say_what_they_miss() -> None:
    with pytest.raises(ConfigError, match="neither num_tokens nor the latent_dim"):
        fill_num_tokens([{}])
    with pytest.raises(ConfigError, match="num_features"):
        fill_num_tokens([{}], codebook_sizing="feature_count")
    with pytest.raises(ConfigError, match="did you mean 'latent_dims'"):
        fill_num_tokens([{}], codebook_sizing="latent_dim")


@pytest.mark.parametrize("alignment", [0, 3, 12, -4, 4.0, True])
def test_an_alignment_is_a_power_of_two(alignment: Any) -> None:
    with pytest.raises(ConfigError, match="alignment"):
        latent_dims(5, (1.0,), alignment)


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_ratio_gives_a_dim_that_can_exist(ratio: float) -> None:
    with pytest.raises(ConfigError, match="compression ratio"):
        latent_dims(5, (ratio,))
