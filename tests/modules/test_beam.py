"""Beam search over residual levels: exhaustive where it can be, and never worse than the module."""

import itertools
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from spinlock.errors import InputError
from spinlock.modules import NestedResidualQuantizer
from spinlock.modules._beam import beam_tokens

DIMS = [[2, 5, 3], [4, 4, 1]]


def trained(sizes: list[list[int]], dims: list[list[int]], **options: Any) -> Any:
    quantizer = NestedResidualQuantizer(sizes, dims, **options)
    rows = torch.randn(200, quantizer.latent_width, generator=torch.Generator().manual_seed(1))
    quantizer.initialize_from(rows)
    return quantizer.eval()


def errors(quantizer: NestedResidualQuantizer, rows: Tensor, tokens: Tensor) -> Tensor:
    """float64 [B, C]: squared error of each category."""
    left = (rows.double() - quantizer.decode(tokens).double()).square()
    return torch.stack([p.sum(1) for p in left.split(list(quantizer.category_widths), 1)], dim=1)


@settings(max_examples=25)
@given(st.data())
def test_no_category_of_any_row_gets_worse(data: st.DataObject) -> None:
    categories, levels = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    table = st.lists(st.integers(1, 9), min_size=levels, max_size=levels)
    sizes = data.draw(st.lists(table, min_size=categories, max_size=categories))
    dims = data.draw(st.lists(table, min_size=categories, max_size=categories))
    quantizer = trained(sizes, dims)
    offset = data.draw(st.sampled_from([0.0, 1000.0]))
    seed = data.draw(st.integers(0, 99))
    rows = offset + torch.randn(
        40, quantizer.latent_width, generator=torch.Generator().manual_seed(seed)
    )
    found = quantizer.search(rows, data.draw(st.integers(2, 12)))
    plain = quantizer(rows).indices
    assert torch.equal(quantizer.search(rows, 1), plain)
    assert bool((errors(quantizer, rows, found) <= errors(quantizer, rows, plain)).all())


def test_a_beam_that_holds_everything_finds_the_best_sequence() -> None:
    codes = [
        torch.randn(k, d, generator=torch.Generator().manual_seed(k))
        for k, d in ((3, 2), (4, 5), (2, 3))
    ]
    rows = torch.randn(50, 5, generator=torch.Generator().manual_seed(9))
    sequences = torch.tensor(list(itertools.product(*(range(len(c)) for c in codes))))
    sums = torch.zeros(len(sequences), 5)
    for level, book in enumerate(codes):
        sums[:, : book.shape[1]] += book[sequences[:, level]]
    nearest = torch.cdist(rows.double(), sums.double()).argmin(dim=1)
    found = beam_tokens(rows, codes, 24, torch.zeros(50, 3, dtype=torch.int64))
    assert torch.equal(found, sequences[nearest])


def test_a_beam_describes_rows_more_closely() -> None:
    quantizer = trained([[16, 16, 16]], [[6, 6, 6]])
    rows = torch.randn(2000, 6, generator=torch.Generator().manual_seed(2))
    means = [float(errors(quantizer, rows, quantizer.search(rows, b)).mean()) for b in (1, 4, 16)]
    assert means[1] < 0.97 * means[0]
    assert means[2] < means[1]


def test_rows_keep_their_tokens_in_any_batch() -> None:
    quantizer = trained([[8, 8], [5, 4]], [[2, 4], [3, 3]])
    rows = torch.randn(256, 7, generator=torch.Generator().manual_seed(3))
    whole = quantizer.search(rows, 4)
    assert torch.equal(torch.cat([quantizer.search(p, 4) for p in rows.split(64)]), whole)


def test_damaged_rows_are_those_of_the_module_and_state_stays() -> None:
    quantizer = trained([[8, 4], [6, 5]], [[2, 3], [2, 2]])
    rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(4))
    rows[3, 0], rows[5, 4] = float("nan"), float("inf")
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    found = quantizer.train().search(rows, 5)
    assert torch.equal(found[3, :2], quantizer.eval()(rows).indices[3, :2])
    assert torch.equal(found[5, 2:], quantizer(rows).indices[5, 2:])
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_shapes() -> None:
    quantizer = trained([[8, 4], [6, 5]], [[2, 3], [2, 2]])
    assert quantizer.search(torch.randn(2, 3, 5), 3).shape == (2, 3, 4)
    assert quantizer.search(torch.randn(0, 5), 3).shape == (0, 4)
    assert quantizer.search([torch.randn(7, 3), torch.randn(7, 2)], 3).shape == (7, 4)
    half = torch.randn(7, 5, dtype=torch.bfloat16)
    assert quantizer.search(half, 3).dtype == torch.int64
    with pytest.raises(InputError, match="beam: expected at least 1, got 0"):
        quantizer.search(half, 0)
