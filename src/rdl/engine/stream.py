"""A remote file read in order, while several connections fetch ahead within a window.

The driver runs in a thread; the reader takes what was delivered from the ring and says so.
What was delivered is right as far as the validators tell; a digest is checked at the end.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from msgspec import Struct

from rdl.core.events import Result
from rdl.core.order import Order
from rdl.engine.driver import Driver
from rdl.errors import DigestMismatch, RdlError
from rdl.options import Digest
from rdl.storage.base import Store

ACKNOWLEDGE = 2 << 20
"""The heart is told of what was consumed after so many bytes, or when there is no more."""
REPORT = 2 << 20
BASE_WINDOW, WINDOW_PER_CONNECTION, CONNECTIONS = 8 << 20, 1 << 20, 8
CHUNK = 256 << 10


class Ring(Store, Protocol):
    """A store that knows where its bytes begin, None before begin()."""

    start: int | None

    def release(self, upto: int) -> None:
        """The reader has taken the bytes before `upto`."""
        ...


class Statistics(Struct, frozen=True):
    """`bytes` were delivered in `seconds`; `out_of_order` reports came before bytes that precede
    them, the furthest of them `most_out_of_order` bytes ahead of the reader."""

    bytes: int = 0
    seconds: float = 0.0
    out_of_order: int = 0
    most_out_of_order: int = 0


def window_for(connections: int | None) -> int:
    """Bytes of the window for so many connections (None: found by measuring)."""
    return BASE_WINDOW + WINDOW_PER_CONNECTION * (connections or CONNECTIONS)


class Stream(io.RawIOBase):
    """Bytes in order; readinto(), read(), readall() and iteration raise RdlError where the
    source fails, and DigestMismatch at the end. Close it, or use it as a context manager.

    One thread reads at a time.
    """

    def __init__(self, store: Ring, digests: Sequence[Digest] = ()) -> None:
        super().__init__()
        self._store = store
        self._changed = threading.Condition()
        self._at = self._delivered = self._told = self.taken = 0
        self._outcome: tuple[Result, RdlError | None] | None = None
        self._wanted = tuple(digests)
        self._hashes = {one.algorithm: hashlib.new(one.algorithm) for one in digests}
        self._driver: Driver | None = None
        self._order: Order | None = None
        self._thread: threading.Thread | None = None
        self._ended: Callable[[], None] = lambda: None

    # The driver's side

    def run(self, driver: Driver, order: Order | None, ended: Callable[[], None]) -> None:
        """Start fetching in a thread; `ended` is called when it has ended."""
        self._driver, self._order, self._ended = driver, order, ended
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
        self._thread.start()

    def deliver(self, upto: int) -> None:
        """The bytes before `upto` may be taken."""
        with self._changed:
            self._delivered = upto
            self._changed.notify_all()

    def _work(self) -> None:
        assert self._driver is not None
        try:
            outcome = self._driver.run()
        except RdlError as error:
            outcome = Result("", ""), error
        except Exception as bug:
            outcome = Result("", ""), RdlError("internal error", repr(bug))
        self._ended()
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()

    # The reader's side

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes and take some; 0 at the proper end."""
        if self.closed:
            raise ValueError("the stream is closed")
        view = memoryview(buffer).cast("B")
        at, upto = self._wait()
        if at == upto or not view:
            if at == upto:
                self._finish()
            return 0
        count = self._store.read_into(at, view[: upto - at])
        for each in self._hashes.values():
            each.update(view[:count])
        self._at, self.taken = at + count, self.taken + count
        self._store.release(self._at)
        if self._at == upto or self._at - self._told >= ACKNOWLEDGE:
            self._acknowledge(self._at)
        return int(count)

    def chunks(self, size: int = CHUNK) -> Iterator[memoryview]:
        """Views of a reused buffer of `size` bytes, to the end."""
        buffer = memoryview(bytearray(size))
        while count := self.readinto(buffer):
            yield buffer[:count]

    def close(self) -> None:
        """Stop fetching and let the connections go."""
        if not self.closed and self._driver is not None and self._outcome is None:
            self._driver.signal("SIGTERM")
            if self._thread is not None:
                self._thread.join(5.0)
        super().close()

    @property
    def result(self) -> Result | None:
        """What became of it; None while it runs."""
        return self._outcome[0] if self._outcome else None

    @property
    def statistics(self) -> Statistics:
        """Final once the end was read."""
        seconds = self._outcome[0].seconds if self._outcome else 0.0
        if self._order is None:
            return Statistics(self.taken, seconds)
        return Statistics(self.taken, seconds, self._order.out_of_order, self._order.furthest)

    def _wait(self) -> tuple[int, int]:
        """Where the reader is, and how far it may read; both are the same at the end."""
        with self._changed:
            while True:
                if not self.taken and self._store.start is not None:
                    self._at = self._told = self._store.start
                if self._delivered > self._at:
                    return self._at, self._delivered
                if self._outcome is not None:
                    return self._at, self._at
                self._changed.wait()

    def _acknowledge(self, at: int) -> None:
        self._told = at
        if self._driver is not None:
            self._driver.consumed(at)

    def _finish(self) -> None:
        assert self._outcome is not None
        result, error = self._outcome
        if error is not None:
            raise error
        for digest in self._wanted:
            found = self._hashes[digest.algorithm].hexdigest()
            if found != digest.hex:
                why = f"{digest.algorithm} is {found}, expected {digest.hex}"
                raise DigestMismatch(result.path or result.url, why)
