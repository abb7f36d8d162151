"""Calls of the core that throw leave the state as it was."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from spinlock import _C
from spinlock.errors import LayoutError
from spinlock.layout import CodebookLayout
from spinlock.ops import _cpp

# The first codebook is done at one go, before anything of the second.
LAYOUT = CodebookLayout((1000, 7), (40, 3))


def new_state(layout: CodebookLayout) -> list[Tensor]:
    """EMA counts, EMA sums, weight, epoch counts, epoch skipped."""
    weight = torch.randn(layout.weight_size, generator=torch.Generator().manual_seed(0))
    return [
        torch.ones(layout.total_codes),
        weight.clone(),
        weight,
        torch.zeros(layout.total_codes, dtype=torch.int64),
        torch.zeros(layout.num_quantizers, dtype=torch.int64),
    ]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [100, 5000])
def test_indices_out_of_range_move_nothing(rows: int, threads: int) -> None:
    latents = torch.randn(rows, 43, generator=torch.Generator().manual_seed(1))
    given = torch.zeros(rows, 2, dtype=torch.int64)
    state = new_state(LAYOUT)

    def step() -> None:
        counts = torch.zeros(LAYOUT.total_codes, dtype=torch.int64)
        held = (*state, 0.9, 1e-5)
        _C.quantize_rows(
            LAYOUT.plan, latents, state[2], given=given, counts=counts, state=held, threads=threads
        )

    given[-1, 1] = 7
    before = [each.clone() for each in state]
    with pytest.raises(LayoutError, match=r"indices\[:, 1\]: expected values in 0..6"):
        step()
    assert all(torch.equal(*pair) for pair in zip(state, before, strict=True))
    given[-1, 1] = 6
    step()
    assert state[3].nonzero().flatten().tolist() == [0, 1000, 1006]
    assert state[3].sum() == 2 * rows


# The second level's working memory does not fit, the first one's does.
_SHORT_OF_MEMORY = """
import resource
import torch
from spinlock import _C
from spinlock.layout import CodebookLayout
from spinlock.ops._nested import nested_levels

layouts = [CodebookLayout((4,), (16,)), CodebookLayout((1 << 18,), (16,))]
levels = nested_levels(layouts, (16,))
rows = torch.randn(200, 16)
weight = torch.randn(sum(each.weight_size for each in layouts))
codes = sum(each.total_codes for each in layouts)
state = [torch.ones(codes), weight.clone(), weight]
state += [torch.zeros(codes).long(), torch.zeros(2).long()]
before = [each[:64].clone() for each in state]
out = {"seen": torch.zeros(6400), "codes": torch.zeros(6400), "total": torch.zeros(200, 16)}
out |= {"indices": torch.zeros(2, 200, 1).long(), "losses": torch.zeros(2)}
out["counts"] = torch.zeros(codes).long()
size = next(int(each.split()[1]) for each in open("/proc/self/status") if "VmSize" in each)
resource.setrlimit(resource.RLIMIT_AS, ((size << 10) + (8 << 20), resource.RLIM_INFINITY))
try:
    levels.step(rows, weight, **out, state=(*state, 0.9, 1e-5))
except MemoryError:
    print(all(torch.equal(each[:64], was) for each, was in zip(state, before)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_levels_move_only_where_all_of_them_have_their_memory() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _SHORT_OF_MEMORY], capture_output=True, text=True, timeout=300
    )
    assert run.stdout.strip() == "True", run.stderr


@pytest.mark.parametrize("epsilon", [1e-50, 1e300, 0.0, -1.0, float("nan"), float("inf")])
def test_an_epsilon_that_float32_does_not_hold_is_refused(epsilon: float) -> None:
    latents = torch.randn(100, 43, generator=torch.Generator().manual_seed(1))
    counts, sums, weight, *rest = new_state(LAYOUT)
    before = weight.clone()
    with pytest.raises(LayoutError, match=r"epsilon > 0 as float32 too, got 0.9 and"):
        _cpp.train_step(latents, weight, LAYOUT, counts, sums, *rest, 0.9, epsilon)
    assert torch.equal(weight, before)


@pytest.mark.parametrize("epsilon", [1e-45, 1e-38, 3e38])
def test_any_epsilon_that_float32_holds_gives_finite_codes(epsilon: float) -> None:
    latents = torch.randn(100, 43, generator=torch.Generator().manual_seed(1))
    counts, sums, weight, *rest = new_state(LAYOUT)
    counts.zero_()
    sums.zero_()
    _cpp.train_step(latents, weight, LAYOUT, counts, sums, *rest, 0.9, epsilon)
    assert weight.isfinite().all()
