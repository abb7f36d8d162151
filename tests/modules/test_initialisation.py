"""k-means++ and uniform codes."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

from cases import RaggedCase, ragged_cases
from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.modules import CodebookBank
from spinlock.modules.initialisation import kmeans_codes, uniform_codes
from spinlock.modules.sampling import sample_rows, weighted_choice


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_uniform_codes_fill_their_range() -> None:
    layout = CodebookLayout((1000, 4), (3, 500))
    for codes, size in zip(
        layout.unpack_codebooks(uniform_codes(layout, seeded()).numpy()), (1000, 4), strict=True
    ):
        assert np.abs(codes).max() == pytest.approx(1 / size, rel=0.02)
        assert np.abs(codes).max() <= 1 / size
        assert codes.mean() == pytest.approx(0.0, abs=0.1 / size)


def test_every_cluster_gets_a_code() -> None:
    """As many far clusters as codes, in one of them most of the rows, far from the origin."""
    layout = CodebookLayout((16, 5), (6, 3))
    parts, centres = [], []
    for size, dim in ((16, 6), (5, 3)):
        centre = 100.0 * torch.randn(size, dim, generator=seeded(dim)) + 1000.0
        which = torch.cat([torch.arange(size).repeat(4), torch.zeros(600 - 4 * size).long()])
        parts.append(centre[which] + 0.01 * torch.randn(600, dim, generator=seeded(9)))
        centres.append(centre)
    codes = kmeans_codes(torch.cat(parts, dim=1), layout, seeded())
    for found, centre in zip(layout.unpack_codebooks(codes.numpy()), centres, strict=True):
        distances = torch.cdist(centre, torch.from_numpy(found))
        assert distances.amin(dim=1).max() < 0.1


def test_more_codes_than_rounds() -> None:
    """Above 256 codes several are drawn per round; distinct rows still give distinct codes."""
    layout = CodebookLayout((600,), (2,))
    rows = torch.randn(700, 2, generator=seeded())
    (codes,) = layout.unpack_codebooks(kmeans_codes(rows, layout, seeded(1)).numpy())
    assert len(np.unique(codes, axis=0)) == 600


def test_lloyd_lowers_the_error_of_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = CodebookLayout((20,), (4,))
    rows = torch.randn(500, 4, generator=seeded())

    def error(codes: torch.Tensor) -> float:
        (book,) = layout.unpack_codebooks(codes.numpy())
        return float(torch.cdist(rows, torch.from_numpy(book)).amin(dim=1).square().mean())

    refined = error(kmeans_codes(rows, layout, seeded(1)))
    monkeypatch.setattr("spinlock.modules.initialisation._LLOYD_STEPS", 0)
    assert refined < 0.9 * error(kmeans_codes(rows, layout, seeded(1)))


@settings(max_examples=40)
@given(ragged_cases(max_codes=30, max_dim=20))
def test_any_rows_give_finite_codes_and_always_the_same(case: RaggedCase) -> None:
    assume(len(case.latents) > 0)
    rows = torch.from_numpy(case.latents)
    codes = kmeans_codes(rows, case.layout, seeded(3))
    assert codes.isfinite().all()
    assert torch.equal(codes, kmeans_codes(rows, case.layout, seeded(3)))
    for part, book in zip(case.parts(), case.layout.unpack_codebooks(codes.numpy()), strict=True):
        usable = part[np.isfinite(part).all(axis=1)]
        if len(usable):
            spread = np.ptp(usable.astype(np.float64), axis=0)
            room = spread * 0.2 + np.abs(usable).max(axis=0) * 1e-5
            assert (book >= usable.min(axis=0) - room).all()
            assert (book <= usable.max(axis=0) + room).all()


def test_fewer_distinct_rows_than_codes() -> None:
    layout = CodebookLayout((8,), (2,))
    rows = torch.tensor([[0.0, 0.0], [10.0, 10.0]]).repeat(20, 1)
    (codes,) = layout.unpack_codebooks(kmeans_codes(rows, layout, seeded()).numpy())
    distances = torch.cdist(rows, torch.from_numpy(codes))
    assert distances.amin(dim=1).max() == 0.0
    assert len(np.unique(codes, axis=0)) == 8  # copies are moved a little
    assert distances.amin(dim=0).max() < 1.0


def test_one_row_and_equal_rows_give_duplicates() -> None:
    layout = CodebookLayout((5,), (3,))
    row = torch.tensor([[1.0, 2.0, 3.0]])
    for rows in (row, row.repeat(30, 1)):
        codes = layout.unpack_codebooks(kmeans_codes(rows, layout, seeded()).numpy())[0]
        np.testing.assert_allclose(codes, row.numpy().repeat(5, axis=0), rtol=1e-6)


def test_bank_counts_start_at_rows_per_code() -> None:
    bank = CodebookBank(CodebookLayout((4, 8), (2, 3)))
    assert not bank.initialized
    bank.initialize_from(torch.randn(100, 5, generator=seeded()), seeded())
    assert bank.initialized
    assert bank.ema_counts.tolist() == [25.0] * 4 + [12.5] * 8
    assert bank.ema_sums is not None
    for q, count in enumerate((25.0, 12.5)):
        sums = bank.layout.unpack_codebooks(bank.ema_sums.numpy())[q]
        np.testing.assert_array_equal(sums, bank.codebook(q).numpy() * np.float32(count))


def test_bank_looks_at_max_rows_only() -> None:
    bank = CodebookBank(CodebookLayout((4,), (2,)))
    bank.initialize_from(torch.randn(5000, 2, generator=seeded()), seeded())
    assert bank.ema_counts.sum() == 2048
    bank.initialize_from(torch.randn(5000, 2, generator=seeded()), seeded(), max_rows=500)
    assert bank.ema_counts.sum() == 500
    assert CodebookBank(CodebookLayout((4, 1000), (2, 2))).init_rows == 4000


def test_bank_needs_a_usable_row_for_each_quantizer() -> None:
    bank = CodebookBank(CodebookLayout((2, 2), (1, 1)))
    half = torch.tensor([[1.0, torch.nan], [2.0, torch.nan]])
    with pytest.raises(InputError, match=r"none for \[1\] in a batch of 2; pass training rows"):
        bank.initialize_from(half)
    before = bank.codebook(1).clone()
    bank.initialize_from(half, only_missing=True)
    assert bank.initialized_codebooks.tolist() == [True, False]
    assert torch.equal(bank.codebook(1), before)
    first = bank.codebook(0).clone()
    bank.initialize_from(torch.tensor([[7.0, 8.0], [9.0, 6.0]]), only_missing=True)
    assert bank.initialized
    assert torch.equal(bank.codebook(0), first)
    assert sorted(bank.codebook(1).flatten().tolist()) == [6.0, 8.0]


def test_uniform_banks_need_no_data() -> None:
    bank = CodebookBank(CodebookLayout((4,), (2,)), init="uniform")
    before = bank.weight.clone()
    bank.initialize_from(torch.randn(50, 2, generator=seeded()))
    assert bank.initialized
    assert torch.equal(bank.weight, before)


def test_generators_must_be_on_the_cpu() -> None:
    bank = CodebookBank(CodebookLayout((4,), (2,)))
    with pytest.raises(InputError, match="generator: expected one on the cpu, got meta"):
        bank.generator(type("Fake", (), {"device": torch.device("meta")})())


def test_weighted_choice_follows_the_weights() -> None:
    weights = torch.tensor([[1.0, 0.0, 3.0, 6.0]], dtype=torch.float64).expand(20_000, 4)
    first, by_weight = weighted_choice(weights, torch.ones(20_000, 4).bool(), 1, seeded())
    share = torch.bincount(first[:, 0], minlength=4) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.1, 0.0, 0.3, 0.6]), atol=0.02, rtol=0)
    assert by_weight.all()
    every, by_weight = weighted_choice(weights[:100], torch.ones(100, 4).bool(), 4, seeded())
    assert (every.sort(dim=1).values == torch.arange(4)).all()
    assert (every[:, 3] == 1).all()
    assert (by_weight == torch.tensor([True, True, True, False])).all()


def test_weighted_choice_keeps_to_what_is_allowed() -> None:
    allowed = torch.tensor([[True, False, True, False]])
    drawn, by_weight = weighted_choice(torch.zeros(1, 4).double(), allowed, 2, seeded())
    assert drawn.sort(dim=1).values.tolist() == [[0, 2]]
    assert not by_weight.any()


def test_sample_rows() -> None:
    rows = torch.arange(10)
    assert sample_rows(rows, 10, seeded()) is rows
    sample = sample_rows(rows, 4, seeded())
    assert len(sample.unique()) == 4
    assert torch.equal(sample, sample_rows(rows, 4, seeded()))
