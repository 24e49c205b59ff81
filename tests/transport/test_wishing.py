"""Wishes behind the interface of a transport, without a network: order, memory, ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from rdl.core.chunks import Chunks
from rdl.core.fields import ResponseHead
from rdl.core.manifest import fine_range
from rdl.core.wishlist import Sender, encode_fine, parse_wishlist
from rdl.errors import Interrupted, NetworkError, ProtocolError
from rdl.transport import wishing
from rdl.transport.base import Exchange, Lineage, Request
from rdl.transport.wishing import WishTransport, fine_of
from tests.core.wishing import chunks_of, manifest_of

FILE, LIST = "http://h/f", "http://h/f.rdlm"
PARTS = [random.Random(number).randbytes(500 + number) for number in range(40)]
DATA = b"".join(PARTS)


class Canned:
    """An exchange of these bytes, in small portions."""

    lineage: Lineage | None = None
    public = False

    def __init__(self, status: int, body: bytes = b"", length: int | None = None) -> None:
        fields = (("etag", '"v"'), ("last-modified", "Sat, 01 Jan 2000 00:00:00 GMT"))
        self.head = ResponseHead(status, fields, content_length=length, url=FILE)
        self.body, self.closed = body, False

    def ready(self) -> bool:
        return True

    def readinto(self, view: memoryview) -> int:
        if self.closed:
            raise NetworkError("canned", "was closed")
        part, self.body = self.body[: min(len(view), 333)], self.body[333:]
        view[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self.closed = True


class Beyond:
    """A server of the file and its list, as it should be. `bodies`: the wishlists."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks, self.bodies, self.size = chunks, list[bytes](), len(DATA)
        self.last = Canned(200)
        self.heads = 0

    def ask(self, request: Request) -> None:
        """Never."""

    def open(self, request: Request) -> Exchange:
        if request.method == "HEAD":
            self.heads += 1
            return Canned(200, length=self.size)
        if request.method == "GET":
            return Canned(418)
        assert (request.url, request.method) == (LIST, "POST")
        assert ("Content-Type", "application/vnd.rdl.wishlist") in request.headers
        self.bodies.append(request.body)
        numbers = parse_wishlist(self.chunks, request.body)
        self.last = Canned(200, b"".join(Sender(self.chunks, numbers, PARTS.__getitem__).answer()))
        return self.last

    def close(self) -> None:
        """It is the test's."""

    def wishes(self) -> list[list[int]]:
        return [[*parse_wishlist(self.chunks, body)] for body in self.bodies]


@pytest.fixture
def beyond() -> Beyond:
    return Beyond(chunks_of(PARTS))


def made(beyond: Beyond) -> WishTransport:
    return WishTransport(FILE, LIST, beyond.chunks).over(beyond)


def lack(wishes: WishTransport, numbers: Iterable[int]) -> None:
    chunks = chunks_of(PARTS)
    assert wishes.lack(chunks, map(chunks.chunk, numbers))


def span(*numbers: int) -> tuple[int, int]:
    """From the start of the first chunk to the end of the last."""
    return len(b"".join(PARTS[: numbers[0]])), len(b"".join(PARTS[: numbers[-1] + 1]))


def read(wishes: WishTransport, start: int, stop: int, step: int = 100) -> bytes:
    exchange = wishes.open(Request(FILE, (("Range", f"bytes={start}-{stop - 1}"),)))
    assert (exchange.head.status, exchange.head.get("etag")) == (206, '"v"')
    view, found = memoryview(bytearray(step)), bytearray()
    while count := exchange.readinto(view):
        found += view[:count]
    exchange.close()
    return bytes(found)


def test_ranges_in_order_are_one_wishlist(beyond: Beyond) -> None:
    with made(beyond) as wishes:
        lack(wishes, [3, 4, 9, 30])
        for numbers in ((3, 4), (9,), (30,)):
            start, stop = span(*numbers)
            assert read(wishes, start, stop) == DATA[start:stop]
    assert beyond.wishes() == [[3, 4, 9, 30]]
    assert beyond.heads == 1
    assert (beyond.last.closed, beyond.last.body) == (True, b"")


def test_parts_of_chunks(beyond: Beyond) -> None:
    wishes = made(beyond)
    lack(wishes, range(len(PARTS)))
    at = 0
    for size in (1, 700, 3, 5000, 200, len(DATA)):
        stop = min(at + size, len(DATA))
        assert read(wishes, at, stop, 64) == DATA[at:stop]
        at = stop
    assert len(beyond.bodies) == 1


def test_out_of_order_within_what_is_kept(beyond: Beyond) -> None:
    wishes = made(beyond)
    lack(wishes, range(len(PARTS)))
    for number in reversed(range(len(PARTS))):
        start, stop = span(number)
        assert read(wishes, start, stop) == DATA[start:stop]
    assert len(beyond.bodies) == 1


def test_what_is_not_kept_is_wished_for_again(
    beyond: Beyond, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishing, "KEPT", 2000)
    wishes = made(beyond)
    lack(wishes, range(len(PARTS)))
    for number in (30, 5, 39, 0):
        start, stop = span(number)
        assert read(wishes, start, stop) == DATA[start:stop]
        assert sum(map(len, wishes._kept.values())) <= 2000
    assert len(beyond.bodies) > 1


