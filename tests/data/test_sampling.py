"""sample_rows: which rows max_samples keeps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spinlock.data.sampling import sample_rows


@given(st.integers(1, 200), st.data(), st.integers(-(2**63), 2**65))
def test_a_sample_is_ascending_distinct_and_nested(
    num_rows: int, data: st.DataObject, seed: int
) -> None:
    small, large = sorted(data.draw(st.lists(st.integers(1, num_rows), min_size=2, max_size=2)))
    sample = sample_rows(num_rows, large, seed)
    assert len(sample) == large
    assert sample[0] >= 0
    assert sample[-1] < num_rows
    assert (np.diff(sample) > 0).all()
    assert set(sample_rows(num_rows, small, seed)) <= set(sample)


def test_rows_are_drawn_alike_and_seeds_differ() -> None:
    counts = np.zeros(20)
    for seed in range(2000):
        counts[sample_rows(20, 5, seed)] += 1
    assert abs(counts - 500).max() < 5 * np.sqrt(500 * 0.75)


def test_large_inputs_go_block_by_block() -> None:
    sample = sample_rows(2_500_000, 1000, seed=1)
    assert len(set(sample)) == 1000
    assert abs(sample.mean() / 2_500_000 - 0.5) < 0.05


def test_samples_are_frozen() -> None:
    assert sample_rows(1000, 6, seed=7).tolist() == [201, 236, 246, 653, 698, 998]
    assert sample_rows(1000, 6, seed=-3).tolist() == [25, 117, 392, 738, 783, 794]
    assert sample_rows(3_000_000, 3, seed=2**70).tolist() == sample_rows(3_000_000, 3, 0).tolist()
