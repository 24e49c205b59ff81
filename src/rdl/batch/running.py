"""A list over an Executor: shards are handed out, what comes of them is told, and what was lost is
handed out again.

All of it happens in the thread that calls; a shard is trusted to have run only when its results
have come. Of a file the first result counts.
"""

from __future__ import annotations

import os
import pickle
import queue
import secrets
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakKeyDictionary

from msgspec import Struct
from msgspec.structs import replace

from rdl.api import Done, Session, Target
from rdl.batch.flag import fetch_in_sight, hoist, lower
from rdl.batch.shards import Shard, divided, packed, share_of, sharing
from rdl.batch.working import SAME, Report, decoded, interrupt
from rdl.core.events import Result, Teller, ended
from rdl.core.text import safe_text
from rdl.errors import Interrupted, NetworkError, RdlError, UsageError
from rdl.options import NETWORK_FILES, SessionOptions
from rdl.sources import shown_url

LOOK_SECONDS = 0.25
PATIENCE = 10.0
"""Seconds for workers to save their state after a signal."""
TRIES = 4
"""Workers that a shard may lose before its files have failed."""
Call = Callable[[Shard], list[Report]]
_waits = WeakKeyDictionary[Executor, dict[threading.Thread, "_Run"]]()
_lock = threading.Lock()


class Far(Executor):
    """An Executor whose workers can be reached beside the calls that they make."""

    call: Call
    """What they are to call for a shard."""

    @property
    @abstractmethod
    def num_workers(self) -> int: ...

    @abstractmethod
    def hear(self, batch: str, channel: Callable[[list[Report]], None]) -> None:
        """What shards of the batch report while they run goes there, from any thread."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether shards can be handed out now. Raises RdlError where that is not to be expected
        any more."""

    @abstractmethod
    def interrupt(self, batch: str, signal: str) -> None:
        """Ask all workers to end what they do of the batch; does not wait."""

    @abstractmethod
    def forget(self, batch: str) -> None:
        """It is over: what was reported is kept nowhere, where that can be had. Never raises."""


class Batch:
    """As a Session for lists, over the workers of an executor, which stays the caller's.

    `workers`: how many shards run at a time; None: as many as the executor says. Of `options`
    the limits are those of all workers together, and `parallel` is that of each.
    """

    def __init__(
        self, executor: Executor, options: SessionOptions | None = None, workers: int | None = None
    ) -> None:
        if not isinstance(executor, Executor):
            why = f"it is to be a concurrent.futures.Executor, not {executor!r}"
            raise UsageError("executor", why)
        calls = getattr(executor, "_call_queue", None)
        if getattr(calls, "_opid", os.getpid()) != os.getpid():
            raise UsageError("executor", "it is a copy, by fork, of one of another process")
        if workers is not None and workers < 1:
            raise UsageError("workers", "at least one is needed")
        self.executor, self.options = executor, options or SessionOptions()
        self.workers = workers or _workers_of(executor)
        self.name = f"rdl-{secrets.token_hex(8)}"
        self.signal: str | None = None

    def get_all(
        self, targets: Iterable[Target], tell: Teller | None = None, done: Done | None = None
    ) -> list[Result]:
        """As Session.get_all; `tell` and `done` are called from the thread that called. Raises
        UsageError where the targets cannot be fetched elsewhere, NetworkError where the workers
        cannot be had: what has come until then is kept, what has not is `done` with that error,
        and the same call continues."""
        wanted = list(targets)
        _check(wanted)
        run = _Run(self, wanted, tell, done)
        with _waiting(run, self.executor):
            try:
                return run.to_the_end()
            except BaseException as error:
                run.abandon(self.signal or "SIGINT")
                run.settle()
                if isinstance(error, RdlError):
                    run.give_up(error)
                raise
            finally:
                run.forget()

    def interrupt(self, signal: str) -> None:
        """As Session.interrupt. Workers on other machines hear of it only where the executor is
        Far: what does not end within PATIENCE seconds counts as interrupted, and goes on."""
        self.signal = signal


def _workers_of(executor: Executor) -> int:
    """How many it has, as it says; else as many as there are processors here."""
    said = (getattr(executor, name, None) for name in ("num_workers", "_max_workers"))
    return max(1, next((one for one in said if isinstance(one, int)), os.cpu_count() or 1))


@contextmanager
def _waiting(run: _Run, executor: Executor) -> Iterator[None]:
    """While this thread waits for that."""
    with _lock:
        _waits.setdefault(executor, {})[threading.current_thread()] = run
    try:
        yield
    finally:
        with _lock:
            _waits[executor].pop(threading.current_thread(), None)


