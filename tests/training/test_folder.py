"""The checkpoint directory: every change is atomic, pointers always name something whole."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from spinlock.errors import CheckpointError
from spinlock.training.folder import RunDirectory, checkpoint_name, position
from spinlock.training.manifest import MANIFEST, read_files
from spinlock.training.run_lock import LOCK, RunLock

FILES = {"a.json": b"{}\n", "b.bin": bytes(range(256))}


class Crash(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


def directory(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


def commit(run: RunDirectory, name: str, keep: int = 2, *, best: bool = False) -> None:
    run.write(name, FILES)
    run.point("latest", name)
    if best:
        run.point("best", name)
    run.prune(keep)


@pytest.mark.parametrize("at", [(0, 0), (12, 0), (12, 345), (12345, 6_789_012)])
def test_names_say_where(at: tuple[int, int]) -> None:
    assert position(checkpoint_name(*at)) == at


@pytest.mark.parametrize("name", ["", "latest", "epoch_12", "epoch_0001/..", "epoch_0001\n", "."])
def test_other_names_are_no_checkpoints(name: str) -> None:
    assert position(name) is None


def test_order_is_that_of_training(tmp_path: Path) -> None:
    run = directory(tmp_path)
    for name in ("epoch_10000", "epoch_0002", "epoch_0001_step_000009", "epoch_0001"):
        run.write(name, FILES)
    assert run.checkpoints() == [
        "epoch_0001", "epoch_0001_step_000009", "epoch_0002", "epoch_10000",
    ]  # fmt: skip


def test_files_come_back(tmp_path: Path) -> None:
    path = directory(tmp_path).write("epoch_0001", FILES)
    assert read_files(path, list(FILES)) == FILES
    assert sorted(p.name for p in path.iterdir()) == sorted([*FILES, MANIFEST])


def test_the_last_ones_and_those_pointed_at_are_kept(tmp_path: Path) -> None:
    run = directory(tmp_path)
    for epoch in range(1, 8):
        commit(run, checkpoint_name(epoch), keep=2, best=epoch == 2)
    assert run.checkpoints() == ["epoch_0002", "epoch_0006", "epoch_0007"]
    assert run.pointer("latest") == "epoch_0007"
    assert run.pointer("best") == "epoch_0002"
    run.point("latest", "epoch_0006")
    run.prune(1)
    assert run.checkpoints() == ["epoch_0002", "epoch_0006", "epoch_0007"]


def crash_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Number of file system calls in one commit."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    with monkeypatch.context() as patch:
        watch(patch, count)
        run = RunDirectory(tmp_path / "counted")
        run.create()
        commit(run, "epoch_0001", keep=1)
        calls = 0
        commit(run, "epoch_0002", keep=1, best=True)
    return calls


def watch(patch: pytest.MonkeyPatch, before: Any) -> None:
    """Calls ``before`` ahead of every change that the module makes to the disk."""

    def wrap(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before(name, args)
            return original(*args, **kwargs)

        patch.setattr(owner, name, wrapped)

    for name in ("replace", "unlink", "mkdir", "open", "rename"):
        wrap(Path, name)
    patch.setattr(os, "fsync", lambda _: before("fsync", ()))
    wrap(os, "rmdir")
    wrap(os, "unlink")


def test_a_crash_at_any_moment_leaves_a_loadable_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # what is simulated loses no page
    total = crash_points(tmp_path, monkeypatch)
    assert total > 20
    for moment in range(total):
        run = RunDirectory(tmp_path / f"crash{moment}")
        run.create()
        commit(run, "epoch_0001", keep=1)
        left = moment

        def crash(*_: Any) -> None:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1

        with monkeypatch.context() as patch:
            watch(patch, crash)
            with pytest.raises(Crash):
                commit(run, "epoch_0002", keep=1, best=True)
        latest = run.pointer("latest")
        assert latest in ("epoch_0001", "epoch_0002")
        assert read_files(run.path / latest, list(FILES)) == FILES
        best = run.pointer("best")
        assert best in (None, "epoch_0002")
        run.remove_unfinished()
        assert latest == run.checkpoints()[-1]
        assert not [p for p in run.path.iterdir() if p.name.startswith(".")]
        commit(run, "epoch_0002", keep=1, best=True)
        commit(run, "epoch_0003", keep=1)
        assert run.checkpoints() == ["epoch_0002", "epoch_0003"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = directory(tmp_path)
    commit(run, "epoch_0001")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*untouched"):
        run.write("epoch_0002", FILES)
    with pytest.raises(CheckpointError, match="No space left"):
        run.point("latest", "epoch_0002")
    monkeypatch.undo()
    assert not list(run.path.glob(".*"))
    assert run.pointer("latest") == "epoch_0001"
    assert run.checkpoints() == ["epoch_0001"]
    assert read_files(run.path / "epoch_0001", list(FILES)) == FILES


def test_a_directory_that_cannot_be_written_says_so_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"--output"):
        RunDirectory(tmp_path / "file" / "run").create()


def test_an_earlier_run_moves_aside_whole(tmp_path: Path) -> None:
    for number in (1, 2):
        run = directory(tmp_path)
        commit(run, "epoch_0001")
        assert run.move_aside() == tmp_path / f"run.previous-{number}"
    moved = RunDirectory(tmp_path / "run.previous-2")
    assert moved.pointer("latest") == "epoch_0001"


@pytest.mark.parametrize("name", ["mydata.npz", "train.log", "events/run.tfevents", "epoch_0009"])
def test_files_of_others_stay_when_a_run_moves_aside(tmp_path: Path, name: str) -> None:
    run = directory(tmp_path)
    commit(run, "epoch_0001", best=True)
    commit(run, "epoch_0002")
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).write_text("mine")
    with run.held():
        moved = RunDirectory(run.start_anew())
        with pytest.raises(CheckpointError, match="another run"):
            RunLock().acquire(run.path)
    assert (run.path / name).read_text() == "mine"
    assert {p.name for p in run.path.iterdir()} == {Path(name).parts[0], LOCK}
    assert moved.path == tmp_path / "run.previous-1"
    assert moved.checkpoints() == ["epoch_0001", "epoch_0002"]
    assert (moved.pointer("latest"), moved.pointer("best")) == ("epoch_0002", "epoch_0001")


def test_a_linked_directory_stays_on_its_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "run").symlink_to(disk / "run")
    run = directory(tmp_path)
    commit(run, "epoch_0001")
    assert run.move_aside() == disk / "run.previous-1"
    run.create()
    commit(run, "epoch_0002")
    assert (disk / "run" / "epoch_0002").is_dir()


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = directory(tmp_path)
    commit(run, "epoch_0001")
    commit(run, "epoch_0002")
    (run.path / ".writing-epoch_0003-1").mkdir()

    def busy(path: Path) -> None:
        raise OSError(16, "Device or resource busy", str(path))

    monkeypatch.setattr("spinlock.training.folder.shutil.rmtree", busy)
    for work in (lambda: run.prune(1), run.remove_unfinished, run.clear):
        with pytest.raises(CheckpointError, match=r"cannot remove '.*writing.*busy.*intact"):
            work()
    assert run.checkpoints() == ["epoch_0002"]


def test_a_new_run_starts_from_nothing(tmp_path: Path) -> None:
    run = directory(tmp_path)
    (run.path / ".writing-epoch_0001-1").mkdir()
    (run.path / "best").write_text("damaged")
    run.clear()
    assert list(run.path.iterdir()) == []


def test_the_current_directory_is_not_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = directory(tmp_path)
    monkeypatch.chdir(run.path)
    with pytest.raises(CheckpointError, match="--output"):
        RunDirectory(Path()).move_aside()


@pytest.mark.parametrize("text", ["", "../../etc", "epoch_0001/../x", "epoch", "\x00"])
def test_a_pointer_names_a_checkpoint_or_nothing(tmp_path: Path, text: str) -> None:
    run = directory(tmp_path)
    (run.path / "latest").write_text(text)
    with pytest.raises(CheckpointError, match="names no checkpoint"):
        run.pointer("latest")


def test_no_pointer_is_none(tmp_path: Path) -> None:
    assert directory(tmp_path).pointer("latest") is None


def damaged(path: Path, what: str) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    if what == "truncated":
        (path / "b.bin").write_bytes(FILES["b.bin"][:100])
    elif what == "missing":
        (path / "b.bin").unlink()
    elif what == "newer":
        manifest["format_version"] = 99
    elif what == "foreign":
        manifest["format"] = "other"
    elif what == "empty":
        manifest["sha256"] = {}
    elif what == "list":
        manifest = []
    elif what == "no files":
        del manifest["sha256"]
    elif what == "elsewhere":
        manifest["sha256"]["../b.bin"] = manifest["sha256"]["b.bin"]
    elif what == "no digest":
        manifest["sha256"]["b.bin"] = 7
    elif what == "escape codes":
        manifest["spinlock_version"] = "\x1b[31m"
    if what not in ("truncated", "missing"):
        (path / MANIFEST).write_text(json.dumps(manifest))
    if what == "no manifest":
        (path / MANIFEST).unlink()
    if what == "half a manifest":
        (path / MANIFEST).write_text('{"format"')


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("truncated", "damaged"),
        ("missing", "incomplete"),
        ("newer", "format version 99"),
        ("foreign", "not from spinlock"),
        ("empty", "incomplete"),
        ("list", "not from spinlock"),
        ("no files", "expected names of files"),
        ("elsewhere", "expected names of files"),
        ("no digest", "expected names of files"),
        ("escape codes", r"got '\\x1b"),
        ("no manifest", "no checkpoint of spinlock"),
        ("half a manifest", "no readable JSON"),
    ],
)
def test_damage_is_named(tmp_path: Path, what: str, message: str) -> None:
    path = directory(tmp_path).write("epoch_0001", FILES)
    damaged(path, what)
    with pytest.raises(CheckpointError, match=message):
        read_files(path, list(FILES))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_files(tmp_path / "epoch_0001", [])
