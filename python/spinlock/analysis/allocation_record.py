"""What ``rate_distortion`` was asked for and what it decided: frozen, and saved with runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from spinlock.analysis._names import check_choice, check_exact_keys
from spinlock.analysis.dims import MIN_CODES, check_count
from spinlock.errors import ConfigError

RATE_DISTORTION = "rate_distortion"

LevelSplit = Literal["measured", "published"]
LEVEL_SPLITS: tuple[str, ...] = get_args(LevelSplit)
METHODS = ("measured", "gaussian")
RULES = ("uniform_default", "bits", "target_mse")

MOST_ALPHA = 32
MOST_CODES = 65_536


@dataclass(frozen=True)
class RateDistortionOptions:
    """What a user may ask of ``rate_distortion``.

    Attributes:
        bits: the budget in bits per row; None: as many as the uniform default ratios would take.
        target_mse: instead of a budget, the mean over categories of the predicted squared error
            per feature, in z-units, that is to be reached with as few bits as possible.
        alpha: exponent of the error that is summed over categories, 1 to 32: 1 lowers the mean, 4
            the worst first.
        level_split: ``measured``, or ``published`` for codebook sizes 4 : 2 : 1.
        max_codes: the largest codebook; None: 256, or less for few training rows.

    Raises:
        ConfigError: values out of range, or both ``bits`` and ``target_mse``.

    >>> RateDistortionOptions(bits=120.0).rule
    'bits'
    """

    bits: float | None = None
    target_mse: float | None = None
    alpha: float = 4.0
    level_split: str = "measured"
    max_codes: int | None = None

    def __post_init__(self) -> None:
        if self.bits is not None and self.target_mse is not None:
            raise ConfigError(
                "rate_distortion: bits and target_mse are two ways to say how much to spend: give "
                "one of them"
            )
        for name in ("bits", "target_mse"):
            value = getattr(self, name)
            if value is not None:
                _number(f"rate_distortion.{name}", value, above=0.0)
        _number("rate_distortion.alpha", self.alpha, least=1.0, most=MOST_ALPHA)
        check_choice("rate_distortion.level_split", self.level_split, LEVEL_SPLITS)
        if self.max_codes is not None:
            codes = check_count("rate_distortion.max_codes", self.max_codes, MIN_CODES)
            if codes > MOST_CODES:
                raise ConfigError(
                    f"rate_distortion.max_codes must be at most {MOST_CODES}, got {codes}"
                )

    @property
    def rule(self) -> str:
        """What sets the budget: ``uniform_default``, ``bits`` or ``target_mse``."""
        if self.target_mse is not None:
            return "target_mse"
        return "uniform_default" if self.bits is None else "bits"


@dataclass(frozen=True)
class CategoryAllocation:
    """What one category was given, and what it is expected to lose.

    Attributes:
        name: the category.
        latent_dim: dims of all its levels: at most its features.
        ratio: latent dim / number of features, to three digits.
        codebook_sizes: one per level.
        predicted_mse: mean squared error per feature in z-units that residual k-means of these
            sizes, with one linear decoder for all categories, left on rows that it was not fitted
            to; of the Gaussian where nothing was measured.
        gaussian_mse: the least error at which so many bits describe a Gaussian of its spectrum.
    """

    name: str
    latent_dim: int
    ratio: float
    codebook_sizes: tuple[int, ...]
    predicted_mse: float
    gaussian_mse: float

    @property
    def bits(self) -> float:
        """The sum of log2 of the sizes."""
        return sum(map(math.log2, self.codebook_sizes))


@dataclass(frozen=True)
class BitAllocation:
    """An allocation and how it was come by.

    Attributes:
        method: ``measured``, or ``gaussian`` where there were too few rows to measure anything.
        rule: what set the budget: ``uniform_default``, ``bits`` or ``target_mse``.
        budget: bits per row that were to be spent.
        alpha, level_split, max_codes: as in :class:`RateDistortionOptions`, resolved.
        rows: rows that curves were measured on.
        training_rows: rows that they are a sample of.
        categories: in the order kept everywhere.

    >>> shape = CategoryAllocation("shape", 4, 0.5, (16, 4, 2), 0.2, 0.25)
    >>> found = BitAllocation("measured", "bits", 7.5, 4.0, "measured", 128, 400, 400, (shape,))
    >>> found.bits, BitAllocation.from_dict(found.to_dict()) == found
    (7.0, True)
    """

    method: str
    rule: str
    budget: float
    alpha: float
    level_split: str
    max_codes: int
    rows: int
    training_rows: int
    categories: tuple[CategoryAllocation, ...]

    @property
    def bits(self) -> float:
        """Bits per row of all categories."""
        return sum(category.bits for category in self.categories)

    @property
    def mean_mse(self) -> float:
        """Mean over categories of the predicted errors."""
        return sum(c.predicted_mse for c in self.categories) / len(self.categories)

    def to_dict(self) -> dict[str, Any]:
        """The same in plain types, categories by name."""
        tree: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name != "categories"
        }
        tree["categories"] = {}
        for category in self.categories:
            row = asdict(category) | {"codebook_sizes": list(category.codebook_sizes)}
            tree["categories"][row.pop("name")] = row
        return tree

    @classmethod
    def from_dict(cls, data: Any, where: str = "allocation") -> BitAllocation:
        """What :meth:`to_dict` wrote.

        Raises:
            ConfigError: keys missing or unknown, values out of range.
        """
        check_exact_keys(where, data, [f.name for f in fields(cls)])
        check_choice(f"{where}.method", data["method"], METHODS)
        check_choice(f"{where}.rule", data["rule"], RULES)
        check_choice(f"{where}.level_split", data["level_split"], LEVEL_SPLITS)
        categories = data["categories"]
        if not isinstance(categories, Mapping) or not categories:
            raise ConfigError(f"{where}.categories must map every category to its allocation")
        return cls(
            method=data["method"],
            rule=data["rule"],
            budget=_number(f"{where}.budget", data["budget"], least=0.0),
            alpha=_number(f"{where}.alpha", data["alpha"], least=1.0, most=MOST_ALPHA),
            level_split=data["level_split"],
            max_codes=check_count(f"{where}.max_codes", data["max_codes"], MIN_CODES),
            rows=check_count(f"{where}.rows", data["rows"], 2),
            training_rows=check_count(f"{where}.training_rows", data["training_rows"], 2),
            categories=tuple(
                _category(name, row, f"{where}.categories.{name}")
                for name, row in categories.items()
            ),
        )


def _category(name: Any, data: Any, where: str) -> CategoryAllocation:
    if not isinstance(name, str):
        raise ConfigError(f"{where}: category names must be text, got {name!r}: quote it")
    names = [f.name for f in fields(CategoryAllocation) if f.name != "name"]
    check_exact_keys(where, data, names)
    sizes = data["codebook_sizes"]
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise ConfigError(f"{where}.codebook_sizes must be a list of sizes, got {sizes!r}")
    return CategoryAllocation(
        name=name,
        latent_dim=check_count(f"{where}.latent_dim", data["latent_dim"]),
        ratio=_number(f"{where}.ratio", data["ratio"], above=0.0),
        codebook_sizes=tuple(
            check_count(f"{where}.codebook_sizes[{level}]", size, MIN_CODES)
            for level, size in enumerate(sizes)
        ),
        predicted_mse=_number(f"{where}.predicted_mse", data["predicted_mse"], least=0.0),
        gaussian_mse=_number(f"{where}.gaussian_mse", data["gaussian_mse"], least=0.0),
    )


def _number(
    name: str, value: Any, *, above: float = -math.inf, least: float = -math.inf,
    most: float = math.inf,
) -> float:  # fmt: skip
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and above < value < math.inf and least <= value <= most):
        bounds = [f"> {above:g}"] if above > -math.inf else []
        bounds += [f">= {least:g}"] if least > -math.inf else []
        bounds += [f"<= {most:g}"] if most < math.inf else []
        raise ConfigError(f"{name} must be a number {' and '.join(bounds)}, got {value!r}")
    return float(value)
