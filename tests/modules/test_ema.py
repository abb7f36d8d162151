"""The EMA step against a twin written with numpy loops, and what it must never do."""

import copy

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray

from cases import FROZEN, RaggedCase, ragged_cases
from spinlock.layout import CodebookLayout
from spinlock.modules import CodebookBank
from spinlock.ops import nearest_codes


class NumpyEma:
    """One codebook with moving averages, in float64, following the formulas literally."""

    def __init__(self, codes: NDArray[np.float32], decay: float, epsilon: float) -> None:
        self.codes = codes.astype(np.float64)
        self.counts = np.ones(len(codes))
        self.sums = self.codes * self.counts[:, None]
        # What was added, without signs: sums may cancel, and rounding goes by the parts.
        self.sizes = np.abs(self.sums)
        self.decay, self.epsilon = decay, epsilon

    def step(self, rows: NDArray[np.float64], indices: NDArray[np.int64]) -> None:
        usable = np.isfinite(rows).all(axis=1)
        rows, indices = rows[usable], indices[usable]
        if not len(rows):
            return
        for k in range(len(self.codes)):
            members = rows[indices == k]
            self.counts[k] = self.decay * self.counts[k] + (1 - self.decay) * len(members)
            self.sums[k] = self.decay * self.sums[k] + (1 - self.decay) * members.sum(axis=0)
            added = np.abs(members).sum(axis=0)
            self.sizes[k] = self.decay * self.sizes[k] + (1 - self.decay) * added
        total = self.counts.sum()
        for k, count in enumerate(self.counts):
            share = (count + self.epsilon) / (total + len(self.codes) * self.epsilon)
            self.codes[k] = self.sums[k] / (share * total)


def bank_with(case: RaggedCase, **options: object) -> CodebookBank:
    bank = CodebookBank(case.layout, **options)  # type: ignore[arg-type]
    bank.weight.copy_(torch.from_numpy(case.weight))
    assert bank.ema_sums is not None
    bank.ema_sums.copy_(bank.weight)
    return bank


@settings(max_examples=40)
@given(ragged_cases(max_codes=20, max_dim=20), st.sampled_from([0.0, 0.5, 0.99]))
def test_steps_follow_the_numpy_twin(case: RaggedCase, decay: float) -> None:
    bank = bank_with(case, decay=decay, epsilon=1e-3)
    twins = [NumpyEma(codes, decay, 1e-3) for codes in case.codebooks]
    latents = torch.from_numpy(case.latents)
    for _ in range(3):
        indices = nearest_codes(latents, bank.weight, case.layout)
        bank.update(latents, indices)
        for q, (twin, part) in enumerate(zip(twins, case.parts(), strict=True)):
            twin.step(part.astype(np.float64), indices[:, q].numpy())
    assert bank.ema_sums is not None
    for q, twin in enumerate(twins):
        allowed = 1e-4 * twin.sizes + 1e-30
        counts = bank.ema_counts[slice(*case.layout.code_range(q, q + 1))].numpy()
        np.testing.assert_allclose(counts, twin.counts, rtol=1e-4, atol=1e-6)
        sums = case.layout.unpack_codebooks(bank.ema_sums.numpy())[q]
        assert (np.abs(sums - twin.sums) <= allowed).all()
        # Small counts magnify the float32 rounding of sums.
        error = (
            np.abs(bank.codebook(q).numpy() - twin.codes) * np.maximum(twin.counts, 1e-3)[:, None]
        )
        assert (error <= allowed).all()


def test_smoothing_is_not_written_back() -> None:
    """Running counts keep adding up to the rows per step, however large epsilon is."""
    bank = CodebookBank(CodebookLayout((5,), (2,)), decay=0.5, epsilon=10.0, init="uniform")
    latents = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(30):
        bank.update(latents, bank.nearest(latents))
    assert bank.ema_counts.sum().item() == pytest.approx(64.0, rel=1e-5)


def test_padding_stays_zero() -> None:
    case = FROZEN[0]
    bank = bank_with(case)
    latents = torch.from_numpy(case.latents)
    bank.update(latents, bank.nearest(latents))
    used = case.layout.pack_codebooks([np.ones_like(codes) for codes in case.codebooks])
    assert bank.ema_sums is not None
    assert (bank.weight.numpy()[used == 0] == 0).all()
    assert (bank.ema_sums.numpy()[used == 0] == 0).all()


@pytest.mark.parametrize("latents", [torch.zeros(0, 3), torch.full((4, 3), torch.nan)])
def test_nothing_usable_changes_nothing(latents: torch.Tensor) -> None:
    bank = CodebookBank(CodebookLayout((4, 3), (1, 2)), init="uniform")
    before = copy.deepcopy(bank.state_dict())
    bank.update(latents, torch.zeros(len(latents), 2, dtype=torch.int64))
    after = bank.state_dict()
    for name in ("weight", "ema_counts", "ema_sums", "epoch_counts"):
        assert torch.equal(before[name], after[name]), name
    assert bank.epoch_skipped.tolist() == [len(latents)] * 2


def test_a_quantizer_without_rows_waits_while_others_learn() -> None:
    bank = CodebookBank(CodebookLayout((4, 4), (1, 1)), init="uniform", decay=0.5)
    before = [bank.codebook(q).clone() for q in range(2)]
    latents = torch.tensor([[1.0, torch.nan], [2.0, torch.nan]])
    bank.update(latents, bank.nearest(latents))
    assert not torch.equal(bank.codebook(0), before[0])
    assert torch.equal(bank.codebook(1), before[1])
    assert bank.ema_counts[4:].tolist() == [1.0] * 4
    assert bank.epoch_skipped.tolist() == [0, 2]


def test_updating_a_slice_equals_updating_the_whole() -> None:
    layout = CodebookLayout((8, 4, 6), (3, 5, 2))
    whole, sliced = (CodebookBank(layout, init="uniform", seed=1) for _ in range(2))
    latents = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    indices = whole.nearest(latents)
    counts = whole.update(latents, indices)
    parts = [
        sliced.update(latents[:, slice(*layout.input_range(a, b))], indices[:, a:b], a, b)
        for a, b in ((0, 1), (1, 3))
    ]
    assert torch.equal(torch.cat(parts), counts)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, sliced.state_dict()[name]), name