def _check_turn(executor: Executor) -> None:
    """Raises UsageError where all threads of a pool wait for each other, and this is one of them;
    the others go on then."""
    pool, own = getattr(executor, "_threads", ()), threading.current_thread()
    if own not in pool:
        return
    with _lock:
        stuck = [one for one, run in _waits[executor].items() if one in pool and run.stuck]
        if own in stuck and len(stuck) >= _workers_of(executor):
            del _waits[executor][own]
            why = "its own workers call this, and none is left to do it"
            raise UsageError("executor", why, hint="another executor, or one with more workers")


class _Line(Struct):
    """The shards of a group that wait, each with how often it was lost; and how many run."""

    waiting: deque[tuple[list[int], int]]
    abreast: int
    running: int = 0


class _Handed(Struct):
    """A shard that was handed out."""

    line: _Line
    numbers: list[int]
    losses: int


class _Run:
    """One list on its way."""

    def __init__(self, batch: Batch, targets: list[Target], tell: Teller | None, done: Done | None):
        self._batch, self._targets, self._tell, self._done = batch, targets, tell, done
        self._numbers = {_absolute(one.path): number for number, one in enumerate(targets)}
        self._results: dict[int, Result] = {}
        self._handed: dict[Future[list[Report]], _Handed] = {}
        self._heard = queue.SimpleQueue[list[Report]]()
        self._deadline: float | None = None
        executor = batch.executor
        self._far = executor if isinstance(executor, Far) else None
        if self._far is not None:
            self._far.hear(batch.name, self._heard.put)
        groups = divided(targets, batch.workers, batch.options.parallel)
        self._lines = [
            _Line(deque((numbers, 0) for numbers in group.shards), group.abreast)
            for group in groups
        ]
        self._room = min(batch.workers, sum(len(group.shards) for group in groups))
        self._most = self._room

    @property
    def stuck(self) -> bool:
        """Whether nothing that was handed out has begun."""
        handed = list(self._handed)
        return bool(handed) and not any(one.running() or one.done() for one in handed)

    def to_the_end(self) -> list[Result]:
        """Raises RdlError where the workers cannot be had."""
        while self._handed or any(line.waiting for line in self._lines):
            if self._batch.signal is not None and self._deadline is None:
                self._deadline = time.monotonic() + PATIENCE
                self.abandon(self._batch.signal)
            if self._deadline is not None and time.monotonic() > self._deadline:
                break
            if self._far is None or self._deadline is not None or self._far.ready():
                self._hand_out()
            _check_turn(self._batch.executor)
            if not self._handed:
                time.sleep(LOOK_SECONDS)
            for future in wait(self._handed, LOOK_SECONDS, FIRST_COMPLETED).done:
                self._take(future)
            self._listen()
        self._fail_the_rest(Interrupted(self._batch.signal or "SIGINT"))
        return [self._results[number] for number in range(len(self._targets))]

    def settle(self) -> None:
        """Wait for what was abandoned to save its state, where the workers are not Far."""
        self._deadline = time.monotonic()
        if self._far is None:
            wait(self._handed, PATIENCE)

    def give_up(self, error: RdlError) -> None:
        """What has no result by now has this one."""
        for future in wait(self._handed, 0).done:
            with suppress(RdlError):
                self._take(future)
        self._listen()
        self._fail_the_rest(error)

    def abandon(self, signal: str) -> None:
        """Nothing more is handed out, and what runs is to save its state and end."""
        for line in self._lines:
            line.waiting.clear()
        interrupt(self._batch.name, signal)
        if self._far is not None:
            self._far.interrupt(self._batch.name, signal)
        else:
            hoist(self._batch.name, signal)
            for future in [one for one in self._handed if one.cancel()]:
                del self._handed[future]

    def forget(self) -> None:
        """Nothing is left of how it was told of."""
        if self._far is not None:
            self._far.forget(self._batch.name)
        else:
            lower(self._batch.name)

    def _hand_out(self) -> None:
        """To as many as have room; first of the group of which the fewest run."""
        while len(self._handed) < self._room:
            free = [one for one in self._lines if one.waiting and one.running < one.abreast]
            if not free:
                return
            line = min(free, key=lambda one: one.running)
            numbers, losses = line.waiting.popleft()
            numbers = [number for number in numbers if number not in self._results]
            if numbers and not self._submit(_Handed(line, numbers, losses)):
                return  # whether there are workers is asked first

    def _submit(self, handed: _Handed) -> bool:
        shard = self._shard(handed.numbers, handed.line.abreast)
        call = fetch_in_sight if self._far is None else self._far.call
        try:
            future = self._batch.executor.submit(call, shard)
        except Exception as error:
            if self._far is None:  # it is broken, or was shut down
                raise _without_workers(error) from error
            self._lost(handed, error)
            return False
        self._handed[future] = handed
        handed.line.running += 1
        return True

    def _shard(self, numbers: Sequence[int], abreast: int) -> Shard:
        own = self._batch.options
        targets = [_sent(self._targets[number], own, abreast) for number in numbers]
        return packed(self._batch.name, targets, share_of(own, abreast, self._most))

    def _take(self, future: Future[list[Report]]) -> None:
        handed = self._handed.pop(future)
        handed.line.running -= 1
        try:
            reports = future.result()
        except RdlError:
            raise
        except Exception as error:
            self._lost(handed, error)
        else:
            self._told(reports)

    def _lost(self, handed: _Handed, error: BaseException) -> None:
        if self._deadline is not None:
            return
        losses = handed.losses + 1
        if losses < TRIES:
            handed.line.waiting.appendleft((handed.numbers, losses))
            return
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        lost = NetworkError("worker", f"lost {losses} times: {safe_text(why, 300)}", hint=SAME)
        for number in handed.numbers:
            if number not in self._results:
                self._fail(number, lost)

    def _told(self, reports: list[Report]) -> None:
        for report in reports:
            one = decoded(report)
            number = self._numbers.get(one.path)
            if number is None or number in self._results:
                continue
            one = replace(one, path=str(self._targets[number].path))
            if isinstance(one, Result):
                self._ended(number, one)
            elif self._tell is not None:
                self._tell(one)

    def _listen(self) -> None:
        while not self._heard.empty():
            self._told(self._heard.get())

    def _fail_the_rest(self, error: RdlError) -> None:
        for number in range(len(self._targets)):
            if number not in self._results:
                self._fail(number, error)

    def _fail(self, number: int, error: RdlError) -> None:
        target = self._targets[number]
        self._ended(number, ended(shown_url(target.url), str(target.path), error))

    def _ended(self, number: int, result: Result) -> None:
        self._results[number] = result
        if self._done is not None:
            self._done(result)


