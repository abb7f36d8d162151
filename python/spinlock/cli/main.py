"""The command ``spinlock``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from spinlock import __version__
from spinlock.cli.analyze import analyze
from spinlock.cli.compare import compare
from spinlock.cli.decode import decode
from spinlock.cli.diagnose import diagnose
from spinlock.cli.encode import encode
from spinlock.cli.export import export
from spinlock.cli.info import info
from spinlock.cli.options import give_resume_a_value
from spinlock.cli.session import FAILED, Session, say
from spinlock.cli.streams import OutputLost
from spinlock.cli.terminal import prepare_streams
from spinlock.cli.train_vqvae import train_vqvae

app = typer.Typer(
    name="spinlock",
    help="Train tokenizers for feature tables: categorical hierarchical VQ-VAEs.",
    # Plain help and tracebacks look the same in a terminal, a pipe and a log.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
app.command("train-vqvae")(train_vqvae)
app.command("analyze")(analyze)
app.command("compare")(compare)
app.command("encode")(encode)
app.command("decode")(decode)
app.command("diagnose")(diagnose)
app.command("info")(info)
app.command("export")(export)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spinlock {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train tokenizers for feature tables: categorical hierarchical VQ-VAEs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code.

    Args:
        arguments: without the program's name; None takes the process's own, which then ends with
            this call: Ctrl-C is ignored from its last words on.

    0: done; 1: data, checkpoint or machine; 2: configuration or usage; 130: Ctrl-C; 143:
    SIGTERM; 129: SIGHUP.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    session = Session(tuple(given), owns_process=arguments is None)
    try:
        app(args=give_resume_a_value(given), prog_name="spinlock", obj=session)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except OSError as error:  # outside of any command: help or version on a full disk
        say(f"error: {OutputLost(error)}")
        return FAILED
    finally:
        session.ignore_interrupts()
    return 0
