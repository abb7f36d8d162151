"""One run at a time in a checkpoint directory."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from spinlock.errors import CheckpointError

LOCK = ".lock"


class RunLock:
    """An exclusive hold on a directory, which the system drops when the process ends or dies.

    The lock is ``flock``'s, on a file ``.lock`` in the directory.

    Attributes:
        supported: False where the file system has no such locks; nothing is held then.
    """

    def __init__(self) -> None:
        self.supported = True
        self._lock: FileLock | None = None

    def acquire(self, directory: Path) -> None:
        """Holds ``directory``, which exists, and lets go of the one held before.

        Raises:
            CheckpointError: another run holds it.
        """
        self.release()
        # Not the shared lock of this path: a second run in the same process is a second run.
        lock = FileLock(directory / LOCK, timeout=0, is_singleton=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise CheckpointError(
                f"another run is writing to '{directory}': wait for it to end, or give this one "
                "its own training.checkpoint_dir (--output)"
            ) from error
        except NotImplementedError:
            self.supported = False
            return
        except OSError as error:
            raise CheckpointError(
                f"cannot lock '{directory / LOCK}' ({error.strerror}): set "
                "training.checkpoint_dir (--output) to a folder that can be written"
            ) from error
        self._lock = lock

    def release(self) -> None:
        """Lets go of what is held, if anything is."""
        if self._lock is not None:
            self._lock.release(force=True)
            self._lock = None
