"""Every kernel against its plain twin: under Triton's interpreter, or on a GPU where there is one.

The interpreter must be chosen before the kernels are imported, so this file is run in a process of
its own by test_interpreted.py, and on a device by test_on_device.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spinlock.kernels import launch, launch_lookup, launch_step
from torch import Tensor

from cases import FROZEN, RaggedCase, make_case
from spinlock.modules.codebook_views import CodebookViews
from spinlock.modules.ema import ema_step
from spinlock.ops import _reference, _triton
from spinlock.ops._gradients import plain_backward
from spinlock.ops.usable import usable_rows

DEVICE = torch.device("cpu" if launch.INTERPRETED else "cuda")
HALVES = [torch.float16, torch.bfloat16]
_SIZES = [(5, 3), (1, 7), (70, 20)]
_KINDS = ("plain", "bimodal", "duplicates", "midpoints", "equal", "outliers")
# The interpreter takes some milliseconds per program: few rows, few codes.
BRIEF = [
    *(make_case(kind, _SIZES, rows=12, seed=7, makers=[kind]) for kind in _KINDS),
    make_case("offset", _SIZES, rows=12, seed=8, makers=["plain"], offset=1000.0),
    make_case("denormal", _SIZES, rows=12, seed=9, makers=["plain"], scale=1e-42),
    make_case("damaged", _SIZES, rows=12, seed=10, makers=["plain"], damaged=9),
    make_case("no rows", _SIZES, rows=0, seed=11, makers=["plain"]),
    make_case("one row", _SIZES, rows=1, seed=12, makers=["plain"]),
]
# Scored in groups of blocks, and wider than what the first pass takes.
LARGE = make_case("large", [(1030, 6), (16, 30)], rows=8, seed=13, makers=["duplicates"])
WIDE = make_case("wide", [(20, 600)], rows=4, seed=14, makers=["plain"])
# One codebook of each packed width that those above leave out.
WIDTHS = make_case(
    "widths", [(70, 40), (66, 100), (65, 200), (3, 300)], rows=8, seed=15, makers=["midpoints"]
)
CASES = (
    [*BRIEF, LARGE, WIDE, WIDTHS] if launch.INTERPRETED else [*BRIEF, LARGE, WIDE, WIDTHS, *FROZEN]
)
STEPS = [BRIEF[0], BRIEF[2], *BRIEF[8:], LARGE] if launch.INTERPRETED else CASES
EVERY_PATH = pytest.mark.usefixtures("path")


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel forgets to write is NaN, or an index that no codebook has."""
    empty = torch.empty

    def poisoned(*size: Any, **options: Any) -> Tensor:
        made = empty(*size, **options)
        return made.fill_(float("nan") if made.is_floating_point() else 2**30)

    monkeypatch.setattr(launch.torch, "empty", poisoned)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers reach kernels as on a device, in float32: the interpreter would keep all digits."""
    launch_on = launch_step.launch_on

    def narrowed(kernel: Any, grid: tuple[int, ...]) -> Any:
        run = launch_on(kernel, grid)

        def with_float32(*arguments: Any, **constants: Any) -> None:
            run(*(float(np.float32(a)) if type(a) is float else a for a in arguments), **constants)

        return with_float32

    monkeypatch.setattr(launch_step, "launch_on", narrowed)


@pytest.fixture(params=["small", "certified", "certified, full lists"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Float32 differences where codebooks are small; the first pass; its lists overflowing."""
    if request.param != "small":
        monkeypatch.setattr(launch, "SMALL_WORK", 0)
    if "full" in request.param:
        monkeypatch.setattr(launch_lookup, "LEAST_LISTED", 1)
    return str(request.param)


