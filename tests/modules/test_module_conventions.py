"""What authors of modules expect of a call: derivatives, empty batches, rows left out, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from module_inputs import COSINE, UNIFORM, rows
from spinlock import (
    GroupedResidualVQ,
    LevelDropout,
    Lookup,
    NestedResidualQuantizer,
    Regularizers,
    ResidualVQ,
    VectorQuantize,
)
from spinlock.compat import vector_quantize_pytorch as compat
from spinlock.errors import ConfigError, InputError


@pytest.mark.parametrize(
    "options",
    [
        {"lookup": COSINE, "regularizers": Regularizers(diversity=0.1)},
        {"lookup": COSINE, "regularizers": Regularizers(cross_entropy=True)},
        {"lookup": Lookup(temperature=0.5, estimator="none", soft_gradient=True)},
    ],
)
@pytest.mark.parametrize("levels", [None, 2])
def test_gradients_outlive_the_update_of_the_codes(
    options: dict[str, Any], levels: int | None
) -> None:
    torch.manual_seed(0)
    made = VectorQuantize(8, 16, **options)
    quantizer: nn.Module = made if levels is None else ResidualVQ(8, 16, levels, **options)
    x = rows().requires_grad_()
    output = quantizer(x)
    (output.losses.total + output.quantized.sum()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_a_gradient_penalty_on_the_commitment(estimator: Any) -> None:
    quantizer = VectorQuantize(8, 16, lookup=Lookup(estimator=estimator)).double()
    quantizer(rows().double())
    quantizer.eval()
    x = rows(seed=1).double().requires_grad_()
    (first,) = torch.autograd.grad(quantizer(x).losses.total, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, torch.full_like(x, 2 / x.numel()))


def test_a_gradient_penalty_through_the_quantized_rows() -> None:
    quantizer = VectorQuantize(8, 16)
    quantizer(rows())
    quantizer.eval()
    x = rows(seed=1).requires_grad_()
    (first,) = torch.autograd.grad(quantizer(x).quantized.pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, 6 * quantizer(x).quantized.detach())


def test_nested_levels_refuse_a_second_derivative() -> None:
    quantizer = NestedResidualQuantizer([[8, 8]], [[4, 4]])
    quantizer(rows(dim=4))
    x = rows(dim=4).requires_grad_()
    (first,) = torch.autograd.grad(quantizer(x).losses.total, x, create_graph=True)
    with pytest.raises(InputError, match=r"backward: expected one derivative of residual levels"):
        first.sum().backward()


EMPTY: dict[str, Callable[[], nn.Module]] = {
    "grouped": lambda: GroupedResidualVQ(8, 16, 2),
    "drawn": lambda: VectorQuantize(8, 16, lookup=Lookup(temperature=1.0)),
    "cross entropy": lambda: VectorQuantize(8, 16, regularizers=Regularizers(cross_entropy=True)),
    "diversity": lambda: VectorQuantize(8, 16, regularizers=Regularizers(diversity=0.1)),
    "orthogonal": lambda: VectorQuantize(
        8, 16, regularizers=Regularizers(orthogonal=0.1, orthogonal_used_only=True)
    ),
    "beam": lambda: ResidualVQ(8, 16, 3, beam=3),
    "dropout": lambda: ResidualVQ(8, 16, 3, dropout=LevelDropout()),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", EMPTY)
def test_batches_without_a_row(name: str, training: bool) -> None:
    torch.manual_seed(0)
    quantizer = EMPTY[name]()
    quantizer(rows())
    quantizer.train(training)
    x = torch.empty(0, 8, requires_grad=True)
    output = quantizer(x)
    assert output.quantized.shape == (0, 8)
    assert output.indices.shape[0] == 0
    assert output.losses.total.item() == 0
    (output.losses.total + output.quantized.sum()).backward()


def test_modules_of_the_original_take_batches_without_a_row() -> None:
    levels: dict[str, Any] = {"dim": 8, "codebook_size": 16, "num_quantizers": 2}
    made = [
        compat.VectorQuantize(dim=8, codebook_size=16),
        compat.ResidualVQ(**levels),
        compat.GroupedResidualVQ(**levels, groups=2),
    ]
    for module in made:
        quantized, indices, *_ = module.eval()(torch.zeros(1, 0, 8))
        assert quantized.shape == (1, 0, 8)
        assert 0 in indices.shape


@pytest.mark.parametrize(
    "terms",
    [Regularizers(cross_entropy=True), Regularizers(orthogonal=1.0), Regularizers(diversity=1.0)],
)
def test_autocast_rounds_no_term(terms: Regularizers) -> None:
    quantizer = VectorQuantize(8, 16, regularizers=terms)
    quantizer(rows())
    quantizer.freeze()
    expected = quantizer(rows(seed=1)).losses.total
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer(rows(seed=1)).losses.total, expected)


@pytest.mark.parametrize("masked", [True, False])
def test_rows_left_out_enter_no_term(masked: bool) -> None:
    terms = Regularizers(diversity=1.0, diversity_temperature=1.0, orthogonal=1.0)
    terms = Regularizers(**{**vars(terms), "orthogonal_used_only": True})
    quantizer = VectorQuantize(8, 16, update=UNIFORM, regularizers=terms)
    quantizer.freeze()
    kept = torch.arange(48) >= 40
    x = rows() if masked else rows().masked_fill(~kept[:, None], torch.nan)
    found = quantizer(x, kept if masked else None).losses.total
    torch.testing.assert_close(found, quantizer(rows()[40:]).losses.total)
    nothing = quantizer(torch.full_like(x, torch.nan)).losses.total
    assert nothing.item() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regularizers(orthogonal_max_codes=0), r"orthogonal_max_codes: expected a whole"),
        (lambda: Regularizers(diversity_temperature=-1.0), r"diversity_temperature: expected"),
        (lambda: LevelDropout(at_least=1.5), r"at_least: expected a whole number >= 1, got 1.5"),  # type: ignore[arg-type]
    ],
)
def test_options_out_of_their_range(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_what_is_no_tensor_says_so() -> None:
    for module in (VectorQuantize(8, 16), ResidualVQ(8, 16, 2), GroupedResidualVQ(8, 16, 2)):
        with pytest.raises(InputError, match=r"indices: expected a torch.Tensor, got list"):
            module.decode([[1, 2]])  # type: ignore[arg-type]
    lengths = torch.tensor([1.0, 2.0])
    with pytest.raises(InputError, match=r"lengths: expected shape \[2\] of integers"):
        VectorQuantize(8, 16)(rows().view(2, 24, 8), lengths=lengths)
