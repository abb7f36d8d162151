"""``python -m bench``: what it can be asked, and how a run goes."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bench.errors import BenchError, Unavailable
from bench.limits.cpu import cpu_limits
from bench.limits.cuda import cuda_limits
from bench.machine import cache_sizes, environment
from bench.measure.memory import settle_allocator
from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.outputs import check_outputs, render_pages, show_and_write, write_unfinished
from bench.peers.registry import contenders, peer_versions
from bench.record import Record
from bench.stopping import stoppable
from bench.suites.registry import QUICK_SUITES, SUITES
from bench.workloads import GROUPS, Workload, find_workloads, load_workloads

__all__ = ["main"]

_DEFAULT_SUITES = ("lookup", "train-step", "backward")
_INTERRUPTED = 130
_ENDED = "an error ended the suite"
_YAML = (".yaml", ".yml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; returns the exit code.

    0: done.  1: the gate refused one of spinlock's own results, or an error ended a suite.  2: a
    request that cannot be run.  130: interrupted, with what was measured until then written as
    asked.
    """
    settle_allocator()
    try:
        options = _parser().parse_args(arguments)
        if options.render is not None:
            render_pages(options.render)
            return 0
        check_outputs(options.json, options.markdown, options.plot)
        if options.show is not None:
            return _finished(Record.load(options.show), options)
        settings = _settings(options)
        if options.list:
            _list(settings)
            return 0
        return _measured(settings, options, sys.argv[1:] if arguments is None else arguments)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _measured(settings: Options, options: argparse.Namespace, arguments: Sequence[str]) -> int:
    names = options.suite or (QUICK_SUITES if settings.quick else _DEFAULT_SUITES)
    names = list(SUITES) if "all" in names else names
    machine = environment(settings.device, settings.threads, peer_versions())
    record = Record(_command(arguments), machine, {}, [], [])
    notes: list[str] = []
    with stoppable(), NoiseWatch(settings.threads) as watch:
        try:
            limits, found = _limits(settings)
            record.limits.update(limits)
            notes += found
            for name in names:
                notes += _run(name, settings, watch, record, options.json)
        except KeyboardInterrupt:
            notes.append("interrupted: what would have come after the last row was not measured")
    record.noise[:] = notes + watch.sentences()
    code = _finished(record, options)
    if any(note.startswith(_ENDED) for note in notes):
        return 1
    return _INTERRUPTED if any(note.startswith("interrupted") for note in notes) else code


def _command(arguments: Sequence[str]) -> str:
    """What was measured, without where it was written: a path is nobody else's business.

    >>> _command(["--quick", "--json", "/home/me/run.json", "--suite", "lookup"])
    'python -m bench --quick --suite lookup'
    """
    kept: list[str] = []
    skipping = False
    for word in arguments:
        option = word.partition("=")[0]
        if word.startswith("--"):
            skipping = option in ("--json", "--markdown", "--plot")
        if not skipping:
            kept.append(Path(word).name if Path(word).suffix in _YAML else word)
    return shlex.join(["python", "-m", "bench", *kept])


def _run(
    name: str, settings: Options, watch: NoiseWatch, record: Record, file: str | None
) -> list[str]:
    """Appends a suite's rows to the record one by one, so that a run that ends early keeps them.

    What a contender does wrong is a row; an exception that came through ends this suite alone.
    Returns notes.
    """
    last, begun = "", time.monotonic()
    try:
        for row in SUITES[name](settings, watch):
            record.rows.append(row)
            if row.workload != last:
                last = row.workload
                spent = f"{time.monotonic() - begun:.0f} s"
                print(f"bench: {name} {last}, {spent}", file=sys.stderr, flush=True)
                write_unfinished(record, file)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("bench", "spinlock"):
            raise
        return [f"the suite {name} was not run: it needs the package {error.name}"]
    except BenchError:
        raise
    except Exception as error:
        traceback.print_exc()
        return [f"{_ENDED} {name}, whose last rows are missing: {type(error).__name__}: {error}"]
    return []


def _finished(record: Record, options: argparse.Namespace) -> int:
    """Shows and writes a record; 1 where one of spinlock's own rows is wrong."""
    show_and_write(record, options.json, options.markdown, options.plot)
    own = [row for row in record.rows if row.contender.startswith("spinlock")]
    return int(any(row.status in ("wrong", "failed") for row in own))


