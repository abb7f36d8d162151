"""Steps get as many threads as they can feed."""

import gc

import pytest
import torch
from torch import nn

from spinlock.training.threads import collecting_less, limited_threads, threads_for


@pytest.fixture
def four_threads() -> object:
    with limited_threads(4):
        yield


@pytest.mark.usefixtures("four_threads")
def test_small_steps_get_one_thread_and_large_ones_all() -> None:
    small, large = nn.Linear(64, 64), nn.Linear(2048, 2048)
    assert threads_for(small, 512) == 1
    assert 1 < threads_for(large, 512) < 4
    assert threads_for(large, 65_536) == 4
    assert threads_for(small, 512, configured=2) == 2


def test_the_limit_ends_with_the_block_even_after_an_error() -> None:
    before = torch.get_num_threads()

    def failing() -> None:
        with limited_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert torch.get_num_threads() == before


def test_what_is_frozen_by_others_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with collecting_less():
            assert gc.get_freeze_count() == frozen
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()
    with collecting_less():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
