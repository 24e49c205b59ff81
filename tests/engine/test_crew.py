"""Workers are kept for the next segment, end when there is none, and stay behind at a fork."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rdl.api import Session, Target
from rdl.core.events import Result
from rdl.engine import crew
from rdl.engine.turns import Turns
from rdl.errors import ExitCode
from rdl.options import SessionOptions
from rdl.transport import pool
from tests.scenarios.coded import KiB, Origin
from tests.support import threads
from tests.support.waiting import until


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(size=64 * KiB) as server:
        yield server


def test_one_worker_serves_one_download_after_another(origin: Origin, tmp_path: Path) -> None:
    before = threads.running()
    with Session() as session:
        seen = set()
        for number in range(5):
            session.get(Target(origin.url, tmp_path / str(number)))
            seen |= threads.running() - before
        assert len(seen) == 1
    assert not threads.left(before)


def test_an_idle_worker_ends_and_another_takes_its_place(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.05)  # the last one waits for idle connections
    before = threads.running()
    with Session() as session:
        session.get(Target(origin.url, tmp_path / "a"))
        assert not threads.left(before)
        assert session.get(Target(origin.url, tmp_path / "b")).exit_code == 0
    assert not threads.left(before)


def test_workers_that_end_while_others_begin_lose_no_work(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "IDLE_SECONDS", 0.001)
    with Session() as session:
        for number in range(60):
            assert session.get(Target(origin.url, tmp_path / str(number))).exit_code == 0
            time.sleep(0.001 * (number % 3))


def test_a_closed_session_still_downloads_and_leaves_no_worker(
    origin: Origin, tmp_path: Path
) -> None:
    before, session = threads.running(), Session()
    session.close()
    assert session.get(Target(origin.url, tmp_path / "a")).exit_code == 0
    session.close()
    assert not threads.left(before)


def test_a_session_goes_on_in_a_forked_process(origin: Origin, tmp_path: Path) -> None:
    with Session() as session:
        session.get(Target(origin.url, tmp_path / "a"))
        child = os.fork()
        if not child:
            code = 9
            try:
                code = session.get(Target(origin.url, tmp_path / "b")).exit_code
            finally:
                os._exit(code)
        deadline = time.monotonic() + 20
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        if done[0] == 0:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert done[0] == child
    assert os.waitstatus_to_exitcode(done[1]) == 0
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_every_target_of_a_list_has_one_result_in_its_place(origin: Origin, tmp_path: Path) -> None:
    names, told = [str(number) for number in range(120)], list[Result]()
    with Session(SessionOptions(parallel=8)) as session:
        results = session.get_all(
            [Target(origin.url, tmp_path / name) for name in names], done=told.append
        )
    assert [Path(result.path).name for result in results] == names
    assert {result.exit_code for result in results} == {0}
    assert len(told) == 120


def test_what_done_raises_ends_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def slowly(session: Session, target: Target, tell: object) -> Result:
        if session._interrupted is None:
            begun.append(target)
            if len(begun) > 20:  # by now it must have been heard
                until(lambda: session._interrupted is not None, 5)
        return Result(target.url, str(target.path))

    def broken(result: Result) -> None:
        if result.path.endswith("/1"):
            raise BrokenPipeError

    monkeypatch.setattr(Session, "_outcome", slowly)
    targets = [Target("http://h/f", tmp_path / str(number)) for number in range(80)]
    with Session(SessionOptions(parallel=4)) as session, pytest.raises(BrokenPipeError):
        session.get_all(targets, done=broken)
    assert len(begun) < 40


def test_workers_of_a_burst_end_though_one_is_used_on(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "IDLE_SECONDS", 2)
    before = threads.running()
    with Session(SessionOptions(parallel=6)) as session:
        getters = [
            threading.Thread(target=session.get, args=(Target(origin.url, tmp_path / f"a{n}"),))
            for n in range(12)
        ]
        for thread in getters:
            thread.start()
        for thread in getters:
            thread.join()
        assert len(threads.running() - before) > 1

        def one_is_left() -> bool:
            session.get(Target(origin.url, tmp_path / "b"))
            (tmp_path / "b").unlink()
            return len(threads.running() - before) == 1

        assert until(one_is_left)


def test_a_stalled_target_lets_the_others_pass(origin: Origin, tmp_path: Path) -> None:
    turns = Turns(20, 4)
    first = turns.take()
    assert first == 0  # and it does not end

    taken = []

    def work() -> None:
        while (number := turns.take()) is not None:
            taken.append(number)
            turns.end()

    getters = [threading.Thread(target=work) for _ in range(3)]
    for thread in getters:
        thread.start()
    for thread in getters:
        thread.join(10)
    turns.end()
    assert sorted(taken) == list(range(1, 20))


def test_an_interrupted_list_has_a_result_for_each(origin: Origin, tmp_path: Path) -> None:
    targets = [Target(origin.url, tmp_path / str(number)) for number in range(30)]
    with Session(SessionOptions(parallel=3)) as session:
        session.interrupt("SIGINT")
        results = session.get_all(targets)
    assert [result.exit_code for result in results] == [ExitCode.INTERRUPTED] * 30
