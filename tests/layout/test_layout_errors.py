"""Inputs that describe no layout or do not fit it: the message names the thing and the remedy."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spinlock.errors import LayoutError, SpinlockError
from spinlock.layout import CodebookLayout

LAYOUT = CodebookLayout((5, 3), (6, 3))
F32 = np.float32
ZERO = [np.zeros((5, 6), F32), np.zeros((3, 3), F32)]


def raises(call: Callable[[], object], *parts: str) -> None:
    with pytest.raises(LayoutError) as caught:
        call()
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert "; " in message, "no remedy"


@pytest.mark.parametrize(
    ("sizes", "dims", "parts"),
    [
        ((), (), ("expected at least one quantizer",)),
        ((4, 4), (3,), ("got 2 codebook sizes and 1 dims",)),
        ((4, 0), (3, 3), ("codebook_sizes[1]: expected at least 1, got 0",)),
        ((4, 4), (3, -2), ("dims[1]: expected at least 1, got -2",)),
        ((4, True), (3, 3), ("codebook_sizes[1]: expected an integer, got True (bool)",)),
        ((4,), (np.bool_(True),), ("dims[0]: expected an integer",)),
        ((4.0,), (3,), ("codebook_sizes[0]: expected an integer, got 4.0 (float)",)),
        (np.array([4.0]), (3,), ("codebook_sizes[0]: expected an integer", "float64")),
        (("4",), (3,), ("codebook_sizes[0]: expected an integer, got '4' (str)",)),
        ((None,), (3,), ("codebook_sizes[0]: expected an integer, got None",)),
        (4, (3,), ("codebook_sizes: expected a list of integers", "got int 4")),
        ("44", (3, 3), ("codebook_sizes: expected a list of integers", "got str")),
        ((4,), {3: 1}, ("dims: expected a list of integers", "got dict")),
        (np.array(4), (3,), ("codebook_sizes: expected a list of integers", "got ndarray")),
        (np.array([[4, 4]]), (3,), ("codebook_sizes[0]: expected an integer",)),
        ((2**63,), (3,), ("codebook_sizes[0]: expected an integer of 64 bits",)),
    ],
)
def test_sizes_and_dims(sizes: Any, dims: Any, parts: tuple[str, ...]) -> None:
    raises(lambda: CodebookLayout(sizes, dims), *parts)


@pytest.mark.parametrize("alignment", [0, -4, 3, 6, 2**63 - 1, -(2**63) + 1])
def test_an_alignment_is_a_power_of_two(alignment: int) -> None:
    raises(
        lambda: CodebookLayout((4,), (3,), alignment),
        f"alignment: expected a power of two (1, 2, 4, 8, ...), got {alignment}",
    )


@pytest.mark.parametrize("alignment", [4.0, True, None, "4", 2**64])
def test_an_alignment_is_an_integer(alignment: Any) -> None:
    raises(lambda: CodebookLayout((4,), (3,), alignment), "alignment: expected an integer")


@pytest.mark.parametrize(
    ("codebooks", "parts"),
    [
        (ZERO[:1], ("codebooks: expected one matrix per quantizer, 2 in all, got 1",)),
        ([*ZERO, ZERO[0]], ("2 in all, got 3",)),
        ([], ("got 0",)),
        (ZERO[::-1], ("codebooks[0]: expected shape [5, 6] (codes, dims), got [3, 3]", "order")),
        ([ZERO[0], np.zeros((3, 4), F32)], ("codebooks[1]", "[3, 3]", "got [3, 4]")),
        ([ZERO[0], np.zeros(9, F32)], ("codebooks[1]: expected a 2-D float32 array, got a 1-D",)),
        ([ZERO[0], np.zeros((3, 3), bool)], ("codebooks[1]: expected real numbers", "bool")),
        ([ZERO[0], np.zeros((3, 3), complex)], ("codebooks[1]", "complex128")),
        ([ZERO[0], [["a"]]], ("codebooks[1]: expected real numbers",)),
        ([ZERO[0], [[1, 2], [3]]], ("codebooks[1]: expected a numpy array, got a list",)),
        ([ZERO[0], np.full((3, 3), 1e300)], ("codebooks[1]: expected values of float32",)),
        (7, ("codebooks: expected a list of matrices", "got int 7")),
        (None, ("codebooks: expected a list of matrices", "got NoneType")),
    ],
)
def test_codebooks_that_do_not_fit(codebooks: Any, parts: tuple[str, ...]) -> None:
    raises(lambda: LAYOUT.pack_codebooks(codebooks), *parts)


@pytest.mark.parametrize(
    ("latents", "parts"),
    [
        ([np.zeros((7, 6), F32)], ("latents: expected one matrix per quantizer",)),
        (
            [np.zeros((7, 6), F32), np.zeros((8, 3), F32)],
            ("latents[1]: expected shape [7, 3] (rows of latents[0], dims), got [8, 3]",),
        ),
        ([np.zeros((7, 5), F32), np.zeros((7, 3), F32)], ("latents[0]", "[7, 6]", "[7, 5]")),
        ([np.zeros(6, F32), np.zeros(3, F32)], ("latents[0]: expected a 2-D float32 array",)),
    ],
)
def test_latents_that_do_not_fit(latents: Any, parts: tuple[str, ...]) -> None:
    raises(lambda: LAYOUT.pack_latents(latents), *parts)


@pytest.mark.parametrize(
    ("weight", "parts"),
    [
        (np.zeros(63, F32), ("weight: expected the 64 elements", "got 63", "slice")),
        (np.zeros((8, 8), F32), ("weight: expected a 1-D float32 array, got a 2-D",)),
        (np.zeros(64), ("weight: expected a 1-D float32", "float64", ".astype(numpy.float32)")),
        ("weights.npy", ("weight: expected a 1-D float32 array, got a 0-D",)),
        ([[1], [2, 3]], ("weight: expected a numpy array, got a list that numpy cannot read",)),
    ],
)
def test_weights_that_do_not_fit(weight: Any, parts: tuple[str, ...]) -> None:
    raises(lambda: LAYOUT.unpack_codebooks(weight), *parts)


@pytest.mark.parametrize(
    ("packed", "parts"),
    [
        (np.zeros((2, 9), F32), ("packed: expected rows of 16 elements (latent_width), got 9",)),
        (np.zeros(16, F32), ("packed: expected a 2-D float32 array, got a 1-D",)),
        (np.zeros((2, 16), np.int32), ("packed: expected a 2-D float32", "int32")),
    ],
)
def test_packed_latents_that_do_not_fit(packed: Any, parts: tuple[str, ...]) -> None:
    raises(lambda: LAYOUT.unpack_latents(packed), *parts)


def test_buffers_that_no_memory_holds() -> None:
    layout = CodebookLayout((1,), (1,), 2**58)
    raises(
        lambda: layout.pack_codebooks([np.zeros((1, 1), F32)]),
        f"packed codebooks: expected a buffer that fits the memory, got float32 [{2**58}]",
    )
    raises(
        lambda: layout.pack_latents([np.zeros((64, 1), F32)]),
        f"packed latents: expected a buffer that fits the memory, got float32 [64, {2**58}]",
    )


def test_a_schedule_that_no_memory_holds() -> None:
    layout = CodebookLayout((1,) * 2**17, (1,) * 2**17)
    raises(lambda: layout.tile_schedule(2**31 - 1, 1), "tile_schedule: expected a table that fits")


def test_errors_are_value_errors_of_the_house() -> None:
    with pytest.raises(ValueError, match="expected at least one quantizer") as caught:
        CodebookLayout((), ())
    assert isinstance(caught.value, SpinlockError)


def test_a_tensor_that_numpy_cannot_read() -> None:
    torch = pytest.importorskip("torch")
    weight = torch.zeros(64, requires_grad=True)
    raises(lambda: LAYOUT.unpack_codebooks(weight), "weight: expected a numpy array", "detach")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(LAYOUT.unpack_codebooks(weight.detach())) == 2
