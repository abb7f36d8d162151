"""``python -m bench``: what it can be asked, and how a run goes."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from bench.errors import BenchError, Unavailable
from bench.limits.cpu import cpu_limits
from bench.limits.cuda import cuda_limits
from bench.machine import cache_sizes, environment
from bench.measure.memory import settle_allocator
from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.peers.registry import contenders, peer_versions
from bench.record import Record, Row
from bench.render import markdown, plots, terminal
from bench.suites.registry import QUICK_SUITES, SUITES
from bench.workloads import GROUPS, Workload, find_workloads, load_workloads

__all__ = ["main"]

_DEFAULT_SUITES = ("lookup", "train-step", "backward")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; returns the exit code.

    0: done.  1: the gate refused one of spinlock's own results.  2: a request that cannot be
    run.  130: interrupted, with what was measured until then written as asked.
    """
    options = _parser().parse_args(arguments)
    settle_allocator()
    try:
        if options.render:
            for page in options.render:
                page.write_text(
                    markdown.rendered(page.read_text(encoding="utf-8")), encoding="utf-8"
                )
            return 0
        if options.show is not None:
            return _finished(Record.load(options.show), options)
        settings = _settings(options)
        if options.list:
            _list(settings)
            return 0
        return _measured(settings, options, arguments)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _measured(
    settings: Options, options: argparse.Namespace, arguments: Sequence[str] | None
) -> int:
    names = options.suite or (QUICK_SUITES if settings.quick else _DEFAULT_SUITES)
    names = list(SUITES) if "all" in names else names
    limits, notes = _limits(settings)
    rows: list[Row] = []
    interrupted = False
    with NoiseWatch(settings.threads) as watch:
        try:
            for name in names:
                _run(name, settings, watch, rows)
        except KeyboardInterrupt:
            interrupted = True
            notes.append("interrupted: the suites after the last row were not run")
        noise = notes + watch.sentences()
    asked = sys.argv[1:] if arguments is None else list(arguments)
    record = Record(
        f"python -m bench {shlex.join(asked)}".strip(),
        environment(settings.device, settings.threads, peer_versions()),
        limits,
        noise,
        rows,
    )
    code = _finished(record, options)
    return 130 if interrupted else code


def _run(name: str, settings: Options, watch: NoiseWatch, rows: list[Row]) -> None:
    """Appends a suite's rows, workload by workload, so that an interrupted run keeps them."""
    found = SUITES[name](settings, watch)
    for workload, group in groupby(found, key=lambda row: row.workload):
        measured = list(group)
        rows += measured
        print(f"bench: {name} {workload}: {len(measured)} rows", file=sys.stderr, flush=True)


def _finished(record: Record, options: argparse.Namespace) -> int:
    """Shows and writes a record; 1 where one of spinlock's own rows is wrong."""
    if options.json == "-":
        sys.stdout.write(record.to_json())
    else:
        terminal.show(record)
    written = (
        (options.json if options.json != "-" else None, record.to_json),
        (options.markdown, lambda: markdown.markdown(record)),
    )
    for path, text in written:
        if path is not None:
            _write(Path(path), text())
    if options.plot is not None:
        plots.plot(record, options.plot)
    own = [row for row in record.rows if row.contender.startswith("spinlock")]
    return int(any(row.status in ("wrong", "failed") for row in own))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise BenchError(f"{path}: cannot be written ({error.strerror}); name another") from error


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
    peers = options.peers
    contenders(peers)  # an unknown name ends here, before anything is measured
    settings = Options(
        workloads=tuple(dict.fromkeys(workloads)),
        device=options.device,
        threads=options.threads,
        peers=peers,
        cache_bytes=2 * max(cache_sizes().values(), default=32 << 20),
    )
    return Options.made_quick(settings) if options.quick else settings


def _workloads(name: str, device: str) -> list[Workload]:
    if name in (*GROUPS, "all"):
        return find_workloads(name, device)
    if Path(name).suffix in (".yaml", ".yml"):
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Throughput of ragged vector quantization against peers and the machine's "
        "limits: interleaved, gated by a float64 reference. docs/performance.md explains it.",
    )
    add = parser.add_argument
    suites = f"{', '.join(SUITES)} or all; default {', '.join(_DEFAULT_SUITES)}"
    add("--suite", nargs="+", choices=[*SUITES, "all"], metavar="SUITE", help=suites)
    workloads = f"{', '.join(GROUPS)}, all, a workload's name, or a YAML file of your own sizes"
    add("--workload", nargs="+", metavar="W", help=workloads)
    add("--device", choices=["cpu", "cuda"], default="cpu")
    threads = "threads of the wall-clock pass (default: all cores); the other pass has one"
    add("--threads", type=_positive, default=os.cpu_count() or 1, metavar="N", help=threads)
    add("--quick", action="store_true", help="about a minute: the seed bank, short samples")
    add("--peers", nargs="+", metavar="NAME", help="these peers only (prefixes do), or none")
    add("--list", action="store_true", help="what there is, and which peers are missing")
    add("--json", nargs="?", const="-", metavar="FILE", help="the record, to FILE or the screen")
    add("--markdown", type=Path, metavar="FILE", help="the tables as Markdown")
    add("--plot", type=Path, metavar="FILE.png", help="bars against peers, roofline, curves")
    add("--show", type=Path, metavar="FILE", help="show a record instead of measuring")
    add("--render", type=Path, nargs="+", metavar="PAGE", help="fill in the tables of pages")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be 1 or more")
    return value
