"""What a flight stands on: where its bytes are, how a run of the heart begins, and how a thread
waits for bytes."""

from __future__ import annotations

import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.events import Result
from rdl.core.representation import Representation, Trust
from rdl.core.row import Remembered, Row
from rdl.engine.driver import Driver
from rdl.engine.hashing import Readable
from rdl.errors import LocalFileError, RdlError

if TYPE_CHECKING:
    from rdl.engine.flights import Flight

LOOK_SECONDS = 1.0
"""A signal may have come to another thread."""


class Known(Struct, frozen=True):
    """What readers had of a flight before; a run that continues it may find nothing else."""

    representation: Representation
    present: tuple[ByteRange, ...]

    @classmethod
    def of(cls, row: Row) -> Known:
        """What readers may have of it."""
        return cls(row.representation, tuple(row.present()))

    @property
    def joinable(self) -> bool:
        """Whether parts of it can be fetched, and joined to what is here."""
        return self.representation.total is not None and self.representation.trust is not Trust.T0

    @property
    def remembered(self) -> Remembered:
        """As an index would say it."""
        return Remembered(self.representation, None, self.present)


class Ground(Protocol):
    """Where a flight's bytes are, and how a run is begun: what a session gives to it."""

    url: str
    """Redacted."""

    @property
    def store(self) -> Readable:
        """What can be read from; good once something was shown."""
        ...

    @property
    def room(self) -> int | None:
        """So many bytes are kept in memory; None: it is a file."""
        ...

    def launch(self, flight: Flight, known: Known | None) -> Driver | Result:
        """A run, or what became of it where all is here already and was shown."""
        ...

    def landed(self, flight: Flight, result: Result, error: RdlError | None) -> None:
        """The run is over."""
        ...

    def evict(self, size: int, wanted: Sequence[ByteRange]) -> Sequence[ByteRange]:
        """From memory."""
        ...

    def undo(self, range: ByteRange, known: Known) -> None:
        """No run is under way, and of the bytes that are here these are not right."""
        ...

    def close(self) -> None:
        """Nobody reads any more."""
        ...


class Run:
    """The thread of one run of the heart. It begins with one call of the interpreter: a signal
    handler that raises in Thread.start() leaves one that never runs, or for ever."""

    def __init__(self) -> None:
        self._ident = 0
        self._over = threading.Lock()

    def begin(self, work: Callable[[Run], None]) -> None:
        """Do it in a thread of its own. LocalFileError where there is no room for one."""
        try:
            start_new_thread(self._begun, (work,))
        except (RuntimeError, MemoryError) as error:
            raise LocalFileError("thread", f"no room for another: {error}") from error

    def join(self, seconds: float) -> None:
        """Wait for its end, but not in itself: there garbage may be collected."""
        if self._ident != threading.get_ident():
            with suppress(RuntimeError):
                self._over.acquire(timeout=seconds)
                self._over.release()

    def _begun(self, work: Callable[[Run], None]) -> None:
        with self._over:
            self._ident = threading.get_ident()
            work(self)


class Waiter:
    """A thread of `reader` that waits for `range`, or for the length, or for all of it; not
    `patient`: for nothing. A lock as a bell: Condition.wait() breaks when a signal handler raises
    in it."""

    def __init__(
        self,
        reader: int = 0,
        range: ByteRange | None = None,
        ahead: int = 0,
        *,
        everything: bool = False,
        patient: bool = True,
    ) -> None:
        self.reader, self.range, self.ahead, self.everything = reader, range, ahead, everything
        self.patient = patient
        self.error: Exception | None = None
        self._bell = threading.Lock()
        self._bell.acquire()

    def ring(self) -> None:
        """Let it look again."""
        with suppress(RuntimeError):  # it rings already
            self._bell.release()

    def spoil(self, ranges: Sequence[ByteRange]) -> None:
        """These bytes were shown, and were wrong."""

    def wait(self, seconds: float = LOOK_SECONDS) -> bool:
        """Whether it was rung."""
        return self._bell.acquire(timeout=max(0.0, seconds))


class Waiters(set[Waiter]):
    """Those that wait for one kind of thing, while they wait."""

    def __init__(self, lock: threading.RLock) -> None:
        super().__init__()
        self._lock = lock

    @contextmanager
    def kept(self, waiter: Waiter) -> Iterator[None]:
        """It is one of them meanwhile."""
        try:
            with self._lock:
                self.add(waiter)
            yield
        finally:
            with self._lock:
                self.discard(waiter)

    def spoil(self, ranges: Sequence[ByteRange]) -> None:
        """Tell all of them that these bytes were wrong."""
        for waiter in self:
            waiter.spoil(ranges)

    def ring(self) -> None:
        """Let all of them look again."""
        for waiter in self:
            waiter.ring()
