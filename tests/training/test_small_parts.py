"""Early stopping, the epoch's losses, and the streams of random numbers."""

import math

import numpy as np
import pytest
import torch

from spinlock.errors import DataError
from spinlock.training.early_stopping import EarlyStopping
from spinlock.training.epoch_losses import EpochLosses
from spinlock.training.seeding import Stream, generator, reproducible, sample_rows


def test_early_stopping_counts_epochs_not_validations() -> None:
    watch = EarlyStopping(patience=6)
    stops = []
    for epoch, value in [(5, 1.0), (10, 0.9), (15, 0.95), (20, 0.91)]:
        watch.update(epoch, value)
        stops.append(watch.should_stop)
    assert stops == [False, False, False, True]
    assert watch.best_epoch == 10


def test_an_improvement_must_exceed_the_delta() -> None:
    watch = EarlyStopping(patience=1, min_delta=0.1)
    assert watch.update(1, 1.0)
    assert not watch.update(2, 0.95)
    assert watch.should_stop
    assert watch.best == 1.0


def test_without_patience_it_never_stops() -> None:
    watch = EarlyStopping()
    for epoch in range(1, 1000):
        watch.update(epoch, 1.0)
    assert not watch.should_stop


@pytest.mark.parametrize("updates", [0, 3])
def test_early_stopping_continues_from_its_state(updates: int) -> None:
    watch = EarlyStopping(patience=2)
    for epoch in range(1, updates + 1):
        watch.update(epoch, 1.0 / epoch)
    other = EarlyStopping(patience=2)
    other.load_state(watch.to_state())
    assert other == watch


def terms(value: float) -> dict[str, torch.Tensor]:
    return {"reconstruction": torch.tensor(value), "total": torch.tensor(2 * value)}


def test_losses_continue_in_the_middle_of_an_epoch() -> None:
    whole, first, second = EpochLosses(4), EpochLosses(4), EpochLosses(4)
    for step in range(4):
        whole.record(step, terms(0.1 * step))
        if step < 2:
            first.record(step, terms(0.1 * step))
    second.load_state(first.to_state(2), torch.device("cpu"))
    for step in (2, 3):
        second.record(step, terms(0.1 * step))
    assert second.means() == whole.means()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_divergence_names_epoch_step_and_term(value: float) -> None:
    losses = EpochLosses(10)
    for step in range(3):
        losses.record(step, terms(1.0))
    losses.require_finite(3, 2, "")
    losses.record(3, {"reconstruction": torch.tensor(1.0), "total": torch.tensor(value)})
    losses.record(4, terms(math.nan))
    with pytest.raises(DataError, match=rf"'total' became {value} in epoch 2, step 4 of 10. Do x"):
        losses.require_finite(5, 2, "Do x")


def test_values_of_the_epoch_before_are_not_looked_at() -> None:
    losses = EpochLosses(3)
    for step in range(3):
        losses.record(step, terms(1.0))
    losses.require_finite(3, 1, "")
    losses.record(0, terms(math.nan))
    with pytest.raises(DataError, match="step 1 of 3"):
        losses.require_finite(1, 2, "")


@pytest.mark.parametrize("steps", [1, 3])
def test_every_epoch_is_looked_at_as_a_whole(steps: int) -> None:
    losses = EpochLosses(steps)
    for step in range(steps):
        losses.record(step, terms(1.0))
    losses.require_finite(steps, 1, "")
    for step in range(steps):
        losses.record(step, terms(math.nan))
    with pytest.raises(DataError, match=f"in epoch 2, step 1 of {steps}"):
        losses.require_finite(steps, 2, "")


def test_steps_before_a_stop_are_looked_at_after_it() -> None:
    first, second = EpochLosses(3), EpochLosses(3)
    first.record(0, terms(math.inf))
    second.load_state(first.to_state(1), torch.device("cpu"))
    second.record(1, terms(1.0))
    with pytest.raises(DataError, match="step 1 of 3"):
        second.require_finite(2, 1, "")


def test_streams_are_apart_and_repeatable() -> None:
    draws = {
        (seed, stream, epoch): int(
            torch.randint(1 << 62, (1,), generator=generator(seed, stream, epoch))
        )
        for seed in (0, 1)
        for stream in Stream
        for epoch in (0, 1, 2)
    }
    assert len(set(draws.values())) == len(draws)
    again = torch.randint(1 << 62, (1,), generator=generator(1, Stream.REVIVAL, 2))
    assert int(again) == draws[1, Stream.REVIVAL, 2]


def test_samples_are_distinct_rows() -> None:
    x = torch.arange(100.0).unsqueeze(1)
    sample = sample_rows(x, 30, generator(0, Stream.REVIVAL))
    assert len(np.unique(sample.numpy())) == 30
    assert sample_rows(x, 100, generator(0, Stream.REVIVAL)) is x


def test_global_randomness_and_flags_are_put_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    flags = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    with reproducible(1, torch.device("cpu")):
        inside = torch.rand(3)
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(3), expected)
    assert torch.are_deterministic_algorithms_enabled() == flags
    assert torch.utils.deterministic.fill_uninitialized_memory == fill
    with reproducible(1, torch.device("cpu")):
        assert torch.equal(torch.rand(3), inside)
