"""Whatever goes wrong: one message, the right code, no traceback."""

import errno
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from spinlock.errors import CheckpointError, ConfigError, DataError, InputError, LayoutError
from spinlock.training.interrupts import Terminated

RunCommand = Callable[..., Any]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("a: b; do c"), 2, "error: a: b; do c\n"),
        (DataError("no rows"), 1, "error: no rows\n"),
        (CheckpointError("damaged"), 1, "error: damaged\n"),
        (LayoutError("too large"), 1, "error: too large\n"),
        (InputError("wrong shape"), 1, "error: wrong shape\n"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run/x"),
            1,
            "error: 'run/x': No space left on device\n",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"x", None, "y"),
            1,
            "error: \"b'x'\" -> 'y': Permission denied\n",
        ),
        (OSError("odd"), 1, "error: odd\n"),
        (OSError(), 1, "error: OSError\n"),
        (MemoryError(), 1, "error: out of memory: use fewer rows"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), 1, "error: out of memory: use"),
        (RuntimeError("boom"), 1, "error: RuntimeError: boom\nThis was not foreseen."),
        (KeyboardInterrupt(), 130, "interrupted; nothing was saved\n"),
        (Terminated(), 143, "stopped by SIGTERM; nothing unfinished is left: run the command"),
    ],
)
def test_every_error_is_a_message_and_a_code(
    error: BaseException,
    code: int,
    message: str,
    run_command: RunCommand,
    config_file: Path,
    fake_train: Any,
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    fake_train.then = fail
    ended = run_command("train-vqvae", "--config", config_file)
    assert ended.code == code
    assert ended.err.startswith(message)
    assert ended.out == ""
    assert "Traceback" not in ended.err

    if not isinstance(error, KeyboardInterrupt):
        shown = run_command("train-vqvae", "--config", config_file, "--traceback")
        assert shown.code == code
        assert "Traceback (most recent call last)" in shown.err
        assert message in shown.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "training.num_epocs=3"], "did you mean training.num_epochs?"),
        (["--set", "training.num_epochs"], "expected key=value"),
        (["--set", "training.num_epochs=[1"], "line 1"),
        (["--epochs", "0"], "training.num_epochs: expected a whole number >= 1, got 0"),
        (["--batch-size", "-1"], "training.batch_size"),
        (["--learning-rate", "nan"], "training.learning_rate"),
        (["--seed", "-1"], "random_seed"),
        (["--verbose", "--quiet"], "contradict"),
        (["--dry-run", "--resume"], "without --resume"),
        (["--resume="], "--resume: expected a folder, got text without a character"),
        (["--resume", ""], "--resume: expected a folder, got text without a character"),
        (
            ["--resume", "~no-such-user/x"],
            "--resume: '~no-such-user/x' names a home directory that is not",
        ),
        (
            ["--output=~no-such-user/x"],
            "training.checkpoint_dir: '~no-such-user/x' names a home directory",
        ),
        (["--device", "abacus"], "device: expected cpu, cuda, cuda:N or auto, got 'abacus'"),
    ],
)
def test_wrong_keys_and_flags_are_configuration_errors(
    arguments: list[str], says: str, run_command: RunCommand, config_file: Path
) -> None:
    ended = run_command("train-vqvae", "--config", config_file, *arguments)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert says in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("width", [10**14, 10**18])
def test_a_model_that_no_memory_holds(
    width: int, run_command: RunCommand, config_file: Path
) -> None:
    assignment = f"model.group_hidden_dim={width}"
    ended = run_command("train-vqvae", "--config", config_file, "-q", "--set", assignment)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: out of memory: use fewer rows")
    assert "model.group_hidden_dim" in ended.err
    assert "num_tokens" in ended.err
    assert "not foreseen" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--input", "none.npz"], "there is no such file (looked in "),
        (["--input", "builtin:none"], "known: builtin:digits"),
        (["--input", "x.yaml"], "extension '.yaml'"),
        (["--resume", "nowhere"], "'nowhere' holds no checkpoint"),
        (["--resume"], "holds no checkpoint"),
        (["--output", "x.yaml"], "cannot write checkpoints to 'x.yaml'"),
    ],
)
def test_missing_files_and_places(
    arguments: list[str], says: str, run_command: RunCommand, config_file: Path
) -> None:
    ended = run_command("train-vqvae", "--config", config_file, *arguments)
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    assert says in ended.err


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["encode", "ckpt", "data.npz", "-o", ""], "--output"),
        (["encode", "", "data.npz", "-o", "t.npz"], "CKPT"),
        (["encode", "ckpt", "", "-o", "t.npz"], "DATA"),
        (["decode", "ckpt", "t.npz", "--output="], "--output"),
        (["decode", "", "t.npz", "-o", "x.csv"], "CKPT"),
        (["decode", "ckpt", "", "-o", "x.csv"], "TOKENS"),
        (["export", "ckpt", "-o", ""], "--output"),
        (["export", "", "-o", "out"], "CKPT"),
        (["diagnose", ""], "CKPT"),
        (["diagnose", "ckpt", ""], "DATA"),
        (["diagnose", "ckpt", "--html", ""], "--html"),
        (["diagnose", "ckpt", "--figures", ""], "--figures"),
        (["info", ""], "PATH"),
        (["info", "t.npz", "--checkpoint", ""], "--checkpoint"),
        (["train-vqvae", "--config", ""], "--config"),
        (["analyze", "--config", ""], "--config"),
        (["analyze", "--config", "x.yaml", "--figure", ""], "--figure"),
        (["compare", "--config", ""], "--config"),
        (["compare", "--config", "x.yaml", "--output", ""], "--output"),
    ],
)
def test_an_empty_path_is_not_the_current_directory(
    arguments: list[str], flag: str, run_command: RunCommand, config_file: Path, tmp_path: Path
) -> None:
    assert config_file.name == "x.yaml"
    before = sorted(tmp_path.iterdir())
    ended = run_command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {flag}: expected a file or folder, got text without a ch")
    assert sorted(tmp_path.iterdir()) == before