def problem(case: RaggedCase, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    latents = torch.from_numpy(case.latents).to(DEVICE, dtype)
    return latents, torch.from_numpy(case.weight).to(DEVICE)


def truth(latents: Tensor, weight: Tensor, case: RaggedCase) -> Tensor:
    usable = usable_rows(latents, case.layout)
    return _reference.nearest_codes(latents, weight, case.layout, usable)


def twin_step(
    latents: Tensor, weight: Tensor, case: RaggedCase
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(indices, quantized, losses, counts, sums), by the reference, losses in float64."""
    layout = case.layout
    indices = truth(latents, weight, case)
    usable = usable_rows(latents, layout)
    counts, sums = _reference.accumulate_codes(latents, indices, layout, usable)
    parts, losses = [], []
    for q, (size, dim) in enumerate(zip(layout.codebook_sizes, layout.dims, strict=True)):
        first, stride = layout.weight_offsets[q], layout.padded_dims[q]
        codes = weight[first : first + size * stride].view(size, stride)[:, :dim]
        chosen = codes[indices[:, q]]
        column = layout.input_offsets[q]
        rows = latents[:, column : column + dim].double()
        keep = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        keep = keep if usable is None else usable[:, q]
        error = (rows - chosen.double())[keep].square().sum()
        losses.append(error / max(1, int(keep.sum()) * dim))
        parts.append(chosen)
    return indices, torch.cat(parts, dim=1), torch.stack(losses), counts, sums


@EVERY_PATH
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nearest_codes_are_those_of_the_truth(case: RaggedCase) -> None:
    latents, weight = problem(case)
    assert torch.equal(
        _triton.nearest_codes(latents, weight, case.layout), truth(latents, weight, case)
    )


@EVERY_PATH
@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_looked_up_as_they_are(dtype: torch.dtype) -> None:
    latents, weight = problem(LARGE, dtype)
    found = _triton.nearest_codes(latents, weight, LARGE.layout)
    assert torch.equal(found, truth(latents, weight, LARGE))


@EVERY_PATH
def test_rows_may_be_strided() -> None:
    case = BRIEF[0]
    latents, weight = problem(case)
    wide = torch.full((len(latents), 3 + latents.shape[1]), float("nan"), device=DEVICE)
    wide[:, 3:] = latents
    expected = truth(latents, weight, case)
    assert torch.equal(_triton.nearest_codes(wide[:, 3:], weight, case.layout), expected)
    turned = latents.t().contiguous().t()
    assert torch.equal(_triton.nearest_codes(turned, weight, case.layout), expected)


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_statistics_are_those_of_the_truth(case: RaggedCase) -> None:
    latents, weight = problem(case)
    indices = truth(latents, weight, case)
    usable = usable_rows(latents, case.layout)
    counts, sums = _reference.accumulate_codes(latents, indices, case.layout, usable)
    found_counts, found_sums = _triton.accumulate_codes(latents, indices, case.layout)
    assert torch.equal(found_counts, counts)
    # Fixed point is finer than float32, except for values 2^-36 times a code's largest one.
    torch.testing.assert_close(found_sums, sums, rtol=1e-6, atol=1e-9 * _largest(sums))


@EVERY_PATH
@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_quantize_is_the_twin_and_changes_nothing(case: RaggedCase) -> None:
    latents, weight = problem(case)
    before = weight.clone()
    step = _triton.quantize(latents, weight, case.layout)
    indices, quantized, losses, counts, _ = twin_step(latents, weight, case)
    assert torch.equal(step.indices, indices)
    assert torch.equal(step.quantized, quantized)
    assert torch.equal(step.counts, counts.to(torch.int64))
    torch.testing.assert_close(step.losses.double(), losses, rtol=1e-5, atol=1e-37)
    assert step.mean_loss is not None
    torch.testing.assert_close(step.mean_loss, step.losses.mean(), rtol=1e-6, atol=1e-37)
    assert torch.equal(weight, before)


@EVERY_PATH
@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_train_step_moves_the_state_as_the_twin_does(case: RaggedCase) -> None:
    latents, weight = problem(case)
    layout = case.layout
    moved, expected = state_of(weight, case), state_of(weight, case)
    for _ in range(2):
        before = moved.weight.clone()
        step = _triton.train_step(
            latents,
            moved.weight,
            layout,
            moved.counts,
            moved.sums,
            moved.epoch_counts,
            moved.epoch_skipped,
            0.9,
            1e-5,
        )
        indices, quantized, _, counts, sums = twin_step(latents, before, case)
        assert torch.equal(step.indices, indices)
        assert torch.equal(step.quantized, quantized)  # the codes before the update
        ema_step(expected, counts, sums, decay=0.9, epsilon=1e-5)
        expected.count_rows(counts.to(torch.int64), len(latents))
        scale = _largest(expected.weight)
        torch.testing.assert_close(moved.counts, expected.counts, rtol=1e-5, atol=1e-6)
        assert expected.sums is not None
        torch.testing.assert_close(moved.sums, expected.sums, rtol=1e-5, atol=1e-6 * scale)
        torch.testing.assert_close(moved.weight, expected.weight, rtol=1e-5, atol=1e-6 * scale)
        assert torch.equal(moved.epoch_counts, expected.epoch_counts)
        assert torch.equal(moved.epoch_skipped, expected.epoch_skipped)
        for name in ("weight", "counts", "sums"):  # so that the second step starts alike
            getattr(expected, name).copy_(getattr(moved, name))


@EVERY_PATH
@pytest.mark.parametrize("case", [BRIEF[0], LARGE], ids=lambda case: case.name)
def test_a_train_step_has_the_same_bits_every_time(case: RaggedCase) -> None:
    latents, weight = problem(case)
    states = [state_of(weight, case) for _ in range(2)]
    for s in states:
        counters = (s.epoch_counts, s.epoch_skipped)
        _triton.train_step(latents, s.weight, case.layout, s.counts, s.sums, *counters, 0.99, 1e-5)
    for name in ("weight", "counts", "sums", "epoch_counts"):
        assert torch.equal(getattr(states[0], name), getattr(states[1], name))


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_backward_is_straight_through_plus_commitment(case: RaggedCase) -> None:
    latents, weight = problem(case)
    step = _triton.quantize(latents, weight, case.layout)
    upstream = torch.cos(torch.arange(latents.numel(), device=DEVICE).float()).view_as(latents)
    grad_losses = torch.linspace(0.5, 2.0, case.layout.num_quantizers, device=DEVICE)
    arguments = (latents, step.quantized, step.counts, upstream, grad_losses, case.layout)
    found, expected = _triton.backward(*arguments), plain_backward(*arguments)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * _largest(expected))
    transposed = upstream.t().contiguous().t()  # gradients come with any strides
    again = _triton.backward(*arguments[:3], transposed, *arguments[4:])
    assert torch.equal(again, found)
    codes = step.quantized.t().contiguous().t()
    counts = torch.stack([step.counts, step.counts.flip(0)], dim=1)[:, 0]
    again = _triton.backward(latents, codes, counts, *arguments[3:])
    assert torch.equal(again, found)


def state_of(weight: Tensor, case: RaggedCase) -> CodebookViews:
    """As after some steps, and its own."""
    layout = case.layout
    counts = torch.linspace(0.5, 2.0, layout.total_codes, device=DEVICE)
    return CodebookViews(
        layout=layout,
        weight=weight.clone(),
        counts=counts,
        sums=weight.clone(),
        epoch_counts=torch.ones(layout.total_codes, dtype=torch.int64, device=DEVICE),
        epoch_skipped=torch.ones(layout.num_quantizers, dtype=torch.int64, device=DEVICE),
        initialized=torch.ones(layout.num_quantizers, dtype=torch.bool, device=DEVICE),
    )


def _largest(values: Tensor) -> float:
    finite = values[values.isfinite()].abs()
    return float(finite.max()) if len(finite) else 0.0
