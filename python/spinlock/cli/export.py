"""``spinlock export``: a trained tokenizer for machines without spinlock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinlock.cli import options as opt
from spinlock.cli.session import Session


def export(
    context: typer.Context,
    checkpoint: Annotated[
        str, typer.Argument(metavar="CKPT", help="A checkpoint folder or checkpoint directory.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A folder for everything; or one file: .pt2 for one program, .safetensors or .npz "
            "for the codebooks.",
        ),
    ],
    part: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What a .pt2 file holds: encoder or decoder."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there.")
    ] = False,
    quiet: opt.QuietOption = False,
    traceback: opt.TracebackOption = False,  # noqa: ARG001
) -> None:
    """Write a model as programs that torch alone can run, and its codebooks as plain arrays.

    encoder.pt2 takes raw features to tokens, decoder.pt2 takes them back. Each is compared with
    spinlock's own results before it is written.
    """
    session = context.find_object(Session) or Session()
    with session.reporting():
        from spinlock.config.paths import expand_user
        from spinlock.tokens.export_files import check_export

        checkpoint = expand_user(checkpoint, "CKPT")
        target = Path(expand_user(output, "--output"))
        check_export(target, part, overwrite=overwrite)
        from spinlock.cli.terminal import Terminal
        from spinlock.tokens.export_files import write_export
        from spinlock.training.checkpoint import load_model

        terminal = Terminal.open("quiet" if quiet else "normal")
        saved = load_model(checkpoint)
        terminal.remark(f"exporting {saved.where}")
        written = write_export(
            saved,
            target,
            part,
            overwrite=overwrite,
            on_file=lambda name: terminal.remark(f"making {name}"),
        )
        terminal.result("\n".join(str(path) for path in written))
        terminal.finish()
