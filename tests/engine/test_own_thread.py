"""Small files over a connection that waits: received by the thread that asked for them, which is
interrupted as promptly as if a worker did it."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rdl.api import Session, Target
from rdl.engine import reception
from rdl.engine.crew import Crew
from rdl.engine.driver import Driver
from rdl.engine.reception import Reception
from rdl.errors import Interrupted, LocalFileError, NetworkError, OutOfTime
from rdl.options import NetworkOptions, Options, SessionOptions, TransferOptions
from rdl.storage.small import SMALL
from tests.engine.staging import content_of
from tests.support import threads
from tests.support.origin import (
    END,
    HANG,
    RESET,
    Answer,
    Expect,
    Origin,
    Seen,
    Step,
    Wait,
    response,
)
from tests.support.waiting import until

BODY = content_of(65536)
WHOLE = response(BODY, "200 OK", 'ETag: "1"')
HEAD = WHOLE[: -len(BODY)]
QUICK = Options(network=NetworkOptions(netrc=False, proxy=""))
LARGE = content_of(SMALL + 1)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
STALLS: dict[str, Answer] = {
    "no head": [HANG],
    "half a head": [HEAD[:20], HANG],
    "a head that trickles": [step for at in HEAD for step in (bytes([at]), Wait(0.2))],
    "no body": [HEAD, HANG],
    "half a body": [WHOLE[:30_000], HANG],
    "a body that trickles": [
        HEAD,
        *(step for at in range(0, 65536, 64) for step in (BODY[at : at + 64], Wait(0.02))),
    ],
    "a redirect to what hangs": [response(b"", "302 Found", "Location: /hang")],
}


AT_ONCE = 10.0
"""Seconds, on a machine that has other things to do too; each of the stalls lasts longer."""


class Rung(BaseException):
    """What a handler raises, as Ctrl-C does."""


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[Reception]:
    """What workers got."""
    got: list[Reception] = []
    start = Crew.start

    def noted(crew: Crew, reception: Reception, post: Callable[..., None]) -> None:
        got.append(reception)
        start(crew, reception, post)

    monkeypatch.setattr(Crew, "start", noted)
    return got


@pytest.fixture
def settled() -> Iterator[None]:
    before = threads.running()
    yield
    assert not threads.left(before)


def serving(steps: Sequence[Step]) -> Origin:
    """/0 and what follows it are whole; /hang never answers, /slow takes these steps."""

    def answer(connection: int, number: int, seen: Seen) -> Answer:
        path = seen.line.split()[1]
        return {"/slow": steps, "/hang": [HANG]}.get(path, [WHOLE])

    return Origin(answer)


@contextmanager
def alarm(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """A signal after so long."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: act())
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rung() -> None:
    raise Rung


