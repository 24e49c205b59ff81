"""A reader who does not wait: what it wants comes, and it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rdl
from rdl.engine.ground import Run
from rdl.engine.remote_file import RemoteFile, Subscription
from rdl.errors import ChangedError, HTTPStatusError
from rdl.options import LazyOptions, Options, TransferOptions
from tests.scenarios.coded import BLOCK, Origin, coded

HASTY = Options(transfer=TransferOptions(retry=0))


class Bell:
    """What may have changed is looked at again, twenty seconds at most."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def __call__(self) -> None:
        self._rung.set()

    def until(self, has: Callable[[], object]) -> bool:
        deadline = time.monotonic() + 20
        while not has() and time.monotonic() < deadline:
            self._rung.wait(0.2)
            self._rung.clear()
        return bool(has())


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(size=20 * BLOCK) as server:
        yield server


@pytest.fixture(params=["memory", "path"])
def file(request: pytest.FixtureRequest, origin: Origin, tmp_path: Path) -> Iterator[RemoteFile]:
    path = tmp_path / "f" if request.param == "path" else None
    with rdl.Session() as session, session.open(origin.url, path, options=HASTY) as file:
        yield file


def wanted(subscription: Subscription, bell: Bell, start: int, stop: int) -> bytes:
    """These bytes, when they have come."""
    subscription.want(start, stop)
    assert bell.until(lambda: subscription.ready(start) >= stop or subscription.error)
    if subscription.error is not None:
        raise subscription.error
    view, at = memoryview(bytearray(stop - start)), start
    while at < stop:
        count = subscription.read_into(at, view[at - start :])
        assert count > 0, "it is ready"
        at += count
    return bytes(view)


def test_what_is_wanted_comes(file: RemoteFile, origin: Origin) -> None:
    bell = Bell()
    subscription = file.subscribe(bell)
    assert (subscription.size, subscription.representation, origin.log) == (None, None, [])
    subscription.want(0, 0)
    assert bell.until(lambda: subscription.size)
    assert subscription.size == origin.size
    assert wanted(subscription, bell, 5 * BLOCK, 6 * BLOCK) == coded(5 * BLOCK, 6 * BLOCK)
    assert wanted(subscription, bell, origin.size - 5, origin.size) == coded(
        origin.size - 5, origin.size
    )
    assert subscription.representation is not None
    subscription.close()


def test_what_is_wanted_when_all_has_come_begins_nothing(
    file: RemoteFile, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run would take its name from the file for a moment, as if some of it were wrong."""
    file.complete()
    begun, bell = list[object](), Bell()
    monkeypatch.setattr(Run, "begin", lambda self, fly: begun.append(fly))
    subscription = file.subscribe(bell)
    assert wanted(subscription, bell, 0, BLOCK) == coded(0, BLOCK)
    subscription.want(0, 0)
    assert (begun, subscription.size) == ([], origin.size)
    subscription.close()


def test_what_was_taken_back_is_not_waited_for(file: RemoteFile) -> None:
    bell = Bell()
    had, other = file.subscribe(bell), file.subscribe(bell)
    assert wanted(had, bell, 0, BLOCK) == coded(0, BLOCK)
    assert had.read_into(BLOCK // 2, memoryview(bytearray(8))) == 8
    file._flight.hide((rdl.ByteRange(10, 20),))
    assert (had.spoiled, other.spoiled) == (True, False)
    assert other.read_into(10, memoryview(bytearray(8))) == 0
    had.close()
    other.close()


def test_one_is_told_what_another_fetches(file: RemoteFile) -> None:
    bells = Bell(), Bell()
    first, second = (file.subscribe(bell) for bell in bells)
    first.want(0, 4 * BLOCK)
    assert bells[1].until(lambda: second.ready(0) >= 4 * BLOCK)
    first.close()
    assert wanted(second, bells[1], 10, 20) == coded(0, 24)[10:20]
    second.close()


def test_what_is_wanted_is_not_let_go_though_it_was_here_before(origin: Origin) -> None:
    """Nobody would ask for it again."""
    lazy = LazyOptions(block=BLOCK, least=BLOCK, keep=4 * BLOCK)
    with rdl.Session() as session, session.open(origin.url, lazy=lazy, options=HASTY) as file:
        bells = Bell(), Bell()
        slow, other = (file.subscribe(bell) for bell in bells)
        assert wanted(other, bells[1], 0, BLOCK) == coded(0, BLOCK)
        slow.want(0, BLOCK)
        for at in range(BLOCK, origin.size, BLOCK):
            assert wanted(other, bells[1], at, at + BLOCK) == coded(at, at + BLOCK)
        assert slow.ready(0) == BLOCK, "the next one was let go"
        slow.close()
        other.close()


def test_a_failure_is_told_and_the_next_want_tries_anew(file: RemoteFile, origin: Origin) -> None:
    bell = Bell()
    subscription = file.subscribe(bell)
    origin.statuses = [404]
    with pytest.raises(HTTPStatusError):
        wanted(subscription, bell, 0, 10)
    assert wanted(subscription, bell, 0, 10) == coded(0, 16)[:10]
    subscription.close()


def test_another_version_ends_it(file: RemoteFile, origin: Origin) -> None:
    bell = Bell()
    subscription = file.subscribe(bell)
    assert wanted(subscription, bell, 0, BLOCK) == coded(0, BLOCK)
    origin.etag, origin.salt = '"two"', 7
    with pytest.raises(ChangedError):
        wanted(subscription, bell, 15 * BLOCK, 16 * BLOCK)
    subscription.close()
