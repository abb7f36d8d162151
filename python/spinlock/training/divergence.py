"""Runs whose numbers are not finite any more end here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from spinlock.errors import DataError

if TYPE_CHECKING:
    from spinlock.config import TrainingConfig


def require_finite(finite: bool, what: str, epoch: int, remedy: str) -> None:
    """Ends a run where ``what`` is not finite.

    Raises:
        DataError: it is not.
    """
    if not finite:
        raise DataError(
            f"training diverged: {what} became infinite or NaN in epoch {epoch}. {remedy}"
        )


def require_finite_state(model: nn.Module, epoch: int, remedy: str) -> None:
    """A last step can break the weights after its loss was still finite.

    Raises:
        DataError: a tensor of the model is not finite.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            finite = bool(torch.isfinite(tensor).all())
            require_finite(finite, f"'{name}' of the model", epoch, remedy)


def remedy_for(settings: TrainingConfig, checkpoint: Path | None) -> str:
    """What to change, and what is left."""
    kept = f"; '{checkpoint}' is intact" if checkpoint else ""
    clip = "null" if settings.gradient_clip is None else f"{settings.gradient_clip:g}"
    return (
        f"Lower training.learning_rate (now {settings.learning_rate:g}) or set "
        f"training.gradient_clip (now {clip}){kept}."
    )
