"""``spinlock info``: what a checkpoint or a token file is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spinlock.cli import options as opt
from spinlock.cli.session import Session
from spinlock.errors import ConfigError

if TYPE_CHECKING:
    from spinlock.cli.terminal import Terminal


def info(
    context: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A checkpoint folder, a checkpoint directory or a token file."
        ),
    ],
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="CKPT", help="Fail unless the token file is of this checkpoint."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
    traceback: opt.TracebackOption = False,  # noqa: ARG001
) -> None:
    """Say what a checkpoint or a token file is: data, plan, tokens, contract, versions, sizes."""
    session = context.find_object(Session) or Session()
    with session.reporting():
        from spinlock.cli.terminal import Terminal
        from spinlock.config.paths import expand_user

        terminal = Terminal.open("normal")
        where = Path(expand_user(path, "PATH"))
        if where.is_file() or where.suffix.lower() in (".npz", ".parquet"):
            known = None if checkpoint is None else expand_user(checkpoint, "--checkpoint")
            _tokens_info(where, known, terminal, as_json=as_json)
        elif checkpoint is not None:
            raise ConfigError(f"--checkpoint is for token files; '{where}' is none: leave it out")
        else:
            _checkpoint_info(where, terminal, as_json=as_json)
        terminal.finish()


def _checkpoint_info(path: Path, terminal: Terminal, *, as_json: bool) -> None:
    from spinlock.cli.results import result_table
    from spinlock.report.plan_text import plan_table
    from spinlock.tokens.summary import model_summary, with_folder
    from spinlock.training.checkpoint import load_model

    saved = load_model(path)
    summary = with_folder(model_summary(saved), saved)
    if as_json:
        terminal.result(json.dumps(summary, indent=2, allow_nan=False))
        return
    terminal.result("\n".join(checkpoint_lines(summary)))
    terminal.result(plan_table(saved.plan))
    if saved.metrics is not None:
        held_out = saved.rows.get("validation", 0)
        rows = f"{saved.metrics.rows:,} {'held-out' if held_out else 'training'} rows"
        terminal.result(result_table(saved.plan, saved.metrics, rows))


def _tokens_info(path: Path, checkpoint: str | None, terminal: Terminal, *, as_json: bool) -> None:
    from spinlock.tokens.summary import tokens_summary
    from spinlock.training.checkpoint import load_model

    saved = None if checkpoint is None else load_model(checkpoint)
    summary = tokens_summary(path, saved)
    if as_json:
        terminal.result(json.dumps(summary, indent=2, allow_nan=False))
    else:
        terminal.result("\n".join(tokens_lines(summary)))


def checkpoint_lines(summary: Mapping[str, Any]) -> list[str]:
    """A checkpoint's summary in a few lines, without its tables."""
    data, model, tokens = summary["data"], summary["model"], summary["tokens"]
    folder, contract = summary["checkpoint"], summary["contract"]
    families = ", ".join(f"{name} {count:,}" for name, count in data["families"].items())
    rows = data["rows"]
    counted = (
        f", {rows['training']:,} rows trained on, {rows['validation']:,} held out" if rows else ""
    )
    resume = "yes" if folder["can_resume"] else "no, it holds no training state"
    return [
        f"checkpoint: {folder['path']}",
        f"written by: spinlock {folder['spinlock_version']}, format {folder['format_version']}",
        f"on disk: {size_text(folder['bytes'])} in {len(folder['files'])} files",
        f"can be resumed: {resume}",
        f"data: {data['dataset_path']}{counted}",
        f"features: {data['features_read']:,} read ({families}), {data['features']:,} after "
        f"cleaning, in {len(summary['categories'])} categories",
        f"model: {model['hierarchy']}, {model['parameters']:,} parameters, {model['codes']:,} "
        f"codes, {summary['epochs']} epochs",
        f"tokens: {tokens['per_row']} per row, {tokens['dtype']}, {tokens['bits_per_row']:.2f} "
        "bits",
        *_contract_lines(contract),
    ]


def tokens_lines(summary: Mapping[str, Any]) -> list[str]:
    """A token file's summary in a few lines."""
    contract = summary["contract"]
    lines = [
        f"tokens: {summary['path']}",
        f"on disk: {size_text(summary['bytes'])}",
        f"rows: {summary['rows']:,}",
        f"per row: {len(contract['quantizers'])} tokens, {summary['dtype']}, "
        f"{summary['bits_per_row']:.2f} bits",
        f"quantizers: {_some(contract['quantizers'])}",
        *_contract_lines(contract),
    ]
    if summary["checkpoint"] is not None:
        lines.append(f"of the checkpoint {summary['checkpoint']}: yes")
    return lines


def size_text(count: int) -> str:
    """Bytes in the unit that suits them.

    >>> size_text(512), size_text(1_536_000), size_text(2_500_000_000)
    ('512 bytes', '1.5 MB', '2.5 GB')
    """
    power = 0 if count < 1000 else min(4, (len(str(count)) - 1) // 3)
    if power == 0:
        return f"{count} bytes"
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def _contract_lines(contract: Mapping[str, Any]) -> list[str]:
    return [
        f"schema fingerprint: {contract['schema_fingerprint']}",
        f"codebook hash: {contract['codebook_hash']}",
    ]


def _some(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
