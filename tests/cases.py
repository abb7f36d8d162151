"""Ragged problems on which every kernel must choose the codes of the float64 truth.

``FROZEN`` problems never change: they come from a counter run through integer mixing and exact
arithmetic, the same on every machine and library version.  ``ragged_cases()`` draws fresh ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import hypothesis.strategies as st
import numpy as np
from numpy.typing import NDArray

from spinlock.layout import CodebookLayout

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RaggedCase:
    """Latents float32 [B, sum D] and codebooks float32 [K_q, D_q]."""

    name: str
    latents: NDArray[np.float32]
    codebooks: tuple[NDArray[np.float32], ...]

    def __repr__(self) -> str:
        return f"{self.name}: {len(self.latents)} rows, {[c.shape for c in self.codebooks]}"

    @cached_property
    def layout(self) -> CodebookLayout:
        sizes, dims = zip(*(codes.shape for codes in self.codebooks), strict=True)
        return CodebookLayout(sizes, dims)

    @cached_property
    def weight(self) -> NDArray[np.float32]:
        return self.layout.pack_codebooks(self.codebooks)

    def parts(self) -> list[NDArray[np.float32]]:
        """The columns of each quantizer, [B, D_q]."""
        return np.split(self.latents, list(self.layout.input_offsets[1:]), axis=1)


class _Bits:
    """A counter hashed by splitmix64: numbers that no library release can change."""

    def __init__(self, seed: int) -> None:
        self._next = np.uint64(seed << 32)

    def integers(self, high: int, *shape: int) -> NDArray[np.int64]:
        """Uniform in 0..high - 1 (high well below 2^53)."""
        return np.floor(self.uniform(*shape) * high).astype(np.int64)

    def normal(self, *shape: int) -> Matrix:
        """Mean 0, variance 1, bell-shaped: three uniforms added up."""
        return (self.uniform(*shape) + self.uniform(*shape) + self.uniform(*shape) - 1.5) * 2.0

    def uniform(self, *shape: int) -> Matrix:
        """Uniform in [0, 1)."""
        count = int(np.prod(shape, dtype=np.int64))
        with np.errstate(over="ignore"):
            z = self._next + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(
                0x9E3779B97F4A7C15
            )
            self._next += np.uint64(count) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
        return ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


Problem = tuple[Matrix, Matrix]
Maker = Callable[[_Bits, int, int, int], Problem]


def plain(bits: _Bits, rows: int, codes: int, dim: int) -> Problem:
    """Rows and codes alike, spread 1 around 0."""
    return bits.normal(rows, dim), bits.normal(codes, dim)


def bimodal(bits: _Bits, rows: int, codes: int, dim: int, gap: float = 1000.0) -> Problem:
    """Two clusters far apart: centring does not help the expanded distance."""
    x, c = plain(bits, rows, codes, dim)
    signs = (2.0 * bits.integers(2, rows, 1) - 1.0, 2.0 * bits.integers(2, codes, 1) - 1.0)
    return x + gap * signs[0], c + gap * signs[1]


def duplicates(bits: _Bits, rows: int, codes: int, dim: int) -> Problem:
    """Few distinct codes, many copies; some rows equal codes: the lowest index wins."""
    x, c = plain(bits, rows, codes, dim)
    c = c[bits.integers(max(1, codes // 3), codes)]
    x[::2] = c[bits.integers(codes, len(x[::2]))]
    return x, c


def midpoints(bits: _Bits, rows: int, codes: int, dim: int) -> Problem:
    """Rows halfway between two codes, exactly so before rounding to float32."""
    c = bits.normal(codes, dim).astype(np.float32).astype(np.float64)
    pairs = bits.integers(codes, 2, rows)
    return (c[pairs[0]] + c[pairs[1]]) / 2.0, c


def grid(bits: _Bits, rows: int, codes: int, dim: int) -> Problem:
    """Small integers and halves: exact ties everywhere."""
    return bits.integers(9, rows, dim) / 2.0 - 2.0, bits.integers(5, codes, dim) - 2.0


def equal(bits: _Bits, rows: int, codes: int, dim: int) -> Problem:
    """All rows and all codes one point."""
    point = bits.normal(1, dim)
    return np.repeat(point, rows, axis=0), np.repeat(point, codes, axis=0)


def outliers(bits: _Bits, rows: int, codes: int, dim: int) -> Problem:
    """Some rows a million times farther away than the codes are from each other."""
    x, c = plain(bits, rows, codes, dim)
    x[::3] *= 1e6
    return x, c


MAKERS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (plain, bimodal, duplicates, midpoints, grid, equal, outliers)
}


def make_case(
    name: str,
    sizes: list[tuple[int, int]],
    rows: int,
    *,
    makers: list[str],
    seed: int,
    offset: float = 0.0,
    scale: float = 1.0,
    damaged: int = 0,
) -> RaggedCase:
    """Quantizer q has (K, D) = sizes[q] and data of makers[q % len]; then (x + offset) * scale.

    ``damaged`` values of the latents are replaced by NaN, inf and -inf in turn.
    """
    bits = _Bits(seed)
    latents, codebooks = [], []
    for q, (codes, dim) in enumerate(sizes):
        x, c = MAKERS[makers[q % len(makers)]](bits, rows, codes, dim)
        latents.append(((x + offset) * scale).astype(np.float32))
        codebooks.append(((c + offset) * scale).astype(np.float32))
    joined = np.concatenate(latents, axis=1)
    if rows:
        broken = bits.integers(joined.size, damaged)
        joined.flat[broken] = np.resize(np.array([np.nan, np.inf, -np.inf]), damaged)
    return RaggedCase(name, joined, tuple(codebooks))


_RAGGED = [(32, 8), (5, 3), (1, 7), (130, 1), (16, 60), (300, 12), (2, 100)]


def _frozen() -> tuple[RaggedCase, ...]:
    cases = [
        make_case(name, _RAGGED, 60, makers=[name], seed=1 + k) for k, name in enumerate(MAKERS)
    ]
    for k, (offset, scale) in enumerate(
        [(10.0, 1.0), (1000.0, 1.0), (0.0, 1e-12), (0.0, 1e12), (1000.0, 1e-12), (0.0, 1e-42)]
    ):
        name = f"offset {offset:g} scale {scale:g}"
        makers = ["plain", "midpoints", "duplicates"]
        cases.append(
            make_case(name, _RAGGED, 60, makers=makers, seed=50 + k, offset=offset, scale=scale)
        )
    mixed = list(MAKERS)
    cases += [
        make_case("damaged", _RAGGED, 60, makers=mixed, seed=70, damaged=40),
        make_case("no rows", _RAGGED, 0, makers=mixed, seed=71),
        make_case("one row", _RAGGED, 1, makers=mixed, seed=72),
        make_case("one code of one dim", [(1, 1)], 7, makers=["plain"], seed=73),
        make_case("one quantizer", [(257, 33)], 64, makers=["plain"], seed=74),
        make_case("many alike", [(8, 4)] * 40, 30, makers=mixed, seed=75),
    ]
    return tuple(cases)


FROZEN = _frozen()


@st.composite
def ragged_cases(draw: st.DrawFn, max_codes: int = 300, max_dim: int = 100) -> RaggedCase:
    """Fresh problems of every kind: up to 5 quantizers, 0 to 60 rows."""
    codes = st.one_of(st.integers(1, 4), st.integers(1, max_codes))
    dim = st.one_of(st.integers(1, 8), st.integers(1, max_dim))
    sizes = draw(st.lists(st.tuples(codes, dim), min_size=1, max_size=5))
    return make_case(
        "fresh",
        sizes,
        draw(st.integers(0, 60)),
        makers=draw(st.lists(st.sampled_from(list(MAKERS)), min_size=1, max_size=5)),
        seed=draw(st.integers(0, 2**31)),
        offset=draw(st.sampled_from([0.0, 10.0, 1000.0])),
        scale=draw(st.sampled_from([1.0, 1e-3, 1e-12, 1e12, 1e-30])),
        damaged=draw(st.sampled_from([0, 0, 3])),
    )
