"""Which implementation runs.

| latents | ``backend=None`` | may be asked for |
|---|---|---|
| on the CPU, float32, float16 or bfloat16 (the weight too) | ``"cpp"`` | any |
| on the CPU, with float64 latents or weight | ``"torch"`` | ``"reference"``, ``"torch"`` |
| on any other device | ``"torch"`` | ``"reference"``, ``"torch"`` |
| while ``torch.compile`` or ``torch.export`` traces | ``"torch"`` | ``"reference"``, ``"torch"`` |

``"reference"`` is the plain truth, ``"torch"`` the batched form of it, ``"cpp"`` the C++ core; all
return the same indices on every input.  A name that is not known, or that cannot run on what was
given, is an error; nothing falls back silently.
"""

from typing import Protocol, cast

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import _cpp, _reference, _torch

__all__ = ["BACKENDS", "Backend", "check_backend", "finds_unusable", "resolve_backend"]


class Backend(Protocol):
    """What an implementation offers; its arguments are checked before it is called."""

    def nearest_codes(
        self, latents: Tensor, weight: Tensor, layout: CodebookLayout, usable: Tensor | None
    ) -> Tensor:
        """int64 [B, Q]."""

    def accumulate_codes(
        self, latents: Tensor, indices: Tensor, layout: CodebookLayout, usable: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(counts float32 [total_codes], sums float32 [weight_size])."""


BACKENDS: dict[str, Backend] = {
    "reference": cast(Backend, _reference),
    "torch": cast(Backend, _torch),
    "cpp": cast(Backend, _cpp),
}


def check_backend(name: str | None) -> None:
    """Nothing, for a known name or None.

    Raises:
        InputError: any other name.

    >>> check_backend("abacus")
    Traceback (most recent call last):
    spinlock.errors.InputError: backend: expected one of 'reference', 'torch', 'cpp' or None ...
    """
    if name is not None and name not in BACKENDS:
        known = ", ".join(repr(known) for known in BACKENDS)
        raise InputError(
            f"backend: expected one of {known} or None (chosen by device), got {name!r}; "
            "correct the name or leave it out"
        )


def resolve_backend(name: str | None, latents: Tensor, weight: Tensor | None = None) -> Backend:
    """The backend of that name, or the table's choice for these tensors.

    Raises:
        InputError: a name that is not known, or a backend that cannot run on these tensors.

    >>> resolve_backend("cpp", torch.zeros(2, 3, dtype=torch.float64))
    Traceback (most recent call last):
    spinlock.errors.InputError: backend 'cpp': expected float32, ... got torch.float64 on cpu; ...
    """
    check_backend(name)
    tensors = (latents,) if weight is None else (latents, weight)
    traced = torch.compiler.is_compiling()
    if name is None:
        return BACKENDS["torch" if traced or not _cpp.supports(*tensors) else "cpp"]
    if name == "cpp":
        for tensor in tensors:
            if not _cpp.supports(tensor):
                raise InputError(
                    "backend 'cpp': expected float32, float16 or bfloat16 on the CPU, got "
                    f"{tensor.dtype} on {tensor.device}; convert it, or leave the backend out"
                )
        if traced:
            raise InputError(
                "backend 'cpp': expected a plain call, got one that torch.compile or torch.export "
                "traces; leave the backend out"
            )
    return BACKENDS[name]


def finds_unusable(backend: Backend) -> bool:
    """Whether the backend finds rows that are not finite itself, in the pass that reads them."""
    return backend is BACKENDS["cpp"]
