"""Loss curves of a run."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spinlock.report.plots import style
from spinlock.training.callbacks import EpochRecord


def loss_figure(history: Sequence[EpochRecord]) -> Figure | None:
    """Training losses, held-out errors and utilization per epoch; None without an epoch."""
    if not history:
        return None
    figure = style.new_figure(4.6)
    losses, usage = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1), "hspace": 0.04}
    )
    epochs = [record.epoch for record in history]
    terms = [name for name in history[-1].losses if name != "total"]
    few = len(history) < 3
    marker = "o" if few else None
    for index, name in enumerate(["total", *terms]):
        values = [record.losses.get(name, 0.0) for record in history]
        if any(value > 0.0 for value in values):
            losses.plot(
                epochs,
                [value if value > 0.0 else None for value in values],  # a log axis has no 0
                color=style.MUTED if index == 0 else style.CYCLE[(index + 1) % len(style.CYCLE)],
                linestyle="-" if index == 0 else "--",
                linewidth=1.3,
                marker=marker,
                label=f"training: {style.label(name)}",
            )
    measured = [record for record in history if record.validation is not None]
    if measured:
        at = [record.epoch for record in measured]
        rows = "held-out" if measured[-1].split == "validation" else "training"
        errors = [record.validation for record in measured if record.validation is not None]
        dot = "o" if len(measured) < 3 else None
        for what, values, colour in (
            ("worst category", [error.worst_mse for error in errors], style.VERMILION),
            ("mean of categories", [error.mean_mse for error in errors], style.BLUE),
        ):
            losses.plot(
                at,
                [value if value > 0.0 else None for value in values],
                color=colour,
                linewidth=2.0,
                marker=dot,
                label=f"{rows} error: {what}",
            )
    style.log_scale(losses)
    losses.set_ylabel("loss, squared z-units")
    figure.legend(loc="outside upper left", ncols=3)
    style.bare(losses, grid="y")
    usage.plot(epochs, [record.utilization for record in history], color=style.GREEN, marker=marker)
    usage.set_ylim(0.0, 1.04)
    usage.set_ylabel("utilization")
    usage.set_xlabel("epoch")
    usage.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.bare(usage, grid="y")
    return figure
