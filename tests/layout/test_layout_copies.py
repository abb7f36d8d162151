"""Packing and unpacking: exact round trips, zero padding whatever the memory held, alignment."""

from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from spinlock.layout import CodebookLayout

Matrices = list[NDArray[np.float32]]

relaxed = settings(deadline=None)
LAYOUTS = st.from_type(CodebookLayout)


def random_matrices(shapes: list[tuple[int, int]], seed: int) -> Matrices:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def codebooks_of(layout: CodebookLayout, seed: int = 0) -> Matrices:
    shapes = list(zip(layout.codebook_sizes, layout.dims, strict=True))
    return random_matrices(shapes, seed)


def latents_of(layout: CodebookLayout, rows: int, seed: int = 0) -> Matrices:
    return random_matrices([(rows, dim) for dim in layout.dims], seed)


def expected_weight(layout: CodebookLayout, codebooks: Matrices) -> NDArray[np.float32]:
    weight = np.zeros(layout.weight_size, np.float32)
    for q, codebook in enumerate(codebooks):
        for k, code in enumerate(codebook):
            first = layout.weight_offsets[q] + k * layout.padded_dims[q]
            weight[first : first + layout.dims[q]] = code
    return weight


def expected_packed(layout: CodebookLayout, latents: Matrices) -> NDArray[np.float32]:
    packed = np.zeros((len(latents[0]), layout.latent_width), np.float32)
    for q, latent in enumerate(latents):
        first = layout.latent_offsets[q]
        packed[:, first : first + layout.dims[q]] = latent
    return packed


def on_cache_line(array: NDArray[np.float32]) -> bool:
    return array.ctypes.data % 64 == 0 and array.flags.c_contiguous


@given(LAYOUTS, st.integers(0, 2**32))
@relaxed
def test_codebooks_round_trip_with_zero_padding(layout: CodebookLayout, seed: int) -> None:
    codebooks = codebooks_of(layout, seed)
    # Memory that the allocator is about to hand out again holds NaN.
    del_me = layout.pack_codebooks([np.full_like(codebook, np.nan) for codebook in codebooks])
    del_me[:] = np.nan
    del del_me
    weight = layout.pack_codebooks(codebooks)
    assert weight.dtype == np.float32
    assert on_cache_line(weight)
    assert_array_equal(weight, expected_weight(layout, codebooks), strict=True)
    for codebook, unpacked in zip(codebooks, layout.unpack_codebooks(weight), strict=True):
        assert on_cache_line(unpacked)
        assert_array_equal(unpacked, codebook, strict=True)


@given(LAYOUTS, st.integers(0, 9), st.integers(0, 2**32))
@relaxed
def test_latents_round_trip_with_zero_padding(layout: CodebookLayout, rows: int, seed: int) -> None:
    latents = latents_of(layout, rows, seed)
    del_me = layout.pack_latents([np.full_like(latent, np.nan) for latent in latents])
    del_me[:] = np.nan
    del del_me
    packed = layout.pack_latents(latents)
    assert packed.dtype == np.float32
    assert on_cache_line(packed)
    assert packed.strides[0] % 64 == 0
    assert_array_equal(packed, expected_packed(layout, latents), strict=True)
    for latent, unpacked in zip(latents, layout.unpack_latents(packed), strict=True):
        assert on_cache_line(unpacked)
        assert_array_equal(unpacked, latent, strict=True)


@given(LAYOUTS)
@relaxed
def test_unpacking_never_reads_padding(layout: CodebookLayout) -> None:
    codebooks, latents = codebooks_of(layout), latents_of(layout, 3)
    weight, packed = layout.pack_codebooks(codebooks), layout.pack_latents(latents)
    values = layout.pack_codebooks([np.ones_like(codebook) for codebook in codebooks])
    weight[values == 0] = np.nan
    columns = layout.pack_latents([np.ones_like(latent) for latent in latents])
    packed[columns == 0] = np.nan
    for codebook, unpacked in zip(codebooks, layout.unpack_codebooks(weight), strict=True):
        assert_array_equal(unpacked, codebook)
    for latent, unpacked in zip(latents, layout.unpack_latents(packed), strict=True):
        assert_array_equal(unpacked, latent)


@given(LAYOUTS, st.data())
@relaxed
def test_a_slice_unpacks_its_sub_range(layout: CodebookLayout, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, layout.num_quantizers - 1))
    stop = data.draw(st.integers(start + 1, layout.num_quantizers))
    codebooks = codebooks_of(layout)
    first, end = layout.weight_range(start, stop)
    part = layout.pack_codebooks(codebooks)[first:end]
    assert_array_equal(layout.slice(start, stop).pack_codebooks(codebooks[start:stop]), part)
    for codebook, unpacked in zip(
        codebooks[start:stop], layout.slice(start, stop).unpack_codebooks(part), strict=True
    ):
        assert_array_equal(unpacked, codebook)


