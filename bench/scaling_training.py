"""Training in one and in two processes, for docs/scaling.md: seconds and bytes per step."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from bench.quality_grid import CONFIGS
from spinlock.config import load_config
from spinlock.distributed.world import TRAFFIC
from spinlock.training.callbacks import Callback, EpochRecord
from spinlock.training.pipeline import train


def training(batch_sizes: list[int], epochs: int, repeats: int) -> list[dict[str, Any]]:
    """The model of configs/vqvae/seed_shape.yaml at several batch sizes, interleaved."""
    found = []
    for batch in batch_sizes:
        runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
        for _ in range(repeats):
            for processes in runs:
                runs[processes].append(_launched(processes, batch, epochs))
        seconds = {n: median(run["step_seconds"] for run in same) for n, same in runs.items()}
        found.append(
            {
                **runs[2][0],
                "batch_size": batch,
                "step_seconds": {str(n): value for n, value in seconds.items()},
                "efficiency": seconds[1] / (2 * seconds[2]),
            }
        )
    return found


def _launched(processes: int, batch: int, epochs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        worker = ["-m", "bench.scaling_training", str(batch), str(epochs), str(output)]
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(processes)]
        subprocess.run(
            [sys.executable, *(launcher if processes > 1 else []), *worker],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return found


class _Ends(Callback):
    """What was sent up to the end of each step and epoch."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, int, int]] = []

    def on_step_end(self, epoch: int, step: int) -> None:
        del epoch, step
        self.marks.append(("step", TRAFFIC.messages, TRAFFIC.sent_bytes))

    def on_epoch_end(self, record: EpochRecord) -> None:
        del record
        self.marks.append(("epoch", TRAFFIC.messages, TRAFFIC.sent_bytes))

    def traffic(self) -> dict[str, int]:
        """Messages and bytes of a step, and what an epoch adds to those of its steps."""
        found = {}
        for kind in ("step", "epoch"):
            changes = [(b[1] - a[1], b[2] - a[2]) for a, b in pairwise(self.marks) if b[0] == kind]
            # The first codes and a revival that finds nothing are sent in some of them only.
            messages, sent = (int(median(values)) for values in zip(*changes, strict=True))
            found |= {f"messages_per_{kind}": messages, f"bytes_per_{kind}": sent}
        return found


def _run(batch: int, epochs: int, output: Path) -> None:
    """What each process does; the first one writes what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        changes = [
            ("training.num_epochs", epochs),
            ("training.batch_size", batch),
            ("training.num_threads", 1),
            ("training.checkpoint_dir", folder),
            ("training.checkpoint_every_n_epochs", epochs),
            ("device", "cpu"),
        ]
        config = load_config(CONFIGS / "seed_shape.yaml", changes)
        ends = _Ends()
        result = train(config, callbacks=[ends])
    if os.environ.get("RANK", "0") != "0":
        return
    model = result.model
    steps = len(result.prepared.train) // batch
    # The first epochs compile, allocate and revive more than later ones.
    later = [epoch.seconds for epoch in result.history[len(result.history) // 2 :]]
    record = {
        "step_seconds": median(later) / steps,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "statistics": sum(
            k * (d + 1)
            for k, d in zip(
                model.quantizer.layout.codebook_sizes, model.quantizer.layout.dims, strict=True
            )
        ),
        "quantizers": len(model.quantizer.layout.dims),
        "features": model.config.num_features,
        "steps_per_epoch": steps,
        "epochs": epochs,
        **ends.traffic(),
    }
    output.write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("batch", type=int)
    parser.add_argument("epochs", type=int)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    _run(options.batch, options.epochs, options.output)
