"""Heads and bodies from a socket that hands them over in any portions, whole, cut or changed."""

from __future__ import annotations

from collections.abc import Sequence

import h11
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.fields import MAX_TOTAL, ResponseHead
from rdl.errors import NetworkError, ProtocolError, RdlError
from rdl.transport.bodies import Body, make_body
from rdl.transport.heads import MAX_HEAD, Stale, make_head, read_head
from rdl.transport.pool import Connection, Pool
from tests.traps.fuzzing import bounded, mutated

KEY = ("http://h:80", "")
HEAD = (
    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/20\r\n"
    b'ETag: "v0"\r\nServer: x\r\n\r\n'
)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Torn:
    """A socket that gives `data` in portions of the given sizes, then the end (or silence)."""

    def __init__(self, data: bytes, sizes: Sequence[int], *, silent: bool = False) -> None:
        self._data, self._sizes, self._silent = data, list(sizes) or [1 << 16], silent
        self._turn = 0

    def settimeout(self, seconds: float) -> None:
        """Time does not pass here."""

    def recv(self, count: int) -> bytes:
        if not self._data and self._silent:
            raise BlockingIOError
        count = min(count, self._sizes[self._turn % len(self._sizes)])
        self._turn += 1
        data, self._data = self._data[:count], self._data[count:]
        return data

    def recv_into(self, view: memoryview) -> int:
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Nothing is held."""


def opened(sock: Torn) -> tuple[ResponseHead, Body, Pool]:
    """As the transport opens an exchange."""
    wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    wire.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    wire.send(h11.EndOfMessage())
    head = make_head(read_head(sock, wire, 5.0, "h"), "GET", "http://h/", "h")
    pool = Pool()
    connection = Connection(sock, KEY, public=False, timeout=5.0)
    pool.add(connection)
    return head, make_body(head, connection, pool, wire), pool


def taken(body: Body, room: int) -> tuple[bytes, bool]:
    """What came, and whether it ended as it should."""
    data, view = b"", memoryview(bytearray(room))
    try:
        while count := body.readinto(view):
            data += bytes(view[:count])
    except NetworkError:
        return data, False
    finally:
        body.close()
    return data, True


tearing = st.lists(st.integers(1, 40), max_size=5)
names = st.text(alphabet="abcXYZ-1_", min_size=1, max_size=8).map(lambda name: f"x-{name}")
contents = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=20)
values = contents.map(lambda text: "".join(char for char in text if not 0x7F <= ord(char) < 0xA1))


@bounded
@given(st.lists(st.tuples(names, values), max_size=8), st.integers(0, 4), tearing)
def test_a_head_is_the_same_in_any_portions(
    fields: list[tuple[str, str]], interim: int, sizes: list[int]
) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    said = f"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n{lines}\r\n".encode("latin-1")
    head, body, _ = opened(Torn(INTERIM * interim + said + b"ok", sizes))
    expected = [(name.lower(), value) for name, value in fields]
    assert list(head.headers) == [("content-length", "2"), *expected]
    assert (head.status, head.framing) == (200, "length")
    assert taken(body, 7) == (b"ok", True)


LENGTHS = st.sampled_from(["0", "00", "5", "+5", "-1", "", "1 ", "5, 5", "5, 6", str(MAX_TOTAL)])
HUGE = st.sampled_from([MAX_TOTAL + 1, 2**63, 2**64, 10**19, 10**40]).map(str)
HEADS = st.builds(
    lambda reason, length: (
        b"HTTP/1.1 200 " + reason + b"\r\nContent-Length: " + length.encode() + b"\r\n\r\n"
    ),
    st.binary(max_size=4),
    st.one_of(LENGTHS, HUGE),
)


@bounded
@given(st.one_of(HEADS, mutated(INTERIM + HEAD)), tearing)
def test_a_changed_head_is_a_head_or_an_error(data: bytes, sizes: list[int]) -> None:
    def outcome(portions: list[int]) -> ResponseHead | str:
        try:
            return opened(Torn(data, portions))[0]
        except (ProtocolError, NetworkError, Stale):
            return "refused"

    head = outcome(sizes)
    assert outcome([]) == head
    if isinstance(head, ResponseHead):
        assert 200 <= head.status <= 999
        assert head.content_length is None or 0 <= head.content_length <= MAX_TOTAL
        assert not any(set(text) & {"\r", "\n", "\0"} for pair in head.headers for text in pair)


@bounded
@given(st.binary(max_size=300), st.binary(max_size=30), tearing, st.integers(1, 64))
def test_a_body_with_a_length(body: bytes, surplus: bytes, sizes: list[int], room: int) -> None:
    said = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    _, whole, pool = opened(Torn(said + surplus, sizes, silent=True))
    assert taken(whole, room) == (body, True)
    assert (pool.take(KEY) is not None) == (surplus == b"")
    if body:
        _, cut, pool = opened(Torn(said[:-1], sizes))
        assert taken(cut, room) == (body[:-1], False)
        assert pool.take(KEY) is None


@st.composite
def in_chunks(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body, and the same in chunks with what chunks may carry (RFC 9112 section 7.1)."""
    body, wire = b"", b""
    for chunk in draw(st.lists(st.binary(min_size=1, max_size=60), max_size=5)):
        zeros = "0" * draw(st.integers(0, 3))
        extension = draw(st.sampled_from(["", ";a", ";a=b", ';a="b;c"']))
        wire += f"{zeros}{len(chunk):x}{extension}\r\n".encode() + chunk + b"\r\n"
        body += chunk
    trailers = draw(st.sampled_from([b"", b"Digest: x\r\n", b"A: 1\r\nB: 2\r\n"]))
    return body, wire + b"0\r\n" + trailers + b"\r\n"


@bounded
@given(in_chunks(), st.binary(max_size=10), tearing, st.integers(1, 64), st.integers(0, 400))
def test_a_body_in_chunks(
    sent: tuple[bytes, bytes], surplus: bytes, sizes: list[int], room: int, end: int
) -> None:
    body, wire = sent
    _, whole, pool = opened(Torn(CHUNKED + wire + surplus, sizes, silent=True))
    assert taken(whole, room) == (body, True)
    assert (pool.take(KEY) is not None) == (surplus == b"")
    _, cut, pool = opened(Torn(CHUNKED + wire[: min(end, len(wire) - 1)], sizes))
    some, ended = taken(cut, room)
    assert not ended
    assert body.startswith(some)
    assert pool.take(KEY) is None


@bounded
@given(in_chunks().flatmap(lambda sent: mutated(sent[1])), tearing, st.integers(1, 64))
def test_changed_chunks_end_in_one_way(data: bytes, sizes: list[int], room: int) -> None:
    """However the bytes come, the same body and the same end are read."""

    def outcome(portions: list[int]) -> tuple[bytes, bool]:
        try:
            return taken(opened(Torn(CHUNKED + data, portions))[1], room)
        except RdlError as error:
            raise AssertionError(f"the head was fine: {error}") from error

    some, ended = outcome(sizes)
    others, also = outcome([])
    assert ended == also
    assert some == others if ended else some.startswith(others) or others.startswith(some)
    assert len(some) <= len(data)
