"""stdout and stderr as they are in the wild: closed, full, or a pipe that nobody reads.

Trouble with stderr is ignored (a message lost must not stop a download). Trouble with
stdout is remembered and becomes exit code 3 at the end.
"""

from __future__ import annotations

import os
import select
import sys

from rdl.errors import LocalFileError, why_of

TYPE_CHECKING = False  # `rdl --version` does not wait for typing
if TYPE_CHECKING:
    from typing import TextIO


class Messages:
    """stderr that never fails; what rich and the displays write to."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "ascii"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("stderr is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(_encodable(text, self.encoding))
            except (OSError, ValueError):
                self._drop(self._stream)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._drop(self._stream)

    def line(self, text: str) -> None:
        self.write(text + "\n")
        self.flush()

    def _drop(self, stream: TextIO) -> None:
        self._stream = None
        _silence(stream)


class Output:
    """stdout, a line at a time; `trouble` is the first failure, `unread` that nobody reads."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.trouble: LocalFileError | None = None
        self.unread = False

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def data(self, view: memoryview) -> None:
        """Write bytes, all of them. BrokenPipeError when nobody reads; LocalFileError."""
        if self._stream is None:
            raise LocalFileError("stdout", "closed")
        try:
            number = self._stream.fileno()
            while view:
                try:
                    view = view[os.write(number, view) :]
                except BlockingIOError:  # a terminal or pipe that another made so
                    select.select([], [number], [])
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:
            raise LocalFileError("stdout", why_of(error)) from error

    def abandon(self) -> None:
        """Nobody reads it any more."""
        if self._stream is not None:
            _silence(self._stream)

    def settle(self) -> None:
        """Raise what went wrong with the lines: LocalFileError, or BrokenPipeError for a reader
        that went away."""
        if self.unread:
            raise BrokenPipeError
        if self.trouble:
            raise self.trouble

    def line(self, text: str) -> None:
        """Write and flush one line; after a failure nothing more is written."""
        if self.trouble:
            return
        if self._stream is None:
            self.trouble = LocalFileError("stdout", "closed")
            return
        try:
            self._stream.write(_encodable(text, self._stream.encoding or "ascii") + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.trouble = LocalFileError("stdout", why_of(error))
            self.unread = isinstance(error, BrokenPipeError)
            _silence(self._stream)


def claim_standard_files() -> None:
    """Open what of fd 0, 1, 2 is closed on /dev/null: no part file may become "stderr"."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def standard_streams() -> tuple[Output, Messages]:
    return Output(sys.stdout), Messages(sys.stderr)


def _encodable(text: str, encoding: str) -> str:
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _silence(stream: TextIO) -> None:
    """Point a broken stream's descriptor at /dev/null: the interpreter flushes it at exit."""
    try:
        descriptor = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError):
        return  # not a real file, so the interpreter does not flush it either
    os.dup2(null, descriptor)
    os.close(null)
