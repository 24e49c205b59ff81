"""A world that is worse for those who read here and there; the real driver on the stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from msgspec.structs import replace

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.fields import ResponseHead
from rdl.core.transfer import Phase, Transfer
from rdl.engine.driver import Driver
from rdl.engine.edges import Edges
from rdl.engine.reception import Reception
from rdl.storage import kept
from rdl.transport.base import Request
from rdl.transport.scripted import Answer
from tests.engine.baton import Stage
from tests.engine.simulated import SimulatedCrew, SimulatedRoom
from tests.engine.world import Version, World


class LazyWorld(World):
    """Servers that are worse."""

    def _answer(self, request: Request, fixed: Version | None = None) -> Answer:
        fields = dict(request.headers)
        suffix = fields.get("Range", "").startswith("bytes=-")
        trouble = not self.calm and self.chance.random() < self.trouble / 4
        if trouble:
            kind = self.chance.choice(["429", "later", "unknown total", "suffix"])
            if kind == "429":
                wait = str(self.chance.choice([0, 1, 7, 200]))
                return Answer(ResponseHead(429, (("retry-after", wait),), content_length=0))
            if kind == "suffix" and suffix:
                return Answer(ResponseHead(416, (), content_length=0))
            if kind == "later":
                return Answer(ResponseHead(503, (), content_length=0))
        answer = super()._answer(request, fixed)
        if trouble and kind == "unknown total":
            headers = tuple(
                (name, text.rpartition("/")[0] + "/*" if name == "content-range" else text)
                for name, text in answer.head.headers
            )
            answer = replace(answer, head=replace(answer.head, headers=headers))
        return answer


class _Events(SimpleQueue[m.Event]):
    """What rings the heart."""

    ring: Callable[[], None] = staticmethod(lambda: None)

    def put(self, event: m.Event, *more: Any, **others: Any) -> None:
        super().put(event)
        self.ring()


class LazyRoom(SimulatedRoom):
    """Does what is left when it is closed."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.agenda)
        self._left: list[Callable[[], None]] = []

    def do(self, work: Callable[[], None]) -> None:
        self._left.append(work)
        super().do(self._next)

    def close(self) -> None:
        while self._left:
            self._next()

    def _next(self) -> None:
        if self._left:
            self._left.pop(0)()


class LazyCrew(SimulatedCrew):
    """Ends with its run, not with the process."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.agenda)
        self._over = False

    def end(self, receptions: Sequence[Reception]) -> None:
        """All of them write no more."""
        self._over = True
        for reception in receptions:
            reception.drop()
            if reception.answered:
                reception.step(self._view)

    def _open(self, reception: Reception) -> None:
        if not self._over:
            super()._open(reception)

    def _step(self, reception: Reception) -> None:
        if not self._over:
            super()._step(reception)


class LazyDriver(Driver):
    """The real driver in a thread of the stage."""

    def __init__(self, stage: Stage, transfer: Transfer, edges: Edges) -> None:
        super().__init__(transfer, edges)
        self._stage, self._ended = stage, list[Reception]()
        self._simulated = LazyCrew(stage)
        rooms: Any = [LazyRoom(stage), LazyRoom(stage)]
        crew: Any = self._simulated
        self._crew, (self._sync, self._hash) = crew, rooms
        self._events = _Events()
        self._events.ring = self._rung
        self._sleeper: Any = None

    def _end_receptions(self) -> None:
        self._simulated.end(list(self._receptions.values()))

    def _rung(self) -> None:
        if self._sleeper is not None:
            sleeper, self._sleeper = self._sleeper, None
            self._stage.wake(sleeper, self._stage.world.random.choice([0.0, 0.0, 0.003]))

    def _next_event(self) -> m.Event:
        world = self._stage.world
        while True:
            self._simulated.poll()
            if not self._events.empty():
                return self._events.get()
            wake = self._wake_at
            if wake is not None and wake <= world.now:
                return m.Tick()
            self._sleeper = self._stage.current
            self._stage.sleep(None if wake is None else wake - world.now)
            self._sleeper = None

    def _on(self, event: m.Event) -> None:
        super()._on(event)
        self._look()

    def _look(self) -> None:
        """Memory holds what was allowed, what is waited for and what is in flight."""
        fill, lazy = self._transfer._fill, self._transfer.spec.lazy
        if not self._transfer.spec.volatile or self._transfer.phase is not Phase.FILLING:
            return
        if fill.row is None or not fill._joinable():
            return
        assert lazy is not None
        assert fill.demands is not None
        waited = sum(map(len, fill.demands.waiting(None)))
        flying = sum(len(lane.writes.clip(fill.row.span)) for lane in fill.lanes.all())
        kinds = 1 + len(fill.demands.waiting(None)) + len(fill.lanes)
        here, most = fill.row.present_bytes, lazy.keep + waited + flying + 2 * kept.CELL * kinds
        assert here <= most, f"{here} bytes in memory, {most} allowed"


class Watching:
    """A flight, whose readers get their turn also where they do not wait for the heart."""

    def __init__(self, stage: Stage, flight: Any) -> None:
        self._stage, self._flight = stage, flight

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flight, name)

    def evict(self, size: int, wanted: Sequence[ByteRange]) -> Sequence[ByteRange]:
        gone = self._flight.evict(size, wanted)
        self._stage.sleep(0.0)
        return gone
