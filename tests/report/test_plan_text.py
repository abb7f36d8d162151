"""The published text byte for byte, and the table that follows it."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from spinlock.analysis import (
    AutoRatios,
    CategoryProfile,
    CompressionPlan,
    RateDistortionOptions,
    allocate_bits,
    build_plan,
    profile_category,
)
from spinlock.analysis.ratios import PerCategoryRatios, UniformRatios
from spinlock.errors import ConfigError
from spinlock.report.plan_text import adaptive_compression_text, allocation_text, plan_table

SEED_SHAPE = {f"cluster_{i + 1}": n for i, n in enumerate((24, 5, 11, 10, 17, 20, 31))}
PUBLISHED_HEAD = """\
======================================================================
ADAPTIVE COMPRESSION RATIO COMPUTATION
======================================================================
Analyzing 7 categories to compute optimal ratios...

  cluster_1:
    Features: 24
    Variance:      1.000
    Dimensionality: 0.697
    Information:   0.983
    Correlation:   0.793
    → Ratios: [0.31, 0.85, 1.91] (L0=0.31, L1=0.85, L2=1.91)

  cluster_2:
"""
PUBLISHED_TAIL = """\

  cluster_7:
    Features: 31
    Variance:      1.000
    Dimensionality: 0.751
    Information:   0.954
    Correlation:   0.663
    → Ratios: [0.31, 0.85, 1.9] (L0=0.31, L1=0.85, L2=1.9)
======================================================================
"""


def published_plan() -> CompressionPlan:
    scores = {
        "cluster_1": (1.000, 0.697, 0.983, 0.793),
        "cluster_2": (1.0, 0.388, 1.0, 0.577),
        "cluster_7": (1.000, 0.751, 0.954, 0.663),
    }
    between = (0.9, 0.5, 0.95, 0.6)
    profiles = {
        name: CategoryProfile(name, count, *scores.get(name, between))
        for name, count in SEED_SHAPE.items()
    }
    return build_plan(feature_counts=SEED_SHAPE, profiles=profiles, ratios=AutoRatios())


def rendered(plan: CompressionPlan, width: int = 100) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(plan_table(plan))
    return stream.getvalue()


def test_the_published_text() -> None:
    text = adaptive_compression_text(published_plan()) + "\n"
    assert text.startswith(PUBLISHED_HEAD)
    assert text.endswith(PUBLISHED_TAIL)
    assert "    → Ratios: [0.32, 0.88, 2.0] (L0=0.32, L1=0.88, L2=2.0)\n" in text
    lines = text.splitlines()
    assert len(lines) == 4 + 7 * 8 + 1
    assert [lines[4 + 8 * index] for index in range(7)] == [""] * 7
    assert [lines[5 + 8 * index] for index in range(7)] == [f"  {name}:" for name in SEED_SHAPE]
    assert not any(line != line.rstrip() for line in lines)


def test_other_numbers_of_levels_are_written_alike() -> None:
    profile = CategoryProfile("a", 24, 1.0, 0.697, 0.983, 0.793)
    plan = build_plan(
        feature_counts={"a": 24}, profiles={"a": profile}, ratios=AutoRatios(), num_levels=2
    )
    assert "    → Ratios: [0.31, 1.91] (L0=0.31, L1=1.91)\n" in adaptive_compression_text(plan)


def test_the_text_needs_scores() -> None:
    plan = build_plan(feature_counts=SEED_SHAPE, ratios=UniformRatios((1.0,)))
    with pytest.raises(ConfigError, match="'cluster_1' has no scores"):
        adaptive_compression_text(plan)


def test_the_table_fits_and_has_no_colour_when_piped() -> None:
    plan = published_plan()
    text = rendered(plan)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert "auto (balanced)" in text
    assert "latent_dims" in text
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    rows = {row[0]: row[1:] for row in cells if row}
    assert list(rows) == [*SEED_SHAPE, "total"]
    assert rows["cluster_2"] == ["5", "0.32  0.88  2.0", "4  5(8)  5(8)", "12  16  16", "11.58"]
    totals = rows["total"]
    padded = sum(level.padded_dim for c in plan.categories for level in c.levels)
    logical = sum(map(sum, plan.latent_dims))
    assert totals == ["118", "", f"{logical}({padded})", str(plan.total_codes), f"{plan.bits:.2f}"]


def test_names_are_text_not_markup() -> None:
    ratios = PerCategoryRatios({"[bold]x[/]": (1.0,)})
    assert "[bold]x[/]" in rendered(build_plan(feature_counts={"[bold]x[/]": 4}, ratios=ratios))


def test_long_names_and_many_levels_fold_instead_of_vanishing() -> None:
    name = "a_family::with_a_rather_long_name_of_its_own_that_goes_on"
    ratios = UniformRatios(tuple(level / 10 for level in range(1, 11)))
    text = rendered(build_plan(feature_counts={name: 650}, ratios=ratios))
    assert max(map(len, text.splitlines())) <= 100
    assert "0.1  0.2  0.3" in text
    first_column = [line.split("│")[1].strip() for line in text.splitlines() if "│" in line]
    assert name in "".join(first_column)


def allocated_plan(**options: Any) -> CompressionPlan:
    rng = np.random.default_rng(0)
    rows = {"shape": rng.normal(size=(400, 6)), "[b]form": rng.normal(size=(400, 3))}
    found = allocate_bits(
        rows,
        default_bits=18.0,
        options=RateDistortionOptions(**options),
        training_rows=1000,
    )
    return build_plan(
        feature_counts={"shape": 6, "[b]form": 3},
        profiles={name: profile_category(name, values) for name, values in rows.items()},
        ratios=AutoRatios("rate_distortion"),
        allocation=found,
    )


def test_a_plan_of_allocated_bits_says_what_it_expects() -> None:
    plan = allocated_plan()
    text = rendered(plan)
    assert "auto (rate_distortion), codebook sizes by allocation" in " ".join(text.split())
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    rows = {row[0]: row[1:] for row in cells if row}
    assert plan.allocation is not None
    for category in plan.allocation.categories:
        assert rows[category.name][-2] == f"{category.predicted_mse:.4f}"
        assert rows[category.name][-1] == f"{category.gaussian_mse:.4f}"
    assert rows["total"][-2] == f"{plan.allocation.mean_mse:.4f}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "of a budget of 18.00 (as uniform ratios would take), spent to lower the sum of er"),
        ({"bits": 12, "alpha": 1.0}, "of a budget of 12.00 (as asked for), spent to lower the me"),
        ({"target_mse": 0.4}, "for the mean error asked for"),
        ({}, "curves measured on 400 of 1,000 training rows, codebooks of at most 100 codes"),
        ({"level_split": "published"}, "levels 4 : 2 : 1"),
    ],
)
def test_how_bits_were_allocated(options: dict[str, Any], says: str) -> None:
    allocation = allocated_plan(**options).allocation
    assert allocation is not None
    assert says in allocation_text(allocation)
    few = replace(allocation, method="gaussian", rows=80)
    assert "80 of 1,000 training rows are too few to measure" in allocation_text(few)
