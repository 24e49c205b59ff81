"""Redirects: followed by our rules, bodies unread, and nothing private crosses origins."""

from __future__ import annotations

import pytest

from rdl.errors import NetworkError, PolicyError, ProtocolError
from rdl.transport.base import Lineage, Request
from tests.support.origin import HANG, Origin, response
from tests.support.reading import fetch, take


def to(location, status="302 Found"):
    return response(b"", status, f"Location: {location}")


def routes(table):
    """Answers by path; anything else is 200 with the path as body."""

    def answer(connection, number, seen):
        path = seen.line.split(" ")[1]
        return (table[path],) if path in table else (response(path.encode()),)

    return answer


@pytest.fixture
def public(monkeypatch):
    """127.0.0.1 counts as public, every other loopback address does not."""

    def rule(address):
        return address == "127.0.0.1"

    monkeypatch.setattr("rdl.transport.dial.is_public", rule)
    monkeypatch.setattr("rdl.transport.http1.is_public", rule)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_followed(connect, status):
    with Origin(routes({"/a": to("b?x#f", f"{status} Moved")})) as origin:
        exchange = connect().open(Request(origin.url("/a")))
        assert exchange.head.url == origin.url("/b?x")
        exchange.close()
        assert origin.connections == 2 - (origin.seen[1].connection == 0)


@pytest.mark.parametrize(
    ("status", "then"), [(301, 301), (302, 302), (303, 303), (307, 200), (308, 200)]
)
def test_a_post_goes_on_only_as_it_is(connect, status, then):
    with Origin(routes({"/a": to("/b", f"{status} Moved")})) as origin:
        sent = Request(origin.url("/a"), method="POST", body=b"wishes")
        exchange = connect().open(sent)
        exchange.close()
        assert exchange.head.status == then
        assert len(origin.seen) == 1 + (then == 200)
        for one in origin.seen:  # which takes a body for the start of the next head
            assert one.line.split(" ")[0].endswith("POST")
            assert one.fields["content-length"] == "6"


@pytest.mark.parametrize("status", [300, 304, 305, 306, 399])
def test_not_followed(connect, status):
    with Origin(routes({"/a": to("/b", f"{status} X")})) as origin:
        assert fetch(connect(), origin.url("/a"))[0] == status


def test_without_location(connect):
    with Origin(routes({"/a": response(b"", "302 Found")})) as origin:
        assert fetch(connect(), origin.url("/a"))[0] == 302


BAD = [
    "",
    "file:///etc/passwd",
    "ftp://h/x",
    "data:text/plain,x",
    "http://h\\@evil/",
    "http:///x",
    "http://h:99999/",
    "http://a b/",
    "//",
    "http://[::1",
    "/" + "x" * 60_000 + "%0d%0a" * 2000,
]


@pytest.mark.parametrize("location", BAD)
def test_bad_location(connect, location):
    with Origin(routes({"/a": to(location)})) as origin:
        with pytest.raises(ProtocolError) as caught:
            connect().open(Request(origin.url("/a")))
        assert len(str(caught.value)) < 500
        assert len(origin.seen) == 1


def test_location_is_not_decoded(connect):
    with Origin(routes({"/a": to("/x%0d%0aEvil:%20y caf\xe9")})) as origin:
        fetch(connect(), origin.url("/a"))
        assert origin.seen[1].line == "GET /x%0d%0aEvil:%20y%20caf%E9 HTTP/1.1"


def test_loop(connect):
    with Origin(routes({"/a": to("/b"), "/b": to("/a")})) as origin:
        with pytest.raises(ProtocolError, match="loop"):
            connect().open(Request(origin.url("/a")))
        assert len(origin.seen) == 2


@pytest.mark.parametrize(("hops", "fine"), [(10, True), (11, False)])
def test_ten_hops(connect, hops, fine):
    with Origin(routes({f"/{i}": to(f"/{i + 1}") for i in range(hops)})) as origin:
        if fine:
            assert fetch(connect(), origin.url("/0")) == (200, b"/10")
            return
        with pytest.raises(ProtocolError, match="more than 10"):
            connect().open(Request(origin.url("/0")))


def test_body_is_not_read(connect):
    endless = b"HTTP/1.1 302 Found\r\nLocation: /b\r\nTransfer-Encoding: chunked\r\n\r\n"

    def answer(connection, number, seen):
        return (response(b"ok"),) if connection else (endless, HANG)

    with Origin(answer) as origin:
        assert fetch(connect(timeout=2), origin.url("/a")) == (200, b"ok")


PRIVATE = {
    "headers": (("X-Api-Key", "canary"), ("Cookie", "c=canary"), ("Proxy-Thing", "canary")),
    "user": "canary",
    "password": "canary",
}


