"""All contenders by name: spinlock's own first, then the peers."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence

from bench.errors import BenchError
from bench.peers.contender import Contender
from bench.peers.cuvs_brute_force import CuvsBruteForce
from bench.peers.faiss_flat import FaissFlat, FaissReused
from bench.peers.flash_kmeans import FlashKmeans
from bench.peers.numkong_dots import NumKongBfloat16, NumKongDots
from bench.peers.sklearn_argmin import SklearnArgmin
from bench.peers.spinlock_rows import spinlock_contenders
from bench.peers.torch_loop import CompiledLoop, HalfLoop, Tf32Loop, TorchLoop
from bench.peers.vector_quantize import VectorQuantizeLoop

__all__ = ["contenders", "peer_versions"]

_PEERS: tuple[type[Contender], ...] = (
    TorchLoop,
    CompiledLoop,
    Tf32Loop,
    HalfLoop,
    VectorQuantizeLoop,
    FaissFlat,
    FaissReused,
    SklearnArgmin,
    NumKongDots,
    NumKongBfloat16,
    FlashKmeans,
    CuvsBruteForce,
)

# Beginnings of the names that peers have in the suites analysis and training alone.
_ELSEWHERE = ("numpy", "scipy", "module_loop", "pca-rq")

# As packages are called; the first that is installed counts.
_PACKAGES: dict[str, tuple[str, ...]] = {
    "vector-quantize-pytorch": ("vector-quantize-pytorch",),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss"),
    "scikit-learn": ("scikit-learn",),
    "numkong": ("numkong",),
    "flash-kmeans": ("flash-kmeans",),
    "cuvs": ("cuvs-cu13", "cuvs-cu12", "cuvs"),
    "triton": ("triton", "pytorch-triton"),
}


def contenders(names: Sequence[str] | None) -> list[Contender]:
    """Spinlock's own, always, and the peers that are asked for, in printing order.

    Args:
        names: of peers, or of single ones of spinlock's; a whole name means that one, the
            beginning of a name all that begin so, upper and lower case alike.  None is all, an
            empty list or ``none`` no peer.

    Raises:
        BenchError: a name with which no contender begins.

    >>> [c.name for c in contenders(["vector", "SKLEARN"]) if not c.ours]
    ['vector-quantize-pytorch', 'sklearn argmin']
    >>> [c.name for c in contenders(["torch loop"]) if not c.ours]
    ['torch loop']
    """
    own, peers = spinlock_contenders(), [peer() for peer in _PEERS]
    if names is None:
        return own + peers
    wanted = [name for name in names if name.casefold() != "none"]
    known = [contender.name for contender in own + peers]
    for name in wanted:
        elsewhere = any(each.startswith(name) or name.startswith(each) for each in _ELSEWHERE)
        if not elsewhere and not any(each.casefold().startswith(name.casefold()) for each in known):
            names = ", ".join(map(repr, (*known, *_ELSEWHERE)))
            raise BenchError(
                f"--peers: expected the beginning of one of {names}, or none, got {name!r}; "
                "correct it or leave --peers out for all"
            )
    whole = {name.casefold() for name in known}
    chosen_own = [contender for contender in own if _meant(contender, wanted, whole)]
    return (chosen_own or own) + [peer for peer in peers if _meant(peer, wanted, whole)]


def peer_versions() -> Mapping[str, str | None]:
    """Package -> installed version, None where there is none; nothing is imported."""
    return {name: _version(packages) for name, packages in _PACKAGES.items()}


def _meant(contender: Contender, wanted: Sequence[str], whole: set[str]) -> bool:
    """Whether a whole name is this contender's, or the beginning of a name is its beginning."""
    name = contender.name.casefold()
    folded = [each.casefold() for each in wanted]
    return any(name == each or (each not in whole and name.startswith(each)) for each in folded)


def _version(packages: Sequence[str]) -> str | None:
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
