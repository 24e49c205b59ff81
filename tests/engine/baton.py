"""Threads of which one runs at a time: who is next is told by a seeded agenda, so that a story of
several threads is the same each time. What would wait calls sleep(); time is simulated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rdl.engine import flights, ground, remote_file
from tests.engine.simulated import Agenda
from tests.engine.world import World

MOST_STEPS = 100_000


class Gone(BaseException):
    """The process is gone: what slept wakes no more."""


class Actor:
    """A thread of the story. `turn`: a wake for an earlier sleep is none; `until` then what it does
    is to be done."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.go, self.turn = threading.Lock(), 0
        self.over, self.error = False, None
        self.until = float("inf")
        self.go.acquire()
        self.work = work


class Stage:
    """Whose turn it is. The thread that calls play() has it while no actor does."""

    def __init__(self, world: World) -> None:
        self.world, self.agenda = world, Agenda(world)
        self.actors: list[Actor] = []
        self.waiters = 0
        self.current: Actor | None = None
        self._back = threading.Lock()
        self._back.acquire()
        self._gone = False

    def begin(self, work: Callable[[], None], delay: float = 0.0) -> Actor:
        """One more thread."""
        actor = Actor(work)
        self.actors.append(actor)
        threading.Thread(target=self._run, args=(actor,), daemon=True).start()
        self.wake(actor, delay)
        return actor

    def sleep(self, seconds: float | None = None) -> None:
        """Until it is woken, or so much time is over. For an actor."""
        actor = self.current
        assert actor is not None
        if seconds is not None:
            self.wake(actor, seconds)
        self._back.release()
        actor.go.acquire()
        if self._gone:
            raise Gone
        assert self.world.now < actor.until, "it takes too long"

    def wake(self, actor: Actor, delay: float = 0.0) -> None:
        """It sleeps, and goes on then."""
        turn = actor.turn
        self.agenda.add(delay, lambda: self._resume(actor, turn))

    def play(self, actors: list[Actor]) -> None:
        """Until these are over. What one of them raises comes out here."""
        steps = 0
        while not all(actor.over for actor in actors):
            steps += 1
            assert steps < MOST_STEPS, "no end in sight"
            assert self.agenda.next_time() is not None, "everybody waits for ever"
            self.agenda.act()

    def end(self) -> None:
        """Nobody goes on."""
        self._gone = True
        for actor in self.actors:
            while not actor.over:
                self.current = actor
                actor.go.release()
                self._back.acquire()

    def _resume(self, actor: Actor, turn: int) -> None:
        if actor.over or actor.turn != turn:
            return
        actor.turn += 1
        self.current = actor
        actor.go.release()
        self._back.acquire()
        self.current = None
        if actor.error is not None:
            raise actor.error

    def _run(self, actor: Actor) -> None:
        actor.go.acquire()
        try:
            if not self._gone:
                actor.work()
        except Gone:
            pass
        except BaseException as error:
            actor.error = error
        actor.over = True
        self._back.release()


class Instead:
    """What the threads of flights use, by the stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.time = SimpleNamespace(monotonic=lambda: stage.world.now, sleep=stage.sleep)

    def run(self) -> Any:
        """A Run."""
        stage, actors = self.stage, list[Actor]()

        def join(timeout: float) -> None:
            until = stage.world.now + timeout
            while not actors[0].over and stage.world.now < until:
                stage.sleep(0.05)

        def begin(work: Any) -> None:
            actors.append(stage.begin(lambda: work(own)))

        own = SimpleNamespace(begin=begin, join=join)
        return own

    def waiter(self, *args: Any, **others: Any) -> ground.Waiter:
        """A Waiter."""
        return _Waiter(self.stage, *args, **others)

    def subscription(self, *args: Any) -> remote_file.Subscription:
        """A Subscription."""
        return _Subscription(self.stage, *args)

    def take_the_place(self, patch: Any) -> None:
        """Of what they use else. `patch(module, name, value)` undoes itself."""
        patch(remote_file, "Subscription", self.subscription)
        for module in (flights, remote_file):
            patch(module, "Waiter", self.waiter)
        patch(flights, "time", self.time)
        patch(flights, "Run", self.run)


class _Waiter(ground.Waiter):
    def __init__(self, stage: Stage, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        stage.waiters += 1
        self._stage, self._rung, self._number = stage, False, stage.waiters
        self._sleeper: Actor | None = None

    def __hash__(self) -> int:
        return self._number  # sets of them have one order

    def ring(self) -> None:
        self._rung = True
        if self._sleeper is not None:
            sleeper, self._sleeper = self._sleeper, None
            self._stage.wake(sleeper, self._stage.world.random.choice([0.0, 0.0, 0.01]))

    def wait(self, seconds: float = ground.LOOK_SECONDS) -> bool:
        if not self._rung:
            self._sleeper = self._stage.current
            self._stage.sleep(max(0.0, seconds))
            self._sleeper = None
        rung, self._rung = self._rung, False
        return rung


class _Subscription(remote_file.Subscription):
    def __init__(self, stage: Stage, *args: Any) -> None:
        stage.waiters += 1
        self._number = stage.waiters
        super().__init__(*args)

    def __hash__(self) -> int:
        return self._number
