"""Downloads of other processes: what their indexes vouch for is served, and no byte more."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rdl.core.byterange import ByteRange
from rdl.doors.index_page import listed
from rdl.server.connection import Limits
from rdl.server.folder import Folder
from rdl.storage.following import Followed, Standing
from tests.scenarios.coded import Origin
from tests.server.conftest import Running, Start
from tests.server.filling import Filling, filling
from tests.server.wire import ask, connected, request, response, rest
from tests.support import program
from tests.support.waiting import until

MiB = 1 << 20
DATA = random.Random(11).randbytes(2 * MiB)
HALF = MiB


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdl.server.partials.GRACE", 0.5)
    monkeypatch.setattr("rdl.server.partials.PERIOD", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    return tmp_path / "sub" / "data.bin"


@pytest.fixture
def running(start: Start, tmp_path: Path) -> Running:
    return start(tmp_path)


@contextmanager
def reader(running: Running, *fields: str, method: str = "GET") -> Iterator[socket.socket]:
    with connected(running.port) as sock:
        sock.sendall(request(running.port, "/sub/data.bin", *fields, method=method))
        yield sock


def head(running: Running, *fields: str) -> bytes:
    target, last = "/sub/data.bin", ("Connection: close", *fields)
    return ask(running.port, request(running.port, target, *last, method="HEAD"))


def field(answer: bytes, name: str) -> str:
    lines = answer.decode("latin-1").split("\r\n")
    return next(line.split(": ", 1)[1] for line in lines if line.startswith(f"{name}: "))


def taken(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += sock.recv(size - len(found))
    return found


def test_a_reader_has_what_is_here_and_follows(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
        with reader(running) as sock, reader(running, "Range: bytes=-10") as late:
            found = taken(sock, HALF)
            said, _, body = found.partition(b"\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 200 ")
            assert field(said, "Content-Length") == str(len(DATA))
            writer.fill(HALF, len(DATA))
            writer.publish()
            assert body + taken(sock, len(DATA) - len(body)) == DATA
            assert response(late) == (206, DATA[-10:])
    assert running.server.tally.cut == 0


def test_ranges_that_are_here_need_nobody(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.fill(HALF, len(DATA))
        for first, last in ((HALF, HALF + 9), (HALF + 70_000, len(DATA) - 2)):
            with reader(running, f"Range: bytes={first}-{last}") as sock:
                assert response(sock) == (206, DATA[first : last + 1])
        with reader(running, f"Range: bytes={len(DATA)}-") as sock:
            assert response(sock)[0] == 416


def test_the_validator_stays_when_the_file_has_its_name(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
        before = head(running)
        with reader(running) as sock:
            body = taken(sock, HALF).partition(b"\r\n\r\n")[2]  # it reads on what has no name
            writer.fill(HALF, len(DATA))
            writer.publish()
            assert body + taken(sock, len(DATA) - len(body)) == DATA
    tag = field(before, "ETag")
    assert not tag.startswith("W/")
    assert until(lambda: field(head(running), "ETag") == tag), "it was young for a moment"
    assert b" 304 " in head(running, f"If-None-Match: {tag}")
    assert field(before, "Content-Length") == field(head(running), "Content-Length")
    path.write_bytes(DATA)
    assert field(head(running), "ETag") != tag


def test_without_a_strong_validator_upstream_there_is_none(running: Running, path: Path) -> None:
    with filling(path, DATA, etag=None) as writer:
        writer.fill(0, HALF)
        found = head(running)
        assert b" 200 " in found
        assert b"ETag" not in found


def test_the_last_byte_waits_until_all_is_verified(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.fill(0, len(DATA))
        with reader(running) as sock, reader(running, "Range: bytes=0-9") as early:
            assert response(early) == (206, DATA[:10])
            found = taken(sock, len(DATA) - 1)
            writer.store.quarantine()
            with pytest.raises(ConnectionResetError):
                rest(sock)
    assert DATA not in found
    assert until(lambda: running.server.tally.cut == 1)


def test_one_that_was_left_gives_what_is_here(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
    with reader(running, "Range: bytes=5-1000") as sock:
        assert response(sock) == (206, DATA[5:1001])
    with reader(running, f"Range: bytes={HALF}-") as sock:
        assert response(sock) == (503, b"this download has stopped\n")
    with reader(running) as sock:
        found = taken(sock, HALF)
        with pytest.raises(ConnectionResetError):
            rest(sock)
    assert DATA.startswith(found.partition(b"\r\n\r\n")[2])


def test_another_process_may_go_on(running: Running, path: Path) -> None:
    with filling(path, DATA) as first:
        first.fill(0, HALF)
        with reader(running) as sock:
            found = taken(sock, HALF // 2).partition(b"\r\n\r\n")[2]
            first.stop()
            with filling(path, DATA) as second:
                second.fill(HALF, len(DATA))
                second.publish()  # nobody may have seen its index
                assert found + taken(sock, len(DATA) - len(found)) == DATA


def other_version(writer: Filling) -> None:
    writer.etag = '"two"'
    writer.begin()


def wrong_block(writer: Filling) -> None:
    writer.store.forget([ByteRange(0, 65536)])


def wrong_block_that_came_again(writer: Filling) -> None:
    writer.store.forget([ByteRange(0, 65536)])
    writer.fill(0, 65536, bytes(65536))


def gone(writer: Filling) -> None:
    writer.store.close(discard=True)


@pytest.mark.parametrize("change", [other_version, wrong_block, wrong_block_that_came_again, gone])
def test_readers_are_cut_when_what_they_had_is_void(running: Running, path: Path, change) -> None:
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
        with reader(running) as sock:
            taken(sock, HALF)
            change(writer)
            with pytest.raises(ConnectionResetError):
                rest(sock)
    assert until(lambda: running.server.tally.cut == 1)


def test_what_was_wrong_and_came_again_before_the_end(running: Running, path: Path) -> None:
    """All between two looks: the index is read to its last word."""
    with filling(path, DATA) as writer:
        writer.fill(0, HALF, bytes(HALF))
        with reader(running) as sock:
            taken(sock, HALF)
            writer.store.forget([ByteRange(0, HALF)])
            writer.fill(0, len(DATA))
            writer.publish()
            with pytest.raises(ConnectionResetError):
                rest(sock)
    with reader(running) as sock:
        assert response(sock) == (200, DATA)


def test_what_another_process_found_wrong(running: Running, path: Path) -> None:
    """It has an index of its own, which nobody may have seen."""
    with filling(path, DATA) as first:
        first.fill(0, HALF, bytes(HALF))
        with reader(running) as sock:
            taken(sock, HALF)
            first.stop()
            with filling(path, DATA) as second:
                second.store.forget([ByteRange(0, HALF)])
                second.fill(0, len(DATA))
                second.publish()
            with pytest.raises(ConnectionResetError):
                rest(sock)


def test_what_is_not_as_its_index_says_is_not_sent(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
        with path.with_name("data.bin.part").open("r+b") as file:
            file.seek(65536)
            file.write(b"damaged")
        with reader(running) as sock:
            found = []
            with pytest.raises(ConnectionResetError):
                found.extend(iter(lambda: sock.recv(1 << 16), b""))
    assert b"damaged" not in b"".join(found)


def test_what_no_extent_covers_is_not_sent(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
        writer.store.write_at(HALF, memoryview(b"canary"))
        with reader(running) as sock:
            found = [taken(sock, HALF)]
            writer.stop()
            with pytest.raises(ConnectionResetError):
                found.extend(iter(lambda: sock.recv(1 << 16), b""))
    assert b"canary" not in b"".join(found)


def test_one_that_gets_its_name_before_it_was_looked_at(
    running: Running, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, named, look = threading.Event(), threading.Event(), Followed.look

    def late(followed: Followed) -> Standing | None:
        begun.set()
        named.wait(20)
        return look(followed)

    monkeypatch.setattr(Followed, "look", late)
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
        with reader(running) as sock:
            assert begun.wait(20)
            writer.fill(HALF, len(DATA))
            writer.publish()
            named.set()
            assert response(sock) == (200, DATA)


def test_one_of_unknown_length_is_waited_for(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.begin(total=False)
        with reader(running) as sock:
            writer.fill(0, len(DATA))
            writer.publish()
            assert response(sock) == (200, DATA)


def test_a_part_of_a_file_is_a_file(running: Running, path: Path) -> None:
    with filling(path, DATA, span=ByteRange(1000, HALF)) as writer:
        writer.begin()
        writer.fill(1000, 5000)
        with reader(running, "Range: bytes=0-99") as sock, reader(running) as whole:
            assert response(sock) == (206, DATA[1000:1100])
            writer.fill(5000, HALF)
            writer.publish()
            assert response(whole) == (200, DATA[1000:HALF])


def test_hold(start: Start, tmp_path: Path, path: Path) -> None:
    site = Folder(tmp_path, hold=True)
    running = start(site)
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
        with reader(running) as sock:
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.settimeout(5)
            writer.fill(HALF, len(DATA))
            writer.publish()
            assert response(sock) == (200, DATA)
    with filling(path.with_name("left"), DATA) as writer:
        writer.fill(0, HALF)
    found = ask(running.port, request(running.port, "/sub/left", "Connection: close"))
    assert found.startswith(b"HTTP/1.1 503 ")
    running.server.stop(0)
    assert running.ended()
    site.close()


def test_what_is_no_download_of_ours_is_not_there(running: Running, path: Path) -> None:
    for name in ("data.bin.part", "data.bin.part.index"):
        path.with_name(name).write_bytes(b"foreign")
        with reader(running) as sock:
            assert response(sock)[0] == 404
    path.with_name("data.bin.part").unlink()
    path.with_name("data.bin.part").symlink_to("/etc/passwd")
    with reader(running) as sock:
        assert response(sock)[0] == 404


def test_the_page_of_the_folder_names_it(running: Running, path: Path) -> None:
    with filling(path, DATA) as writer:
        writer.fill(0, HALF)
        page = ask(running.port, request(running.port, "/sub/", "Connection: close")).decode()
        assert set(listed(page, "http://h/")) == {"http://h/data.bin"}
        assert page.count("coming") == 1
        writer.fill(HALF, len(DATA))
        writer.publish()
    page = ask(running.port, request(running.port, "/sub/", "Connection: close")).decode()
    assert "coming" not in page


def page(running: Running) -> str:
    return ask(running.port, request(running.port, "/", "Connection: close")).decode()


def test_the_page_at_the_root_shows_those_of_its_folder(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.server.partials.LOOKED_FOR", 0.05)
    monkeypatch.setattr("rdl.server.partials.INTEREST", 2.0)
    running = start(tmp_path)
    (tmp_path / "foreign.part.index").write_bytes(b"foreign")
    (tmp_path / "foreign.part").write_bytes(b"foreign")
    with filling(tmp_path / "left", DATA) as left:
        left.fill(0, HALF)
    before = len(os.listdir("/proc/self/fd"))
    with filling(tmp_path / "a b", DATA) as writer, filling(tmp_path / "wrong", DATA) as wrong:
        writer.fill(0, HALF)
        wrong.fill(0, HALF)
        first = page(running)
        assert "50 % of 2.0 MiB, downloading, 0 readers" in first
        assert "50 % of 2.0 MiB, stopped, 0 readers" in first
        assert "<li data-path" in first
        assert "foreign, in" not in first
        writer.fill(HALF, len(DATA))
        writer.publish()
        gone(wrong)
        assert until(lambda: "100 % of 2.0 MiB, complete, 0 readers" in page(running))
        assert until(lambda: "50 % of 2.0 MiB, failed, 0 readers" in page(running))
    monkeypatch.setattr("rdl.server.partials.INTEREST", 0.0)
    assert until(lambda: len(os.listdir("/proc/self/fd")) <= before), "what nobody looks at"


def test_rdl_fetches_what_another_rdl_is_fetching(start: Start, tmp_path: Path, path: Path) -> None:
    origin = Origin(size=4 * MiB, hold_after=2 * MiB)
    running = start(tmp_path, Limits(wait=20))
    try:
        with program.Download(origin.url, path, "-x", "1") as first:
            assert first.wait_for("progress", bytes_present=MiB)
            address = f"{running.url}/sub/data.bin"
            with program.Download(address, tmp_path / "copy") as second:
                assert second.wait_for("progress", bytes_present=MiB // 2)
                origin.go.set()
                assert (first.finish(), second.finish()) == (0, 0)
                assert second.result()["trust"] == "T2"
        assert (tmp_path / "copy").read_bytes() == origin.content
        assert origin.sent <= 1.1 * origin.size
    finally:
        origin.close()
