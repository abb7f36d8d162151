"""The passes over data of docs/scaling.md: seconds on engines, and bytes that parts send back."""

from __future__ import annotations

import gc
import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from spinlock.analysis.statistics import RowReservoir
from spinlock.config import TrainConfig, make_config
from spinlock.data.dataset import open_dataset
from spinlock.engine import IN_PROCESS, Engine, Tell, open_engine
from spinlock.engine.engine import silent
from spinlock.tokens.diagnosis_pass import DiagnosisPass
from spinlock.tokens.diagnosis_rows import dataset_rows, diagnose
from spinlock.tokens.sharded import decode_shards, encode_shards
from spinlock.training.checkpoint import load_model
from spinlock.training.pipeline import train
from spinlock.training.prepare import prepare

PASSES = ("fit", "encode", "decode", "diagnose")
SAMPLE = 2_000
_ROWS_PER_GROUP = 16_384
_FACTORS = 4


@dataclass
class Weighed:
    """An engine that weighs what comes of the parts, pickled.

    The uniform sample of rows that results of ``fit`` carry is left out: it is at most 100,000 rows
    over all parts together, whatever the number of parts.

    Attributes:
        inner: the engine that works.
        largest: of each time that the parts were gone through, the size of the largest result.
    """

    inner: Engine
    largest: list[int] = field(default_factory=list)
    name: str = "local"

    def map(
        self, work: Callable[[Any, Tell], Any], parts: Sequence[Any], tell: Tell = silent
    ) -> Iterator[Any]:
        """As the inner engine."""
        largest = 0
        for result in self.inner.map(work, parts, tell):
            size = len(pickle.dumps(result, protocol=5))
            if not isinstance(result, DiagnosisPass):
                held = getattr(result, "__dict__", {}).values()
                samples = [state for state in held if isinstance(state, RowReservoir)]
                size -= sum(sample.finalise().rows.nbytes for sample in samples)
            # Rows that a run keeps are results themselves.
            largest = max(largest, 0 if isinstance(result, np.ndarray) else size)
            yield result
        self.largest.append(largest)


def write_shards(folder: Path, rows: int, columns: int, files: int) -> str:
    """Factors and noise, float32, as Parquet files of about the same size; a glob over them.

    Eight columns make a family, so that the number of categories grows with that of columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((columns // 8 + 1, _FACTORS, 8), dtype=np.float32)
    names = [f"f{i // 8}::x{i % 8}" for i in range(columns)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    for file in range(files):
        count = rows * (file + 1) // files - rows * file // files
        path = folder / f"part-{file:04d}.parquet"
        with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as out:
            for start in range(0, count, _ROWS_PER_GROUP):
                block = min(_ROWS_PER_GROUP, count - start)
                factors = rng.standard_normal((block, len(mixing), 1, _FACTORS), dtype=np.float32)
                x = (factors @ mixing).reshape(block, -1)[:, :columns]
                x += 0.3 * rng.standard_normal(x.shape, dtype=np.float32)
                arrays = [pa.array(column) for column in np.ascontiguousarray(x.T)]
                out.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return str(folder / "*.parquet")


def config_of(data: str, folder: Path) -> TrainConfig:
    """A run on a sample whose statistics are of all rows."""
    return make_config(
        {
            "dataset_path": data,
            "max_samples": SAMPLE,
            "fit_rows": "all",
            "training": {
                "num_epochs": 1,
                "batch_size": 1024,
                "num_threads": 1,
                "category_assignment": "families",
                "checkpoint_dir": str(folder / "run"),
            },
        }
    )


@dataclass(frozen=True)
class Bench:
    """One data set and a model of it.

    Attributes:
        data: glob over its files.
        folder: for what passes write.
        config: of the model's run.
    """

    data: str
    folder: Path
    config: TrainConfig

    @classmethod
    def make(cls, folder: Path, rows: int, columns: int, files: int) -> Bench:
        """Writes the data and trains for an epoch on a sample."""
        data = write_shards(folder / "data", rows, columns, files)
        config = config_of(data, folder)
        train(config.model_copy(update={"fit_rows": "sample"}))
        return cls(data, folder, config)

    def seconds(self, name: str, engine: Engine) -> float:
        """Wall seconds of a pass; ``decode`` needs the tokens of an ``encode`` before it."""
        saved = load_model(self.folder / "run")
        tokens, rows = self.folder / "tokens", self.folder / "rows"
        outputs = {"encode": tokens, "decode": rows}
        if name in outputs:
            shutil.rmtree(outputs[name], ignore_errors=True)
        gc.collect()
        started = time.perf_counter()
        if name == "fit":
            prepare(self.config, engine=engine)
        elif name == "encode":
            encode_shards(saved, self.data, tokens, engine=engine)
        elif name == "decode":
            decode_shards(saved, tokens, rows, engine=engine)
        else:
            with open_dataset(self.data) as dataset:
                diagnose(saved, dataset_rows(saved, dataset), engine=engine)
        return time.perf_counter() - started


def widths(folder: Path, rows: int, columns: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Every pass in this process at several widths: seconds, and the bytes of a part's result."""
    found = []
    for count in columns:
        bench = Bench.make(folder / f"wide-{count}", rows, count, files=2)
        for name in PASSES:
            weighed = Weighed(IN_PROCESS)
            times = [bench.seconds(name, weighed)]
            times += [bench.seconds(name, IN_PROCESS) for _ in range(repeats - 1)]
            found.append(
                {
                    "pass": name,
                    "rows": rows,
                    "columns": count,
                    "seconds": median(times),
                    "passes_over_the_data": len(weighed.largest),
                    "result_bytes": sum(weighed.largest),
                }
            )
        shutil.rmtree(bench.folder)
    return found


def speed_up(folder: Path, rows: int, columns: int, files: int, repeats: int) -> dict[str, Any]:
    """Every pass in this process, and on Ray with one and with two processors, interleaved."""
    bench = Bench.make(folder / "speed-up", rows, columns, files)
    times: dict[str, dict[str, list[float]]] = {name: {} for name in PASSES}
    for _ in range(repeats):
        for label, processors in (("local", 0), ("ray 1", 1), ("ray 2", 2)):
            with _engine(processors) as engine:
                for name in PASSES:
                    times[name].setdefault(label, []).append(bench.seconds(name, engine))
    shutil.rmtree(bench.folder)
    medians = {name: {k: median(v) for k, v in found.items()} for name, found in times.items()}
    return {
        "rows": rows,
        "columns": columns,
        "files": files,
        "repeats": repeats,
        "passes": [
            {"pass": name, "seconds": found, "efficiency": found["ray 1"] / (2 * found["ray 2"])}
            for name, found in medians.items()
        ],
    }


@contextmanager
def _engine(processors: int) -> Iterator[Engine]:
    if processors == 0:
        yield IN_PROCESS
        return
    import ray

    ray.init(num_cpus=processors, include_dashboard=False, log_to_driver=False)
    try:
        with open_engine("ray") as engine:
            # Workers start when the first tasks come, and import torch then.
            list(engine.map(_nothing, [_Row()] * processors))
            yield engine
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class _Row:
    num_rows: int = 1


def _nothing(part: _Row, tell: Tell) -> int:
    import torch

    del tell
    return part.num_rows + torch.get_num_threads()
