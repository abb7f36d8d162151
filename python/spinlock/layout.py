"""Where ragged codebooks and their latents lie in flat, aligned memory.

``CodebookLayout`` is a value: equal inputs give equal layouts, and it may key a cache. The
arithmetic and the copies are done by the C++ core.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock import _C
from spinlock.errors import LayoutError

__all__ = ["CodebookLayout"]

_INT64_MAX = 2**63 - 1


@dataclass(frozen=True)
class CodebookLayout:
    """Q independent codebooks, K_q codes of D_q dimensions each, in one flat buffer.

    Two codebooks, 5 codes of 6 dimensions and 3 codes of 3 dimensions:

    >>> layout = CodebookLayout(codebook_sizes=(5, 3), dims=(6, 3))
    >>> layout.padded_dims  # each dim rounded up to alignment = 4: the stride of one code
    (8, 4)
    >>> layout.input_offsets, layout.input_width  # dense rows: 6 + 3 columns
    ((0, 6), 9)
    >>> layout.latent_offsets, layout.latent_width  # padded rows: 8 + 4 columns, up to 16
    ((0, 8), 16)
    >>> layout.code_offsets, layout.total_codes  # global code ids 0..4 and 5..7
    ((0, 5), 8)
    >>> layout.weight_offsets, layout.weight_size  # 5 * 8 = 40, up to 48; 3 * 4 = 12, up to 16
    ((0, 48), 64)
    >>> layout.weight_waste  # 5 * 6 + 3 * 3 = 39 of 64 elements hold values
    0.390625

    Code k of quantizer q begins at element ``weight_offsets[q] + k * padded_dims[q]`` of the flat
    weight buffer. Offsets and sizes count float32 elements and are exact up to 2^63 - 1 bytes.
    Building a layout allocates no buffer.

    Args:
        codebook_sizes: K_q >= 1, one per quantizer; any sequence of integers.
        dims: D_q >= 1, logical dimensions, one per quantizer.
        alignment: a power of two, in elements; every code and every latent starts at a multiple
            of it. Codebooks, and rows of padded latents, start at multiples of
            max(16, alignment): 64 bytes of float32.

    Raises:
        LayoutError: no quantizers, lists of different lengths, entries that are not positive
            integers (bool and float are not integers here), an alignment that is no power of two,
            or a buffer of more than 2^63 - 1 bytes.
    """

    codebook_sizes: tuple[int, ...]
    dims: tuple[int, ...]
    alignment: int = 4

    padded_dims: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """D_q rounded up to ``alignment``: elements from one code to the next."""
    input_offsets: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """First column of each quantizer in a dense row [input_width]."""
    latent_offsets: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """First column of each quantizer in a padded row [latent_width]."""
    code_offsets: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Global id of each quantizer's code 0."""
    weight_offsets: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """First element of each codebook in the flat weight buffer [weight_size]."""
    input_width: int = field(init=False, repr=False, compare=False)
    """Columns of a dense row: the sum of ``dims``."""
    latent_width: int = field(init=False, repr=False, compare=False)
    """Columns of a padded row, a multiple of max(16, alignment)."""
    total_codes: int = field(init=False, repr=False, compare=False)
    """Codes of all quantizers: the sum of ``codebook_sizes``."""
    weight_size: int = field(init=False, repr=False, compare=False)
    """Elements of the flat weight buffer, padding included."""

    def __post_init__(self) -> None:
        sizes = _as_ints("codebook_sizes", self.codebook_sizes)
        dims = _as_ints("dims", self.dims)
        alignment = _as_int("alignment", self.alignment)
        _, derived = _planned(sizes, dims, alignment)
        inputs = (("codebook_sizes", sizes), ("dims", dims), ("alignment", alignment))
        for name, value in (*inputs, *derived):
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[type["CodebookLayout"], tuple[Any, ...]]:
        # Derived fields are computed again: a pickle holds no offsets that could disagree.
        return type(self), (self.codebook_sizes, self.dims, self.alignment)

    @property
    def num_quantizers(self) -> int:
        """Q, the number of codebooks."""
        return len(self.dims)

    @property
    def bits(self) -> float:
        """Bits that one row's codes carry: the sum of log2 K_q."""
        return math.fsum(math.log2(size) for size in self.codebook_sizes)

    @property
    def weight_waste(self) -> float:
        """Share of the flat weight buffer that is padding, in [0, 1)."""
        values = sum(k * d for k, d in zip(self.codebook_sizes, self.dims, strict=True))
        return (self.weight_size - values) / self.weight_size

    @property
    def latent_waste(self) -> float:
        """Share of a padded row of latents that is padding, in [0, 1)."""
        return (self.latent_width - self.input_width) / self.latent_width

    def slice(self, start: int, stop: int) -> "CodebookLayout":
        """The layout of quantizers ``start .. stop - 1``, as a layout of its own.

        Its weight buffer, codes and dense columns are ``weight_range``, ``code_range`` and
        ``input_range`` of this layout, at the same offsets relative to the first. Only padded rows
        differ: the slice rounds its own ``latent_width``.

        Raises:
            LayoutError: unless 0 <= start < stop <= num_quantizers.

        >>> layout = CodebookLayout((5, 3, 7), (6, 3, 2))
        >>> layout.slice(1, 3)
        CodebookLayout(codebook_sizes=(3, 7), dims=(3, 2), alignment=4)
        >>> layout.weight_range(1, 3), layout.slice(1, 3).weight_size
        ((48, 96), 48)
        """
        first, end = self._checked_range(start, stop)
        return CodebookLayout(self.codebook_sizes[first:end], self.dims[first:end], self.alignment)

    def weight_range(self, start: int, stop: int) -> tuple[int, int]:
        """(first, end) elements of quantizers ``start .. stop - 1`` in the flat weight buffer."""
        return self._span(self.weight_offsets, self.weight_size, start, stop)

    def code_range(self, start: int, stop: int) -> tuple[int, int]:
        """(first, end) global code ids of quantizers ``start .. stop - 1``."""
        return self._span(self.code_offsets, self.total_codes, start, stop)

    def input_range(self, start: int, stop: int) -> tuple[int, int]:
        """(first, end) columns of quantizers ``start .. stop - 1`` in a dense row."""
        return self._span(self.input_offsets, self.input_width, start, stop)

    def pack_codebooks(self, codebooks: Sequence[ArrayLike]) -> NDArray[np.float32]:
        """Codebooks [K_q, D_q] -> one flat float32 buffer [weight_size], padding zero.

        Real numbers of any type are rounded to float32. The buffer is new and starts on a
        64-byte boundary.

        Raises:
            LayoutError: naming the codebook whose number, shape or type does not fit.

        >>> layout = CodebookLayout((2,), (3,))
        >>> layout.pack_codebooks([[[1, 2, 3], [4, 5, 6]]])[:8]
        array([1., 2., 3., 0., 4., 5., 6., 0.], dtype=float32)
        """
        return self.plan.pack_codebooks(_as_float32("codebooks", codebooks))

    def unpack_codebooks(self, weight: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The flat float32 buffer [weight_size] -> new codebooks [K_q, D_q].

        Raises:
            LayoutError: ``weight`` is not a one-dimensional float32 array of weight_size elements.
        """
        return self.plan.unpack_codebooks(_as_array("weight", weight))

    def pack_latents(self, latents: Sequence[ArrayLike]) -> NDArray[np.float32]:
        """Latents [B, D_q] -> one float32 matrix [B, latent_width], padding zero.

        Real numbers of any type are rounded to float32. The matrix is new; it and each of its rows
        start on a 64-byte boundary.

        Raises:
            LayoutError: naming the latents whose number, shape or type does not fit.
        """
        return self.plan.pack_latents(_as_float32("latents", latents))

    def unpack_latents(self, packed: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Padded rows, float32 [B, latent_width] -> new latents [B, D_q].

        Raises:
            LayoutError: ``packed`` is not a two-dimensional float32 array of that width.
        """
        return self.plan.unpack_latents(_as_array("packed", packed))

    def tile_schedule(self, num_rows: int, block_rows: int) -> NDArray[np.int32]:
        """Work for one launch over all quantizers: int32 [T, 2], rows of (quantizer, row0).

        A tile is ``min(block_rows, num_rows - row0)`` rows against one codebook. Each (quantizer,
        row block) comes exactly once, the heaviest first (K * padded D * rows), equal ones in the
        order (quantizer, row0), so that the tiles started last are the short ones.

        Raises:
            LayoutError: num_rows < 0, block_rows < 1, or rows that, rounded up to whole blocks,
                do not fit 32 bits.

        >>> CodebookLayout((5, 9), (6, 3)).tile_schedule(num_rows=100, block_rows=64).tolist()
        [[0, 0], [1, 0], [0, 64], [1, 64]]
        """
        return self.plan.tile_schedule(
            _as_int("num_rows", num_rows), _as_int("block_rows", block_rows)
        )

    @cached_property
    def plan(self) -> _C.PackingPlan:
        """The core's own form of this layout."""
        plan, _ = _planned(self.codebook_sizes, self.dims, self.alignment)
        return plan

    def _checked_range(self, start: int, stop: int) -> tuple[int, int]:
        first, end = _as_int("start", start), _as_int("stop", stop)
        if not 0 <= first < end <= self.num_quantizers:
            raise LayoutError(
                f"quantizers: expected 0 <= start < stop <= {self.num_quantizers} (all of them), "
                f"got start={first}, stop={end}; take at least one, counted from the first"
            )
        return first, end

    def _span(self, offsets: tuple[int, ...], total: int, start: int, stop: int) -> tuple[int, int]:
        first, end = self._checked_range(start, stop)
        return offsets[first], offsets[end] if end < len(offsets) else total


@lru_cache(maxsize=1024)
def _planned(
    codebook_sizes: tuple[int, ...], dims: tuple[int, ...], alignment: int
) -> tuple[_C.PackingPlan, tuple[tuple[str, Any], ...]]:
    """The plan and the derived fields of a layout; cached, for equal layouts are built often."""
    plan = _C.PackingPlan(codebook_sizes, dims, alignment)
    derived = (entry.name for entry in fields(CodebookLayout) if not entry.init)
    return plan, tuple((name, getattr(plan, name)) for name in derived)


def _as_int(name: str, value: Any) -> int:
    try:
        # bool is an int to Python, yet True codes is a mistake.
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise LayoutError(
            f"{name}: expected an integer, got {value!r} ({type(value).__name__}); "
            "convert it with int(...) where rounding down is meant"
        )
    if abs(number) > _INT64_MAX:
        raise LayoutError(f"{name}: expected an integer of 64 bits, got {number}; lower it")
    return number


def _as_list(name: str, values: Any, entries: str) -> list[Any]:
    listed = isinstance(values, Sequence) or (isinstance(values, np.ndarray) and values.ndim > 0)
    if not listed or isinstance(values, str | bytes):
        raise LayoutError(
            f"{name}: expected a list of {entries}, one per quantizer, got "
            f"{type(values).__name__} {values!r}; wrap a single one in a list"
        )
    return list(values)


def _as_ints(name: str, values: object) -> tuple[int, ...]:
    entries = _as_list(name, values, "integers")
    if all(type(value) is int and abs(value) <= _INT64_MAX for value in entries):
        return tuple(entries)
    return tuple(_as_int(f"{name}[{q}]", value) for q, value in enumerate(entries))


def _as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LayoutError(
            f"{name}: expected a numpy array, got a {type(value).__name__} that numpy cannot "
            f"read ({error}); pass a numpy array of float32"
        ) from error


def _as_float32(name: str, values: object) -> list[NDArray[np.float32]]:
    arrays = []
    for q, value in enumerate(_as_list(name, values, "matrices")):
        array = _as_array(f"{name}[{q}]", value)
        if array.dtype.kind not in "fiu":
            raise LayoutError(
                f"{name}[{q}]: expected real numbers, got an array of {array.dtype}; "
                "convert it to float32"
            )
        try:
            with np.errstate(over="raise"):
                arrays.append(array.astype(np.float32, copy=False))
        except FloatingPointError as error:
            raise LayoutError(
                f"{name}[{q}]: expected values of float32, at most 3.4e38, got larger ones; "
                "rescale them"
            ) from error
    return arrays
