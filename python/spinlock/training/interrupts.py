"""Ctrl-C, SIGTERM, a lost terminal: a run finishes its step, all else cleans up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which whatever cleans up after Ctrl-C cleans up after as well.

    Attributes:
        signal: which of them.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.signal = signal.Signals(number)


_TERMINATING = (signal.SIGTERM, signal.SIGHUP)


def stopping(signal_name: str | None) -> KeyboardInterrupt:
    """What the signal of that name raises.

    >>> [type(stopping(name)).__name__ for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    ['KeyboardInterrupt', 'Terminated', 'Terminated']
    """
    for each in _TERMINATING:
        if each.name == signal_name:
            return Terminated(each)
    return KeyboardInterrupt()


@contextmanager
def termination_raised() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise :class:`Terminated` in the main thread.

    A second one ends the process at once.  A signal that is ignored, as by nohup, or that has a
    handler already, keeps it, and so does one that is given another inside.
    """
    main = threading.current_thread() is threading.main_thread()
    mine = [n for n in _TERMINATING if main and signal.getsignal(n) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number in mine:
            if signal.getsignal(number) is _terminate:
                signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)


class GracefulInterrupt:
    """Within the ``with`` block a first signal only sets :attr:`requested`.

    A second signal raises ``KeyboardInterrupt``, or :class:`Terminated`, wherever the program is.
    Signal handlers belong to the main thread: in any other thread this changes nothing and
    :attr:`requested` stays False.  The handlers found on entry are put back on exit.

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
            raise stopping(signal.Signals(number).name)
        self.requested = True
        self.signal_name = signal.Signals(number).name
