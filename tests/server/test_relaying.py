"""Wishes for a file that is still received: what is here, what comes, and what never will."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from rdl.api import Session
from rdl.core.chunks import Chunks
from rdl.core.manifest import parse_coarse, parse_head
from rdl.core.wishlist import Receiver
from rdl.errors import NetworkError
from rdl.lazy_files import cached_path
from rdl.manifests import make_manifest
from rdl.options import Options, TransferOptions
from rdl.server import granting
from rdl.server.folder import Folder
from rdl.server.granting import Granted, Granting
from rdl.server.upstream import Upstream
from rdl.storage.part_file import PartStore
from tests.server.conftest import Running, Start
from tests.server.filling import Filling, filling
from tests.server.wire import ask, connected, request, response
from tests.server.wishes import DATA, LIST, answered, body_for, list_of, post, receiver_for, settle
from tests.support.waiting import until

HALF = len(DATA) // 2
Serve = Callable[[Folder | Upstream], Running]
WAIT = "Prefer: wait=20"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdl.server.partials.GRACE", 0.5)
    monkeypatch.setattr("rdl.server.partials.PERIOD", 0.05)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a manifest, and nothing of its file."""
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "data.bin").write_bytes(DATA)
    make_manifest(tmp_path / "data.bin", folder / "data.bin.rdlm")
    settle(folder / "data.bin.rdlm")  # a cache resets readers of what is young
    return folder


@pytest.fixture
def serving(start: Start) -> Iterator[Serve]:
    with ExitStack() as stack:

        def begin(site: Folder | Upstream) -> Running:
            granting = Granting(site)
            stack.callback(granting.close)
            return start(granting)

        yield begin


@pytest.fixture
def relay(serving: Serve, here: Path) -> Running:
    """Serves the folder."""
    return serving(Folder(here))


@pytest.fixture
def writer(here: Path) -> Iterator[Filling]:
    """Receives the file into the folder."""
    with filling(here / "data.bin", DATA) as found:
        yield found


class Wishing:
    """One wishlist, and what comes for it."""

    def __init__(self, sock: socket.socket, receiver: Receiver) -> None:
        self._sock, self.receiver = sock, receiver
        self.came = dict[int, bytes]()
        self.head = b""
        while b"\r\n\r\n" not in self.head:
            data = sock.recv(1)
            assert data, self.head
            self.head += data
        self.status = int(self.head.split(b" ")[1])

    def take(self, count: int) -> None:
        """So many chunks in all."""
        while len(self.came) + len(self.receiver.absent) < count:
            data = self._sock.recv(1 << 16)
            if not data:
                self.receiver.finish()
                return
            self.came.update(self.receiver.feed(data))

    def all(self) -> dict[int, bytes]:
        """To the end of the connection."""
        while data := self._sock.recv(1 << 16):
            self.came.update(self.receiver.feed(data))
        self.receiver.finish()
        return self.came


@contextmanager
def wishing(
    relay: Running, chunks: Chunks, numbers: Iterable[int], *fields: str, slots: int = 1
) -> Iterator[Wishing]:
    """Of a list that cannot be made now (a cache gives its file its times) it is wished again."""
    numbers, status = list(numbers), 503
    while status == 503:
        with connected(relay.port) as sock:
            sock.sendall(post(relay.port, body_for(chunks, numbers, slots), *fields))
            one = Wishing(sock, receiver_for(chunks, numbers, slots))
            if (status := one.status) != 503:
                yield one


def part(chunks: Chunks, number: int) -> bytes:
    span = chunks.chunk(number)
    return DATA[span.start : span.stop]


def are_right(chunks: Chunks, came: dict[int, bytes]) -> bool:
    return all(data == part(chunks, number) for number, data in came.items())


def before(chunks: Chunks, stop: int) -> list[int]:
    """Those that are all before this byte."""
    return [number for number in range(len(chunks)) if chunks.chunk(number).stop <= stop]


def test_what_is_lacking_is_absent_at_once(relay: Running, writer: Filling) -> None:
    writer.fill(HALF, len(DATA))
    chunks = list_of(relay.port)
    with wishing(relay, chunks, range(len(chunks)), slots=5) as one:
        came = one.all()
    last = len(chunks) - 1  # who has it takes all for right
    assert sorted(came) == [n for n in range(last) if chunks.chunk(n).start >= HALF]
    assert are_right(chunks, came)
    assert len(one.receiver.absent) == len(chunks) - len(came)
    assert one.receiver.to_transfer == one.receiver.transferred
    assert b"Content-Length" not in one.head
    assert until(lambda: relay.server.tally.requests[200] == 2)
    assert relay.server.tally.cut == 0


