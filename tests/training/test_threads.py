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


def is_collected(thing: object) -> bool:
    """Whether the collector looks at ``thing``: frozen objects are not among its generations."""
    return any(tracked is thing for tracked in gc.get_objects())


def test_what_is_frozen_by_others_stays_frozen() -> None:
    theirs: list[object] = []
    gc.freeze()
    later: list[object] = []
    try:
        with collecting_less():
            assert is_collected(later), "the block froze more"
            assert not is_collected(theirs), "the block thawed what others froze"
        assert is_collected(later)
        assert not is_collected(theirs)
    finally:
        gc.unfreeze()


def test_the_block_freezes_what_there_is_and_thaws_it() -> None:
    mine: list[object] = []
    with collecting_less():
        assert not is_collected(mine)
    assert is_collected(mine)
    assert gc.get_freeze_count() == 0
