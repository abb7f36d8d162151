"""The page says what the record of the codecs says."""

import json
from pathlib import Path

from bench.integrations import markdown, rendered
from bench.quality_grid import RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"


def test_the_page_holds_the_recorded_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    record = json.loads((RESULTS / "integrations.json").read_text(encoding="utf-8"))
    assert markdown(record) in page
    assert rendered(page) == page
    # One row whose nearest codes differ by less than rounding differs in all levels from there on.
    assert all(row["same_codes"] > 0.99 for row in record["rows"])
