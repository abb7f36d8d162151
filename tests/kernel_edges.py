"""Kernels at their limits: batch sizes, decays near 1, counts beyond float32, damaged codes, state.

The second half of kernel_suite.py, run with it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spinlock.kernels import launch, launch_step

from cases import make_case
from kernel_suite import (  # noqa: F401 - the fixtures serve here as well
    BRIEF,
    DEVICE,
    EVERY_PATH,
    _narrow,
    _poisoned,
    path,
    problem,
    state_of,
    truth,
)
from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import _triton

FEW = make_case("few", [(5, 3)], rows=8, seed=16, makers=["plain"])
MANY_ROWS = make_case("many rows", [(5, 3)], rows=75, seed=17, makers=["plain"])


def test_batch_sizes_without_end_leave_the_tables_where_captured_graphs_know_them() -> None:
    latents, weight = problem(MANY_ROWS)
    expected = truth(latents, weight, MANY_ROWS)
    bank = _triton.bank_of(MANY_ROWS.layout, latents.device)
    tables = [bank.every.table, *(m.table for m in bank.buckets.values())]
    tables += [bank.table, *bank.pack_tiles.values(), *bank.refresh_tiles.values()]
    addresses = [table.data_ptr() for table in tables]
    for rows in range(1, 76):
        found = _triton.nearest_codes(latents[:rows], weight, MANY_ROWS.layout)
        assert torch.equal(found, expected[:rows])
    assert _triton.bank_of(MANY_ROWS.layout, latents.device) is bank
    assert [table.data_ptr() for table in tables] == addresses


@EVERY_PATH
def test_codes_that_are_not_finite_are_the_last_to_be_chosen() -> None:
    case = make_case("damaged codes", [(5, 3), (66, 4)], rows=8, seed=18, makers=["plain"])
    latents, weight = problem(case)
    stride = case.layout.padded_dims[0]
    weight[1], weight[2 * stride], weight[3 * stride + 2] = float("nan"), float("inf"), -3e38
    weight[case.layout.weight_offsets[1] :: 7] = float("nan")
    found = _triton.nearest_codes(latents, weight, case.layout)
    assert torch.equal(found, truth(latents, weight, case))
    weight.fill_(float("nan"))
    assert not _triton.nearest_codes(latents, weight, case.layout).any()


@EVERY_PATH
@pytest.mark.parametrize("decay", [0.9999, 0.99999998])
def test_a_decay_near_one_moves_the_averages_at_its_rate(decay: float) -> None:
    latents, weight = problem(FEW)
    s = state_of(weight, FEW)
    s.counts.zero_()
    counters = (s.epoch_counts, s.epoch_skipped)
    step = _triton.train_step(latents, weight, FEW.layout, s.counts, s.sums, *counters, decay, 1e-5)
    torch.testing.assert_close(s.counts, (1.0 - decay) * step.counts.float(), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("name", ["weight", "counts", "sums", "epoch_counts", "epoch_skipped"])
@pytest.mark.parametrize("wrong", ["strided", "another type"])
def test_state_that_kernels_would_write_beside_is_refused(name: str, wrong: str) -> None:
    case = BRIEF[0]
    latents, weight = problem(case)
    state: dict[str, Any] = state_of(weight, case)._asdict()
    given = state[name]
    state[name] = given.repeat(2)[::2] if wrong == "strided" else given.to(torch.int32)
    names = ("weight", "counts", "sums", "epoch_counts", "epoch_skipped")
    before = {key: state[key].clone() for key in names}
    w, *rest = (state[key] for key in names)
    with pytest.raises(InputError, match=f"{name}: expected contiguous .* got "):
        _triton.train_step(latents, w, case.layout, *rest, 0.9, 1e-5)
    assert all(torch.equal(state[key], before[key]) for key in names)


def test_counts_beyond_what_float32_holds_are_exact() -> None:
    layout = CodebookLayout((2, 3), (2, 2))
    counts = torch.tensor([2**24 + 1, 0, 2**24 - 1, 1, 1], dtype=torch.int32, device=DEVICE)
    rows = torch.zeros(1, 4, device=DEVICE).expand(2**24 + 10, 4)
    numbers, none = torch.zeros(3, 5, device=DEVICE), torch.zeros(0, device=DEVICE)
    found, epoch, skipped = (torch.zeros(n, dtype=torch.int64, device=DEVICE) for n in (5, 5, 2))
    scratch = launch_step._Scratch(counts, none, numbers[0], numbers[1], peaks=counts)
    averages = launch.Averages(numbers[2], None, epoch, skipped, 0.5, 1e-5)
    bank = _triton.bank_of(layout, DEVICE)
    launch_step._refresh(rows, bank, scratch, found, averages=averages)
    assert found.tolist() == epoch.tolist() == counts.tolist()
    assert skipped.tolist() == [9, 9]
    assert numbers[2].tolist() == [2.0**23, 0.0, 2.0**23 - 0.5, 0.5, 0.5]
