"""Encoders: how the arrays of a family, [N, D] or [N, T, D], become columns of a table.

An encoder works on each row by itself, so that data sets can be encoded block by block, and knows
its columns' names from the feature names and the number of time steps alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinlock.errors import DataConfigError, DataError

FloatArray = NDArray[np.float64]

SUMMARY_STATISTICS = ("mean", "std", "min", "max", "slope", "change", "autocorrelation")


@dataclass(frozen=True)
class Encoder:
    """One way of turning a family's arrays into columns.

    Attributes:
        name: what ``families.X.encoder`` says.
        ndim: the arrays it takes: 2 for [N, D], 3 for [N, T, D].
        column_names: (feature names [D], T; 1 for 2-D arrays) -> names of the M columns.
        encode: float64 [N, D] or [N, T, D] -> [N, M], each row from that row alone; numbers beyond
            float32 arrive as infinities.
    """

    name: str
    ndim: int
    column_names: Callable[[tuple[str, ...], int], Sequence[str]]
    encode: Callable[[FloatArray], FloatArray]


_ENCODERS: dict[str, Encoder] = {}


def register_encoder(encoder: Encoder) -> Encoder:
    """Make ``encoder`` available to ``families.X.encoder`` under its name; returns it.

    Raises:
        DataError: the name is taken, or ``ndim`` is neither 2 nor 3.

    >>> _ = register_encoder(
    ...     Encoder("last_step", 3, lambda names, steps: [f"{n}@last" for n in names],
    ...             lambda values: values[:, -1])
    ... )
    >>> _ENCODERS.pop("last_step").ndim
    3
    """
    if encoder.name in _ENCODERS:
        raise DataError(
            f"an encoder named '{encoder.name}' is registered already; use another name."
        )
    if encoder.ndim not in (2, 3):
        raise DataError(
            f"encoder '{encoder.name}' takes {encoder.ndim}-D arrays; expected 2 for [N, D] or "
            "3 for [N, T, D]."
        )
    _ENCODERS[encoder.name] = encoder
    return encoder


def encoder_names() -> tuple[str, ...]:
    """The registered encoders.

    >>> encoder_names()[:3]
    ('identity', 'flatten', 'temporal_summary')
    """
    return tuple(_ENCODERS)


def find_encoder(name: str | None, ndim: int, family: str) -> Encoder:
    """The encoder for a family's arrays of ``ndim`` dimensions.

    ``None`` means ``identity`` for [N, D] and ``temporal_summary`` for [N, T, D].

    Raises:
        DataConfigError: no such encoder.
        DataError: one for the other kind of array.
    """
    if name is None:
        return _ENCODERS["identity" if ndim == 2 else "temporal_summary"]
    if name not in _ENCODERS:
        raise DataConfigError(
            f"family {family!r} asks for encoder {name!r}, which is not known; "
            f"known encoders: {', '.join(_ENCODERS)}."
        )
    encoder = _ENCODERS[name]
    if encoder.ndim != ndim:
        kinds = {2: "[N, D] matrices", 3: "[N, T, D] series"}
        fitting = [other.name for other in _ENCODERS.values() if other.ndim == ndim]
        raise DataError(
            f"encoder '{name}' takes {kinds[encoder.ndim]}, but family {family!r} holds "
            f"{kinds[ndim]}; encoders for these: {', '.join(fitting)}."
        )
    return encoder


def temporal_summary(values: FloatArray) -> FloatArray:
    """Seven statistics of every series, from its finite values only.

    For each feature in turn: mean, population std, min, max, slope (least squares, per step),
    change (last minus first finite value), lag-1 autocorrelation
    sum_t (x_t - m)(x_{t+1} - m) / sum_t (x_t - m)^2, in [-1, 1]. A series that never changes
    (one step included) has std, slope, change and autocorrelation 0; one without any finite value
    is NaN throughout.

    Args:
        values: [N, T, D].

    Returns:
        [N, 7 D], the statistics of feature 0 first.

    >>> temporal_summary(np.array([[[1.0], [2.0], [np.nan], [4.0]]])).round(3).tolist()
    [[2.333, 1.247, 1.0, 4.0, 1.0, 3.0, 0.095]]
    """
    finite = np.isfinite(values)
    count = finite.sum(axis=1)
    seen = count > 0
    divisor = np.maximum(count, 1)
    present = np.where(finite, values, 0.0)
    least = np.where(seen, np.where(finite, values, np.inf).min(axis=1), 0.0)
    most = np.where(seen, np.where(finite, values, -np.inf).max(axis=1), 0.0)

    # The mean of equal numbers may differ from them by rounding: a constant series keeps its value.
    mean = np.where(most > least, present.sum(axis=1) / divisor, least)
    centred = np.where(finite, present - mean[:, None], 0.0)
    scatter = (centred * centred).sum(axis=1)
    std = np.sqrt(scatter / divisor)

    steps = np.arange(values.shape[1], dtype=np.float64)[None, :, None]
    mean_step = (finite * steps).sum(axis=1) / divisor
    offsets = np.where(finite, steps - mean_step[:, None], 0.0)
    slope = _ratio((offsets * centred).sum(axis=1), (offsets * offsets).sum(axis=1))

    first = finite.argmax(axis=1)
    last = finite.shape[1] - 1 - finite[:, ::-1].argmax(axis=1)
    change = _pick(present, last) - _pick(present, first)
    lagged = (centred[:, 1:] * centred[:, :-1]).sum(axis=1)

    statistics = (mean, std, least, most, slope, change, _ratio(lagged, scatter))
    columns = np.where(seen[..., None], np.stack(statistics, axis=-1), np.nan)
    return columns.reshape(values.shape[0], -1)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0.0)


def _pick(values: FloatArray, step: NDArray[np.int64]) -> FloatArray:
    return np.take_along_axis(values, step[:, None], axis=1)[:, 0]


register_encoder(Encoder("identity", 2, lambda names, _: names, lambda values: values))
register_encoder(
    Encoder(
        "flatten",
        3,
        lambda names, steps: [f"{name}@t{step}" for step in range(steps) for name in names],
        lambda values: values.reshape(values.shape[0], -1),
    )
)
register_encoder(
    Encoder(
        "temporal_summary",
        3,
        lambda names, _: [
            f"{name}@{statistic}" for name in names for statistic in SUMMARY_STATISTICS
        ],
        temporal_summary,
    )
)
