"""Quantizers learn in several processes what one process learns from all their rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from processes import in_processes
from spinlock.distributed.world import TRAFFIC
from spinlock.modules import NestedResidualQuantizer, RaggedVectorQuantizer
from spinlock.modules.quantizer import Quantizer

STEPS, ROWS = 4, 60
# Sums of float32 in another order.
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def quantizers() -> dict[str, Quantizer]:
    nested: dict[str, Any] = {"codebook_sizes": [[9, 4], [5, 3]], "dims": [[2, 5], [3, 3]]}
    ragged: dict[str, Any] = {"codebook_sizes": [7, 12], "dims": [3, 5]}
    return {
        "nested": NestedResidualQuantizer(**nested, decay=0.8),
        "nested-torch": NestedResidualQuantizer(**nested, decay=0.8, backend="torch"),
        "nested-learnable": NestedResidualQuantizer(**nested, use_ema=False),
        "ragged": RaggedVectorQuantizer(**ragged, decay=0.8),
        "cosine": RaggedVectorQuantizer(**ragged, decay=0.8, similarity="cosine"),
        "frozen": RaggedVectorQuantizer(**ragged).freeze(),
    }


def batch(step: int, masked: bool) -> tuple[Tensor, Tensor | None]:
    """Rows [60, 8], some not finite, and which of them count."""
    source = torch.Generator().manual_seed(step)
    rows = torch.randn(ROWS, 8, generator=source)
    rows[3, 1] = torch.nan
    rows[40, 6] = torch.inf
    return rows, torch.rand(ROWS, generator=source) < 0.8 if masked else None


def learned(share: tuple[int, ...] | None, masked: bool) -> dict[str, Any]:
    """States and codes after some steps; ``share``: where each process's rows begin and end."""
    results: dict[str, Any] = {}
    for name, quantizer in quantizers().items():
        quantizer.initialize_from(batch(99, False)[0], torch.Generator().manual_seed(0))
        quantizer.bank.note_initialized()
        indices = []
        before = TRAFFIC.messages
        for step in range(STEPS):
            rows, mask = batch(step, masked)
            part = slice(None)
            if share is not None:
                rank = torch.distributed.get_rank()
                part = slice(share[rank], share[rank + 1])
            output = quantizer(rows[part], None if mask is None else mask[part])
            indices.append(output.indices)
        state = {key: value.clone() for key, value in quantizer.state_dict().items()}
        messages = TRAFFIC.messages - before
        quantizer.eval()(batch(0, False)[0])
        quiet = TRAFFIC.messages - before == messages
        results[name] = (state, torch.stack(indices), quantizer.usage(), messages, quiet)
    return results


# One process of the three has a single row, one of the two none at all.
@pytest.mark.parametrize(
    ("share", "masked"), [((0, 25, 60), False), ((0, 60, 60), True), ((0, 33, 34, 60), True)]
)
def test_processes_learn_what_one_learns(
    share: tuple[int, ...], masked: bool, tmp_path: Path
) -> None:
    alone = learned(None, masked)
    found = in_processes(len(share) - 1, tmp_path, learned, share, masked)
    for name, (state, indices, usage, messages, _) in alone.items():
        assert messages == 0
        parts = [each[name] for each in found]
        assert torch.equal(torch.cat([part[1] for part in parts], dim=1), indices), name
        for other in parts:
            for key, value in state.items():
                torch.testing.assert_close(other[0][key], value, **CLOSE, msg=f"{name}: {key}")
                assert torch.equal(other[0][key], parts[0][0][key]), (name, key)
            for got, expected in zip(other[2], usage, strict=True):
                assert torch.equal(torch.as_tensor(got), torch.as_tensor(expected)), name
            assert other[3] == STEPS, f"{name}: one message per step"
            assert other[4], f"{name}: none in eval mode"


def first_codes() -> dict[str, Any]:
    rank = torch.distributed.get_rank()
    results = {}
    for name, quantizer in quantizers().items():
        for step, share in enumerate([(0, 0, 60), (0, 30, 60)]):
            quantizer(batch(step, False)[0][share[rank] : share[rank + 1]])
        results[name] = (quantizer.state_dict(), quantizer.bank.may_wait)
    return results


def test_first_codes_are_those_of_process_0(tmp_path: Path) -> None:
    """Also where it has no rows in the first step."""
    first, second = in_processes(2, tmp_path, first_codes)
    for name, (state, waits) in first.items():
        assert waits == second[name][1] == (name == "frozen")
        for key, value in state.items():
            assert torch.equal(value, second[name][0][key]), (name, key)
