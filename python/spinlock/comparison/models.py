"""A trained model on a split: what its tokens decode to, and how many numbers it has learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spinlock.comparison.measuring import Fitted, Matrix
from spinlock.vqvae import CategoricalHierarchicalVQVAE

_BLOCK_ROWS = 8_192


def fitted_model(
    model: CategoricalHierarchicalVQVAE,
    train: Matrix,
    held_out: Matrix,
    *,
    dead_codes: int,
    code_numbers: int,
    epochs: int,
    seconds: float,
) -> Fitted:
    """Encodes and decodes all rows, as ``spinlock encode`` and ``decode`` do.

    Args:
        model: trained; used in evaluation mode.
        train, held_out: float32 ``[N, D]`` and ``[M, D]``, z-units.
        dead_codes: of its last training epoch.
        code_numbers: numbers in its codebooks that are no parameters of torch.
        epochs, seconds: of its training.
    """
    decoded_training, _ = decoded_rows(model, train)
    decoded_held_out, tokens = decoded_rows(model, held_out)
    weights = sum(p.numel() for p in model.parameters())
    sizes = np.array([size for levels in model.config.codebook_sizes for size in levels])
    # A token that is always 0 says nothing of how codes are used.
    told = sizes > 1
    return Fitted(
        decoded_training=decoded_training,
        decoded_held_out=decoded_held_out,
        held_out_tokens=tokens[:, told],
        codebook_sizes=tuple(sizes[told].tolist()),
        dead_codes=dead_codes,
        parameters=weights + code_numbers,
        epochs=epochs,
        seconds=seconds,
    )


def decoded_rows(model: CategoricalHierarchicalVQVAE, x: Matrix) -> tuple[Matrix, Any]:
    """What the tokens of ``x [B, D]`` decode to, float32 ``[B, D]``, and the tokens ``[B, Q]``."""
    device = next(model.parameters()).device
    decoded: list[Tensor] = []
    tokens: list[Tensor] = []
    for start in range(0, len(x), _BLOCK_ROWS):
        block = torch.from_numpy(np.ascontiguousarray(x[start : start + _BLOCK_ROWS])).to(device)
        found = model.get_tokens(block)
        tokens.append(found.cpu())
        decoded.append(model.decode_from_tokens(found).float().cpu())
    return torch.cat(decoded).numpy(), torch.cat(tokens).numpy()
