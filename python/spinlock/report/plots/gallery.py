"""Every figure of a report, with its title and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from spinlock.report.diagnosis_facts import DiagnosisReport
from spinlock.report.plots.errors import category_error_figure, feature_error_figure
from spinlock.report.plots.images import image_figure
from spinlock.report.plots.losses import loss_figure
from spinlock.report.plots.plan import plan_figure
from spinlock.report.plots.spectra import spectrum_figure
from spinlock.report.plots.usage import usage_figure


@dataclass(frozen=True)
class Section:
    """One figure in its place.

    Attributes:
        key: letters and ``-``: file name and anchor.
        title: its heading.
        reading: one sentence or two on how to read it.
        draw: makes the figure; None where there is nothing to draw.
    """

    key: str
    title: str
    reading: str
    draw: Callable[[], Figure | None]


def sections(report: DiagnosisReport) -> Iterator[Section]:
    """The figures in the order of the page; draw each under ``figure_style``."""
    found = report.diagnosis
    yield Section(
        "errors",
        "Error per category",
        "Bars are the mean squared error per feature in z-units (1 is what predicting the training "
        "mean would cost). The diamond is the error when only the category's own tokens are known: "
        "far to the right of the bar, the category leans on the others. The tick is what a "
        "Gaussian of the same spectrum loses at the same bits: a bar far beyond it has room to "
        "improve without more codes, a bar short of it needs more codes to get better.",
        lambda: category_error_figure(found),
    )
    for number, images in enumerate(found.images):
        yield Section(
            "images" if number == 0 else f"images-{number + 1}",
            f"Reconstructions: {images.family}",
            "Above the original, below what its tokens decode to, in the same scale of grey.",
            lambda images=images: image_figure(images),  # type: ignore[misc]
        )
    yield Section(
        "usage",
        "Codebook usage",
        "One row per quantizer, codes sorted by use; 1 is an equal share. An even colour means "
        "that the codes are well spread, a long orange tail that the codebook is larger than its "
        "rows need.",
        lambda: usage_figure(found),
    )
    yield Section(
        "spectra",
        "Principal components against bits",
        "Variance of each principal component of a category. The dashed line is the error that "
        "the bits of the category leave in every component above it, if they are spent as well as "
        "a Gaussian allows; components below it get no bits. The red line is the measured error "
        "per feature, and the dB figure its distance from the Gaussian reference (below 0: "
        "better).",
        lambda: spectrum_figure(found),
    )
    yield Section(
        "features",
        "Error per feature",
        "A steep start on the left means that few features carry the error: they are named on the "
        "right.",
        lambda: feature_error_figure(found),
    )
    yield Section(
        "plan",
        "Scores and compression ratios",
        "What was measured of each category before training, and the latent dims per feature that "
        "the strategy made of it, level by level; where bits were allocated, the bits.",
        lambda: plan_figure(report.plan),
    )
    yield Section(
        "losses",
        "Training",
        "Held-out error that rises while the training loss falls is overfitting; a worst category "
        "far above the mean wants more codes; utilization (share of codes used in an epoch) that "
        "falls is a collapsing codebook.",
        lambda: loss_figure(report.history),
    )
