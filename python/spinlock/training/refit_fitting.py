"""Codebooks and decoder fitted to tokens that stand; encoders keep still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spinlock.modules.codebook_views import codebook_view
from spinlock.training.callbacks import EventHandler, progress_event
from spinlock.training.metrics import perplexity, utilization
from spinlock.vqvae import CategoricalHierarchicalVQVAE

_BLOCK_ROWS = 8_192


@contextmanager
def fitted_tensors(model: CategoricalHierarchicalVQVAE) -> Iterator[list[Tensor]]:
    """The tensors that decoding depends on, with gradients: codes, whoever moves them, come first.

    EMA codes are a buffer; they take gradients for the length of the block, after which their sums
    are made to agree with them.
    """
    bank = model.quantizer.bank
    wanted, bank.weight.requires_grad = bank.weight.requires_grad, True
    try:
        yield [bank.weight, *model.decoder_parameters()]
    finally:
        bank.weight.requires_grad = wanted
        if not wanted:
            bank.weight.grad = None
        settle_sums(model)


@dataclass(frozen=True)
class CodeUse:
    """How tokens use the codes, over all quantizers.

    Attributes:
        utilization: share of codes used, mean over quantizers.
        perplexity: exp(entropy) of their use, mean over quantizers.
        dead: codes that no token names.
    """

    utilization: float
    perplexity: float
    dead: int

    @classmethod
    def of(cls, model: CategoricalHierarchicalVQVAE, tokens: Tensor) -> CodeUse:
        """Of tokens ``[B, C * L]``, at least one row."""
        sizes = [size for sizes in model.config.codebook_sizes for size in sizes]
        columns = zip(tokens.T.cpu(), sizes, strict=True)
        counts = [torch.bincount(column, minlength=size).numpy() for column, size in columns]
        return cls(
            utilization=sum(map(utilization, counts)) / len(counts),
            perplexity=sum(map(perplexity, counts)) / len(counts),
            dead=int(sum((count == 0).sum() for count in counts)),
        )


def token_loss(model: CategoricalHierarchicalVQVAE, x: Tensor, tokens: Tensor) -> Tensor:
    """Mean squared error, over rows ``[B, N]`` and features, of what tokens decode to."""
    decoded = model.decode(model.quantizer.decode(tokens))
    return nn.functional.mse_loss(decoded, x)


@torch.no_grad()
def encoded(
    model: CategoricalHierarchicalVQVAE,
    x: Tensor,
    tokens: Tensor | None,
    sweeps: int,
    on_event: EventHandler,
    task: str,
    own_error_limit: float | None = None,
) -> Tensor:
    """Tokens int32 ``[B, C * L]`` of ``x [B, N]`` by sweeps, which start from ``tokens`` if given.

    Without sweeps they are the encoder's own, whatever ``tokens`` are.
    """
    parts = []
    for start in range(0, len(x), _BLOCK_ROWS):
        block = x[start : start + _BLOCK_ROWS]
        if tokens is None or sweeps == 0:
            found = model.get_tokens(block, sweeps=sweeps, own_error_limit=own_error_limit)
        else:
            present = tokens[start : start + _BLOCK_ROWS].long()
            found = model.sweep(block, present, sweeps, own_error_limit)
        parts.append(found.int())
        if len(x) > _BLOCK_ROWS:
            on_event(progress_event(task, start + len(block), len(x)))
    return torch.cat(parts)


@torch.no_grad()
def category_error(model: CategoricalHierarchicalVQVAE, x: Tensor, tokens: Tensor) -> float:
    """Mean over categories of the squared error per feature."""
    squared = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for start in range(0, len(x), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        missed = model.decode_from_tokens(tokens[rows].long()) - x[rows]
        squared += missed.double().square().sum(0)
    by_category = torch.split(squared / len(x), list(model.config.category_sizes))
    return float(torch.stack([errors.mean() for errors in by_category]).mean())


def settle_sums(model: CategoricalHierarchicalVQVAE) -> None:
    """EMA sums = code * count, so that a later EMA step starts from the codes as they are."""
    bank = model.quantizer.bank
    if bank.ema_sums is None:
        return
    bank.ema_sums.copy_(bank.weight.detach())
    counts = torch.split(bank.ema_counts, list(bank.layout.codebook_sizes))
    for q, count in enumerate(counts):
        codebook_view(bank.ema_sums, bank.layout, q).mul_(count[:, None])
