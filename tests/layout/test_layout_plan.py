"""The packing plan: widths, offsets, alignment, waste, slices, 64 bits."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from spinlock.errors import LayoutError
from spinlock.layout import CodebookLayout

relaxed = settings(deadline=None)
LAYOUTS = st.from_type(CodebookLayout)
POWERS = [2**p for p in range(7)]
MAX_ELEMENTS = (2**63 - 1) // 4


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


@given(LAYOUTS)
@relaxed
def test_the_plan_is_the_documented_sums(layout: CodebookLayout) -> None:
    base = max(16, layout.alignment)
    padded = [round_up(dim, layout.alignment) for dim in layout.dims]
    blocks = [round_up(k * p, base) for k, p in zip(layout.codebook_sizes, padded, strict=True)]
    quantizers = range(layout.num_quantizers)
    assert layout.padded_dims == tuple(padded)
    assert layout.input_offsets == tuple(sum(layout.dims[:q]) for q in quantizers)
    assert layout.latent_offsets == tuple(sum(padded[:q]) for q in quantizers)
    assert layout.code_offsets == tuple(sum(layout.codebook_sizes[:q]) for q in quantizers)
    assert layout.weight_offsets == tuple(sum(blocks[:q]) for q in quantizers)
    assert layout.input_width == sum(layout.dims)
    assert layout.latent_width == round_up(sum(padded), base)
    assert layout.total_codes == sum(layout.codebook_sizes)
    assert layout.weight_size == sum(blocks)


@given(LAYOUTS)
@relaxed
def test_no_two_values_share_an_element(layout: CodebookLayout) -> None:
    elements = [
        layout.weight_offsets[q] + k * layout.padded_dims[q] + d
        for q in range(layout.num_quantizers)
        for k in range(layout.codebook_sizes[q])
        for d in range(layout.dims[q])
    ]
    assert len(set(elements)) == len(elements)
    assert max(elements) < layout.weight_size
    columns = [
        offset + d
        for offset, dim in zip(layout.latent_offsets, layout.dims, strict=True)
        for d in range(dim)
    ]
    assert len(set(columns)) == len(columns)
    assert max(columns) < layout.latent_width


@pytest.mark.parametrize("alignment", POWERS)
@given(pairs=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=9))
@relaxed
def test_every_start_is_aligned(alignment: int, pairs: list[tuple[int, int]]) -> None:
    layout = CodebookLayout([k for k, _ in pairs], [d for _, d in pairs], alignment)
    base = max(16, alignment)
    assert all(value % alignment == 0 for value in layout.padded_dims + layout.latent_offsets)
    assert all(value % base == 0 for value in layout.weight_offsets)
    assert layout.latent_width % base == 0
    assert layout.weight_size % base == 0


@given(LAYOUTS)
@relaxed
def test_waste_is_the_share_of_padding(layout: CodebookLayout) -> None:
    values = sum(k * d for k, d in zip(layout.codebook_sizes, layout.dims, strict=True))
    assert layout.weight_waste == pytest.approx(1 - values / layout.weight_size)
    assert layout.latent_waste == pytest.approx(1 - layout.input_width / layout.latent_width)
    assert 0 <= layout.weight_waste < 1
    assert 0 <= layout.latent_waste < 1


def test_a_layout_that_fits_wastes_nothing() -> None:
    layout = CodebookLayout((16, 8), (16, 32))
    assert (layout.weight_waste, layout.latent_waste) == (0, 0)


def test_the_seed_banks_waste() -> None:
    """7 categories x 3 levels of the benchmark bank, its dims multiples of 4: under 1%."""
    layout = CodebookLayout(
        (32, 16, 8, 16, 8, 6, 24, 12, 6, 20, 11, 6, 28, 14, 7, 28, 15, 7, 32, 17, 8),
        (8, 24, 48, 4, 8, 12, 4, 12, 24, 4, 12, 20, 8, 16, 36, 8, 20, 40, 12, 28, 60),
    )
    assert layout.num_quantizers == 21
    assert layout.total_codes == 321
    assert layout.input_width == 408
    assert layout.latent_width == 416
    assert layout.weight_size == 4832
    assert layout.weight_waste == 48 / 4832


@given(LAYOUTS, st.data())
@relaxed
def test_a_slice_is_contiguous_with_the_same_relative_offsets(
    layout: CodebookLayout, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, layout.num_quantizers - 1))
    stop = data.draw(st.integers(start + 1, layout.num_quantizers))
    part = layout.slice(start, stop)
    for name, total, ranged in (
        ("weight_offsets", part.weight_size, layout.weight_range),
        ("code_offsets", part.total_codes, layout.code_range),
        ("input_offsets", part.input_width, layout.input_range),
    ):
        first, end = ranged(start, stop)
        assert end - first == total
        moved = tuple(first + offset for offset in getattr(part, name))
        assert moved == getattr(layout, name)[start:stop]
    first = layout.latent_offsets[start]
    moved = tuple(first + offset for offset in part.latent_offsets)
    assert moved == layout.latent_offsets[start:stop]
    assert part.padded_dims == layout.padded_dims[start:stop]


def test_the_whole_slice_is_the_layout() -> None:
    layout = CodebookLayout((5, 3, 7), (6, 3, 2), 8)
    assert layout.slice(0, 3) == layout
    assert layout.weight_range(0, 3) == (0, layout.weight_size)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 4), (2, 2), (2, 1), (3, 3)])
def test_a_slice_outside_the_layout_is_an_error(start: int, stop: int) -> None:
    layout = CodebookLayout((5, 3, 7), (6, 3, 2))
    with pytest.raises(LayoutError, match=rf"start < stop <= 3 .* start={start}, stop={stop}"):
        layout.slice(start, stop)


@given(LAYOUTS)
@relaxed
def test_bits_are_the_sum_of_log2(layout: CodebookLayout) -> None:
    assert 2**layout.bits == pytest.approx(math.prod(layout.codebook_sizes))


def test_one_code_one_dimension_one_quantizer() -> None:
    layout = CodebookLayout((1,), (1,), 1)
    assert (layout.padded_dims, layout.latent_width, layout.weight_size) == ((1,), 16, 16)
    assert (layout.bits, layout.weight_waste) == (0, 15 / 16)


def test_offsets_beyond_32_bits() -> None:
    layout = CodebookLayout((2**24, 2**24, 3), (512, 511, 5))
    assert layout.weight_offsets == (0, 2**33, 2**34)
    assert layout.weight_size == 2**34 + 32
    wide = CodebookLayout((1, 1, 1), (2**33, 2**33 - 3, 1))
    assert wide.input_offsets == (0, 2**33, 2**34 - 3)
    assert wide.latent_offsets == (0, 2**33, 2**34)


SIZES = st.integers(0, 62).flatmap(lambda p: st.integers(1, 2**p)) | st.integers(1, 2**63 - 1)


@given(st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=4), st.sampled_from(POWERS))
@relaxed
def test_huge_plans_are_exact_or_an_error(pairs: list[tuple[int, int]], alignment: int) -> None:
    sizes, dims = zip(*pairs, strict=True)
    base = max(16, alignment)
    blocks = [round_up(k * round_up(d, alignment), base) for k, d in pairs]
    if sum(blocks) > MAX_ELEMENTS:
        with pytest.raises(LayoutError, match=r"quantizer \d .* expected buffers of at most"):
            CodebookLayout(sizes, dims, alignment)
        return
    layout = CodebookLayout(sizes, dims, alignment)
    assert layout.weight_size == sum(blocks)
    assert layout.weight_offsets == tuple(sum(blocks[:q]) for q in range(len(blocks)))
    assert layout.total_codes == sum(sizes)


def test_the_first_size_that_does_not_fit() -> None:
    largest = MAX_ELEMENTS // 16 * 16
    assert CodebookLayout((largest,), (1,), 1).weight_size == largest
    with pytest.raises(LayoutError, match="quantizer 0"):
        CodebookLayout((largest + 1,), (1,), 1)
    with pytest.raises(LayoutError, match="quantizer 1"):
        CodebookLayout((largest, 1), (1, 1), 1)


def test_an_alignment_that_does_not_fit() -> None:
    with pytest.raises(LayoutError, match=r"alignment = 4611686018427387904.*lower its codebook"):
        CodebookLayout((1,), (1,), 2**62)
