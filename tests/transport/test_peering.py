"""What others have of a file that they receive too: taken when it is right, else left."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable

import pytest

from rdl.core.fields import ResponseHead, parse_range
from rdl.core.row import span_of
from rdl.core.varint import encode
from rdl.core.wishlist import ABSENT, CHUNKS_MAGIC, END, FAILED, Sender, ending, parse_wishlist
from rdl.errors import NetworkError, RdlError
from rdl.transport import peering
from rdl.transport.base import Exchange, Lineage, Request
from rdl.transport.peering import Peer, PeerTransport
from tests.core.wishing import chunks_of
from tests.support.waiting import until

FILE, THEIRS = "http://h/f", "http://p/f"
PARTS = [random.Random(number).randbytes(500 + number) for number in range(40)]
CHUNKS = chunks_of(PARTS)
DATA = b"".join(PARTS)
Answer = Callable[[list[int]], bytes]


class Canned:
    """An exchange of these bytes, in portions."""

    lineage: Lineage | None = None
    public = False

    def __init__(self, head: ResponseHead, body: bytes = b"", size: int = 333) -> None:
        self.head, self.body, self.size = head, body, size

    def ready(self) -> bool:
        return bool(self.body)

    def readinto(self, view: memoryview) -> int:
        count = min(len(view), self.size)
        part, self.body = self.body[:count], self.body[count:]
        view[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Nothing is open."""


class Origin:
    """The server of the file; `asked`: chunks by their numbers, as far as whole ones were."""

    def __init__(self, total: int = len(DATA)) -> None:
        self.asked, self.total = list[list[int]](), total

    def ask(self, request: Request) -> None:
        """Never."""

    def open(self, request: Request) -> Exchange:
        spec = parse_range(dict(request.headers).get("Range"))
        if spec is None:
            return Canned(ResponseHead(200, (), content_length=self.total), DATA)
        span = span_of(spec, len(DATA))
        assert span is not None
        self.asked.append([*CHUNKS.numbers(span)])
        fields = (
            ("etag", '"v"'),
            ("content-range", f"bytes {span.start}-{span.stop - 1}/{self.total}"),
        )
        head = ResponseHead(206, fields, content_length=len(span), url=request.url)
        return Canned(head, DATA[span.start : span.stop])

    def close(self) -> None:
        """It is the test's."""


class Somebody:
    """Receives the file and `has` these chunks, and answers so or as `answers` says. `asked`: what
    was wished."""

    def __init__(self, has: Iterable[int] = ()) -> None:
        self.has, self.asked = {*has}, list[list[int]]()
        self.answers: Answer | RdlError | int | None = None
        self.size = 333

    def ask(self, request: Request) -> None:
        """Never."""

    def open(self, request: Request) -> Exchange:
        assert (request.method, request.url) == ("POST", f"{THEIRS}.rdlm")
        self.asked.append(numbers := [*parse_wishlist(CHUNKS, request.body)])
        if isinstance(self.answers, RdlError):
            raise self.answers
        if isinstance(self.answers, int):
            return Canned(ResponseHead(self.answers, ()))
        body = (self.answers or self.said)(numbers)
        return Canned(ResponseHead(200, ()), body, self.size)

    def said(self, numbers: list[int]) -> bytes:
        have = {number: PARTS[number] for number in self.has}
        return b"".join(Sender(CHUNKS, numbers, have.get).answer())

    def close(self) -> None:
        """It is the test's."""


def peer_of(somebody: Somebody) -> Peer:
    return Peer(THEIRS, f"{THEIRS}.rdlm", somebody)


def made(origin: Origin, *others: Somebody) -> PeerTransport:
    """When the server has said what the file is."""
    wishes = PeerTransport([*map(peer_of, others)], CHUNKS).over(origin)
    wishes.know(CHUNKS)
    assert read(wishes, 0, 0) == PARTS[0]
    origin.asked.clear()
    return wishes


def read(wishes: PeerTransport, first: int, last: int, *fields: tuple[str, str]) -> bytes:
    """These chunks, as a worker asks for them: again for what an answer does not bring."""
    start, stop = CHUNKS.chunk(first).start, CHUNKS.chunk(last).stop
    found, view = bytearray(), memoryview(bytearray(100))
    while (at := start + len(found)) < stop:
        exchange = wishes.open(Request(FILE, (*fields, ("Range", f"bytes={at}-{stop - 1}"))))
        assert (exchange.head.status, exchange.head.get("etag")) == (206, '"v"')
        assert exchange.ready()
        count = len(found)
        while got := exchange.readinto(view):
            found += view[:got]
        assert len(found) - count == exchange.head.content_length
        exchange.close()
    return bytes(found)


def between(first: int, last: int) -> bytes:
    return b"".join(PARTS[first : last + 1])


