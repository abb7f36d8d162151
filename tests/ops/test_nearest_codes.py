"""The lookup: the reference against loops in Python floats, every backend against the reference."""

import hashlib

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cases import FROZEN, RaggedCase, make_case, ragged_cases
from spinlock.layout import CodebookLayout
from spinlock.ops import _reference, _torch, nearest_codes

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def lookup(case: RaggedCase, backend: str, dtype: torch.dtype = torch.float32) -> Tensor:
    latents = torch.from_numpy(case.latents).to(dtype)
    return nearest_codes(latents, torch.from_numpy(case.weight), case.layout, backend=backend)


def nearest_by_loops(row: NDArray[np.float32], codes: NDArray[np.float32]) -> int:
    """The definition, in Python floats: no vector unit, no fused multiply-add."""
    if not np.isfinite(row).all():
        return 0
    best, best_distance = 0, float("inf")
    for k, code in enumerate(codes.tolist()):
        distance = 0.0
        for x, c in zip(row.tolist(), code, strict=True):
            distance += (x - c) * (x - c)
        if distance < best_distance:
            best, best_distance = k, distance
    return best


@pytest.mark.parametrize("case", FROZEN, ids=lambda case: case.name)
def test_reference_is_the_definition(case: RaggedCase) -> None:
    expected = [
        [nearest_by_loops(row, codes) for row in part]
        for part, codes in zip(case.parts(), case.codebooks, strict=True)
    ]
    assert lookup(case, "reference").T.tolist() == expected


def test_frozen_cases_have_not_changed() -> None:
    digest = hashlib.sha256()
    for case in FROZEN:
        digest.update(case.latents.tobytes())
        digest.update(case.weight.tobytes())
        digest.update(lookup(case, "reference").numpy().tobytes())
    assert digest.hexdigest() == "9e16b4b77fd0aa393d2f3057fc7d2ade016b828f88e0208ac68bb2704b34e56b"


@pytest.mark.parametrize("case", FROZEN, ids=lambda case: case.name)
def test_torch_equals_the_truth_on_frozen_cases(case: RaggedCase) -> None:
    assert torch.equal(lookup(case, "torch"), lookup(case, "reference"))


@settings(max_examples=100)
@given(ragged_cases(), st.sampled_from(FLOATS))
def test_torch_equals_the_truth_on_fresh_cases(case: RaggedCase, dtype: torch.dtype) -> None:
    assert torch.equal(lookup(case, "torch", dtype), lookup(case, "reference", dtype))


@pytest.mark.parametrize("case", FROZEN[::3], ids=lambda case: case.name)
def test_block_sizes_do_not_matter(case: RaggedCase, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = lookup(case, "reference")
    for module in (_torch, _reference):
        monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 4000)
    assert torch.equal(lookup(case, "torch"), expected)
    assert torch.equal(lookup(case, "reference"), expected)


