"""Ctrl-C, SIGTERM, a lost terminal: finish the step, save, return; a second one aborts at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class GracefulInterrupt:
    """Within the ``with`` block a first signal only sets :attr:`requested`.

    A second signal raises ``KeyboardInterrupt`` wherever the program is.  Signal handlers belong
    to the main thread: in any other thread this changes nothing and :attr:`requested` stays
    False.  The handlers found on entry are put back on exit.

    Attributes:
        requested: a signal has come.
        signal_name: its name, such as ``SIGINT``, or None.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal_name: str | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> GracefulInterrupt:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # A shell may have a background job ignore Ctrl-C, and nohup has it ignore SIGHUP.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            # None: a handler that was not installed from Python and cannot be put back.
            if handler is not None:
                signal.signal(number, handler)
        self._previous.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self.signal_name = signal.Signals(number).name
