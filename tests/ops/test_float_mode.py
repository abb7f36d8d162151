"""torch.set_flush_denormal, which sets the calling thread alone, changes no bit of any result."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from cases import RaggedCase, make_case
from spinlock import _C
from spinlock.layout import CodebookLayout
from spinlock.ops import _cpp
from spinlock.ops._nested import nested_levels

# One thread takes them in step, several do not; squared errors are denormal.
SMALL_BANK = make_case("small bank", [(9, 5), (4, 12)], 150, makers=["plain"], seed=1, scale=1e-20)
CHUNKS = make_case("chunks", [(300, 40), (7, 3)], 4500, makers=["plain"], seed=2, scale=1e-20)
cases = pytest.mark.parametrize("case", [SMALL_BANK, CHUNKS], ids=lambda case: case.name)


def assert_unchanged(call: Callable[[int], Sequence[Tensor]]) -> None:
    """The same results whether this thread flushes denormals or not, with any number of threads."""
    expected = call(1)
    assert any(bool(((each != 0) & (each.abs() < 1e-38)).any()) for each in expected)
    for threads in (1, 2, 3):
        if not torch.set_flush_denormal(True):
            pytest.skip("denormals cannot be flushed here")
        try:
            found = call(threads)
        finally:
            torch.set_flush_denormal(False)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours, theirs)


def poisoned(*shape: int) -> Tensor:
    return torch.full(shape, torch.nan)


@cases
def test_losses_and_their_mean(case: RaggedCase) -> None:
    latents, weight = torch.from_numpy(case.latents), torch.from_numpy(case.weight)

    def call(threads: int) -> Sequence[Tensor]:
        step = _cpp.quantize(latents, weight, case.layout, threads=threads)
        assert step.mean_loss is not None
        return step.losses, step.mean_loss, step.quantized, step.indices

    assert_unchanged(call)


@cases
def test_gradients_of_a_step(case: RaggedCase) -> None:
    latents, weight = torch.from_numpy(case.latents) * 1e20, torch.from_numpy(case.weight) * 1e20
    step = _cpp.quantize(latents, weight, case.layout)
    losses = torch.full((case.layout.num_quantizers,), 1e-37)

    def call(threads: int) -> Sequence[Tensor]:
        given = step.quantized, step.counts, None, losses
        return [_cpp.backward(latents, *given, case.layout, threads=threads)]

    assert_unchanged(call)


def test_ragged_linear() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight, grad = (
        torch.randn(*shape, generator=draw) * 1e-20 for shape in ((600, 23), (2, 20, 11), (600, 13))
    )
    bias = torch.zeros(2, 1, 11)
    shape = _C.RaggedLinear([20, 3], [11, 2], False)

    def call(threads: int) -> Sequence[Tensor]:
        output, to_x, to_weight = poisoned(600, 13), poisoned(600, 23), poisoned(2, 20, 11)
        shape.forward(x, weight, bias=bias, positive=True, output=output, threads=threads)
        to = {"grad_input": to_x, "grad_weight": to_weight}
        shape.backward(x, weight, output=output, grad=grad, **to, threads=threads)
        return output, to_x, to_weight

    assert_unchanged(call)


def test_nested_levels() -> None:
    draw = torch.Generator().manual_seed(0)
    layouts = [CodebookLayout((16, 8), (4, 9)), CodebookLayout((8, 4), (3, 9))]
    levels = nested_levels(layouts, (4, 9))
    rows = torch.randn(700, 13, generator=draw) * 1e-38
    weight = torch.randn(sum(each.weight_size for each in layouts), generator=draw) * 1e-38
    losses = torch.full((4,), 1e-37)

    def call(threads: int) -> Sequence[Tensor]:
        seen, codes = poisoned(700 * 25), poisoned(700 * 25)
        indices, counts = torch.zeros(2, 700, 2, dtype=torch.int64), torch.zeros(36).long()
        total, to_rows = poisoned(700, 13), poisoned(700, 13)
        written = {"seen": seen, "codes": codes, "indices": indices, "counts": counts}
        levels.step(rows, weight, **written, losses=poisoned(4), total=total, threads=threads)
        given = {"seen": seen, "codes": codes, "counts": counts, "grad_losses": losses}
        levels.backward(700, **given, grad_rows=to_rows, threads=threads)
        return seen, codes, indices, total, to_rows

    assert_unchanged(call)
