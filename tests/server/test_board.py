"""Who looks at the page: at once, again and again, in bounds, and nobody else is slower."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import Any

import pytest

from rdl.core.byterange import ByteRange
from rdl.server.connection import Limits
from rdl.server.page import EVENTS
from rdl.server.requests import Reply
from rdl.server.resource import FileView, View
from tests.server.conftest import Start
from tests.server.growing import Growing
from tests.server.wire import ask, connected, request, response, rest
from tests.support.waiting import until

DATA = bytes(1 << 20)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdl.server.board.PERIOD", 0.02)


class Looked(Growing):
    """With as many flights as is said, and as much here; nothing is known until it `looked`."""

    def __init__(self) -> None:
        super().__init__(DATA)
        self.count, self.here, self.looked = 1, 10, True

    def view(self) -> View | None:
        here = (ByteRange(0, self.here),)
        flights = [FileView(f"/{n}{'x' * 150}", 1000, here, 0, "there") for n in range(self.count)]
        return View(tuple(flights)) if self.looked else None

    def front(self) -> None:
        """Cannot be listed."""


@pytest.fixture
def site() -> Looked:
    return Looked()


def head_of(sock: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        found += sock.recv(1)
    return found


def event(sock: socket.socket) -> Any:
    found = b""
    while not found.endswith(b"\n\n"):
        byte = sock.recv(1)
        assert byte, "it ended"
        found += byte
    return json.loads(found.removeprefix(b"data: "))


def test_news_come_at_once_and_when_there_are_any(start: Start, site: Looked) -> None:
    running = start(site)
    with connected(running.port) as first, connected(running.port) as second:
        for number, sock in enumerate((first, second), 1):
            sock.sendall(request(running.port, EVENTS))
            assert b"\r\nContent-Type: text/event-stream\r\n" in head_of(sock)
            found = event(sock)
            assert found["flights"][0]["text"].startswith("1 % of 1000 B")
            assert len(running.server._board.watchers) == number
        site.here = 500
        for sock in (first, second):
            while not (found := event(sock))["flights"][0]["text"].startswith("50 %"):
                assert found["flights"]
    assert until(lambda: not running.server._board.watchers)
    assert until(lambda: running.server._board.due == float("inf")), "nobody looks any more"
    assert running.server.tally.cut == 0
    assert all(" cut off" not in line for line in running.lines)


def test_a_silent_connection_is_told_the_same_again(
    start: Start, site: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.server.board.HEARTBEAT", 0.1)
    running, told = start(site, Limits(wait=1.5)), set[str]()
    with connected(running.port) as sock:
        sock.sendall(request(running.port, EVENTS))
        head_of(sock)
        begun = time.monotonic()
        while time.monotonic() < begun + 2:
            told.add(json.dumps(event(sock)["flights"]))
    assert len(told) <= 2


def test_so_many_may_watch(start: Start, site: Looked) -> None:
    running = start(site, Limits(watchers=2))
    with ExitStack() as stack:
        for _ in range(2):
            sock = stack.enter_context(connected(running.port))
            sock.sendall(request(running.port, EVENTS))
            head_of(sock)
        found = ask(running.port, request(running.port, EVENTS, "Connection: close"))
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in found
    assert until(lambda: not running.server._board.watchers)
    with connected(running.port) as sock:
        sock.sendall(request(running.port, EVENTS))
        assert head_of(sock).startswith(b"HTTP/1.1 200 ")


def test_a_slow_watcher_is_dropped_and_slows_nobody(
    start: Start, site: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.server.board.PERIOD", 0.002)
    running = start(site, Limits(stall=2))
    running.server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    site.count = 50
    with connected(running.port, 4096) as slow, connected(running.port) as quick:
        for sock in (slow, quick):
            sock.sendall(request(running.port, EVENTS))
        head_of(quick)
        board, deadline = running.server._board, time.monotonic() + 20
        while len(board.watchers) == 2 and time.monotonic() < deadline:
            site.here = site.here % 999 + 1
            quick.recv(1 << 20)
        assert len(board.watchers) == 1
        with pytest.raises(ConnectionResetError):
            rest(slow)
        site.here = 777
        assert until(lambda: b"77 % of" in quick.recv(1 << 20))


def test_the_server_ends_though_they_watch(start: Start, site: Looked) -> None:
    running = start(site)
    with connected(running.port) as sock:
        sock.sendall(request(running.port, EVENTS))
        head_of(sock)
        running.server.stop()
        assert running.ended(3)


def test_the_page_waits_until_all_is_known(start: Start, site: Looked) -> None:
    site.looked = False
    running = start(site)
    with connected(running.port) as sock:
        sock.sendall(request(running.port, "/"))
        assert until(lambda: bool(running.server._board.fronts))
        site.looked = True
        status, text = response(sock)
    assert status == 200
    assert b"1 % of 1000 B, there" in text
    assert running.server._board.due == float("inf")


def test_a_page_that_cannot_be_made_concerns_nobody_else(start: Start, site: Looked) -> None:
    class Unread(Looked):
        def front(self) -> None:
            raise Reply(503, "not now")

    class Broken(Looked):
        def view(self) -> View | None:
            raise ZeroDivisionError("view")

    unread, broken = start(Unread()), start(Broken(), Limits(wait=0.3))
    assert b" 503 " in ask(unread.port, request(unread.port, "/", "Connection: close"))
    assert b" 504 " in ask(broken.port, request(broken.port, "/"))
    assert "internal error: ZeroDivisionError: view" in broken.lines
    found = ask(broken.port, request(broken.port, "/healthz", "Connection: close"))
    assert found.endswith(b"ok\n")


def test_the_page_and_its_news_need_the_token(start: Start, site: Looked) -> None:
    running = start(site, token="s3cret")
    for target in ("/", EVENTS):
        found = ask(running.port, request(running.port, target, "Connection: close"))
        assert found.startswith(b"HTTP/1.1 401 ")
        found = ask(running.port, request(running.port, target, "Origin: http://evil.example"))
        assert found.startswith(b"HTTP/1.1 403 ")
    sesame = "Authorization: Bearer s3cret"
    found = ask(running.port, request(running.port, "/", sesame, "Connection: close"))
    assert b"\r\nCache-Control: private\r\n" in found
    assert b"\r\nContent-Security-Policy: default-src 'none'; " in found
    assert b"s3cret" not in found
    with connected(running.port) as sock:
        sock.sendall(request(running.port, EVENTS, sesame))
        head_of(sock)
        assert event(sock)["flights"]


def test_head_has_no_end_to_wait_for(start: Start, site: Looked) -> None:
    running = start(site)
    assert b"\r\nContent-Type: text/event-stream\r\n" in ask(
        running.port, request(running.port, EVENTS, method="HEAD")
    )
    found = ask(running.port, request(running.port, "/", "Connection: close", method="HEAD"))
    assert found.startswith(b"HTTP/1.1 200 ")
    assert until(lambda: not running.server._board.watchers)
