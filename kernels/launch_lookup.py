"""Launches of a lookup: a scan of small codebooks, or a certified first pass and its recheck."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .bank import BLOCK_CODES, GROUP, GROUPED, PACK_CODES, Bank, Members, packed_codes
from .common import (
    INTERPRETED,
    NO_FUSION,
    architecture,
    is_aligned,
    multiprocessors,
    power_of_two,
)
from .doubtful_rows import LISTED
from .launcher import launch_on
from .nearest_codes import first_pass
from .nearest_of_group import nearest_of_group
from .pack_codes import RADII, pack_codes
from .quantize_small import quantize_small
from .recheck import recheck

__all__ = ["SMALL_CODES", "SMALL_DIMS", "SMALL_ROWS", "SMALL_WARPS", "certified", "scan"]

# The largest codebook of a small bank; rows, dims and warps of its tiles.
SMALL_CODES = 64
SMALL_ROWS = 32
SMALL_DIMS = 16
SMALL_WARPS = 4


class Tile(NamedTuple):
    """How the first pass does codebooks of one packed width; see ``first_pass``."""

    rows: int
    codes: int
    lanes: int
    warps: int
    stages: int
    codes_first: bool = False
    in_halves: bool = False
    pairs: int = 0


# (packed width, many codes) -> its tile; docs/kernels.md has the others that were measured.
TILES = {
    (16, False): Tile(64, 64, 16, 4, 3, pairs=16),
    (32, False): Tile(64, 64, 16, 4, 3, pairs=16),
    (64, False): Tile(64, 64, 16, 4, 3, in_halves=True, pairs=16),
    (128, False): Tile(64, 64, 16, 4, 2, in_halves=True),
    (256, False): Tile(64, 64, 64, 4, 2),
    (512, False): Tile(32, 64, 64, 8, 2, codes_first=True),
    (16, True): Tile(64, 64, 64, 4, 3, codes_first=True),
    (32, True): Tile(64, 64, 64, 4, 3, codes_first=True),
    (64, True): Tile(64, 64, 64, 4, 3, codes_first=True),
    (128, True): Tile(64, 64, 64, 4, 3, codes_first=True),
    (256, True): Tile(64, 64, 64, 4, 2, codes_first=True),
    (512, True): Tile(32, 64, 64, 8, 2, codes_first=True),
}
# Where registers would not do on other architectures than the one that was measured (sm_90).
WARPS_ELSEWHERE = {(64, True): 8, (256, False): 8}
_GROUP_ROWS = 32
# Room in each list of doubtful rows, at least.
LEAST_LISTED = 1 << 14
# For each list: programs per multiprocessor, codes and dims at a time, warps.
RECHECKS = ((32, 4, 128, 1), (4, 64, 32, 4))


def _tile_of(width: int, many: bool, device: torch.device) -> Tile:
    tile = TILES[width, many]
    if architecture(device) // 10 == 9:
        return tile
    return tile._replace(warps=WARPS_ELSEWHERE.get((width, many), tile.warps))


def scan(
    rows: Tensor,
    weight: Tensor,
    bank: Bank,
    indices: Tensor,
    members: Members,
) -> None:
    """Compares rows with every code of some quantizers."""
    none = indices  # a pointer that is never followed
    block_rows = SMALL_ROWS
    largest = max(bank.sizes[q] for q in members.quantizers)
    block_codes = min(SMALL_CODES, power_of_two(largest))
    launch_on(quantize_small, members.grid(rows.shape[0], block_rows))(
        rows,
        rows.stride(0),
        0,
        weight,
        bank.table,
        members.table,
        len(members.quantizers),
        indices,
        none,
        none,
        none,
        none,
        none,
        none,
        none,
        rows.shape[0],
        bank.num_quantizers,
        bank.total_codes,
        bank.weight_size,
        BLOCK_ROWS=block_rows,
        BLOCK_CODES=block_codes,
        BLOCK_DIM=SMALL_DIMS,
        QUANTIZE=False,
        STATISTICS=False,
        KEEP_COUNTS=False,
        ALIGNED=is_aligned(bank, rows),
        num_warps=SMALL_WARPS,
        **NO_FUSION,
    )


def certified(rows: Tensor, weight: Tensor, bank: Bank, indices: Tensor) -> None:
    """First pass on tensor cores, then the recheck; quantizers too large for it are scanned."""
    device, num_rows = rows.device, rows.shape[0]
    if bank.unpacked.quantizers:
        scan(rows, weight, bank, indices, bank.unpacked)
    if not bank.buckets:
        return
    packed = torch.empty(bank.packed_size, dtype=torch.float16, device=device)
    floats = torch.empty(
        bank.norm_size + bank.centre_size + bank.num_quantizers,
        dtype=torch.float32,
        device=device,
    )
    norms, centres, scales = floats.split([bank.norm_size, bank.centre_size, bank.num_quantizers])
    zeros = torch.zeros(bank.num_quantizers * RADII.value + 2, dtype=torch.int32, device=device)
    radii, counters = zeros.split([bank.num_quantizers * RADII.value, 2])
    widest = max(width for width, _ in bank.buckets)
    # The interpreter pays per program.
    pack = PACK_CODES[widest > 32 and not INTERPRETED]
    packing = bank.pack_tiles[pack]
    packed_quantizers = bank.num_quantizers - len(bank.unpacked.quantizers)
    # Room for one row in eight; more are settled without it, slowly.
    capacity = max(LEAST_LISTED, num_rows * packed_quantizers // 8)
    listed = torch.empty(2 * capacity * LISTED.value, dtype=torch.int32, device=device)
    launch_on(pack_codes, (packing.shape[0],))(
        weight,
        bank.table,
        packing,
        packed,
        norms,
        radii,
        centres,
        scales,
        BLOCK_CODES=pack,
        BLOCK_DIM=widest,
        **NO_FUSION,
    )
    for (width, many), members in bank.buckets.items():
        tile = _tile_of(width, many, device)
        group = GROUP if (width, many) in GROUPED else 1
        largest = packed_codes(bank.sizes[members.quantizers[0]])
        launch_on(first_pass, members.grid(num_rows, tile.rows))(
            rows,
            rows.stride(0),
            weight,
            bank.table,
            members.table,
            len(members.quantizers),
            packed,
            norms,
            radii,
            centres,
            scales,
            indices,
            listed,
            counters,
            capacity,
            num_rows,
            bank.num_quantizers,
            BLOCK_ROWS=tile.rows,
            BLOCK_CODES=tile.codes,
            LANES=tile.lanes,
            GROUP=group,
            WIDTH=width,
            BITS=max(1, (largest // (tile.lanes * group) - 1).bit_length()),
            ALIGNED=is_aligned(bank, rows),
            CODES_FIRST=tile.codes_first,
            IN_HALVES=tile.in_halves,
            PAIRS=tile.pairs,
            NVIDIA=not INTERPRETED and torch.version.hip is None,
            num_warps=tile.warps,
            num_stages=tile.stages,
            # Its bound holds with multiply-add and without.
            enable_fp_fusion=True,
        )
    grouped = bank.grouped
    if grouped.quantizers:
        launch_on(nearest_of_group, grouped.grid(num_rows, _GROUP_ROWS))(
            rows,
            rows.stride(0),
            weight,
            bank.table,
            grouped.table,
            len(grouped.quantizers),
            indices,
            listed,
            counters,
            capacity,
            num_rows,
            bank.num_quantizers,
            BLOCK_ROWS=_GROUP_ROWS,
            BLOCK_CODES=BLOCK_CODES,
            BLOCK_DIM=32,
            GROUP=GROUP,
            ALIGNED=is_aligned(bank, rows),
            **NO_FUSION,
        )
    for which, (programs, block_codes, block_dims, warps) in enumerate(RECHECKS):
        launch_on(recheck, (programs * multiprocessors(device),))(
            rows,
            rows.stride(0),
            weight,
            bank.table,
            indices,
            listed,
            counters,
            capacity,
            num_rows,
            bank.num_quantizers,
            LIST=which,
            BLOCK_CODES=block_codes,
            BLOCK_DIM=block_dims,
            ALIGNED=is_aligned(bank, rows),
            num_warps=warps,
            **NO_FUSION,
        )
