"""What launches need of the host, found with recorders in the kernels' place."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

from spinlock.kernels import launch
from spinlock.kernels.bank import Bank, make_bank

from ahead_of_time import Launch, recorded
from spinlock.layout import CodebookLayout
from spinlock.ops import _triton

CPU = torch.device("cpu")
# One codebook for each way through: packed, in groups, and scanned whole.
LAYOUT = CodebookLayout((5, 70, 1030, 20), (3, 20, 6, 600))
SMALL = CodebookLayout((32, 16, 8), (8, 24, 48))
BANKS = pytest.mark.parametrize("layout", [SMALL, LAYOUT], ids=["small", "large"])


class _Made(TorchDispatchMode):
    """The operators that run within it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def found() -> Iterator[list[Launch]]:
    with recorded() as launches:
        yield launches


def whole_step(layout: CodebookLayout, num_rows: int) -> None:
    """A train step, its backward pass, a lookup and statistics."""
    bank = _triton.bank_of(layout, CPU)
    rows, weight = torch.empty(num_rows, layout.input_width), torch.empty(layout.weight_size)
    averages = launch.Averages(
        torch.empty(layout.total_codes),
        torch.empty(layout.weight_size),
        torch.empty(layout.total_codes, dtype=torch.int64),
        torch.empty(layout.num_quantizers, dtype=torch.int64),
        0.99,
        1e-5,
    )
    step = launch.quantize(rows, weight, bank, averages)
    launch.backward(rows, step.quantized, step.counts, rows, step.losses, bank)
    launch.nearest(rows, weight, bank)
    launch.accumulate(rows, step.indices, bank)


@BANKS
def test_a_new_batch_size_makes_nothing_but_scratch_memory(
    layout: CodebookLayout, found: list[Launch]
) -> None:
    whole_step(layout, 100)
    made = _Made()
    with made:
        for num_rows in (1, 33, 4096):
            whole_step(layout, num_rows)
    assert found
    # Nothing is computed or copied, which a stream that is being captured would refuse.
    assert made.names <= {"empty", "zeros", "split_with_sizes", "split", "view", "detach"}


@BANKS
def test_one_variant_of_each_kernel_serves_all_batch_sizes(
    layout: CodebookLayout, found: list[Launch], monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in (0, launch.SMALL_WORK):  # with a first pass, and without where codebooks are small
        monkeypatch.setattr(launch, "SMALL_WORK", work)
        found.clear()
        whole_step(layout, 1)
        first = list(found)
        for num_rows in range(32, 4097, 31):
            whole_step(layout, num_rows)
        assert found == first


def test_a_bank_is_kept_for_graphs_that_know_its_addresses() -> None:
    bank = _triton.bank_of(SMALL, CPU)
    for size in range(1, 300):
        _triton.bank_of(CodebookLayout((size,), (2,)), CPU)
    assert _triton.bank_of(SMALL, CPU) is bank


def test_codes_that_begin_between_16_bytes_are_not_read_as_if_they_did_not() -> None:
    def aligned(first: int) -> bool:
        offsets = (first, first + 16)
        return make_bank((4, 2), (4, 8), (4, 8), (0, 4), (0, 4), offsets, 36, "cpu").aligned

    assert aligned(0)
    assert aligned(4)
    assert not aligned(2)


def test_threads_that_meet_a_layout_together_share_its_bank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout = CodebookLayout((7, 9), (3, 5))
    make = _triton.make_bank

    def slow(*arguments: Any) -> Bank:
        # All of them have found no bank by then.
        barrier.wait(timeout=20)
        return make(*arguments)

    barrier = Barrier(4)
    monkeypatch.setattr(_triton, "make_bank", slow)
    with ThreadPoolExecutor(4) as pool:
        banks = list(pool.map(lambda _: _triton.bank_of(layout, CPU), range(4)))
    assert all(bank is _triton.bank_of(layout, CPU) for bank in banks)
