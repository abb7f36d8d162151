"""Semantic IDs: every item of a catalogue gets a few tokens that say what it is like.

Similar items share their first tokens, so that a sequence model can learn about items that it has
rarely seen (Rajput et al. 2023, arXiv:2305.05065).  Items that share all tokens collide; the usual
remedy is one more token that counts them.
"""

import argparse
from collections import Counter

import torch
from torch import Tensor

from spinlock import ResidualVQ, Update

LEVELS, SIZE = 4, 32


def embedding_table(items: int, dim: int = 32, kinds: int = 40) -> tuple[Tensor, Tensor]:
    """([items, dim], [items]): embeddings and the kind of each item; kinds are clusters."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(kinds, dim, generator=generator)
    kind = torch.randint(kinds, (items,), generator=generator)
    spread = 0.4 * torch.randn(items, dim, generator=generator)
    return centres[kind] + spread, kind


def with_counter(tokens: Tensor) -> Tensor:
    """[items, L] -> [items, L + 1]: a last token that tells apart items that collide."""
    seen: Counter[tuple[int, ...]] = Counter()
    last = []
    for row in map(tuple, tokens.tolist()):
        last.append(seen[row])
        seen[row] += 1
    return torch.cat([tokens, torch.tensor(last)[:, None]], dim=1)


def agreement(tokens: Tensor, kind: Tensor) -> float:
    """The share of pairs with one first token that are of one kind."""
    same = tokens[:, :1] == tokens[:, 0]
    pairs = same.float().triu(1)
    return ((kind[:, None] == kind).float() * pairs).sum().item() / pairs.sum().item()


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Makes IDs and returns their collision rate with and without a beam."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer items and epochs")
    chosen = parser.parse_args(arguments)
    torch.manual_seed(0)
    table, kind = embedding_table(1000 if chosen.quick else 5000)
    quantizer = ResidualVQ(table.shape[1], SIZE, LEVELS, update=Update(decay=0.9, expire_below=1))
    for _ in range(3 if chosen.quick else 30):
        for batch in table[torch.randperm(len(table))].split(1000):
            quantizer(batch)  # codes follow moving averages: no optimizer needed
    quantizer.eval()
    results = {}
    for beam in (1, 8):
        quantizer.beam = beam
        output = quantizer(table)
        tokens = output.indices
        distinct = len(tokens.unique(dim=0))
        collisions = 1 - distinct / len(table)
        lost = (output.quantized - table).square().mean() / table.var()
        print(
            f"beam {beam}: {LEVELS} tokens of {SIZE} lose {lost:.3f} of the variance; collision "
            f"rate {collisions:.4f}; items with one first token are of one kind in "
            f"{agreement(tokens, kind):.0%} of pairs"
        )
        results[f"collisions, beam {beam}"] = collisions
    unique = with_counter(tokens)
    print(f"with a counting token: {len(unique.unique(dim=0))} IDs for {len(table)} items")
    assert len(unique.unique(dim=0)) == len(table)
    return results


if __name__ == "__main__":
    main()
