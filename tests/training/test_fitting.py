"""Fitting in passes over all rows: the same as in memory, whatever the rows are."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spinlock.config import TrainConfig, make_config
from spinlock.data import FeatureTable, load_table
from spinlock.data.parts import array_parts
from spinlock.data.sampling import sample_rows
from spinlock.data.split import split_rows
from spinlock.errors import DataError
from spinlock.training.callbacks import Event
from spinlock.training.fitting import fit_in_memory, fit_in_passes
from spinlock.training.pipeline import train
from spinlock.training.prepare import ignore, prepare

Matrix = NDArray[np.float32]


def raw(count: int, seed: int = 0) -> Matrix:
    """Three groups of related columns at different scales, a copy, a constant and holes."""
    rng = np.random.default_rng(seed)
    groups = [rng.normal(size=(count, 2)) @ rng.normal(size=(2, width)) for width in (4, 3, 5)]
    x = np.concatenate(groups, axis=1) * 10.0 ** rng.integers(-2, 3, size=12)
    x += 0.05 * x.std(axis=0) * rng.normal(size=x.shape)
    x = np.column_stack([x, 2 * x[:, 0], np.ones(count)]).astype(np.float32)
    x[rng.random(count) < 0.05, 3] = np.nan
    return x


@pytest.fixture
def data(tmp_path: Path) -> str:
    np.savez(tmp_path / "x.npz", shape=raw(3000)[:, :7], rest=raw(3000)[:, 7:])
    return str(tmp_path / "x.npz")


def config_of(path: str, **keys: Any) -> TrainConfig:
    training = {
        "num_epochs": 1,
        "batch_size": 64,
        "checkpoint_dir": str(Path(path).parent / "run"),
    }
    model = {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8}
    return make_config({"dataset_path": path, "training": training, "model": model, **keys})


@pytest.mark.parametrize("method", ["standard", "mad"])
@pytest.mark.parametrize("assignment", ["auto", "families"])
def test_both_ways_give_the_same(data: str, method: str, assignment: str) -> None:
    config = config_of(
        data,
        normalization_method=method,
        feature_cleaning={"missing_indicators": True},
    )
    settings = config.training.model_copy(update={"category_assignment": assignment})
    config = config.model_copy(update={"training": settings})
    table = load_table(data)
    memory = fit_in_memory(config, table, ignore)
    for rows in (333, 10_000):
        passes = fit_in_passes(
            config,
            array_parts(table.features, rows),
            table.names,
            table.families,
            training_rows=3000,
            on_event=ignore,
        )
        assert passes.plan.computed_ratios() == memory.plan.computed_ratios()
        assert passes.preprocessing.groups == memory.preprocessing.groups
        np.testing.assert_allclose(
            passes.preprocessing.transform(table.features),
            memory.preprocessing.transform(table.features),
            rtol=1e-5,
            atol=1e-5,
        )


def test_all_rows_but_the_held_out_ones_are_fitted_on(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import spinlock.training.prepare as module

    seen: list[Matrix] = []

    def listen(config: TrainConfig, parts: Any, *rest: Any, **options: Any) -> Any:
        seen.append(np.concatenate([block for part in parts for block in part.blocks()]))
        return fit_in_passes(config, parts, *rest, **options)

    monkeypatch.setattr(module, "fit_in_passes", listen)
    prepared = prepare(config_of(data, max_samples=500, fit_rows="all"))
    table = load_table(data)
    numbers = sample_rows(3000, 500, 0)
    held_out = numbers[split_rows(500, 0.2, 0)[1]]
    np.testing.assert_array_equal(seen[0], np.delete(table.features, np.sort(held_out), axis=0))
    assert (len(prepared.train), len(prepared.validation)) == (400, 100)
    assert prepared.cleaning_report.num_rows == 2900


def test_without_a_sample_all_rows_are_the_sample(data: str) -> None:
    every, sample = (prepare(config_of(data, fit_rows=rows)) for rows in ("all", "sample"))
    np.testing.assert_array_equal(every.train, sample.train)


def test_progress_is_told_to_the_end(data: str) -> None:
    events: list[Event] = []
    prepare(config_of(data, max_samples=500, fit_rows="all"), on_event=events.append)
    progress = [event for event in events if event.kind == "progress"]
    tasks = list(dict.fromkeys(event.message for event in progress))
    assert tasks == ["reading", "cleaning", "measuring features"]
    for task in tasks:
        last = [event.details for event in progress if event.message == task][-1]
        assert last["done"] == last["total"]


@dataclass(frozen=True)
class _Generated:
    """A part of a data set whose rows are made as they are read."""

    first_row: int
    num_rows: int

    def blocks(self, rows: int = 4096) -> Iterator[Matrix]:
        for start in range(0, self.num_rows, rows):
            yield raw(min(rows, self.num_rows - start), seed=self.first_row + start)


def test_memory_does_not_grow_with_the_rows(data: str) -> None:
    config = config_of(data)
    names = tuple(f"a::{i}" for i in range(14))
    peaks = []
    for count in (150_000, 450_000):  # both above the 100,000 that row samples keep
        tracemalloc.start()
        fit_in_passes(
            config,
            [_Generated(start, 50_000) for start in range(0, count, 50_000)],
            names,
            ("a",) * 14,
            training_rows=1000,
            on_event=ignore,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1 + 1e6


def test_a_table_in_memory_is_trained_on_and_resumed(data: str) -> None:
    table = load_table(data, max_samples=200)
    config = config_of("unused.npz")
    folder = Path(data).parent / "run"
    settings = config.training.model_copy(
        update={"checkpoint_dir": str(folder), "num_epochs": 2, "checkpoint_every_n_epochs": 1}
    )
    config = config.model_copy(update={"training": settings})
    whole = train(config, table=table)
    assert whole.prepared.config.dataset_path == "memory:"
    (folder / "latest").write_text("epoch_0001\n")
    again = train(config, table=table, resume="latest")
    for name, tensor in whole.model.state_dict().items():
        assert np.array_equal(tensor.numpy(), again.model.state_dict()[name].numpy())
    other = FeatureTable(table.features + 1, table.names, table.families)
    with pytest.raises(DataError, match="memory: is not the data set"):
        train(config, table=other, resume="latest")
    with pytest.raises(DataError, match="fitted on data in memory"):
        train(config.model_copy(update={"dataset_path": "memory:"}), resume="latest")
