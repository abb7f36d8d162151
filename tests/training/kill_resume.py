"""Kills training with SIGKILL at random moments, resumes it, compares the result bit for bit.

    python tests/training/kill_resume.py --kills 10 [--config x.yaml] [--seed 0]

One run is left alone; a second is killed and resumed again and again, and a new one is started
whenever it finishes before its kill.  Every finished run must equal the first in each byte of the
model, the optimizer's state and the preprocessing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

CONFIG = """
dataset_path: builtin:digits
model:
  compression_ratios: auto
  dropout: 0.1
training:
  num_epochs: 12
  batch_size: 64
  checkpoint_every_n_epochs: 1
  keep_checkpoints: 2
"""

# Every attempt is a process of its own, forked from a server that has only imported.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["spinlock.training.pipeline"])


def attempt(config_path: str, directory: str, begun: Connection) -> None:
    """From the start, or from the latest checkpoint where there is one."""
    from spinlock.config import load_config
    from spinlock.training.callbacks import Callback, RunInfo
    from spinlock.training.pipeline import train

    class Begin(Callback):
        def on_train_begin(self, run: RunInfo) -> None:
            begun.send(f"training from epoch {run.first_epoch}")

    config = load_config(config_path, {"training.checkpoint_dir": directory})
    latest = (Path(directory) / "latest").exists()
    train(config, resume="latest" if latest else None, callbacks=[Begin()])


def start(config: Path, directory: Path) -> ForkServerProcess:
    """Starts an attempt and waits for its first step."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=attempt, args=(str(config), str(directory), sender))
    process.start()
    sender.close()
    try:
        print(f"    {receiver.recv()}")
    except EOFError:
        print("    nothing left to train")
    return process


def finish(process: ForkServerProcess) -> None:
    """Waits for the end of an attempt, which must be a good one."""
    process.join()
    if process.exitcode != 0:
        sys.exit(f"a training process ended with {process.exitcode}")


def fingerprint(directory: Path) -> dict[str, bytes | str]:
    """What has to be equal: every tensor, and the history but for its seconds."""
    folder = directory / (directory / "latest").read_text().strip()
    found: dict[str, bytes | str] = {p.name: p.read_bytes() for p in folder.glob("*.safetensors")}
    history = json.loads((folder / "history.json").read_text())
    for entry in history:
        del entry["seconds"]
    return {**found, "history": json.dumps(history), "folder": folder.name}


def compare(reference: dict[str, bytes | str], other: dict[str, bytes | str]) -> None:
    """Ends the program where anything differs."""
    different = [k for k in reference.keys() | other.keys() if reference.get(k) != other.get(k)]
    if different:
        sys.exit(f"not equal to the run that was never killed: {sorted(different)}")
    print("  finished; equal to the run that was never killed, bit for bit")


def main() -> None:
    """Runs the reference, then kills and resumes until there were enough kills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        config = arguments.config or Path(folder) / "config.yaml"
        if arguments.config is None:
            config.write_text(CONFIG)
        print("never killed:")
        process = start(config, Path(folder) / "reference")
        began = time.monotonic()
        finish(process)
        length = time.monotonic() - began
        reference = fingerprint(Path(folder) / "reference")
        print(f"  {length:.1f} s of training")
        run, kills = Path(folder) / "killed", 0
        while kills < arguments.kills:
            process = start(config, run)
            moment = moments.uniform(0.0, length / 2)
            process.join(moment)
            if process.is_alive():
                process.kill()
                process.join()
                kills += 1
                print(f"  kill {kills} after {moment:.2f} s")
            else:
                finish(process)
                compare(reference, fingerprint(run))
                shutil.rmtree(run)
        finish(start(config, run))
        compare(reference, fingerprint(run))
    print(f"{kills} kills")


if __name__ == "__main__":
    main()
