"""One run at a time in a checkpoint directory."""

import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from spinlock.errors import CheckpointError
from spinlock.training.folder import RunDirectory
from spinlock.training.run_lock import LOCK, RunLock


def test_a_second_run_is_refused_and_may_start_when_the_first_has_ended(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path), RunDirectory(tmp_path)
    with first.held():
        with pytest.raises(CheckpointError, match="another run is writing to"), second.held():
            pytest.fail("two runs held one directory")
        with pytest.raises(CheckpointError, match="another run"), second.held():
            pytest.fail("a refusal let go of the first run's lock")
    with second.held():
        pass


def test_another_process_is_refused_until_the_first_one_dies(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from spinlock.training.run_lock import RunLock;"
        "lock = RunLock(); lock.acquire(Path(sys.argv[1])); print('held', flush=True);"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=r"its own training\.checkpoint_dir"):
            RunLock().acquire(tmp_path)
        process.kill()
    RunLock().acquire(tmp_path)


def test_moving_an_earlier_run_aside_keeps_the_hold(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.held():
        (run.path / "epoch_0001").mkdir()
        moved = run.start_anew()
        assert [entry.name for entry in moved.iterdir()] == ["epoch_0001"]
        with pytest.raises(CheckpointError, match="another run"):
            RunLock().acquire(run.path)


def test_a_directory_made_in_vain_is_removed_and_an_older_one_stays(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        with RunDirectory(directory).held():
            raise RuntimeError

    for directory in (tmp_path / "new", tmp_path):
        with pytest.raises(RuntimeError):
            fail(directory)
    assert [entry.name for entry in tmp_path.iterdir()] == [LOCK]


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(self: filelock.FileLock) -> None:
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(filelock.FileLock, "_acquire", unsupported)
    lock = RunLock()
    lock.acquire(tmp_path)
    assert not lock.supported
