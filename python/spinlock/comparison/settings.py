"""What a comparison is asked to do, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinlock.analysis._names import unknown
from spinlock.analysis.strategies import strategy_names
from spinlock.errors import ConfigError

UNIFORM, OWN = "uniform", "config"
UNIFORM_RATIOS = (0.5, 1.0, 1.5)

PEERS = {
    "pca_kmeans": "per category: PCA and residual k-means, no network",
    "joint_rq": "all features together: PCA and faiss' residual quantizer, beam 16, no network",
    "fsq": "finite scalar quantization in the same model",
}
"""Rows that no strategy makes, and what they are."""


@dataclass(frozen=True)
class ComparisonSettings:
    """A comparison in names and numbers; :func:`comparison_settings` makes and checks it.

    Attributes:
        strategies: in the order of the table.
        baseline: the one of them that differences are taken against.
        peers: names of ``PEERS``.
        seeds: each is a split and a run of every strategy.
        folds: parts that each seed's rows are cut into; None: the configuration's own split.
        bits: bits per row of every strategy; None: those of the uniform plan.
    """

    strategies: tuple[str, ...]
    baseline: str
    peers: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: int | None = None
    bits: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Strategies, then peers."""
        return self.strategies + self.peers

    @property
    def splits(self) -> tuple[tuple[int, int | None], ...]:
        """(seed, fold), every one of which gives a row per name; fold None without folds."""
        folds = [None] if self.folds is None else list(range(self.folds))
        return tuple((seed, fold) for seed in self.seeds for fold in folds)


def all_strategies() -> tuple[str, ...]:
    """``uniform``, then every strategy that a configuration may name."""
    return (UNIFORM, *strategy_names())


def comparison_settings(
    *,
    strategies: str | Sequence[str] | None = None,
    baseline: str | None = None,
    peers: str | Sequence[str] | None = None,
    num_seeds: int = 3,
    first_seed: int = 0,
    folds: int | None = None,
    bits: float | None = None,
) -> ComparisonSettings:
    """The settings that a command line or a caller asks for.

    Args:
        strategies: names, or one text with commas; ``config`` is what the configuration says
            itself, such as strategies per level or ratios per category; None: all but that.
        baseline: one of them; None: the first.
        peers: names of ``PEERS`` or one text with commas; ``none``: no peers; None: all.
        num_seeds: 1 or more.
        first_seed: the seeds count up from it.
        folds: 2 or more; None: the configuration's own split.
        bits: bits per row; None: those of the uniform plan.

    Raises:
        ConfigError: a name that is unknown or given twice, a baseline that is not compared, or a
            number out of range.

    >>> found = comparison_settings(strategies="uniform,balanced", num_seeds=2, folds=2)
    >>> found.baseline, found.splits
    ('uniform', ((0, 0), (0, 1), (1, 0), (1, 1)))
    """
    known = (*all_strategies(), OWN)
    chosen = all_strategies() if strategies is None else _names("--strategies", strategies)
    for name in chosen:
        if name in PEERS:
            raise ConfigError(
                f"--strategies: {name!r} is no strategy but a peer: name it in --peers"
            )
        if name not in known:
            raise ConfigError(f"--strategies: {unknown('strategy', name, known)}")
    others = _peers(peers)
    if len(chosen) + len(others) < 2:
        raise ConfigError(
            f"there is nothing to compare {chosen[0]!r} with: name a second strategy in "
            "--strategies, or a peer in --peers"
        )
    against = chosen[0] if baseline is None else baseline
    if against not in chosen:
        raise ConfigError(
            f"--baseline: {against!r} is not compared; expected one of {', '.join(chosen)}: add it "
            "to --strategies or name another"
        )
    if num_seeds < 1:
        raise ConfigError(f"--seeds: expected a number of seeds, at least 1, got {num_seeds}")
    if folds is not None and folds < 2:
        raise ConfigError(
            f"--folds: expected at least 2, got {folds}: leave it out for the configuration's own "
            "split"
        )
    if bits is not None and not 0.0 < bits < float("inf"):
        raise ConfigError(f"--bits: expected a number of bits per row above 0, got {bits:g}")
    return ComparisonSettings(
        strategies=chosen,
        baseline=against,
        peers=others,
        seeds=tuple(range(first_seed, first_seed + num_seeds)),
        folds=folds,
        bits=bits,
    )


def _peers(peers: str | Sequence[str] | None) -> tuple[str, ...]:
    if peers is None:
        return tuple(PEERS)
    if peers in ("none", ()):
        return ()
    chosen = _names("--peers", peers)
    for name in chosen:
        if name not in PEERS:
            raise ConfigError(f"--peers: {unknown('peer', name, [*PEERS, 'none'])}")
    return chosen


def _names(flag: str, given: str | Sequence[str]) -> tuple[str, ...]:
    listed = given.split(",") if isinstance(given, str) else list(given)
    names = tuple(name.strip() for name in listed)
    if not all(names):
        raise ConfigError(
            f"{flag}: expected names with commas between them, such as uniform,balanced; got "
            f"{given!r}"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{flag}: {', '.join(twice)} given twice: name each once")
    return names
