"""docs/performance.md and the pages of all tables say what the committed records say."""

from pathlib import Path

import pytest

from bench.outputs import own_pages, shows
from bench.record import Record
from bench.render import pages

RECORDS = sorted(
    path
    for path in pages.RESULTS.glob("*.json")
    if path.read_text(encoding="utf-8").startswith('{\n "format"')
)


@pytest.mark.parametrize("page", own_pages(), ids=lambda page: page.name)
def test_a_page_is_what_rendering_makes_of_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == pages.rendered(text), "run `python -m bench --render`"


@pytest.mark.parametrize("page", own_pages(), ids=lambda page: page.name)
def test_a_picture_shows_the_record_that_its_page_names(page: Path) -> None:
    for picture in pages.pictures(page.read_text(encoding="utf-8")):
        assert shows(page.parent / picture.path, picture.record), (
            f"{picture.path}: run `python -m bench --render`"
        )


def test_the_page_names_records_that_are_there() -> None:
    assert {"cpu.json", "cpu-again.json", "cpu-training.json"} <= {path.name for path in RECORDS}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name)
def test_a_committed_record_holds_no_wrong_result_of_ours(path: Path) -> None:
    record = Record.load(path)
    own = [row for row in record.rows if row.contender.startswith("spinlock")]
    assert {row.status for row in own} <= {"ok", "missing", "skipped"}
    assert not any(share for row in own for share in row.wrong.values())
    assert {"date", "cpu", "torch", "commit", "peers"} <= record.environment.keys()
    assert not any(folder in record.to_json() for folder in ("/home/", "/root/", "/tmp/"))
