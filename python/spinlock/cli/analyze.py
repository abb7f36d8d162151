"""``spinlock analyze``: everything up to the first step, and the plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from spinlock.cli import options as opt
from spinlock.cli.session import Session

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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    verbose: opt.VerboseOption = False,
    quiet: opt.QuietOption = False,
    traceback: opt.TracebackOption = False,  # noqa: ARG001
) -> None:
    """Show the plan of a run without training it.

    Loads, cleans, categorises and plans as train-vqvae would, and initialises the model; trains
    nothing and writes nothing.
    """
    session = context.find_object(Session) or Session()
    flags = {"input": input_path, "device": device, "seed": seed}
    with session.reporting():
        loaded = opt.load(config, flags, assignments, recompute_ratios=recompute_ratios)
        verbosity = opt.verbosity(loaded, verbose=verbose, quiet=quiet)
        print_analysis(loaded, verbosity, recompute_ratios=recompute_ratios, as_json=as_json)


def print_analysis(
    config: TrainConfig, verbosity: str, *, recompute_ratios: bool, as_json: bool = False
) -> None:
    """Runs the pipeline up to the first step and prints what came out.

    Raises:
        SpinlockError: whatever a run with this configuration would raise before it.
        OutputLost: standard output cannot be written to.
    """
    from spinlock.cli.announcer import Announcer
    from spinlock.cli.plan import prepared_json, prepared_lines, print_plan
    from spinlock.cli.terminal import Terminal
    from spinlock.training.pipeline import analyze as prepare_run

    terminal = Terminal.open(verbosity)
    with Announcer(terminal, interval_seconds=config.logging.interval_seconds) as announcer:
        prepared = prepare_run(config, on_event=announcer.event, recompute_ratios=recompute_ratios)
    if as_json:
        document = json.dumps(prepared_json(prepared), indent=2, allow_nan=False)
        terminal.result(document)
    else:
        terminal.result("\n".join(prepared_lines(prepared)))
        print_plan(prepared.plan, terminal)
        terminal.remark("nothing was trained and nothing was written")
    terminal.finish()
