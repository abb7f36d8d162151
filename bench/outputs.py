"""Where a record goes: the screen, JSON, Markdown, a picture, and the pages of the guide."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError
from bench.record import Record
from bench.render import markdown, pages, plots

__all__ = [
    "check_outputs",
    "own_pages",
    "render_pages",
    "show_and_write",
    "shows",
    "write_unfinished",
]

_ROOT = Path(__file__).parents[1]


def check_outputs(json: str | None, page: Path | None, picture: Path | None) -> None:
    """Refuses what could not be written, before anything is measured.

    Raises:
        BenchError: a folder that is not there or not writable, or no matplotlib for a picture.
    """
    named = [Path(json)] if json is not None and json != "-" else []
    for path in [*named, *(p for p in (page, picture) if p is not None)]:
        folder = path.resolve().parent
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise BenchError(f"{path}: expected a file in a folder that can be written to")
    if picture is not None and importlib.util.find_spec("matplotlib") is None:
        raise BenchError("--plot needs matplotlib: pip install matplotlib, or leave it out")


def show_and_write(
    record: Record, json: str | None, page: Path | None, picture: Path | None
) -> None:
    """Shows a record, or with ``-`` its JSON, and writes the files that are asked for.

    Raises:
        BenchError: a file that cannot be written.
    """
    if json == "-":
        sys.stdout.write(record.to_json())
    else:
        _show(record)
        if json is not None:
            _write(Path(json), record.to_json())
    if page is not None:
        _write(page, markdown.markdown(record))
    if picture is not None:
        plots.plot(record, picture)


def write_unfinished(record: Record, json: str | None) -> None:
    """Writes what a run has found so far: one that is killed loses its last workload at most.

    Raises:
        BenchError: the file cannot be written.
    """
    if json is not None and json != "-":
        note = "unfinished: the run was still going when this was written"
        _write(Path(json), replace(record, noise=[*record.noise, note]).to_json())


def own_pages() -> list[Path]:
    """The pages of this repository that are filled in from records."""
    return [_ROOT / "docs" / "performance.md", *sorted(pages.RESULTS.glob("*.md"))]


def render_pages(given: Sequence[Path]) -> None:
    """Fills in the tables of pages, all of them or none; without any, of the repository's own.

    Their pictures are drawn where they are not there or show another record.

    Raises:
        BenchError: a page that cannot be read or written, whose markers are wrong, or whose
            pictures cannot be drawn.
    """
    filled = []
    for page in given or own_pages():
        try:
            text = page.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BenchError(f"{page}: cannot be read ({error})") from error
        filled.append((page, pages.rendered(text)))
    for page, text in filled:
        for record, kind, place in pages.pictures(text):
            if not shows(page.parent / place, record):
                plots.plot(record, page.parent / place, [kind])
    for page, text in filled:
        _write(page, text)


def shows(picture: Path, record: Record) -> bool:
    """Whether a picture was made from that record."""
    return picture.exists() and plots.source_of(record).encode() in picture.read_bytes()


def _show(record: Record) -> None:
    """With rich where it is installed; it draws nothing that the plain text lacks."""
    show: Callable[[Record], None]
    if importlib.util.find_spec("rich") is not None:
        from bench.render.terminal import show
    else:
        from bench.render.plain import show
    show(record)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise BenchError(f"{path}: cannot be written ({error.strerror}); name another") from error
