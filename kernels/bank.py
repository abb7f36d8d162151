"""The table that kernels read: where every codebook lies, in one tensor on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import triton.language as tl
from torch import Tensor

__all__ = [
    "BLOCK_CODES",
    "BLOCK_DIMS",
    "GROUP",
    "GROUPED",
    "MANY_CODES",
    "PACK_CODES",
    "REFRESH_CODES",
    "Bank",
    "Members",
    "make_bank",
    "packed_codes",
]

# Codes are packed for the first pass in rows padded to one of these; wider ones are scanned whole.
BLOCK_DIMS = (16, 32, 64, 128, 256, 512)
# What small codebooks are padded to.
BLOCK_CODES = 64
# Larger codebooks are scored in groups of blocks and padded to whole groups.
MANY_CODES = 1024
# Still larger ones are scanned whole: numbers of two codes must fit 20 bits.
MOST_CODES = 1 << 19
# Where keeping books per code would cost more than the products: groups of GROUP blocks.
GROUPED = {(16, True), (32, True), (64, True)}
GROUP = 4
# Codes of one packing program, for narrow ones and for wide.
PACK_CODES = (32, 8)
# Of one refreshing program, for sums in fixed point, and for those of many slabs, which take time.
REFRESH_CODES = (16, 4)

# Arguments that differ from call to call: a kernel compiled for one serves all of them.
SIZES = [
    "x_stride",
    "out_stride",
    "quantized_stride",
    "grad_quantized_stride",
    "grad_stride",
    "num_members",
    "num_rows",
    "num_slabs",
    "num_error_slabs",
    "capacity",
]

# Columns of the table.
INPUT = tl.constexpr(0)
DIM = tl.constexpr(1)
SIZE = tl.constexpr(2)
WEIGHT = tl.constexpr(3)
STRIDE = tl.constexpr(4)
CODE = tl.constexpr(5)
PACKED = tl.constexpr(6)
PACKED_SIZE = tl.constexpr(7)
NORM = tl.constexpr(8)
CENTRE = tl.constexpr(9)
WIDTH = tl.constexpr(10)
FIELDS = tl.constexpr(11)


class Members(NamedTuple):
    """The quantizers that a launch works on.

    Attributes:
        quantizers: their numbers; tiles of the same rows are begun in this order.
        table: the same, int32 [n] on the device.
    """

    quantizers: tuple[int, ...]
    table: Tensor

    def grid(self, num_rows: int, block_rows: int) -> tuple[int]:
        """Programs that do each quantizer's rows, ``block_rows`` at a time; see ``row_tile``."""
        return (-(-num_rows // block_rows) * len(self.quantizers),)


@dataclass(frozen=True, eq=False)
class Bank:
    """Q codebooks of K_q codes of D_q dims, as kernels see them.

    Everything on the device is made with the bank and stays as it is: captured graphs, and launches
    on other streams, know no more of it than its addresses.

    Two codebooks, 5 codes of 6 dims (8 apart) and 100 codes of 3 dims (4 apart), on the CPU:

    >>> bank = make_bank((5, 100), (6, 3), (8, 4), (0, 6), (0, 5), (0, 48), 448, "cpu")
    >>> bank.table[:, :6].tolist()  # input column, dim, size, weight element, stride, code id
    [[0, 6, 5, 0, 8, 0], [6, 3, 100, 48, 4, 5]]
    >>> bank.table[:, 6:].tolist()  # packed element, packed size, norm, centre, width
    [[0, 64, 0, 0, 16], [1024, 128, 64, 16, 16]]
    >>> bank.buckets[16, False].quantizers  # of packed width 16 and few codes: most codes first
    (1, 0)
    >>> bank.refresh_tiles[16].tolist()[:3]  # quantizer, first code
    [[0, 0], [1, 0], [1, 16]]

    Attributes:
        table: int64 [Q, 11] on the device; the columns are the constants above.
        sizes, dims: K_q and D_q, on the host.
        total_codes, weight_size, input_width: of the whole bank.
        widest: the largest stride.
        packed_size, norm_size, centre_size: of the first pass's buffers, in elements.
        every: all quantizers, as they come.
        buckets: (packed width, more than MANY_CODES) -> quantizers, largest codebook first.
        grouped: those of GROUPED.
        unpacked: quantizers wider than the widest block, or with more than MOST_CODES codes.
        pack_tiles: codes of a program -> int32 [n, 2] of (quantizer, first code) over all packed
            codebooks.
        refresh_tiles: the same over all codebooks as they are.
        aligned: every input column, weight element, stride and dim is a multiple of 4: 16-byte
            loads.
    """

    table: Tensor
    sizes: tuple[int, ...]
    dims: tuple[int, ...]
    total_codes: int
    weight_size: int
    input_width: int
    widest: int
    packed_size: int
    norm_size: int
    centre_size: int
    every: Members
    buckets: dict[tuple[int, bool], Members]
    grouped: Members
    unpacked: Members
    pack_tiles: dict[int, Tensor]
    refresh_tiles: dict[int, Tensor]
    aligned: bool

    @property
    def num_quantizers(self) -> int:
        """Q."""
        return len(self.sizes)

    @cached_property
    def largest(self) -> int:
        """The most codes of a codebook."""
        return max(self.sizes)

    @cached_property
    def code_elements(self) -> int:
        """Sum of K_q * D_q."""
        return sum(k * d for k, d in zip(self.sizes, self.dims, strict=True))


def make_bank(
    sizes: Sequence[int],
    dims: Sequence[int],
    strides: Sequence[int],
    input_offsets: Sequence[int],
    code_offsets: Sequence[int],
    weight_offsets: Sequence[int],
    weight_size: int,
    device: torch.device | str,
) -> Bank:
    """The bank of codebooks whose code k of quantizer q begins at weight_q + k * stride_q.

    Args:
        sizes: K_q.
        dims: D_q.
        strides: elements from one code to the next.
        input_offsets: first column in a dense row.
        code_offsets: global id of code 0.
        weight_offsets: first element in the flat weight.
        weight_size: its elements.
        device: of the table.
    """
    packed = norm = centre = 0
    rows = []
    buckets: dict[tuple[int, bool], list[int]] = {}
    unpacked = []
    for q, (size, dim) in enumerate(zip(sizes, dims, strict=True)):
        width = _packed_width(size, dim)
        padded = packed_codes(size)
        lies = [input_offsets[q], dim, size, weight_offsets[q], strides[q], code_offsets[q]]
        rows.append([*lies, packed, padded, norm, centre, width])
        packed += padded * width
        norm += padded
        centre += width
        if width:
            buckets.setdefault((width, size > MANY_CODES), []).append(q)
        else:
            unpacked.append(q)
    ordered = {
        bucket: tuple(sorted(members, key=lambda q: (-sizes[q], q)))
        for bucket, members in sorted(buckets.items(), reverse=True)
    }
    grouped = tuple(q for bucket in ordered if bucket in GROUPED for q in ordered[bucket])
    fours = (*input_offsets, *weight_offsets, *dims, *strides, sum(dims))
    padded_sizes = [0 if q in unpacked else packed_codes(size) for q, size in enumerate(sizes)]
    return Bank(
        table=torch.tensor(rows, dtype=torch.int64).to(device),
        sizes=tuple(sizes),
        dims=tuple(dims),
        total_codes=sum(sizes),
        weight_size=weight_size,
        input_width=sum(dims),
        widest=max(strides),
        packed_size=packed,
        norm_size=norm,
        centre_size=centre,
        every=_members(range(len(sizes)), device),
        buckets={bucket: _members(members, device) for bucket, members in ordered.items()},
        grouped=_members(grouped, device),
        unpacked=_members(unpacked, device),
        pack_tiles={step: _code_tiles(padded_sizes, step, device) for step in PACK_CODES},
        refresh_tiles={step: _code_tiles(sizes, step, device) for step in REFRESH_CODES},
        aligned=all(value % 4 == 0 for value in fours),
    )


def _members(quantizers: Iterable[int], device: torch.device | str) -> Members:
    chosen = tuple(quantizers)
    return Members(chosen, torch.tensor(chosen, dtype=torch.int32).to(device))


def _code_tiles(sizes: Sequence[int], step: int, device: torch.device | str) -> Tensor:
    """int32 [n, 2] of (quantizer, first code), ``step`` codes apart."""
    entries = [(q, first) for q, size in enumerate(sizes) for first in range(0, size, step)]
    return torch.tensor(entries, dtype=torch.int32).view(-1, 2).to(device)


def packed_codes(size: int) -> int:
    """Codes of a packed codebook: whole blocks, or whole groups of GROUP blocks.

    >>> [packed_codes(size) for size in (1, 64, 65, 1024, 1025)]
    [64, 64, 128, 1024, 1280]
    """
    return _up(size, BLOCK_CODES if size <= MANY_CODES else GROUP * BLOCK_CODES)


def _packed_width(size: int, dim: int) -> int:
    """Dims of a packed code; 0 for codebooks that are not packed.

    >>> _packed_width(64, 20), _packed_width(64, 513), _packed_width(MOST_CODES + 1, 20)
    (32, 0, 0)
    """
    return next((w for w in BLOCK_DIMS if dim <= w), 0) if size <= MOST_CODES else 0


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
