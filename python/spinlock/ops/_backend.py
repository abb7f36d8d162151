"""Which implementation runs.

| latents and weight | ``backend=None`` | may be asked for |
|---|---|---|
| CUDA, float32 or halves, triton >= 3.3 installed | ``"triton"`` | ``"reference"``, ``"torch"`` |
| CPU, float32 or halves | ``"cpp"`` | the same |
| any other device or dtype with float64 | ``"torch"`` | ``"reference"`` |

``"reference"`` is the plain truth, ``"torch"`` the batched form of it, ``"triton"`` kernels that do
a whole step in a few launches, ``"cpp"`` a core that does it in one call; all return the same
indices on every input.  A name that is not known, or that cannot run on the tensors given, is an
error; nothing falls back silently.  Calls that are traced go to the same backend through the
operators of ``spinlock.ops._library``.
"""

import importlib
import importlib.util
from functools import lru_cache
from typing import NamedTuple, Protocol, cast

from torch import Tensor
from torch.torch_version import TorchVersion

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import _reference, _torch

__all__ = [
    "BACKENDS",
    "AverageState",
    "Backend",
    "FusedBackend",
    "Quantized",
    "Step",
    "check_backend",
    "resolve_backend",
    "resolve_fused",
    "runs_on",
    "usable_fused",
]


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


class Step(NamedTuple):
    """What a step returns.

    Attributes:
        quantized: [B, input_width], the chosen codes, before any update; float32, or float64 where
            latents or weight are.
        indices: int64 [B, Q].
        losses: [Q] likewise, mean over usable rows and D_q dims of (x - c)^2, 0 without such rows.
        counts: int64 [total_codes], usable rows of this batch per code.
        mean_loss: [], the mean of ``losses``; None where nobody has added them up.
    """

    quantized: Tensor
    indices: Tensor
    losses: Tensor
    counts: Tensor
    mean_loss: Tensor | None = None


class Quantized(NamedTuple):
    """What :func:`spinlock.ops.quantize` returns.

    Attributes:
        quantized: [B, input_width] in the latents' dtype, the chosen codes; its gradient goes
            straight through to the latents, or rotated.
        indices: int64 [B, Q], the chosen codes' numbers.
        commitment: [Q], mean over rows and D_q dims of (x - stop_gradient(c))^2.
        codebook_loss: [Q], mean over rows and D_q dims of (stop_gradient(x) - c)^2.
        counts: int64 [total_codes], rows that chose each code, those that are skipped left out.
        mean_commitment: [], mean of ``commitment`` over quantizers, with its gradient.
    """

    quantized: Tensor
    indices: Tensor
    commitment: Tensor
    codebook_loss: Tensor
    counts: Tensor
    mean_commitment: Tensor


class AverageState(NamedTuple):
    """What a train step moves in place; see ``spinlock.ops._averages``.

    Attributes:
        ema_counts: float32 [total_codes].
        ema_sums: float32 [weight_size]; None: gradients move the codes, only counts are kept.
        epoch_counts: int64 [total_codes], grows by the batch's counts.
        epoch_skipped: int64 [Q], grows by the rows that could not be used.
        decay: 0 <= decay < 1.
        epsilon: > 0, pseudo-rows per code.
        unit_codes: codes that move are scaled to length 1.
    """

    ema_counts: Tensor
    ema_sums: Tensor | None
    epoch_counts: Tensor
    epoch_skipped: Tensor
    decay: float
    epsilon: float
    unit_codes: bool = False


class FusedBackend(Protocol):
    """An implementation that finds non-finite rows itself and does whole steps."""

    def supports(self, *tensors: Tensor) -> bool:
        """Whether it takes latents and weights like these."""

    def nearest_codes(
        self, latents: Tensor, weight: Tensor, layout: CodebookLayout, *, out: Tensor | None = None
    ) -> Tensor:
        """int64 [B, Q], written to ``out`` if given."""

    def accumulate_codes(
        self, latents: Tensor, indices: Tensor, layout: CodebookLayout
    ) -> tuple[Tensor, Tensor]:
        """(counts float32 [total_codes], sums float32 [weight_size])."""

    def quantize(
        self,
        latents: Tensor,
        weight: Tensor,
        layout: CodebookLayout,
        *,
        out: tuple[Tensor, Tensor] | None = None,
    ) -> Step:
        """Lookup, gather, losses and counts; codes and indices written to ``out`` if given."""

    def train_step(
        self,
        latents: Tensor,
        weight: Tensor,
        layout: CodebookLayout,
        ema_counts: Tensor,
        ema_sums: Tensor,
        epoch_counts: Tensor,
        epoch_skipped: Tensor,
        decay: float,
        epsilon: float,
    ) -> Step:
        """The same, and then the update of the :class:`AverageState` and the weight, in place."""


