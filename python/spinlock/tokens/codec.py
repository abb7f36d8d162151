"""``Codec``: raw rows to tokens and back, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spinlock.data.table import as_float32
from spinlock.errors import InputError
from spinlock.training.saved import SavedModel
from spinlock.training.start import find_device
from spinlock.training.threads import limited_threads, threads_for
from spinlock.vqvae.own_error import check_own_error_limit
from spinlock.vqvae.restarts import check_restarts

Matrix = NDArray[np.float32]

# Matrix products may round a row's last bits by its place in a tile.  In blocks of whole tiles each
# row keeps its place, and with it a code that is nearest by a hair, whatever the size of a block.
_TILE = 64


class Codec:
    """A trained model at work: raw rows to tokens, and tokens to raw rows.

    Rows go through in blocks: memory depends on ``block_rows`` and not on their number, and what
    comes out does not depend on it.  Values that are not finite, and values far out, are treated by
    cleaning as they were in training.

    Args:
        saved: from :func:`~spinlock.training.checkpoint.load_model`.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``; the model is moved there.
        block_rows: rows per block; rounded up to a multiple of 64.
        beam: code sequences that ``encode`` follows through the levels of a category: with more
            than 1 (16 is plenty) tokens describe their rows more closely, at a cost in time.
            Residual models only; decoding knows no difference.
        sweeps: times that ``encode`` reconsiders every token by what the whole decoder makes of
            it: 1 or 2 come clearly closer, at a cost in time; see :meth:`sweep
            <spinlock.vqvae.CategoricalHierarchicalVQVAE.sweep>`.
        own_error_limit: how many times larger sweeps may make what a category's own tokens alone
            miss of a row; None: as much as it takes.
        restarts: times that sweeps begin anew from displaced tokens: 4 to 16 come closer again,
            each at the cost of the sweeps.

    Attributes:
        contract: what the tokens mean.
        names: the D raw columns, ``family::name``, in the order of ``encode`` and ``decode``.
        quantizers: ``<category>/L<level>``: the Q columns of the tokens, category-major.
        token_dtype: the smallest unsigned integer that holds every token.

    Raises:
        ConfigError: no such device here.
        InputError: ``block_rows``, ``beam`` or ``own_error_limit`` below 1, ``sweeps`` below 0, or
            ``restarts`` below 0 or without sweeps.
    """

    def __init__(
        self,
        saved: SavedModel,
        *,
        device: str = "cpu",
        block_rows: int = 8192,
        beam: int = 1,
        sweeps: int = 0,
        own_error_limit: float | None = None,
        restarts: int = 0,
    ) -> None:
        for name, value, least in (
            ("block_rows", block_rows, 1), ("beam", beam, 1), ("sweeps", sweeps, 0)
        ):  # fmt: skip
            if value < least:
                raise InputError(f"{name}: expected at least {least}, got {value}")
        check_own_error_limit(own_error_limit)
        check_restarts(restarts, sweeps)
        self.beam, self.sweeps, self.own_error_limit = beam, sweeps, own_error_limit
        self.restarts = restarts
        self.device = find_device(device)
        self.block_rows = -(-block_rows // _TILE) * _TILE
        self.contract = saved.contract
        self.names = saved.preprocessing.names
        self.quantizers = self.contract.quantizers
        self.token_dtype = self.contract.token_dtype
        self._preprocessing = saved.preprocessing
        self._model = saved.model.to(self.device).eval()
        # threads_for counts a training step; without its backward pass a row costs a third.
        self._threads = threads_for(self._model, self.block_rows // 3)

    def encode(self, features: ArrayLike) -> NDArray[Any]:
        """Raw rows ``[n, D]``, columns as ``names``, to tokens ``[n, Q]`` of ``token_dtype``.

        Raises:
            DataError: another number of columns, or values that are no numbers.
        """
        raw = as_float32(features, "the feature matrix")
        if not len(raw):
            self._preprocessing.transform(raw)  # its width is checked all the same
        tokens = np.empty((len(raw), len(self.quantizers)), self.token_dtype)
        with self._working():
            for rows in _blocks(len(raw), self.block_rows):
                x = self._tiled(self._preprocessing.transform(raw[rows]))
                found = self._model.get_tokens(
                    x, self.beam, self.sweeps, self.own_error_limit, self.restarts
                )
                tokens[rows] = found[: rows.stop - rows.start].cpu().numpy()
        return tokens

    def decode(self, tokens: ArrayLike) -> Matrix:
        """Tokens, integers ``[n, Q]``, to raw rows, float32 ``[n, D]``, columns as ``names``.

        Raises:
            DataError: another number of columns, no integers, or a token out of range of its
                codebook.
        """
        given = np.asarray(tokens)
        self.contract.check_tokens(given, "the token matrix")
        raw = np.empty((len(given), len(self.names)), np.float32)
        with self._working():
            for rows in _blocks(len(given), self.block_rows):
                indices = self._tiled(given[rows].astype(np.int64))
                x = self._model.decode_from_tokens(indices)[: rows.stop - rows.start]
                raw[rows] = self._preprocessing.restore(x.cpu().numpy())
        return raw

    def error(self, features: ArrayLike) -> float:
        """What tokens of raw rows ``[n, D]``, n >= 1, miss: squared, in z-units, categories' mean.

        Raises:
            DataError: as :meth:`encode`.
        """
        raw = as_float32(features, "the feature matrix")
        tokens = self.encode(raw)
        squared = np.zeros(self._model.config.num_features)
        with self._working():
            for rows in _blocks(len(raw), self.block_rows):
                x = self._preprocessing.transform(raw[rows])
                found = self._model.decode_from_tokens(self._tiled(tokens[rows].astype(np.int64)))
                missed = found[: len(x)].cpu().numpy().astype(np.float64) - x
                squared += np.square(missed).sum(0)
        ends = np.cumsum(self._model.config.category_sizes)[:-1]
        return float(np.mean([part.mean() for part in np.split(squared / len(raw), ends)]))

    def _tiled(self, block: NDArray[Any]) -> Tensor:
        """The block with rows of zeros up to a whole number of tiles, on the device."""
        padded = np.zeros((-(-len(block) // _TILE) * _TILE, block.shape[1]), block.dtype)
        padded[: len(block)] = block
        return torch.from_numpy(padded).to(self.device)

    @contextmanager
    def _working(self) -> Iterator[None]:
        with limited_threads(self._threads), torch.inference_mode():
            yield


def _blocks(num_rows: int, size: int) -> Iterator[slice]:
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))
