"""A diagnosis as one HTML file that needs nothing else: no script, no request, no font."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinlock.errors import SpinlockError, import_failure
from spinlock.report.diagnosis_facts import DiagnosisReport
from spinlock.report.diagnosis_text import collision_text, number, shown_categories
from spinlock.report.files import MARK, check_replaceable, write_whole
from spinlock.training.durable import made_folder

if TYPE_CHECKING:
    from spinlock.report.plots.gallery import Section

_WORST, _BEST = 200, 50
_QUANTIZERS, _FEATURES = 300, 200
FORMATS = ("svg", "png")


def require_report_libraries() -> None:
    """Find out before the work whether a report can be made.

    Raises:
        SpinlockError: matplotlib or jinja2 is missing.
    """
    missing = []
    for name in ("matplotlib", "jinja2"):
        try:
            __import__(name)
        except ImportError as error:
            missing.append(f"{name}{import_failure(error)}")
    if missing:
        raise SpinlockError(
            f"the report needs {' and '.join(missing)}: pip install 'spinlock-vq[report]'"
        )


def diagnosis_html(report: DiagnosisReport) -> str:
    """The page; every name from the data is escaped, in text and attributes alike.

    Raises:
        SpinlockError: matplotlib or jinja2 is missing.
    """
    require_report_libraries()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    environment.filters["number"] = number
    found = report.diagnosis
    quantizers = sorted(found.quantizers, key=lambda quantizer: quantizer.utilization)
    page = environment.from_string(_template("diagnosis.html.j2"))
    return page.render(
        mark=MARK,
        style=Markup(_template("diagnosis.css")),
        report=report,
        found=found,
        collisions=collision_text(found),
        figures=[(section, Markup(svg)) for section, svg in _drawn(report)],
        categories=shown_categories(found.categories, _WORST, _BEST),
        quantizers=quantizers[:_QUANTIZERS],
        features=found.worst_features(_FEATURES),
    )


def write_html(report: DiagnosisReport, path: Path, *, overwrite: bool = False) -> None:
    """Writes the page; an earlier report there is replaced.

    Raises:
        ConfigError: something else is there and ``overwrite`` is not given.
        SpinlockError: a library is missing, or the file cannot be written.
    """
    check_replaceable(path, overwrite=overwrite)
    # A name with half of a surrogate pair has no UTF-8.
    write_whole({path: diagnosis_html(report).encode("utf-8", "xmlcharrefreplace")})


def figure_names(report: DiagnosisReport) -> list[str]:
    """Names of the files that :func:`write_figures` may write."""
    from spinlock.report.plots.gallery import sections

    return [f"{section.key}.{form}" for section in sections(report) for form in FORMATS]


def write_figures(
    report: DiagnosisReport, folder: Path, *, overwrite: bool = False, dpi: float = 110.0
) -> list[Path]:
    """Writes every figure as ``<name>.svg`` and ``<name>.png``, all or none; the paths written.

    Raises:
        ConfigError: a file of such a name is no figure of a report.
        SpinlockError: matplotlib is missing, or a file cannot be written.
    """
    require_report_libraries()
    from spinlock.report.plots import render
    from spinlock.report.plots.gallery import sections
    from spinlock.report.plots.style import figure_style

    contents: dict[Path, bytes] = {}
    with ExitStack() as stack:
        try:
            stack.enter_context(made_folder(folder))
        except OSError as error:
            raise SpinlockError(f"cannot make the folder '{folder}' ({error.strerror})") from error
        for name in figure_names(report):
            check_replaceable(folder / name, overwrite=overwrite)
        with figure_style():
            for section in sections(report):
                figure = section.draw()
                if figure is not None:
                    place = folder / section.key
                    contents[Path(f"{place}.svg")] = render.file_svg(figure).encode("utf-8")
                    contents[Path(f"{place}.png")] = render.png(figure, dpi)
        write_whole(contents)
    return list(contents)


def _drawn(report: DiagnosisReport) -> Iterator[tuple[Section, str]]:
    from spinlock.report.plots import render
    from spinlock.report.plots.gallery import sections
    from spinlock.report.plots.style import figure_style

    with figure_style():
        for section in sections(report):
            figure: Any = section.draw()
            if figure is not None:
                yield section, render.page_svg(figure, section.key, section.title)


def _template(name: str) -> str:
    folder = resources.files("spinlock.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")
