"""The tile schedule: every (quantizer, row block) exactly once, heaviest first."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from spinlock.errors import LayoutError
from spinlock.layout import CodebookLayout

relaxed = settings(deadline=None)
INT32_MAX = 2**31 - 1


def cost(layout: CodebookLayout, tile: tuple[int, int], num_rows: int, block_rows: int) -> int:
    quantizer, row0 = tile
    rows = min(block_rows, num_rows - row0)
    return layout.codebook_sizes[quantizer] * layout.padded_dims[quantizer] * rows


@given(st.from_type(CodebookLayout), st.integers(0, 300), st.integers(1, 128))
@relaxed
def test_each_block_once_heaviest_first_in_stable_order(
    layout: CodebookLayout, num_rows: int, block_rows: int
) -> None:
    schedule = layout.tile_schedule(num_rows, block_rows)
    assert schedule.dtype == np.int32
    assert schedule.flags.c_contiguous
    tiles = [
        (q, row0) for q in range(layout.num_quantizers) for row0 in range(0, num_rows, block_rows)
    ]
    tiles.sort(key=lambda tile: -cost(layout, tile, num_rows, block_rows))
    assert [tuple(tile) for tile in schedule.tolist()] == tiles


@given(st.from_type(CodebookLayout), st.integers(1, 300), st.integers(1, 128))
@relaxed
def test_every_row_meets_every_codebook_once(
    layout: CodebookLayout, num_rows: int, block_rows: int
) -> None:
    seen = np.zeros((layout.num_quantizers, num_rows), int)
    for quantizer, row0 in layout.tile_schedule(num_rows, block_rows):
        seen[quantizer, row0 : row0 + block_rows] += 1
    assert (seen == 1).all()


def test_partial_tiles_come_after_heavier_whole_ones() -> None:
    layout = CodebookLayout((8, 100), (4, 4))
    assert layout.tile_schedule(70, 64).tolist() == [[1, 0], [1, 64], [0, 0], [0, 64]]
    assert layout.tile_schedule(65, 64).tolist() == [[1, 0], [0, 0], [1, 64], [0, 64]]


def test_no_rows_no_tiles() -> None:
    assert CodebookLayout((4, 8), (2, 3)).tile_schedule(0, 64).shape == (0, 2)


def test_one_block_for_all_rows() -> None:
    layout = CodebookLayout((4, 8), (2, 3))
    assert layout.tile_schedule(1, 1).tolist() == [[1, 0], [0, 0]]
    assert layout.tile_schedule(5, 1000).tolist() == [[1, 0], [0, 0]]


def test_the_last_rows_that_fit_32_bits() -> None:
    layout = CodebookLayout((2,), (4,))
    block = 2**30
    assert layout.tile_schedule(block, block).tolist() == [[0, 0]]
    assert layout.tile_schedule(INT32_MAX, INT32_MAX).tolist() == [[0, 0]]
    # 2^31 is one past the last: row0 + i would overflow inside the last, partial block.
    with pytest.raises(LayoutError, match="2147483647 rows after rounding up to whole blocks"):
        layout.tile_schedule(block + 1, block)


@pytest.mark.parametrize("num_rows", [2**31, 2**32 + 1, 2**63 - 1])
def test_more_rows_than_32_bits_is_an_error(num_rows: int) -> None:
    with pytest.raises(LayoutError, match=rf"got {num_rows} rows; split the batch"):
        CodebookLayout((2,), (4,)).tile_schedule(num_rows, 64)


def test_a_cost_beyond_64_bits_is_an_error() -> None:
    layout = CodebookLayout((2**40,), (2**20,))
    with pytest.raises(LayoutError, match=r"K \* padded D \* rows fits 64 bits.*quantizer 0"):
        layout.tile_schedule(2**20, 2**20)


def test_blocks_longer_than_32_bits_are_an_error() -> None:
    with pytest.raises(LayoutError, match="use smaller blocks"):
        CodebookLayout((2,), (4,)).tile_schedule(5, 2**40)


@pytest.mark.parametrize(
    ("num_rows", "block_rows", "message"),
    [
        (-1, 64, "num_rows: expected 0 or more, got -1"),
        (8, 0, "block_rows: expected at least 1, got 0"),
        (8.0, 64, r"num_rows: expected an integer, got 8.0 \(float\)"),
        (8, True, r"block_rows: expected an integer, got True \(bool\)"),
    ],
)
def test_unusable_rows_are_named(num_rows: int, block_rows: int, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        CodebookLayout((2,), (4,)).tile_schedule(num_rows, block_rows)