def test_what_others_have_comes_from_them_and_the_rest_from_the_server() -> None:
    origin, somebody = Origin(), Somebody([5, 6, 9])
    wishes = made(origin, somebody)
    assert read(wishes, 4, 10) == between(4, 10)
    assert somebody.asked == [[4, 5, 6, 7, 8, 9, 10]]
    assert origin.asked == [[4], [7, 8], [10]]
    assert read(wishes, 5, 6) == between(5, 6)
    assert somebody.asked[1:] == [[5, 6]], "what was handed on is not kept"


def test_who_lacks_it_is_asked_again_where_the_server_did_not_bring_it() -> None:
    origin, somebody = Origin(), Somebody()
    wishes = made(origin, somebody)
    start, stop = CHUNKS.chunk(1).start, CHUNKS.chunk(2).stop
    wishes.open(Request(FILE, (("Range", f"bytes={start}-{stop - 1}"),))).close()
    somebody.has |= {1, 2}
    assert read(wishes, 1, 2) == between(1, 2)
    assert (somebody.asked, origin.asked) == ([[1, 2]] * 2, [[1, 2]])


def test_several_are_asked_for_what_others_lack() -> None:
    origin, one, other = Origin(), Somebody([3]), Somebody([3, 4])
    assert read(made(origin, one, other), 3, 5) == between(3, 5)
    assert (one.asked, other.asked, origin.asked) == ([[3, 4, 5]], [[4, 5]], [[5]])


def test_parts_of_chunks() -> None:
    wishes = made(Origin(), Somebody(range(40)))
    exchange = wishes.open(Request(FILE, (("Range", "bytes=777-1777"),)))
    assert exchange.head.get("content-range") == f"bytes 777-1777/{len(DATA)}"
    view = memoryview(bytearray(2000))
    assert exchange.readinto(view) == 1001
    assert view[:1001] == DATA[777:1778]


@pytest.mark.parametrize("total", [len(DATA), len(DATA) + 1])
def test_nobody_is_asked_before_the_server_said_what_it_is(total: int) -> None:
    """And never, where that is another file."""
    somebody, view = Somebody(range(40)), memoryview(bytearray(9))
    wishes = PeerTransport([peer_of(somebody)], CHUNKS).over(Origin(total))
    for _ in range(2):
        assert wishes.open(Request(FILE)).readinto(view) == 9
    assert wishes.ask(Request(FILE)) is None
    for number in range(3):
        span = CHUNKS.chunk(number)
        fields = (("Range", f"bytes={span.start}-{span.stop - 1}"),)
        assert wishes.open(Request(FILE, fields)).readinto(view) == 9
    assert somebody.asked == ([[1], [2]] if total == len(DATA) else [])
    wishes.close()


def test_for_another_version_the_server_speaks() -> None:
    origin, somebody = Origin(), Somebody(range(40))
    wishes = made(origin, somebody)
    assert read(wishes, 1, 1, ("If-Range", '"v"')) == PARTS[1]
    assert not origin.asked
    assert read(wishes, 1, 1, ("If-Range", '"other"')) == PARTS[1]
    assert origin.asked == [[1]]


def test_little_is_wished_for_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "MOST_WISHED", 1200)
    somebody = Somebody(range(40))
    assert read(made(Origin(), somebody), 1, 9) == between(1, 9)
    assert all(len(numbers) <= 4 for numbers in somebody.asked)


def test_what_nobody_asks_for_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "MOST_KEPT", 600)
    origin, somebody = Origin(), Somebody([2, 3, 4])
    wishes = made(origin, somebody)
    assert read(wishes, 1, 4) == between(1, 4)
    assert somebody.asked == [[1, 2, 3, 4], [2, 3]]
    assert origin.asked == [[1]]


def lies(numbers: list[int]) -> bytes:
    return b"".join(Sender(CHUNKS, numbers, lambda one: bytes(len(PARTS[one]))).answer())


def out_of_order(numbers: list[int]) -> bytes:
    records = [encode(len(PARTS[one])) + PARTS[one] for one in reversed(numbers)]
    return b"".join((CHUNKS_MAGIC, *records))


def too_long(numbers: list[int]) -> bytes:
    part = PARTS[numbers[0]] + b"?"
    return CHUNKS_MAGIC + encode(len(part)) + part


def endless(numbers: list[int]) -> bytes:
    return CHUNKS_MAGIC + bytes([0, ABSENT]) * 100_000


def beyond_its_end(numbers: list[int]) -> bytes:
    return Somebody(range(40)).said(numbers) + bytes(100_000)


