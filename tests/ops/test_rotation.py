"""The rotation trick against autograd through explicit rotations in float64."""

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

from cases import RaggedCase, ragged_cases
from spinlock.layout import CodebookLayout
from spinlock.ops import quantize


def twin(latents: Tensor, codes: Tensor, layout: CodebookLayout) -> Tensor:
    """|q| / |e| R e with the rotation of equation 4 held constant, float64 [B, input_width]."""
    parts = []
    for q in range(layout.num_quantizers):
        columns = slice(*layout.input_range(q, q + 1))
        e, code = latents[:, columns].double(), codes[:, columns].double()
        with torch.no_grad():
            length = e.norm(dim=1)[:, None, None]
            from_unit, to_unit = e / length[:, 0], code / code.norm(dim=1, keepdim=True)
            middle = from_unit + to_unit
            middle = middle / middle.norm(dim=1, keepdim=True)
            rotation = (
                torch.eye(e.shape[1], dtype=torch.float64)
                - 2 * middle[:, :, None] * middle[:, None, :]
                + 2 * to_unit[:, :, None] * from_unit[:, None, :]
            )
            turn = rotation * code.norm(dim=1)[:, None, None] / length
        parts.append((turn @ e[:, :, None])[:, :, 0])
    return torch.cat(parts, dim=1)


@settings(max_examples=40)
@given(ragged_cases(max_codes=12, max_dim=20))
@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_the_gradient_is_that_of_explicit_rotations(backend: str, case: RaggedCase) -> None:
    latents = torch.from_numpy(case.latents)
    assume(len(latents) and latents.isfinite().all() and latents.abs().max() < 1e15)
    latents = latents.requires_grad_()
    result = quantize(
        latents, torch.from_numpy(case.weight), case.layout, rotation=True, backend=backend
    )
    codes = result.quantized.detach()
    exact = latents.detach().double().requires_grad_()
    value = twin(exact, codes, case.layout)
    cotangent = torch.cos(torch.arange(latents.numel()).double()).view_as(exact)
    (expected,) = torch.autograd.grad(value, exact, cotangent)
    (found,) = torch.autograd.grad(result.quantized, latents, cotangent.float())
    keep = well_defined(exact, codes, case.layout) & value.isfinite() & expected.isfinite()
    assert torch.allclose(value[keep], codes[keep].double(), rtol=1e-6, atol=1e-6 * size(codes))
    torch.testing.assert_close(
        found.double()[keep], expected[keep], rtol=1e-3, atol=1e-4 * size(expected[keep])
    )


def well_defined(latents: Tensor, codes: Tensor, layout: CodebookLayout) -> Tensor:
    """bool [B, input_width]: neither a zero vector nor one close to the opposite of its code."""
    parts = []
    for q in range(layout.num_quantizers):
        columns = slice(*layout.input_range(q, q + 1))
        cosine = torch.cosine_similarity(
            latents[:, columns].detach(), codes[:, columns].double(), dim=1, eps=1e-300
        )
        nonzero = latents[:, columns].norm(dim=1) * codes[:, columns].norm(dim=1) > 1e-30
        keep = (cosine > -0.9) & nonzero
        parts.append(keep[:, None].expand(-1, layout.dims[q]))
    return torch.cat(parts, dim=1)


def size(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def one(latents: list[float], code: list[float], grad: list[float], **options: Any) -> list[float]:
    """The gradient that latents get from one codebook of one code."""
    layout = CodebookLayout((1,), (len(code),))
    weight = torch.from_numpy(layout.pack_codebooks([[code]]))
    rows = torch.tensor([latents], requires_grad=True)
    result = quantize(rows, weight, layout, rotation=True, **options)
    (found,) = torch.autograd.grad(result.quantized, rows, torch.tensor([grad]))
    return [round(value, 6) for value in found[0].tolist()]


def test_by_hand() -> None:
    # A quarter turn and twice the length: the gradient is turned back and doubled.
    assert one([1.0, 0.0], [0.0, 2.0], [0.0, 1.0]) == [2.0, 0.0]
    assert one([1.0, 0.0], [0.0, 2.0], [1.0, 0.0]) == [0.0, -2.0]
    assert one([3.0, 4.0], [3.0, 4.0], [5.0, 7.0]) == [5.0, 7.0]


def test_where_no_rotation_is_defined() -> None:
    assert one([0.0, 0.0], [0.0, 2.0], [3.0, 1.0]) == [3.0, 1.0]  # straight through
    assert one([1.0, 2.0], [0.0, 0.0], [3.0, 1.0]) == [0.0, 0.0]
    assert one([2.0, 0.0], [-1.0, 0.0], [3.0, 1.0]) == [-1.5, 0.5]  # a reflection
    assert one([1e-30, 0.0], [0.0, 1e-30], [0.0, 1.0]) == [1.0, 0.0]  # squares underflow
    assert one([torch.nan, 0.0], [0.0, 1.0], [1.0, 1.0]) == [0.0, 0.0]


def test_commitment_is_added_as_ever() -> None:
    layout = CodebookLayout((4, 3), (3, 2))
    generator = torch.Generator().manual_seed(0)
    weight = torch.from_numpy(
        layout.pack_codebooks(
            [torch.randn(k, d, generator=generator).numpy() for k, d in ((4, 3), (3, 2))]
        )
    )
    rows = torch.randn(6, 5, generator=generator).requires_grad_()
    grads = []
    for rotation in (True, False):
        result = quantize(rows, weight, layout, rotation=rotation)
        both = result.quantized.square().sum() + result.commitment.sum()
        grads.append(torch.autograd.grad(both, rows, retain_graph=True)[0])
        grads.append(torch.autograd.grad(result.quantized.square().sum(), rows)[0])
    torch.testing.assert_close(grads[0] - grads[1], grads[2] - grads[3], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(grads[1], grads[3])