def test_private_fields_stay_with_the_first_origin(connect):
    with Origin(routes({})) as other, Origin(routes({"/same": to("/z")})) as origin:
        there = other.url("/x").replace("http://", "http://in:location@")
        origin.answer = routes({"/a": to(there), "/same": to("/z")})
        transport = connect(**PRIVATE, user_agent="me/1")
        sent = (("Range", "bytes=0-1"), ("If-Range", '"x"'))
        assert fetch(transport, origin.url("/a"), *sent) == (200, b"/x")
        assert "canary" in origin.seen[0].fields["x-api-key"]
        assert origin.seen[0].fields["authorization"].startswith("Basic ")
        assert other.seen[0].fields.keys() == {
            "host", "accept", "accept-encoding", "connection", "user-agent", "range", "if-range"
        }  # fmt: skip
        assert other.seen[0].fields["user-agent"] == "me/1"
        exchange = transport.open(Request(origin.url("/a")))
        take(exchange)
        take(transport.open(Request(other.url("/x"), lineage=exchange.lineage)))
        assert b"canary" not in other.seen[2].head
        assert "authorization" not in other.seen[2].fields
        take(transport.open(Request(other.url("/x"))))
        assert b"canary" in other.seen[3].head
        fetch(transport, origin.url("/same"))
        assert origin.seen[-1].fields["x-api-key"] == "canary"


def test_back_at_the_first_origin(connect):
    with Origin(routes({})) as other, Origin(routes({})) as origin:
        other.answer = routes({"/x": to(origin.url("/end"))})
        origin.answer = routes({"/a": to(other.url("/x"))})
        fetch(connect(**PRIVATE), origin.url("/a"))
        assert b"canary" not in other.seen[0].head
        assert origin.seen[-1].fields["x-api-key"] == "canary"


def test_cookies_stay_in_memory_and_with_their_host(connect):
    def answer(connection, number, seen):
        return (response(b"ok", "200 OK", "Set-Cookie: k=v; Path=/"),)

    with Origin(answer) as origin, Origin(answer, family=6) as other:
        transport = connect()
        for url in (origin.url(), origin.url(), other.url()):
            fetch(transport, url)
        assert "cookie" not in origin.seen[0].fields
        assert origin.seen[1].fields["cookie"] == "k=v"
        assert "cookie" not in other.seen[0].fields


def test_cookies_do_not_cross_to_another_port(connect):
    setting = "Set-Cookie: k=v"
    with Origin(routes({})) as other, Origin(routes({})) as origin:
        elsewhere = f"Location: {other.url('/x')}"
        origin.answer = routes({"/a": response(b"", "302 Found", elsewhere, setting)})
        transport = connect()
        fetch(transport, origin.url("/a"))
        fetch(transport, origin.url("/b"))
        fetch(transport, other.url("/b"))
    assert origin.seen[-1].fields["cookie"] == "k=v"
    assert all("cookie" not in seen.fields for seen in other.seen)


@pytest.mark.parametrize("value", ["caf\xe9", "\u4e2d", "\x1b[2J", "a=b=c", '"x', "k" * 20_000])
def test_a_cookie_goes_back_as_it_came(connect, value):
    setting = b"\r\nSet-Cookie: k=" + value.encode("latin-1" if value < "\xff" else "utf-8")

    def answer(connection, number, seen):
        return (response(b"ok").replace(b" OK", b" OK" + setting),)

    with Origin(answer) as origin:
        transport = connect()
        for _ in range(2):
            assert fetch(transport, origin.url()) == (200, b"ok")
    assert setting.partition(b": ")[2] in origin.seen[1].head


def test_https_to_http(connect, certificates, server_tls):
    with Origin(routes({})) as plain:
        answer = routes({"/a": to(plain.url("/x"))})
        with Origin(answer, tls=server_tls) as origin:
            with pytest.raises(PolicyError, match="https") as caught:
                connect(cacert=certificates.authority).open(Request(origin.url("/a")))
            assert "--allow-insecure-redirect" in caught.value.hint
            assert plain.seen == []
            willing = connect(cacert=certificates.authority, allow_insecure_redirect=True)
            assert fetch(willing, origin.url("/a")) == (200, b"/x")


def test_public_to_private(connect, public):
    with Origin(routes({}), family=6) as inside, Origin(routes({})) as origin:
        origin.answer = routes({"/a": to(inside.url("/x")), "/b": to("/ok")})
        transport = connect()
        for _ in range(2):
            with pytest.raises(PolicyError) as caught:
                transport.open(Request(origin.url("/a")))
        assert "--allow-private-redirect" in caught.value.hint
        assert inside.connections == 0
        assert fetch(transport, origin.url("/b")) == (200, b"/ok")
        led = Lineage("http://elsewhere:80", public=True)
        with pytest.raises(PolicyError):
            transport.open(Request(inside.url("/x"), lineage=led))
        assert fetch(transport, inside.url("/x")) == (200, b"/x")
        willing = connect(allow_private_redirect=True)
        assert fetch(willing, origin.url("/a")) == (200, b"/x")


def test_private_to_private_is_as_before(connect):
    with Origin(routes({}), family=6) as inside, Origin(routes({})) as origin:
        origin.answer = routes({"/a": to(inside.url("/x"))})
        assert fetch(connect(), origin.url("/a")) == (200, b"/x")


def test_redirect_to_a_dead_host_is_a_network_error(connect):
    with Origin(routes({"/a": to("http://127.0.0.1:1/")})) as origin, pytest.raises(NetworkError):
        connect().open(Request(origin.url("/a")))
