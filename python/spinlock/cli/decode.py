"""``spinlock decode``: tokens to the rows that they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from spinlock.cli import options as opt
from spinlock.cli.encode import CheckpointArgument, JsonOption, OverwriteOption, WorkDeviceOption
from spinlock.cli.outputs import files_of, names_folder, place_of, require_folder, told_place
from spinlock.cli.session import Session


def decode(
    context: typer.Context,
    checkpoint: CheckpointArgument,
    tokens: Annotated[
        str,
        typer.Argument(
            metavar="TOKENS",
            help="A file that spinlock encode wrote; or a folder or glob of such files, where the "
            "output is a folder.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Ends in .npz, .parquet or .csv; or a folder, ending in /: one Parquet file per "
            "file.",
        ),
    ],
    device: WorkDeviceOption = "cpu",
    engine: opt.EngineOption = "local",
    address: opt.AddressOption = None,
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
        from spinlock.engine import open_engine
        from spinlock.tokens.encoding import DATA_ENDINGS, decode_tokens
        from spinlock.tokens.output import check_output
        from spinlock.tokens.sharded import decode_shards
        from spinlock.training.checkpoint import load_model

        terminal = Terminal.open("quiet" if quiet else "normal")
        checkpoint, source = expand_user(checkpoint, "CKPT"), expand_user(tokens, "TOKENS")
        output = expand_user(output, "--output")
        require_folder(output, engine)
        path, folder = Path(output), names_folder(output)
        if not folder:
            check_output(path, DATA_ENDINGS, overwrite=overwrite, reads=source)
        saved = load_model(checkpoint)
        with open_engine(engine, address) as worker, RowProgress(terminal) as bar:

            def on_progress(done: int, total: int | None) -> None:
                bar.update("decoding", done, total)

            options: dict[str, Any] = {"device": device, "overwrite": overwrite}
            written = (
                decode_shards(saved, source, path, on_progress, engine=worker, **options)
                if folder
                else decode_tokens(saved, source, path, on_progress, **options)
            )
        if as_json:
            document = {
                "checkpoint": str(saved.path),
                "tokens": source,
                "output": str(place_of(written)),
                **files_of(written),
                "rows": written.rows,
                "columns": written.columns,
                "labels": written.labels,
            }
            terminal.result(json.dumps(document, indent=2))
        elif quiet:
            terminal.result(str(place_of(written)))
        else:
            from spinlock.training.wording import counted

            rows, columns = counted(written.rows, "row"), counted(written.columns, "column")
            terminal.result(f"{rows} x {columns}: {told_place(written)}")
        terminal.finish()
