"""Small files that a session reads once for all its downloads: sums files of a folder.

Of those that cannot be read the error is kept as well. Both for a minute, so that who runs for
days sees a new one. Bounded in number and bytes; safe to use from several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from copy import copy

from rdl.core.text import redact_url, safe_text
from rdl.errors import Interrupted, OutOfTime, RdlError
from rdl.options import HostLimits, NetworkOptions, Options

Read = Callable[[str, Options], bytes]
"""Fetches a small file, all of it. Raises RdlError."""
Key = tuple[str, NetworkOptions, HostLimits | None]

MOST_FILES = 256
MOST_BYTES = 32 << 20
KEPT = 60.0
"""Seconds."""


class _Reading:
    """One file, being read by the thread that came first; the others wait for `over`."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.found: bytes | RdlError | None = None
        """None: the reader was stopped, which says nothing of the file."""
        self.until = float("inf")
        self.patience: float | None = None

    def holds(self, options: Options, now: float) -> bool:
        """Whether it says what another reading would."""
        late, most = isinstance(self.found, OutOfTime), options.transfer.max_time
        longer = most is None or (self.patience is not None and most > self.patience)
        return now < self.until and not (late and longer)

    def size(self) -> int:
        return len(self.found) if isinstance(self.found, bytes) else 0


class Remembered:
    """`read`, but for what is remembered."""

    def __init__(self, read: Read, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._readings: dict[Key, _Reading] = {}
        self._lock = threading.Lock()

    def read(self, url: str, options: Options) -> bytes:
        """The file at `url`. Raises RdlError; OutOfTime also where another thread is longer
        than `max_time` at it."""
        while True:
            reading, mine = self._reading(url, options)
            if mine:
                return self._run(reading, url, options)
            if not reading.over.wait(options.transfer.max_time):
                what = safe_text(redact_url(url))
                raise OutOfTime(what, f"{options.transfer.max_time:g} s are over")
            if isinstance(reading.found, bytes):
                return reading.found
            if reading.found is not None:
                raise _again(reading.found)

    def _reading(self, url: str, options: Options) -> tuple[_Reading, bool]:
        """The reading to go by, and whether the caller is to make it."""
        key = (url, options.network, options.limits)
        with self._lock:
            known = self._readings.pop(key, None)
            if known is not None and known.holds(options, self._clock()):
                self._readings[key] = known  # the one used last stands last
                return known, False
            self._readings[key] = made = _Reading()
            made.patience = options.transfer.max_time
            return made, True

    def _run(self, reading: _Reading, url: str, options: Options) -> bytes:
        try:
            reading.found = found = self._read(url, options)
        except RdlError as error:
            if not isinstance(error, Interrupted):
                reading.found = _again(error)
            raise
        finally:
            self._end(reading)
        return found

    def _end(self, reading: _Reading) -> None:
        with self._lock:
            reading.until = self._clock() + KEPT if reading.found is not None else 0.0
            self._bound()
        reading.over.set()

    def _bound(self) -> None:
        """Those used least lately go first; those that are being read stay."""
        size = sum(one.size() for one in self._readings.values())
        for key, one in list(self._readings.items()):
            if len(self._readings) <= MOST_FILES and size <= MOST_BYTES:
                return
            if one.until < float("inf"):
                size -= self._readings.pop(key).size()


def _again(error: RdlError) -> RdlError:
    """The same without tracebacks, which would keep the frames of its thread."""
    made = copy(error)
    made.__cause__ = None
    return made
