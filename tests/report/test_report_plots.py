"""Figures of any number of categories, levels, codes and epochs can be drawn."""

import matplotlib
import numpy as np
import pytest

from spinlock.analysis.bit_allocation import allocate_bits
from spinlock.analysis.plan import CompressionPlan, build_plan
from spinlock.analysis.profile import profile_category
from spinlock.analysis.ratios import AutoRatios, UniformRatios
from spinlock.report.plots import render, style
from spinlock.report.plots.errors import category_error_figure, feature_error_figure
from spinlock.report.plots.images import image_figure
from spinlock.report.plots.losses import loss_figure
from spinlock.report.plots.plan import plan_figure
from spinlock.report.plots.spectra import spectrum_figure
from spinlock.report.plots.usage import usage_figure
from spinlock.tokens.diagnosis import (
    CategoryFigures,
    Diagnosis,
    FeatureFigures,
    ImageRows,
    QuantizerFigures,
)
from spinlock.tokens.diagnosis_collisions import Collisions
from spinlock.training.callbacks import EpochRecord
from spinlock.training.metrics import EvaluationMetrics


def made_up(
    categories: int, levels: int = 3, features: int = 4, codes: int = 12, zero: bool = False
) -> Diagnosis:
    rng = np.random.default_rng(0)
    none = Collisions(0.0, 10, exact=True, standard_error=0.0)
    names = [f"category {number}" for number in range(categories)]
    errors = np.sort(rng.random(categories))[::-1] * (0.0 if zero else 1.0)
    return Diagnosis(
        rows=10,
        sampled_rows=10,
        categories=tuple(
            CategoryFigures(
                name=name,
                num_features=features,
                mse=float(error),
                r2=None if zero else 0.5,
                own_mse=float(error) * 1.2,
                bits=4.0,
                entropy_bits=3.0,
                collisions=none,
                spectrum=(0.0,) * features if zero else tuple(np.linspace(2, 0, features)),
                gaussian_mse=None if zero else float(error) * 0.7,
            )
            for name, error in zip(names, errors, strict=True)
        ),
        quantizers=tuple(
            QuantizerFigures(name, level, 4, (*rng.poisson(2, codes - 1).tolist(), 1))
            for name in names
            for level in range(levels)
        ),
        features=tuple(
            FeatureFigures(f"{name}::{i}", name, float(rng.random()), 0.5, 1.0)
            for name in names
            for i in range(features)
        ),
        collisions=none,
    )


def plan_of(categories: int, levels: int) -> CompressionPlan:
    counts = {f"category {number}": 4 for number in range(categories)}
    return build_plan(feature_counts=counts, ratios=UniformRatios((0.5,) * levels))


def records(epochs: int, *, measured: bool = True, loss: float = 1.0) -> list[EpochRecord]:
    metrics = EvaluationMetrics(
        category_mse={"a": 0.2, "b": 0.1},
        feature_mse=0.1,
        utilization_per_quantizer=(1.0,),
        perplexity=(2.0,),
        bits=1.0,
        rows=5,
    )
    return [
        EpochRecord(
            epoch=epoch,
            step=epoch,
            learning_rate=0.1,
            losses={"reconstruction": loss / epoch, "commitment": 0.0, "total": loss / epoch},
            utilization=0.5,
            perplexity=2.0,
            dead_codes=0,
            revived=0,
            validation=metrics if measured else None,
            split="validation",
            seconds=1.0,
        )
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(
    ("categories", "levels", "features", "codes"),
    [(1, 1, 1, 1), (2, 1, 3, 4), (7, 3, 20, 40), (60, 3, 5, 12), (100, 2, 50, 6), (3, 2, 4, 3000)],
)
def test_every_size_can_be_drawn(categories: int, levels: int, features: int, codes: int) -> None:
    found = made_up(categories, levels, features, codes)
    with style.figure_style():
        for draw in (category_error_figure, feature_error_figure, spectrum_figure, usage_figure):
            figure = draw(found)
            width, height = figure.get_size_inches()
            assert width == style.WIDTH
            assert 1.0 < height < 16.0
            assert render.png(figure).startswith(b"\x89PNG")
        assert render.png(plan_figure(plan_of(categories, levels))).startswith(b"\x89PNG")


def test_a_model_without_error_can_be_drawn() -> None:
    found = made_up(2, zero=True)
    with style.figure_style():
        for draw in (category_error_figure, feature_error_figure, spectrum_figure, usage_figure):
            assert render.png(draw(found))


@pytest.mark.parametrize("epochs", [1, 2, 500])
@pytest.mark.parametrize("measured", [True, False])
def test_any_history_can_be_drawn(epochs: int, measured: bool) -> None:
    with style.figure_style():
        figure = loss_figure(records(epochs, measured=measured))
        assert figure is not None
        assert render.png(figure)
    assert loss_figure([]) is None


def test_images_of_any_shape_can_be_drawn() -> None:
    rng = np.random.default_rng(0)
    for count, height, width in ((1, 2, 2), (3, 28, 28), (30, 4, 16), (2, 64, 2)):
        picture = rng.random((count, height, width)).astype(np.float32)
        picture[0, 0, 0] = np.nan
        with style.figure_style():
            assert render.png(image_figure(ImageRows("x", picture, picture)))


@pytest.mark.parametrize("name", ["", "a\nb\tc", "$\\frac{", "猫🙂", "\u202ex", "e" * 500, "\x00"])
def test_any_name_becomes_a_drawable_label(name: str) -> None:
    text = style.label(name)
    assert 1 <= len(text) <= 26
    assert text.isprintable()
    with style.figure_style():
        figure = style.new_figure(2.0)
        figure.subplots().set_title(text)
        assert render.png(figure)  # a missing glyph would warn, and warnings are errors here


def test_page_svg_takes_its_colours_from_the_page() -> None:
    with style.figure_style():
        svg = render.page_svg(category_error_figure(made_up(3)), "errors", 'a "title" & <more>')
    assert not [colour for colour in render.VARIABLES if colour in svg]
    assert "var(--ink)" in svg
    assert "var(--blue)" in svg
    assert 'aria-label="a &quot;title&quot; &amp; &lt;more&gt;"' in svg


def test_the_style_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    with style.figure_style():
        assert matplotlib.rcParams["text.parse_math"] is False
    assert dict(matplotlib.rcParams) == before


def test_a_plan_of_allocated_bits_shows_the_bits() -> None:
    rng = np.random.default_rng(0)
    rows = {"shape": rng.normal(size=(300, 6)), "form": rng.normal(size=(300, 2))}
    plan = build_plan(
        feature_counts={"shape": 6, "form": 2},
        profiles={name: profile_category(name, values) for name, values in rows.items()},
        ratios=AutoRatios("rate_distortion"),
        allocation=allocate_bits(rows, default_bits=16.0),
    )
    with style.figure_style():
        figure = plan_figure(plan)
        figure.draw_without_rendering()
    bars = figure.axes[1].patches
    assert len(bars) == 6
    widths = sum(bar.get_width() for bar in bars)  # type: ignore[attr-defined]
    assert widths == pytest.approx(plan.bits)
    assert "rate_distortion" in figure.axes[1].get_title(loc="left")
