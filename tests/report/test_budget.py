"""Distortion against bits as a table, a figure and a file."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from spinlock.analysis.budget_curve import BudgetCurve, BudgetPoint
from spinlock.report.budget_text import budget_rows, budget_table
from spinlock.report.figure_files import write_budget_figure
from spinlock.report.files import check_replaceable
from spinlock.report.plots import style
from spinlock.report.plots.budget import budget_figure


def made_up(points: int, equal: int = 3, gaussian: bool = False, least: float = 0.0) -> BudgetCurve:
    def point(bits: float, scale: float) -> BudgetPoint:
        error = scale * 2.0 ** (-bits / 10.0) * (least if bits > 20 else 1.0)
        return BudgetPoint(bits, error, 2 * error, "[b]shape", int(bits) * 4, error / 2)

    return BudgetCurve(
        tuple(point(10.0 + 2.5 * index, 1.0) for index in range(points)),
        tuple(point(10.0 + 15.0 * index, 1.2) for index in range(equal)),
        4.0,
        gaussian,
        400,
    )


def text_of(curve: BudgetCurve, bits: float) -> str:
    stream = io.StringIO()
    Console(file=stream, width=120, markup=True).print(budget_table(curve, bits, 10))
    return stream.getvalue()


def test_the_table_is_about_the_plans_bits() -> None:
    curve = made_up(20, least=1.0)
    rows = budget_rows(curve, 20.0)
    bits = [row.bits for row in rows]
    assert bits == sorted(set(bits))
    assert min(bits) == 10.0
    assert 20.0 in bits
    assert max(bits) == 40.0
    text = text_of(curve, 20.0)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    shown = {row[0]: row[1:] for row in cells if row}
    assert shown["20.0"][:5] == ["2.00", "80", "0.2500", "0.5000", "[b]shape"]
    low, high = 1.2 * 2.0**-1.0, 1.2 * 2.0**-2.5
    assert float(shown["20.0"][5]) == pytest.approx(low ** (1 / 3) * high ** (2 / 3), abs=1e-4)
    assert "measured on 400 rows" in text
    assert "exponent 4" in text
    assert "Gaussians of the spectra" in text_of(made_up(3, gaussian=True), 10.0)


def test_without_equal_codebooks_their_columns_are_empty() -> None:
    lines = [line for line in text_of(made_up(3, equal=0), 10.0).splitlines() if "│" in line]
    assert lines
    assert all(line.split("│")[-2].strip() == "" for line in lines)


@pytest.mark.parametrize(
    ("points", "equal", "gaussian", "least"),
    [(1, 0, False, 1.0), (5, 3, False, 0.0), (80, 9, True, 1.0), (2, 1, False, 1.0)],
)
def test_every_curve_can_be_drawn(points: int, equal: int, gaussian: bool, least: float) -> None:
    with style.figure_style():
        figure = budget_figure(made_up(points, equal, gaussian, least), 12.0)
        figure.draw_without_rendering()
    (axes,) = figure.axes
    labels = [line.get_label() for line in axes.lines]
    assert ("mean, equal codebooks" in labels) == (equal > 0)
    assert ("mean, Gaussian reference" in labels) == (not gaussian)
    assert "this plan: 12.0 bits" in labels


def test_files_are_figures_of_spinlock(tmp_path: Path) -> None:
    for name, start in (("a.svg", b"<?xml"), ("b.PNG", b"\x89PNG")):
        path = tmp_path / name
        write_budget_figure(made_up(4), 12.0, path)
        assert path.read_bytes().startswith(start)
        check_replaceable(path, overwrite=False)
