"""A diagnosis as tables and lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from spinlock.tokens.diagnosis import CategoryFigures, Diagnosis

# A table of more categories is cut to the worst and the best.
_WORST, _BEST = 30, 10
_FEATURES = 10


def category_table(diagnosis: Diagnosis, rows: str) -> Table:
    """Per category, worst first: error, ratios, what is explained, bits, collisions, code usage.

    Above 40 categories the worst 30 and the best 10 are shown.

    Args:
        diagnosis: what was measured.
        rows: on what, for the title.
    """
    table = Table(
        title=Text(f"reconstruction of {rows}, worst category first"),
        caption="MSE per feature in z-units: 1 is what predicting the training mean would cost; "
        "alone: with its own tokens only\n"
        "bits: log2 of the codebook sizes, and the entropy of the tokens; collisions: rows whose "
        "tokens another row has\nutilization: codes chosen at least once / codes, per level",
        show_footer=True,
    )
    table.add_column("category", "mean", overflow="fold")
    footers = {
        "MSE": f"{diagnosis.mean_mse:.4f}",
        "/ best": "",
        "/ mean": "",
        "R²": "",
        "alone": "",
        "features": str(len(diagnosis.features)),
        "bits": f"{diagnosis.bits:.2f}",
        "entropy": f"{diagnosis.entropy_bits:.2f}",
        "collisions": _percent(diagnosis.collisions.rate),
        "utilization": f"{diagnosis.utilization:.2f}",
    }
    for header, footer in footers.items():
        table.add_column(header, footer, justify="right")
    for category in shown_categories(diagnosis.categories, _WORST, _BEST):
        if category is None:
            hidden = len(diagnosis.categories) - _WORST - _BEST
            table.add_row(Text(f"... {hidden} more ..."), *([""] * len(footers)))
            continue
        table.add_row(
            Text(category.name),
            f"{category.mse:.4f}",
            number(diagnosis.ratio_to_best(category), ".2f"),
            number(diagnosis.ratio_to_mean(category), ".2f"),
            number(category.r2, ".3f"),
            f"{category.own_mse:.4f}",
            str(category.num_features),
            f"{category.bits:.2f}",
            f"{category.entropy_bits:.2f}",
            _percent(category.collisions.rate),
            "  ".join(f"{q.utilization:.2f}" for q in diagnosis.quantizers_of(category.name)),
        )
    return table


def feature_table(diagnosis: Diagnosis) -> Table:
    """The features with the largest errors."""
    table = Table(title=Text(f"worst of {len(diagnosis.features):,} features"))
    table.add_column("feature", overflow="fold")
    table.add_column("category", overflow="fold")
    for header in ("MSE", "R²", "RMSE, own units"):
        table.add_column(header, justify="right")
    for feature in diagnosis.worst_features(_FEATURES):
        table.add_row(
            Text(feature.name),
            Text(feature.category),
            f"{feature.mse:.4f}",
            number(feature.r2, ".3f"),
            f"{feature.rmse:.4g}",
        )
    return table


def summary_lines(diagnosis: Diagnosis) -> list[str]:
    """The whole in a few lines: errors and their ratios, codes, bits, collisions."""
    worst, best = diagnosis.worst, diagnosis.best
    return [
        f"worst {worst.name} {worst.mse:.4f}, mean {diagnosis.mean_mse:.4f}, best {best.name} "
        f"{best.mse:.4f}; worst/mean {number(diagnosis.ratio_to_mean(worst), '.2f')}, worst/best "
        f"{number(diagnosis.ratio_to_best(worst), '.2f')}; mean over features "
        f"{diagnosis.feature_mse:.4f}",
        f"utilization {diagnosis.utilization:.2f}, perplexity {diagnosis.perplexity:.1f}; "
        f"{diagnosis.dead_codes:,} of {diagnosis.num_codes:,} codes never chosen on these rows",
        f"{diagnosis.bits:.2f} bits per row, {diagnosis.entropy_bits:.2f} after ideal entropy "
        f"coding; {collision_text(diagnosis)}",
    ]


def collision_text(diagnosis: Diagnosis) -> str:
    """How many rows share all their tokens with another."""
    found = diagnosis.collisions
    error = "" if found.exact else f" ± {2 * found.standard_error:.2%} (estimated)"
    distinct = f"{found.distinct:,} different of {diagnosis.rows:,}"
    return f"{found.rate:.2%}{error} of rows share all tokens with another ({distinct})"


def shown_categories(
    categories: Sequence[CategoryFigures], worst: int, best: int
) -> list[CategoryFigures | None]:
    """All of them, or the first ``worst``, a None, and the last ``best``."""
    if len(categories) <= worst + best:
        return list(categories)
    return [*categories[:worst], None, *categories[-best:]]


def number(value: float | None, form: str) -> str:
    """A formatted figure; a dash where there is none.

    >>> number(1.234, ".2f"), number(None, ".2f")
    ('1.23', '-')
    """
    return "-" if value is None else format(value, form)


def _percent(share: float) -> str:
    return f"{share:.1%}"
