"""The tables of a diagnosis: worst first, cut sensibly, plain text."""

import io
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from spinlock.report.diagnosis_text import (
    category_table,
    feature_table,
    summary_lines,
    token_table,
)
from spinlock.tokens.diagnosis import (
    CategoryFigures,
    Diagnosis,
    FeatureFigures,
    QuantizerFigures,
)
from spinlock.tokens.diagnosis_collisions import Collisions

NONE = Collisions(0.25, 3, exact=True, standard_error=0.0)


def made_up(*errors: float) -> Diagnosis:
    """Categories ``c0``, ``c1``, ... of one feature with these errors, worst first."""
    category = CategoryFigures("", 1, 0.0, 0.5, 0.3, 1.0, 0.9, NONE, (1.0,), 0.2)
    return Diagnosis(
        rows=4,
        sampled_rows=4,
        categories=tuple(replace(category, name=f"c{i}", mse=e) for i, e in enumerate(errors)),
        quantizers=tuple(QuantizerFigures(f"c{i}", 0, 1, (3, 1)) for i in range(len(errors))),
        features=tuple(FeatureFigures(f"f{i}", f"c{i}", e, None, e) for i, e in enumerate(errors)),
        collisions=NONE,
    )


def printed(table: Table) -> list[list[str]]:
    stream = io.StringIO()
    Console(file=stream, width=200).print(table)
    assert "\x1b" not in stream.getvalue()
    lines = [line.split("│")[1:-1] for line in stream.getvalue().splitlines() if "│" in line]
    return [[cell.strip() for cell in line] for line in lines]


def test_categories_are_listed_with_ratios_and_means() -> None:
    rows = printed(category_table(made_up(0.4, 0.2, 0.1), "4 rows"))
    assert [row[0] for row in rows] == ["c0", "c1", "c2", "all"]
    assert rows[0][1:5] == ["0.4000", "4.00", "1.71", "0.500"]
    assert rows[-1][1] == "0.2333"


def test_tokens_are_listed_in_the_same_order() -> None:
    rows = printed(token_table(made_up(0.4, 0.2)))
    assert rows[0] == ["c0", "1.00", "0.90", "25.0%", "0", "1.00"]
    assert rows[-1] == ["all", "2.00", "1.62", "25.0%", "0", "1.00"]


def test_tables_fit_a_terminal_of_80_columns() -> None:
    found = made_up(0.4, 0.2)
    for table in (category_table(found, "4 rows"), token_table(found), feature_table(found)):
        stream = io.StringIO()
        Console(file=stream, width=80).print(table)
        assert "…" not in stream.getvalue()


def test_a_ratio_to_no_error_is_a_dash() -> None:
    rows = printed(category_table(made_up(0.4, 0.0), "4 rows"))
    assert rows[0][2] == "-"
    assert rows[1][2] == "1.00"
    assert made_up(0.4, 0.0).to_dict()["worst_over_best"] is None


def test_many_categories_are_cut_in_the_middle() -> None:
    rows = printed(category_table(made_up(*(1.0 - i / 200 for i in range(100))), "4 rows"))
    assert len(rows) == 30 + 1 + 10 + 1
    assert rows[30][0] == "... 60 more ..."
    assert (rows[29][0], rows[31][0]) == ("c29", "c90")


def test_the_worst_features_are_listed() -> None:
    rows = printed(feature_table(made_up(*(1.0 - i / 20 for i in range(15)))))
    assert [row[0] for row in rows] == [f"f{i}" for i in range(10)]
    assert rows[0][3] == "-"  # constant over the rows


def test_names_are_text_not_markup() -> None:
    found = made_up(0.4)
    named = replace(found, categories=(replace(found.worst, name="[red]x[/]"),))
    assert printed(category_table(named, "[b]rows[/b]"))[0][0] == "[red]x[/]"


def test_the_summary_says_what_is_estimated() -> None:
    exact = "\n".join(summary_lines(made_up(0.4, 0.2)))
    assert "25.00% of rows share all tokens with another (3 different of 4)" in exact
    sketch = replace(made_up(0.4), collisions=Collisions(0.25, 9_000, False, 0.001))
    assert "25.00% ± 0.20% (estimated) of rows" in "\n".join(summary_lines(sketch))
