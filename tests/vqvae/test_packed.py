"""Packed category operations against a plain loop over categories."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spinlock.vqvae.packed import (
    CategoryEncoder,
    PackedLayerNorm,
    PackedLinear,
    PackedSegments,
    SharedDecoder,
    packed_product,
)

widths_of_groups = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(widths=widths_of_groups, rows=st.integers(0, 5))
def test_pad_and_unpad_are_inverse_and_padding_is_zero(widths: list[int], rows: int) -> None:
    segments = PackedSegments(widths)
    dense = torch.randn(rows, sum(widths))
    padded = segments.pad(dense)
    assert padded.shape == (len(widths), rows, max(widths))
    assert torch.equal(segments.unpad(padded), dense)
    assert torch.equal(padded * segments.mask(), padded)
    for group, part in enumerate(dense.split(widths, dim=1)):
        assert torch.equal(padded[group, :, : widths[group]], part)


def test_pad_drops_no_gradient() -> None:
    segments = PackedSegments([3, 1, 2])
    dense = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: segments.unpad(segments.pad(x).square()), dense)


def test_packed_linear_is_one_linear_per_group() -> None:
    ins, outs = [3, 1, 5], [2, 4, 1]
    layer = PackedLinear(ins, outs)
    dense = torch.randn(7, sum(ins))
    result = layer(dense)
    parts = []
    for group, part in enumerate(dense.split(ins, dim=1)):
        weight = layer.weight[group, : ins[group], : outs[group]]
        parts.append(part @ weight + layer.bias[group, :, : outs[group]])
    torch.testing.assert_close(result, torch.cat(parts, 1))


def test_weights_in_the_padding_get_no_gradient() -> None:
    ins, outs = [3, 1], [2, 4]
    layer = PackedLinear(ins, outs)
    layer(torch.randn(7, sum(ins))).square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[1, 1:].abs().max() == 0
    assert layer.weight.grad[0, :, 2:].abs().max() == 0
    assert layer.weight.grad[0, :, :2].abs().min() > 0


@pytest.mark.parametrize("widths", [[4, 2, 7], [5, 5], [1, 1], [6]])
def test_packed_layer_norm_is_one_layer_norm_per_segment(widths: list[int]) -> None:
    segments = PackedSegments(widths)
    norm = PackedLayerNorm(segments)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    dense = torch.randn(6, sum(widths)) * 3 + 1
    result = norm(dense)
    padded = norm.double()(dense.double())  # the form that other devices and types take
    torch.testing.assert_close(result.double(), padded, rtol=1e-5, atol=1e-5)
    norm.float()
    parts = dense.split(widths, dim=1)
    expected = [
        nn.functional.layer_norm(part, (width,), weight[0, :width], bias[0, :width])
        for part, width, weight, bias in zip(parts, widths, norm.weight, norm.bias, strict=True)
    ]
    torch.testing.assert_close(result, torch.cat(expected, 1))


@pytest.mark.parametrize("widths", [[1], [5, 2], [3, 3, 3]])
def test_encoder_sees_only_its_own_category(widths: list[int]) -> None:
    segments = PackedSegments(widths)
    encoder = CategoryEncoder(segments, hidden_dim=8, embedding_dim=6, dropout=0.0)
    dense = torch.randn(5, sum(widths))
    before = encoder(dense).split(6, dim=1)
    changed = dense.clone()
    changed[:, : widths[0]] += 1.0
    after = encoder(changed).split(6, dim=1)
    assert not torch.equal(before[0], after[0])
    assert all(torch.equal(*pair) for pair in zip(before[1:], after[1:], strict=True))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("form", ["bias", "addend", "neither"])
def test_the_core_and_the_padded_form_agree(form: str, relu: bool) -> None:
    ins, outs = PackedSegments([3, 1, 5]), PackedSegments([2, 4, 1])
    torch.manual_seed(0)
    x, weight = torch.randn(9, 9), torch.randn(3, 5, 4)
    other = {
        "bias": {"bias": torch.randn(3, 1, 4)},
        "addend": {"addend": torch.randn(9, 7)},
        "neither": {},
    }[form]
    core = packed_product(x, weight, ins, outs, relu=relu, **other)
    wide = {name: tensor.double() for name, tensor in other.items()}
    padded = packed_product(x.double(), weight.double(), ins, outs, relu=relu, **wide)
    torch.testing.assert_close(core.double(), padded, rtol=1e-6, atol=1e-6)


def test_the_shared_decoder_is_its_modules_one_after_the_other() -> None:
    decoder = SharedDecoder(6, 8, 5, 0.0, zero_init=False)
    x = torch.randn(4, 6)
    torch.testing.assert_close(decoder(x), nn.Sequential(*decoder)(x), rtol=1e-6, atol=1e-6)