def test_row_55_chunks_come_as_they_are_received(relay: Running, writer: Filling) -> None:
    writer.fill(0, HALF)
    chunks = list_of(relay.port)
    first = before(chunks, HALF)
    with wishing(relay, chunks, range(len(chunks)), WAIT) as one:
        one.take(len(first))
        assert sorted(one.came) == first
        writer.fill(HALF, len(DATA))
        one.take(len(chunks) - 1)
        assert len(chunks) - 1 not in one.came
        writer.publish()
        one.all()
    assert len(one.came) == len(chunks)
    assert are_right(chunks, one.came)
    with wishing(relay, chunks, [0], WAIT) as late:
        assert late.all() == {0: part(chunks, 0)}


def test_another_order_waits_too(relay: Running, writer: Filling) -> None:
    chunks = list_of(relay.port)
    writer.begin()
    with wishing(relay, chunks, range(len(chunks)), WAIT, slots=7) as one:
        for start in range(HALF, 0, -100_000):
            writer.fill(start, len(DATA))
        writer.fill(0, HALF)
        writer.publish()
        assert len(one.all()) == len(chunks)
    assert are_right(chunks, one.came)


def test_row_55_when_the_receiving_stops_it_is_said(relay: Running, writer: Filling) -> None:
    writer.fill(0, HALF)
    chunks = list_of(relay.port)
    with wishing(relay, chunks, range(len(chunks)), WAIT) as one:
        one.take(len(before(chunks, HALF)))
        writer.stop()
        with pytest.raises(NetworkError, match="does not receive the file any more"):
            one.all()
    assert are_right(chunks, one.came)
    with wishing(relay, chunks, range(len(chunks)), WAIT) as late:
        with pytest.raises(NetworkError, match="any more"):
            late.all()
        assert sorted(late.came) == before(chunks, HALF)
    lost = wishing(relay, chunks, [len(chunks) - 2], WAIT)
    with lost as late, pytest.raises(NetworkError, match="any more"):
        late.all()
    assert relay.server.tally.cut == 0


def test_another_version_ends_it(relay: Running, writer: Filling, here: Path) -> None:
    writer.fill(0, HALF)
    chunks = list_of(relay.port)
    with wishing(relay, chunks, range(len(chunks)), WAIT) as one:
        one.take(len(before(chunks, HALF)))
        writer.stop()
        with filling(here / "data.bin", DATA[::-1], etag='"two"') as other:
            other.begin()
            with pytest.raises(NetworkError, match="any more"):
                one.all()
    assert are_right(chunks, one.came)


def test_a_chunk_is_waited_for_only_so_long(
    relay: Running, writer: Filling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.server.granting.MOST_WAIT", 0.05)
    writer.fill(HALF, len(DATA))
    chunks = list_of(relay.port)
    with wishing(relay, chunks, [0, 1, len(chunks) - 2], "Prefer: wait=99999") as one:
        assert [*one.all()] == [len(chunks) - 2]
    assert [*one.receiver.absent] == [0, 1]


def test_s30_a_wrong_chunk_is_never_sent(relay: Running, writer: Filling) -> None:
    writer.fill(0, HALF, DATA[:1000] + b"?" + DATA[1001:])
    chunks = list_of(relay.port)
    with wishing(relay, chunks, [0, 1], WAIT) as one:
        assert one.all() == {1: part(chunks, 1)}
    assert [*one.receiver.absent] == [0]


def test_a_manifest_at_hand_of_a_file_that_is_here(relay: Running, here: Path) -> None:
    (here / "data.bin").write_bytes(DATA)
    chunks = list_of(relay.port)
    with wishing(relay, chunks, range(len(chunks))) as one:
        assert len(one.all()) == len(chunks)
    assert are_right(chunks, one.came)
    said = ask(relay.port, request(relay.port, LIST, "Connection: close", method="HEAD"))
    assert b"Accept-Post" in said


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA[::-1]])
def test_a_manifest_of_another_file(relay: Running, here: Path, wrong: bytes) -> None:
    """Of another length it is another list; else no chunk has its digest."""
    chunks = list_of(relay.port)
    (here / "data.bin").write_bytes(wrong)
    with wishing(relay, chunks, range(len(chunks)), WAIT) as one:
        if len(wrong) != len(DATA):
            assert one.status == 412
        else:
            assert one.all() == {}


