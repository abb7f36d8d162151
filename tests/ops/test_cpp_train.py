"""C++ statistics and train steps against float64 and the torch twin, bit by bit over threads."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from cases import FROZEN, RaggedCase, make_case, ragged_cases
from spinlock.errors import InputError, LayoutError
from spinlock.layout import CodebookLayout
from spinlock.modules.codebook_views import CodebookViews
from spinlock.modules.ema import ema_step
from spinlock.ops import _cpp, _reference, gather_codes, quantize
from spinlock.ops.usable import usable_rows

ISAS = _cpp.instruction_sets()
isas = pytest.mark.parametrize("isa", ISAS)

# Cut into chunks (4,500 rows), with sorted statistics (K > B) and with tables.
LARGE = make_case(
    "chunks", [(16, 8), (5000, 12), (300, 40), (7, 3)], 4500, makers=["plain", "duplicates"],
    seed=8, offset=10.0, damaged=30,
)  # fmt: skip
# One thread takes all of its quantizers in step, several do not.
SMALL_BANK = make_case(
    "small bank", [(16, 8), (20, 30), (6, 100), (7, 3), (32, 33)], 3000,
    makers=["plain", "duplicates"], seed=9, offset=3.0, damaged=20,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _poisoned_outputs() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def tensors(case: RaggedCase) -> tuple[Tensor, Tensor, CodebookLayout]:
    return torch.from_numpy(case.latents), torch.from_numpy(case.weight), case.layout


def new_state(case: RaggedCase) -> list[Tensor]:
    """Weight, EMA counts, EMA sums, epoch counts, epoch skipped."""
    layout = case.layout
    weight = torch.from_numpy(case.weight.copy())
    return [
        weight,
        torch.ones(layout.total_codes),
        weight.clone(),
        torch.zeros(layout.total_codes, dtype=torch.int64),
        torch.zeros(layout.num_quantizers, dtype=torch.int64),
    ]


def step(case: RaggedCase, state: list[Tensor], **options: object) -> _cpp.Step:
    weight, *rest = state
    latents = torch.from_numpy(case.latents)
    return _cpp.train_step(latents, weight, case.layout, *rest, 0.9, 1e-5, **options)  # type: ignore[arg-type]


def assert_sums(case: RaggedCase, indices: Tensor, sums: Tensor) -> None:
    """Within a few roundings of float64, where 64 sequential float32 additions would be too."""
    for q, (part, total) in enumerate(
        zip(case.parts(), case.layout.unpack_codebooks(sums.numpy()), strict=True)
    ):
        usable = np.isfinite(part).all(axis=1)
        index, rows = indices[:, q].numpy()[usable], part[usable].astype(np.float64)
        expected, size = np.zeros(total.shape), np.zeros(total.shape)
        np.add.at(expected, index, rows)
        np.add.at(size, index, np.abs(rows))
        assert (np.abs(total - expected) <= 64 * 2.0**-24 * size + 2.0**-149).all()


@isas
@pytest.mark.parametrize("case", [*FROZEN, LARGE], ids=lambda case: case.name)
def test_statistics_against_float64(case: RaggedCase, isa: str) -> None:
    latents, weight, layout = tensors(case)
    indices = _cpp.nearest_codes(latents, weight, layout, isa=isa)
    counts, sums = _cpp.accumulate_codes(latents, indices, layout, isa=isa)
    usable = usable_rows(latents, layout)
    expected = _reference.accumulate_codes(latents, indices, layout, usable)
    assert torch.equal(counts, expected[0])
    assert_sums(case, indices, sums)
    used = layout.pack_codebooks([np.ones_like(codes) for codes in case.codebooks])
    assert (sums.numpy()[used == 0] == 0).all()


@isas
def test_sums_of_many_rows_stay_accurate(isa: str) -> None:
    """100,000 rows near 1,000 in two codes: plain float32 sums would lose 3 digits more."""
    generator = torch.Generator().manual_seed(0)
    layout = CodebookLayout((2,), (5,))
    latents = torch.randn(100_000, 5, generator=generator) + 1000.0
    indices = torch.randint(2, (100_000, 1), generator=generator)
    _, sums = _cpp.accumulate_codes(latents, indices, layout, isa=isa)
    exact = torch.zeros(2, 5, dtype=torch.float64).index_add_(0, indices[:, 0], latents.double())
    error = (sums.view(2, 8)[:, :5].double() / exact - 1.0).abs().max()
    assert error < 2.0**-19


@settings(max_examples=100)
@given(ragged_cases())
def test_quantize_against_torch(case: RaggedCase) -> None:
    latents, weight, layout = tensors(case)
    expected = quantize(latents, weight, layout, backend="torch")
    for isa in ISAS:
        found = _cpp.quantize(latents, weight, layout, isa=isa)
        assert torch.equal(found.indices, expected.indices)
        assert torch.equal(found.quantized, gather_codes(expected.indices, weight, layout))
        double = quantize(latents.double(), weight.double(), layout, backend="torch").commitment
        torch.testing.assert_close(found.losses.double(), double, rtol=1e-5, atol=1e-44)


@isas
@pytest.mark.parametrize("case", [*FROZEN, LARGE, SMALL_BANK], ids=lambda case: case.name)
def test_train_steps_against_the_torch_twin(case: RaggedCase, isa: str) -> None:
    latents, _, layout = tensors(case)
    state, twin = new_state(case), new_state(case)
    views = CodebookViews(layout, *twin, initialized=torch.ones(layout.num_quantizers) > 0)
    for _ in range(3):
        before = state[0].clone()
        found = step(case, state, isa=isa)
        usable = usable_rows(latents, layout)
        indices = _reference.nearest_codes(latents, before, layout, usable)
        assert torch.equal(found.indices, indices)
        assert torch.equal(found.quantized, gather_codes(indices, before, layout))
        counts, sums = _reference.accumulate_codes(latents, indices, layout, usable)
        assert torch.equal(found.counts, counts)
        ema_step(views, counts, sums, decay=0.9, epsilon=1e-5)
        views.count_rows(counts.long(), len(latents))
        size = views.weight.abs().max()
        torch.testing.assert_close(state[1], views.counts, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(state[2], views.sums, rtol=1e-5, atol=1e-5 * float(size))
        torch.testing.assert_close(state[0], views.weight, rtol=1e-5, atol=1e-5 * float(size))
        assert torch.equal(state[3], views.epoch_counts)
        assert torch.equal(state[4], views.epoch_skipped)
        for ours, theirs in zip(state, twin, strict=True):
            theirs.copy_(ours)  # no drift: every step starts from the same codes


def test_refresh_alone_is_the_same_step() -> None:
    fused, apart = new_state(LARGE), new_state(LARGE)
    found = step(LARGE, fused)
    latents = torch.from_numpy(LARGE.latents)
    counts, sums = _cpp.accumulate_codes(latents, found.indices, LARGE.layout)
    weight, ema_counts, ema_sums, epoch_counts, _ = apart
    for threads in (1, 3):
        state = [tensor.clone() for tensor in (weight, ema_counts, ema_sums, epoch_counts)]
        _cpp.refresh_codes(
            counts, sums, state[0], LARGE.layout, *state[1:], 0.9, 1e-5, threads=threads
        )
        for ours, theirs in zip(fused, state, strict=False):
            assert torch.equal(ours, theirs)


@isas
@pytest.mark.parametrize("case", [LARGE, SMALL_BANK], ids=lambda case: case.name)
def test_threads_change_no_bit(case: RaggedCase, isa: str) -> None:
    results = []
    for threads in (1, 2, 3):
        state = new_state(case)
        found = step(case, state, threads=threads, isa=isa)
        results.append([*found, *state])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert torch.equal(one, two)


def test_instruction_sets_differ_in_losses_only() -> None:
    results = [(step(LARGE, state := new_state(LARGE), isa=isa), state) for isa in ISAS]
    (first, first_state), *others = results
    for found, state in others:
        torch.testing.assert_close(found.losses, first.losses, rtol=1e-5, atol=0.0)
        for one, two in zip((*found, *state), (*first, *first_state), strict=True):
            assert one is found.losses or torch.equal(one, two)


def test_a_batch_without_usable_rows_changes_no_code() -> None:
    case = make_case("broken", [(4, 3), (9, 2)], 30, makers=["plain"], seed=1)
    case.latents[:, :3] = np.nan
    state = new_state(case)
    before = [tensor.clone() for tensor in state]
    found = step(case, state)
    assert found.losses[0] == 0
    assert (found.indices[:, 0] == 0).all()
    assert state[4].tolist() == [30, 0]
    first = case.layout.weight_range(0, 1)[1]
    assert torch.equal(state[0][:first], before[0][:first])
    assert torch.equal(state[1][:4], before[1][:4])
    assert not torch.equal(state[0][first:], before[0][first:])


def test_state_that_cannot_change_in_place_is_refused() -> None:
    case = FROZEN[0]
    state = new_state(case)
    state[0] = state[0].half()
    with pytest.raises(InputError, match=r"weight: expected float32 on the CPU, got float16"):
        step(case, state)
    state = new_state(case)
    state[4] = state[4][:1]
    with pytest.raises(LayoutError, match=r"epoch_skipped: expected 7 elements, got 1"):
        step(case, state)


def test_python_threads_at_once() -> None:
    latents, weight, layout = tensors(LARGE)
    expected = _cpp.quantize(latents, weight, layout, threads=1)
    found: list[_cpp.Step] = []

    def work() -> None:
        found.extend(_cpp.quantize(latents, weight, layout, threads=2) for _ in range(3))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 9
    assert all(torch.equal(a, b) for one in found for a, b in zip(one, expected, strict=True))


_FORKED = """
import os, torch
from spinlock.layout import CodebookLayout
from spinlock.ops import _cpp
layout = CodebookLayout((64,), (16,))
x, weight = torch.randn(9000, 16), torch.randn(layout.weight_size)
expected = _cpp.nearest_codes(x, weight, layout, threads=2)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(_cpp.nearest_codes(x, weight, layout, threads=2), expected) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
_ONE_RUNTIME = """
import {first}
import {second}
import torch
from spinlock.layout import CodebookLayout
from spinlock.ops import _cpp
layout = CodebookLayout((64,), (16,))
_cpp.nearest_codes(torch.randn(9000, 16), torch.randn(layout.weight_size), layout, threads=2)
torch.randn(300, 300) @ torch.randn(300, 300)
maps = open("/proc/self/maps").read().splitlines()
print(len({{line.split()[-1] for line in maps if "libgomp" in line or "libomp" in line}}))
"""


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_goes_on_with_one_thread() -> None:
    run_python(_FORKED)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_openmp_runtime_where_torch_comes_first() -> None:
    assert run_python(_ONE_RUNTIME.format(first="torch", second="spinlock._C")) == "1"
    run_python(_ONE_RUNTIME.format(first="spinlock._C", second="torch"))
