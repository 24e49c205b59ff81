"""Bodies end as their framing says, or the reader hears of it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rdl.errors import NetworkError, ProtocolError
from rdl.transport.base import Request
from rdl.transport.tls import RecordReader
from tests.support.origin import END, HANG, RAGGED, RESET, Origin, Wait, response
from tests.support.reading import fetch, take

CLOSE_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = bytes(range(256)) * 8192


def always(*steps):
    return lambda connection, number, seen: steps


def test_length_body_and_reuse(connect):
    with Origin(always(response(LARGE))) as origin:
        transport = connect()
        for _ in range(3):
            assert fetch(transport, origin.url()) == (200, LARGE)
        assert origin.connections == 1


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_buffers_of_any_size(connect, size):
    body = LARGE[: 3000 if size < 100 else None]
    with Origin(always(response(body[:20]), Wait(0))) as origin:
        exchange = connect().open(Request(origin.url()))
        assert exchange.head.framing == "length"
        assert exchange.head.content_length == 20
        assert take(exchange, size) == body[:20]


def test_an_empty_buffer_is_a_mistake(connect):
    with Origin(always(CLOSE_HEAD + b"x", END)) as origin:
        exchange = connect().open(Request(origin.url()))
        with pytest.raises(ValueError, match="empty"):
            exchange.readinto(memoryview(b""))
        assert take(exchange) == b"x"


def test_exact_read_without_the_final_zero_keeps_the_connection(connect):
    with Origin(always(response(b"12345"))) as origin:
        transport = connect()
        for _ in range(2):
            exchange = transport.open(Request(origin.url()))
            view = memoryview(bytearray(5))
            got = 0
            while got < 5:
                got += exchange.readinto(view[got:])
            exchange.close()
            exchange.close()
        assert origin.connections == 1


def test_unread_body_closes_the_connection(connect):
    with Origin(always(response(LARGE))) as origin:
        transport = connect()
        transport.open(Request(origin.url())).close()
        fetch(transport, origin.url())
        assert origin.connections == 2


@pytest.mark.parametrize("how", [END, RESET])
@pytest.mark.parametrize("kept", [0, 1, 9])
def test_short_body(connect, how, kept):
    head = response(b"0123456789")[:-10]
    steps = (head + b"0123456789"[:kept], Wait(0.05), how)
    with Origin(always(*steps)) as origin:
        exchange = connect().open(Request(origin.url()))
        with pytest.raises(NetworkError) as caught:
            take(exchange)
        if how == END:
            assert f"ended {10 - kept} bytes early" in str(caught.value)
        assert not caught.value.permanent


def test_surplus_is_a_forged_response_and_never_used(connect):
    forged = response(b"EVIL!", "206 Partial Content", "Content-Range: bytes 0-4/5")

    def answer(connection, number, seen):
        return (response(b"12345") + (forged if connection == 0 else b""),)

    with Origin(answer) as origin:
        transport = connect()
        assert fetch(transport, origin.url()) == (200, b"12345")
        assert fetch(transport, origin.url()) == (200, b"12345")
        assert origin.connections == 2


def test_surplus_that_comes_later_is_not_used(connect):
    forged = response(b"EVIL!")

    sent = threading.Event()

    def answer(connection, number, seen):
        yield response(b"12345")
        yield Wait(0.1)
        yield forged if connection == 0 else b""
        sent.set()

    with Origin(answer) as origin:
        transport = connect()
        assert fetch(transport, origin.url()) == (200, b"12345")
        assert sent.wait(20)
        assert fetch(transport, origin.url()) == (200, b"12345")
        assert origin.connections == 2


def test_chunked(connect):
    parts = (CHUNKED + b"5\r\nhel", Wait(0.02), b"lo\r\n6;x=y\r\n world\r\n0\r\nA: b\r\n\r\n")
    with Origin(always(*parts)) as origin:
        transport = connect()
        exchange = transport.open(Request(origin.url()))
        assert exchange.head.framing == "chunked"
        assert exchange.head.content_length is None
        assert take(exchange, 4) == b"hello world"
        assert fetch(transport, origin.url()) == (200, b"hello world")
        assert origin.connections == 1


def test_chunked_with_surplus_is_not_reused(connect):
    with Origin(always(CHUNKED + b"1\r\na\r\n0\r\n\r\n" + response(b"EVIL"))) as origin:
        transport = connect()
        assert [fetch(transport, origin.url()) for _ in range(2)] == [(200, b"a")] * 2
        assert origin.connections == 2


def test_chunked_beside_a_length_is_not_reused(connect):
    head = CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n"
    with Origin(always(head + b"1\r\na\r\n0\r\n\r\n")) as origin:
        transport = connect()
        assert [fetch(transport, origin.url()) for _ in range(2)] == [(200, b"a")] * 2
        assert origin.connections == 2


@pytest.mark.parametrize(
    "rest",
    [
        b"5\r\nhel",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0\r\n",
        b"-5\r\nhello",
        b"zz\r\n",
        b"5\r\nhelloXX",
    ],
)
def test_chunked_damaged_or_cut(connect, rest):
    with Origin(always(CHUNKED + rest, END)) as origin:
        exchange = connect().open(Request(origin.url()))
        with pytest.raises(NetworkError):
            take(exchange)


def test_close_delimited(connect):
    with Origin(always(CLOSE_HEAD + b"abc", Wait(0.02), b"def", END)) as origin:
        transport = connect()
        exchange = transport.open(Request(origin.url()))
        assert exchange.head.framing == "close"
        assert take(exchange) == b"abcdef"
        assert fetch(transport, origin.url()) == (200, b"abcdef")
        assert origin.connections == 2


def test_close_delimited_reset(connect):
    with Origin(always(CLOSE_HEAD + b"abc", Wait(0.05), RESET)) as origin:
        exchange = connect().open(Request(origin.url()))
        with pytest.raises(NetworkError, match="cut"):
            take(exchange)


def test_http_1_0(connect):
    with Origin(always(response(b"old", version="HTTP/1.0"), END)) as origin:
        transport = connect()
        exchange = transport.open(Request(origin.url()))
        assert take(exchange) == b"old"
        assert fetch(transport, origin.url()) == (200, b"old")
        assert origin.connections == 2


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_body(connect, status):
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\n".encode()
    with Origin(always(answer)) as origin:
        transport = connect()
        for _ in range(2):
            exchange = transport.open(Request(origin.url()))
            assert exchange.head.framing == "none"
            assert take(exchange) == b""
        assert origin.connections == 1


def test_no_body_but_one_is_sent(connect):
    with Origin(always(b"HTTP/1.1 204 No Content\r\n\r\nsurprise")) as origin:
        transport = connect()
        assert [fetch(transport, origin.url()) for _ in range(2)] == [(204, b"")] * 2
        assert origin.connections == 2


def test_head_request(connect):
    with Origin(always(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")) as origin:
        transport = connect()
        exchange = transport.open(Request(origin.url(), method="HEAD"))
        assert (exchange.head.framing, exchange.head.content_length) == ("none", 1000)
        assert take(exchange) == b""
        assert origin.seen[0].line.startswith("HEAD /file ")


def test_stall(connect):
    with Origin(always(response(b"0123456789")[:-5], HANG)) as origin:
        exchange = connect(timeout=0.2).open(Request(origin.url()))
        with pytest.raises(NetworkError, match="stalled"):
            take(exchange)


def test_a_slow_record_is_no_stall(certificates):
    """Over TLS a byte of a record counts: on a slow link a whole one takes longer than that."""
    ours, theirs = socket.socketpair()
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    server = context.wrap_bio(inside, outside, server_side=True)

    def serve():
        while True:
            try:
                server.do_handshake()
                break
            except ssl.SSLWantReadError:
                theirs.sendall(outside.read())
                inside.write(theirs.recv(65536))
        server.write(b"x" * 16_000)
        data = outside.read()
        for at in range(0, len(data), 1600):
            theirs.sendall(data[at : at + 1600])
            time.sleep(0.12)

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context(cafile=certificates.authority)
    with ours, theirs, client.wrap_socket(ours, server_hostname="localhost") as sock:
        view, count = memoryview(bytearray(1 << 16)), 0
        reader = RecordReader(sock, 1.0)  # all of it takes longer
        while count < 16_000:
            count += reader.recv_into(view[count:])
        with pytest.raises(TimeoutError):
            RecordReader(sock, 0.1).recv_into(view)
        thread.join()
    assert bytes(view[:count]) == b"x" * 16_000


@pytest.mark.parametrize("secure", [False, True])
def test_close_from_another_thread_wakes_the_reader(connect, certificates, server_tls, secure):
    tls = server_tls if secure else None
    with Origin(always(response(LARGE)[:-5], HANG), tls=tls) as origin:
        transport = connect(timeout=20, cacert=certificates.authority)
        exchange = transport.open(Request(origin.url()))
        threading.Timer(0.2, exchange.close).start()
        began = time.monotonic()
        with pytest.raises(NetworkError, match="closed while"):
            take(exchange)
        assert time.monotonic() - began < 3
        with pytest.raises(NetworkError):
            exchange.readinto(memoryview(bytearray(1)))


def test_closing_at_any_moment_gives_the_connection_up_once(connect):
    with Origin(always(response(LARGE))) as origin:
        transport = connect()
        for turn in range(60):
            exchange = transport.open(Request(origin.url()))
            closer = threading.Timer(turn / 30_000, exchange.close)
            closer.start()
            with contextlib.suppress(NetworkError):
                assert take(exchange) == LARGE
            closer.join()
        assert transport._wire._pool._used == set()
        assert fetch(transport, origin.url()) == (200, LARGE)


def test_threads_share_a_transport(connect):
    with Origin(always(response(LARGE))) as origin:
        transport = connect()
        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(lambda _: fetch(transport, origin.url()), range(40)))
        assert all(result == (200, LARGE) for result in results)
        assert origin.connections <= 8


def test_closing_the_transport_is_not_the_end_of_a_body(connect):
    with Origin(always(CLOSE_HEAD + b"abc", HANG)) as origin:
        transport = connect(timeout=20)
        exchange = transport.open(Request(origin.url()))
        threading.Timer(0.2, transport.close).start()
        with pytest.raises(NetworkError, match="closed"):
            take(exchange)


def test_closing_the_transport_wakes_readers_and_heads(connect):
    def answer(connection, number, seen):
        return (response(b"12345")[:-2], HANG) if seen.line.startswith("GET /body") else (HANG,)

    with Origin(answer) as origin:
        transport = connect(timeout=20)
        exchange = transport.open(Request(origin.url("/body")))
        threading.Timer(0.2, transport.close).start()
        began = time.monotonic()
        with pytest.raises(NetworkError):
            transport.open(Request(origin.url("/head")))
        with pytest.raises(NetworkError):
            take(exchange)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("how", [END, RAGGED])
def test_tls_close_delimited_needs_close_notify(connect, certificates, server_tls, how):
    with Origin(always(CLOSE_HEAD + b"abc", Wait(0.05), how), tls=server_tls) as origin:
        exchange = connect(cacert=certificates.authority).open(Request(origin.url()))
        if how == END:
            assert take(exchange) == b"abc"
            return
        with pytest.raises(NetworkError, match="cut"):
            take(exchange)


def test_tls_length_and_reuse(connect, certificates, server_tls):
    server_tls.num_tickets = 2
    with Origin(always(response(LARGE)), tls=server_tls) as origin:
        transport = connect(cacert=certificates.authority)
        for _ in range(3):
            assert fetch(transport, origin.url()) == (200, LARGE)
        assert origin.connections == 1


def test_tls_surplus(connect, certificates, server_tls: ssl.SSLContext):
    with Origin(always(response(b"ok"), response(b"EVIL")), tls=server_tls) as origin:
        transport = connect(cacert=certificates.authority)
        for _ in range(2):
            assert fetch(transport, origin.url()) == (200, b"ok")
            time.sleep(0.1)
        assert origin.connections == 2


def test_idle_connections_expire(connect, monkeypatch):
    with Origin(always(response(b"ok"))) as origin:
        transport = connect()
        fetch(transport, origin.url())
        monkeypatch.setattr("rdl.transport.pool.IDLE_SECONDS", -1.0)
        fetch(transport, origin.url())
        assert origin.connections == 2


def test_damaged_head_after_a_good_one_is_not_hidden(connect):
    def answer(connection, number, seen):
        return (response(b"ok"),) if number == 0 else (b"garbage\r\n\r\n",)

    with Origin(answer) as origin:
        transport = connect()
        fetch(transport, origin.url())
        with pytest.raises(ProtocolError):
            transport.open(Request(origin.url()))
        assert origin.connections == 1