def test_only_the_first_of_many_needs_a_worker(
    tmp_path: Path, handed: list[Reception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "PROMPT_SECONDS", AT_ONCE)  # the server may be late
    with serving([]) as origin, Session() as session:
        for number in range(5):
            session.get(Target(origin.url(f"/{number}"), tmp_path / str(number), QUICK))
        assert origin.connections == 1
    assert len(handed) == 1, "the one that connects"
    assert {(tmp_path / str(number)).read_bytes() for number in range(5)} == {BODY}


def test_nothing_of_it_waits_for_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is part of a cycle costs a list time when it is looked for, and memory until then."""
    alive: weakref.WeakSet[Driver] = weakref.WeakSet()
    begin = Driver.__init__

    def noted(driver: Driver, *rest: Any) -> None:
        begin(driver, *rest)
        alive.add(driver)

    monkeypatch.setattr(Driver, "__init__", noted)
    gc.disable()
    try:
        with serving([]) as origin, Session() as session:
            for number in range(3):
                session.get(Target(origin.url(f"/{number}"), tmp_path / str(number), QUICK))
                assert not alive
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("before", "after", "content"),
    [
        (HEAD, BODY, BODY),
        (HEAD[:30], HEAD[30:] + BODY, BODY),
        (b"", WHOLE, BODY),
        (response(b"", "302 Found", "Location: /1"), b"", BODY),
        (response(LARGE), b"", LARGE),
        (CHUNKED, b"", b"abc"),
    ],
    ids=["late body", "half a head", "late head", "redirect", "not small", "chunked"],
)
def test_a_worker_goes_on_where_more_is_needed(
    tmp_path: Path, handed: list[Reception], before: bytes, after: bytes, content: bytes
) -> None:
    """What comes after comes when it goes on."""

    def slow() -> Iterator[bytes]:
        yield before
        if after:
            until(lambda: len(handed) == 2)
            yield after

    def answer(connection: int, number: int, seen: Seen) -> Iterable[Step]:
        return slow() if "/slow" in seen.line else [WHOLE]

    with Origin(answer) as origin, Session() as session:
        session.get(Target(origin.url("/0"), tmp_path / "0", QUICK))
        result = session.get(Target(origin.url("/slow"), tmp_path / "slow", QUICK))
        assert sum("/slow" in seen.line for seen in origin.seen) == 1, "asked once"
    assert (tmp_path / "slow").read_bytes() == content
    assert (result.exit_code, len(handed)) == (0, 2)


@pytest.mark.parametrize("steps", [[END], [RESET], [HEAD[:20], END]])
def test_a_connection_that_dies_costs_another_request(tmp_path: Path, steps: Answer) -> None:
    turns = iter([[WHOLE], steps])

    def answer(connection: int, number: int, seen: Seen) -> Answer:
        return next(turns, [WHOLE])

    with Origin(answer) as origin, Session() as session:
        for number in range(3):
            session.get(Target(origin.url(f"/{number}"), tmp_path / str(number), QUICK))
        assert len(origin.seen) == 4
    assert {(tmp_path / str(number)).read_bytes() for number in range(3)} == {BODY}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("steps", STALLS.values(), ids=STALLS)
def test_an_interrupt_ends_it_at_once(tmp_path: Path, steps: Answer) -> None:
    with serving(steps) as origin, Session() as session:
        session.get(Target(origin.url("/0"), tmp_path / "0", QUICK))
        begun = time.monotonic()
        with pytest.raises(Interrupted), alarm(0.05, lambda: session.interrupt("SIGINT")):
            session.get(Target(origin.url("/slow"), tmp_path / "slow", QUICK))
        assert 0.04 < time.monotonic() - begun < AT_ONCE
    assert not (tmp_path / "slow").exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("steps", STALLS.values(), ids=STALLS)
def test_it_may_take_only_so_long(tmp_path: Path, steps: Answer) -> None:
    brief = Options(network=QUICK.network, transfer=TransferOptions(max_time=0.05))
    with serving(steps) as origin, Session() as session:
        session.get(Target(origin.url("/0"), tmp_path / "0", QUICK))
        begun = time.monotonic()
        with pytest.raises(OutOfTime):
            session.get(Target(origin.url("/slow"), tmp_path / "slow", brief))
        assert 0.04 < time.monotonic() - begun < AT_ONCE


@pytest.mark.parametrize("steps", [[HANG], [HEAD[:20], HANG], [WHOLE[:30_000], HANG]])
def test_what_hangs_ends_by_the_timeout(tmp_path: Path, steps: Answer) -> None:
    again = Options(network=NetworkOptions(netrc=False, proxy="", timeout=1))
    once = Options(network=again.network, transfer=TransferOptions(retry=0))
    with serving(steps) as origin, Session() as session:
        session.get(Target(origin.url("/0"), tmp_path / "0", again))
        begun = time.monotonic()
        with pytest.raises(NetworkError):
            session.get(Target(origin.url("/slow"), tmp_path / "slow", once))
        assert 0.9 < time.monotonic() - begun < AT_ONCE


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("steps", STALLS.values(), ids=STALLS)
def test_a_handler_that_raises_leaves_a_session_that_works(tmp_path: Path, steps: Answer) -> None:
    with serving(steps) as origin, Session() as session:
        session.get(Target(origin.url("/0"), tmp_path / "0", QUICK))
        begun = time.monotonic()
        with pytest.raises(Rung), alarm(0.05, rung):
            session.get(Target(origin.url("/slow"), tmp_path / "slow", QUICK))
        assert time.monotonic() - begun < AT_ONCE
        session.get(Target(origin.url("/1"), tmp_path / "1", QUICK))
    assert (tmp_path / "1").read_bytes() == BODY


def test_a_handler_that_raises_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files may then be left to be closed by the collection of garbage, but no lock is held."""
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)  # it may come there too
    chance, interrupted = random.Random(1), 0
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung())
    try:
        with serving([]) as origin, Session() as session:
            for number in range(80):
                path = tmp_path / str(number)
                try:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.006))
                    session.get(Target(origin.url(f"/{number}"), path, QUICK))
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Rung:
                    interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number in range(2):
                session.get(Target(origin.url("/0"), tmp_path / f"last{number}", QUICK))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.collect()
    assert interrupted > 10
    files = [path for path in tmp_path.iterdir() if ".part" not in path.name]
    assert {path.read_bytes() for path in files} == {BODY}


def test_many_threads_of_one_session(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def fetch(session: Session, origin: Origin, name: str) -> None:
        try:
            for number in range(15):
                path = tmp_path / f"{name}-{number}"
                session.get(Target(origin.url(f"/{name}-{number}"), path, QUICK))
        except BaseException as error:
            failed.append(error)

    with serving([]) as origin, Session() as session:
        many = [
            threading.Thread(target=fetch, args=(session, origin, str(one))) for one in range(6)
        ]
        for thread in many:
            thread.start()
        for thread in many:
            thread.join(20)
        assert not failed
    files = list(tmp_path.iterdir())
    assert len(files) == 90
    assert {path.read_bytes() for path in files} == {BODY}


def test_limits_hold(tmp_path: Path, handed: list[Reception]) -> None:
    with serving([]) as origin, Session(SessionOptions(limit_requests=20)) as session:
        begun = time.monotonic()
        for number in range(5):
            session.get(Target(origin.url(f"/{number}"), tmp_path / str(number), QUICK))
        assert time.monotonic() - begun > 0.15
    assert len(handed) == 5, "who waits is a worker"


def test_a_long_request_may_have_to_wait(tmp_path: Path, handed: list[Reception]) -> None:
    long = Options(network=NetworkOptions(netrc=False, proxy="", headers=(("X-Long", "x" * 3000),)))
    with serving([]) as origin, Session() as session:
        for number in range(2):
            session.get(Target(origin.url(f"/{number}"), tmp_path / str(number), long))
        assert origin.connections == 1
    assert len(handed) == 2, "who waits is a worker"


def test_one_that_no_worker_can_take_on_leaves_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hire(crew: Crew) -> None:
        raise RuntimeError("can't start new thread")

    once = Options(network=QUICK.network, transfer=TransferOptions(retry=0))
    with serving([HEAD, Expect(1)]) as origin, Session() as session:
        session.get(Target(origin.url("/0"), tmp_path / "0", once))
        monkeypatch.setattr(Crew, "_hire", hire)
        monkeypatch.setattr(Crew, "_free", lambda crew: None)
        with pytest.raises(LocalFileError):
            session.get(Target(origin.url("/slow"), tmp_path / "slow", once))
        assert until(lambda: origin.alive == 0)
