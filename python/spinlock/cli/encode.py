"""``spinlock encode``: a data set to tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spinlock.cli import options as opt
from spinlock.cli.outputs import files_of, names_folder, place_of, require_folder, told_place
from spinlock.cli.session import Session
from spinlock.errors import ConfigError

if TYPE_CHECKING:
    from spinlock.cli.terminal import Terminal
    from spinlock.tokens.encoding import Written
    from spinlock.tokens.file_work import WrittenFiles
    from spinlock.training.saved import SavedModel

_LISTED = 10

CheckpointArgument = Annotated[
    str, typer.Argument(metavar="CKPT", help="A checkpoint folder or checkpoint directory.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace output files that exist.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document about what was written.")
]
WorkDeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 or auto.")
]


def encode(
    context: typer.Context,
    checkpoint: CheckpointArgument,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Data set: a file, glob, directory of files or builtin:<name>."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Ends in .npz or .parquet; or a folder, ending in /: one Parquet file per file.",
        ),
    ],
    device: WorkDeviceOption = "cpu",
    beam: Annotated[
        int,
        typer.Option(
            "--beam",
            min=1,
            metavar="N",
            help="Follow N code sequences per category: closer tokens, more time (residual form).",
        ),
    ] = 1,
    sweeps: Annotated[
        int,
        typer.Option(
            "--sweeps",
            min=0,
            metavar="N",
            help="Reconsider every token N times by what the whole decoder makes of it.",
        ),
    ] = 0,
    own_error_limit: Annotated[
        float | None,
        typer.Option(
            "--own-error-limit",
            min=1.0,
            metavar="F",
            help="Let sweeps raise what a category's own tokens miss of a row F times at most.",
        ),
    ] = None,
    restarts: Annotated[
        int,
        typer.Option(
            "--restarts",
            min=0,
            metavar="N",
            help="Begin the sweeps anew N times from displaced tokens, and keep what is closer.",
        ),
    ] = 0,
    labels: Annotated[
        bool, typer.Option("--labels", help="Keep the labels of the data set beside the tokens.")
    ] = False,
    ignore_extra_columns: Annotated[
        bool,
        typer.Option(
            "--ignore-extra-columns",
            help="Leave out columns that the model does not know, instead of refusing them.",
        ),
    ] = False,
    engine: opt.EngineOption = "local",
    address: opt.AddressOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: opt.QuietOption = False,
    traceback: opt.TracebackOption = False,  # noqa: ARG001
) -> None:
    """Turn a data set into tokens with a trained model.

    Columns are found by name, whatever their order. The file carries what is needed to refuse
    decoding it with another model.
    """
    session = context.find_object(Session) or Session()
    with session.reporting():
        from spinlock.cli.terminal import Terminal
        from spinlock.config.paths import expand_user

        terminal = Terminal.open("quiet" if quiet else "normal")
        if restarts and not sweeps:
            raise ConfigError(
                f"--restarts {restarts} begins sweeps anew, and there are none: add --sweeps 2"
            )
        if own_error_limit is not None and not sweeps:
            raise ConfigError(
                f"--own-error-limit {own_error_limit:g} bounds what sweeps choose, and there are "
                "none: add --sweeps 2, or leave it out"
            )
        options = {
            "device": device,
            "beam": beam,
            "sweeps": sweeps,
            "own_error_limit": own_error_limit,
            "restarts": restarts,
            "labels": labels,
            "ignore_extra_columns": ignore_extra_columns,
            "overwrite": overwrite,
        }
        checkpoint, data = expand_user(checkpoint, "CKPT"), expand_user(data, "DATA")
        output = expand_user(output, "--output")
        require_folder(output, engine)
        saved, written = _encode(
            checkpoint,
            data,
            output,
            terminal,
            options,
            engine=engine,
            address=address,
        )
        if written.reordered:
            terminal.remark("the columns came in another order than the model's: put right by name")
        if written.ignored:
            terminal.remark(f"left out {_extra(written)}, which the model does not know")
        if as_json:
            terminal.result(json.dumps(_document(written, saved), indent=2))
        elif quiet:
            terminal.result(str(place_of(written)))
        else:
            from spinlock.training.wording import counted

            contract = saved.contract
            terminal.result(
                f"{counted(written.rows, 'row')} x {counted(written.columns, 'token')} "
                f"({contract.bits:.2f} bits per "
                f"row, {contract.token_dtype}): {told_place(written)}"
            )
        terminal.finish()


def _encode(
    checkpoint: str, source: str, output: str, terminal: Terminal, options: dict[str, Any],
    *, engine: str, address: str | None,
) -> tuple[SavedModel, Written | WrittenFiles]:  # fmt: skip
    from spinlock.cli.row_progress import RowProgress
    from spinlock.engine import open_engine
    from spinlock.tokens.encoding import encode_dataset
    from spinlock.tokens.files import ENDINGS
    from spinlock.tokens.output import check_output
    from spinlock.tokens.sharded import encode_shards
    from spinlock.training.checkpoint import load_model

    path, folder = Path(output), names_folder(output)
    if not folder:
        check_output(path, ENDINGS, overwrite=options["overwrite"], reads=source)
    saved = load_model(checkpoint)
    hierarchy = saved.config.model.hierarchy
    if options["beam"] > 1 and hierarchy != "residual":
        raise ConfigError(
            f"--beam {options['beam']}: {saved.where} has hierarchy '{hierarchy}', whose levels "
            "do not build on one another: expected 1; leave it out"
        )
    with open_engine(engine, address) as worker, RowProgress(terminal) as bar:

        def on_progress(done: int, total: int | None) -> None:
            bar.update("encoding", done, total)

        if folder:
            written = encode_shards(saved, source, path, on_progress, engine=worker, **options)
            return saved, written
        return saved, encode_dataset(saved, source, path, on_progress, **options)


def _document(written: Written | WrittenFiles, saved: SavedModel) -> dict[str, object]:
    return {
        "checkpoint": str(saved.path),
        "output": str(place_of(written)),
        **files_of(written),
        "rows": written.rows,
        "labels": written.labels,
        "columns_reordered": written.reordered,
        "columns_ignored": list(written.ignored),
        **saved.contract.to_dict(),
    }


def _extra(written: Written | WrittenFiles) -> str:
    from spinlock.data.table import listed

    noun = "column" if len(written.ignored) == 1 else "columns"
    return f"{len(written.ignored):,} {noun} ({listed(written.ignored, _LISTED)})"