def test_what_came_is_wished_for_again_with_the_rest(beyond: Beyond) -> None:
    wishes = made(beyond)
    lack(wishes, [7, 20])
    start, stop = span(7)
    assert read(wishes, start, stop) == PARTS[7]
    assert read(wishes, start, stop) == PARTS[7], "it was wrong on the disk"
    assert beyond.wishes() == [[7, 20], [7, 20]]


def test_a_little_that_is_here_comes_along(beyond: Beyond) -> None:
    """Of what is here the engine compares a part, where it asks first."""
    wishes = made(beyond)
    lack(wishes, [20])
    start, stop = span(19, 20)
    assert read(wishes, start, stop) == PARTS[19] + PARTS[20]
    assert beyond.wishes() == [[19, 20]]


def test_the_rest_of_an_end_is_not_waited_for(
    beyond: Beyond, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readinto(self: Canned, view: memoryview) -> int:
        assert self.body, "it would wait"
        view[0], self.body = self.body[0], self.body[1:]
        return 1

    monkeypatch.setattr(Canned, "readinto", readinto)
    monkeypatch.setattr(Canned, "ready", lambda self: bool(self.body))
    with made(beyond) as wishes:
        lack(wishes, [7, 20])
        assert read(wishes, *span(7)) == PARTS[7]
        beyond.last.body = beyond.last.body[:-20]
        assert read(wishes, *span(20)) == PARTS[20]
    assert beyond.last.closed


@pytest.mark.parametrize("asked", ["bytes=0-99", "bytes=0-", "bytes=99999999-", None])
def test_what_is_not_wished_for_is_asked_for_as_ever(
    beyond: Beyond, monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    monkeypatch.setattr(wishing, "OVERLAP", 1000)
    wishes = made(beyond)
    lack(wishes, [20])
    headers = (("Range", asked),) if asked else ()
    assert wishes.open(Request(FILE, headers)).head.status == 418
    assert not wishes.used
    assert beyond.heads == 0


def test_a_close_from_another_thread_ends_the_answer_only_where_one_reads(beyond: Beyond) -> None:
    wishes = made(beyond)
    lack(wishes, range(len(PARTS)))
    exchange = wishes.open(Request(FILE, (("Range", "bytes=0-99"),)))
    exchange.close()
    with pytest.raises(NetworkError, match="closed"):
        exchange.readinto(memoryview(bytearray(10)))
    assert not beyond.last.closed
    wishes.close()
    with pytest.raises(NetworkError):
        read(wishes, 0, 100)
    assert read(wishes, 0, 100) == DATA[:100]
    assert len(beyond.bodies) == 2


def test_a_list_of_another_file(beyond: Beyond) -> None:
    beyond.size += 1
    wishes = made(beyond)
    lack(wishes, [0])
    with pytest.raises(ProtocolError, match="another file"):
        read(wishes, 0, 1)
    assert wishes.outdated


def test_other_urls_are_asked_as_ever(beyond: Beyond) -> None:
    wishes = made(beyond)
    assert wishes.open(Request("http://h/other")).head.status == 418
    assert wishes.open(Request(FILE, lineage=Lineage("http://h"))).head.status == 418
    assert beyond.heads == 0


class Says:
    """A server that answers any request with these bytes; `sent` with `ask`, when it was looked for
    `late` times."""

    def __init__(self, status: int, body: bytes, late: int | None) -> None:
        self.answer, self.late = Canned(status, body), late
        self.bodies, self.left = list[bytes](), False

    def ask(self, request: Request) -> Says | None:
        self.bodies.append(request.body)
        return self if self.late is not None else None

    def answered(self, seconds: float) -> bool:
        assert self.late is not None
        self.late -= 1
        return self.late < 0

    def open(self, request: Request | None = None) -> Exchange:
        return self.answer

    def close(self) -> None:
        self.left = True


MADE = manifest_of([PARTS[:3], PARTS[3:5], PARTS[5:9]])
SAID = MADE[1][fine_range(MADE[0], 0, 2).start : fine_range(MADE[0], 0, 2).stop]


def said(server: Says, alive: Callable[[], None] = lambda: None) -> dict[int, bytes]:
    return fine_of(server, LIST, MADE[0], [0, 1], alive)


@pytest.mark.parametrize("late", [None, 0, 3])
def test_fine_chunks_in_one_answer(late: int | None) -> None:
    server = Says(200, SAID, late)
    found = said(server)
    assert (b"".join(found.values()), [*found]) == (SAID, [0, 1])
    assert server.bodies == [encode_fine(MADE[0].coarse, [0, 1])]
    assert (server.answer.closed, server.left) == (True, False)


@pytest.mark.parametrize(
    ("status", "body"), [(404, b""), (206, SAID), (200, b""), (200, SAID[:-1]), (200, SAID + b"x")]
)
def test_other_fine_chunks_are_refused(status: int, body: bytes) -> None:
    server = Says(status, body, None)
    with pytest.raises(ProtocolError, match="fine chunks"):
        said(server)
    assert server.answer.closed


def test_who_waits_for_fine_chunks_can_be_stopped() -> None:
    def stop() -> None:
        raise Interrupted("SIGINT")

    server = Says(200, SAID, 3)
    with pytest.raises(Interrupted):
        said(server, stop)
    assert server.left
