"""Reviving dead codes."""

import pytest
import torch

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.modules import CodebookBank


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank_on_a_line(**options: bool) -> CodebookBank:
    """Codebook 0: codes 0, 1, 2, 3; codebook 1: codes 0, 1; all counts 8."""
    bank = CodebookBank(CodebookLayout((4, 2), (1, 1)), init="uniform", **options)  # type: ignore[arg-type]
    with torch.no_grad():
        bank.codebook(0).copy_(torch.arange(4.0)[:, None])
        bank.codebook(1).copy_(torch.arange(2.0)[:, None])
    bank.ema_counts.fill_(8.0)
    if bank.ema_sums is not None:
        bank.ema_sums.copy_(bank.weight * 8.0)
    return bank


def test_dead_codes_move_to_the_worst_rows() -> None:
    bank = bank_on_a_line()
    bank.ema_counts[1] = 0.01
    # Row 2 is the only one with an error in column 0.
    latents = torch.tensor([[0.0, 0.0], [2.0, 0.0], [50.0, 0.0], [3.0, 1.0]])
    assert bank.revive(latents, 0.02, seeded()) == 1
    assert bank.codebook(0).flatten().tolist() == [0.0, 50.0, 2.0, 3.0]
    mean = (8.0 * 3 + 0.01) / 4
    assert bank.ema_counts[1].item() == pytest.approx(mean)
    assert bank.ema_sums is not None
    assert bank.layout.unpack_codebooks(bank.ema_sums.numpy())[0][1, 0] == pytest.approx(50 * mean)
    assert bank.ema_counts[4:].tolist() == [8.0, 8.0]


def test_revived_codes_stay_after_the_next_step() -> None:
    """Sum = code * count: a sum that were not would throw the code away again."""
    bank = bank_on_a_line()
    bank.ema_counts[1] = 0.0
    latents = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    bank.revive(latents, 0.02, seeded())
    bank.update(latents, bank.nearest(latents))
    assert bank.codebook(0)[1].item() == pytest.approx(50.0, rel=1e-4)


def test_nothing_is_dead_below_the_threshold() -> None:
    bank = bank_on_a_line()
    latents = torch.randn(20, 2, generator=seeded())
    before = bank.weight.clone()
    assert bank.revive(latents, 0.99, seeded()) == 0
    bank.ema_counts[0] = 1.0
    assert bank.revive(latents, 0.1, seeded()) == 0
    assert bank.revive(latents, 0.0, seeded()) == 0
    assert torch.equal(bank.weight, before)


def test_rows_without_error_are_no_donors() -> None:
    bank = bank_on_a_line()
    bank.ema_counts[:2] = 0.0
    assert bank.revive(torch.tensor([[2.0, 0.0], [3.0, 1.0], [2.5, 0.0]]), 0.02, seeded()) == 1
    assert bank.codebook(0).flatten().tolist() == [2.5, 1.0, 2.0, 3.0]
    assert bank.ema_counts[1] == 0.0


def test_damaged_rows_and_no_rows_are_no_donors() -> None:
    bank = bank_on_a_line()
    bank.ema_counts[0] = 0.0
    assert bank.revive(torch.full((3, 2), torch.nan), 0.02, seeded()) == 0
    assert bank.revive(torch.zeros(0, 2), 0.02, seeded()) == 0
    assert bank.weight.isfinite().all()


def test_a_slice_is_revived_alone_and_repeatably() -> None:
    latents = torch.randn(40, 2, generator=seeded()) * 9
    weights = []
    for _ in range(2):
        bank = bank_on_a_line()
        bank.ema_counts[[0, 4]] = 0.0
        assert bank.revive(latents[:, 1:], 0.02, seeded(4), start=1, stop=2) == 1
        assert bank.ema_counts[0] == 0.0
        assert bank.ema_counts[4] == 4.0
        weights.append(bank.weight.clone())
    assert torch.equal(*weights)


def test_learnable_codes_are_revived_in_place() -> None:
    bank = bank_on_a_line(use_ema=False)
    assert isinstance(bank.weight, torch.nn.Parameter)
    bank.ema_counts[1] = 0.0
    assert bank.revive(torch.tensor([[50.0, 0.0]]), 0.02, seeded()) == 1
    assert bank.codebook(0)[1].item() == 50.0
    assert bank.weight.requires_grad


def test_thresholds_are_numbers() -> None:
    bank = bank_on_a_line()
    for threshold in (-0.1, float("nan")):
        with pytest.raises(InputError, match="threshold: expected a number >= 0, got"):
            bank.revive(torch.zeros(1, 2), threshold)
