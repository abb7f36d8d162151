"""Analysis by synthesis: tokens chosen by what the whole shared decoder makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from spinlock.vqvae.decoder_tables import DecoderTables, TokenTables
from spinlock.vqvae.own_error import OwnBound, own_decoders

__all__ = ["CANDIDATES", "swept_tokens"]

# In units of rounding: for a gain of less two codes could take turns for ever.
_LEAST_GAIN = 16.0
CANDIDATES = 4  # codes tried at a time, the present one among them; more add less than 1%
# Rows of a chunk, so that its hidden layers stay in a core's cache; a multiple of 64, for a row's
# place in a matrix product decides its last bits.
_CHUNK_ROWS = 256


def swept_tokens(
    x: Tensor,
    tokens: Tensor,
    tables: DecoderTables,
    sweeps: int,
    *,
    candidates: int = CANDIDATES,
    own_error_limit: float | None = None,
    bounded_by: Tensor | None = None,
) -> Tensor:
    """Tokens whose decoded rows come closer to ``x``, quantizer by quantizer.

    A sweep visits every quantizer once; one that changes no row is the last.  Among the codes of a
    quantizer those are tried whose direct share is nearest to what the present error leaves of the
    category's own features; each is decoded with all other tokens as they are, and one takes the
    present code's place where the squared error over all features becomes smaller, by more than
    rounding may make of it (iterated conditional modes, Besag 1986; analysis by synthesis,
    Schroeder & Atal 1985).  Rows do not depend on one another.

    Args:
        x: features ``[B, N]``.
        tokens: int64 ``[B, Q]`` to start from.
        tables: of the decoder.
        sweeps: at least 0.
        candidates: codes tried at a time, the present one among them.
        own_error_limit: codes are passed over with which the category's own tokens alone would
            reconstruct a row's features of it with more than so many times the error at the start
            (:func:`~spinlock.vqvae.own_error.own_errors`); None: no bound.
        bounded_by: tokens whose own errors count instead of those at the start.

    Returns:
        int64 ``[B, Q]``; rows that are not finite keep their tokens.

    >>> codes, one = torch.tensor([[0.0], [1.0]]), slice(0, 1)
    >>> book = TokenTables(torch.zeros(2, 1), codes, one, one, one, torch.tensor([0.5, 0.5]))
    >>> tables = DecoderTables(
    ...     [book, book], torch.zeros(1), torch.zeros(1, 1), torch.zeros(1), (one,), num_levels=2)
    >>> swept_tokens(torch.tensor([[2.1]]), torch.tensor([[0, 0]]), tables, 1)
    tensor([[1, 1]])
    """
    if sweeps == 0 or len(x) == 0:
        return tokens
    own = None if own_error_limit is None else own_decoders(tables)
    bounds = tokens if bounded_by is None else bounded_by
    parts = [torch.split(part, _CHUNK_ROWS) for part in (x, tokens, bounds)]
    swept = []
    for rows, part, bounding in zip(*parts, strict=True):
        columns = list(part.unbind(1))
        bound = None
        if own is not None and own_error_limit is not None:
            bound = OwnBound(rows, bounding.unbind(1), own, own_error_limit)
        swept.append(_swept(rows, columns, tables, sweeps, candidates, bound))
    return torch.cat(swept)


def _swept(
    x: Tensor,
    columns: list[Tensor],
    tables: DecoderTables,
    sweeps: int,
    candidates: int,
    bound: OwnBound | None,
) -> Tensor:
    # What rounds is of the size of the features, however small the error.
    size = torch.linalg.vector_norm(x, dim=1)
    for _ in range(sweeps):
        start = list(columns)
        # Summed anew in every sweep, so that rounding does not add up.
        before = tables.hidden_bias.expand(len(x), -1).clone()
        target = x - tables.bias  # what is left for the hidden layer
        for column, book in zip(columns, tables.quantizers, strict=True):
            before += book.hidden[column]
            target[:, book.columns] -= book.direct[column]
        error = torch.addmm(target, torch.relu(before), tables.weight, alpha=-1.0)
        state = before, target, error
        for q, book in enumerate(tables.quantizers):
            if bound is not None and q % tables.num_levels == 0:
                bound.enter(q // tables.num_levels, columns)
            tried = min(candidates - 1, len(book.hidden) - 1)
            if tried > 0:
                columns[q], state = _stepped(
                    columns[q], state, book, tables.weight, tried, bound, size
                )
        # A sweep depends on its tokens alone: the next would change nothing either.
        if all(torch.equal(was, now) for was, now in zip(start, columns, strict=True)):
            break
    return torch.stack(columns, 1)


_State = tuple[Tensor, Tensor, Tensor]


def _stepped(
    present: Tensor,
    state: _State,
    book: TokenTables,
    weight: Tensor,
    tried: int,
    bound: OwnBound | None,
    size: Tensor,
) -> tuple[Tensor, _State]:
    """One quantizer's tokens ``[B]`` after a visit; hidden layer, target and error follow them."""
    before, target, error = state
    others = _nearest_others(present, error[:, book.category], book.direct[:, book.own], tried)
    rows = torch.arange(len(present), device=present.device)
    # Without the present code's share, then with each candidate's.
    hidden = (before - book.hidden[present])[:, None] + book.hidden[others]
    left = target[:, None].repeat(1, tried, 1)
    left[:, :, book.columns] += book.direct[present][:, None] - book.direct[others]
    tried_error = torch.addmm(
        left.flatten(0, 1), torch.relu(hidden).flatten(0, 1), weight, alpha=-1.0
    ).view_as(left)
    squared = tried_error.square().sum(2)
    if bound is not None:
        squared.masked_fill_(bound.refused(book, present, others), torch.inf)
    least, best = squared.min(1)
    now = error.square().sum(1)
    rounding = torch.finfo(error.dtype).eps * (now + size * now.sqrt())
    better = (least < now - _LEAST_GAIN * rounding)[:, None]
    if bound is not None:
        bound.take(better, best)
    chosen = torch.where(better[:, 0], others[rows, best], present)
    return chosen, (
        torch.where(better, hidden[rows, best], before),
        torch.where(better, left[rows, best], target),
        torch.where(better, tried_error[rows, best], error),
    )


def _nearest_others(present: Tensor, error: Tensor, codes: Tensor, count: int) -> Tensor:
    """int64 ``[B, count]``: codes, but for the present, nearest to it plus the error."""
    wanted = codes[present] + error
    distance = codes.square().sum(1) - 2.0 * (wanted @ codes.T)
    distance.scatter_(1, present[:, None], torch.inf)
    return distance.topk(count, dim=1, largest=False).indices
