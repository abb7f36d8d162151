"""``spinlock diagnose``: what a trained model loses, where, and how its codes are used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spinlock.cli import options as opt
from spinlock.cli.session import Session
from spinlock.errors import ConfigError

if TYPE_CHECKING:
    from spinlock.cli.terminal import Terminal
    from spinlock.engine import Engine
    from spinlock.tokens.diagnosis import Diagnosis
    from spinlock.tokens.diagnosis_rows import RowSource
    from spinlock.training.checkpoint import SavedModel

_VALIDATION = "validation"


def diagnose(
    context: typer.Context,
    checkpoint: Annotated[
        str, typer.Argument(metavar="CKPT", help="A checkpoint folder or checkpoint directory.")
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="Data set to measure on; the one that the model was trained on if left out.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="ROWS",
            help="Without DATA: validation (as held out in training; the default), training or "
            "all.",
        ),
    ] = None,
    max_rows: Annotated[
        int | None, typer.Option(metavar="N", help="Measure a uniform sample of N rows.")
    ] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a report with figures, one page.")
    ] = None,
    figures: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write every figure as SVG and PNG.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Let --html and --figures replace files of any kind."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1 or auto.")] = "cpu",
    engine: opt.EngineOption = "local",
    address: opt.AddressOption = None,
    quiet: opt.QuietOption = False,
    traceback: opt.TracebackOption = False,  # noqa: ARG001
) -> None:
    """Measure a trained model: error per category, codebook usage, token collisions.

    An earlier report or figure is replaced; --overwrite lets other files be replaced too.
    """
    session = context.find_object(Session) or Session()
    with session.reporting():
        if data is not None and split is not None:
            raise ConfigError(
                "--split is about the data set of the training run, of which DATA is another: "
                "leave one of them out"
            )
        from spinlock.config.paths import expand_user

        checkpoint = expand_user(checkpoint, "CKPT")
        data = None if data is None else expand_user(data, "DATA")
        page, folder = _path(html, "--html"), _path(figures, "--figures")
        _check_outputs(page, folder, overwrite=overwrite)
        _run(
            checkpoint, data, split or _VALIDATION, max_rows, page, folder, device,
            overwrite=overwrite, as_json=as_json, quiet=quiet, engine=engine, address=address,
        )  # fmt: skip


def _path(given: str | None, flag: str) -> Path | None:
    from spinlock.config.paths import expand_user

    return None if given is None else Path(expand_user(given, flag))


def _check_outputs(html: Path | None, figures: Path | None, *, overwrite: bool) -> None:
    """What can be known before the work: names, libraries, and what the outputs would replace."""
    if html is None and figures is None:
        return
    if html is not None and not html.is_dir() and html.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--html: '{html}' must end in .html or .htm: choose another name")
    from spinlock.report.files import check_replaceable
    from spinlock.report.html import require_report_libraries

    require_report_libraries()
    if html is not None:
        check_replaceable(html, overwrite=overwrite)
    if figures is not None and figures.exists() and not figures.is_dir():
        raise ConfigError(f"--figures: '{figures}' is no folder; name another one")


def _run(
    checkpoint: str, data: str | None, split: Any, max_rows: int | None, html: Path | None,
    figures: Path | None, device: str, *, overwrite: bool, as_json: bool, quiet: bool,
    engine: str, address: str | None,
) -> None:  # fmt: skip
    from spinlock.cli.row_progress import RowProgress
    from spinlock.cli.terminal import Terminal
    from spinlock.engine import open_engine
    from spinlock.tokens.diagnosis_rows import diagnose as measure
    from spinlock.training.checkpoint import load_model
    from spinlock.training.start import find_device

    terminal = Terminal.open("quiet" if quiet else "normal")
    where = find_device(device)
    saved = load_model(checkpoint)
    with (
        open_engine(engine, address) as worker,
        _source(saved, data, split, max_rows, terminal, worker) as source,
        RowProgress(terminal) as bar,
    ):
        found = measure(
            saved, source, device=str(where), engine=worker,
            on_progress=lambda done, total: bar.update("measuring", done, total),
        )  # fmt: skip
    _print(found, source, saved, terminal, as_json=as_json)
    if html is not None or figures is not None:
        _write_report(saved, found, source, html, figures, terminal, overwrite=overwrite)
    terminal.finish()


@contextmanager
def _source(
    saved: SavedModel, data: str | None, split: Any, max_rows: int | None, terminal: Terminal,
    engine: Engine,
) -> Iterator[RowSource]:  # fmt: skip
    from spinlock.cli.announcer import Announcer
    from spinlock.tokens.diagnosis_rows import dataset_rows, own_rows

    if data is None:
        with Announcer(terminal) as announcer:
            told = announcer.event
            rows = own_rows(saved, split, max_rows=max_rows, on_event=told, engine=engine)
        yield rows
        return
    from spinlock.data.dataset import open_dataset

    with open_dataset(
        data,
        saved.config.families,
        exclude_columns=saved.config.exclude_columns,
        label_column=saved.config.label_column,
        required=False,
    ) as dataset:
        yield dataset_rows(saved, dataset, max_rows=max_rows)


def _print(
    found: Diagnosis, source: RowSource, saved: SavedModel, terminal: Terminal, *, as_json: bool
) -> None:
    from spinlock.report.diagnosis_text import (
        category_table,
        feature_table,
        summary_lines,
        token_table,
    )

    if as_json:
        document = {
            "checkpoint": None if saved.path is None else str(saved.path),
            "data": source.data,
            "measured_rows": source.rows,
            "data_changed": source.data_changed,
            "notes": list(source.notes),
            **found.to_dict(),
        }
        terminal.result(json.dumps(document, indent=2, allow_nan=False))
        return
    rows = f"{source.rows} of {source.data}"
    for table in (category_table(found, rows), token_table(found), feature_table(found)):
        terminal.result(table)
        terminal.result("")
    terminal.result("\n".join(summary_lines(found)))


def _write_report(
    saved: SavedModel, found: Diagnosis, source: RowSource, html: Path | None,
    figures: Path | None, terminal: Terminal, *, overwrite: bool,
) -> None:  # fmt: skip
    from spinlock.config import dump_config
    from spinlock.report.diagnosis_facts import diagnosis_report
    from spinlock.report.html import write_figures, write_html

    report = diagnosis_report(saved, found, source, dump_config(saved.config))
    if html is not None:
        write_html(report, html, overwrite=overwrite)
        terminal.remark(f"report: {html}")
    if figures is not None:
        written = write_figures(report, figures, overwrite=overwrite)
        terminal.remark(f"figures: {len(written)} files in {figures}")
