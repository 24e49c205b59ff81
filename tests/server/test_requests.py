"""Heads that are read, and those that are not: the guards of a server, without a socket."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.server.requests import (
    MAX_HEAD,
    Asked,
    Reply,
    RequestReader,
    Rules,
    authority_of,
    later,
    nowhere,
)
from tests.support.timing import seconds

RULES = Rules(frozenset(("127.0.0.1:8080", "localhost:8080")))
H = "Host: localhost:8080\r\n"


def read(text: str | bytes, rules: Rules = RULES) -> Asked | None:
    data = text.encode("latin-1") if isinstance(text, str) else text
    return RequestReader().receive(data, rules)


def read_bytewise(text: str) -> list[Asked | None]:
    reader = RequestReader()
    return [reader.receive(char.encode("latin-1"), RULES) for char in text]


def outcome_of(data: bytes, rules: Rules = RULES) -> tuple[int, Asked | None]:
    """The status of a refusal, or 0 and what was read."""
    try:
        return 0, read(data, rules)
    except Reply as reply:
        return reply.status if reply.close else -reply.status, None


def status_of(text: str | bytes, rules: Rules = RULES) -> int:
    """The status of the refusal, after which the connection ends; 0: it was read."""
    try:
        assert read(text, rules) is not None, "the head is not complete"
    except Reply as reply:
        return reply.status if reply.close else -reply.status
    return 0


def test_a_request() -> None:
    asked = read(f"GET /a%20b?c=d HTTP/1.1\r\n{H}Range: bytes=0-1\r\nX: 1\r\nx: 2\r\n\r\n")
    assert asked is not None
    assert (asked.method, asked.target, asked.path) == ("GET", "/a%20b?c=d", "/a%20b")
    assert asked.fields == {"host": "localhost:8080", "range": "bytes=0-1", "x": "1, 2"}
    assert not asked.close


@pytest.mark.parametrize(
    ("line", "field", "close"),
    [
        ("1.1", "", False),
        ("1.0", "", True),
        ("1.1", "Connection: close\r\n", True),
        ("1.1", "Connection: x, Close\r\n", True),
        ("1.1", "Connection: keep-alive\r\n", False),
        ("1.0", "Connection: keep-alive\r\n", True),
    ],
)
def test_when_the_connection_ends(line: str, field: str, close: bool) -> None:
    asked = read(f"HEAD / HTTP/{line}\r\n{H}{field}\r\n")
    assert asked is not None
    assert asked.close is close


def test_bytes_that_come_one_by_one() -> None:
    text = f"GET / HTTP/1.1\r\n{H}\r\n"
    assert read_bytewise(text) == [None] * (len(text) - 1) + [read(text)]


def test_what_has_begun() -> None:
    reader = RequestReader()
    assert not reader.begun
    reader.receive(b"G", RULES)
    assert reader.begun


SMUGGLING = [
    ("CL with TE", f"GET / HTTP/1.1\r\n{H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("TE", f"GET / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n"),
    ("TE identity", f"GET / HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\n\r\n"),
    ("TE in disguise", f"GET / HTTP/1.1\r\n{H}Transfer-Encoding: \x0bchunked\r\n\r\n"),
    ("a body", f"GET / HTTP/1.1\r\n{H}Content-Length: 3\r\n\r\n"),
    ("a body of HEAD", f"HEAD / HTTP/1.1\r\n{H}Content-Length: 3\r\n\r\n"),
    ("two lengths", f"GET / HTTP/1.1\r\n{H}Content-Length: 0\r\nContent-Length: 3\r\n\r\n"),
    ("a list of lengths", f"GET / HTTP/1.1\r\n{H}Content-Length: 3, 3\r\n\r\n"),
    ("a length with a sign", f"GET / HTTP/1.1\r\n{H}Content-Length: +0\r\n\r\n"),
    ("bare LF", "GET / HTTP/1.1\nHost: localhost:8080\n\n"),
    ("bare LF in a line", f"GET / HTTP/1.1\r\n{H}A: b\nContent-Length: 3\r\n\r\n"),
    ("bare CR", f"GET / HTTP/1.1\r\n{H}A: b\rC: d\r\n\r\n"),
    ("CR CR LF", f"GET / HTTP/1.1\r\n{H}A: b\r\r\n\r\n"),
    ("NUL", f"GET / HTTP/1.1\r\n{H}A: b\0c\r\n\r\n"),
    ("obs-fold", f"GET / HTTP/1.1\r\n{H}A: b\r\n c\r\n\r\n"),
    ("folded TE", f"GET / HTTP/1.1\r\n{H}Transfer-Encoding:\r\n\tchunked\r\n\r\n"),
    ("folded at once", f"GET / HTTP/1.1\r\n {H}\r\n"),
    ("space before the colon", f"GET / HTTP/1.1\r\n{H}Content-Length : 3\r\n\r\n"),
    ("no name", f"GET / HTTP/1.1\r\n{H}: 3\r\n\r\n"),
    ("two hosts", f"GET / HTTP/1.1\r\n{H}{H}\r\n"),
    ("no host", "GET / HTTP/1.1\r\n\r\n"),
    ("an empty line before", f"\r\nGET / HTTP/1.1\r\n{H}\r\n"),
    ("HTTP/0.9", "GET /\r\n\r\n"),
    ("a space in the target", f"GET /a b HTTP/1.1\r\n{H}\r\n"),
    ("a fragment", f"GET /a#b HTTP/1.1\r\n{H}\r\n"),
    ("no slash", f"GET a HTTP/1.1\r\n{H}\r\n"),
    ("an asterisk", f"GET * HTTP/1.1\r\n{H}\r\n"),
    ("bytes in the target", f"GET /\xff HTTP/1.1\r\n{H}\r\n"),
    ("TLS", "\x16\x03\x01\x02\x00"),
]


@pytest.mark.parametrize("text", [one for _, one in SMUGGLING], ids=[name for name, _ in SMUGGLING])
def test_s26_what_others_might_read_otherwise(text: str) -> None:
    assert status_of(text) == 400
    with pytest.raises(Reply) as bytewise:
        read_bytewise(text)
    assert bytewise.value.status == 400


@pytest.mark.parametrize("behind", ["x", "\r\n", f"GET / HTTP/1.1\r\n{H}\r\n"])
def test_s26_nothing_may_follow_before_the_answer(behind: str) -> None:
    assert status_of(f"GET / HTTP/1.1\r\n{H}\r\n{behind}") == 400


def test_a_length_of_zero_is_no_body() -> None:
    assert status_of(f"GET / HTTP/1.1\r\n{H}Content-Length: 0\r\n\r\n") == 0


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (f"POST / HTTP/1.1\r\n{H}\r\n", 405),
        (f"OPTIONS * HTTP/1.1\r\n{H}\r\n", 405),
        (f"get / HTTP/1.1\r\n{H}\r\n", 405),
        ("CONNECT localhost:8080 HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", 405),
        ("CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n", 405),
        (f"GET / HTTP/1.2\r\n{H}\r\n", 505),
        (f"GET / HTTP/2.0\r\n{H}\r\n", 505),
        (f"GET / HTTP/1.1\r\n{H}" + "A: b\r\n" * 101 + "\r\n", 431),
        (f"GET / HTTP/1.1\r\n{H}A: " + "b" * MAX_HEAD + "\r\n\r\n", 431),
        ("G" * (MAX_HEAD + 1), 431),
    ],
)
def test_what_is_not_offered(text: str, status: int) -> None:
    assert status_of(text) == status


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        # S25: rebinding
        ("/", "localhost:8080", 0),
        ("/", "LocalHost:8080", 0),
        ("/", "127.0.0.1:8080", 0),
        ("/", "127.0.0.1:08080", 0),
        ("/", "evil.example:8080", 421),
        ("/", "localhost", 421),
        ("/", "localhost:80", 421),
        ("/", "localhost:8080.evil.example", 421),
        ("/", "user@localhost:8080", 421),
        ("/", "localhost:8080, localhost:8080", 421),
        ("/", "a/../b?x#", 421),
        ("/", "localhost.:8080", 421),
        ("/", "[::1]:8080", 421),
        ("/", "", 421),
        # S24: nobody's proxy
        ("http://localhost:8080/a", "localhost:8080", 0),
        ("HTTP://LOCALHOST:8080", "localhost:8080", 0),
        ("http://other/", "localhost:8080", 421),
        ("http://localhost:8080/", "other", 421),
        ("http://127.0.0.1:8080/", "localhost:8080", 421),
        ("http://localhost/", "localhost:8080", 421),
        ("http://x@localhost:8080/", "localhost:8080", 421),
        ("http:///a", "localhost:8080", 421),
        ("https://localhost:8080/", "localhost:8080", 400),
        ("ftp://localhost:8080/", "localhost:8080", 400),
    ],
)
def test_s24_s25_the_host_is_ours(target: str, host: str, status: int) -> None:
    assert status_of(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n") == status
    older = status_of(f"GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n")
    assert older == status


def test_an_absolute_target_is_read_as_its_path() -> None:
    asked = read(f"GET http://localhost:8080/a?b HTTP/1.1\r\n{H}\r\n")
    assert asked is not None
    assert asked.target == "/a?b"
    assert status_of("GET / HTTP/1.0\r\n\r\n") == 421


@pytest.mark.parametrize("origin", ["http://evil", "http://localhost:8080", "null", ""])
def test_s25_pages_of_others_read_nothing(origin: str) -> None:
    assert status_of(f"GET / HTTP/1.1\r\n{H}Origin: {origin}\r\n\r\n") == 403


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("field", "let_in"),
    [
        ("Bearer s3cret", True),
        ("bearer  s3cret ", True),
        (basic("anybody:s3cret"), True),
        (basic(":s3cret"), True),
        (basic("s3cret:"), False),
        (basic("s3cret"), False),
        (basic("a:b:s3cret"), False),
        ("Bearer s3cre", False),
        ("Bearer s3crets", False),
        ("Bearer", False),
        ("Bearer \u00e9", False),
        ("Basic s3cret", False),
        ("Basic ====", False),
        ("Digest s3cret", False),
        ("s3cret", False),
        ("Bearer s3cret, Bearer s3cret", False),
        ("", False),
    ],
)
def test_the_token(field: str, let_in: bool) -> None:
    asked = Asked("GET", "/", {"authorization": field} if field else {}, close=False)
    Rules(frozenset()).admit(asked)
    rules = Rules(frozenset(), token="s3cret")
    if let_in:
        rules.admit(asked)
        return
    with pytest.raises(Reply) as refusal:
        rules.admit(asked)
    assert refusal.value.status == 401
    assert [name for name, _ in refusal.value.fields] == ["WWW-Authenticate"] * 2


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("H:1", "h:1"),
        ("h", "h:80"),
        ("[::1]:8", "[::1]:8"),
        ("::1", None),
        ("h:", None),
        ("h:x", None),
        ("h:123456", None),
        ("", None),
        ("h\n", None),
        ("\u212a", None),
    ],
)
def test_authorities(text: str, read: str | None) -> None:
    assert authority_of(text) == read


@pytest.mark.parametrize("text", ["A", "\r", " ", "A: b\r\n", "\r\n", "\n", ":"])
def test_what_is_too_long_is_refused_in_linear_time(text: str) -> None:
    def refused() -> None:
        with pytest.raises(Reply):
            read_bytewise(text * 100_000)

    assert seconds(refused) < 1


PARTS = st.sampled_from(
    [
        *(b"GET", b"HEAD", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b":", b","),
        *(b"Host: localhost:8080\r\n", b"Content-Length: ", b"Transfer-Encoding: ", b"0", b"5"),
        *(b"chunked", b"\t", b"\0", b"\xff", b"http://localhost:8080", b"?", b"#", b"%2e%2e"),
    ]
)


@given(st.lists(PARTS, max_size=12), st.integers(0, 300))
def test_whatever_comes_is_a_request_or_a_refusal(parts: list[bytes], at: int) -> None:
    head = f"GET /f HTTP/1.1\r\n{H}Range: bytes=0-1\r\n\r\n".encode()
    data = head[:at] + b"".join(parts) + head[at:]
    status, asked = outcome_of(data)
    if status:
        assert 400 <= status < 600
    elif asked is None:
        assert b"\r\n\r\n" not in data
    else:
        assert data.endswith(b"\r\n\r\n")
        assert data.count(b"\r\n\r\n") == 1
        assert asked.target.startswith("/")
        assert asked.fields["host"].lower() in RULES.hosts
        assert "transfer-encoding" not in asked.fields


WISHES = Rules(RULES.hosts, token="s3cret", wishes=True)
SAID = {
    "Authorization": "Bearer s3cret",
    "Content-Type": "application/vnd.rdl.wishlist",
    "Content-Length": "3",
}


def wishing(path: str = "/f.rdlm", **other: str | None) -> str:
    """The head of a request with these fields, others, or without."""
    fields = SAID | {name.replace("_", "-"): value for name, value in other.items()}
    lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value is not None]
    return f"POST {path} HTTP/1.1\r\n{H}{''.join(lines)}\r\n"


def test_a_wishlist_has_a_body() -> None:
    asked = read(wishing() + "abc", WISHES)
    assert asked is not None
    assert (asked.method, asked.path, asked.body) == ("POST", "/f.rdlm", b"abc")
    reader, text = RequestReader(), wishing() + "abc"
    found = [reader.receive(char.encode(), WISHES) for char in text]
    assert found == [None] * (len(text) - 1) + [asked]
    empty = read(wishing(Content_Length="0"), WISHES)
    assert empty is not None
    assert empty.body == b""


def test_when_a_client_waits_for_a_word() -> None:
    reader = RequestReader()
    assert (reader.in_body, reader.held_back) == (False, False)
    reader.receive(wishing(Expect="100-Continue").encode(), WISHES)
    assert (reader.begun, reader.in_body, reader.held_back) == (True, True, True)
    reader.receive(b"a", WISHES)
    assert not reader.held_back
    other = RequestReader()
    other.receive(wishing().encode(), WISHES)
    assert (other.in_body, other.held_back) == (True, False)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (wishing() + "abcd", 400),
        (wishing() + f"abcGET / HTTP/1.1\r\n{H}\r\n", 400),
        (wishing("/f"), 405),
        (wishing(Authorization=None), 401),
        (wishing(Content_Length=None), 411),
        (wishing(Content_Length=None, Transfer_Encoding="chunked"), 411),
        (wishing(Transfer_Encoding="chunked"), 400),
        (wishing(Content_Length="+3"), 400),
        (wishing(Content_Length="532536") + "a", 0),
        (wishing(Content_Length="532537"), 413),
        (wishing(Content_Length="9" * 20), 413),
        (wishing(Content_Type="text/plain"), 415),
        (wishing(Content_Type=None), 415),
        (wishing(Origin="http://evil"), 403),
        (f"PUT /f.rdlm HTTP/1.1\r\n{H}Content-Length: 0\r\n\r\n", 405),
        (f"GET /f.rdlm HTTP/1.1\r\n{H}Content-Length: 3\r\n\r\nabc", 400),
    ],
)
def test_s25_to_s29_bodies_that_are_refused(text: str, status: int) -> None:
    found = outcome_of(text.encode(), WISHES)
    assert found == (status, found[1])
    assert found[1] is None


def test_without_wishes_there_is_no_post() -> None:
    assert status_of(wishing(Content_Length="0")) == 405
    assert status_of(wishing()) == 400


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("wait=10", 10),
        ("respond-async, Wait = 7 ; x", 7),
        ('wait="3"', 3),
        ("wait=0", 0),
        ("await=5, waits=6", 0),
        ("wait=-1", 0),
        ("wait=1e9", 0),
        ("wait=" + "9" * 5000, 0),
        ("", 0),
    ],
)
def test_how_long_a_client_would_wait(said: str, seconds: float) -> None:
    assert Asked("POST", "/x.rdlm", {"prefer": said}, close=False).wait == seconds
    assert Asked("POST", "/x.rdlm", {}, close=False).wait == 0


def test_what_is_not_here_and_what_may_pass() -> None:
    gone, busy, slow = nowhere(), later("it is busy"), later("too much", 60, status=429)
    assert (gone.status, gone.fields, gone.close) == (404, (), False)
    assert (busy.status, busy.fields) == (503, (("Retry-After", "1"),))
    assert (slow.status, slow.fields) == (429, (("Retry-After", "60"),))
