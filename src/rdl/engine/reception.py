"""One Fetch from its request to its end: open, wait for the heart's word, read and write.

It works in steps, so that a thread can run it to the end and a simulator step by step.
receive, trim and drop may be called from another thread than the one that steps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress

from msgspec.structs import replace
from xxhash import xxh3_64

from rdl.core import messages as m
from rdl.core.byterange import ByteRange, Extent
from rdl.engine.edges import Edges, Place
from rdl.errors import ChangedError, RdlError
from rdl.transport.base import Exchange, Request, Sent

BUFFER = EXTENT = 1 << 20
"""So many bytes at most are lost by a kill: written, but not recorded."""
REPORT_SECONDS = 0.1
"""The heart is told after so long, or `Edges.report` bytes (of short segments: a sixteenth)."""

SMALL, PROMPT_SECONDS = 128 << 10, 0.005
"""Bytes that may be received by the heart's own thread, and how long it waits for the answer."""

LENT_REPORT, LEAST_LENT = 16 << 20, 2 << 20
"""The same of what the reader takes itself, which waits for no report; with less to come it does
not pay."""


class Reception:
    """Performs one Fetch; every event it yields is to be reported, the last is Ended."""

    def __init__(self, fetch: m.Fetch, edges: Edges, place: Place) -> None:
        self._fetch, self._edges, self._place = fetch, edges, place
        self.segment, self.source, self.fresh = fetch.segment, fetch.source, fetch.fresh
        self.idle = fetch.idle
        self._sent: Sent | None = None
        self._exchange: Exchange | None = None
        self.decided = False
        """Whether the heart has said what becomes of it."""
        self._said, self._dropped = threading.Lock(), threading.Event()
        self._said.acquire()  # a lock as a bell: cheaper than an Event, for each request has one
        self._skip = self._compare = self._same = 0
        self._edge = (0, False)
        self._at = self._from = self._told = self._every = 0
        self._checksum, self._told_at = xxh3_64(), 0.0
        self._failed: RdlError | None = None

    @property
    def place(self) -> Place:
        """Where the answer came from, after redirects; what was asked before there is one."""
        url = self._exchange.head.url if self._exchange else ""
        if not url or self._exchange is None or url == self._place.url:
            return self._place
        return replace(self._place, url=url, lineage=self._exchange.lineage, led=True)

    @property
    def exchange(self) -> Exchange | None:
        """What was answered."""
        return self._exchange

    @property
    def answered(self) -> bool:
        """Whether there is a body, so that something may be written."""
        return self._exchange is not None

    @property
    def reached(self) -> int:
        """Everything before this is written."""
        return self._at

    @property
    def told(self) -> int:
        """Everything before this was reported."""
        return self._told

    @property
    def ahead(self) -> bool:
        """Whether that is more than was reported."""
        return self._at > self._told

    @property
    def dropped(self) -> bool:
        """Whether it is to end."""
        return self._dropped.is_set()

    @property
    def held(self) -> bool:
        """Whether it waits at the edge of a window."""
        stop, hold = self._edge
        return hold and self._at >= stop and not self._dropped.is_set()

    # From the driver

    def receive(self, command: m.Receive) -> None:
        """The heart lets the body in."""
        self._skip, self._compare = command.skip, command.compare
        self._edge = command.range.stop, command.hold
        self._at = self._from = self._told = command.range.start
        self._every = self._edges.report
        if (
            not self._edges.volatile or self._edges.watcher
        ):  # what a reader waits for is told at once
            self._every = min(self._every, max(EXTENT, len(command.range) // 16))
        self.decided = True
        self._ring()

    def trim(self, stop: int, hold: bool = False) -> None:
        """End at `stop`. A read under way may pass it; these bytes are right all the same."""
        self._edge = stop, hold
        self._ring()

    def drop(self) -> None:
        """End now; wakes a blocked read."""
        self._dropped.set()
        self.decided = True
        self._ring()
        exchange = self._exchange
        if exchange is not None:
            exchange.close()

    def abandon(self) -> None:
        """Nobody steps it any more, or ever will."""
        self.drop()
        if self._exchange is None and self._sent is not None:
            self._sent.close()

    # From the reader of a stream, while it is lent

    @property
    def ready(self) -> bool:
        """Whether bytes of the body, or its end, can be had without waiting."""
        busy = self._exchange is None or self._skip or self._compare or self._failed is not None
        ended = busy or self._dropped.is_set() or self._edge[0] <= self._at
        return not ended and self._exchange is not None and self._exchange.ready()

    def pull(
        self, view: memoryview, pass_by: Callable[[int, memoryview], None]
    ) -> tuple[int, tuple[m.Event, ...]]:
        """Read once, for the reader alone: how much, and what there is to report. 0: a step has
        to say what is wrong, or that this is the end. `pass_by` hears of the bytes first."""
        exchange, room = self._exchange, self._edge[0] - self._at
        assert exchange is not None
        if room <= 0:
            return 0, ()
        try:
            count = exchange.readinto(view[: min(room, self._edges.rate.grant)])
        except RdlError as error:
            self._failed = error
            return 0, ()
        pass_by(self._at, view[:count])
        self._at += count
        self._from = self._at
        self._pause(self._edges.rate.take(count))
        now = self._edges.clock()
        due = self._at - self._told >= LENT_REPORT or now - self._told_at >= REPORT_SECONDS
        return count, self._report(now) if due else ()

    # In steps

    def run(self, view: memoryview, post: Callable[[m.Event], None]) -> Iterator[m.Event]:
        """All of it, for a thread; `view` is its buffer. While it is lent, events go to `post`."""
        with self._edges.permits.one(self, post) if self._edges.permits else nullcontext():
            yield from self._run(view, post)

    def ask(self) -> bool:
        """Send the request, where that can be done at once; whether it was. What is wrong with it
        open() will say."""
        edges, place = self._edges, self._place
        waits = edges.rate.limited or (place.requests or edges.requests).limited
        read = edges.volatile or edges.watcher is not None or edges.permits is not None
        if waits or read or self._dropped.is_set():
            return False  # where somebody reads meanwhile it is not this thread's time that counts
        with suppress(RdlError):
            self._sent = (place.transport or edges.transport).ask(self._request)
        return self._sent is not None

    def promptly(self, view: memoryview, alone: Callable[[], bool]) -> Iterator[m.Event]:
        """After ask(): as much as can be done without waiting longer than a moment, for a thread
        that is wanted elsewhere once it is not `alone`. Where no Ended came, run() is to go on."""
        try:
            if self._sent is None or not self._sent.answered(PROMPT_SECONDS):
                return
        except RdlError as error:
            yield m.Ended(self.segment, error)
            return
        event: m.Event = self.open()
        yield event
        while not isinstance(event, m.Ended) and self._is_here(view) and alone():
            for event in self.step(view):
                yield event

    def _is_here(self, view: memoryview) -> bool:
        """Whether a step brings something small at once."""
        short = self._edge[0] - self._at <= len(view)
        return self.decided and short and self._exchange is not None and self._exchange.ready()

    def _run(self, view: memoryview, post: Callable[[m.Event], None]) -> Iterator[m.Event]:
        if self._exchange is None:
            head = self.open()
            yield head
            if isinstance(head, m.Ended):
                return
        while not self.decided:
            self._listen()
        ended = False
        while not ended:
            yield from self._lend(post)
            for event in self.step(view):
                ended = isinstance(event, m.Ended)
                yield event

    def _lend(self, post: Callable[[m.Event], None]) -> Iterator[m.Event]:
        reader, enough = self._edges.reader, self._edge[0] - self._at >= LEAST_LENT
        if reader is not None and enough and reader.wants(self) and self.ready:
            self._record()
            yield from self._report(self._edges.clock())
            reader.borrow(self, post)

    def open(self) -> m.Head | m.Ended:
        """Send the request and wait for the head."""
        requests = self._place.requests or self._edges.requests
        self._pause(requests.take(1))
        try:
            if self._sent is not None:
                self._exchange = self._sent.open()
            elif not self._dropped.is_set():
                transport = self._place.transport or self._edges.transport
                self._exchange = transport.open(self._request)
        except RdlError as error:
            return m.Ended(self.segment, error)
        if self._exchange is None:
            return m.Ended(self.segment)
        return m.Head(self.segment, self._exchange.head, self.place.led)

    @property
    def _request(self) -> Request:
        headers = self._fetch.headers
        if (field := self._fetch.ask.range_field) is not None:
            headers = (("Range", field), *headers)
        return Request(self._place.url, headers, lineage=self._place.lineage)

    def step(self, view: memoryview) -> tuple[m.Event, ...]:
        """Read once and write it; what there is to report."""
        exchange = self._exchange
        assert exchange is not None
        try:
            if self._dropped.is_set():
                return self._end()
            if self._failed is not None:
                raise self._failed
            if self._skip:
                return self._skip_some(exchange, view)
            if self._compare:
                return self._compare_some(exchange, view)
            stop, hold = self._edge  # one value: the driver may move it at any moment
            if stop <= self._at:
                return self._listen() if hold else self._end()  # until the window moves on
            room = min(stop, self._from + EXTENT) - self._at
            if self._starves_reader(exchange):
                self._record()
                return self._report(self._edges.clock())
            view = view[: min(room, self._edges.rate.grant)]
            count = exchange.readinto(view)
        except RdlError as error:
            return self._end(None if self._dropped.is_set() else error)
        return self._write(view[:count]) if count else self._end()

    def _starves_reader(self, exchange: Exchange) -> bool:
        """Whether a reader waits for what is here while the next read would wait too."""
        if self._edges.awaited is None or self._at == self._told:
            return False
        fresh = ByteRange(self._told, self._at)
        return self._edges.awaited(fresh) and not exchange.ready()

    def _listen(self) -> tuple[()]:
        """Until the heart says something. What the server sends meanwhile waits in the network."""
        self._said.acquire()
        return ()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._said.release()

    def _skip_some(self, exchange: Exchange, view: memoryview) -> tuple[m.Event, ...]:
        count = exchange.readinto(view[: min(len(view), self._skip)])
        self._skip -= count
        self._pause(self._edges.rate.take(count))
        return () if count else self._end()

    def _compare_some(self, exchange: Exchange, view: memoryview) -> tuple[m.Event, ...]:
        """What comes again must be what is here: some servers keep an ETag too long."""
        half = len(view) // 2
        count = exchange.readinto(view[: min(half, self._compare)])
        if count == 0:
            return self._end()
        self._pause(self._edges.rate.take(count))
        here, at, read = view[half : half + count], self._at - self._compare, 0
        try:
            while read < count and (got := self._edges.store.read_into(at + read, here[read:])):
                read += got
        except RdlError as error:
            return (m.LocalFailed(error), *self._end())
        forgotten = read < count and self._edges.volatile
        if here[:read] != view[: read if forgotten else count]:
            return self._end(ChangedError("part file", "it is not what the server sends now"))
        self._compare, self._same = self._compare - count, self._same + read
        return () if self._compare else (m.Compared(self.segment, self._same),)

    def _write(self, data: memoryview) -> tuple[m.Event, ...]:
        try:
            self._edges.store.write_at(self._at, data)
            if not self._edges.volatile:
                self._checksum.update(data)
            self._at += len(data)
            wait = self._edges.rate.take(len(data))
            now = self._edges.clock()
            due = self._at - self._told >= self._every or self._at >= self._edge[0]
            due = due or now - self._told_at >= REPORT_SECONDS
            if due or self._at - self._from >= EXTENT:
                self._record()
        except RdlError as error:
            return (m.LocalFailed(error), *self._end())
        if (self._at, False) == self._edge:  # one wake of the driver instead of two
            self._pause(wait)  # this body was more than the rate allows so far: the next one waits
            return self._end() if (self._at, False) == self._edge else self._report(now)
        events = self._report(now) if due else ()
        self._pause(wait)
        return events

    def _record(self) -> None:
        """Note what is written in the index, for a run after a kill."""
        if self._edges.volatile:
            self._from = self._at
        elif self._at > self._from:
            extent = Extent(self._from, self._at, self._checksum.intdigest())
            self._edges.store.record((extent,))
            self._from, self._checksum = self._at, xxh3_64()

    def _report(self, now: float) -> tuple[m.Event, ...]:
        """Tell the heart of what is recorded."""
        range, self._told, self._told_at = ByteRange(self._told, self._from), self._from, now
        return (m.Arrived(self.segment, range),) if range else ()

    def _end(self, error: RdlError | None = None) -> tuple[m.Event, ...]:
        if self._exchange is not None:
            self._exchange.close()
        ended = m.Ended(self.segment, error)
        try:
            self._record()
        except RdlError as failed:
            return (*self._report(0.0), m.LocalFailed(failed), ended)
        return (*self._report(0.0), ended)

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._dropped.wait(seconds)
