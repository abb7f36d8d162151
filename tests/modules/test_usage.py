"""Usage counters over an epoch, by hand."""

import math

import pytest
import torch

from spinlock.modules import NestedResidualQuantizer, RaggedVectorQuantizer


def line() -> RaggedVectorQuantizer:
    """Codebook 0: 0, 1, 2, 3; codebook 1: 0, 1; never moving much."""
    quantizer = RaggedVectorQuantizer([4, 2], [1, 1], init="uniform", decay=0.999)
    quantizer.bank.codebook(0).copy_(torch.arange(4.0)[:, None])
    quantizer.bank.codebook(1).copy_(torch.arange(2.0)[:, None])
    assert quantizer.bank.ema_sums is not None
    quantizer.bank.ema_sums.copy_(quantizer.bank.weight)
    return quantizer


def test_usage_by_hand() -> None:
    quantizer = line()
    first = quantizer(torch.tensor([[0.0, 0.0], [0.1, 0.0]]))
    second = quantizer(torch.tensor([[2.0, 0.0], [2.1, 1.0], [torch.nan, 0.0]]))
    assert first.usage.counts.tolist() == [2, 0, 0, 0, 2, 0]
    assert second.usage.counts.tolist() == [0, 0, 2, 0, 2, 1]
    usage = quantizer.usage()
    assert usage.utilization.tolist() == [0.5, 1.0]
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert usage.perplexity.tolist() == pytest.approx([2.0, math.exp(entropy)])
    assert usage.dead == 2
    assert usage.skipped.tolist() == [1, 0]


def test_eval_counts_the_batch_but_not_the_epoch() -> None:
    quantizer = line().eval()
    output = quantizer(torch.tensor([[3.0, 1.0]]))
    assert output.usage.counts.tolist() == [0, 0, 0, 1, 0, 1]
    assert quantizer.bank.epoch_counts.sum() == 0


def test_nothing_counted_and_reset() -> None:
    quantizer = line()
    for _ in range(2):
        usage = quantizer.usage()
        assert usage.utilization.tolist() == [0.0, 0.0]
        assert usage.perplexity.tolist() == [0.0, 0.0]
        assert usage.dead == 6
        quantizer(torch.zeros(3, 2))
        assert quantizer.usage().dead == 4
        quantizer.reset_usage()


def test_learnable_codes_are_counted_too() -> None:
    quantizer = RaggedVectorQuantizer([4], [1], use_ema=False)
    quantizer(torch.arange(4.0)[:, None])
    assert quantizer.usage().utilization.tolist() == [1.0]


def test_nested_usage_is_category_major() -> None:
    quantizer = NestedResidualQuantizer([[2, 4], [3, 5]], [[1, 1], [2, 2]], init="uniform")
    latents = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    output = quantizer(latents)
    counts = output.usage.counts.split([2, 4, 3, 5])
    usage = quantizer.usage()
    for token, (count, size) in enumerate(zip(counts, (2, 4, 3, 5), strict=True)):
        expected = torch.bincount(output.indices[:, token], minlength=size)
        assert torch.equal(count, expected)
        assert usage.utilization[token] == (expected > 0).double().mean()
        frequency = expected / 200
        perplexity = torch.exp(-torch.xlogy(frequency, frequency).sum())
        assert usage.perplexity[token].item() == pytest.approx(perplexity.item(), rel=1e-5)
    assert usage.dead == sum(int((count == 0).sum()) for count in counts)
