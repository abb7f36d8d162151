"""Peak memory of a process and all that it starts, shared pages counted once."""

from __future__ import annotations

import threading
from pathlib import Path

_INTERVAL_SECONDS = 0.25


class TreeMemory:
    """Samples the memory of a process tree until the block ends; Linux only.

    Each process counts with its proportional set size: a page that n processes share is counted
    1/n times in each of them, so that Ray's object store, which every worker maps, counts once.

    Args:
        pid: of the process at the top.

    Attributes:
        peak_bytes: the largest sum seen.
        processes: the largest number of processes seen.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_bytes = self.processes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TreeMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL_SECONDS):
            pids = tree(self.pid)
            self.processes = max(self.processes, len(pids))
            self.peak_bytes = max(self.peak_bytes, sum(map(proportional_bytes, pids)))


def tree(pid: int) -> list[int]:
    """A process and its descendants that are alive.

    >>> import os
    >>> tree(os.getpid())[0] == os.getpid()
    True
    """
    found = [pid]
    for known in found:
        for thread in _entries(Path(f"/proc/{known}/task")):
            try:
                text = (thread / "children").read_text(encoding="ascii")
            except OSError:  # it has ended
                continue
            found += [int(child) for child in text.split()]
    return found


def proportional_bytes(pid: int) -> int:
    """The proportional set size of a process; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    lines = (line.split() for line in text.splitlines())
    return next((1024 * int(words[1]) for words in lines if words[0] == "Pss:"), 0)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
