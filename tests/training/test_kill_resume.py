"""SIGKILL at a random moment, through the program that does it ten times over."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from spinlock.config import TrainConfig, dump_config

PROGRAM = Path(__file__).with_name("kill_resume.py")


def test_a_killed_run_resumes_to_the_same_bits(
    make_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = make_config(
        model={"dropout": 0.1},
        training={"num_epochs": 30, "batch_size": 8, "category_assignment": "auto"},
    )
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    command = [sys.executable, str(PROGRAM), "--kills", "1", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill 1 after" in done.stdout
    assert done.stdout.count("bit for bit") >= 1
