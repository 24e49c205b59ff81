"""A remote file read in order, while several connections fetch ahead within a window.

The driver runs in a thread; the reader takes what was delivered from the ring and says so.
What was delivered is of one version as far as the validators tell; a digest of all that was
read is checked at the end.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

from msgspec import Struct

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.digest import disagreement
from rdl.core.events import Result
from rdl.core.representation import Representation
from rdl.core.transfer import Transfer
from rdl.engine.driver import Driver
from rdl.engine.reception import Reception
from rdl.errors import (
    NO_DIGEST,
    NO_DIGEST_HINT,
    DigestMismatch,
    DigestMissing,
    RdlError,
    UsageError,
    as_error,
)
from rdl.options import Digest, RangeSpec
from rdl.storage.base import Store

ACKNOWLEDGE = 4 << 20
"""The heart is told of what was consumed after so many bytes, or when there is no more."""
REPORT = 4 << 20
BASE_WINDOW, WINDOW_PER_CONNECTION, CONNECTIONS = 8 << 20, 1 << 20, 8
CHUNK = 256 << 10
CLOSE_SECONDS = 5.0
LENT, LEAST_PULL = 1 << 20, 64 << 10
"""Bytes that a reader takes from the network itself at one time, and how many it must want."""
AWAY_SECONDS = 0.05
"""A reader that stays away for so long, fetches nothing ahead: then a worker does."""


class Ring(Store, Protocol):
    """A store that knows where its bytes begin, None before begin()."""

    start: int | None

    def view(self, offset: int, size: int) -> memoryview:
        """Some of these bytes themselves, good until they are released."""
        ...

    def release(self, upto: int) -> None:
        """The reader has taken the bytes before `upto`."""
        ...

    def pass_by(self, offset: int, data: memoryview) -> None:
        """The reader has these bytes, in their turn, without the ring."""
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


class Passage:
    """One range, read in order by one thread.

    While the reader is what limits the speed, a worker lends it the reception that brings the next
    byte: what waits in the network goes to the reader without the ring and without a change of
    threads. Nothing is lent before the heart has let something be delivered: from then on it begins
    nothing anew, so bytes that it does not know of yet are of the right version.
    """

    def __init__(self, store: Ring, window: int) -> None:
        self._store, self._ahead = store, window // 2
        self._lock = threading.RLock()
        self._back = threading.Condition(self._lock)
        # What the reader waits at is no Condition: its wait() breaks when a signal handler raises.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._lent: tuple[Reception, Callable[[m.Event], None]] | None = None
        self._wanting = self._large = self._pulling = False
        self._not_before = 0
        """A reader that was slow is not lent anything before this offset again."""
        self._buffer, self._passed = memoryview(b""), 0
        self._at = self._delivered = self._told = self.taken = 0
        self._outcome: tuple[Result, RdlError | None] | None = None
        self._driver: Driver | None = None
        self._transfer: Transfer | None = None
        self._thread: threading.Thread | None = None

    # The driver's side

    def run(self, driver: Driver, transfer: Transfer, ended: Callable[[], None]) -> None:
        """Start fetching in a thread; `ended` is called when it has ended."""
        self._driver, self._transfer = driver, transfer
        self._thread = threading.Thread(
            target=self._work, args=(driver, ended), name="stream", daemon=True
        )
        self._thread.start()

    def deliver(self, upto: int) -> None:
        """The bytes before `upto` may be taken."""
        with self._lock:
            self._delivered = upto
        self._ring()

    def wants(self, reception: Reception) -> bool:
        """Whether this one brings the next bytes, and the reader waits or has enough of them."""
        if not self.taken or not self._large or self._delivered < reception.told:
            return False
        at = reception.reached
        return at >= self._not_before and (self._wanting or at - self._at >= LENT)

    def borrow(self, reception: Reception, post: Callable[[m.Event], None]) -> None:
        """The reader takes the rest from the ring, then from this one, as long as it is quick."""
        with self._lock:
            if self._lent is not None:  # the one before has come to its end just now
                return
            lent, taken = (reception, post), -1
            self._lent = lent
            self._ring()
            while self._lent is lent and (self._pulling or taken != self.taken):
                taken = self.taken
                self._back.wait(AWAY_SECONDS)
            if self._lent is lent:
                self._not_before = reception.reached + 2 * self._ahead
                self._give_back()

    def _work(self, driver: Driver, ended: Callable[[], None]) -> None:
        outcome: tuple[Result, RdlError | None] = Result("", ""), RdlError("stream", "was ended")
        try:
            outcome = driver.run()
        except Exception as error:
            outcome = Result("", ""), as_error(error)
        finally:
            with self._lock:
                self._outcome = outcome
            self._ring()
            ended()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._bell.release()

    # The reader's side

    def peek(self, size: int) -> memoryview:
        """Wait for bytes; at most `size` of them as they stand in the ring, none at the proper
        end. Raises RdlError."""
        self._large = size >= LEAST_PULL
        if self._passed > self._at:  # an exception came in between: they are not in the ring
            raise RdlError("stream", "bytes were lost when reading was interrupted")
        while True:
            at, upto = self._wait()
            if at < upto:
                return self._store.view(at, min(size, upto - at))
            if self._outcome is not None:
                break
            if data := self._pull(size):
                return data
        if self._outcome is not None and self._outcome[1] is not None:
            raise self._outcome[1]
        self._store.close()
        return memoryview(b"")

    def take(self, count: int) -> None:
        """The reader has taken so many of them."""
        self.taken += count
        self._at += count  # before the driver is told: awaits() must know it then
        self._store.release(self._at)
        # What waits in the network for this reader counts as if it were in the window: no more
        # connections are needed while it has enough.
        lent = self._lent is not None
        upto = self._at - (self._ahead if lent else 0)
        if upto - self._told >= ACKNOWLEDGE or (self._at == self._delivered and not lent):
            self._consume(upto)

    def _consume(self, upto: int) -> None:
        if upto > self._told and self._driver is not None:
            self._told = upto
            self._driver.post(m.Consumed(upto))

    def awaits(self, range: ByteRange) -> bool:
        """Whether the reader has come to one of these bytes, and nothing is there for it."""
        at = self._at if self.taken else self._store.start
        return at is not None and self._delivered <= at and at in range

    def close(self) -> None:
        """Stop fetching."""
        if self._driver is not None and self._thread is not None:
            self._driver.signal("SIGTERM")
            with self._lock:
                self._give_back()
            self._thread.join(CLOSE_SECONDS)
            self._store.close()

    @property
    def representation(self) -> Representation | None:
        """What was read; None before there was an answer."""
        row = self._transfer.row if self._transfer else None
        return row.representation if row else None

    @property
    def result(self) -> Result | None:
        """What became of it; None while it runs."""
        return self._outcome[0] if self._outcome else None

    @property
    def statistics(self) -> Statistics:
        """Final once the end was read."""
        seconds = self._outcome[0].seconds if self._outcome else 0.0
        order = self._transfer.order if self._transfer else None
        if order is None:
            return Statistics(self.taken, seconds)
        return Statistics(self.taken, seconds, order.out_of_order, order.furthest)

    def _wait(self) -> tuple[int, int]:
        """Where the reader is, and how far it may read; both are the same at the end, and where it
        is lent something."""
        try:
            while True:
                with self._lock:
                    if not self.taken and self._store.start is not None:
                        self._at = self._told = self._store.start
                    lent = self._lent is not None and self._lent[0].reached <= self._at
                    if self._delivered > self._at:
                        if lent:  # by another one, which goes on where this one ends
                            self._give_back()
                        return self._at, self._delivered
                    if self._outcome is not None or lent:
                        return self._at, self._at
                    self._wanting = True
                self._bell.acquire(timeout=1.0)  # a signal may have come to another thread
        finally:
            self._wanting = False

    def _pull(self, size: int) -> memoryview:
        """What the lent reception has; nothing when it is given back."""
        count = 0
        try:
            with self._lock:
                lent, self._pulling = self._lent, True
            if lent is None or lent[0].reached != self._at or not self._large or not lent[0].ready:
                return self._buffer[:0]
            if not self._buffer:
                self._buffer = memoryview(bytearray(LENT))
            count, events = lent[0].pull(self._buffer[:size], self._pass_by)
            for event in events:
                lent[1](event)
            return self._buffer[:count]
        finally:
            with self._lock:
                self._pulling = False
                if not count:
                    self._give_back()

    def _pass_by(self, offset: int, data: memoryview) -> None:
        self._passed = offset + len(data)
        self._store.pass_by(offset, data)

    def _give_back(self) -> None:
        """Before anything else is reported of it, the heart learns what is kept, to compare."""
        if self._lent is not None:
            self._lent = None
            self._back.notify()
            self._consume(max(self._at, self._passed))


Opener = Callable[[RangeSpec | None, Representation | None], Passage]


class Stream(io.RawIOBase):
    """Bytes in order, of one range or of several one after the other.

    readinto(), read(), readall() and chunks() raise RdlError where the source fails, and
    DigestMismatch at the end. One thread reads at a time. Close it, or use it in a `with`.
    `verify`: without `digests`, one that the server publishes of the whole is checked, or must be.
    """

    def __init__(
        self,
        opener: Opener,
        ranges: Sequence[RangeSpec | None],
        digests: Sequence[Digest],
        *,
        verify: str = "off",
    ) -> None:
        super().__init__()
        if verify == "require" and not digests and list(ranges) != [None]:
            raise DigestMissing("stream", NO_DIGEST, hint=NO_DIGEST_HINT)
        self._required = verify == "require"
        self._open, self._rest = opener, list(ranges)
        self._published = verify != "off" and not digests and self._rest == [None]
        self._hashes: dict[Digest, hashlib._Hash] = {}
        self._expect(digests)
        self._passages = [opener(self._rest.pop(0), None)]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes and take some; 0 at the proper end of the last range."""
        if self.closed:
            raise ValueError("the stream is closed")
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        data = self._peek(len(view))
        view[: len(data)] = data
        self._passages[-1].take(len(data))
        return len(data)

    def chunks(self, size: int = CHUNK) -> Iterator[memoryview]:
        """Views of at most `size` bytes, to the end; each is good until the next is asked for."""
        while data := self._peek(size):
            try:
                yield data
            finally:
                self._passages[-1].take(len(data))

    def _peek(self, size: int) -> memoryview:
        """The next bytes; none at the proper end of the last range."""
        if self.closed:
            raise ValueError("the stream is closed")
        while not (data := self._passages[-1].peek(size)):
            self._note_published()
            if not self._rest:
                self._check()
                return data
            known = self._passages[0].representation
            self._passages.append(self._open(self._rest.pop(0), known))
        self._note_published()
        for each in self._hashes.values():
            each.update(data)
        return data

    def close(self) -> None:
        """Stop fetching and let the connections go."""
        if not self.closed:
            self._passages[-1].close()
        super().close()

    @property
    def results(self) -> list[Result]:
        """What became of the ranges that have ended."""
        return [one.result for one in self._passages if one.result is not None]

    @property
    def statistics(self) -> Statistics:
        """Of all ranges; final once the end was read."""
        parts = [one.statistics for one in self._passages]
        return Statistics(
            sum(one.bytes for one in parts),
            sum(one.seconds for one in parts),
            sum(one.out_of_order for one in parts),
            max(one.most_out_of_order for one in parts),
        )

    def _expect(self, digests: Sequence[Digest]) -> None:
        try:
            self._hashes = {one: hashlib.new(one.algorithm) for one in digests}
        except ValueError as error:
            raise UsageError("digest", str(error)) from None

    def _note_published(self) -> None:
        """With the first bytes it is known what the server says of the whole."""
        first = self._passages[0].representation
        if self._published and first is not None:
            self._published = False
            if self._required and not first.digests:
                raise DigestMissing("stream", NO_DIGEST, hint=NO_DIGEST_HINT)
            self._expect(first.digests[:1])

    def _check(self) -> None:
        found = {digest.algorithm: one.hexdigest() for digest, one in self._hashes.items()}
        if why := disagreement(found, {digest.algorithm: digest.hex for digest in self._hashes}):
            raise DigestMismatch("stream", why)
