"""NumKong's packed dot products, on one thread, with torch's subtraction and argmin behind them.

Products of float32 come out in float64, and are made in blocks of rows that stay in a cache.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.peers.codebook_loop import Search, lookup_loop, needs, needs_device
from bench.peers.contender import Call, Contender, Contract
from bench.problems import Problem

__all__ = ["NumKongBfloat16", "NumKongDots"]

_BLOCK_ELEMENTS = 1 << 17
_LEAST_ROWS = 16


class NumKongDots(Contender):
    """Float32 codes, packed beforehand."""

    name: ClassVar[str] = "NumKong dots"

    def check_available(self, device: str) -> None:
        """Needs NumKong, and a CPU."""
        needs_device(device, "cpu")
        needs("numkong", "numkong")

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        return lookup_loop(problem, [self.search(codes) for codes in problem.codebooks])

    def search(self, codes: Tensor) -> Search:
        """On float32 [B, D]."""
        numkong = needs("numkong", "numkong")
        packed = numkong.dots_pack(codes.numpy())
        norms = codes.double().square().sum(dim=1).mul_(0.5)

        def dots(rows: Tensor) -> Any:
            return numkong.dots_packed(rows.numpy(), packed)

        return _blocked(dots, norms)


class NumKongBfloat16(NumKongDots):
    """Bfloat16 codes, packed beforehand; rows are converted within the call."""

    name: ClassVar[str] = "NumKong dots, bf16"
    # Both factors have 8 bits: each product is off by at most 2^-7 |x| |c|, and two compete.
    contract: ClassVar[Contract] = Contract(excess=1.6e-2)

    def search(self, codes: Tensor) -> Search:
        """On float32 [B, D]."""
        numkong = needs("numkong", "numkong")
        packed = numkong.dots_pack(numkong.from_dlpack(codes.bfloat16()))
        norms = codes.square().sum(dim=1).mul_(0.5)

        def dots(rows: Tensor) -> Any:
            return numkong.dots_packed(numkong.from_dlpack(rows.bfloat16()), packed)

        return _blocked(dots, norms)


def _blocked(dots: Any, norms: Tensor) -> Search:
    block = max(_LEAST_ROWS, _BLOCK_ELEMENTS // len(norms))

    def nearest(rows: Tensor) -> Tensor:
        products = torch.from_numpy(np.asarray(dots(rows)))
        return torch.sub(norms, products, out=products).min(dim=1).indices

    def search(rows: Tensor) -> Tensor:
        if block >= len(rows):
            return nearest(rows)
        return torch.cat([nearest(part) for part in torch.split(rows, block)])

    return search
