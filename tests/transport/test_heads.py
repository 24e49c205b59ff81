"""Response heads: strict, bounded in size, number and time; dead idle connections are replaced."""

from __future__ import annotations

import time

import pytest

from rdl.errors import NetworkError, ProtocolError, RdlError
from rdl.transport.base import Request
from tests.support.origin import END, HANG, RESET, Origin, Wait, response
from tests.support.reading import fetch, take
from tests.support.waiting import until


def always(*steps):
    return lambda connection, number, seen: steps


def with_length(value):
    return f"HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\n".encode()


MALFORMED = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
    "list of lengths": with_length("3, 5"),
    "signed": with_length("+3"),
    "negative": with_length("-3"),
    "junk": with_length("3x"),
    "empty length": with_length(""),
    "2^63-1": with_length(2**63 - 1),
    "2^63": with_length(2**63),
    "2^70": with_length(2**70),
    "gzip coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "status 99": b"HTTP/1.1 099 No\r\n\r\n",
    "status 0": b"HTTP/1.1 0 No\r\n\r\n",
    "text": b"hello world\r\n\r\n",
    "binary": b"\x00\x01\x02\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "300 KB value": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000 + b"\r\n\r\n",
    "66 KB value": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 66_000 + b"\r\n\r\n",
    "201 fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 201 + b"\r\n",
    "17 interim": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + response(b"x"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(connect, name):
    with Origin(always(MALFORMED[name], END)) as origin, pytest.raises(ProtocolError):
        connect().open(Request(origin.url()))


ODD = {
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "16 interim": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + response(b"ok"),
    "100 and 102": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + response(b"ok"),
    "200 fields": response(b"ok", "200 OK", *["A: b"] * 199),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_fine(connect, name):
    with Origin(always(ODD[name])) as origin:
        assert fetch(connect(), origin.url()) == (200, b"ok")


def test_the_largest_length_is_only_a_number(connect):
    with Origin(always(with_length(2**63 - 2), END)) as origin:
        exchange = connect().open(Request(origin.url()))
        assert exchange.head.content_length == 2**63 - 2
        with pytest.raises(NetworkError):
            take(exchange)


def test_head_value(connect):
    fields = ('ETag: "x"', "X-Two: 1", "X-Two: 2", "X-Latin: caf\xe9")
    with Origin(always(response(b"", "299 Odd \x1b[31m \xe9", *fields))) as origin:
        exchange = connect().open(Request(origin.url("/a b")))
        exchange.close()
        head = exchange.head
        assert head.status == 299
        assert (head.get("etag"), head.all("x-two")) == ('"x"', ["1", "2"])
        assert head.get("x-latin") == "caf\xe9"
        assert head.url == origin.url("/a%20b")


@pytest.mark.parametrize("drip", [b"A: b\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_dripping_head_meets_the_deadline(connect, drip):
    start = b"" if drip.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n"
    steps = [start] + [Wait(0.05), drip] * 160
    with Origin(always(*steps)) as origin:
        began = time.monotonic()
        with pytest.raises(RdlError):
            connect(timeout=0.5).open(Request(origin.url()))
        assert time.monotonic() - began < 5


def test_silence_meets_the_deadline(connect):
    with Origin(always(HANG)) as origin:
        with pytest.raises(NetworkError, match="no response in time"):
            connect(timeout=0.2).open(Request(origin.url()))
        assert len(origin.seen) == 1


@pytest.mark.parametrize("how", [END, RESET])
def test_no_answer_on_a_fresh_connection_is_an_error_at_once(connect, how):
    with Origin(always(how)) as origin:
        with pytest.raises(NetworkError):
            connect().open(Request(origin.url()))
        assert len(origin.seen) == 1


@pytest.mark.parametrize("how", [END, RESET])
def test_head_cut(connect, how):
    with (
        Origin(always(b"HTTP/1.1 200 OK\r\nContent-", Wait(0.05), how)) as origin,
        pytest.raises(NetworkError, match="within the response head"),
    ):
        connect().open(Request(origin.url()))


@pytest.mark.parametrize("how", [END, RESET])
def test_reused_connection_that_dies_is_replaced_once(connect, how):
    def answer(connection, number, seen):
        return (response(b"ok"),) if number == 0 else (how,)

    with Origin(answer) as origin:
        transport = connect()
        for _ in range(3):
            assert fetch(transport, origin.url()) == (200, b"ok")
        assert [seen.connection for seen in origin.seen] == [0, 0, 1, 1, 2]


def test_connection_closed_while_idle_gets_no_request(connect):
    with Origin(always(response(b"ok"), Wait(0.05), END)) as origin:
        transport = connect()
        fetch(transport, origin.url())
        assert until(lambda: origin.alive == 0)
        assert fetch(transport, origin.url()) == (200, b"ok")
        assert [seen.connection for seen in origin.seen] == [0, 1]


def test_the_request_as_it_is_sent(connect):
    with Origin(always(response(b"ok"))) as origin:
        transport = connect()
        fetch(transport, origin.url("/a%2Fb c?q=%zz&\xe9#part"), ("Range", "bytes=0-9"))
        fetch(transport, origin.url(), ("Range", "bytes=9-"))
        first, second = origin.seen
        assert first.line == "GET /a%2Fb%20c?q=%25zz&%C3%A9 HTTP/1.1"
        assert first.fields["accept-encoding"] == "identity"
        assert first.fields["accept"] == "*/*"
        assert first.fields["user-agent"].startswith("rdl/")
        assert first.fields["host"] == f"127.0.0.1:{origin.port}"
        assert first.fields["range"] == "bytes=0-9"
        without = [
            {k: v for k, v in seen.fields.items() if k != "range"} for seen in (first, second)
        ]
        assert without[0] == without[1]
        assert "referer" not in first.fields
