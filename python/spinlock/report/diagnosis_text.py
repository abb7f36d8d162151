"""A diagnosis as tables and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from spinlock.tokens.diagnosis import CategoryFigures, Diagnosis

# A table of more categories is cut to the worst and the best.
_WORST, _BEST = 30, 10
_FEATURES = 10


def category_table(diagnosis: Diagnosis, rows: str) -> Table:
    """Per category, worst first: its error, the ratios to best and mean, what is explained.

    Above 40 categories the worst 30 and the best 10 are shown.

    Args:
        diagnosis: what was measured.
        rows: on what, for the title.
    """
    table = _categories_with(
        f"reconstruction of {rows}, worst first",
        "MSE per feature, z-units: 1 is what predicting the mean would cost\n"
        "own tokens: error where no other category's tokens are known",
        {
            "MSE": f"{diagnosis.mean_mse:.4f}",
            "/ best": "",
            "/ mean": "",
            "R²": "",
            "own tokens": "",
            "features": str(len(diagnosis.features)),
        },
    )
    for category in shown_categories(diagnosis.categories, _WORST, _BEST):
        if category is None:
            _add_gap(table, diagnosis)
            continue
        table.add_row(
            Text(category.name),
            f"{category.mse:.4f}",
            number(diagnosis.ratio_to_best(category), ".2f"),
            number(diagnosis.ratio_to_mean(category), ".2f"),
            number(category.r2, ".3f"),
            f"{category.own_mse:.4f}",
            str(category.num_features),
        )
    return table


def token_table(diagnosis: Diagnosis) -> Table:
    """Per category, in the order of :func:`category_table`: bits, collisions, use of its codes."""
    table = _categories_with(
        "tokens",
        "bits: log2 of the codebook sizes; entropy: after ideal coding\n"
        "collisions: rows whose tokens another row has too\n"
        "dead: codes that no row chose; utilization: the others, per level",
        {
            "bits": f"{diagnosis.bits:.2f}",
            "entropy": f"{diagnosis.entropy_bits:.2f}",
            "collisions": f"{diagnosis.collisions.rate:.1%}",
            "dead": str(diagnosis.dead_codes),
            "utilization": f"{diagnosis.utilization:.2f}",
        },
    )
    for category in shown_categories(diagnosis.categories, _WORST, _BEST):
        if category is None:
            _add_gap(table, diagnosis)
            continue
        quantizers = diagnosis.quantizers_of(category.name)
        table.add_row(
            Text(category.name),
            f"{category.bits:.2f}",
            f"{category.entropy_bits:.2f}",
            f"{category.collisions.rate:.1%}",
            str(sum(quantizer.dead_codes for quantizer in quantizers)),
            "  ".join(f"{quantizer.utilization:.2f}" for quantizer in quantizers),
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
        f"{number(diagnosis.ratio_to_best(worst), '.2f')}",
        f"mean over features {diagnosis.feature_mse:.4f}",
        f"utilization {diagnosis.utilization:.2f}, perplexity {diagnosis.perplexity:.1f}; "
        f"{diagnosis.dead_codes:,} of {diagnosis.num_codes:,} codes never chosen on these rows",
        f"{diagnosis.bits:.2f} bits per row, {diagnosis.entropy_bits:.2f} after ideal entropy "
        "coding",
        collision_text(diagnosis),
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


def _categories_with(title: str, caption: str, footers: Mapping[str, str]) -> Table:
    table = Table(title=Text(title), caption=Text(caption), show_footer=True)
    table.add_column("category", "all", overflow="fold")
    for header, footer in footers.items():
        table.add_column(header, footer, justify="right")
    return table


def _add_gap(table: Table, diagnosis: Diagnosis) -> None:
    hidden = len(diagnosis.categories) - _WORST - _BEST
    table.add_row(Text(f"... {hidden} more ..."), *([""] * (len(table.columns) - 1)))
