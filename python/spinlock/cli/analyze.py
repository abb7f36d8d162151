"""``spinlock analyze``: everything up to the first step, and the plan."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spinlock.cli import options as opt
from spinlock.cli.session import Session
from spinlock.errors import ConfigError

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


def analyze(
    context: typer.Context,
    config: opt.ConfigOption,
    input_path: opt.InputOption = None,
    device: opt.DeviceOption = None,
    seed: opt.SeedOption = None,
    assignments: opt.SetOption = None,
    recompute_ratios: opt.RecomputeOption = False,
    curve: Annotated[
        bool,
        typer.Option(
            "--curve", help="Measure and show what more or fewer bits would buy: error by bits."
        ),
    ] = False,
    figure: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw that curve into FILE, .svg or .png."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --figure replace a file of any kind.")
    ] = False,
    engine: opt.EngineOption = "local",
    address: opt.AddressOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    verbose: opt.VerboseOption = False,
    quiet: opt.QuietOption = False,
    traceback: opt.TracebackOption = False,  # noqa: ARG001
) -> None:
    """Show the plan of a run without training it.

    Loads, cleans, categorises and plans as train-vqvae would, and initialises the model; trains
    nothing, and writes nothing but what --figure names.
    """
    session = context.find_object(Session) or Session()
    flags = {"input": input_path, "device": device, "seed": seed}
    with session.reporting():
        loaded = opt.load(config, flags, assignments, recompute_ratios=recompute_ratios)
        verbosity = opt.verbosity(loaded, verbose=verbose, quiet=quiet)
        drawing = None if figure is None else _drawing(figure, overwrite=overwrite)
        print_analysis(
            loaded,
            verbosity,
            recompute_ratios=recompute_ratios,
            as_json=as_json,
            with_curve=curve or figure is not None,
            drawing=drawing,
            engine=engine,
            address=address,
        )


def print_analysis(
    config: TrainConfig,
    verbosity: str,
    *,
    recompute_ratios: bool,
    as_json: bool = False,
    with_curve: bool = False,
    drawing: Path | None = None,
    engine: str = "local",
    address: str | None = None,
) -> None:
    """Runs the pipeline up to the first step and prints what came out.

    Args:
        config: a run's configuration.
        verbosity: quiet, normal or verbose.
        recompute_ratios: measure the ratios although the configuration carries computed ones.
        as_json: print one JSON document instead of tables.
        with_curve: measure errors against bits as well.
        drawing: the file to draw them into, if any.
        engine, address: what reads and measures the data, as in
            :func:`~spinlock.engine.open_engine`.

    Raises:
        SpinlockError: whatever a run with this configuration would raise before it.
        OutputLost: standard output cannot be written to.
    """
    from spinlock.cli.announcer import Announcer
    from spinlock.cli.plan import prepared_json, prepared_lines, print_plan
    from spinlock.cli.terminal import Terminal
    from spinlock.engine import open_engine
    from spinlock.report.budget_text import budget_table
    from spinlock.report.figure_files import write_budget_figure
    from spinlock.training.pipeline import analyze as prepare_run
    from spinlock.training.planning import budget_curve_of

    terminal = Terminal.open(verbosity)
    with (
        Announcer(terminal, interval_seconds=config.logging.interval_seconds) as announcer,
        open_engine(engine, address) as worker,
    ):
        prepared = prepare_run(
            config, on_event=announcer.event, recompute_ratios=recompute_ratios, engine=worker
        )
        found = budget_curve_of(prepared) if with_curve else None
    if as_json:
        tree = prepared_json(prepared)
        if found is not None:
            tree["curve"] = asdict(found)
        terminal.result(json.dumps(tree, indent=2, allow_nan=False))
    else:
        terminal.result("\n".join(prepared_lines(prepared)))
        print_plan(prepared.plan, terminal)
        if found is not None:
            terminal.result("")
            terminal.result(budget_table(found, prepared.plan.bits, prepared.num_features))
    if found is not None and drawing is not None:
        write_budget_figure(found, prepared.plan.bits, drawing)
        terminal.remark(f"figure: {drawing}")
    written = "nothing was written" if drawing is None else "nothing else was written"
    if not as_json:
        terminal.remark(f"nothing was trained and {written}")
    terminal.finish()


def _drawing(figure: str, *, overwrite: bool) -> Path:
    """The file that ``--figure`` names, if a figure may be written there.

    Raises:
        ConfigError: no picture's name, in no folder, or a file that is no figure of spinlock.
    """
    from spinlock.config.paths import expand_user
    from spinlock.report.files import check_replaceable
    from spinlock.report.html import require_report_libraries

    path = Path(expand_user(figure, "--figure"))
    if path.suffix.lower() not in (".svg", ".png"):
        raise ConfigError(f"--figure: '{path}' must end in .svg or .png")
    require_report_libraries()
    check_replaceable(path, overwrite=overwrite)
    return path
