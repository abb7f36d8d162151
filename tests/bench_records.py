"""A record with a row of every status, as the tests of what people read of it need."""

from dataclasses import replace

from bench.record import Record, Row, Timing

__all__ = ["CURVE_AXIS", "record"]

CURVE_AXIS = "K"
OWN, FAST, SLOW = "spinlock torch", "fast peer", "slow peer"


def record() -> Record:
    """Two timed cases, wrong indices, figures without times, and a cost curve."""
    return Record(
        "python -m bench --suite all",
        {
            "device": "cpu",
            "cpu": "a|b CPU",
            "cores": 2,
            "versions": {"torch": "2.13.0"},
            "date": "2026-01-02",
        },
        {
            "fp32 FMA GFLOP/s, 1 thread": 100.0,
            "fp32 FMA GFLOP/s, 2 threads": 200.0,
            "read GB/s from memory, 1 thread": 10.0,
            "copy GB/s from memory, 1 thread": 20.0,
        },
        ["another process kept 1.0 of 2 cores busy"],
        [*_case("seed-512", 1.0), *_case("ragged-4096", 8.0), *_exactness(), *_whole_runs()]
        + [row for values in _CURVES for row in values],
    )


def _timings(milliseconds: float, speedup: dict[str, float]) -> tuple[Timing, ...]:
    seconds = 1e-3 * milliseconds
    return (
        Timing("cpu", 1, seconds, 0.9 * seconds, 1.2 * seconds, 20, speedup),
        Timing("wall", 2, 0.7 * seconds, 0.6 * seconds, seconds, 20, {}),
    )


def _case(workload: str, scale: float) -> list[Row]:
    base = Row("lookup", workload, OWN, "B 512, Q 21", flops=2e7 * scale, bytes=1e6 * scale)
    base = replace(base, wrong={"mean 0": 0.0, "mean 1000": 0.0}, peak_bytes=1 << 20)
    return [
        replace(base, timings=_timings(2.0 * scale, {FAST: 0.4, SLOW: 4.5})),
        replace(
            base,
            contender=FAST,
            timings=_timings(scale, {OWN: 2.5, SLOW: 9.0}),
            wrong={"mean 0": 1e-4, "mean 1000": 0.85},
            note="a note of a fast peer",
        ),
        replace(base, contender=SLOW, timings=_timings(9.0 * scale, {}), peak_bytes=None),
        replace(base, contender="wrong peer", status="wrong", note="12% of indices differ"),
        replace(base, contender="absent peer", status="missing", note="pip install absent"),
        replace(base, contender="failed peer", status="failed", note="RuntimeError: no|bar"),
        replace(base, contender="long peer", status="skipped", note="one call would take 99 s"),
    ]


def _exactness() -> list[Row]:
    own = Row("exactness", "seed-512", OWN, "B 512, Q 21", wrong={"mean 0": 0.0, "mean 10": 0.0})
    peer = replace(own, contender=FAST, wrong={"mean 0": 0.5})
    return [replace(own, figures={"cost of mean 0": 1.0, "cost of mean 10": 1.2}), peer]


def _whole_runs() -> list[Row]:
    figures = {"seconds whole process": 10.0, "seconds per epoch": 0.1, "held-out MSE": 0.25}
    own = Row("training", "seed-shape", OWN, "8,000 + 2,000 rows", figures=figures)
    slower = {name: 3.0 * value for name, value in figures.items()}
    return [own, replace(own, contender=SLOW, figures=slower)]


def _curve(contender: str, floor: float) -> list[Row]:
    return [
        Row(
            "curves",
            f"curve-{CURVE_AXIS}-{value}",
            contender,
            f"B 64, {CURVE_AXIS} {value}",
            timings=_timings(floor + 0.01 * value, {}),
            peak_bytes=1000 * value,
            figures={CURVE_AXIS: float(value)},
        )
        for value in (16, 64, 256, 1024, 4096)
    ]


_CURVES = (_curve(OWN, 0.0), _curve(FAST, 0.001))