# Name -> module, and whether it is fused; a fused one is imported when it is first asked for.
BACKENDS: dict[str, str] = {
    "reference": "spinlock.ops._reference",
    "torch": "spinlock.ops._torch",
    "triton": "spinlock.ops._triton",
    "cpp": "spinlock.ops._cpp",
}
_FUSED_DEVICES = {"triton": "cuda", "cpp": "cpu"}
_NEEDS = {
    "triton": "a CUDA device, float32, float16 or bfloat16, and triton >= 3.3",
    "cpp": "the CPU, float32, float16 or bfloat16",
}


def check_backend(name: str | None) -> None:
    """A known name, or None.

    Raises:
        InputError: another name.

    >>> check_backend("abacus")
    Traceback (most recent call last):
    spinlock.errors.InputError: backend: expected one of 'reference', 'torch', 'triton', ...
    """
    if name is not None and name not in BACKENDS:
        known = ", ".join(repr(known) for known in BACKENDS)
        raise InputError(
            f"backend: expected one of {known} or None (chosen by device), got {name!r}; "
            "correct the name or leave it out"
        )


def runs_on(name: str, device: str) -> bool:
    """Whether a backend has an implementation for a kind of device, as installed here."""
    if name not in _FUSED_DEVICES:
        return True
    return _FUSED_DEVICES[name] == device and _fused(name) is not None


def usable_fused(name: str | None, *tensors: Tensor) -> FusedBackend | None:
    """As :func:`resolve_fused`, but None also where the backend cannot take the tensors.

    Raises:
        InputError: a name that is not known.
    """
    first = tensors[0]
    backend = _candidate(name, "cpu" if first.is_cpu else first.device.type)
    return backend if backend is not None and backend.supports(*tensors) else None


def resolve_fused(name: str | None, *tensors: Tensor) -> FusedBackend | None:
    """The fused backend of that name, or the table's choice; None where it is not a fused one.

    Raises:
        InputError: a name that is not known, or a fused backend that cannot take the tensors.
    """
    backend = usable_fused(name, *tensors)
    if backend is not None:
        return backend
    if name is None or name not in _FUSED_DEVICES:
        return None
    got = ", ".join(f"{t.dtype} on {t.device}" for t in tensors)
    raise InputError(
        f"backend: {name!r} needs {_NEEDS[name]}, got {got}; move the tensors, or leave backend out"
    )


def resolve_backend(name: str | None) -> Backend:
    """The plain backend of that name; ``"torch"`` for None.

    Raises:
        InputError: a name that is not known.
    """
    check_backend(name)
    plain: dict[str, Backend] = {
        "reference": cast(Backend, _reference),
        "torch": cast(Backend, _torch),
    }
    return plain[name or "torch"]


@lru_cache
def _candidate(name: str | None, kind: str) -> FusedBackend | None:
    """The fused backend of a kind of device, if it is the one asked for; remembered."""
    check_backend(name)
    for candidate, device in _FUSED_DEVICES.items():
        if name in (None, candidate) and kind == device:
            return _fused(candidate)
    return None


@lru_cache
def _fused(name: str) -> FusedBackend | None:
    if name == "triton" and not _has_triton():
        return None
    module: object = importlib.import_module(BACKENDS[name])
    return cast(FusedBackend, module)


def _has_triton() -> bool:
    """Whether a triton is installed that compiles the kernels: 3.2 ends the process instead."""
    if importlib.util.find_spec("triton") is None:
        return False
    version = getattr(importlib.import_module("triton"), "__version__", "0")
    return TorchVersion(version) >= "3.3"
