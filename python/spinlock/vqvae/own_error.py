"""What each category's tokens alone say of it, and a bound on what sweeps may cost there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.vqvae.decoder_tables import DecoderTables, TokenTables

__all__ = ["OwnBound", "OwnDecoder", "check_own_error_limit", "own_decoders", "own_errors"]


@dataclass(frozen=True, eq=False)
class OwnDecoder:
    """The decoder of one category's features where only its own tokens are known.

    What the other categories' codes add is replaced by its mean over training.  With the category's
    tokens k_l the features are ``bias + sum_l direct_l[k_l] + relu(hidden_bias + sum_l
    hidden_l[k_l]) @ weight``.

    Attributes:
        books: of the category's levels.
        hidden_bias: ``[H]``.
        weight: ``[H, n]``.
        bias: ``[n]``.
        columns: the category's n features within a row.
    """

    books: Sequence[TokenTables]
    hidden_bias: Tensor
    weight: Tensor
    bias: Tensor
    columns: slice

    def shares(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Of tokens ``[B, L]``: the hidden layer before its ReLU, and the features past it."""
        hidden = self.hidden_bias.expand(len(tokens), -1).clone()
        direct = self.bias.expand(len(tokens), -1).clone()
        for book, column in zip(self.books, tokens.unbind(1), strict=True):
            hidden += book.hidden[column]
            if book.has_direct:
                direct += book.direct[column, book.own]
        return hidden, direct

    def decoded(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, L]`` to the category's features ``[B, n]``."""
        hidden, direct = self.shares(tokens)
        return torch.addmm(direct, torch.relu(hidden), self.weight)


def own_decoders(tables: DecoderTables) -> list[OwnDecoder]:
    """One per category of a decoder."""
    levels = tables.num_levels
    hidden = [book.share @ book.hidden for book in tables.quantizers]
    all_hidden = torch.stack(hidden).sum(0)
    all_direct = torch.zeros_like(tables.bias)
    for book in tables.quantizers:
        all_direct[book.columns] += book.share @ book.direct
    found = []
    for category, columns in enumerate(tables.category_columns):
        quantizers = range(category * levels, (category + 1) * levels)
        books = [tables.quantizers[q] for q in quantizers]
        bias = tables.bias[columns] + all_direct[columns]
        hidden_bias = tables.hidden_bias + all_hidden
        for q, book in zip(quantizers, books, strict=True):
            hidden_bias = hidden_bias - hidden[q]
            if book.has_direct:
                bias = bias - book.share @ book.direct[:, book.own]
        found.append(OwnDecoder(books, hidden_bias, tables.weight[:, columns], bias, columns))
    return found


def own_errors(x: Tensor, tokens: Tensor, tables: DecoderTables) -> Tensor:
    """Per row and category ``[B, C]``: mean squared error of what its own tokens reconstruct of it.

    Args:
        x: features ``[B, N]``.
        tokens: int64 ``[B, C * L]``, category-major.
        tables: of the decoder.

    >>> codes, one = torch.tensor([[0.0], [1.0]]), slice(0, 1)
    >>> book = TokenTables(torch.zeros(2, 1), codes, one, one, one, torch.tensor([0.5, 0.5]))
    >>> tables = DecoderTables(
    ...     [book], torch.zeros(1), torch.zeros(1, 1), torch.zeros(1), (one,), num_levels=1)
    >>> own_errors(torch.tensor([[3.0]]), torch.tensor([[1]]), tables)
    tensor([[4.]])
    """
    decoders = own_decoders(tables)
    parts = zip(decoders, torch.split(tokens, tables.num_levels, dim=1), strict=True)
    errors = [
        (x[:, decoder.columns] - decoder.decoded(part)).square().mean(1) for decoder, part in parts
    ]
    return torch.stack(errors, 1)


def check_own_error_limit(limit: float | None) -> None:
    """Refuses a bound below 1, at which the tokens to start from would be out of bounds.

    Raises:
        InputError: it is below 1, or NaN.
    """
    if limit is not None and not limit >= 1.0:
        raise InputError(
            f"own_error_limit: expected at least 1, got {limit:g}; 1 lets no category's own error "
            "rise, 1.1 by a tenth at most, and None by anything"
        )


class OwnBound:
    """Own errors of rows while their tokens are reconsidered, and which codes keep them in bounds.

    Args:
        x: features ``[B, N]``.
        tokens: per quantizer ``[B]``, category-major, to start from.
        decoders: of the categories.
        limit: how many times its error at the start a row's own error of a category may become.
    """

    def __init__(
        self, x: Tensor, tokens: Sequence[Tensor], decoders: Sequence[OwnDecoder], limit: float
    ) -> None:
        self._x, self._decoders = x, decoders
        allowed = []
        for category in range(len(decoders)):
            hidden, left = self._enter(category, tokens)
            allowed.append(limit * self._error(category, hidden, left))
        self._allowed = allowed

    def enter(self, category: int, tokens: Sequence[Tensor]) -> None:
        """Goes on to a category, whose tokens are as given."""
        self._category = category
        self._hidden, self._left = self._enter(category, tokens)

    def refused(self, book: TokenTables, present: Tensor, others: Tensor) -> Tensor:
        """bool ``[B, T]``: which of the codes ``others [B, T]`` may not replace ``present [B]``."""
        self._tried = (self._hidden - book.hidden[present])[:, None] + book.hidden[others]
        left = self._left[:, None].expand(-1, others.shape[1], -1)
        if book.has_direct:
            left = left + book.direct[present, book.own][:, None] - book.direct[others, book.own]
        self._tried_left = left
        error = self._error(self._category, self._tried.flatten(0, 1), left.flatten(0, 1))
        return error.view(others.shape) > self._allowed[self._category][:, None]

    def take(self, better: Tensor, best: Tensor) -> None:
        """Follows the rows ``better [B, 1]`` to the code that is number ``best [B]`` of those."""
        rows = torch.arange(len(best), device=best.device)
        self._hidden = torch.where(better, self._tried[rows, best], self._hidden)
        self._left = torch.where(better, self._tried_left[rows, best], self._left)

    def _enter(self, category: int, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        decoder = self._decoders[category]
        levels = len(decoder.books)
        own = torch.stack(list(tokens[category * levels : (category + 1) * levels]), 1)
        hidden, direct = decoder.shares(own)
        return hidden, self._x[:, decoder.columns] - direct

    def _error(self, category: int, hidden: Tensor, left: Tensor) -> Tensor:
        missed = torch.addmm(left, torch.relu(hidden), self._decoders[category].weight, alpha=-1.0)
        return missed.square().mean(1)
