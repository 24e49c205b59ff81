"""What a worker does: a shard, in a session of its own; and what it reports of it.

Results are plain dicts, each with the word of its kind, so that any executor can carry them.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from rdl import __version__
from rdl.api import Session
from rdl.batch.shards import Shard
from rdl.core.events import (
    Changed,
    Fact,
    Planned,
    Progress,
    Result,
    Retrying,
    Started,
    Verifying,
    Warned,
)
from rdl.core.text import safe_text
from rdl.errors import UsageError, as_error

PERIOD, SOON = 1.0, 0.2
"""Seconds between two reports of a shard, and to its first."""
SAME = "the same rdl is to be installed on every worker, and on the scheduler"
Report = dict[str, Any]
Channel = Callable[[list[Report]], None]
_KINDS: dict[str, type[Fact | Result]] = {
    kind.__name__: kind
    for kind in (Planned, Started, Progress, Retrying, Changed, Verifying, Warned, Result)
}


def encoded(one: Fact | Result) -> Report:
    """As a plain dict."""
    return {"kind": type(one).__name__, **msgspec.to_builtins(one)}


def decoded(report: Report) -> Fact | Result:
    """What another process encoded."""
    fields = dict(report)
    return msgspec.convert(fields, _KINDS[fields.pop("kind")])


class Reports:
    """What there is to tell of a shard. It goes to `channel` now and then, where there is one; what
    goes there may be late, or lost. Of what is only shown, the latest of each file."""

    def __init__(self, channel: Channel | None, clock: Callable[[], float] = time.monotonic):
        self._channel, self._clock = channel, clock
        self._told = clock() - PERIOD + SOON
        self._lasting: list[Fact | Result] = []
        self._results: list[Result] = []
        self._passing: dict[tuple[type, str], Fact] = {}

    def tell(self, fact: Fact) -> None:
        if isinstance(fact, Warned | Changed | Retrying):
            self._lasting.append(fact)
        else:
            self._passing[type(fact), fact.path] = fact
        self._pass_on()

    def done(self, result: Result) -> None:
        self._lasting.append(result)
        self._results.append(result)
        for kind, path in [key for key in self._passing if key[1] == result.path]:
            del self._passing[kind, path]
        self._pass_on()

    def all(self) -> list[Report]:
        """All results, and before them what else has not been told."""
        rest = [one for one in self._lasting if not isinstance(one, Result)]
        return [encoded(one) for one in (*rest, *self._results)]

    def _pass_on(self) -> None:
        now = self._clock()
        if self._channel is not None and now - self._told >= PERIOD:
            self._told = now
            told = [*self._passing.values(), *self._lasting]
            self._passing, self._lasting = {}, []
            self._channel([encoded(one) for one in told])


_running: dict[str, set[Session]] = {}
_interrupted: dict[str, str] = {}
_lock = threading.Lock()


def interrupt(batch: str, signal: str) -> None:
    """Whatever of this batch runs in this process saves its state and ends."""
    with _lock:
        _interrupted[batch] = signal
        sessions = tuple(_running.get(batch, ()))
    for session in sessions:
        session.interrupt(signal)


@contextmanager
def _interruptible(batch: str, session: Session) -> Iterator[None]:
    with _lock:
        _running.setdefault(batch, set()).add(session)
        signal = _interrupted.get(batch)
    if signal is not None:
        session.interrupt(signal)
    try:
        yield
    finally:
        with _lock:
            _running[batch].discard(session)
            if not _running[batch]:
                del _running[batch]


def fetch(shard: Shard, channel: Channel | None = None) -> list[Report]:
    """All targets of a shard to their ends. Raises RdlError where it cannot be begun."""
    if shard.version != __version__:
        host = safe_text(platform.node(), 80)
        why = f"it has rdl {safe_text(__version__)}, and {safe_text(shard.version)} is asked for"
        raise UsageError(f"worker on {host}", why, hint=SAME)
    reports = Reports(channel)
    try:
        targets, options = shard.unpacked()
        with Session(options) as session, _interruptible(shard.batch, session):
            session.get_all(targets, reports.tell, reports.done)
    except Exception as error:
        raise as_error(error) from error
    return reports.all()
