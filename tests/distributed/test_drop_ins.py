"""Models with drop-in quantizers under DistributedDataParallel learn what one process learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from processes import in_processes
from spinlock import GroupedResidualVQ, RaggedVectorQuantizer, ResidualVQ, VectorQuantize
from spinlock.compat import vector_quantize_pytorch as compat
from spinlock.distributed.world import TRAFFIC
from spinlock.modules import Lookup, Regularizers, Update
from spinlock.modules.messages import one_message

STEPS, ROWS, WIDTH = 5, 36, 8
# Sums of float32 in another order, after some steps of the optimizer.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
STILL = Update(init="uniform", decay=0.8)


class Autoencoder(nn.Module):
    """Two linear maps around a quantizer."""

    def __init__(self, quantizer: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 6)
        self.quantizer = quantizer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is decoded, the indices, and the quantizer's loss."""
        found: Any = self.quantizer(self.encoder(x))
        if isinstance(found, tuple) and not hasattr(found, "losses"):
            return self.decoder(found[0]), found[1], found[2].sum()
        return self.decoder(found.quantized), found.indices, found.losses.total


class Both(nn.Module):
    """Two quantizers one after the other, in one message."""

    def __init__(self) -> None:
        super().__init__()
        self.first = RaggedVectorQuantizer([7, 5], [3, 5], decay=0.8, init="uniform")
        self.second = ResidualVQ(WIDTH, 9, 2, update=STILL)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of both."""
        with one_message():
            first, second = self.first(x), self.second(x)
        indices = torch.cat([first.indices, second.indices], dim=-1)
        total = first.quantized + second.quantized
        return total, indices, first.losses.total + second.losses.total


def quantizers(*, still: bool) -> dict[str, nn.Module]:
    """By name; ``still``: nothing is drawn, so that one process and several can agree."""
    torch.manual_seed(1)
    update = STILL if still else Update(expire_below=2.0)
    expire: dict[str, Any] = {} if still else {"kmeans_init": True, "threshold_ema_dead_code": 2}
    residual = {"num_quantizers": 3, "codebook_size": 10, **expire}
    made = {
        "vq": VectorQuantize(WIDTH, 12, update=update),
        "cosine": VectorQuantize(WIDTH, 12, update=update, lookup=Lookup(similarity="cosine")),
        "residual": ResidualVQ(WIDTH, 10, 3, update=update),
        "shared": ResidualVQ(WIDTH, 10, 3, update=update, shared_codebooks=True),
        "grouped": GroupedResidualVQ(WIDTH, 10, 2, groups=2, update=update),
        "compat": compat.ResidualVQ(dim=WIDTH, **residual),
        "compat-shared": compat.ResidualVQ(dim=WIDTH, shared_codebook=True, **residual),
    }
    if still:
        made["learnable"] = VectorQuantize(WIDTH, 12, update=Update(init="uniform", ema=False))
        orthogonal = Regularizers(orthogonal=0.1)
        made["orthogonal"] = VectorQuantize(WIDTH, 12, update=STILL, regularizers=orthogonal)
        made["ragged"] = RaggedVectorQuantizer([7, 5], [3, 5], decay=0.8, init="uniform")
        made["both"] = Both()
    return made


def learned(share: tuple[int, ...] | None, still: bool) -> dict[str, Any]:
    """State, indices, losses and messages of every model after some steps."""
    results: dict[str, Any] = {}
    for name, quantizer in quantizers(still=still).items():
        torch.manual_seed(0)
        model: nn.Module = Autoencoder(quantizer)
        part = slice(None)
        if share is not None:
            rank = torch.distributed.get_rank()
            part = slice(share[rank], share[rank + 1])
            torch.manual_seed(rank)  # what is drawn later is not the same by chance
            model = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        indices, losses, before = [], [], TRAFFIC.messages
        for step in range(STEPS):
            x = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(step))[part]
            decoded, codes, loss = model(x)
            optimizer.zero_grad()
            ((decoded - x).square().mean() + loss).backward()
            optimizer.step()
            indices.append(codes)
            losses.append(loss.detach())
        messages = TRAFFIC.messages - before
        model.eval()(x)
        quiet = TRAFFIC.messages - before == messages
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        state = {key: value.clone() for key, value in inner.state_dict().items()}
        results[name] = (state, indices, torch.stack(losses), messages, quiet)
    return results


@pytest.mark.parametrize("size", [2, 3])
def test_the_same_as_one_process_on_the_whole_batch(size: int, tmp_path: Path) -> None:
    share = tuple(range(0, ROWS + 1, ROWS // size))
    alone = learned(None, True)
    found = in_processes(size, tmp_path, learned, share, True)
    for name, (state, indices, losses, messages, _) in alone.items():
        assert messages == 0
        parts = [each[name] for each in found]
        for step, expected in enumerate(indices):
            axis = expected.shape.index(ROWS)
            got = torch.cat([part[1][step] for part in parts], dim=axis)
            assert torch.equal(got, expected), (name, step)
        mean = torch.stack([part[2] for part in parts]).mean(dim=0)  # of shares of equal size
        torch.testing.assert_close(mean, losses, **CLOSE, msg=f"{name}: losses")
        for key, value in state.items():
            for part in parts:
                torch.testing.assert_close(part[0][key], value, **CLOSE, msg=f"{name}: {key}")
                assert torch.equal(part[0][key], parts[0][0][key]), (name, key)
        for part in parts:
            assert part[3] == STEPS, f"{name}: one per step"
            assert part[4], f"{name}: none in eval mode"


def test_first_codes_and_expired_ones_are_the_same_everywhere(tmp_path: Path) -> None:
    first, second = in_processes(2, tmp_path, learned, (0, ROWS // 2, ROWS), False)
    for name, (state, *_) in first.items():
        for key, value in state.items():
            if "epoch" not in key:
                assert torch.equal(value, second[name][0][key]), (name, key)
