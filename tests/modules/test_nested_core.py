"""All residual levels in one call of the core, against the levels one by one."""

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock import _C
from spinlock.errors import LayoutError
from spinlock.modules import NestedResidualQuantizer, _nested_core

LEVELS = st.integers(1, 3).flatmap(
    lambda levels: st.lists(
        st.tuples(
            st.lists(st.integers(1, 20), min_size=levels, max_size=levels),
            st.lists(st.integers(1, 24), min_size=levels, max_size=levels),
        ),
        min_size=1,
        max_size=4,
    )
)


def _quantizer(shapes: list[tuple[list[int], list[int]]], seed: int) -> NestedResidualQuantizer:
    sizes, dims = zip(*shapes, strict=True)
    quantizer = NestedResidualQuantizer(sizes, dims, decay=0.8, seed=seed)
    rows = torch.randn(64, quantizer.latent_width, generator=torch.Generator().manual_seed(seed))
    quantizer.initialize_from(rows)
    return quantizer


def _step(quantizer: NestedResidualQuantizer, latents: Tensor) -> list[Tensor]:
    """Everything that a step returns or changes."""
    rows = latents.clone().requires_grad_()
    output = quantizer(rows)
    upstream = torch.linspace(-1, 1, rows.numel()).view_as(rows)
    weights = torch.arange(1.0, 1 + quantizer.num_quantizers)
    loss = (output.quantized * upstream).sum() + (output.losses.commitment * weights).sum()
    loss.backward()
    assert rows.grad is not None
    found = [output.quantized, output.indices, output.losses.commitment, output.losses.codebook]
    state = quantizer.state_dict().values()
    return [each.detach().clone() for each in (*found, output.usage.counts, *state, rows.grad)]


@settings(max_examples=40, deadline=None)
@given(
    shapes=LEVELS,
    rows=st.integers(0, 150),
    broken=st.integers(0, 3),
    training=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_it_does_what_the_levels_do_one_by_one(
    shapes: list[tuple[list[int], list[int]]], rows: int, broken: int, training: bool, seed: int
) -> None:
    quantizer = _quantizer(shapes, seed).train(training)
    other = copy.deepcopy(quantizer)
    draw = torch.Generator().manual_seed(seed + 1)
    latents = torch.randn(rows, quantizer.latent_width, generator=draw)
    for value in (float("nan"), float("inf"), -float("inf"))[: min(broken, rows)]:
        row = int(torch.randint(rows, (), generator=draw))
        latents[row, int(torch.randint(latents.shape[1], (), generator=draw))] = value
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_nested_core, "takes_nested", lambda *_: False)
            *expected, expected_grad = _step(other, latents)
        *found, grad = _step(quantizer, latents)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(grad, expected_grad, rtol=1e-5, atol=1e-6)


def test_the_core_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = _quantizer([([8, 4], [2, 5]), ([4, 4], [3, 3])], 0)
    calls: list[bool] = []
    step = _nested_core.nested_step

    def counted(*arguments: Any) -> Any:
        calls.append(True)
        return step(*arguments)

    monkeypatch.setattr(_nested_core, "nested_step", counted)
    rows = torch.randn(16, 8)
    quantizer(rows)
    quantizer.eval()(rows)
    assert len(calls) == 2
    quantizer(rows.double())
    quantizer(rows, mask=torch.ones(16, dtype=torch.bool))
    quantizer.train().freeze()(rows)
    learnable = NestedResidualQuantizer([[4]], [[3]], use_ema=False, init="uniform")
    learnable(torch.randn(5, 3))
    assert len(calls) == 2


def test_copies_and_pickles_go_on_alike() -> None:
    quantizer = _quantizer([([8, 4], [2, 5])], 3)
    rows = torch.randn(40, 5)
    for other in (copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer))):
        first = copy.deepcopy(quantizer)
        assert torch.equal(first(rows).indices, other(rows).indices)
        assert torch.equal(first.bank.weight, other.bank.weight)


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_gradients_may_be_expanded(rows: int) -> None:
    quantizer = _quantizer([([8, 4], [2, 5]), ([4, 4], [3, 3])], 2).eval()
    for reduce in (torch.sum, lambda values: values.mean(0).sum(), lambda v: v.sum(1).mean()):
        latents = torch.randn(rows, 8, requires_grad=True)
        total = reduce(quantizer(latents).quantized)
        (grad,) = torch.autograd.grad(total, latents)
        (expected,) = torch.autograd.grad(reduce(latents), latents)
        assert torch.equal(grad, expected)
    one = torch.randn(1, 8).expand(rows, 8)
    assert torch.equal(quantizer(one).indices, quantizer(one.contiguous()).indices)


def test_threads_change_no_bit() -> None:
    before = torch.get_num_threads()
    latents = torch.randn(700, 13)
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(_step(_quantizer([([16, 8], [4, 9]), ([4, 4], [4, 2])], 5), latents))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


def test_a_kept_codebook_that_has_moved_is_noticed() -> None:
    quantizer = _quantizer([([8], [4])], 1)
    rows = torch.randn(16, 4, requires_grad=True)
    kept = (quantizer.bank.weight[:4] * rows).sum()
    quantizer(torch.randn(16, 4))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


def test_shapes_that_are_no_levels_are_errors() -> None:
    plan = _C.PackingPlan([4, 4], [3, 2], 4)
    with pytest.raises(LayoutError, match="at least one of each"):
        _C.NestedLevels([], [3])
    with pytest.raises(LayoutError, match="expected 1 codebooks each"):
        _C.NestedLevels([plan], [3])
    with pytest.raises(LayoutError, match="the dims of its widest level"):
        _C.NestedLevels([plan], [3, 3])
    wide = _C.PackingPlan([1], [2**60], 1)
    with pytest.raises(LayoutError, match="expected codebooks of at most"):
        _C.NestedLevels([wide] * 9, [2**60])
