"""Gathering codes and adding up rows by code."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from cases import FROZEN, RaggedCase, ragged_cases
from spinlock.layout import CodebookLayout
from spinlock.ops import accumulate_codes, gather_codes, nearest_codes

BACKENDS = ["reference", "torch", "cpp"]


def chosen(case: RaggedCase) -> torch.Tensor:
    weight = torch.from_numpy(case.weight)
    return nearest_codes(torch.from_numpy(case.latents), weight, case.layout)


@settings(max_examples=25)
@given(ragged_cases())
def test_gather_returns_the_codes_themselves(case: RaggedCase) -> None:
    indices = chosen(case)
    codes = gather_codes(indices, torch.from_numpy(case.weight), case.layout).numpy()
    expected = [codes_q[indices[:, q].numpy()] for q, codes_q in enumerate(case.codebooks)]
    np.testing.assert_array_equal(codes, np.concatenate(expected, axis=1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_gather_keeps_the_dtype_of_the_weight(dtype: torch.dtype) -> None:
    case = FROZEN[0]
    weight = torch.from_numpy(case.weight).to(dtype)
    codes = gather_codes(chosen(case).int(), weight, case.layout)
    assert codes.dtype == dtype
    assert torch.equal(codes[:, :8], weight[: 32 * 8].view(32, 8)[chosen(case)[:, 0]])


def test_gather_is_differentiable_in_the_weight() -> None:
    layout = CodebookLayout((3, 2), (2, 3))
    weight = torch.randn(layout.weight_size, dtype=torch.float64, requires_grad=True)
    indices = torch.tensor([[0, 1], [2, 1], [0, 0]])
    assert torch.autograd.gradcheck(lambda w: gather_codes(indices, w, layout), weight)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", FROZEN, ids=lambda case: case.name)
def test_accumulate_against_numpy(case: RaggedCase, backend: str) -> None:
    indices = chosen(case)
    latents = torch.from_numpy(case.latents)
    counts, sums = accumulate_codes(latents, indices, case.layout, backend=backend)
    assert counts.dtype == sums.dtype == torch.float32
    expected_counts, expected_sums, magnitude = [], [], []
    for q, part in enumerate(case.parts()):
        usable = np.isfinite(part).all(axis=1)
        index, rows = indices[:, q].numpy()[usable], part[usable].astype(np.float64)
        expected_counts.append(np.bincount(index, minlength=len(case.codebooks[q])))
        for values, into in ((rows, expected_sums), (np.abs(rows), magnitude)):
            total = np.zeros(case.codebooks[q].shape)
            np.add.at(total, index, values)
            into.append(total)
    np.testing.assert_array_equal(counts.numpy(), np.concatenate(expected_counts))
    layout = case.layout
    unpacked = layout.unpack_codebooks(sums.numpy())
    for q, (total, size) in enumerate(zip(expected_sums, magnitude, strict=True)):
        error = np.abs(unpacked[q] - total)
        assert (error <= 64 * 2.0**-24 * size + 2.0**-149).all()
    used = layout.pack_codebooks([np.ones_like(codes) for codes in case.codebooks])
    assert (sums.numpy()[used == 0] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_statistics_are_float32_for_any_input(dtype: torch.dtype, backend: str) -> None:
    """In half precision 4,096 rows of 1.0 would stop counting at 2,048."""
    if (backend, dtype) == ("cpp", torch.float64):
        pytest.skip("float64 is not for this backend")
    layout = CodebookLayout((1,), (1,))
    latents = torch.ones(4096, 1, dtype=dtype)
    indices = torch.zeros(4096, 1, dtype=torch.int32)
    counts, sums = accumulate_codes(latents, indices, layout, backend=backend)
    assert counts.tolist() == [4096.0]
    assert sums.dtype == torch.float32
    assert sums[0] == 4096.0


def test_accumulating_is_repeatable_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    layout = CodebookLayout((7, 40, 3), (5, 16, 33))
    latents = torch.randn(2000, layout.input_width, generator=generator)
    weight = torch.randn(layout.weight_size, generator=generator)
    indices = nearest_codes(latents, weight, layout)
    first = accumulate_codes(latents, indices, layout)
    for _ in range(3):
        again = accumulate_codes(latents, indices, layout)
        assert torch.equal(first[1], again[1])
