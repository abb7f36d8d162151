"""Which implementation runs.

| device of the latents | ``backend=None`` | may be asked for |
|---|---|---|
| any device with float64 | ``"torch"`` | ``"reference"``, ``"torch"`` |

``"reference"`` is the plain truth, ``"torch"`` the batched form of it; both return the same
indices on every input.  A name that is not known is an error; nothing falls back silently.
"""

from typing import Protocol, cast

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import _reference, _torch

__all__ = ["BACKENDS", "Backend", "resolve_backend"]


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
}


def resolve_backend(name: str | None, device: torch.device) -> Backend:
    """The backend of that name, or the table's choice for the device.

    Raises:
        InputError: a name that is not known.

    >>> resolve_backend("abacus", torch.device("cpu"))
    Traceback (most recent call last):
    spinlock.errors.InputError: backend: expected one of 'reference', 'torch' ... got 'abacus'; ...
    """
    del device  # every device takes the same row of the table
    if name is None:
        return BACKENDS["torch"]
    if name not in BACKENDS:
        known = ", ".join(repr(known) for known in BACKENDS)
        raise InputError(
            f"backend: expected one of {known} or None (chosen by device), got {name!r}; "
            "correct the name or leave it out"
        )
    return BACKENDS[name]
