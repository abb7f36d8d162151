"""Sweeps that start anew from displaced tokens, and keep what decodes closer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.vqvae.decoder_tables import DecoderTables
from spinlock.vqvae.own_error import own_errors
from spinlock.vqvae.synthesis import swept_tokens

__all__ = ["check_restarts", "displaced", "searched_tokens"]

_SHARE = 0.2  # of the tokens; a tenth and a twentieth measured alike


def searched_tokens(
    x: Tensor,
    tokens: Tensor,
    tables: DecoderTables,
    squared_error: Callable[[Tensor], Tensor],
    *,
    sizes: Sequence[int],
    sweeps: int,
    restarts: int,
    candidates: int,
    own_error_limit: float | None = None,
) -> Tensor:
    """Tokens that sweeps find from ``tokens``, then from displaced ones of the best so far.

    A sweep ends where no single token can be exchanged for a better one, and such places are many:
    iterated local search (Lourenco, Martin and Stutzle, Handbook of Metaheuristics, 2003).

    Args:
        x: features ``[B, N]``, in the tables' dtype.
        tokens: int64 ``[B, Q]`` to start from.
        tables: of the decoder.
        squared_error: of tokens, per row ``[B]``; what tables and decoder round differently must
            not make a row worse.
        sizes: K of each quantizer.
        sweeps: of each start, at least 1.
        restarts: further starts, at least 0.
        candidates: codes tried at a time.
        own_error_limit: of :func:`~spinlock.vqvae.synthesis.swept_tokens`, against ``tokens``.

    Returns:
        int64 ``[B, Q]``.  A row's tokens depend on no other row.
    """
    allowed = None
    if own_error_limit is not None and restarts:
        allowed = own_error_limit * own_errors(x, tokens, tables)
    best, least = tokens, squared_error(tokens)
    for start in range(restarts + 1):
        begun = displaced(best, sizes, start) if start else best
        found = swept_tokens(
            x,
            begun,
            tables,
            sweeps,
            candidates=candidates,
            own_error_limit=own_error_limit,
            bounded_by=tokens,
        )
        error = squared_error(found)
        closer = error < least
        if start and allowed is not None:
            # Displaced tokens that nothing better replaced may be out of bounds.
            closer &= (own_errors(x, found, tables) <= allowed).all(1)
        best = torch.where(closer[:, None], found, best)
        least = torch.where(closer, error, least)
    return best


def check_restarts(restarts: int, sweeps: int) -> None:
    """Refuses restarts of nothing.

    Raises:
        InputError: ``restarts`` below 0, or above 0 without sweeps.
    """
    if restarts < 0:
        raise InputError(f"restarts: expected at least 0, got {restarts}; 0 sweeps once")
    if restarts and not sweeps:
        raise InputError(
            f"restarts: {restarts} of no sweeps, which are what begins anew: give sweeps as well, "
            "2 are plenty"
        )


def displaced(tokens: Tensor, sizes: Sequence[int], start: int) -> Tensor:
    """A fifth of the tokens ``[B, Q]``, about, replaced, for every row in the same columns.

    Which ones, and by how many codes each moves on, is a function of ``start`` alone, so that
    blocks of any size and machines of any kind find the same tokens.

    >>> displaced(torch.tensor([[0, 1, 2, 3, 4], [4, 4, 4, 4, 4]]), [5] * 5, start=1)
    tensor([[2, 1, 0, 3, 3],
            [1, 4, 2, 4, 3]])
    """
    codes = np.asarray(sizes)
    draws = np.random.RandomState(start)
    moved = draws.random_sample(len(codes)) < _SHARE
    moved[draws.randint(len(codes))] = True
    steps = np.where(moved, 1 + (draws.random_sample(len(codes)) * (codes - 1)).astype(np.int64), 0)
    shift, modulus = (torch.as_tensor(part).to(tokens) for part in (steps, codes))
    return (tokens + shift) % modulus
