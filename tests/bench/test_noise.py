"""Noise: what is said of made-up counters, and of made-up times of the sentinel."""

from pathlib import Path

import pytest

from bench.measure import noise
from bench.measure.noise import NoiseWatch, Sentinel, sentinel_sentences

HERTZ = 100


class Machine:
    """A /proc of two CPUs and a clock, moved on by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 10.0
        self.busy = [1000, 1000]
        self.stolen = self.own = self.child = 0
        (folder / "self" / "task" / "7").mkdir(parents=True)
        (folder / "8").mkdir()
        (folder / "self" / "task" / "7" / "children").write_text("8 ", encoding="ascii")
        self.write()

    def write(self) -> None:
        lines = ["cpu  9 9 9 9 9 9 9 9 0 0"]
        for cpu, busy in enumerate(self.busy):
            lines.append(f"cpu{cpu} {busy} 0 0 500 20 0 0 {self.stolen if cpu == 0 else 0} 0 0")
        lines += ["cpu2 777777 0 0 0 0 0 0 0 0 0", "intr 5 0 0"]
        (self.folder / "stat").write_text("\n".join(lines), encoding="ascii")
        for process, ticks in (("self", self.own), ("8", self.child)):
            fields = " ".join(["0"] * 10 + [str(ticks), "0", "0", "0"] + ["0"] * 30)
            text = f"7 (a ) name) R {fields}"
            (self.folder / process / "stat").write_text(text, encoding="ascii")

    def run(self, watch: NoiseWatch, *, own: float, others: float, stolen: float = 0.0) -> None:
        """A round of a second in which so many cores were busy."""
        self.now += 1.0
        self.own += int(HERTZ * own / 2)
        self.child += int(HERTZ * own / 2)
        self.busy[1] += int(HERTZ * (own + others))
        self.stolen += int(HERTZ * stolen)
        self.write()
        watch.sample()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(noise, "_ticks_per_second", lambda: HERTZ)
    monkeypatch.setattr(noise, "_involuntary_switches", lambda: 0)
    monkeypatch.setattr(Sentinel, "sample", lambda _: None)
    return Machine(tmp_path)


def _watch(machine: Machine, threads: int) -> NoiseWatch:
    return NoiseWatch(threads, proc=machine.folder, cpus=(0, 1), clock=lambda: machine.now)


def test_a_quiet_run_says_nothing(machine: Machine) -> None:
    with _watch(machine, 2) as watch:
        for _ in range(40):
            machine.run(watch, own=2.0, others=0.02)
        assert watch.sentences() == []


def test_a_busy_neighbour_is_said_with_its_rounds(machine: Machine) -> None:
    with _watch(machine, 2) as watch:
        for number in range(40):
            machine.run(watch, own=1.0, others=0.8 if number < 12 else 0.0)
        (sentence,) = watch.sentences()
    assert sentence == (
        "another process kept 0.8 of 2 cores busy in 12 of 40 rounds: "
        "wall times at 2 threads are not to be trusted"
    )


def test_a_neighbour_on_a_core_of_its_own_shares_the_caches(machine: Machine) -> None:
    with _watch(machine, 1) as watch:
        for _ in range(10):
            machine.run(watch, own=1.0, others=0.8)
        (sentence,) = watch.sentences()
    assert sentence.endswith("in 10 of 10 rounds: caches and memory bandwidth were shared")


def test_one_busy_round_of_forty_is_not_worth_a_word(machine: Machine) -> None:
    with _watch(machine, 2) as watch:
        for number in range(40):
            machine.run(watch, own=1.0, others=0.9 if number == 5 else 0.0)
        assert watch.sentences() == []


def test_stolen_time_is_said(machine: Machine) -> None:
    with _watch(machine, 2) as watch:
        for _ in range(10):
            machine.run(watch, own=1.0, others=0.0, stolen=0.1)
        (sentence,) = watch.sentences()
    assert sentence.startswith("the hypervisor gave 0.10 of 2 cores to others in 10 of 10 rounds")


def test_preemption_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with _watch(machine, 2) as watch:
        for _ in range(10):
            machine.run(watch, own=1.0, others=0.0)
        monkeypatch.setattr(noise, "_involuntary_switches", lambda: 5000)
        (sentence,) = watch.sentences()
    assert sentence.startswith("the run was taken off its cores 500 times a second")


def test_short_rounds_are_watched_together(machine: Machine) -> None:
    with _watch(machine, 2) as watch:
        for _ in range(3):
            for _ in range(99):
                machine.now += 0.001
                watch.sample()
            machine.run(watch, own=1.0, others=0.5)
        (sentence,) = watch.sentences()
    assert "in 300 of 300 rounds" in sentence


def test_without_proc_one_sentence_says_so(tmp_path: Path) -> None:
    with NoiseWatch(2, proc=tmp_path / "none") as watch:
        watch.sample()
    (sentence,) = watch.sentences()
    assert "could not be watched" in sentence


def test_the_real_machine_is_watched() -> None:
    with NoiseWatch() as watch:
        for _ in range(3):
            watch.sample()
    assert all(isinstance(sentence, str) for sentence in watch.sentences())


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ([1.0] * 12, None),
        ([1.0, 1.02, 0.99, 1.01] * 3, None),
        ([1.0] * 4 + [1.1] * 4 + [1.2] * 4, "20% longer at the end"),
        ([1.2] * 4 + [1.1] * 4 + [1.0] * 4, "17% less at the end"),
        ([1.0, 1.0, 1.0, 1.5] * 3, "over 10% longer than its best in 3 of 12 rounds"),
        ([1.0] * 11 + [9.0], None),
        ([0.0] * 12, None),
        ([1.0, 2.0], None),
    ],
)
def test_drift_of_the_sentinel(cpu: list[float], expected: str | None) -> None:
    found = sentinel_sentences(cpu, cpu)
    if expected is None:
        assert found == []
    else:
        assert len(found) == 1
        assert expected in found[0]


def test_a_sentinel_that_waits_is_said() -> None:
    (sentence,) = sentinel_sentences([1.0] * 12, [2.0] * 12)
    assert sentence.startswith("fixed arithmetic waited for a core 50% of its time")
