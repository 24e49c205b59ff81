"""A signal that the system gives to another thread is noticed by the one that waits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from rdl.api import Session, Target
from rdl.engine.turns import awaited
from tests.support.origin import HANG, Answer, Origin


class Rung(Exception):
    """The handler's."""


@contextmanager
def rung_elsewhere(when: threading.Event, handler: Callable[[], None]) -> Iterator[None]:
    """`handler` runs in this thread, for a signal that another one gets once `when` is set."""
    before = signal.signal(signal.SIGUSR1, lambda *_: handler())

    def ring() -> None:
        when.wait(20)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=ring)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("files", [1, 3])
def test_a_download_that_waits_for_an_answer(tmp_path: Path, files: int) -> None:
    waits = threading.Event()

    def answer(_connection: int, _number: int, _seen: object) -> Answer:
        waits.set()
        return [HANG]

    with Origin(answer) as origin, Session() as session:
        targets = [Target(origin.url(), tmp_path / str(number)) for number in range(files)]
        with rung_elsewhere(waits, lambda: session.interrupt("SIGTERM")):
            results = session.get_all(targets)
    assert [one.reason for one in results] == ["interrupted"] * files


def test_who_waits_for_a_pool() -> None:
    go, waits = threading.Event(), threading.Event()

    def rung() -> None:
        go.set()
        raise Rung

    def work() -> None:
        waits.set()
        go.wait(20)

    with ThreadPoolExecutor(1) as pool, rung_elsewhere(waits, rung), pytest.raises(Rung):
        awaited([pool.submit(work)])
    assert go.is_set()


def test_for_nothing_nobody_waits() -> None:
    assert awaited([]) == []


def test_the_first_failure_ends_the_waiting() -> None:
    go = threading.Event()

    def fail() -> None:
        raise ValueError

    with ThreadPoolExecutor(2) as pool:
        running, failing = pool.submit(go.wait, 20), pool.submit(fail)
        assert awaited([running, failing]) == [failing]
        go.set()
        assert awaited([running]) == [running]
