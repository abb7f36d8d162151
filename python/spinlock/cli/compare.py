"""``spinlock compare``: strategies side by side at equal bits."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spinlock.cli import options as opt
from spinlock.cli.session import Session

if TYPE_CHECKING:
    from spinlock.cli.terminal import Terminal
    from spinlock.comparison.record import ComparisonRecord
    from spinlock.comparison.settings import ComparisonSettings
    from spinlock.config import TrainConfig


def compare(
    context: typer.Context,
    config: opt.ConfigOption,
    strategies: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Names with commas between them; all but config, the file itself."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What differences are taken against; the first."),
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="pca_kmeans, joint_rq and fsq (all if left out), or none."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Number of seeds, each a split and a run.")
    ] = 3,
    folds: Annotated[
        int | None,
        typer.Option(metavar="K", help="Cut each seed's rows into K parts and hold out each once."),
    ] = None,
    bits: Annotated[
        float | None,
        typer.Option(metavar="B", help="Bits per row for all; those of uniform if left out."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="compare.json and compare.html; comparisons/<config>."),
    ] = None,
    input_path: opt.InputOption = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Number of epochs.")
    ] = None,
    device: opt.DeviceOption = None,
    seed: opt.SeedOption = None,
    assignments: opt.SetOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what DIR holds of an earlier comparison.")
    ] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep the checkpoints, under DIR/runs.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print a table of every single run as well.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdicts only.")] = False,
    traceback: opt.TracebackOption = False,  # noqa: ARG001
) -> None:
    """Compare strategies on the same splits, categories and bits.

    Trains the configuration's model once per strategy, seed and fold, measures held-out errors, and
    says which differences are beyond the noise.  Run it again to go on where it was stopped, or to
    add strategies and seeds.
    """
    session = context.find_object(Session) or Session()
    flags = {"input": input_path, "epochs": epochs, "device": device, "seed": seed}
    with session.reporting():
        from spinlock.config.paths import expand_user

        # The strategies decide what ratios an earlier run has computed.
        loaded = opt.load(config, flags, assignments, recompute_ratios=True)
        verbosity = opt.verbosity(loaded, verbose=verbose, quiet=quiet)
        from spinlock.comparison.settings import comparison_settings

        settings = comparison_settings(
            strategies=strategies,
            baseline=baseline,
            peers=peers,
            num_seeds=seeds,
            first_seed=loaded.random_seed,
            folds=folds,
            bits=bits,
        )
        folder = (
            Path("comparisons", Path(config).stem)
            if output is None
            else Path(expand_user(output, "--output"))
        )
        _run(
            loaded,
            settings,
            folder,
            session,
            verbosity,
            fresh=fresh,
            keep_models=keep_models,
            as_json=as_json,
        )


def _run(
    config: TrainConfig,
    settings: ComparisonSettings,
    folder: Path,
    session: Session,
    verbosity: str,
    *,
    fresh: bool,
    keep_models: bool,
    as_json: bool,
) -> None:
    from spinlock.cli.comparing import ComparisonProgress
    from spinlock.cli.terminal import Terminal
    from spinlock.comparison.runner import compare as run_comparison
    from spinlock.errors import SpinlockError
    from spinlock.report.html import require_report_libraries

    terminal = Terminal.open(verbosity)
    try:
        require_report_libraries()
        page = True
    except SpinlockError as error:
        page = False
        terminal.remark(f"note: no compare.html will be written: {error}")

    def saved(path: Path) -> None:
        session.saved = path
        session.resume_command = shlex.join(["spinlock", *_without_fresh(session.arguments)])

    with ComparisonProgress(terminal, on_saved=saved) as progress:
        record = run_comparison(
            config, settings, folder, listener=progress, fresh=fresh, keep_models=keep_models
        )
    if page:
        from spinlock.comparison.page import write_page

        written = write_page(record, config)
        terminal.remark(f"report: {written}")
    _print(record, terminal, as_json=as_json)
    terminal.remark(f"figures: {record.path}")
    terminal.finish()


def _print(record: ComparisonRecord, terminal: Terminal, *, as_json: bool) -> None:
    from spinlock.comparison.table import code_table, error_table, row_table, verdict_lines

    if as_json:
        terminal.result(json.dumps(record.to_dict(), indent=2, allow_nan=False))
        return
    if terminal.verbosity == "verbose":
        terminal.result(row_table(record.wanted))
        terminal.result("")
    if terminal.verbosity != "quiet":
        for table in (error_table(record), code_table(record)):
            terminal.result(table)
            terminal.result("")
    terminal.result("\n".join(verdict_lines(record)))


def _without_fresh(arguments: tuple[str, ...]) -> list[str]:
    """A comparison that goes on must not forget what it has."""
    return [word for word in arguments if word != "--fresh"]