def spending(what: str) -> str:
    return f"{{auto_compression_strategy: rate_distortion, rate_distortion: {{{what}}}}}"


@pytest.mark.parametrize(
    ("assignment", "code", "says"),
    [
        ("families={nope: {}}", 2, "has no family 'nope'"),
        ("families={shape: {encoder: nope}}", 2, "encoder 'nope', which is not known"),
        ("exclude_columns=[nope]", 2, "exclude_columns names nope"),
        ("exclude_columns=['*']", 2, "leaves no column"),
        ("exclude_columns=[*]", 2, "quote text that starts with *, such as '*'"),
        ("label_column=nope", 2, "label_column is 'nope'"),
        ("training.validation_split=0.999", 2, "leave 1 for training"),
        ("training.category_assignment=manual", 2, "category_file: missing"),
        ("model.levels={nope: [{latent_dim: 2}]}", 2, "model.levels: given for unknown nope"),
        ("model.compression_ratios={shape: [0.5]}", 2, "model.compression_ratios: missing for"),
        (f"model={spending('bits: 500')}", 2, "model.rate_distortion.bits is 500, but beyond"),
        (f"model={spending('target_mse: 1e-9')}", 2, "model.rate_distortion.target_mse 1e-09 is"),
    ],
)
def test_a_key_that_the_data_cannot_meet_is_a_configuration_error(
    assignment: str, code: int, says: str, run_command: RunCommand, config_file: Path
) -> None:
    ended = run_command("analyze", "--config", config_file, "-q", "--set", assignment)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err


def test_a_category_file_that_is_not_there(run_command: RunCommand, config_file: Path) -> None:
    keys = ["training.category_assignment=manual", "training.category_file=nope.yaml"]
    sets = [word for key in keys for word in ("--set", key)]
    ended = run_command("analyze", "--config", config_file, *sets)
    assert ended.code == 2
    assert "training.category_file: there is no file 'nope.yaml' (looked in " in ended.err
    assert "configuration file" not in ended.err


def test_a_configuration_that_is_not_there(run_command: RunCommand) -> None:
    ended = run_command("analyze", "--config", "none.yaml")
    assert ended.code == 2
    assert ended.err.startswith("error: there is no configuration file 'none.yaml' (looked in ")


def spinlock(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spinlock", *arguments]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["analyze", "--config", "x.yaml", "-q"]])
def test_a_full_disk(
    arguments: list[str],
    run_command: RunCommand,
    config_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert config_file.name == "x.yaml"
    # Unbuffered, so that nothing is left to be written when the file is closed.
    with io.TextIOWrapper(Path("/dev/full").open("wb", buffering=0), write_through=True) as full:
        monkeypatch.setattr(sys, "stdout", full)
        ended = run_command(*arguments)
        monkeypatch.undo()
    assert (ended.code, ended.err) == (
        1,
        "error: cannot write to standard output: No space left on device\n",
    )


def test_a_reader_that_leaves() -> None:
    command = spinlock("--help")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.skipif(os.name == "nt", reason="closes a POSIX descriptor")
def test_a_result_that_a_closed_stdout_loses(config_file: Path) -> None:
    for arguments in (["--version"], ["analyze", "--config", str(config_file), "-q"]):
        line = f"{shlex.join(spinlock(*arguments))} >&-"
        ended = subprocess.run(
            ["sh", "-c", line], cwd=config_file.parent, capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (
            1,
            "error: cannot write to standard output: it is closed\n",
        )


@pytest.mark.skipif(os.name == "nt", reason="closes a POSIX descriptor")
def test_a_closed_stderr_is_no_error() -> None:
    line = f"{shlex.join(spinlock('--version'))} 2>&-"
    ended = subprocess.run(["sh", "-c", line], stdout=subprocess.DEVNULL, check=False)
    assert ended.returncode == 0
