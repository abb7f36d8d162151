"""What a run says while it works, without a run."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from spinlock.cli.progress import TrainingProgress, status
from spinlock.cli.terminal import Terminal
from spinlock.training.callbacks import EpochRecord, Event, RunInfo
from spinlock.training.metrics import EvaluationMetrics

METRICS = EvaluationMetrics(
    category_mse={"shape": 0.25, "colour": 0.5},
    feature_mse=0.3,
    utilization_per_quantizer=(1.0, 0.5),
    perplexity=(3.0, 2.0),
    bits=4.0,
    rows=10,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(epoch: int, metrics: EvaluationMetrics | None = METRICS) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        step=epoch * 10,
        learning_rate=1e-3,
        losses={"reconstruction": 0.5, "total": 0.75},
        utilization=0.875,
        perplexity=3.0,
        dead_codes=0,
        revived=0,
        validation=metrics,
        split="validation",
        seconds=1.0,
    )


def terminal(
    verbosity: str = "normal", *, live: bool = False, width: int = 120
) -> tuple[Terminal, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=live, width=width, color_system=None)
    return Terminal(Console(file=io.StringIO()), console, verbosity), stream


def progress(place: Terminal, clock: Clock, **kwargs: Any) -> TrainingProgress:
    options: dict[str, Any] = {"interval_seconds": 10.0, "on_saved": lambda _: None} | kwargs
    return TrainingProgress(place, clock=clock, **options)


def run_info(**changes: int) -> RunInfo:
    frame = {
        "num_epochs": 5,
        "steps_per_epoch": 10,
        "first_epoch": 1,
        "first_step": 1,
        "batch_size": 8,
        "threads": 1,
    }
    return RunInfo(**frame | changes)


def test_lines_come_for_the_first_and_last_epoch_and_every_so_often() -> None:
    place, stream = terminal()
    clock = Clock()
    with progress(place, clock) as callback:
        callback.on_train_begin(run_info())
        for epoch in range(1, 6):
            for step in range(1, 11):
                clock.now += 0.2
                callback.on_step_end(epoch, step)
            callback.on_epoch_end(record(epoch))
    assert stream.getvalue().splitlines() == [
        "epoch 1/5  loss 0.7500  worst colour 0.5000  utilization 0.88  0:00:08 left",
        "epoch 5/5  loss 0.7500  worst colour 0.5000  utilization 0.88",
    ]


def test_long_epochs_get_lines_within() -> None:
    place, stream = terminal()
    clock = Clock()
    with progress(place, clock) as callback:
        callback.on_train_begin(run_info(num_epochs=2, steps_per_epoch=4))
        for epoch in (1, 2):
            for step in range(1, 5):
                clock.now += 10.0
                callback.on_step_end(epoch, step)
            callback.on_epoch_end(record(epoch))
    assert stream.getvalue().splitlines() == [
        "epoch 1/2 step 1/4  0:01:10 left",
        "epoch 1/2 step 2/4  0:01:00 left",
        "epoch 1/2 step 3/4  0:00:50 left",
        "epoch 1/2  loss 0.7500  worst colour 0.5000  utilization 0.88  0:00:40 left",
        *(
            f"epoch 2/2 step {step}/4  loss 0.7500  worst colour 0.5000  utilization 0.88  "
            f"0:00:{40 - 10 * step} left"
            for step in (1, 2, 3)
        ),
        "epoch 2/2  loss 0.7500  worst colour 0.5000  utilization 0.88",
    ]


def test_time_left_counts_from_where_a_run_was_resumed() -> None:
    place, stream = terminal()
    clock = Clock()
    with progress(place, clock) as callback:
        callback.on_train_begin(run_info(first_epoch=4, first_step=6))
        clock.now = 5.0
        callback.on_epoch_end(record(4))
    assert stream.getvalue().splitlines()[-1].endswith("0:00:10 left")


def test_an_epoch_that_was_not_measured_keeps_the_worst_category() -> None:
    before = status(record(1))
    assert status(record(2, metrics=None), before) == before
    assert "worst" not in status(record(1, metrics=None))


def test_a_terminal_gets_a_bar_that_ends_with_the_run() -> None:
    place, stream = terminal(live=True)
    clock = Clock()
    with progress(place, clock) as callback:
        callback.on_train_begin(run_info(num_epochs=2))
        for epoch in (1, 2):
            for step in range(1, 11):
                clock.now += 1.0
                callback.on_step_end(epoch, step)
            callback.on_epoch_end(record(epoch))
    shown = stream.getvalue()
    assert "epoch 2/2" in shown
    assert "worst colour 0.5000" in shown
    assert shown.endswith("\x1b[?25h"), "the cursor is back"


@pytest.mark.parametrize("width", [60, 80, 99, 100, 120, 160])
def test_a_narrow_terminal_cuts_the_figures_and_not_the_time(width: int) -> None:
    place, stream = terminal(live=True, width=width)
    name = "a category named at length [/x]"
    metrics = replace(METRICS, category_mse={"shape": 0.25, name: 0.5})
    with progress(place, Clock()) as callback:
        callback.on_train_begin(run_info(num_epochs=1000))
        callback.on_epoch_end(record(1000, metrics))
    shown = re.sub(r"\x1b\[\??[0-9]*[A-Za-z]", "", stream.getvalue()).strip()
    line = re.split("[\r\n]", shown)[-1].rstrip()
    assert len(line) <= width
    assert ("━" in line) == (width >= 100)
    start, figures = line.split(" 0:00:00 ")
    assert start.startswith("epoch 1000/1000")
    whole = status(record(1000, metrics))
    assert figures == whole if width == 160 else whole.startswith(figures.removesuffix("…"))
    assert len(figures) > width // 2 - 6


def test_figures_of_usual_names_fit_eighty_columns() -> None:
    place, stream = terminal(live=True, width=80)
    metrics = replace(METRICS, category_mse={"cluster_1": 0.25, "cluster_12": 0.5})
    with progress(place, Clock()) as callback:
        callback.on_train_begin(run_info(num_epochs=1000))
        callback.on_epoch_end(record(1000, metrics))
    assert "loss 0.7500  worst cluster_12 0.5000  utilization 0.88" in stream.getvalue()


def test_quiet_says_warnings_only() -> None:
    place, stream = terminal("quiet")
    with progress(place, Clock()) as callback:
        callback.on_event(Event("loaded", "120 rows"))
        callback.on_event(Event("ratios_reused", "reused"))
        callback.on_train_begin(run_info())
        callback.on_epoch_end(record(5))
    assert stream.getvalue() == "note: reused\n"


@pytest.mark.parametrize(("verbosity", "lines"), [("quiet", 0), ("normal", 1), ("verbose", 3)])
def test_the_cleaning_report_is_as_long_as_asked(verbosity: str, lines: int) -> None:
    class Report:
        def lines(self, max_names: int) -> list[str]:
            return ["cleaning: 3 -> 2 columns", "  duplicates: 1 dropped", f"    {max_names}"]

    place, stream = terminal(verbosity)
    with progress(place, Clock()) as callback:
        callback.on_event(Event("cleaned", "", {"report": Report()}))
    assert len(stream.getvalue().splitlines()) == lines


def test_markup_in_names_is_text() -> None:
    place, stream = terminal()
    with progress(place, Clock()) as callback:
        callback.on_event(Event("loaded", "[bold]file[/nothing].npz :smile: " + "x" * 300))
    assert stream.getvalue() == "[bold]file[/nothing].npz :smile: " + "x" * 300 + "\n"


def test_checkpoints_are_passed_on() -> None:
    seen: list[Path] = []
    place, _ = terminal()
    with progress(place, Clock(), on_saved=seen.append) as callback:
        callback.on_checkpoint(Path("run/epoch_0001"))
    assert seen == [Path("run/epoch_0001")]