def _limits(settings: Options) -> tuple[dict[str, float], list[str]]:
    if settings.device == "cpu":
        return cpu_limits(sorted({1, settings.threads}), settings.quick)
    return cuda_limits(settings.quick), []


def _settings(options: argparse.Namespace) -> Options:
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise BenchError("--device cuda: torch sees no CUDA device; leave it out for the CPU")
    groups = options.workload or (["seed"] if options.quick else ["all"])
    workloads = [w for group in groups for w in _workloads(group, options.device)]
    contenders(options.peers)  # an unknown name ends here, before anything is measured
    settings = Options(
        workloads=tuple(dict.fromkeys(workloads)),
        device=options.device,
        threads=options.threads,
        peers=options.peers,
        cache_bytes=1 if options.in_cache else 2 * max(cache_sizes().values(), default=32 << 20),
    )
    settings = Options.made_quick(settings) if options.quick else settings
    if options.in_cache:
        settings = replace(settings, budget=replace(settings.budget, warm=True))
    if options.seconds is not None:
        settings = replace(settings, budget=replace(settings.budget, seconds=options.seconds))
    return settings if options.rounds is None else replace(settings, rounds=options.rounds)


def _workloads(name: str, device: str) -> list[Workload]:
    if name in (*GROUPS, "all"):
        return find_workloads(name, device)
    if Path(name).suffix in _YAML:
        return load_workloads(Path(name))
    found = [w for w in find_workloads("all", device) if w.name == name]
    if not found:
        names = ", ".join([*GROUPS, "all", *(w.name for w in find_workloads("all", device))])
        raise BenchError(f"--workload: expected one of {names} or a YAML file, got {name!r}")
    return found


def _list(settings: Options) -> None:
    print("suites:", ", ".join(SUITES))
    print("workloads:")
    for workload in settings.workloads:
        print(f"  {workload.name}: {workload.text}")
    print("contenders:")
    for contender in contenders(settings.peers):
        try:
            contender.check_available(settings.device)
            state = "ready"
        except Unavailable as error:
            state = str(error)
        print(f"  {contender.name}: {state}")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in the one line that all errors of the bench have."""

    def error(self, message: str) -> NoReturn:
        raise BenchError(f"{message}; see python -m bench --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m bench",
        # an abbreviated --json would leave its path in the record
        allow_abbrev=False,
        description="Throughput of ragged vector quantization against peers and the machine's "
        "limits: interleaved, gated by a float64 reference. docs/performance.md explains it.",
    )
    add = parser.add_argument
    suites = f"{', '.join(SUITES)} or all; default {', '.join(_DEFAULT_SUITES)}"
    add("--suite", nargs="+", choices=[*SUITES, "all"], metavar="SUITE", help=suites)
    workloads = f"{', '.join(GROUPS)}, all, a workload's name, or a YAML file of your own sizes"
    add("--workload", nargs="+", metavar="W", help=workloads)
    add("--device", choices=["cpu", "cuda"], default="cpu")
    threads = "threads of the wall-clock pass (default: all cores), which 1 leaves out"
    add("--threads", type=_positive, default=os.cpu_count() or 1, metavar="N", help=threads)
    seconds = "of samples per contender and pass (default 2, with --quick 0.12)"
    add("--seconds", type=_seconds, metavar="S", help=seconds)
    rounds = "runs of each contender in the training suite (default 2, with --quick 1)"
    add("--rounds", type=_positive, metavar="N", help=rounds)
    stays = "two batches in turn, which stay in the caches as a model's own output does"
    add("--in-cache", action="store_true", help=stays)
    add("--quick", action="store_true", help="about a minute: the seed bank, short samples")
    add("--peers", nargs="+", metavar="NAME", help="these peers only (prefixes do), or none")
    add("--list", action="store_true", help="what there is, and which peers are missing")
    add("--json", nargs="?", const="-", metavar="FILE", help="the record, to FILE or the screen")
    add("--markdown", type=Path, metavar="FILE", help="the tables as Markdown")
    add("--plot", type=Path, metavar="FILE.png", help="bars against peers, roofline, curves")
    add("--show", type=Path, metavar="FILE", help="show a record instead of measuring")
    pages = "fill in the tables of pages (default: those of this repository)"
    add("--render", type=Path, nargs="*", metavar="PAGE", help=pages)
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return value
