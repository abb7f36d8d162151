"""``rate_distortion``: latent dims and codebook sizes from what bits are worth in each category."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from spinlock.analysis._names import check_same_names
from spinlock.analysis.allocation_record import (
    BitAllocation,
    CategoryAllocation,
    RateDistortionOptions,
)
from spinlock.analysis.bit_spending import (
    Curves,
    mean_error,
    most_bits,
    reach_error,
    spend_bits,
)
from spinlock.analysis.category_curves import CategoryCurves, measure_curves
from spinlock.analysis.operational_curve import OperatingPoint, Sizes
from spinlock.analysis.rate_distortion import gaussian_distortion, water_level
from spinlock.errors import ConfigError

_MOST_ROUNDS = 8


def allocate_bits(
    rows: Mapping[str, ArrayLike],
    *,
    default_bits: float,
    options: RateDistortionOptions | None = None,
    num_levels: int = 3,
    given: Mapping[str, Sizes] | None = None,
    training_rows: int | None = None,
    seed: int = 0,
    section: str = "",
) -> BitAllocation:
    """Spends a budget of bits per row where they lower the error most.

    Args:
        rows: by category [n, p], as the model will see them;
            see :func:`~spinlock.analysis.category_curves.measure_curves`.
        default_bits: the budget where ``options`` have none.
        options: budget, exponent and limits.
        num_levels: levels of every category.
        given: codebook sizes of categories that are not decided here; their bits count.
        training_rows: rows that the codebooks will be trained on; n where omitted.
        seed: of all draws; the same seed gives the same allocation.
        section: what messages put before ``levels`` and ``rate_distortion``, such as ``model.``.

    Raises:
        ConfigError: a budget that is too small or too large, or an error that cannot be reached.
        DataError: fewer than two rows.

    >>> rng = np.random.default_rng(0)
    >>> rows = {"wide": rng.normal(size=(500, 6)), "narrow": rng.normal(size=(500, 2))}
    >>> found = allocate_bits(rows, default_bits=16.0)
    >>> wide, narrow = found.categories
    >>> wide.bits > narrow.bits, 15.8 < found.bits <= 16.0, found.method
    (True, True, 'measured')
    """
    wanted = options or RateDistortionOptions()
    curves = measure_curves(
        rows,
        num_levels=num_levels,
        level_split=wanted.level_split,
        max_codes=wanted.max_codes,
        training_rows=training_rows,
        seed=seed,
    )
    fixed = dict(given or {})
    check_same_names(
        f"{section}levels", [*rows, *fixed], rows, "give sizes of known categories only"
    )
    if wanted.target_mse is not None:
        key = f"{section}rate_distortion.target_mse"
        curves, sizes = _for_error(curves, fixed, wanted.target_mse, wanted.alpha, key)
        budget = _bits(sizes)
    else:
        budget = default_bits if wanted.bits is None else wanted.bits
        key = f"{section}rate_distortion.bits"
        curves, sizes = _for_bits(curves, fixed, budget, wanted, key)
    categories = tuple(_category(name, curves, sizes[name]) for name in rows)
    return BitAllocation(
        method="gaussian" if curves.gaussian else "measured",
        rule=wanted.rule,
        budget=float(budget),
        alpha=float(wanted.alpha),
        level_split=wanted.level_split,
        max_codes=curves.max_codes,
        rows=curves.rows,
        training_rows=training_rows or curves.rows,
        categories=categories,
    )


def _for_bits(
    curves: CategoryCurves,
    fixed: Mapping[str, Sizes],
    budget: float,
    wanted: RateDistortionOptions,
    key: str,
) -> tuple[CategoryCurves, dict[str, Sizes]]:
    """Sizes by category for a budget, and the curves that they were chosen by."""
    _check_spendable(_points(curves, fixed), wanted, curves.max_codes, key)
    # Where bits are missing depends on what the categories say of each other, which is measured at
    # sizes: those that are right as long as they say nothing.
    alone = spend_bits(_points(curves, fixed), budget, wanted.alpha)
    curves = curves.with_shared_decoder(alone)
    return curves, spend_bits(_points(curves, fixed), budget, wanted.alpha)


def _for_error(
    curves: CategoryCurves, fixed: Mapping[str, Sizes], target: float, alpha: float, key: str
) -> tuple[CategoryCurves, dict[str, Sizes]]:
    """Sizes by category that reach a mean error, and the curves as measured at these sizes.

    What categories say of each other hangs on the sizes, mostly the more the fewer the bits. It is
    measured anew at the sizes that were found: as long as that saves bits, or until they reach it.

    Raises:
        ConfigError: the largest codebooks do not reach it.
    """
    # The largest ones where no sizes reach it alone: together they may.
    sizes = _sizes(reach_error(_points(curves, fixed), target, alpha))
    found: tuple[CategoryCurves, dict[str, Sizes]] | None = None
    aim = target
    for _ in range(_MOST_ROUNDS):
        curves = curves.with_shared_decoder(sizes)
        least = mean_error({name: curves.at(name, sizes[name]) for name in sizes})
        if least <= target and (found is None or _bits(sizes) < _bits(found[1])):
            found = curves, sizes
        # Other sizes are measured to be off by about as much.
        aim = min(target, aim * target / least) if least > 0.0 else target
        reached = _sizes(reach_error(_points(curves, fixed), aim, alpha))
        if reached == sizes or (found is not None and _bits(reached) >= _bits(found[1])):
            break
        sizes = reached
    if found is None:
        how = "for Gaussians" if curves.gaussian else "with one decoder for all of them"
        raise ConfigError(
            f"{key} {target:g} is out of reach: with codebooks of at most "
            f"{curves.max_codes} codes the mean error over categories is predicted, {how}, to be "
            f"{least:.4g}; raise target_mse or max_codes, or train on more rows. What a model is "
            f"trained to may be lower: give it bits instead, of which {_bits(sizes):.1f} have an "
            "effect"
        )
    return found


def _points(
    curves: CategoryCurves, fixed: Mapping[str, Sizes]
) -> dict[str, tuple[OperatingPoint, ...]]:
    """What may be chosen: a single point where sizes are given."""
    return {**curves.points, **{name: (curves.at(name, fixed[name]),) for name in fixed}}


def _sizes(points: Mapping[str, OperatingPoint]) -> dict[str, Sizes]:
    return {name: point.codebook_sizes for name, point in points.items()}


def _bits(sizes: Mapping[str, Sizes]) -> float:
    return sum(OperatingPoint(chosen, 0.0).bits for chosen in sizes.values())


def described_dims(spectrum: ArrayLike, bits: float) -> int:
    """Latent dims that so many bits can use: twice the components above the water level.

    At least 2, and never more than there are components.

    >>> described_dims([4.0, 1.0, 0.2, 0.1, 0.1], bits=3.0)
    4
    """
    spread = np.asarray(spectrum, np.float64)
    above = int((spread > water_level(spread, bits)).sum())
    return min(len(spread), max(2, 2 * above))


def _check_spendable(
    points: Curves, wanted: RateDistortionOptions, max_codes: int, key: str
) -> None:
    most = most_bits(points, wanted.alpha)
    if wanted.bits is not None and wanted.bits > most + 1.0:
        raise ConfigError(
            f"{key} is {wanted.bits:g}, but beyond {most:.1f} bits per row (with "
            f"codebooks of at most {max_codes} codes) the measured error falls no more: lower "
            "bits, raise max_codes, or train on more rows"
        )


def _category(name: str, curves: CategoryCurves, sizes: Sizes) -> CategoryAllocation:
    spectrum = curves.spectra[name]
    point = curves.at(name, sizes)
    dim = described_dims(spectrum, point.bits)
    return CategoryAllocation(
        name=name,
        latent_dim=dim,
        ratio=float(f"{dim / len(spectrum):.3g}"),
        codebook_sizes=sizes,
        predicted_mse=point.distortion,
        gaussian_mse=gaussian_distortion(spectrum, point.bits),
    )
