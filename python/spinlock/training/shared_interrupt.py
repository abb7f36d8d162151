"""A signal to any process of a run stops all of them after the same step."""

from __future__ import annotations

import signal
import time
from types import FrameType

from spinlock.training.interrupts import GracefulInterrupt, stopping

# torchrun passes a Ctrl-C on to processes that the terminal has already told.
_SAME_SIGNAL_SECONDS = 5.0


class SharedInterrupt(GracefulInterrupt):
    """As :class:`GracefulInterrupt`, but ``requested`` only when all processes know.

    A signal repeated within 5 seconds is the same one.

    Attributes:
        signalled: one has come to this process.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signalled = False
        self._since = 0.0

    @property
    def terminated(self) -> bool:
        """The signal that has come to this process is SIGTERM."""
        return self.signal_name == signal.SIGTERM.name

    def agree(self, *, terminated: bool) -> None:
        """All processes have heard that a signal has come to one of them, and if it was SIGTERM."""
        self.requested = True
        heard = signal.SIGTERM.name if terminated else "a signal to another process"
        self.signal_name = self.signal_name or heard

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signalled and now - self._since > _SAME_SIGNAL_SECONDS:
            raise stopping(signal.Signals(number).name)
        if not self.signalled:
            self.signalled, self._since = True, now
            self.signal_name = signal.Signals(number).name
