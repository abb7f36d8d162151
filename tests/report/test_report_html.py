"""The page: complete on its own, inert, escaped, and only ever written over a report."""

import builtins
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from diagnosis_models import HOSTILE, families, trained
from spinlock.errors import ConfigError, SpinlockError
from spinlock.report.diagnosis_facts import DiagnosisReport
from spinlock.report.files import check_replaceable, write_whole
from spinlock.report.html import (
    diagnosis_html,
    figure_names,
    require_report_libraries,
    write_figures,
    write_html,
)
from spinlock.tokens.diagnosis_pass import DiagnosisPass
from spinlock.training.checkpoint import read_run

WIDTHS = dict.fromkeys(HOSTILE, 3)


class Page(HTMLParser):
    """All elements, attributes and text of a page, as a browser would take them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> DiagnosisReport:
    saved = trained(tmp_path_factory.mktemp("hostile"), WIDTHS)
    rows = np.concatenate(list(families(WIDTHS, 80, 4).values()), axis=1)
    return DiagnosisReport(
        diagnosis=DiagnosisPass(saved).update(rows).finalise(),
        plan=saved.plan,
        history=read_run(saved.path).history,
        rows=f"80 rows of {HOSTILE[0]}",
        notes=(HOSTILE[1],),
        facts=((HOSTILE[0], HOSTILE[1]), ("path", HOSTILE[4])),
        config=f"dataset_path: '{HOSTILE[0]}'",
    )


@pytest.fixture(scope="module")
def html(report: DiagnosisReport) -> str:
    return diagnosis_html(report)


def test_nothing_in_the_page_can_run(html: str) -> None:
    page = Page(html)
    assert not {"script", "iframe", "object", "embed", "form", "base", "link"} & set(page.tags)
    assert not [entry for entry in page.attributes if entry[1].startswith("on")]
    # The only img that the names could bring in; the figures are inline.
    assert "img" not in page.tags
    assert "foreignobject" not in page.tags
    targets = [v for _, n, v in page.attributes if n in ("href", "src", "xlink:href", "action")]
    assert targets
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)


def test_nothing_is_fetched(html: str) -> None:
    policy = dict(re.findall(r'http-equiv="([^"]*)" content="([^"]*)"', html))
    assert policy["Content-Security-Policy"].startswith("default-src 'none';")
    assert "script-src" not in policy["Content-Security-Policy"]
    assert not re.findall(r"@import|url\((?!#)", html)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", html))
    assert addresses <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}


def test_names_are_told_as_they_are(html: str) -> None:
    text = "".join(Page(html).text)
    for name in HOSTILE:
        assert name in text
        assert f"{name}::0" in text
        assert f"{name}/L2" in text


def test_every_section_has_its_figure_and_a_heading(html: str, report: DiagnosisReport) -> None:
    page = Page(html)
    sections = {value for tag, name, value in page.attributes if (tag, name) == ("section", "id")}
    assert sections == {"errors", "usage", "spectra", "features", "plan", "losses", "tables"}
    assert page.tags.count("svg") == page.tags.count("figure") == page.tags.count("figcaption") == 6
    links = {v[1:] for t, n, v in page.attributes if (t, n) == ("a", "href")}
    assert links == sections
    assert f"{report.diagnosis.mean_mse:.4f}" in html


def test_ids_are_unique_and_references_found(html: str) -> None:
    page = Page(html)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:xlink:href="#|href="#|url\(#)([^")]+)', html))
    assert used <= set(ids)


def test_svg_files_are_documents_without_names_in_them(
    report: DiagnosisReport, tmp_path: Path
) -> None:
    written = write_figures(report, tmp_path / "figures")
    assert {path.name for path in written} == set(figure_names(report))
    for path in written:
        if path.suffix == ".svg":
            root = ElementTree.parse(path).getroot()
            tags = {element.tag.rpartition("}")[2] for element in root.iter()}
            assert not {"script", "foreignObject", "a", "text"} & tags
            names = {name for element in root.iter() for name in element.attrib}
            assert not [name for name in names if name.startswith("on")]
        else:
            assert path.read_bytes().startswith(b"\x89PNG\r\n")
    assert write_figures(report, tmp_path / "figures") == written  # own files are replaced


def test_pages_of_the_same_figures_are_the_same(report: DiagnosisReport, html: str) -> None:
    assert diagnosis_html(report) == html


def test_a_report_without_history_has_no_curves(report: DiagnosisReport) -> None:
    assert 'id="losses"' not in diagnosis_html(replace(report, history=()))


def test_only_reports_are_replaced(report: DiagnosisReport, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_html(report, page)
    write_html(report, page)
    precious = tmp_path / "thesis.html"
    precious.write_text("years of work")
    with pytest.raises(ConfigError, match="is no report of spinlock"):
        write_html(report, precious)
    assert precious.read_text() == "years of work"
    write_html(report, precious, overwrite=True)
    assert precious.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "thesis.html"]


def test_places_that_cannot_hold_a_report(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        check_replaceable(tmp_path / "no" / "x.html", overwrite=True)
    with pytest.raises(ConfigError, match="is a folder"):
        check_replaceable(tmp_path, overwrite=True)


def test_a_full_disk_leaves_the_earlier_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "x.html"
    page.write_bytes(b"before")

    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spinlock.training.durable.os.fsync", full)
    with pytest.raises(SpinlockError, match="No space left on device"):
        write_whole({page: b"after"})
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]
    assert page.read_bytes() == b"before"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.html").write_bytes(b"before")
    (tmp_path / "link.html").symlink_to("real.html")
    write_whole({tmp_path / "link.html": b"after"})
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_bytes() == b"after"


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.usefixtures("no_matplotlib")
def test_a_missing_library_is_named_with_the_remedy() -> None:
    with pytest.raises(SpinlockError, match=r"needs matplotlib: pip install 'spinlock-vq\[report"):
        require_report_libraries()


def test_a_broken_library_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fail(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "jinja2":
            raise ImportError("undefined symbol: PyUnicode")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(SpinlockError, match=r"jinja2 \(it is there, but: undefined symbol"):
        require_report_libraries()


def test_the_templates_are_part_of_the_package() -> None:
    folder = resources.files("spinlock.report") / "templates"
    assert {"diagnosis.html.j2", "diagnosis.css"} <= {entry.name for entry in folder.iterdir()}


def test_the_report_room_loads_without_matplotlib() -> None:
    code = (
        "import sys, spinlock.report.html, spinlock.report.diagnosis_text, spinlock.cli.main;"
        "sys.exit(bool({'matplotlib', 'jinja2'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
