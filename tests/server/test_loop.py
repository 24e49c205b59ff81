"""The loop under clients that are slow, many, rude, or gone."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from rdl.errors import NetworkError
from rdl.server.connection import Limits
from rdl.server.loop import Address, Server
from tests.server.conftest import Start
from tests.server.growing import Growing
from tests.server.wire import ask, connected, request, response, rest
from tests.support.content import MiB
from tests.support.waiting import until

DATA = bytes(range(256)) * 4096
LARGE = DATA * 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a `data.bin` of a MiB, and one that no socket's buffers take."""
    made = tmp_path_factory.mktemp("served")
    for name, data in (("data.bin", DATA), ("large.bin", LARGE)):
        (made / name).write_bytes(data)
        os.utime(made / name, (1e9, 1e9))
    return made


class Clock:
    """What the server takes for `time`: it stands still until it is moved."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("loop", "connection"):
        monkeypatch.setattr(f"rdl.server.{module}.time", made)
    monkeypatch.setattr("rdl.server.loop.RECHECK", 0.01)
    return made


def test_many_requests_of_one_connection(start: Start, folder: Path) -> None:
    running = start(folder)
    with connected(running.port) as sock:
        for number in range(20):
            part = f"Range: bytes={number * 1000}-{number * 1000 + 499}"
            sock.sendall(request(running.port, "/data.bin", part))
            assert response(sock) == (206, DATA[number * 1000 : number * 1000 + 500])
        sock.sendall(request(running.port, "/data.bin", method="HEAD"))
        assert response(sock, body=False) == (200, b"")
        sock.sendall(request(running.port, "/gone"))
        assert response(sock) == (404, b"nothing is here\n")
        sock.sendall(request(running.port, "/data.bin", "Connection: close"))
        assert response(sock) == (200, DATA)
        assert sock.recv(1) == b""
    assert running.server.tally.requests == {206: 20, 200: 2, 404: 1}
    assert running.server.tally.accepted == 1


def test_a_line_for_each_answer(start: Start, folder: Path) -> None:
    running = start(folder)
    ask(running.port, request(running.port, "/data.bin?token=canary&a=\\", "Connection: close"))
    ask(running.port, b"GET /\x1b[31m HTTP/1.1\r\n\r\n")
    assert until(lambda: len(running.lines) == 2)
    first, second = running.lines
    assert first.startswith(f"127.0.0.1 GET /data.bin?token=***&a=\\ 200 {len(DATA)} ")
    assert second.startswith("127.0.0.1 - 400 ")
    assert all(line.isprintable() for line in running.lines)


def test_health_and_numbers(start: Start, folder: Path) -> None:
    running = start(folder, token="s3cret")
    assert b"\r\n\r\nok\n" in ask(
        running.port, request(running.port, "/healthz", "Connection: close")
    )
    told = ask(running.port, request(running.port, "/metrics"))
    assert told.startswith(b"HTTP/1.1 401 ")
    sesame = ("Authorization: Bearer s3cret", "Connection: close")
    told = ask(running.port, request(running.port, "/metrics", *sesame))
    for line in (
        b'rdl_requests_total{status="200"} 1\n',
        b'rdl_requests_total{status="401"} 1\n',
        b"rdl_connections_open 1\n",
        b"rdl_connections_stalled 0\n",
        b"rdl_connections_total 3\n",
    ):
        assert line in told
    found = ask(running.port, request(running.port, "/data.bin", *sesame))
    assert found.endswith(DATA)
    assert b"\r\nCache-Control: private\r\n" in found


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: a/../b?x#\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
        b"GET http://evil/ HTTP/1.1\r\nHost: evil\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nRange: bytes=" + b"0-0," * 100_000,
    ],
)
def test_a_refusal_arrives_and_is_the_end(start: Start, folder: Path, text: bytes) -> None:
    running = start(folder)
    found = ask(running.port, text)
    assert found.split(b" ")[1] in (b"400", b"405", b"421", b"431")
    assert b"\r\nConnection: close\r\n" in found
    assert found.count(b"HTTP/1.1 ") == 1


def drip(sock: socket.socket) -> None:
    """A head that would last twenty seconds."""
    for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 1000:
        sock.sendall(bytes([byte]))
        time.sleep(0.02)


def test_slow_heads_have_their_time(start: Start, folder: Path) -> None:
    running = start(folder, Limits(head=0.3, linger=0.1))

    def was_told() -> bool:
        began = time.monotonic()
        with connected(running.port) as sock, pytest.raises(ConnectionError):
            drip(sock)
        assert time.monotonic() - began > 0.2
        return running.server.tally.requests[408] == 1

    with connected(running.port) as silent:
        assert until(was_told)  # the first byte too may be late: then it is the end without a word
        assert silent.recv(1) == b""
    assert set(running.server.tally.requests) == {408}


def test_a_connection_ends_when_nothing_follows(start: Start, folder: Path) -> None:
    running = start(folder, Limits(head=60, idle=0.1))
    with connected(running.port) as idle:
        idle.sendall(request(running.port))
        assert response(idle) == (200, DATA)
        assert idle.recv(1) == b""
    assert running.server.tally.requests == {200: 1}


def test_a_reader_that_takes_nothing_is_cut_off(start: Start, folder: Path) -> None:
    running = start(folder, Limits(stall=0.3))
    with connected(running.port, 4096) as sock:
        sock.sendall(request(running.port, "/large.bin"))
        assert until(lambda: running.server.tally.cut == 1)
        with pytest.raises(ConnectionResetError):
            rest(sock)
    assert ", cut off" in running.lines[0]


def test_a_slow_reader_that_takes_something_is_not(
    start: Start, folder: Path, clock: Clock
) -> None:
    """The clock goes on when it reads, so that no pause of the machine is its own."""
    running = start(folder, Limits(stall=0.2))
    with connected(running.port) as sock:
        sock.sendall(request(running.port, "/large.bin"))
        size = 0
        for _ in range(50):
            size += len(sock.recv(16 << 10))
            clock.now += 0.02
            time.sleep(0.02)  # the server looks at it
        assert running.server.tally.cut == 0
    assert size < 2 * MiB, "the kernel took no more from the server meanwhile"


def test_s29_two_hundred_stalled_readers_slow_nobody(start: Start, folder: Path) -> None:
    running = start(folder, Limits(connections=300))
    with ExitStack() as stack:
        for _ in range(200):
            sock = stack.enter_context(connected(running.port, 4096))
            sock.sendall(request(running.port, "/large.bin"))
        found = ask(running.port, request(running.port, "/large.bin", "Connection: close"))
        assert found.endswith(LARGE), "in a third of the time that a stalled reader has"
        assert len(running.server._connections) >= 200


def test_s29_where_there_are_too_many_the_quiet_give_way(
    start: Start, folder: Path, clock: Clock
) -> None:
    running = start(folder, Limits(connections=5, quiet=0.1, stall=1e5))
    tally = running.server.tally

    def all_are_in() -> bool:
        """All who are in are being answered: they are quiet now, though the time is short."""
        if tally.requests[200] == tally.accepted:
            clock.now += 0.2
        return tally.requests[200] == 13

    with ExitStack() as stack:
        for _ in range(12):
            sock = stack.enter_context(connected(running.port, 4096))
            sock.sendall(request(running.port, "/large.bin"))
        last = stack.enter_context(connected(running.port))
        last.sendall(request(running.port, "/data.bin", "Connection: close"))
        assert until(lambda: tally.accepted == 5)
        time.sleep(0.05)
        assert tally.accepted == 5, "nobody is quiet yet"
        assert until(all_are_in)
        assert rest(last).endswith(DATA)
        assert tally.cut >= 8
        assert len(running.server._connections) <= 5


def test_an_idle_connection_gives_way_at_once(start: Start, folder: Path) -> None:
    running = start(folder, Limits(connections=1, quiet=60))
    with connected(running.port) as first, connected(running.port) as second:
        first.sendall(request(running.port))
        assert response(first) == (200, DATA)
        second.sendall(request(running.port))
        assert response(second) == (200, DATA)
        assert first.recv(1) == b""


def test_a_newcomer_waits_for_those_who_are_busy(start: Start, clock: Clock) -> None:
    site = Growing(DATA)
    running = start(site, Limits(connections=1, quiet=0.1))
    with connected(running.port) as first:
        first.sendall(request(running.port, "/data.bin", "Connection: close"))
        assert until(lambda: len(site.readers) == 1)
        clock.now += 0.2
        with connected(running.port) as second:
            second.sendall(request(running.port))
            time.sleep(0.2)
            site.begin()
            site.grow(len(DATA))
            assert rest(first).endswith(DATA)
            assert response(second) == (200, DATA)


def test_a_full_server_does_not_look_through_all_in_each_turn(
    start: Start, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, quiet = [], Server._quiet
    monkeypatch.setattr(Server, "_quiet", lambda self, *a: (looks.append(1), quiet(self, *a))[1])
    running = start(folder, Limits(connections=1))
    with connected(running.port) as sock:
        sock.sendall(request(running.port, "/large.bin"))
        assert response(sock) == (200, LARGE)
    assert len(looks) <= 3, "the clock stands still"


def test_one_address_has_its_share(start: Start, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("rdl.server.loop.is_loopback", lambda address: False)
    running = start(folder, Limits(per_address=2, quiet=60))
    with connected(running.port) as one, connected(running.port) as two:
        for sock in (one, two):
            sock.sendall(request(running.port, "/large.bin"))
        assert until(lambda: running.server.tally.requests[200] == 2)
        assert ask(running.port, b"").startswith(b"HTTP/1.1 503 ")
    assert running.server.tally.turned_away == 1


def test_a_hundred_readers(start: Start, folder: Path) -> None:
    running = start(folder, Limits(connections=100))
    wrong: list[object] = []

    def read(number: int) -> None:
        client = HTTPConnection("127.0.0.1", running.port, timeout=20)
        for step in range(4):
            first = (number * 7919 + step * 104729) % (MiB - 70_000)
            client.request("GET", "/data.bin", headers={"Range": f"bytes={first}-{first + 65535}"})
            if client.getresponse().read() != DATA[first : first + 65536]:
                wrong.append((number, step))
        client.close()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(100)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert wrong == []
    assert running.server.tally.requests == {206: 400}


def test_a_file_that_changes_while_it_is_sent_ends_with_a_reset(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "large.bin").write_bytes(LARGE)
    running = start(tmp_path)
    with connected(running.port, 4096) as sock:
        sock.sendall(request(running.port, "/large.bin"))
        assert sock.recv(1000)
        with (tmp_path / "large.bin").open("r+b") as file:
            file.seek(20 * MiB)
            file.write(b"changed")
        with pytest.raises(ConnectionResetError):
            rest(sock)
    assert running.server.tally.cut == 1


def test_a_client_that_goes_concerns_nobody(start: Start, folder: Path) -> None:
    running = start(folder)
    for end in (socket.SHUT_RD, socket.SHUT_WR, None):
        with connected(running.port) as sock:
            sock.sendall(request(running.port, "/large.bin"))
            assert sock.recv(100)
            if end is not None:
                sock.shutdown(end)
    assert until(lambda: not running.server._connections)
    assert ask(running.port, request(running.port, "/data.bin", "Connection: close")).endswith(DATA)
    assert len(running.told()) == 4


def test_without_sendfile_it_is_copied(start: Start, folder: Path, monkeypatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    running = start(folder)
    found = ask(running.port, request(running.port, "/large.bin", "Connection: close"))
    assert found.endswith(LARGE)


def test_a_bug_ends_one_connection(start: Start) -> None:
    class Broken(Growing):
        def find(self, path):
            raise ZeroDivisionError(path)

    running = start(Broken(DATA))
    with pytest.raises(ConnectionResetError):
        ask(running.port, request(running.port))
    assert running.lines[0] == "internal error: ZeroDivisionError: /data.bin"
    assert b"ok\n" in ask(running.port, request(running.port, "/healthz", "Connection: close"))


# The end


def test_what_is_being_sent_is_finished(start: Start, folder: Path) -> None:
    running = start(folder)
    with connected(running.port, 4096) as busy, connected(running.port) as idle:
        busy.sendall(request(running.port, "/large.bin"))
        assert busy.recv(17) == b"HTTP/1.1 200 OK\r\n"
        running.server.stop()
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            ask(running.port, b"")
        assert rest(busy).endswith(LARGE)
    assert running.ended()
    assert running.server.tally.cut == 0


def test_what_takes_too_long_then_is_reset(start: Start, folder: Path) -> None:
    running = start(folder, Limits(grace=0.2))
    with connected(running.port, 4096) as sock:
        sock.sendall(request(running.port, "/large.bin"))
        assert sock.recv(100)
        running.server.stop()
        assert running.ended()
        with pytest.raises(ConnectionResetError):
            rest(sock)
    assert ", cut off" in running.lines[0]


def test_an_address_that_is_taken(folder: Path, start: Start) -> None:
    running = start(folder)
    with pytest.raises(NetworkError, match="in use"):
        Server(Growing(b""), Address(port=running.port))


def test_ipv6(start: Start) -> None:
    running = start(Growing(DATA), address=Address("::1", 0))
    assert running.url == f"http://[::1]:{running.port}"
    with socket.create_connection(("::1", running.port), timeout=5) as sock:
        sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: [::1]:{running.port}\r\n\r\n".encode())
        assert response(sock) == (200, b"ok\n")