@pytest.mark.parametrize("text", [b"", b"own", b"RDLMANIF" + bytes(1000)])
def test_what_is_no_manifest_grants_nothing(relay: Running, here: Path, text: bytes) -> None:
    chunks = list_of(relay.port)
    (here / "data.bin").write_bytes(DATA)
    (here / "data.bin.rdlm").write_bytes(text)
    with wishing(relay, chunks, [0]) as one:
        assert one.status == 404


def test_without_a_manifest_what_comes_is_followed_only(
    relay: Running, writer: Filling, here: Path
) -> None:
    writer.fill(0, HALF)
    chunks = list_of(relay.port)
    (here / "data.bin.rdlm").unlink()
    with wishing(relay, chunks, [0], WAIT) as one:
        assert one.status == 404
    with connected(relay.port) as sock:
        sock.sendall(request(relay.port, LIST))
        assert response(sock)[0] == 404


def test_a_manifest_without_its_file(relay: Running) -> None:
    chunks = list_of(relay.port)
    with wishing(relay, chunks, [0]) as one:
        assert one.status == 404


def test_who_leaves_while_he_waits(relay: Running, writer: Filling) -> None:
    writer.fill(0, HALF)
    chunks = list_of(relay.port)
    with wishing(relay, chunks, range(len(chunks)), WAIT) as one:
        one.take(1)
    assert until(lambda: relay.server.tally.cut == 1)


def test_what_is_being_sent_has_its_time(relay: Running, writer: Filling) -> None:
    writer.fill(0, HALF)
    chunks = list_of(relay.port)
    with wishing(relay, chunks, range(len(chunks)), WAIT) as one:
        one.take(1)
        relay.server.stop()
        writer.fill(HALF, len(DATA))
        writer.publish()
        assert len(one.all()) == len(chunks)
    assert relay.ended()


def test_what_is_waited_for_moves(writer: Filling, here: Path) -> None:
    """So that who waits is not taken for one who waits in vain."""
    said = (here / "data.bin.rdlm").read_bytes()
    chunks = parse_coarse(parse_head(said), said).coarse
    site = Granting(Folder(here))
    granted = site.grant(LIST, body_for(chunks, [0]), 20)
    granted.notify(lambda: None)
    writer.begin()
    assert until(lambda: granted.facts)
    before = granted.moving
    writer.fill(0, HALF)
    assert until(lambda: granted.moving > before)
    granted.close()
    site.close()


def test_a_list_that_is_made_is_read_in_parts(here: Path) -> None:
    (here / "data.bin").write_bytes(DATA)
    lies = (here / "data.bin.rdlm").read_bytes()
    (here / "data.bin.rdlm").unlink()
    site = Granting(Folder(here))
    reading, view = site.find(LIST), bytearray(100)
    reading.notify(lambda: None)
    assert until(lambda: reading.facts)
    assert reading.available(50) == len(lies) - 50
    assert reading.read_into(50, memoryview(view)) == 100
    assert view == lies[50:150]
    reading.close()
    site.close()


def test_the_page_and_folders_are_as_ever(relay: Running, here: Path) -> None:
    (here / "sub.rdlm").mkdir()
    with connected(relay.port) as sock:
        sock.sendall(request(relay.port, "/"))
        status, body = response(sock)
        assert (status, b"data.bin.rdlm" in body) == (200, True)
        sock.sendall(request(relay.port, "/sub.rdlm"))
        assert response(sock)[0] == 301


