"""The real heart, driver, reception and store with their threads replaced by an agenda: what
happens when is seeded, and a process can be stopped between any two events.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.events import Result
from rdl.core.transfer import Transfer
from rdl.engine.driver import Driver
from rdl.engine.edges import Edges, Place, Watcher
from rdl.engine.reception import Reception
from rdl.engine.throttle import Throttle
from rdl.errors import RdlError
from rdl.landing import Landing, Sow
from rdl.options import Options
from rdl.storage.base import Store
from rdl.storage.small import SmallStore
from rdl.storage.sown_part import SownPart
from tests.engine.world import MIRROR, TARGET, Killed, World

URL = "http://server/file"
MOST_STEPS = 60_000


def mirrors_of(world: World) -> tuple[str, ...]:
    """Their URLs."""
    return tuple(f"{MIRROR}{number}/file" for number in range(len(world.mirrors)))


class Agenda:
    """What happens when, in simulated time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def add(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.world.now + delay, next(self._order), action))

    def next_time(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def act(self) -> None:
        time, _, action = heapq.heappop(self._heap)
        self.world.now = max(self.world.now, time)
        action()


class SimulatedRoom:
    """Stands for a thread that does one thing after another."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda, self._free_at = agenda, 0.0

    def do(self, work: Callable[[], None]) -> None:
        random, now = self._agenda.world.random, self._agenda.world.now
        self._free_at = max(self._free_at, now) + random.choice([0.0, 0.01, 0.5])
        self._agenda.add(self._free_at - now, work)

    def close(self) -> None:
        """Its thread ends with the process."""


class SimulatedCrew:
    """Steps receptions in seeded order."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._waiting: list[Reception] = []
        self._view = memoryview(bytearray(agenda.world.random.choice([1000, 4096, 65536])))

    def start(self, reception: Reception, post: Callable[[m.Event], None]) -> None:
        self._post = post
        self._agenda.add(self._delay(), lambda: self._open(reception))

    def poll(self) -> None:
        """Receptions that the heart has decided about go on."""
        for reception in [one for one in self._waiting if one.decided]:
            self._waiting.remove(reception)
            self._agenda.add(self._delay(), lambda one=reception: self._step(one))

    def close(self) -> None:
        """Its threads end with the process."""

    def _open(self, reception: Reception) -> None:
        event = reception.open()
        self._post(event)
        if isinstance(event, m.Head):
            self._waiting.append(reception)

    def _step(self, reception: Reception) -> None:
        if reception.held:
            self._agenda.add(0.05, lambda: self._step(reception))
            return
        events = reception.step(self._view)
        for event in events:
            self._post(event)
        if not any(isinstance(event, m.Ended) for event in events):
            self._agenda.add(self._delay(), lambda: self._step(reception))

    def _delay(self) -> float:
        return self._agenda.world.random.choice([0.0, 0.001, 0.01, 0.05, 0.2])


class SimulatedDriver(Driver):
    """The real driver with its threads replaced."""

    def __init__(
        self,
        world: World,
        transfer: Transfer,
        store: Store,
        deliver: Callable[[int], None] = lambda upto: None,
        *,
        awaited: Callable[[ByteRange], bool] | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        edges = Edges(
            URL,
            world.transport,
            store,
            Throttle(None),
            Throttle(None),
            lambda: world.now,
            deliver,
            awaited=awaited,
            volatile=awaited is not None,
            watcher=watcher,
            mirrors=tuple(map(Place, mirrors_of(world))),
        )
        super().__init__(transfer, edges)
        self._world, self._agenda = world, Agenda(world)
        self._simulated = SimulatedCrew(self._agenda)
        rooms: Any = [SimulatedRoom(self._agenda), SimulatedRoom(self._agenda)]
        crew: Any = self._simulated
        self._crew, (self._sync, self._hash) = crew, rooms
        self._steps, self._begun = 0, False

    def _end_receptions(self) -> None:
        """Nobody steps them any more."""
        for reception in self._receptions.values():
            reception.drop()

    def advance(self, events: int) -> bool:
        """Let so many events happen; whether there is more to come."""
        if not self._begun:
            self._begun = True
            self._on(m.Demand())
        while self._finish is None and events:
            events -= 1
            self._on(self._next_event())
        return self._finish is None

    @property
    def ended(self) -> tuple[Result, RdlError | None]:
        """What run() returns."""
        assert self._finish is not None
        return self._finish.result, self._finish.error

    def later(self, delay: float, action: Callable[[], None]) -> None:
        self._agenda.add(delay, action)

    def _next_event(self) -> m.Event:
        while self._events.empty():
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise AssertionError(f"no end in sight: {self._transfer!r}")
            self._simulated.poll()
            at, wake = self._agenda.next_time(), self._wake_at
            if at is None and wake is None:
                raise AssertionError(f"everybody waits for ever: {self._transfer!r}")
            if wake is not None and (at is None or wake <= at):
                self._world.now = max(self._world.now, wake)
                return m.Tick()
            self._agenda.act()
        return self._events.get()


class Process:
    """One run of one download, by the steps of Session.get. `seed` gives the heart's own; the
    driver is None where nothing was to be done; `sow`: it is a delta."""

    def __init__(
        self,
        world: World,
        store: SownPart | SmallStore,
        options: Options,
        seed: Callable[[], int],
        url: str = URL,
        *,
        sow: Sow | None = None,
    ) -> None:
        self.store = store
        self.driver: SimulatedDriver | None = None
        self._landing = landing = Landing(TARGET, url, options, disk=world.disk)
        if landing.already_there() is not None:
            landing.sweep()
            return
        with self._ending():
            spec = landing.spec_for(url, store, sow, None)
            spec = replace(spec, seed=seed(), page_name=True)
            self.driver = SimulatedDriver(world, Transfer(spec), store)

    def run(self) -> tuple[Result, RdlError | None]:
        """To the end; as Driver.run()."""
        assert self.driver is not None
        with self._ending():
            result, error = self.driver.run()
        return self._close(result, error), error

    def advance(self, events: int) -> bool:
        """Let so many events happen; whether there is more to come."""
        assert self.driver is not None
        with self._ending():
            more = self.driver.advance(events)
        if not more:
            self._close(*self.driver.ended)
        return more

    def stop(self) -> None:
        """As SIGTERM does."""
        assert self.driver is not None
        self.driver.signal("SIGTERM")

    def _close(self, result: Result, error: RdlError | None) -> Result:
        return self._landing.close(self.store, result, error, None)

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """What goes wrong closes the store; a killed process does nothing any more."""
        try:
            yield
        except Killed:
            raise
        except BaseException:
            self.store.close()
            self._landing.leave(done=False)
            raise
