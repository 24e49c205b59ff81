"""A flight: one row that is filled as its readers want it, shared by them all.

A run of the heart begins with the first read that finds its bytes missing. What it shows may be
read by anybody, at any time; its failure is told to those who wait, and the next read tries anew.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import count

from rdl import errors as e
from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.events import Result
from rdl.core.representation import Representation
from rdl.engine.driver import Driver
from rdl.engine.ground import LOOK_SECONDS, Ground, Known, Run, Waiter, Waiters
from rdl.engine.shown import Shown

CLOSE_SECONDS = 5.0
STEP = 16 << 20
"""Of a long read so much is waited for at a time."""
CLOSED = "the file is closed"
FINAL = e.ChangedError, e.DigestMismatch


class Flight:
    """Safe to use from several threads. Bytes are named by their offsets; a read beyond the end
    gets what there is. Everything raises RdlError, and ValueError when it is closed."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._lock = threading.RLock()
        self._landing = threading.RLock()
        self.shown = Shown()
        self._wants: dict[int, m.Want] = {}
        self._waiters, self._followers, self._savers = (Waiters(self._lock) for _ in range(3))
        """Who reads; who waits for the head to grow; and until what is here is durable."""
        self._everything = self._closed = False
        self._driver: Driver | None = None
        self._run: Run | None = None
        self._poison: e.RdlError | None = None
        self._reading: set[Waiter] = set()
        self._numbers = count(1)
        self._process = os.getpid()
        self.expected_size: int | None = None
        self.result: Result | None = None
        """Of the run that completed it."""

    # What readers ask

    def number(self) -> int:
        """For a new reader."""
        return next(self._numbers)

    def read_into(self, reader: int, offset: int, view: memoryview, ahead: int = 0) -> int:
        """Wait for bytes and fill the view; less only at the end."""
        done = 0
        while done < len(view):
            wanted = ByteRange(offset + done, offset + min(len(view), done + STEP))
            far = max(ahead, offset + len(view))
            got = self._read(Waiter(reader, wanted, far), view[done : done + len(wanted)])
            if got is None:
                break
            done += got
        return done

    def read_ready(self, reader: int, offset: int, view: memoryview) -> int:
        """Read what is here of it, and wait for nothing; 0: it was taken back just now."""
        end = min(self.ready(offset), offset + len(view))
        found = Waiter(reader, ByteRange(offset, max(offset, end)), patient=False)
        return self._read(found, view) or 0

    def _read(self, waiter: Waiter, view: memoryview) -> int | None:
        """How much was read; 0: again; None: that is the end."""
        try:
            part, epoch = self._wait_for(waiter)
            if not part:
                return None
            got = self._ground.store.read_into(part.start, view[: len(part)])
        finally:
            self._reading.discard(waiter)  # first of all, and at once: see ground.Run
        with self._lock:
            sure = epoch == self.shown.epoch  # else they may have gone, or others come
        if not got and sure:
            raise e.LocalFileError(self._ground.url, "what was written is not there any more")
        return got if sure else 0

    def prefetch(self, reader: int, range: ByteRange, ahead: int) -> None:
        """It has these bytes, and will probably go on to `ahead`; until left()."""
        with self._lock:
            self._ask(m.Want(reader, range, ahead), begin=False)

    def size(self, reader: int) -> int:
        """Bytes of the whole; waits until that is known."""
        size = self.shown.size if self.shown.size is not None else self.expected_size
        if size is None or self._closed:
            self._wait(Waiter(reader), lambda: self.shown.size is not None)
            size = self.shown.size
        return size or 0

    def expect(self, size: int) -> None:
        """The whole has so many bytes: what has not is another version."""
        with self._check(), self._lock:
            if self.shown.size not in (None, size):
                why = f"it has {self.shown.size} bytes, not {size}"
                raise e.ChangedError(self._ground.url, why)
            self.expected_size = size

    def representation(self, reader: int) -> Representation:
        """What is read."""
        self._wait(Waiter(reader), lambda: self.shown.size is not None)
        assert self.shown.row is not None
        return self.shown.row.representation

    def here(self, range: ByteRange) -> bool:
        """Whether all of these bytes can be read without asking anybody."""
        with self._lock:
            return self.shown.holds(range)

    def present(self) -> tuple[ByteRange, ...]:
        """Runs of bytes that are here."""
        with self._lock:
            return self.shown.present()

    def head(self) -> int:
        """The end of the bytes that are here from the first one on."""
        with self._lock:
            return self.shown.head()

    def left(self, reader: int) -> None:
        """It wants nothing any more; its threads that wait get ValueError."""
        if self._process == os.getpid():
            with self._lock:
                self._wants.pop(reader, None)
                self._post(m.Left(reader))
                for waiter in self._waiters:
                    if waiter.reader == reader:
                        waiter.error = ValueError(CLOSED)
                        waiter.ring()

    def complete(self, reader: int) -> Result:
        """Wait until all of it is here, and stands under its name where it has one."""
        size = self.size(reader)
        if self._ground.room is not None and size > self._ground.room:
            why = f"{size} bytes, and {self._ground.room} are kept in memory"
            raise e.PolicyError(self._ground.url, why, hint="open it with a path")
        result = self._wait(Waiter(reader, everything=True), lambda: self.result)
        assert isinstance(result, Result)
        return result

    def save(self) -> None:
        """Make durable what is here."""
        waiter = Waiter()
        with self._check(), self._savers.kept(waiter):
            with self._lock:
                self._post(m.Save())
            while self._driver is not None and not waiter.wait(0.1):
                pass

    def invalidate(self, range: ByteRange) -> None:
        """These bytes are not right: they come again when they are read."""
        waiter = Waiter(0, range)
        with self._check(), self._savers.kept(waiter):
            while True:
                with self._lock:
                    range, epoch = self.shown.clipped(range), self.shown.epoch
                    if not range or self.shown.row is None:
                        return
                    if self._run is None and not self._reading:
                        self._ground.undo(range, Known.of(self.shown.row))
                        self.hide((range,))
                        return
                    self._post(m.Invalidate(range))
                waiter.wait(0.01)
                if self.shown.epoch != epoch and not self.here(range):
                    return

    def follow(self, waiter: Waiter, beyond: int, timeout: float | None) -> int:
        """Wait until the contiguous head is beyond that, or all is here, or it is over for the
        waiter; where the head is then."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._check(), self._followers.kept(waiter):
            with self._lock:
                if self.shown.row is None and self._run is None:  # that it is there at all
                    self._ask(m.Want(self.number(), None))
            while (head := self.head()) <= beyond and self.result is None:
                if waiter.error is not None:
                    raise waiter.error
                left = LOOK_SECONDS if until is None else until - time.monotonic()
                if left <= 0:
                    break
                waiter.wait(min(left, LOOK_SECONDS))
                with self._check():
                    pass
        return head

    def subscribe(self, waiter: Waiter) -> None:
        """It is rung whenever bytes come, and when a run ends with an error, which it then has;
        until unsubscribe()."""
        with self._check(), self._lock:
            self._followers.add(waiter)

    def unsubscribe(self, waiter: Waiter) -> None:
        with self._lock:
            self._followers.discard(waiter)

    def want(self, waiter: Waiter, range: ByteRange | None, ahead: int = 0) -> None:
        """Ask for these bytes (None: for the length) without waiting; until left(). In place of
        what it wanted before, and the last error is over."""
        with self._check(), self._lock:
            waiter.error, want = None, m.Want(waiter.reader, range, ahead)
            self._ask(want, begin=not self.shown.tells(range))  # it may have come just now

    def ready(self, offset: int) -> int:
        """The end of the bytes that are here from this one on."""
        with self._check(), self._lock:
            return self.shown.ready(offset)

    def close(self) -> None:
        """The last reader has gone; what is here is left in order."""
        if self._process != os.getpid():
            return
        with self._lock:
            self._closed = True
            driver, run = self._driver, self._run
            if driver is not None:
                driver.signal("SIGTERM")
            for waiter in (*self._waiters, *self._followers, *self._savers):
                waiter.ring()
        if run is not None:
            run.join(CLOSE_SECONDS)
        until = time.monotonic() + CLOSE_SECONDS
        while self._reading and time.monotonic() < until:
            time.sleep(0.001)
        with self._landing:
            self._ground.close()

    # What the heart says

    def known(self, representation: Representation, size: int | None) -> None:
        with self._lock:
            self.shown.known(representation, size)
            self._ring()

    def show(self, ranges: Sequence[ByteRange]) -> None:
        with self._lock:
            self.shown.add(ranges)
            self._ring()

    def hide(self, ranges: Sequence[ByteRange]) -> None:
        with self._lock:
            self._followers.spoil(ranges)
            self.result = None if ranges else self.result
            self.shown.hide(ranges)
            self._savers.ring()
            if self._run is None:  # else the heart knows what they want
                for want in [self._wants.get(one.reader) for one in self._followers]:
                    if want is not None and not self.shown.tells(want.range):
                        self._ask(want)

    def evict(self, size: int, wanted: Sequence[ByteRange]) -> Sequence[ByteRange]:
        with self._lock:  # nobody shall find them in the view, but not in memory
            gone = [self.shown.clipped(one) for one in self._ground.evict(size, wanted)]
            if gone:
                self.result = None
                self.shown.hide(gone)
        return gone

    def saved(self) -> None:
        with self._lock:
            self._savers.ring()

    # Inside

    def awaits(self, range: ByteRange) -> bool:
        """Whether somebody waits for one of these bytes."""
        with self._lock:
            return any(one.range and one.range.clip(range) for one in self._waiters)

    def _wait_for(self, waiter: Waiter) -> tuple[ByteRange, int]:
        """What of its range can be read now; nothing at the end. The store stays until that is
        done."""
        assert waiter.range is not None
        while True:
            with self._check(), self._lock:
                if self.shown.holds(waiter.range):
                    self._reading.add(waiter)
                    return self.shown.clipped(waiter.range), self.shown.epoch
            if not waiter.patient:
                return ByteRange(0, 0), self.shown.epoch
            self._wait(waiter, lambda: self.here(waiter.range or ByteRange(0, 0)))

    def _wait(self, waiter: Waiter, has: Callable[[], Result | bool | None]) -> Result | bool:
        """Until it has what it waits for; which that is."""
        asked: Run | None = None
        with self._check(), self._waiters.kept(waiter):
            want = m.Want(self.number(), waiter.range, waiter.ahead)
            try:
                while True:
                    with self._check(), self._lock:
                        if found := has():
                            return found
                        if waiter.error is not None:
                            raise waiter.error
                        if self._run is None or self._run is not asked:
                            asked = self._ask(want, everything=waiter.everything)
                    waiter.wait()
            finally:
                self.left(want.reader)

    def _ask(self, want: m.Want, *, everything: bool = False, begin: bool = True) -> Run | None:
        """Let the heart know, in the run that is under way or, to `begin`, in a new one: only for
        what is not here, since a run takes back the name of what was published."""
        self._wants[want.reader] = want
        self._everything = self._everything or everything
        if self._run is None and begin:
            run = Run()
            run.begin(self._fly)
            self._run = run  # or it does so itself
        else:
            self._post(want)  # or, where it begins just now, it is told then
            if everything:
                self._post(m.WantAll())
        return self._run

    @contextmanager
    def _check(self) -> Iterator[None]:
        """Before anything is locked: another thread may have held the lock when this process was
        forked."""
        if self._process != os.getpid():
            raise e.UsageError("file", "it was opened before a fork: open it again")
        if self._closed:
            raise ValueError(CLOSED)
        if self._poison is not None:
            raise copy(self._poison)
        yield

    def _post(self, event: m.ReaderEvent) -> None:
        if self._driver is not None:
            self._driver.post(event)

    def _ring(self) -> None:
        """Those who may have what they wait for."""
        for waiter in self._waiters:
            if waiter.range is None or self.here(waiter.range):
                waiter.ring()
        self._followers.ring()

    def _fly(self, run: Run) -> None:
        with self._lock:
            if self._closed or self._run not in (None, run):
                return
            self._run, known = run, Known.of(self.shown.row) if self.shown.row else None
        result, error = Result("", ""), None
        try:
            begun = self._ground.launch(self, known)
            if isinstance(begun, Result):
                result = begun
            else:
                self._join(begun)
                result, error = begun.run()
        except Exception as failed:
            error = e.as_error(failed)
        try:
            self._ground.landed(self, result, error)
        except Exception as late:  # or the readers would wait for ever
            error = error or e.as_error(late)
        self._land(result, error)

    def _join(self, driver: Driver) -> None:
        """What was wanted meanwhile."""
        with self._lock:
            self._driver = driver
            for want in self._wants.values():
                driver.post(want)
            if self._everything:
                driver.post(m.WantAll())
            if self._closed:
                driver.signal("SIGTERM")

    def _land(self, result: Result, error: e.RdlError | None) -> None:
        """The run is over: those who wait hear of it."""
        with self._lock:
            self._driver = self._run = None
            self._everything, self._wants = False, {} if error else self._wants
            if error is None:
                self.result = result
            elif self.shown.row is not None and isinstance(error, FINAL):
                self._poison = error
            for waiter in (*self._waiters, *self._followers):
                waiter.error = waiter.error or (copy(error) if error else None)
                waiter.ring()
            self._savers.ring()
