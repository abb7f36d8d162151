"""What the core reads from the tensors it is given, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spinlock import _C
from spinlock.errors import InputError, LayoutError
from spinlock.layout import CodebookLayout

LAYOUT = CodebookLayout((3, 2), (1, 2))
WEIGHT = torch.from_numpy(LAYOUT.pack_codebooks([[[0], [1], [2]], [[0, 0], [5, 5]]]))
ROWS = torch.tensor([[1.4, 3.0, 3.0], [0.5, 0.0, 1.0]])


class MethodsOnly:
    """A tensor of a torch whose type has no exchange table."""

    shape = property(lambda self: self.tensor.shape)
    is_cpu = property(lambda self: self.tensor.is_cpu)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        for name in ("data_ptr", "stride", "is_floating_point", "is_complex", "element_size"):
            setattr(self, name, getattr(tensor, name))


def found(rows: Any, weight: Any, indices: Any) -> None:
    _C.quantize_rows(LAYOUT.plan, rows, weight, indices=indices)


def poisoned(dtype: torch.dtype = torch.int64, *shape: int) -> Tensor:
    return torch.full(shape or (2, 2), -9, dtype=dtype)


@pytest.mark.parametrize("stride", [3, 5])
@pytest.mark.parametrize("form", ["tensor", "parameter", "methods", "addresses"])
def test_every_form_names_the_same_memory(form: str, stride: int) -> None:
    rows = torch.full((2, stride), torch.nan)[:, :3]
    rows.copy_(ROWS)
    indices = poisoned()
    forms: dict[str, Any] = {
        "tensor": lambda tensor: tensor,
        "parameter": lambda tensor: (
            torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
        ),
        "methods": MethodsOnly,
        "addresses": lambda tensor: (tensor.data_ptr(), tensor.numel()),
    }
    form_of = forms[form]
    as_rows = (rows.data_ptr(), 2, 3, stride) if form == "addresses" else form_of(rows)
    found(as_rows, form_of(WEIGHT), form_of(indices))
    assert indices.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("wrap", [lambda tensor: tensor, MethodsOnly], ids=["tensor", "methods"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rows": ROWS.double()}, InputError, "latents: expected float32 on the CPU, got float64"),
        ({"rows": ROWS.t().contiguous().t()}, InputError, "latents: expected columns that lie"),
        ({"rows": ROWS[:, :2]}, LayoutError, r"latents: expected \[rows, 3\], got \[2, 2\]"),
        ({"weight": WEIGHT.half()}, InputError, "weight: expected float32 .*, got float16"),
        ({"weight": WEIGHT.repeat(2)[::2]}, InputError, "weight: expected contiguous float32"),
        ({"weight": WEIGHT[:-1]}, LayoutError, r"weight: expected \d+ elements, got"),
        ({"weight": WEIGHT[0].expand(len(WEIGHT))}, InputError, "weight: expected contiguous"),
        ({"indices": poisoned(torch.int32)}, InputError, "indices: expected int64 .*, got int32"),
        ({"indices": poisoned().t()}, InputError, "indices: expected contiguous int64"),
        ({"indices": torch.zeros(2, 2)}, InputError, "indices: expected int64 .*, got float32"),
    ],
)
def test_memory_of_another_type_or_form_is_refused(
    wrap: Any, change: dict[str, Tensor], error: type[Exception], message: str
) -> None:
    call = {"rows": ROWS, "weight": WEIGHT, "indices": poisoned(), **change}
    before = call["indices"].clone()
    with pytest.raises(error, match=message):
        found(*(wrap(call[name]) for name in ("rows", "weight", "indices")))
    assert torch.equal(call["indices"], before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.complex64, torch.uint8])
@pytest.mark.parametrize("wrap", [lambda tensor: tensor, MethodsOnly])
def test_types_are_named(wrap: Any, dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=r"indices: expected int64 on the CPU, got .* on the CPU"):
        found(ROWS, WEIGHT, wrap(torch.zeros(2, 2, dtype=dtype)))


def test_memory_of_another_device_is_refused() -> None:
    elsewhere = MethodsOnly(ROWS)
    elsewhere.__class__ = type("Elsewhere", (MethodsOnly,), {"is_cpu": False})
    with pytest.raises(InputError, match=r"latents: .* got float32 on another device"):
        found(elsewhere, WEIGHT, poisoned())


@pytest.mark.parametrize(
    "weight", ["codes", 7, (1, 2, 3), ("a", 1), (2**70, 1), np.zeros(4, np.float32)]
)
def test_other_things_are_no_memory(weight: Any) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        found(ROWS, weight, poisoned())


def test_what_a_library_says_against_it_is_raised() -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        found(ROWS[0], WEIGHT, poisoned())
    by_table = hasattr(Tensor, "__dlpack_c_exchange_api__")  # since torch 2.10
    error, said = (RuntimeError, "meta") if by_table else (InputError, "on another device")
    with pytest.raises(error, match=said):
        found(ROWS.to("meta"), WEIGHT, poisoned())
