"""The run behind the memory figures goes through on a small table; the page says its figures."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.out_of_core import FAMILIES, main, markdown, rendered, write_table
from bench.process_memory import TreeMemory
from bench.quality_grid import RESULTS

ROOT = Path(__file__).parents[2]


def test_the_table_has_the_rows_and_columns_that_it_says(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "t.parquet", 70_000)
    table = parquet.read_table(tmp_path / "t.parquet")
    assert (table.num_rows, table.num_columns) == (70_000, sum(FAMILIES.values()))
    values = table.column("shape::f0").to_numpy()
    assert np.isfinite(values).all()
    assert np.abs(values).max() > 8 * values.std()
    assert np.isnan(table.column("shape::f3").to_numpy()).any()


def test_every_command_goes_through_and_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.json"
    arguments = ["--gigabytes", "0.002", "--sample", "1000", "--epochs", "1", "--decode"]
    assert main([*arguments, "--folder", str(tmp_path), "--output", str(record)]) == 0
    steps = json.loads(record.read_text())["steps"]
    commands = [step["command"].split()[0] for step in steps]
    assert commands == ["analyze", "train-vqvae", "encode", "decode"]
    assert all(step["peak_bytes"] > 50e6 for step in steps)
    assert json.loads(record.read_text())["files"] == 1
    assert "| `spinlock encode` |" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_of_a_tree_counts_children_and_shared_pages_once() -> None:
    touch = "import mmap, os; m = mmap.mmap(-1, 64 << 20); m.write(b'x' * (64 << 20)); "
    forks = touch + "[os.fork() for _ in range(2)]; m[:]; print('on', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", forks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        with TreeMemory(process.pid) as memory:
            assert process.stdout is not None
            for _ in range(4):
                process.stdout.readline()
            while memory.processes < 4 or memory.peak_bytes == 0:
                time.sleep(0.05)
        process.kill()
    # The 64 MiB are shared by four processes, of which each copies them once to look at them.
    assert 64 << 20 < memory.peak_bytes < 5.5 * (64 << 20)


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--gigabytes", "1e9", "--folder", str(tmp_path)]) == 1
    assert "too little" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "record"), [("training", "out-of-core.json"), ("engines", "out-of-core-ray.json")]
)
def test_the_page_holds_the_recorded_figures(name: str, record: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    found = json.loads((RESULTS / record).read_text(encoding="utf-8"))
    assert markdown(found) in page
    assert rendered(page) == page
    assert max(step["peak_bytes"] for step in found["steps"]) < 4e9 < found["bytes"]
