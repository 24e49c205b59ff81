"""Runs one transfer with threads: performs commands in order, reports events, decides nothing.

The thread that calls run() is the heart's, and receives what is small and comes at once; every
other segment has a worker of the crew; syncing, hashing and renewing have a thread each, so that
the heart waits for none.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from queue import Empty, SimpleQueue
from typing import Any

from rdl.core import messages as m
from rdl.core.events import Result, Teller
from rdl.core.fields import parse_http_date
from rdl.core.text import redact_url
from rdl.core.transfer import Transfer
from rdl.engine.backroom import Backroom
from rdl.engine.crew import Crew, guarded
from rdl.engine.edges import Edges, Place
from rdl.engine.hashing import Follower
from rdl.engine.reception import Reception
from rdl.engine.repeating import repeat
from rdl.errors import RdlError
from rdl.options import FileOptions
from rdl.storage.base import Finish, Header

END_SECONDS = 2.0
LOOK_SECONDS = 1.0
"""The heart's thread, which is often the main one, looks so often whether a signal came: the system
may give one to another thread, where it wakes nobody."""


class Driver:
    """One run of one transfer."""

    def __init__(
        self,
        transfer: Transfer,
        edges: Edges,
        options: FileOptions | None = None,
        tell: Teller | None = None,
        crew: Crew | None = None,
    ) -> None:
        self._transfer, self._edges = transfer, edges
        self._options, self._tell = options or FileOptions(), tell
        self._events: SimpleQueue[m.Event] = SimpleQueue()
        self._receptions: dict[int, Reception] = {}
        self._given = [Place(edges.url), *edges.mirrors]
        """The URL of each source, as given or made since,"""
        self._links = list(self._given)
        """and where it led."""
        self._crew, self._shared = crew or Crew(), crew is not None
        self._sync = Backroom("sync", self._events.put)
        self._hash = Backroom("hash", self._events.put)
        self._renewal = Backroom("renew", self._events.put)
        self._follower = Follower(edges.store)
        self._own: Reception | None = None
        """It was asked for at once, when it was the only one, and this thread receives it."""
        self._wake_at: float | None = None
        self._finish: m.Finish | None = None

    def signal(self, name: str) -> None:
        """Ask the transfer to save its state and end; safe in a signal handler."""
        self._events.put(m.Signal(name))

    def post(self, event: m.ReaderEvent) -> None:
        """What a reader says; from any thread."""
        self._events.put(event)

    def run(self) -> tuple[Result, RdlError | None]:
        """Run to the end; the error is None exactly when the file is as it was asked for."""
        try:
            self._on(m.Demand())
            while self._finish is None:
                if self._own is not None:
                    self._receive(self._own)
                else:
                    self._on(self._next_event())
        finally:
            self._follower.stopped = True
            self._end_receptions()
            self._sync.close()
            self._hash.close()
            self._renewal.leave()
        return self._finish.result, self._finish.error

    def _end_receptions(self) -> None:
        """None of them writes any more afterwards; one that still waits for an answer ends by
        itself."""
        if self._own is not None:  # Ctrl-C that raised: no Ended will come
            self._receptions.pop(self._own.segment, None)
            self._own.abandon()
        for reception in self._receptions.values():
            reception.drop()
        deadline = self._edges.clock() + END_SECONDS
        while any(reception.answered for reception in self._receptions.values()):
            try:
                event = self._events.get(timeout=max(0.0, deadline - self._edges.clock()))
            except Empty:
                break
            if isinstance(event, m.Ended):
                self._receptions.pop(event.segment, None)
        if not self._shared:
            self._crew.close()

    def _receive(self, reception: Reception) -> None:
        """In this thread, which costs no change of threads: what is small and comes at once. A
        worker does the rest."""
        with self._crew.view() as view:
            for event in guarded(reception, reception.promptly(view, self._is_free)):
                self._on(event)
        self._own = None
        if reception.segment in self._receptions:
            self._crew.start(reception, self._events.put)

    def _is_free(self) -> bool:
        """Whether there is nothing to be done but to receive."""
        due = self._wake_at is not None and self._wake_at <= self._edges.clock()
        return not due and self._events.empty()

    def _next_event(self) -> m.Event:
        while True:
            left = inf if self._wake_at is None else self._wake_at - self._edges.clock()
            try:
                return self._events.get(timeout=min(max(0.0, left), LOOK_SECONDS))
            except Empty:
                if left <= LOOK_SECONDS:
                    return m.Tick()

    def _on(self, event: m.Event) -> None:
        if isinstance(event, m.Ended):
            self._receptions.pop(event.segment, None)
        self._wake_at = None
        for reception in self._receptions.values():
            if reception.ahead:
                reached = m.Reached(reception.segment, reception.reached)
                for command in self._transfer.on(reached, self._edges.clock()):
                    self._perform(command)
        commands = self._transfer.on(event, self._edges.clock())
        for place, command in enumerate(commands):
            try:
                self._perform(command)
            except RdlError as error:
                if isinstance(command, m.Quarantine):
                    _not_put_aside(commands, error)
                self._skip(commands[place + 1 :])
                self._on(m.LocalFailed(error))  # before any event that waits: it may publish
                return

    def _skip(self, commands: list[m.Command]) -> None:
        """After a failure only what stops something, ends all, or will be waited for and can do
        no harm is still performed."""
        for command in commands:
            if isinstance(command, m.Drop | m.Trim | m.Checkpoint | m.Finish):
                self._perform(command)
            elif isinstance(command, m.Repeat):
                self._events.put(m.Repeated(command.places, copied=False))

    def _perform(self, command: m.Command) -> None:
        _PERFORM[type(command)](self, command)

    def _do_fetch(self, command: m.Fetch) -> None:
        place = (self._given if command.fresh else self._links)[command.source]
        reception = Reception(command, self._edges, place)
        self._receptions[command.segment] = reception
        if self._own is None and len(self._receptions) == 1 and reception.ask():
            self._own = reception
        else:
            self._crew.start(reception, self._events.put)

    def _do_receive(self, command: m.Receive) -> None:
        reception = self._receptions[command.segment]
        if reception.fresh:
            self._links[reception.source] = reception.place
        reception.receive(command)

    def _do_trim(self, command: m.Trim) -> None:
        if command.segment in self._receptions:
            self._receptions[command.segment].trim(command.stop, command.hold)

    def _do_drop(self, command: m.Drop) -> None:
        reception = self._receptions.get(command.segment)
        if reception is not None:
            reception.drop()

    def _do_seek(self, command: m.Seek) -> None:
        exchange = self._receptions[command.segment].exchange
        if self._edges.named is not None and exchange is not None:
            places = self._edges.named(exchange.head, exchange.public)
            self._given += places
            self._links += places
            self._events.put(m.Found(tuple(redact_url(place.url) for place in places)))

    def _do_renew(self, command: m.Renew) -> None:
        self._renewal.do(self._renew)

    def _renew(self) -> None:
        try:
            assert self._edges.renew is not None
            self._given[0] = self._links[0] = self._edges.renew()
        except RdlError as error:
            self._events.put(m.Renewed(error))
        else:
            self._events.put(m.Renewed())

    def _do_begin(self, command: m.Begin) -> None:
        self._follower.stopped = True  # what it reads is about to go
        self._follower = Follower(self._edges.store)
        spec = self._transfer.spec
        header = Header(
            command.url or spec.url,
            command.representation,
            command.block_size,
            command.span,
            command.adopted,
        )
        self._edges.store.begin(header)

    def _do_mix(self, command: m.Mix) -> None:
        self._edges.store.mix()

    def _do_reserve(self, command: m.Reserve) -> None:
        self._edges.store.reserve(command.size)

    def _do_forget(self, command: m.Forget) -> None:
        if self._edges.watcher is not None:
            self._edges.watcher.hide(command.ranges)
        self._edges.store.forget(command.ranges)

    def _do_checkpoint(self, command: m.Checkpoint) -> None:
        self._sync.do(self._checkpoint)

    def _checkpoint(self) -> None:
        try:
            self._edges.store.checkpoint()
        except RdlError as error:
            self._events.put(m.LocalFailed(error, during_sync=True))
        else:
            self._events.put(m.Synced())

    def _do_deliver(self, command: m.Deliver) -> None:
        self._edges.deliver(command.upto)

    def _do_known(self, command: m.Known) -> None:
        if self._edges.watcher is not None:
            self._edges.watcher.known(command.representation, command.size)

    def _do_show(self, command: m.Show) -> None:
        if self._edges.watcher is not None:
            self._edges.watcher.show(command.ranges)

    def _do_evict(self, command: m.Evict) -> None:
        if self._edges.watcher is not None:
            gone = self._edges.watcher.evict(command.size, command.wanted)
            self._on(m.Evicted(tuple(gone)))

    def _do_saved(self, command: m.Saved) -> None:
        if self._edges.watcher is not None:
            self._edges.watcher.saved()

    def _do_hash(self, command: m.Hash) -> None:
        follower = self._follower
        self._hash.do(lambda: self._feed(follower, command))

    def _feed(self, follower: Follower, command: m.Hash) -> None:
        try:
            follower.feed(command.range, command.algorithms)
        except RdlError as error:
            if not follower.stopped:
                self._events.put(m.LocalFailed(error))
            return
        if command.last and not follower.stopped:
            self._events.put(m.Hashed(follower.digests()))

    def _do_check(self, command: m.Check | m.CheckBlocks) -> None:
        follower = self._follower
        self._hash.do(lambda: self._check(follower, command))

    def _check(self, follower: Follower, command: m.Check | m.CheckBlocks) -> None:
        ranges = (command.range,) if isinstance(command, m.Check) else command.blocks
        try:
            found = follower.digests_of(ranges, command.algorithm)
        except RdlError as error:
            if not follower.stopped:
                self._events.put(m.LocalFailed(error))
            return
        if follower.stopped:
            return
        if isinstance(command, m.Check):
            self._events.put(m.Checked(command.range, found[0]))
        else:
            self._events.put(m.CheckedBlocks(ranges, found))

    def _do_repeat(self, command: m.Repeat) -> None:
        self._hash.do(lambda: self._repeat(command))

    def _repeat(self, command: m.Repeat) -> None:
        copied = False
        try:
            repeat(self._edges.store, command.range, command.places)
            copied = True
        except RdlError as error:
            self._events.put(m.LocalFailed(error))
        finally:  # an end waits for it
            self._events.put(m.Repeated(command.places, copied))

    def _do_publish(self, command: m.Publish) -> None:
        self._edges.store.publish(finish_of(command, self._options))
        self._events.put(m.Published())

    def _do_quarantine(self, command: m.Quarantine) -> None:
        self._edges.store.quarantine()

    def _do_wake_at(self, command: m.WakeAt) -> None:
        self._wake_at = command.time

    def _do_tell(self, command: m.Tell) -> None:
        if self._tell is not None:
            self._tell(command.fact)

    def _do_finish(self, command: m.Finish) -> None:
        self._finish = command


def _not_put_aside(commands: list[m.Command], error: RdlError) -> None:
    for command in commands:
        if isinstance(command, m.Finish) and command.error is not None:
            command.error.hint = f"the data could not be put aside: {error}"


def finish_of(command: m.Publish, options: FileOptions) -> Finish:
    """How to publish this."""
    representation = command.representation
    mtime = parse_http_date(representation.last_modified) if options.keep_time else None
    return Finish(
        options.no_clobber, mtime, representation, command.size, options.mode, command.url
    )


_PERFORM: dict[type[m.Command], Callable[[Driver, Any], None]] = {
    m.Fetch: Driver._do_fetch,
    m.Renew: Driver._do_renew,
    m.Seek: Driver._do_seek,
    m.Receive: Driver._do_receive,
    m.Trim: Driver._do_trim,
    m.Drop: Driver._do_drop,
    m.Begin: Driver._do_begin,
    m.Mix: Driver._do_mix,
    m.Reserve: Driver._do_reserve,
    m.Forget: Driver._do_forget,
    m.Checkpoint: Driver._do_checkpoint,
    m.Deliver: Driver._do_deliver,
    m.Known: Driver._do_known,
    m.Show: Driver._do_show,
    m.Evict: Driver._do_evict,
    m.Saved: Driver._do_saved,
    m.Hash: Driver._do_hash,
    m.Check: Driver._do_check,
    m.CheckBlocks: Driver._do_check,
    m.Repeat: Driver._do_repeat,
    m.Publish: Driver._do_publish,
    m.Quarantine: Driver._do_quarantine,
    m.WakeAt: Driver._do_wake_at,
    m.Tell: Driver._do_tell,
    m.Finish: Driver._do_finish,
}