HOSTILE: list[Answer] = [
    lies,
    out_of_order,
    too_long,
    endless,
    beyond_its_end,
    lambda _: b"no answer at all",
    lambda _: CHUNKS_MAGIC + b"\xff" * 100_000,
    lambda _: CHUNKS_MAGIC + encode(1 << 24),
    lambda _: CHUNKS_MAGIC + bytes([0, END, 0]) + bytes(32),
    lambda _: CHUNKS_MAGIC + bytes([0, 9]),
]


@pytest.mark.parametrize("answers", HOSTILE)
@pytest.mark.parametrize("size", [7, 1 << 18])
def test_who_breaks_the_rules_is_asked_no_more(answers: Answer, size: int) -> None:
    origin, somebody = Origin(), Somebody()
    somebody.answers, somebody.size = answers, size
    wishes = made(origin, somebody)
    assert read(wishes, 2, 9) == between(2, 9)
    assert read(wishes, 10, 39) == between(10, 39)
    assert len(somebody.asked) == 1


CUT = [
    NetworkError("p", "no connection"),
    404,
    412,
    lambda numbers: b"",
    lambda numbers: Somebody(range(40)).said(numbers)[:1000],
    lambda numbers: CHUNKS_MAGIC + ending(FAILED, "no more"),
]


@pytest.mark.parametrize("answers", CUT)
def test_who_fails_rests(answers: Answer | RdlError | int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "REST", 60.0)
    origin, somebody = Origin(), Somebody(range(40))
    somebody.answers = answers
    wishes = made(origin, somebody)
    assert read(wishes, 2, 5) == between(2, 5)
    came = {2} if callable(answers) and len(answers([2, 3])) == 1000 else set()
    assert {*range(2, 6)} - {one for run in origin.asked for one in run} == came
    assert read(wishes, 6, 9) == between(6, 9)
    assert len(somebody.asked) == 1


def test_who_rested_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "REST", 0.01)
    origin, somebody = Origin(), Somebody(range(40))
    somebody.answers = 404
    wishes = made(origin, somebody)
    assert read(wishes, 1, 2) == between(1, 2)
    somebody.answers = None
    assert until(lambda: not wishes._peers[0].rests)
    assert read(wishes, 3, 4) == between(3, 4)
    assert origin.asked == [[1, 2]]


def test_who_is_slow_rests_and_what_came_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "SECONDS", 0.0)
    origin, somebody = Origin(), Somebody(range(40))
    somebody.size = 600
    wishes = made(origin, somebody)
    assert read(wishes, 1, 9) == between(1, 9)
    assert origin.asked[0] == [*range(2, 10)]
    assert len(somebody.asked) == 1


def test_nobody_waits_long_for_one_that_another_worker_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peering, "TURN", 0.01)
    origin, somebody, asked, go_on = (
        Origin(),
        Somebody(range(40)),
        threading.Event(),
        threading.Event(),
    )

    def waits(numbers: list[int]) -> bytes:
        asked.set()
        assert go_on.wait(30)
        return somebody.said(numbers)

    somebody.answers = waits
    wishes, found = made(origin, somebody), list[bytes]()
    other = threading.Thread(target=lambda: found.append(read(wishes, 1, 2)))
    other.start()
    assert asked.wait(30)
    assert read(wishes, 3, 4) == between(3, 4)
    assert (origin.asked, found) == ([[3, 4]], [])
    go_on.set()
    other.join()
    assert found == [between(1, 2)]


class Says:
    """Answers with this status, and of this length, to wishes, and to HEAD."""

    def __init__(self, status: int | RdlError, length: int | None, about: int, takes: str) -> None:
        self.status, self.length, self.about, self.takes = status, length, about, takes

    def ask(self, request: Request) -> None:
        """Never."""

    def open(self, request: Request) -> Exchange:
        if request.method == "HEAD":
            return Canned(ResponseHead(self.about, (("accept-post", self.takes),)))
        if isinstance(self.status, RdlError):
            raise self.status
        return Canned(ResponseHead(self.status, (), content_length=self.length))

    def close(self) -> None:
        """It is the test's."""


WISHES = "application/vnd.rdl.wishlist"


@pytest.mark.parametrize(
    ("status", "length", "about", "takes", "receives"),
    [
        (200, None, 0, "", True),
        (200, 43, 0, "", False),
        (404, 9, 200, WISHES, True),
        (503, 9, 200, WISHES, True),
        (404, 9, 200, "text/plain", False),
        (404, 9, 404, WISHES, False),
        (405, 9, 200, WISHES, False),
        (412, 9, 200, WISHES, False),
        (NetworkError("p", "no connection"), None, 200, WISHES, False),
    ],
)
def test_who_receives_it_too(
    status: int | RdlError, length: int | None, about: int, takes: str, receives: bool
) -> None:
    assert Peer(THEIRS, FILE, Says(status, length, about, takes)).receives(CHUNKS) is receives
