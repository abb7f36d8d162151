"""The losses of an epoch's steps, kept on the device: no synchronisation per step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spinlock.errors import DataError


class EpochLosses:
    """Loss terms of every step of one epoch; the table is reused from epoch to epoch.

    >>> losses = EpochLosses(steps=2)
    >>> losses.record(0, {"reconstruction": torch.tensor(1.0), "total": torch.tensor(2.0)})
    >>> losses.record(1, {"reconstruction": torch.tensor(2.0), "total": torch.tensor(3.0)})
    >>> losses.means()
    {'reconstruction': 1.5, 'total': 2.5}
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._terms: tuple[str, ...] = ()
        self._table = torch.zeros(steps, 0)
        self._checked = 0

    def record(self, step: int, losses: dict[str, Tensor]) -> None:
        """Notes the scalar terms of step ``step``, counted from 0 within the epoch."""
        if step == 0:
            self._checked = 0
        if not self._terms:
            self._terms = tuple(losses)
            self._table = losses["total"].new_zeros(self.steps, len(losses), dtype=torch.float32)
        self._table[step] = torch.stack(list(losses.values())).detach()

    def means(self) -> dict[str, float]:
        """Mean of each term over the epoch's steps."""
        means = self._table.double().mean(0).tolist()
        return dict(zip(self._terms, means, strict=True))

    def require_finite(self, steps: int, epoch: int, remedy: str) -> None:
        """Looks at the steps before ``steps`` that have not been looked at yet.

        Raises:
            DataError: one holds an infinity or NaN; says which epoch, step and term, then
                ``remedy``.
        """
        bad = ~torch.isfinite(self._table[self._checked : steps])
        if bool(bad.any()):
            row = int(bad.any(1).nonzero()[0])
            broken = [name for name, b in zip(self._terms, bad[row].tolist(), strict=True) if b]
            term = broken[0]
            value = float(self._table[self._checked + row, self._terms.index(term)])
            raise DataError(
                f"training diverged: the loss term '{term}' became {value} in epoch {epoch}, step "
                f"{self._checked + row + 1} of {self.steps}. {remedy}"
            )
        self._checked = steps

    def to_state(self, steps: int) -> dict[str, Any]:
        """The first ``steps`` steps, for a checkpoint in the middle of an epoch."""
        return {"terms": list(self._terms), "table": self._table[:steps]}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Continues from :meth:`to_state`."""
        rows: Tensor = state["table"]
        self._terms = tuple(state["terms"])
        self._table = rows.new_zeros(self.steps, len(self._terms), device=device)
        self._table[: len(rows)] = rows.to(device)
        self._checked = 0
