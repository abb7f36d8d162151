"""What the differences mean, in plain words and without more certainty than there is."""

from __future__ import annotations

from collections.abc import Mapping

from spinlock.comparison.spread import CONFIDENCE, PairedChange

# Bits that a difference is not worth mentioning below.
_BITS = 0.1


def verdict(
    name: str,
    baseline: str,
    changes: Mapping[str, PairedChange],
    *,
    bits_over: float = 0.0,
    what: str = "seeds",
) -> str:
    """One sentence on a contender against the baseline; empty where there is nothing to say.

    A change counts where its paired interval leaves out 0.  The worst category decides, then the
    mean; where the two point in opposite directions that is a trade and called one.

    Args:
        name: the contender.
        baseline: what it is compared with.
        changes: ``worst`` and ``mean`` -> the paired change.
        bits_over: bits that the contender has more than the baseline.
        what: what the splits are called.

    >>> worst = PairedChange(-0.23, -0.31, -0.14, lower=3, higher=0, splits=3)
    >>> mean = PairedChange(-0.02, -0.08, 0.05, lower=2, higher=1, splits=3)
    >>> print(verdict("new", "old", {"worst": worst, "mean": mean}))
    new beats old: worst -23% in 3 of 3 seeds, beyond the seed spread (95% interval -31% to -14%);
    mean -2%, within the seed spread (-8% to +5%).
    >>> print(verdict("new", "old", {"worst": mean, "mean": mean}))
    no difference beyond seed noise between new and old: worst -2%, within ...
    """
    if set(changes) != {"worst", "mean"}:
        return ""
    worst, mean = changes["worst"], changes["mean"]
    bits = _bits(bits_over)
    if not any(change.lower or change.higher for change in changes.values()):
        return (
            f"{name} and {baseline} have the same errors on every split: their plans are the same."
        )
    if worst.low is None:
        return (
            f"{name} against {baseline}{bits}: worst {percent(worst.change)}, mean "
            f"{percent(mean.change)} on one split, of which no spread is known: give more seeds "
            "before concluding."
        )
    details = f"{_words('worst', worst, what, first=True)}; {_words('mean', mean, what)}"
    up, down = _directions(changes)
    if up and down:
        return f"{name} trades against {baseline}{bits}: {details}."
    if down == ["mean"]:
        return f"{name} beats {baseline} on the mean alone{bits}: {details}."
    if down:
        return f"{name} beats {baseline}{bits}: {details}."
    if up == ["mean"]:
        return f"{name} is worse than {baseline} on the mean{bits}: {details}."
    if up:
        return f"{name} is worse than {baseline}{bits}: {details}."
    return (
        f"no difference beyond seed noise between {name} and {baseline}{bits}: {details}."
        f"{_hint(worst, what)}"
    )


def percent(change: float) -> str:
    """A relative change in per cent, signed.

    >>> percent(-0.234), percent(0.001), percent(0.06)
    ('-23%', '+0.1%', '+6%')
    """
    return f"{100 * change:+.0f}%" if abs(change) >= 0.0095 else f"{100 * change:+.1f}%"


def _directions(changes: Mapping[str, PairedChange]) -> tuple[list[str], list[str]]:
    """Figures that rose beyond noise, and those that fell."""
    sure = [figure for figure, change in changes.items() if change.beyond_noise]
    up = [figure for figure in sure if changes[figure].change > 0.0]
    return up, [figure for figure in sure if figure not in up]


def _words(figure: str, change: PairedChange, what: str, *, first: bool = False) -> str:
    assert change.low is not None
    assert change.high is not None
    reach = f"{percent(change.low)} to {percent(change.high)}"
    named = first and change.beyond_noise
    interval = f"({CONFIDENCE:.0%} interval {reach})" if named else f"({reach})"
    if not change.beyond_noise:
        return f"{figure} {percent(change.change)}, within the seed spread {interval}"
    count = change.higher if change.change > 0.0 else change.lower
    return (
        f"{figure} {percent(change.change)} in {count} of {change.splits} {what}, beyond the seed "
        f"spread {interval}"
    )


def _hint(worst: PairedChange, what: str) -> str:
    """Where all splits agree and are too few to be sure."""
    if worst.splits not in (worst.lower, worst.higher):
        return ""
    side = "lower" if worst.lower else "higher"
    return (
        f" The worst is {side} in all {worst.splits} {what}, which are too few to be sure: "
        "give more."
    )


def _bits(over: float) -> str:
    if abs(over) < _BITS:
        return ""
    return f" (with {abs(over):.1f} {'more' if over > 0 else 'fewer'} bits)"