def _without_workers(error: BaseException) -> NetworkError:
    why = safe_text(str(error), 300) or type(error).__name__
    return NetworkError("executor", why, hint="with another one the same call continues")


def _absolute(path: Path) -> str:
    return str(path.absolute())  # what `..` is behind a link, the system knows


def _sent(target: Target, session: SessionOptions, abreast: int) -> Target:
    """As it is for a worker, which may be in another folder."""
    options = sharing(target.options, session, abreast)
    network = options.network
    files = {
        name: Path(_absolute(path)) for name in NETWORK_FILES if (path := getattr(network, name))
    }
    if files:
        options = replace(options, network=replace(network, **files))
    return Target(target.url, Path(_absolute(target.path)), options)


def _check(targets: Sequence[Target]) -> None:
    """Whether they can be fetched elsewhere, and again. Raises UsageError."""
    folders = {folder: os.path.realpath(folder) for folder in {one.path.parent for one in targets}}
    taken = set[str]()
    for one in targets:
        shown, options = safe_text(str(one.path)), one.options
        if (place := os.path.join(folders[one.path.parent], one.path.name)) in taken:
            raise UsageError(shown, "the same target twice in one run")
        taken.add(place)
        if options.file.restart or options.file.no_clobber:
            why = "what a lost worker had done would be taken for what was there before"
            raise UsageError(shown, f"neither restart nor no_clobber over workers: {why}")
        own = (options.renew, options.heard, options.source, one.url)
        try:
            pickle.dumps([value for value in own if value is not None])
        except Exception as error:
            why = f"what it is made of cannot be sent to a worker: {safe_text(str(error), 200)}"
            raise UsageError(shown, why) from error


def get_all(
    targets: Iterable[Target],
    executor: Executor | None = None,
    *,
    options: SessionOptions | None = None,
    workers: int | None = None,
    tell: Teller | None = None,
    done: Done | None = None,
) -> list[Result]:
    """Download many to where they belong, over any Executor; without one by threads of this
    process. Results come in the order of the targets, and failures are results; raises RdlError
    where the workers cannot be had. See Batch for the other arguments."""
    if executor is None:
        if workers is not None:
            raise UsageError("workers", "useless without an executor")
        with Session(options) as session:
            return session.get_all(targets, tell, done)
    return Batch(executor, options, workers).get_all(targets, tell, done)
