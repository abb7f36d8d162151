"""``spinlock train-vqvae``: from a configuration to a checkpoint folder."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spinlock.cli import options as opt
from spinlock.cli.session import Session
from spinlock.distributed.launch import launched_world_size, rank_of_launch
from spinlock.errors import ConfigError
from spinlock.training.interrupts import stopping

if TYPE_CHECKING:
    from spinlock.cli.terminal import Terminal
    from spinlock.config import TrainConfig
    from spinlock.training.pipeline import TrainResult


def train_vqvae(
    context: typer.Context,
    config: opt.ConfigOption,
    input_path: opt.InputOption = None,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="DIR", help="Checkpoint directory of the run."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Number of epochs.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help="Rows per step.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="RATE", help="Learning rate.")
    ] = None,
    device: opt.DeviceOption = None,
    seed: opt.SeedOption = None,
    assignments: opt.SetOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="[DIR]",
            help="Continue a run: the latest checkpoint of the checkpoint directory, or of DIR, "
            "or DIR itself.",
        ),
    ] = None,
    recompute_ratios: opt.RecomputeOption = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Do everything up to the first step, print the plan, write nothing."
        ),
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
    """Train a VQ-VAE as a configuration says.

    Flags stand for keys of the configuration and win over the file; --set wins over flags.
    Ctrl-C finishes the step, saves, and says how to go on.
    """
    session = context.find_object(Session) or Session()
    flags = {
        "input": input_path,
        "output": output,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "device": device,
        "seed": seed,
    }
    with session.reporting():
        resume = None if resume is None else opt.resume_folder(resume)
        loaded = opt.load(config, flags, assignments, recompute_ratios=recompute_ratios)
        verbosity = opt.verbosity(loaded, verbose=verbose, quiet=quiet)
        if dry_run and resume is not None:
            raise ConfigError("--dry-run looks at a new run: give it without --resume")
        if dry_run:
            from spinlock.cli.analyze import print_analysis

            print_analysis(
                loaded,
                verbosity,
                recompute_ratios=recompute_ratios,
                as_json=as_json,
                engine=engine,
                address=address,
            )
        else:
            _train(
                loaded,
                verbosity,
                session,
                resume=resume,
                recompute_ratios=recompute_ratios,
                as_json=as_json,
                engine=engine,
                address=address,
            )


def _train(
    config: TrainConfig,
    verbosity: str,
    session: Session,
    *,
    resume: str | None,
    recompute_ratios: bool,
    as_json: bool,
    engine: str,
    address: str | None,
) -> None:
    """Runs the training.

    Raises:
        KeyboardInterrupt: a signal ended it; its last checkpoint is saved.
    """
    if resume is not None:
        session.resume_command = shlex.join(["spinlock", *session.arguments])
    from spinlock.cli.progress import TrainingProgress
    from spinlock.cli.terminal import Terminal
    from spinlock.engine import open_engine
    from spinlock.training.pipeline import train

    leads = rank_of_launch() == 0
    terminal = Terminal.open(verbosity if leads else "quiet")

    def saved(path: Path) -> None:
        session.saved = path
        session.resume_command = resume_command(session.arguments)

    with (
        TrainingProgress(
            terminal,
            interval_seconds=config.logging.interval_seconds,
            on_saved=saved,
            show_plan=not as_json,
        ) as progress,
        # Of several processes the first prepares the run for all.
        open_engine(engine, address) if leads else open_engine() as worker,
    ):
        result = train(
            config,
            resume=resume,
            recompute_ratios=recompute_ratios,
            callbacks=[progress],
            engine=worker,
        )
    if result.signal_name is not None:
        raise stopping(result.signal_name)
    if leads:
        if as_json:
            from spinlock.cli.results import result_json

            terminal.result(json.dumps(result_json(result), indent=2, allow_nan=False))
        else:
            print_result(result, terminal)
        terminal.finish()


def print_result(result: TrainResult, terminal: Terminal) -> None:
    """Table and summary; a quiet run gives the checkpoint's path alone."""
    from spinlock.cli.results import measured_rows, result_table, summary_lines

    if terminal.verbosity == "quiet":
        terminal.result(str(result.checkpoint))
        return
    if result.metrics is not None:
        terminal.result(result_table(result.prepared.plan, result.metrics, measured_rows(result)))
    terminal.result("\n".join(summary_lines(result)))


def resume_command(arguments: tuple[str, ...]) -> str:
    """The command line that continues the run which ``arguments`` started or continued.

    >>> resume_command(("train-vqvae", "--config", "my run.yaml", "--resume", "old/epoch_0010"))
    "spinlock train-vqvae --config 'my run.yaml' --resume"
    """
    kept: list[str] = []
    words = iter(opt.give_resume_a_value(arguments))
    for word in words:
        if word == "--resume":
            next(words, None)
        elif not word.startswith("--resume="):
            kept.append(word)
    return shlex.join([*_launcher(), *kept, "--resume"])


def _launcher() -> list[str]:
    """What starts the command: under torchrun that, for as many processes again."""
    if launched_world_size() == 1:
        return ["spinlock"]
    nodes = os.environ.get("GROUP_WORLD_SIZE", "1")
    here = os.environ.get("LOCAL_WORLD_SIZE", "1")
    several = [] if nodes == "1" else ["--nnodes", nodes]
    return ["torchrun", *several, "--nproc-per-node", here, "-m", "spinlock"]
