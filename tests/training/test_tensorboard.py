"""TensorBoard events of a run, read back with TensorBoard's own reader."""

import importlib.util
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spinlock.config import TrainConfig
from spinlock.errors import ConfigError
from spinlock.training.callbacks import Callback, EpochRecord, Event
from spinlock.training.pipeline import TrainResult, analyze, train

pytest.importorskip("tensorboard", reason="needs the extra [tensorboard]")
MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def read() -> Callable[[Path], Any]:
    """Reads a folder of events as TensorBoard does, all of them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def load(folder: Path) -> Any:
        return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()

    return load


class Listener(Callback):
    """Keeps events; after an epoch does as told."""

    def __init__(self, after: Callable[[EpochRecord], None] = lambda _: None) -> None:
        self.events: list[Event] = []
        self.after = after

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.after(record)


def curve(events: Any, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in events.Scalars(tag)]


def with_events(make_config: MakeConfig, folder: Path, **training: Any) -> TrainConfig:
    return make_config(training=training, logging={"tensorboard_dir": str(folder)})


def check_against_history(events: Any, result: TrainResult) -> None:
    categories = result.prepared.plan.categories
    for record in result.history:
        metrics = record.validation
        assert metrics is not None
        figures = {f"loss/{name}": value for name, value in record.losses.items()} | {
            "training/learning_rate": record.learning_rate,
            "codes/utilization": record.utilization,
            "codes/perplexity": record.perplexity,
            "codes/dead": record.dead_codes,
            "codes/revived": record.revived,
            "validation/mean_mse": metrics.mean_mse,
            "validation/worst_mse": metrics.worst_mse,
            **{f"category_mse/{c.name}": metrics.category_mse[c.name] for c in categories},
        }
        for tag, value in figures.items():
            assert dict(curve(events, tag))[record.epoch] == pytest.approx(value), tag


def test_every_figure_of_the_history(
    make_config: MakeConfig, tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    folder = tmp_path / "logs" / "a"
    result = train(with_events(make_config, folder))
    events = read(folder)
    check_against_history(events, result)
    assert [step for step, _ in curve(events, "loss/total")] == [1, 2, 3, 4]
    text = events.Tensors("configuration")[0].tensor_proto.string_val[0].decode()
    assert "    num_epochs: 4\n" in text
    assert sorted(events.PluginTagToContent("hparams")) == [
        "_hparams_/experiment",
        "_hparams_/session_start_info",
    ]
    assert [path.name[:19] for path in folder.iterdir()] == ["events.out.tfevents"]


def test_a_resumed_run_has_every_epoch_once(
    make_config: MakeConfig, tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    config = with_events(make_config, tmp_path / "logs", checkpoint_every_n_epochs=2)

    def crash(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise RuntimeError("a crash after epoch 3, whose last checkpoint is of epoch 2")

    with pytest.raises(RuntimeError, match="a crash"):
        train(config, callbacks=[Listener(crash)])
    result = train(config, resume="latest")
    events = read(tmp_path / "logs")
    assert [step for step, _ in curve(events, "loss/total")] == [1, 2, 3, 4]
    check_against_history(events, result)
    # A run that was finished has nothing to add.
    files = sorted((tmp_path / "logs").iterdir())
    train(config, resume="latest")
    assert sorted((tmp_path / "logs").iterdir()) == files


def test_a_new_run_in_the_same_folder_starts_over(
    make_config: MakeConfig, tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    train(with_events(make_config, tmp_path / "logs"))
    result = train(with_events(make_config, tmp_path / "logs", num_epochs=2))
    events = read(tmp_path / "logs")
    assert [step for step, _ in curve(events, "loss/total")] == [1, 2]
    check_against_history(events, result)


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Limits the size of every file from when it is called on, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_event_and_the_run_goes_on(
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small_files: Callable[[int], None],
) -> None:
    # Only the events are on the disk that is full.
    monkeypatch.setattr(
        "spinlock.training.pipeline.CheckpointWriter.save", lambda *_, **__: tmp_path / "none"
    )
    listener = Listener(lambda record: small_files(100) if record.epoch == 2 else None)
    result = train(with_events(make_config, tmp_path / "logs"), callbacks=[listener])
    assert len(result.history) == 4
    told = [event.message for event in listener.events if event.kind == "tensorboard_failed"]
    assert told == [
        f"no more TensorBoard events are written to '{tmp_path / 'logs'}' (File too large); the "
        "run goes on, and history.json holds the same figures"
    ]
    assert capsys.readouterr().err == ""


def test_what_cannot_work_is_said_before_the_run(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"logging\.tensorboard_dir: cannot write to"):
        train(with_events(make_config, tmp_path / "file" / "logs"))
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr("spinlock.training.tensorboard.find_spec", lambda _: None)
    config = with_events(make_config, tmp_path / "logs")
    for function in (train, analyze):
        with pytest.raises(ConfigError, match=r"pip install 'spinlock-vq\[tensorboard\]'"):
            function(config)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "logs").exists()


def test_a_dry_run_writes_no_events(make_config: MakeConfig, tmp_path: Path) -> None:
    config = with_events(make_config, tmp_path / "logs")
    train(config, dry_run=True)
    analyze(config)
    assert not (tmp_path / "logs").exists()
