"""Lists of chunks made on demand, and wishes granted: X, S and SEEDS rows over real sockets."""

from __future__ import annotations

import errno
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from rdl.core.chunks import Chunks
from rdl.core.manifest import Cutting, Manifest, fine_range, parse_coarse, parse_head, refined
from rdl.core.representation import WISHES_TYPE
from rdl.core.shuffle import TRIVIAL
from rdl.core.wishlist import (
    CHUNKS_MAGIC,
    MOST_WISHES,
    Receiver,
    encode_fine,
    encode_wishlist,
    wish,
)
from rdl.errors import ChangedError, PolicyError, ProtocolError
from rdl.manifests import make_manifest
from rdl.server import granting, lists
from rdl.server.connection import Limits
from rdl.server.folder import Folder
from rdl.server.granting import Granted, Granting
from rdl.server.lists import Lists
from tests.core.wishing import received
from tests.server.conftest import Start
from tests.server.wire import ask, connected, request, response, rest
from tests.server.wishes import (
    DATA,
    LIST,
    answered,
    body_for,
    list_of,
    manifest_of,
    post,
    receiver_for,
)
from tests.support.waiting import until

MiB = 1 << 20
Make = Callable[..., Granting]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A folder with one file, and its lists: `make(data=DATA, most=MOST_KEPT)`."""
    with ExitStack() as stack:

        def begin(data: bytes = DATA, most: int = lists.MOST_KEPT) -> Granting:
            (tmp_path / "data.bin").write_bytes(data)
            site = Granting(Folder(tmp_path), most=most)
            stack.callback(site.close)
            return site

        yield begin


@pytest.fixture
def site(make: Make) -> Granting:
    return make()


def test_row_53_a_wishlist_is_answered_with_chunks(site: Granting, start: Start) -> None:
    port = start(site).port
    chunks = list_of(port)
    lacking = range(0, len(chunks), 2)
    status, answer = answered(port, body_for(chunks, lacking))
    receiver = receiver_for(chunks, lacking)
    assert status == 200
    assert received(receiver, answer) == {
        number: DATA[chunks.chunk(number).start : chunks.chunk(number).stop] for number in lacking
    }
    assert receiver.transferred == receiver.to_transfer > 0


def test_fine_chunks_are_said_and_wished_for(site: Granting, start: Start) -> None:
    port = start(site).port
    manifest, data = manifest_of(port)
    spans = {one: fine_range(manifest, one, one + 1) for one in (0, 2)}
    fine = {one: data[span.start : span.stop] for one, span in spans.items()}
    status, said = answered(port, encode_fine(manifest.coarse, [*fine]))
    assert (status, said) == (200, b"".join(fine.values()))
    chunks = refined(manifest, fine)
    lacking = [0, 3, len(chunks) - 1]
    wished = wish(chunks, TRIVIAL, lacking)
    asked = encode_wishlist(chunks, len(TRIVIAL), 0, wished, manifest.coarse)
    status, answer = answered(port, asked)
    assert status == 200
    assert received(Receiver(chunks, wished), answer) == {
        number: DATA[chunks.chunk(number).start : chunks.chunk(number).stop] for number in lacking
    }
    other = encode_wishlist(manifest.coarse, len(TRIVIAL), 0, wish(chunks, TRIVIAL, []), chunks)
    assert answered(port, other)[0] == 400, "what it says to have split are no coarse chunks"


def test_row_53_the_list_is_what_manifest_make_writes(
    make: Make, start: Start, tmp_path: Path
) -> None:
    site = make()
    running = start(site)
    with connected(running.port) as sock:
        sock.sendall(request(running.port, LIST))
        _, made = response(sock)
        sock.sendall(request(running.port, LIST, "Range: bytes=10-19"))
        assert response(sock) == (206, made[10:20])
    make_manifest(tmp_path / "data.bin", tmp_path / "own")
    assert made == (tmp_path / "own").read_bytes()
    head = ask(running.port, request(running.port, LIST, "Connection: close", method="HEAD"))
    assert f"Accept-Post: {WISHES_TYPE}\r\n".encode() in head
    assert b'\r\nETag: "' in head
    assert b"Accept-Post" not in ask(
        running.port, request(running.port, "/data.bin", "Connection: close", method="HEAD")
    )


def test_a_manifest_that_lies_there_is_a_file_like_others(
    make: Make, start: Start, tmp_path: Path
) -> None:
    site = make()
    (tmp_path / "data.bin.rdlm").write_bytes(b"own")
    (tmp_path / "sub").mkdir()
    port = start(site).port
    with connected(port) as sock:
        sock.sendall(request(port, LIST))
        assert response(sock) == (200, b"own")
        for path in ("/sub.rdlm", "/sub/.rdlm", "/.rdlm", "/none.rdlm", "/.hidden.rdlm"):
            sock.sendall(request(port, path))
            assert response(sock)[0] == 404, path


def test_it_is_made_once_and_kept(
    site: Granting, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    cut = Lists._cut

    def counted(self: Lists, found: lists.ChunkList, source: int) -> lists.Made:
        assert until(lambda: len(found.users) == 5)
        made.append(found)
        return cut(self, found, source)

    monkeypatch.setattr(Lists, "_cut", counted)
    port = start(site).port
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(list_of(port))) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    found.append(list_of(port))
    assert len(made) == 1
    assert len(found) == 6
    assert all(one == found[0] for one in found)


def test_others_are_served_while_it_is_made(
    site: Granting, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    cut = Lists._cut

    def late(self: Lists, found: lists.ChunkList, source: int) -> lists.Made:
        assert go_on.wait(20)
        return cut(self, found, source)

    monkeypatch.setattr(Lists, "_cut", late)
    port = start(site).port
    with connected(port) as waits, connected(port) as other:
        waits.sendall(request(port, LIST))
        other.sendall(request(port))
        assert response(other) == (200, DATA)
        go_on.set()
        assert response(waits)[0] == 200


def test_there_is_room_for_so_many(
    make: Make, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_LISTS", 2)
    for number in range(4):
        (tmp_path / f"{number}").write_bytes(DATA[: 1000 + number])
    site, none = make(), make(most=0)
    port, other = start(site).port, start(none).port
    for number in (0, 1, 0, 2, 3):
        list_of(port, f"/{number}.rdlm")
    assert until(lambda: [key[1] for key in site.lists._lists] == [b"2", b"3"])
    list_of(other, "/1.rdlm")
    assert until(lambda: not none.lists._lists)


def test_too_many_lists_to_be_made(
    make: Make, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_WAITING", 0)
    site = make()
    port = start(site).port
    found = ask(port, request(port, LIST, "Connection: close"))
    assert found.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in found


def test_no_descriptor_for_a_list(
    site: Granting, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks is told to come again, and then it is made."""

    def full(_file: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    port = start(site).port
    with monkeypatch.context() as changed:
        changed.setattr("rdl.server.lists.os.dup", full)
        assert ask(port, request(port, LIST, "Connection: close")).startswith(b"HTTP/1.1 503 ")
    assert len(list_of(port))


def test_a_file_that_is_too_large(
    site: Granting, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(total: int) -> Cutting:
        raise PolicyError("manifest", f"a file of {total} bytes")

    monkeypatch.setattr(lists, "sizes_for", refuse)
    port = start(site).port
    with connected(port) as sock:
        sock.sendall(request(port, LIST))
        assert response(sock) == (404, b"manifest: a file of 600000 bytes\n")
    assert not site.lists._lists


def test_a_bug_is_no_silence(site: Granting, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Lists, "_cut", fail)
    port = start(site).port
    with connected(port) as sock:
        sock.sendall(request(port, LIST))
        assert response(sock)[0] == 503
    assert not site.lists._lists


def test_a_file_that_changes_while_its_list_is_made(
    make: Make, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make()
    check = lists._Still.check

    def changed(self: lists._Still) -> None:
        (tmp_path / "data.bin").write_bytes(b"other")
        check(self)

    monkeypatch.setattr(lists._Still, "check", changed)
    port = start(site).port
    with connected(port) as sock:
        sock.sendall(request(port, LIST))
        assert response(sock)[0] == 503
        monkeypatch.undo()
        sock.sendall(request(port, LIST))
        assert response(sock)[0] == 200


def test_s30_a_file_that_changed_is_of_another_list(
    make: Make, start: Start, tmp_path: Path
) -> None:
    site = make()
    port = start(site).port
    chunks = list_of(port)
    (tmp_path / "data.bin").write_bytes(DATA[1:])
    status, why = answered(port, body_for(chunks, [0]))
    assert (status, b"another list" in why) == (412, True)


def test_s30_a_file_that_changes_while_it_is_sent_is_cut(
    make: Make, start: Start, tmp_path: Path
) -> None:
    data = os.urandom(24 * MiB)
    site = make(data)
    running = start(site)
    chunks = list_of(running.port)
    receiver, came = receiver_for(chunks, range(len(chunks)), 1), {}
    with connected(running.port, 64 << 10) as sock:
        sock.sendall(post(running.port, body_for(chunks, range(len(chunks)), 1)))
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1000)
        came.update(receiver.feed(head.partition(b"\r\n\r\n")[2]))
        with (tmp_path / "data.bin").open("r+b") as file:
            file.seek(23 * MiB)
            file.write(bytes(1000))
        with pytest.raises(ConnectionResetError):
            came.update(
                pair for data in iter(partial(sock.recv, MiB), b"") for pair in receiver.feed(data)
            )
    assert all(came[one] == data[chunks.chunk(one).start : chunks.chunk(one).stop] for one in came)
    assert receiver.left > 0
    assert until(lambda: running.server.tally.cut == 1)


def test_a_change_that_the_times_do_not_tell_is_seen_by_the_digest(
    make: Make, start: Start, tmp_path: Path
) -> None:
    site = make()
    port = start(site).port
    chunks, path = list_of(port), tmp_path / "data.bin"
    found = site._pair(LIST)
    with path.open("r+b") as file:
        file.write(b"\0\0\0\0")
    granted = Granted(found, site.lists, b"", site._hands)
    granted._chunks = chunks
    with pytest.raises(ChangedError, match="no longer"):
        granted._chunk(0)
    assert granted._chunk(1) == DATA[chunks.chunk(1).start : chunks.chunk(1).stop]
    granted.close()


def test_what_nobody_waits_for_any_more_takes_no_memory(
    site: Granting, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, understood = threading.Event(), list[bytes]()

    def parse(manifest: Manifest, body: bytes, read: object) -> Chunks:
        understood.append(body)
        raise ProtocolError("it", "is none")

    monkeypatch.setattr(granting, "list_in", parse)
    try:
        for _ in range(granting.HANDS):
            site._hands.submit(go.wait)
        granted = site.grant(LIST, bytes(1000), 0)
        assert until(lambda: granted.facts is None and site._hands._work_queue.qsize() == 1)
        granted.close()
        assert not understood
    finally:
        go.set()
    assert until(lambda: understood == [b""])


def test_s29_lists_of_fine_chunks_have_room(
    site: Granting, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is of one wishlist, of half a MiB: for as long as that is answered."""
    port = start(site).port
    manifest, data = manifest_of(port)
    span = fine_range(manifest, 0, 1)
    chunks = refined(manifest, {0: data[span.start : span.stop]})
    wished = wish(chunks, TRIVIAL, [0])
    body = encode_wishlist(chunks, len(TRIVIAL), 0, wished, manifest.coarse)
    monkeypatch.setattr(lists, "MOST_OWN", 24 * len(chunks))
    first = site.grant(LIST, body, 0)
    first.notify(lambda: None)
    assert until(lambda: first.facts)
    status, why = answered(port, body)
    assert (status, b"too many lists" in why) == (503, True)
    assert answered(port, body_for(manifest.coarse, [0]))[0] == 200, "that list is of all"
    first.close()
    for _ in range(2):
        assert until(lambda: answered(port, body)[0] == 200)
    late = Granted(site._pair(LIST), site.lists, body, site._hands)
    late.close()
    late._hold(1 << 40)  # it was being understood, and nobody waits for it any more


def test_a_list_that_cannot_be_read(
    site: Granting, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = start(site).port
    chunks = list_of(port)

    def fails(manifest: Manifest, body: bytes, read: object) -> Chunks:
        raise OSError(5, "it fails")

    monkeypatch.setattr(granting, "list_in", fails)
    status, why = answered(port, body_for(chunks, [0]))
    assert (status, b"cannot be read now" in why) == (503, True)


REFUSED = [
    (b"", 400, b"too short"),
    (b"RDLWISH\x02", 400, b"version 2"),
    (b"x" * 60, 400, b"does not begin"),
]


@pytest.mark.parametrize(("body", "status", "why"), REFUSED)
def test_row_53_what_is_no_wishlist(
    site: Granting, start: Start, body: bytes, status: int, why: bytes
) -> None:
    port = start(site).port
    found = answered(port, body)
    assert found[0] == status
    assert why in found[1]


def test_row_53_too_long_too_short_and_beyond(site: Granting, start: Start) -> None:
    port = start(site).port
    chunks = list_of(port)
    right = body_for(chunks, [0], 3)
    for wrong in (right + b"\0", right[:-1], right[:-1] + b"\xff"):
        status, why = answered(port, wrong)
        assert status == 400
        assert why.startswith(b"wishlist: ")
    assert answered(port, right)[0] == 200


def test_s29_a_slow_body_is_cut(site: Granting, start: Start) -> None:
    port = start(site, Limits(body=0.2)).port
    with connected(port) as sock:
        sock.sendall(post(port, b"x" * 100)[:-1])
        found = rest(sock)
    assert found.startswith(b"HTTP/1.1 408 ")


def test_s26_nothing_follows_a_body(site: Granting, start: Start) -> None:
    port = start(site).port
    assert ask(port, post(port, b"x" * 100) + b"GET").startswith(b"HTTP/1.1 400 ")


def test_a_client_that_waits_for_a_word(site: Granting, start: Start) -> None:
    port = start(site).port
    chunks = list_of(port)
    body = body_for(chunks, [1], 1)
    with connected(port) as sock:
        sock.sendall(post(port, body, "Expect: 100-continue")[: -len(body)])
        assert sock.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        status, answer = response(sock)
    assert status == 200
    assert answer.startswith(CHUNKS_MAGIC)


def test_one_connection_for_list_and_wishes(site: Granting, start: Start) -> None:
    running = start(site)
    chunks = list_of(running.port)
    with connected(running.port) as sock:
        for lacking in ([], [0], [1, 2]):
            sock.sendall(post(running.port, body_for(chunks, lacking)))
            status, answer = response(sock)
            assert status == 200
            assert sorted(received(receiver_for(chunks, lacking), answer)) == lacking
    assert until(lambda: running.server.tally.requests[200] == 4)


def test_curl_sends_a_wishlist(site: Granting, start: Start, tmp_path: Path) -> None:
    running = start(site, token="s3cret")
    url = f"{running.url}{LIST}"

    def curl(*options: str) -> bytes:
        done = subprocess.run(
            ["curl", "-fsS", "--max-time", "20", "-u", "x:s3cret", *options, url],
            capture_output=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    data = curl()
    chunks = parse_coarse(parse_head(data), data).coarse
    numbers = range(len(chunks))
    (tmp_path / "wishes").write_bytes(body_for(chunks, numbers))
    kind = f"Content-Type: {WISHES_TYPE}"
    answer = curl("-H", kind, "--data-binary", f"@{tmp_path / 'wishes'}")
    found = received(receiver_for(chunks, numbers), answer)
    assert b"".join(found[number] for number in numbers) == DATA
    with pytest.raises(subprocess.CalledProcessError):
        curl("-H", kind, "--data-binary", "nonsense")


def test_the_server_ends_while_a_list_is_made(
    site: Granting, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    read = lists._Still.read_into

    def slow(self: lists._Still, offset: int, view: memoryview) -> int:
        begun.set()
        time.sleep(0.01)
        return read(self, offset, view[:1000])

    monkeypatch.setattr(lists._Still, "read_into", slow)
    running = start(site)
    with connected(running.port) as sock:
        sock.sendall(request(running.port, LIST))
        assert begun.wait(20)
        running.server.stop(0)
        assert running.ended()
    site.lists.close()
    assert not site.lists._lists


def test_s29_the_longest_wishlist_and_no_longer(site: Granting, start: Start) -> None:
    port = start(site).port
    assert answered(port, b"x" * MOST_WISHES)[0] == 400
    head = post(port, b"").replace(b"Content-Length: 0", b"Content-Length: %d" % (MOST_WISHES + 1))
    assert ask(port, head).startswith(b"HTTP/1.1 413 ")


def test_whatever_is_sent_is_answered_or_refused(site: Granting, start: Start) -> None:
    running = start(site)
    chunks, draw = list_of(running.port), random.Random(11)
    statuses = set[int]()
    for number in range(60):
        lacking = draw.sample(range(len(chunks)), draw.randrange(len(chunks)))
        slots, seed = draw.choice((1, 2, 7, 300)), draw.getrandbits(64)
        body = bytearray(body_for(chunks, lacking, slots, seed))
        if number % 2:
            for _ in range(draw.randrange(1, 4)):
                body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
        status, answer = answered(running.port, bytes(body))
        statuses.add(status)
        if number % 2 == 0:
            found = received(receiver_for(chunks, lacking, slots, seed), answer)
            assert sorted(found) == sorted(lacking)
    assert statuses == {200, 400, 412}
    assert running.server.tally.cut == 0
    assert not any("internal" in line for line in running.lines)