def test_the_bound_has_teeth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tolerance the first pass alone is wrong on these very cases."""
    monkeypatch.setattr(_torch, "_UNIT_ROUNDOFF", 0.0)
    monkeypatch.setattr(_torch, "_UNDERFLOW", 0.0)
    wrong = {
        case.name: int((lookup(case, "torch") != lookup(case, "reference")).sum())
        for case in FROZEN
    }
    assert wrong["grid"] > 0
    assert wrong["offset 1000 scale 1"] > 0


def test_ordinary_rows_are_decided_by_the_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_torch, "_settle")
    case = make_case("plain", [(256, 16), (64, 32)], 500, makers=["plain"], seed=5, offset=10.0)
    lookup(case, "torch")


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_memory_is_bounded_by_blocks(backend: str) -> None:
    """Never B x K: 2,048 rows and 1,024 codes would be 2.1 million distances."""
    case = make_case("large", [(1024, 2)], 2048, makers=["plain"], seed=9)
    with LargestTensor() as largest:
        lookup(case, backend)
    assert largest.elements <= 1 << 20


def test_lowest_index_on_ties() -> None:
    layout = CodebookLayout((4, 3), (2, 1))
    weight = torch.from_numpy(
        layout.pack_codebooks([[[9, 9], [1, 0], [1, 0], [-1, 0]], [[2], [0], [0]]])
    )
    latents = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 5.0, 0.0]])
    for backend in ("reference", "torch", "cpp"):
        indices = nearest_codes(latents, weight, layout, backend=backend)
        assert indices.tolist() == [[1, 0], [1, 1], [1, 1]]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "codes", [[NAN, 0.0, 1.0, 5.0], [INF, 3.0, NAN, 2.0], [NAN] * 4, [-INF, INF, NAN, NAN]]
)
def test_non_finite_codes_are_never_nearest(codes: list[float]) -> None:
    layout = CodebookLayout((4,), (1,), alignment=1)
    weight = torch.zeros(layout.weight_size)
    weight[:4] = torch.tensor(codes)
    latents = torch.tensor([[0.9], [4.0], [2.4]])
    expected = nearest_codes(latents, weight, layout, backend="reference")
    assert torch.equal(nearest_codes(latents, weight, layout, backend="torch"), expected)
    finite = torch.tensor(codes).isfinite()
    assert finite[expected].all() or not finite.any()


@pytest.mark.parametrize("backend", ["reference", "torch", "cpp"])
def test_damage_stays_within_its_quantizer(backend: str) -> None:
    layout = CodebookLayout((2, 2), (2, 1))
    weight = torch.from_numpy(layout.pack_codebooks([[[0, 0], [5, 5]], [[0], [5]]]))
    latents = torch.tensor([[5.0, torch.nan, 5.0], [5.0, 5.0, torch.inf], [5.0, 5.0, 5.0]])
    indices = nearest_codes(latents, weight, layout, backend=backend)
    assert indices.tolist() == [[0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_float64_beyond_float32_is_damage_too(backend: str) -> None:
    layout = CodebookLayout((2,), (1,))
    weight = torch.from_numpy(layout.pack_codebooks([[[0], [5]]]))
    latents = torch.tensor([[1e300], [5.0]], dtype=torch.float64)
    assert nearest_codes(latents, weight, layout, backend=backend).tolist() == [[0], [1]]


def test_float64_codes_are_compared_in_full() -> None:
    layout = CodebookLayout((2,), (1,))
    weight = torch.zeros(layout.weight_size, dtype=torch.float64)
    weight[4] = 2e-12
    latents = torch.tensor([[0.9e-12], [1.1e-12]], dtype=torch.float64)
    for backend in ("reference", "torch"):
        assert nearest_codes(latents, weight, layout, backend=backend).tolist() == [[0], [1]]


@pytest.mark.parametrize("backend", ["reference", "torch", "cpp"])
def test_strided_latents_and_gradients_in_flight(backend: str) -> None:
    case = FROZEN[0]
    wide = torch.from_numpy(np.repeat(case.latents, 2, axis=1)).requires_grad_()
    weight = torch.from_numpy(case.weight).requires_grad_()
    indices = nearest_codes(wide[:, ::2], weight, case.layout, backend=backend)
    assert not indices.requires_grad
    assert indices.dtype == torch.int64
    assert indices.is_contiguous()
    assert torch.equal(indices, lookup(case, "reference"))


def test_autocast_changes_no_index() -> None:
    """Numbers above 256 do not fit bfloat16, in which autocast computes products."""
    layout = CodebookLayout((1000,), (8,))
    generator = torch.Generator().manual_seed(0)
    weight = torch.from_numpy(layout.pack_codebooks([torch.randn(1000, 8, generator=generator)]))
    latents = torch.randn(100, 8, generator=generator)
    expected = nearest_codes(latents, weight, layout)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest_codes(latents, weight, layout), expected)
