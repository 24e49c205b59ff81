"""Readers of what is still on its way: they wait, get exactly what comes, or see an error."""

from __future__ import annotations

import random
import threading
from contextlib import ExitStack, suppress

import pytest

from rdl.core.byterange import ByteRange
from rdl.server.connection import Limits
from tests.server.conftest import Start
from tests.server.growing import Growing
from tests.server.wire import PATIENCE, ask, connected, request, response, rest
from tests.support.waiting import until

DATA = random.Random(5).randbytes(1 << 20)


@pytest.fixture
def site() -> Growing:
    return Growing(DATA)


def test_a_reader_waits_for_length_and_bytes(start: Start, site: Growing) -> None:
    running = start(site)
    with connected(running.port) as sock:
        sock.sendall(request(running.port))
        assert until(lambda: len(site.readers) == 1)
        site.begin()
        found = bytearray(sock.recv(17))
        assert found == b"HTTP/1.1 200 OK\r\n", "the head does not wait for the first byte"
        assert site.demands == [ByteRange(0, len(DATA))]
        for upto in (1, 2, 70_000, 70_001, len(DATA)):
            site.grow(upto)
            while len(body := found.partition(b"\r\n\r\n")[2]) < upto:
                more = sock.recv(1 << 20)
                assert more, "it ended"
                found += more
            assert body == DATA[:upto]
        assert until(lambda: site.readers == [])


def test_ranges_of_what_is_here_and_of_what_is_not(start: Start, site: Growing) -> None:
    site.begin()
    site.grow(1000)
    running = start(site)
    with connected(running.port) as early, connected(running.port) as late:
        early.sendall(request(running.port, "/data.bin", "Range: bytes=100-999"))
        late.sendall(request(running.port, "/data.bin", "Range: bytes=-10"))
        assert response(early) == (206, DATA[100:1000])
        early.sendall(request(running.port, "/data.bin", method="HEAD"))
        assert response(early, body=False) == (200, b"")
        early.sendall(request(running.port, "/data.bin", f"Range: bytes={len(DATA)}-"))
        assert response(early)[0] == 416
        site.grow(len(DATA))
        assert response(late) == (206, DATA[-10:])
    assert site.demands == [ByteRange(100, 1000), ByteRange(len(DATA) - 10, len(DATA))]


@pytest.mark.parametrize("here", [0, 1, 1000, len(DATA) - 1])
def test_x10_a_failure_is_no_clean_end(start: Start, site: Growing, here: int) -> None:
    site.begin()
    site.grow(here)
    running = start(site)
    with connected(running.port) as sock:
        sock.sendall(request(running.port, "/data.bin", "Connection: close"))

        def sent() -> bool:
            with suppress(BlockingIOError):
                sock.recv(1 << 16)
            return running.server.tally.sent > here

        sock.setblocking(False)
        assert until(sent)
        sock.settimeout(PATIENCE)
        site.fail()
        with pytest.raises(ConnectionResetError):
            rest(sock)
    assert until(lambda: site.readers == [])
    assert running.server.tally.cut == 1


def test_a_failure_before_the_head_is_an_answer(start: Start, site: Growing) -> None:
    running = start(site)
    with connected(running.port) as sock:
        sock.sendall(request(running.port))
        assert until(lambda: len(site.readers) == 1)
        site.fail()
        assert response(sock) == (502, b"this cannot be read now\n")
        sock.sendall(request(running.port))
        assert response(sock)[0] == 502
    assert running.lines[0] == "upstream: gone"


def test_waiting_has_an_end(start: Start, site: Growing) -> None:
    running = start(site, Limits(wait=0.2))
    found = ask(running.port, request(running.port))
    assert found.startswith(b"HTTP/1.1 504 ")
    site.begin()
    site.grow(10)
    with pytest.raises(ConnectionResetError):
        ask(running.port, request(running.port))
    assert until(lambda: site.readers == [])


def test_a_reader_that_goes_while_it_waits_takes_only_its_own_demand(
    start: Start, site: Growing
) -> None:
    site.begin()
    running = start(site)
    with connected(running.port) as stays:
        stays.sendall(request(running.port))
        with connected(running.port) as goes:
            goes.sendall(request(running.port))
            assert until(lambda: len(site.readers) == 2)
        assert until(lambda: len(site.readers) == 1)
        site.grow(len(DATA))
        assert response(stays) == (200, DATA)


def test_a_reader_that_speaks_while_it_waits_is_heard_later(start: Start, site: Growing) -> None:
    site.begin()
    running = start(site)
    with connected(running.port) as sock:
        sock.sendall(request(running.port, "/data.bin", "Range: bytes=0-9"))
        assert until(lambda: len(site.readers) == 1)
        sock.sendall(request(running.port, "/healthz"))
        site.grow(10)
        assert response(sock) == (206, DATA[:10])
        assert response(sock) == (200, b"ok\n")


def test_row_46_a_source_faster_than_its_reader_a_thousand_times(
    start: Start, site: Growing
) -> None:
    """It announces while the reader begins, reads, ends and has ended."""
    site.data = DATA[:4000]
    running, over = start(site), threading.Event()

    def announce() -> None:
        upto = 0
        while not over.is_set():
            upto = (upto + 999) % 5000
            site.grow(min(upto, 4000))

    site.begin()
    source = threading.Thread(target=announce)
    source.start()
    try:
        with connected(running.port) as sock:
            for _ in range(1000):
                sock.sendall(request(running.port))
                found = b""
                while len(body := found.partition(b"\r\n\r\n")[2]) < len(site.data):
                    found += sock.recv(1 << 16)
                assert body == site.data
    finally:
        over.set()
        source.join()
    assert until(lambda: site.readers == [])


def test_x10_fifty_readers_and_random_cuts(start: Start, site: Growing) -> None:
    """Each has exactly its bytes, or an error; whoever waits hears of what comes, once or often."""
    running = start(site)
    draw = random.Random(7)
    ends: list[str] = []

    def read(first: int, stop: int, cut: int | None) -> None:
        try:
            with connected(running.port) as sock:
                part = f"Range: bytes={first}-{stop - 1}"
                sock.sendall(request(running.port, "/data.bin", part))
                if cut is not None:
                    sock.recv(cut)
                    ends.append("gone")
                    return
                status, body = response(sock)
                right = (status, body) == (206, DATA[first:stop])
                ends.append("right" if right else "error" if status == 502 else "WRONG")
        except ConnectionResetError:
            ends.append("error")

    with ExitStack() as stack:
        readers = []
        for number in range(50):
            first = draw.randrange(len(DATA) // 2)
            stop = draw.randrange(first + 1, len(DATA) - 1)
            cut = draw.randrange(1, 9000) if number % 5 == 0 else None
            readers.append(threading.Thread(target=read, args=(first, stop, cut)))
            stack.callback(readers[-1].join, 10)
            readers[-1].start()
        site.begin()
        for upto in range(0, len(DATA) * 3 // 4, 4999):
            site.grow(upto)
        assert until(lambda: "right" in ends)
        site.fail()
    assert len(ends) == 50
    assert set(ends) == {"right", "error", "gone"}
    assert until(lambda: site.readers == [])
