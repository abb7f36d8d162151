"""A training loop written for vector-quantize-pytorch; its import is all that changed.

``--original`` runs the same loop on the original library, where it is installed.
"""

import argparse
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn


def quantizer_class(original: bool) -> Any:
    """VectorQuantize of either library."""
    if original:
        from vector_quantize_pytorch import VectorQuantize
    else:
        from spinlock.compat.vector_quantize_pytorch import VectorQuantize
    return VectorQuantize


def main(arguments: list[str] | None = None) -> list[float]:
    """Trains an autoencoder of digit images and returns the loss of each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps only")
    parser.add_argument("--original", action="store_true", help="use vector-quantize-pytorch")
    chosen = parser.parse_args(arguments)
    torch.manual_seed(0)
    images = torch.from_numpy(load_digits().data).float() / 16
    encoder = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 4 * 16))
    vq = quantizer_class(chosen.original)(
        dim=16, codebook_size=32, decay=0.9, commitment_weight=0.25, rotation_trick=True
    )
    decoder = nn.Sequential(nn.Linear(4 * 16, 64), nn.GELU(), nn.Linear(64, 64))
    parameters = [*encoder.parameters(), *vq.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3)
    losses = []
    for step in range(20 if chosen.quick else 500):
        batch = images[torch.randperm(len(images))[:256]]
        quantized, indices, commit_loss = vq(encoder(batch).view(-1, 4, 16))
        reconstruction = decoder(quantized.flatten(1))
        loss = (reconstruction - batch).square().mean() + commit_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 99:
            used = len(indices.unique())
            print(f"step {step + 1}: loss {losses[-1]:.4f}, {used} of 32 codes in this batch")
    return losses


if __name__ == "__main__":
    main()
