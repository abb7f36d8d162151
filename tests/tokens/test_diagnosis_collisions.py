"""Collision counts against a dictionary, and the sketch against its stated error."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import DataError
from spinlock.tokens.diagnosis_collisions import CollisionCounter, token_hashes


def by_hand(tokens: np.ndarray) -> tuple[float, int]:
    counts = Counter(map(tuple, tokens.tolist()))
    return sum(n for n in counts.values() if n > 1) / len(tokens), len(counts)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(1, 300),
    columns=st.integers(1, 4),
    codes=st.integers(1, 6),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    seed=st.integers(0, 999),
)
def test_any_blocks_and_merges_count_exactly(
    rows: int, columns: int, codes: int, cuts: list[int], seed: int
) -> None:
    tokens = np.random.default_rng(seed).integers(0, codes, (rows, columns))
    parts = np.split(token_hashes(tokens), sorted(cut for cut in cuts if cut <= rows))
    counters = [CollisionCounter().update(part) for part in parts]
    while len(counters) > 1:
        counters = [a.merge(b) for a, b in zip(counters[::2], counters[1::2], strict=False)] + (
            counters[-1:] if len(counters) % 2 else []
        )
    found = counters[0].finalise()
    rate, distinct = by_hand(tokens)
    assert (found.rate, found.distinct) == (pytest.approx(rate), distinct)
    assert found.exact
    assert found.standard_error == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_beyond_its_capacity_it_stays_within_its_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # About a third of the rows share one of 3,000 tuples, the others are alone.
    tokens = np.where(
        rng.random(60_000) < 0.35, rng.integers(0, 3_000, 60_000), 10_000 + np.arange(60_000)
    )[:, None]
    found = CollisionCounter(2_000).update(token_hashes(tokens)).finalise()
    rate, distinct = by_hand(tokens)
    assert not found.exact
    assert 0.0 < found.standard_error <= 1.0 / np.sqrt(2_000)
    assert abs(found.rate - rate) < 5.0 * found.standard_error
    assert found.distinct == pytest.approx(distinct, rel=5.0 / np.sqrt(2_000))


def test_the_sketch_does_not_depend_on_blocks_or_merges() -> None:
    tokens = np.random.default_rng(0).integers(0, 4_000, (20_000, 1))
    hashes = token_hashes(tokens)
    whole = CollisionCounter(500).update(hashes).finalise()
    pieces = CollisionCounter(500)
    for part in np.array_split(hashes, 37):
        pieces.update(part)
    tree = [CollisionCounter(500).update(part) for part in np.array_split(hashes, 8)]
    left, right = tree[0], tree[4]
    for other in tree[1:4]:
        left.merge(other)
    for other in tree[5:]:
        right.merge(other)
    assert whole == pieces.finalise() == right.merge(left).finalise()


def test_memory_does_not_grow_with_the_rows() -> None:
    counter = CollisionCounter(100)
    for start in range(0, 50_000, 1_000):
        counter.update(token_hashes(np.arange(start, start + 1_000)[:, None]))
        assert len(counter._hashes) + counter._waiting <= 1_200


def test_hashes_go_on_from_hashes() -> None:
    tokens = np.random.default_rng(0).integers(0, 9, (50, 5))
    both = token_hashes(tokens[:, 2:], token_hashes(tokens[:, :2]))
    assert (both == token_hashes(tokens)).all()


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(DataError, match="0 rows"):
        CollisionCounter().finalise()
    with pytest.raises(DataError, match="cannot be merged"):
        CollisionCounter(4).merge(CollisionCounter(8))
    with pytest.raises(DataError, match="at least 2"):
        CollisionCounter(1)
