"""Standard streams whose reader may go away: what cannot be written is remembered, not raised."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import TextIO


class OutputLost(Exception):
    """The result could not be written to standard output; its cause is the ``OSError``."""

    def __init__(self, cause: OSError) -> None:
        self.cause = cause
        reason = cause.strerror or str(cause) or type(cause).__name__
        super().__init__(f"cannot write to standard output: {reason}")


class ClosedStream(io.TextIOBase):
    """Stands for a standard stream that the process was started without: every write fails."""

    def __init__(self) -> None:
        super().__init__()
        # The free descriptor would go to the next file that is opened, and prints of C with it.
        self._placeholder = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Any would do."""
        return "utf-8"

    def write(self, text: str) -> int:  # noqa: ARG002
        """Never takes anything."""
        raise OSError(errno.EBADF, "it is closed")


class Outlet(io.TextIOBase):
    """Writes to a stream until that fails once, and nowhere from then on.

    Attributes:
        lost: the failure; None while there was none.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self.lost: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Always takes all of it."""
        if self.lost is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Empties the stream's buffer."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Leaves the stream, which is another's and may be closed by now, as it is; no flush.

        Python calls it when nobody holds the outlet any more.
        """

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's."""
        return self._stream.fileno()

    def _give_up(self, error: OSError) -> None:
        self.lost = error
        try:
            descriptor = self._stream.fileno()
        except OSError:
            return
        # What its buffer still holds would fail again when Python exits, and give code 120.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
