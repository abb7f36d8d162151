"""Numbers as people read them: three digits, and a unit that fits."""

from __future__ import annotations

__all__ = ["number", "percent", "ratio", "seconds", "size", "span"]

_TIMES = ((1e-9, "ns"), (1e-6, "us"), (1e-3, "ms"), (1.0, "s"))
_SIZES = ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"))


def number(value: float) -> str:
    """Three significant digits, never an exponent above 0.0001.

    >>> [number(v) for v in (0, 1.234, 61.73, 512.0, 65536.0, 0.01234, 2.5e-7)]
    ['0', '1.23', '61.7', '512', '65,536', '0.0123', '2.5e-07']
    """
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.9995 else f"{value:.3g}"


def seconds(value: float) -> str:
    """A duration in the unit that leaves one to three digits before the point.

    >>> seconds(1.234e-5), seconds(0.9999), seconds(75.0)
    ('12.3 us', '1.00 s', '75.0 s')
    """
    scale, unit = _unit(value, _TIMES)
    return f"{number(value / scale)} {unit}"


def span(low: float, high: float, typical: float) -> str:
    """Two durations in the unit that ``seconds(typical)`` has.

    >>> span(1.1e-3, 1.31e-3, 1.2e-3)
    '1.10-1.31'
    """
    scale, _ = _unit(typical, _TIMES)
    return f"{number(low / scale)}-{number(high / scale)}"


def size(value: float) -> str:
    """Bytes, in powers of 1,000.

    >>> size(0), size(1_536_000)
    ('0 B', '1.54 MB')
    """
    scale, unit = _unit(value, _SIZES)
    return f"{number(value / scale)} {unit}"


def ratio(value: float) -> str:
    """How many times; enough digits to tell a small win from a small loss.

    >>> ratio(21.4), ratio(2.314), ratio(1.04), ratio(0.962), ratio(0.0123)
    ('21x', '2.3x', '1.04x', '0.96x', '0.012x')
    """
    if value >= 9.95:
        return f"{value:,.0f}x"
    if value >= 1.995:
        return f"{value:.1f}x"
    return f"{value:.2f}x" if value >= 0.0995 else f"{value:.2g}x"


def percent(share: float) -> str:
    """A share; whatever is not exactly 0 doesn't read as 0.

    >>> percent(0.0), percent(0.8512), percent(1.0), percent(3e-6)
    ('0', '85%', '100%', '0.0003%')
    """
    if share == 0.0:
        return "0"
    if share >= 0.0995:
        return f"{100.0 * share:.0f}%"
    digits = f"{100.0 * share:.2g}"
    return (digits if "e" not in digits else f"{100.0 * share:.9f}".rstrip("0")) + "%"


def _unit(value: float, units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    for scale, unit in reversed(units):
        if abs(value) >= 0.9995 * scale:
            return scale, unit
    return units[0]
