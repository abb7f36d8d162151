"""``spinlock decode``: tokens to the rows that they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spinlock.cli import options as opt
from spinlock.cli.encode import CheckpointArgument, JsonOption, OverwriteOption, WorkDeviceOption
from spinlock.cli.session import Session


def decode(
    context: typer.Context,
    checkpoint: CheckpointArgument,
    tokens: Annotated[
        str, typer.Argument(metavar="TOKENS", help="A file that spinlock encode wrote.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Ends in .npz, .parquet or .csv.")
    ],
    device: WorkDeviceOption = "cpu",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: opt.QuietOption = False,
    traceback: opt.TracebackOption = False,  # noqa: ARG001
) -> None:
    """Turn tokens back into rows: every raw column, in its own units.

    Tokens of another model are refused.
    """
    session = context.find_object(Session) or Session()
    with session.reporting():
        from spinlock.cli.row_progress import RowProgress
        from spinlock.cli.terminal import Terminal
        from spinlock.config.paths import expand_user
        from spinlock.tokens.encoding import DATA_ENDINGS, decode_tokens
        from spinlock.tokens.output import check_output
        from spinlock.training.checkpoint import load_model

        terminal = Terminal.open("quiet" if quiet else "normal")
        source, path = expand_user(tokens, "TOKENS"), Path(expand_user(output, "--output"))
        check_output(path, DATA_ENDINGS, overwrite=overwrite, reads=source)
        saved = load_model(expand_user(checkpoint, "CKPT"))
        with RowProgress(terminal) as bar:
            written = decode_tokens(
                saved,
                source,
                path,
                lambda done, total: bar.update("decoding", done, total),
                device=device,
                overwrite=overwrite,
            )
        if as_json:
            document = {
                "checkpoint": str(saved.path),
                "tokens": source,
                "output": str(written.path),
                "rows": written.rows,
                "columns": written.columns,
                "labels": written.labels,
            }
            terminal.result(json.dumps(document, indent=2))
        elif quiet:
            terminal.result(str(written.path))
        else:
            terminal.result(f"{written.rows:,} rows x {written.columns} columns: {written.path}")
        terminal.finish()