def test_special_values_survive_bit_for_bit() -> None:
    special = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45]], np.float32)
    layout = CodebookLayout((1,), (5,))
    (codebook,) = layout.unpack_codebooks(layout.pack_codebooks([special]))
    (latent,) = layout.unpack_latents(layout.pack_latents([special]))
    assert codebook.tobytes() == latent.tobytes() == special.tobytes()


LAYOUT = CodebookLayout((5, 3), (6, 3))
DENSE = np.random.default_rng(3).normal(size=(7, 9)).astype(np.float32)


def unaligned(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same values one byte off a float's boundary."""
    memory = np.zeros(matrix.nbytes + 1, np.uint8)
    view = memory[1:].view(np.float32).reshape(matrix.shape)
    view[:] = matrix
    return view


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(np.ascontiguousarray, id="contiguous"),
        pytest.param(np.asfortranarray, id="column major"),
        pytest.param(lambda m: np.repeat(np.repeat(m, 2, 0), 2, 1)[::2, ::2], id="strided"),
        pytest.param(lambda m: np.ascontiguousarray(m[::-1])[::-1], id="rows reversed"),
        pytest.param(lambda m: np.ascontiguousarray(m[:, ::-1])[:, ::-1], id="columns reversed"),
        pytest.param(lambda m: m.astype(">f4"), id="foreign byte order"),
        pytest.param(unaligned, id="unaligned"),
        pytest.param(lambda m: m.astype(np.float64), id="float64"),
        pytest.param(lambda m: m.tolist(), id="lists"),
    ],
)
def test_sources_of_any_memory_order(arrange) -> None:  # type: ignore[no-untyped-def]
    latents = [DENSE[:, :6], DENSE[:, 6:]]
    expected = expected_packed(LAYOUT, latents)
    assert_array_equal(LAYOUT.pack_latents([arrange(latent) for latent in latents]), expected)


def test_column_slices_of_a_dense_matrix_are_read_where_they_lie() -> None:
    packed = LAYOUT.pack_latents([DENSE[:, :6], DENSE[:, 6:]])
    assert_array_equal(packed, expected_packed(LAYOUT, [DENSE[:, :6], DENSE[:, 6:]]))
    wide = np.full((7, 40), np.nan, np.float32)
    wide[:, 11:27] = packed
    for latent, unpacked in zip(
        LAYOUT.unpack_latents(packed), LAYOUT.unpack_latents(wide[:, 11:27]), strict=True
    ):
        assert_array_equal(unpacked, latent)


def test_weight_of_any_stride() -> None:
    weight = LAYOUT.pack_codebooks(codebooks_of(LAYOUT))
    backwards = np.ascontiguousarray(weight[::-1])[::-1]
    for codebook, unpacked in zip(
        LAYOUT.unpack_codebooks(weight), LAYOUT.unpack_codebooks(backwards), strict=True
    ):
        assert_array_equal(unpacked, codebook)


def test_numbers_are_rounded_to_float32() -> None:
    third = np.full((1, 1), 1 / 3)
    layout = CodebookLayout((1,), (1,))
    assert layout.pack_codebooks([third])[0] == np.float32(1 / 3)
    assert layout.pack_codebooks([np.array([[7]], np.int8)])[0] == 7
    assert layout.pack_latents([np.array([[0.5]], np.float16)])[0, 0] == 0.5


def test_a_stack_of_equal_codebooks_is_a_sequence_too() -> None:
    stack = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    layout = CodebookLayout((3, 3), (4, 4))
    assert_array_equal(np.stack(layout.unpack_codebooks(layout.pack_codebooks(stack))), stack)


def test_results_own_their_memory() -> None:
    codebooks = codebooks_of(LAYOUT)
    weight = LAYOUT.pack_codebooks(codebooks)
    unpacked = LAYOUT.unpack_codebooks(weight)
    kept = [codebook.copy() for codebook in unpacked]
    codebooks[0][:] = 0
    weight[:] = 0
    for before, after in zip(kept, unpacked, strict=True):
        assert_array_equal(before, after)
        assert after.flags.writeable


def test_threads_pack_at_the_same_time() -> None:
    layout = CodebookLayout((64,) * 8, (33,) * 8)
    codebooks = [codebooks_of(layout, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        weights = list(pool.map(layout.pack_codebooks, codebooks))
    for weight, source in zip(weights, codebooks, strict=True):
        assert_array_equal(weight, expected_weight(layout, source))
