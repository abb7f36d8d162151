"""The page: complete, inert, escaped; and tables for a terminal."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from spinlock.comparison.page import comparison_html, write_page
from spinlock.comparison.record import ComparisonRecord
from spinlock.comparison.rows import Row
from spinlock.comparison.settings import comparison_settings
from spinlock.comparison.table import code_table, error_table, row_table, verdict_lines
from spinlock.config import TrainConfig
from spinlock.training.metrics import EvaluationMetrics

SETTINGS = comparison_settings(strategies="uniform,balanced", peers="joint_rq", num_seeds=2)


def row(name: str, seed: int, error: float) -> Row:
    category_mse = {"<script>alert(1)</script>": error, "b & c": error / 2}
    metrics = EvaluationMetrics(category_mse, error, (0.5, 1.0), (2.0, 4.0), 20.0, 20, 3)
    accuracy = {"forest": {"raw": 0.9, "decoded": 0.8}}
    return Row(
        name, seed, None, 20.0, 19.0, 1.1, metrics, 0.2, 1.76, 40, 100, 2, 5.0, accuracy, 80, 20
    )


@pytest.fixture
def record(config: TrainConfig, tmp_path: Path) -> ComparisonRecord:
    found = ComparisonRecord(tmp_path, config, SETTINGS, "my <b>data</b>")
    for seed in (0, 1):
        found.add(row("uniform", seed, 0.4 + 0.01 * seed))
        found.add(row("balanced", seed, 0.2 + 0.005 * seed))
        found.add(Row("joint_rq", seed, None, 20.0, note="faiss is not installed"))
    return found


def printed(content: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(content)
    return stream.getvalue()


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert not re.search(r"https?://(?!www\.w3\.org)", value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_inert(record: ComparisonRecord, config: TrainConfig) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    page = Page(comparison_html(record, config))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.tags.count("svg") == 5
    assert page.tags.count("table") == 3
    for said in (
        "my <b>data</b>",
        "balanced beats uniform",
        "faiss is not installed",
        "0.4050 ± 0.0071",
        "-50%*",
        "seeds 0, 1",
    ):
        assert said in page.text, said


def test_the_page_is_written_beside_the_figures(
    record: ComparisonRecord, config: TrainConfig, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert write_page(record, config) == tmp_path / "compare.html"
    assert write_page(record, config).read_text(encoding="utf-8").startswith("<!DOCTYPE")


def test_a_page_of_a_single_row(record: ComparisonRecord, config: TrainConfig) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    only = row("uniform", 0, 0.4)
    record.rows = {only.key: replace(only, accuracy=None)}
    page = Page(comparison_html(record, config))
    assert page.tags.count("svg") == 3  # nothing paired, no accuracy
    record.rows = {}
    assert Page(comparison_html(record, config)).tags.count("svg") == 0


def test_tables(record: ComparisonRecord) -> None:
    errors, codes = printed(error_table(record)), printed(code_table(record))
    balanced = next(line for line in errors.splitlines() if "balanced" in line)
    assert "2/2" in balanced
    assert "-50%* -50%*" in balanced
    assert "faiss is not installed" in errors
    assert "0.4050 ± 0.0071" in errors
    assert "19.00" in codes
    assert printed(row_table(record.wanted)).count("joint_rq") == 2
    said = verdict_lines(record)
    assert said[0].startswith("balanced beats uniform: worst -50% in 2 of 2 seeds")
    assert said[1] == "joint_rq did not run: faiss is not installed"