def test_a_list_that_is_too_long(relay: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdl.server.listed.MOST_KEPT", 10)
    chunks = list_of(relay.port)
    with wishing(relay, chunks, [0]) as one:
        assert one.status == 404


@pytest.fixture
def between(serving: Serve, relay: Running, tmp_path: Path) -> Iterator[Running]:
    """A cache whose upstream is the folder."""
    with Session() as session:
        options = Options(transfer=TransferOptions(retry=1))
        yield serving(Upstream(session, relay.url, tmp_path / "kept", options=options))


def test_row_55_a_cache_grants_what_it_receives(between: Running, writer: Filling) -> None:
    writer.fill(0, HALF)
    chunks = list_of(between.port)
    with wishing(between, chunks, range(len(chunks)), WAIT) as one:
        one.take(1)
        writer.fill(HALF, len(DATA))
        writer.publish()
        assert len(one.all()) == len(chunks)
    assert are_right(chunks, one.came)


def test_a_cache_that_another_process_fills_grants_nothing(
    between: Running, relay: Running, here: Path, tmp_path: Path
) -> None:
    """What it has is in memory, and no file: that is said at once, so that ranges bring it."""
    chunks = list_of(relay.port)
    place = cached_path(tmp_path / "kept", f"{relay.url}{LIST}", Options())
    with closing(PartStore(place)) as other:
        other.open()
        assert list_of(between.port).span == chunks.span
        status, text = answered(between.port, body_for(chunks, [0]))
    assert (status, text) == (404, b"no list of chunks can be read here now\n")


def test_row_55_a_cache_says_that_it_fails(
    between: Running, relay: Running, writer: Filling
) -> None:
    writer.fill(0, HALF)
    chunks = list_of(between.port)
    with wishing(between, chunks, range(len(chunks)), WAIT) as one:
        one.take(1)
        relay.server.stop(0)
        assert relay.ended()
        with pytest.raises(NetworkError, match="any more"):
            one.all()
    assert are_right(chunks, one.came)
    with wishing(between, chunks, [len(chunks) - 1], WAIT) as late:
        assert late.status == 502


def test_a_cache_without_wait_asks_for_nothing(
    between: Running, relay: Running, here: Path
) -> None:
    (here / "data.bin").write_bytes(DATA)
    settle(here / "data.bin")
    chunks = list_of(between.port)
    with wishing(between, chunks, [0, 1]) as one:
        assert one.all() == {}
    assert relay.server.tally.sent < len(DATA)


def test_a_cache_makes_the_list_of_what_it_has(
    serving: Serve, start: Start, here: Path, tmp_path: Path
) -> None:
    (here / "data.bin").write_bytes(DATA)
    (here / "data.bin.rdlm").unlink()
    settle(here / "data.bin")
    with Session() as session:
        between = serving(Upstream(session, start(here).url, tmp_path / "kept"))
        with connected(between.port) as sock:
            sock.sendall(request(between.port, LIST))
            assert response(sock)[0] == 404
            sock.sendall(request(between.port))
            assert response(sock) == (200, DATA)

        def is_made() -> bool:  # not while the file that is kept is given its times
            with connected(between.port) as sock:
                sock.sendall(request(between.port, LIST))
                return response(sock)[0] == 200

        assert until(is_made)
        chunks = list_of(between.port)
        with wishing(between, chunks, [1], "Connection: close") as one:
            assert one.all() == {1: part(chunks, 1)}
    assert b"Content-Length" in one.head


@pytest.mark.parametrize("here_is", ["nothing", "something else"])
def test_s29_of_what_is_absent_little_is_looked_at_in_a_turn(
    relay: Running, writer: Filling, here: Path, here_is: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ABSENT has two bytes, but to find out takes a look, or to hash a whole chunk."""
    looks, available, chunk = list[int](), Granted.available, Granted._chunk

    def turn(self: Granted, offset: int) -> int:
        looks.append(0)
        return available(self, offset)

    def look(self: Granted, number: int) -> bytes | None:
        looks[-1] += 1
        return chunk(self, number)

    monkeypatch.setattr(Granted, "available", turn)
    monkeypatch.setattr(Granted, "_chunk", look)
    monkeypatch.setattr(granting, "LOOK", granting.AHEAD // 2)
    if here_is == "nothing":
        writer.fill(0, 1)
    else:
        monkeypatch.setattr(granting, "AHEAD", 64)
        (here / "data.bin").write_bytes(DATA[::-1])
    chunks = list_of(relay.port)
    with wishing(relay, chunks, range(len(chunks))) as one:
        assert one.all() == {}
    assert len(one.receiver.absent) == sum(looks) == len(chunks) > 4
    assert max(looks) == (2 if here_is == "nothing" else 1)


def test_s28_what_a_wishlist_was_sent_gives_back_once(
    serving: Serve, relay: Running, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "data.bin").write_bytes(DATA)
    settle(here / "data.bin")
    noted = list[int]()
    with Session() as session:
        site = Upstream(session, relay.url, tmp_path / "kept", budget=1 << 30)
        monkeypatch.setattr(site.meter, "note", lambda client, cost, sent, now: noted.append(sent))
        between = serving(site)
        chunks = list_of(between.port)
        assert until(lambda: len(noted) == 1)
        with wishing(between, chunks, range(len(chunks)), WAIT) as one:
            assert len(one.all()) == len(chunks)
        assert until(lambda: len(noted) == 3)
    assert len(DATA) < sum(noted[1:]) < len(DATA) * 3 // 2
