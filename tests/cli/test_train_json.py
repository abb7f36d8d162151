"""``train-vqvae --json``, and when output has escape codes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunCommand = Callable[..., Any]


def test_a_run_as_one_document(run_command: RunCommand, config_file: Path) -> None:
    ended = run_command("train-vqvae", "--config", config_file, "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    written = json.loads(Path("run/epoch_0004/metrics.json").read_text())
    assert document["metrics"] == written["metrics"]
    assert document["measured"] == {"epoch": 4, "rows": "validation"}
    assert document["checkpoint"] == "run/epoch_0004"
    assert Path(document["best_checkpoint"]).is_dir()
    assert document["epochs"] == 4
    assert "160 rows" in ended.err
    quiet = run_command("train-vqvae", "--config", config_file, "--json", "--quiet")
    assert json.loads(quiet.out)["metrics"] == written["metrics"]
    assert "previous-1" in quiet.err


def test_a_dry_run_as_json_is_the_analysis(run_command: RunCommand, config_file: Path) -> None:
    dry = run_command("train-vqvae", "--config", config_file, "--dry-run", "--json")
    assert json.loads(dry.out) == json.loads(
        run_command("analyze", "--config", config_file, "--json").out
    )


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("without_colours", [False, True])
def test_a_pipe_gets_escapes_only_where_they_are_forced(
    forced: bool,
    without_colours: bool,
    run_command: RunCommand,
    config_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, wanted in (("FORCE_COLOR", forced), ("NO_COLOR", without_colours)):
        if wanted:
            monkeypatch.setenv(name, "1")
    ended = run_command("train-vqvae", "--config", config_file)
    assert ("\x1b[" in ended.out) == forced
    if without_colours:
        # Bold and dim text stays.
        assert not re.search(r"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d)", ended.out + ended.err)
    document = run_command("analyze", "--config", config_file, "--json").out
    assert "\x1b" not in document
    json.loads(document)
