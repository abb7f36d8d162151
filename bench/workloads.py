"""The shapes that are measured: codebooks, dims and rows, without data.

>>> seed = find_workloads("seed", "cpu")[0]
>>> seed.name, seed.num_quantizers, seed.num_rows
('seed-512', 21, 512)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError

__all__ = ["GROUPS", "Workload", "find_workloads", "load_workloads"]

GROUPS = ("seed", "ragged", "single")

SEED_FEATURES = (24, 5, 11, 10, 17, 20, 31)
SEED_RATIOS = (0.31, 0.85, 1.91)


@dataclass(frozen=True)
class Workload:
    """Q codebooks of (K_q, D_q) and the rows of one call.

    Attributes:
        name: unique, as printed.
        group: ``seed``, ``ragged``, ``single``, ``custom`` or ``curve``.
        codebook_sizes: K_q, one per quantizer.
        dims: D_q, one per quantizer.
        num_rows: B.
    """

    name: str
    group: str
    codebook_sizes: tuple[int, ...]
    dims: tuple[int, ...]
    num_rows: int

    @property
    def num_quantizers(self) -> int:
        """Q."""
        return len(self.dims)

    @property
    def input_width(self) -> int:
        """Columns of a packed row: sum of D_q."""
        return sum(self.dims)

    @property
    def code_elements(self) -> int:
        """Sum of K_q * D_q."""
        return sum(k * d for k, d in zip(self.codebook_sizes, self.dims, strict=True))

    @property
    def lookup_flops(self) -> float:
        """One multiply-add per row, code and dimension: the least that a full search does."""
        return 2.0 * self.num_rows * self.code_elements

    @property
    def lookup_bytes(self) -> float:
        """Rows and codebooks read once in float32, int64 indices written."""
        rows = self.num_rows * (4 * self.input_width + 8 * self.num_quantizers)
        return float(rows + 4 * self.code_elements)

    @property
    def train_bytes(self) -> float:
        """Lookup, quantized rows written, and codes and sums read and written once."""
        return (
            self.lookup_bytes + 4.0 * self.num_rows * self.input_width + 16.0 * (self.code_elements)
        )

    @property
    def text(self) -> str:
        """The shape in words."""
        if self.num_quantizers == 1:
            return f"B {self.num_rows:,}, K {self.codebook_sizes[0]:,}, D {self.dims[0]}"
        sizes, dims = _span(self.codebook_sizes), _span(self.dims)
        return f"B {self.num_rows:,}, Q {self.num_quantizers}, K {sizes}, D {dims}"


def _span(values: tuple[int, ...]) -> str:
    least, most = min(values), max(values)
    return f"{least:,}" if least == most else f"{least:,}..{most:,}"


def find_workloads(group: str, device: str) -> list[Workload]:
    """The workloads of a group, or of all groups for ``all``; a GPU gets larger batches.

    Raises:
        BenchError: an unknown group.
    """
    if group == "all":
        return [workload for name in GROUPS for workload in find_workloads(name, device)]
    gpu = device != "cpu"
    if group == "seed":
        return [_seed(rows) for rows in (512, 4096)]
    if group == "ragged":
        return [_ragged(65_536, powers=True)] if gpu else [_ragged(4096, powers=False)]
    if group == "single":
        shapes = [(65_536, 1024, 256), (32_768, 8192, 64), (16_384, 16_384, 8)]
        shapes += [(1_000_000, 16_384, 64)] if gpu else []
        return [Workload(f"single-{b}-{k}-{d}", "single", (k,), (d,), b) for b, k, d in shapes]
    known = ", ".join((*GROUPS, "all"))
    raise BenchError(f"workload: expected one of {known} or a YAML file, got {group!r}")


@lru_cache
def _seed(num_rows: int) -> Workload:
    """Seven categories, three levels, codebook sizes by the published rule `feature_count`."""
    sizes: list[int] = []
    dims: list[int] = []
    for features in SEED_FEATURES:
        base = int(7 * math.log2(features))
        sizes += [base // 4 * 4, max(6, base // 2), max(6, base // 4)]
        dims += [max(4, math.ceil(features * ratio / 4) * 4) for ratio in SEED_RATIOS]
    return Workload(f"seed-{num_rows}", "seed", tuple(sizes), tuple(dims), num_rows)


@lru_cache
def _ragged(num_rows: int, *, powers: bool) -> Workload:
    """32 x 3 codebooks: K log-uniform in 16..1024, D a multiple of 4, log-uniform in 4..128."""
    rng = np.random.default_rng(0)
    sizes = np.exp2(rng.uniform(4, 10, size=96))
    dims = np.exp2(rng.uniform(2, 7, size=96))
    if powers:
        sizes, dims = np.exp2(np.rint(np.log2(sizes))), np.exp2(np.rint(np.log2(dims)))
    return Workload(
        f"ragged-{num_rows}" + ("-pow2" if powers else ""),
        "ragged",
        tuple(int(k) for k in np.rint(sizes)),
        tuple(int(d) for d in np.maximum(4, np.rint(dims / 4) * 4)),
        num_rows,
    )


def load_workloads(path: Path) -> list[Workload]:
    """Workloads of your own: a YAML list of name, codebook_sizes, dims, num_rows.

    A single codebook may be written as two numbers.

    Raises:
        BenchError: a file that is not such a list, naming the entry and the key.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise BenchError(f"{path}: reading YAML needs PyYAML: pip install pyyaml") from error
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; name a YAML file of workloads") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: expected YAML, got {error}") from error
    if not isinstance(entries, list) or not entries:
        raise BenchError(f"{path}: expected a list of workloads, got {type(entries).__name__}")
    found = [_custom(f"{path}, entry {i}", entry) for i, entry in enumerate(entries, start=1)]
    names = [workload.name for workload in found]
    if len(set(names)) < len(names):
        raise BenchError(f"{path}: expected a name per workload, got {names}; make them differ")
    return found


def _custom(where: str, entry: Any) -> Workload:
    keys = {"name", "codebook_sizes", "dims", "num_rows"}
    if not isinstance(entry, dict) or set(entry) != keys:
        raise BenchError(f"{where}: expected the keys {sorted(keys)}, got {entry!r}")
    sizes, dims = (_counts(where, key, entry[key]) for key in ("codebook_sizes", "dims"))
    rows = _counts(where, "num_rows", entry["num_rows"])
    if len(sizes) != len(dims) or len(rows) != 1:
        raise BenchError(
            f"{where}: expected as many codebook_sizes as dims and one num_rows, "
            f"got {len(sizes)}, {len(dims)} and {len(rows)}"
        )
    return Workload(str(entry["name"]), "custom", sizes, dims, rows[0])


def _counts(where: str, key: str, value: Any) -> tuple[int, ...]:
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(type(v) is int and v > 0 for v in listed):
        raise BenchError(f"{where}: {key}: expected positive integers, got {value!r}")
    return tuple(listed)
