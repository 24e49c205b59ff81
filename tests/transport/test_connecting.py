"""Names, addresses, TLS and proxies: how a connection comes to be."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time

import pytest

from rdl.errors import AuthError, LocalFileError, NetworkError, PolicyError, TLSError, UsageError
from rdl.options import NetworkOptions
from rdl.transport.base import Request
from rdl.transport.dial import Goal, dial, is_public
from rdl.transport.proxies import ProxyChoice, parse_proxy
from tests.support.origin import END, START_TLS, Expect, Origin, response
from tests.support.reading import fetch


def ok(connection, number, seen):
    return (response(b"ok"),)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("64:ff9b::a00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:a00:1::", False),
        ("::127.0.0.1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("224.0.0.1", False),
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
    ],
)
def test_is_public(address, public):
    assert is_public(address) is public


def test_ipv6(connect):
    with Origin(ok, family=6) as origin:
        assert fetch(connect(), origin.url()) == (200, b"ok")
        assert origin.seen[0].fields["host"] == f"[::1]:{origin.port}"
        with pytest.raises(NetworkError):
            fetch(connect(family=4), origin.url())


def addresses(*found):
    """A stand-in for getaddrinfo."""

    def look_up(host, port, family=0, kind=0):
        families = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in found]
        return [
            (fam, kind, 6, "", (one, port))
            for fam, one in zip(families, found, strict=True)
            if family in (0, fam)
        ]

    return look_up


@pytest.fixture
def full_backlog():
    """A port that lets connections hang: its queue is full."""
    listener = socket.create_server(("127.0.0.2", 0), backlog=0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.2", port))
        fillers.append(sock)
    time.sleep(0.05)
    yield port
    for sock in (*fillers, listener):
        sock.close()


def test_a_dead_address_costs_a_quarter_of_a_second(monkeypatch, full_backlog):
    monkeypatch.setattr(socket, "getaddrinfo", addresses("127.0.0.2", "127.0.0.1"))
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", full_backlog)):
        sock, peer = dial(Goal("example", full_backlog, began + 20))
        assert peer == "127.0.0.1"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.close()
    assert 0.2 < time.monotonic() - began < 5


def test_connecting_has_a_deadline(connect, full_backlog):
    began = time.monotonic()
    with pytest.raises(NetworkError, match="too long"):
        fetch(connect(connect_timeout=0.4), f"http://127.0.0.2:{full_backlog}/")
    assert time.monotonic() - began < 5


def test_a_refusing_address_is_passed_over_at_once(monkeypatch, connect):
    monkeypatch.setattr(socket, "getaddrinfo", addresses("::1", "127.0.0.3", "127.0.0.1"))
    with Origin(ok) as origin:
        assert fetch(connect(), f"http://example:{origin.port}/") == (200, b"ok")


def test_refused(connect):
    with pytest.raises(NetworkError, match="refused"):
        fetch(connect(), "http://127.0.0.1:1/")


def test_unknown_name(connect, monkeypatch):
    def fail(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NetworkError, match="name look-up failed"):
        fetch(connect(), "http://nowhere.example/")


def test_slow_name_look_up_has_a_deadline(connect, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: ended.wait(20) and [])
    began = time.monotonic()
    with pytest.raises(NetworkError, match="too long"):
        fetch(connect(connect_timeout=0.3), "http://slow.example/")
    assert time.monotonic() - began < 5
    ended.set()


def test_private_addresses_of_a_name_are_not_called(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", addresses("127.0.0.1", "169.254.169.254"))
    with pytest.raises(PolicyError):
        dial(Goal("example", 80, time.monotonic() + 5, public_only=True))


def test_certificates(connect, certificates, server_tls, tmp_path):
    with Origin(ok, tls=server_tls) as origin:
        assert fetch(connect(cacert=certificates.authority), origin.url()) == (200, b"ok")
        assert fetch(connect(insecure=True), origin.url()) == (200, b"ok")
        with pytest.raises(TLSError) as caught:
            fetch(connect(), origin.url())
        assert caught.value.permanent
        by_wrong_name = f"https://127.0.0.2:{origin.port}/"
    with pytest.raises(NetworkError):
        fetch(connect(cacert=certificates.authority), by_wrong_name)
    (tmp_path / "empty").touch()
    for name in ("none", "empty"):
        with pytest.raises(LocalFileError):
            fetch(connect(cacert=tmp_path / name), origin.url())
        with pytest.raises(LocalFileError):
            fetch(connect(cert=tmp_path / name), origin.url())


def test_certificate_for_another_name(connect, certificates, server_tls, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", addresses("127.0.0.1"))
    with Origin(ok, tls=server_tls) as origin, pytest.raises(TLSError, match="trusted"):
        fetch(connect(cacert=certificates.authority), f"https://other.example:{origin.port}/")


def test_client_certificate(connect, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.load_verify_locations(certificates.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    with Origin(ok, tls=context) as origin:
        mine = {"cert": certificates.certificate, "key": certificates.key}
        transport = connect(cacert=certificates.authority, **mine)
        assert fetch(transport, origin.url()) == (200, b"ok")
        with pytest.raises(NetworkError, match="no response"):
            fetch(connect(cacert=certificates.authority), origin.url())


def test_not_tls_at_all(connect, certificates):
    with (
        Origin(ok, greeting=(b"hello, this is no TLS\r\n", END)) as origin,
        pytest.raises(NetworkError, match="handshake"),
    ):
        fetch(connect(cacert=certificates.authority), f"https://127.0.0.1:{origin.port}/")


PASS = "Basic " + base64.b64encode(b"pu:pp").decode()


def test_http_through_a_proxy(connect):
    with Origin(ok) as proxy:
        transport = connect(proxy=f"http://pu:pp@127.0.0.1:{proxy.port}", user="u")
        for _ in range(2):
            assert fetch(transport, "http://target.example/a?b") == (200, b"ok")
        seen = proxy.seen[0]
        assert seen.line == "GET http://target.example/a?b HTTP/1.1"
        assert seen.fields["host"] == "target.example"
        assert seen.fields["proxy-authorization"] == PASS
        assert proxy.connections == 1


@pytest.mark.parametrize("url", ["http://target.example/", "https://target.example/"])
def test_a_user_of_a_proxy_has_no_colon(connect, url):
    with Origin(ok) as proxy:
        transport = connect(proxy=f"http://p%3Au:pp@127.0.0.1:{proxy.port}")
        with pytest.raises(UsageError):
            fetch(transport, url)
        assert proxy.seen == []


def tunnelled(connection, number, seen):
    if seen.line.startswith("CONNECT"):
        return (b"HTTP/1.1 200 Connection established\r\n\r\n", START_TLS)
    return (response(b"secret"),)


def test_https_through_a_proxy(connect, certificates, server_tls):
    with Origin(tunnelled, inner_tls=server_tls) as proxy:
        transport = connect(
            proxy=f"http://pu:pp@127.0.0.1:{proxy.port}", cacert=certificates.authority
        )
        for _ in range(2):
            assert fetch(transport, "https://localhost/x") == (200, b"secret")
        assert [seen.line for seen in proxy.seen] == [
            "CONNECT localhost:443 HTTP/1.1",
            "GET /x HTTP/1.1",
            "GET /x HTTP/1.1",
        ]
        assert proxy.seen[0].fields["proxy-authorization"] == PASS
        assert "proxy-authorization" not in proxy.seen[1].fields


@pytest.mark.parametrize(
    ("status", "error"), [(407, AuthError), (403, PolicyError), (502, NetworkError)]
)
def test_proxy_refuses(connect, status, error):
    with Origin(lambda c, n, s: (response(b"no", f"{status} No"),)) as proxy:
        with pytest.raises(error) as caught:
            fetch(connect(proxy=f"http://pu:pp@127.0.0.1:{proxy.port}"), "https://target/")
        assert "pp" not in str(caught.value)


@pytest.mark.parametrize("last", [b"", END])
def test_proxy_that_ends_or_speaks_too_early(connect, last):
    early = b"HTTP/1.1 200 OK\r\n\r\nearly" if last == b"" else b""
    with Origin(lambda c, n, s: (early, END)) as proxy, pytest.raises(Exception, match="proxy"):
        fetch(connect(proxy=f"127.0.0.1:{proxy.port}"), "https://target/")


def test_socks5h(connect):
    greeting = (
        Expect(4), b"\x05\x02", Expect(7), b"\x01\x00", Expect(7 + 14),
        b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00",
    )  # fmt: skip
    with Origin(ok, greeting=greeting) as proxy:
        transport = connect(proxy=f"socks5h://pu:pp@127.0.0.1:{proxy.port}")
        assert fetch(transport, "http://target.example/") == (200, b"ok")
        assert proxy.raw == [
            b"\x05\x02\x00\x02",
            b"\x01\x02pu\x02pp",
            b"\x05\x01\x00\x03\x0etarget.example\x00\x50",
        ]
        assert proxy.seen[0].line == "GET / HTTP/1.1"


def test_socks5_looks_names_up_here(connect, monkeypatch):
    greeting = (Expect(3), b"\x05\x00", Expect(10), b"\x05\x05\x00\x01" + bytes(6))
    with Origin(ok, greeting=greeting) as proxy:
        monkeypatch.setattr(socket, "getaddrinfo", addresses("127.0.0.1"))
        with pytest.raises(NetworkError, match="SOCKS reply 5"):
            fetch(connect(proxy=f"socks5://127.0.0.1:{proxy.port}"), "http://target.example/")
        assert proxy.raw[1] == b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"


@pytest.mark.parametrize(
    "greeting", [(Expect(3), b"\x05\xff"), (Expect(3), b"\x05\x02"), (Expect(3), END)]
)
def test_socks_refuses(connect, greeting):
    with (
        Origin(ok, greeting=(*greeting, END)) as proxy,
        pytest.raises((AuthError, NetworkError), match="proxy"),
    ):
        fetch(connect(proxy=f"socks5h://127.0.0.1:{proxy.port}"), "http://target.example/")


def test_redirect_behind_a_proxy_to_a_literal_private_address(connect):
    there = response(b"", "302 Found", "Location: http://169.254.169.254/latest")
    with Origin(lambda c, n, s: (there,)) as proxy:
        with pytest.raises(PolicyError):
            fetch(connect(proxy=f"127.0.0.1:{proxy.port}"), "http://target.example/")
        assert len(proxy.seen) == 1


CHOICES = [
    ({"http_proxy": "http://p:1"}, "http", "h", "p"),
    ({"HTTP_PROXY": "p:1"}, "http", "h", "p"),
    ({"HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"}, "http", "h", None),
    ({"http_proxy": "p:1"}, "https", "h", None),
    ({"https_proxy": "p:1", "HTTPS_PROXY": "q:1"}, "https", "h", "p"),
    ({"ALL_PROXY": "socks5://p"}, "https", "h", "p"),
    ({"all_proxy": "p", "no_proxy": "h"}, "http", "h", None),
    ({"all_proxy": "p", "no_proxy": "x, .example.com"}, "http", "a.example.com", None),
    ({"all_proxy": "p", "NO_PROXY": "example.com"}, "http", "example.com", None),
    ({"all_proxy": "p", "no_proxy": "example.com"}, "http", "badexample.com", "p"),
    ({"all_proxy": "p", "no_proxy": "*"}, "http", "h", None),
    ({"all_proxy": "p", "no_proxy": "10.0.0.0/8"}, "http", "10.2.3.4", None),
    ({"all_proxy": "p", "no_proxy": "10.0.0.0/8"}, "http", "11.2.3.4", "p"),
    ({"all_proxy": "p", "no_proxy": "h:80"}, "http", "h", None),
    ({"all_proxy": "p", "no_proxy": "h:81"}, "http", "h", "p"),
    ({"all_proxy": "p", "no_proxy": "[::1]"}, "http", "::1", None),
    ({"all_proxy": "p", "no_proxy": "::1"}, "http", "::1", None),
    ({"all_proxy": "p", "no_proxy": "[::1]:80"}, "http", "::1", None),
    ({}, "http", "h", None),
]


@pytest.mark.parametrize(("environment", "scheme", "host", "expected"), CHOICES)
def test_choice_by_environment(environment, scheme, host, expected):
    proxy = ProxyChoice(NetworkOptions(), environment).choose(scheme, host, 80)
    assert (proxy.host if proxy else None) == expected


def test_choice_by_options():
    environment = {"http_proxy": "p", "no_proxy": "a"}
    none = ProxyChoice(NetworkOptions(proxy=""), environment)
    assert none.choose("http", "h", 80) is None
    own = ProxyChoice(NetworkOptions(proxy="q:9", noproxy=("b",)), environment)
    assert own.choose("https", "a", 443) == parse_proxy("http://q:9")
    assert own.choose("http", "b", 80) is None


@pytest.mark.parametrize("text", ["https://p", "socks4://p", "http://", "http://p:x", "p:99999"])
def test_bad_proxy(connect, text):
    with pytest.raises(UsageError):
        connect(proxy=text)


def test_a_proxy_never_shows_its_password():
    assert "secret" not in repr(parse_proxy("http://u:secret@p"))


def test_international_names_go_out_in_ascii(connect):
    with Origin(ok) as proxy:
        fetch(connect(proxy=f"127.0.0.1:{proxy.port}"), "http://b\xfccher.example/")
        assert proxy.seen[0].line == "GET http://xn--bcher-kva.example/ HTTP/1.1"
        assert proxy.seen[0].fields["host"] == "xn--bcher-kva.example"


def test_a_closed_transport_opens_nothing(connect):
    with Origin(ok) as origin:
        transport = connect()
        fetch(transport, origin.url())
        transport.close()
        with pytest.raises(NetworkError, match="closed"):
            fetch(transport, origin.url())


def test_unreachable_url_is_refused_before_connecting(connect):
    with pytest.raises(UsageError):
        connect().open(Request("ftp://h/"))
