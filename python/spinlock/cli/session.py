"""From exceptions to one message and an exit code."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import typer

from spinlock.cli.streams import Outlet, OutputLost
from spinlock.distributed.speaker import may_speak
from spinlock.errors import ConfigError, SpinlockError
from spinlock.training.interrupts import Terminated, termination_raised

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_BY_SIGNAL = 128  # and its number, as shells have it

_OUT_OF_MEMORY = (
    "out of memory: use fewer rows (max_samples), fewer columns (families), a narrower model "
    "(model.group_hidden_dim, group_embedding_dim, decoder_hidden_dim), fewer codes (num_tokens in "
    "model.levels), smaller batches (training.batch_size) or another machine"
)
# How torch says it, in a RuntimeError; the last one where a size has more than 64 bits.
_ALLOCATION = (
    "DefaultCPUAllocator",
    "enforce fail at alloc_cpu",
    "out of memory",
    "std::bad_alloc",
    "Storage size calculation overflowed",
)


@dataclass
class Session:
    """One command line, from its arguments to its exit code.

    Attributes:
        arguments: as they were given.
        owns_process: the process ends with the command.
        show_traceback: print where in the code an error arose.
        saved: the checkpoint written last; None where none was.
        resume_command: how to go on after an interruption; None where there is nothing to go on
            from.
    """

    arguments: tuple[str, ...] = ()
    owns_process: bool = False
    show_traceback: bool = False
    saved: Path | None = None
    resume_command: str | None = None

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Turns what is raised inside, by SIGTERM too, into a message on stderr and a code."""
        try:
            with termination_raised():
                yield
        except ConfigError as error:
            self._fail(str(error), USAGE)
        except SpinlockError as error:
            self._fail(str(error), FAILED)
        except KeyboardInterrupt as stop:
            self._stop_interrupted(stop)
        except OutputLost as error:
            self._stop_unheard(error)
        except OSError as error:
            self._fail(os_error_text(error), FAILED)
        except Exception as error:
            if is_out_of_memory(error):
                self._fail(_OUT_OF_MEMORY, FAILED)
            kind = type(error).__name__
            self._fail(
                f"{kind}: {error}\nThis was not foreseen. Run again with --traceback to see where "
                "it arose, and report it with that output.",
                FAILED,
            )

    def ignore_interrupts(self) -> None:
        """From here on Ctrl-C could only break into Python's own exit, with a traceback."""
        if self.owns_process and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _stop_interrupted(self, stop: KeyboardInterrupt) -> NoReturn:
        terminated = stop.signal if isinstance(stop, Terminated) else None
        how = f"stopped by {terminated.name}" if terminated else "interrupted"
        if self.saved is not None:
            left = f"'{self.saved}' is saved"
        else:
            left = "nothing unfinished is left" if terminated else "nothing was saved"
        if self.resume_command is not None:
            left += f"; to go on:\n  {self.resume_command}"
        elif terminated:
            left += ": run the command again"
        self.ignore_interrupts()
        if may_speak():
            say(f"{how}; {left}")
        raise typer.Exit(_BY_SIGNAL + terminated if terminated else INTERRUPTED)

    def _stop_unheard(self, error: OutputLost) -> None:
        saved = "" if self.saved is None else f"; '{self.saved}' is saved"
        # A reader that has seen enough, such as head, is no error worth a word.
        if saved or not isinstance(error.cause, BrokenPipeError):
            self._fail(f"{error}{saved}", FAILED)
        raise typer.Exit(FAILED)

    def _fail(self, message: str, code: int) -> None:
        if may_speak():
            if self.show_traceback:
                say(traceback.format_exc().rstrip())
            self.ignore_interrupts()
            say(f"error: {message}")
        raise typer.Exit(code)


def say(message: str) -> None:
    """Writes a line to stderr, if anybody reads it."""
    print(message, file=Outlet(sys.stderr), flush=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what was missing: Python's and numpy's error, or one of torch's.

    >>> is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0."))
    True
    """
    if isinstance(error, MemoryError):
        return True
    # Not torch.OutOfMemoryError, a RuntimeError too: torch may not even be imported.
    return isinstance(error, RuntimeError) and any(part in str(error) for part in _ALLOCATION)


def os_error_text(error: OSError) -> str:
    """What an operating system error says, with the files it is about.

    >>> os_error_text(FileNotFoundError(2, "No such file or directory", "x.npz"))
    "'x.npz': No such file or directory"
    """
    reason = error.strerror or str(error) or type(error).__name__
    names = [repr(str(name)) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: {reason}" if names else reason
