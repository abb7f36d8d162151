"""Kills training with SIGKILL at random moments, resumes it, compares the result bit for bit.

    python tests/training/kill_resume.py --kills 10 [--processes 2] [--config x.yaml] [--seed 0]

One run is left alone; a second is killed and resumed again and again, and a new one is started
whenever it finishes before its kill.  Every finished run must equal the first in each byte of the
model, the optimizer's state and the preprocessing.  Of several processes, which torchrun starts,
now one is killed, now all of them and torchrun as well.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
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


class Forked:
    """An attempt in one process, from the moment of its first step."""

    def __init__(self, config: Path, directory: Path) -> None:
        receiver, sender = PROCESSES.Pipe(duplex=False)
        arguments = (str(config), str(directory), sender)
        self.process = PROCESSES.Process(target=attempt, args=arguments)
        self.process.start()
        sender.close()
        try:
            print(f"    {receiver.recv()}")
        except EOFError:
            print("    nothing left to train")

    def ends_within(self, seconds: float | None) -> bool:
        """Whether the attempt has ended by itself."""
        self.process.join(seconds)
        return not self.process.is_alive()

    @property
    def code(self) -> int | None:
        """Its exit code."""
        return self.process.exitcode

    def kill(self, moments: random.Random) -> str:
        """Ends it, and says whom that meant."""
        del moments
        self.process.kill()
        self.process.join()
        return "the process"


class Launched:
    """An attempt in several processes, from the moment of their first step."""

    def __init__(self, config: Path, directory: Path, processes: int) -> None:
        mark = directory.with_name(f"{directory.name}.begun")
        mark.unlink(missing_ok=True)
        worker = [__file__, "--attempt", str(config), str(directory), str(mark)]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        with tempfile.TemporaryFile() as log:
            self.process = subprocess.Popen(
                [*launcher, "--nproc-per-node", str(processes), *worker],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            while not mark.exists() and self.process.poll() is None:
                time.sleep(0.01)
        print(f"    {mark.read_text() if mark.exists() else 'nothing left to train'}")

    def ends_within(self, seconds: float | None) -> bool:
        """Whether the attempt has ended by itself."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def code(self) -> int | None:
        """The launcher's exit code."""
        return self.process.returncode

    def kill(self, moments: random.Random) -> str:
        """Ends one of the processes, or all of them, and says which."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        workers = sorted(map(int, listed.split()))
        whom = moments.randrange(-1, len(workers))
        with suppress(ProcessLookupError):
            os.kill(self.process.pid if whom < 0 else workers[whom], signal.SIGKILL)
        for worker in workers if whom < 0 else ():
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        self.process.wait()
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            time.sleep(0.01)
        return "all processes" if whom < 0 else f"process {whom}"


def attempt(config_path: str, directory: str, begun: Connection | Path) -> None:
    """From the start, or from the latest checkpoint where there is one."""
    from spinlock.config import load_config
    from spinlock.training.callbacks import Callback, RunInfo
    from spinlock.training.pipeline import train

    class Begin(Callback):
        def on_train_begin(self, run: RunInfo) -> None:
            message = f"training from epoch {run.first_epoch}"
            if isinstance(begun, Path):
                begun.write_text(message)
            else:
                begun.send(message)

    config = load_config(config_path, {"training.checkpoint_dir": directory})
    latest = (Path(directory) / "latest").exists()
    train(config, resume="latest" if latest else None, callbacks=[Begin()])


def finish(process: Forked | Launched) -> None:
    """Waits for the end of an attempt, which must be a good one."""
    process.ends_within(None)
    if process.code != 0:
        sys.exit(f"a training process ended with {process.code}")


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
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--attempt", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.attempt is not None:
        config_path, directory, mark = arguments.attempt
        attempt(config_path, directory, Path(mark))
        return
    moments = random.Random(arguments.seed)

    def start(config: Path, directory: Path) -> Forked | Launched:
        if arguments.processes == 1:
            return Forked(config, directory)
        return Launched(config, directory, arguments.processes)

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
            if process.ends_within(moment):
                finish(process)
                compare(reference, fingerprint(run))
                shutil.rmtree(run)
            else:
                whom = process.kill(moments)
                kills += 1
                print(f"  kill {kills} after {moment:.2f} s: {whom}")
        finish(start(config, run))
        compare(reference, fingerprint(run))
    print(f"{kills} kills")


if __name__ == "__main__":
    main()
