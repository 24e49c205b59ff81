"""Files from a chunk store on loopback, through the one engine: what is there, damaged, missing,
a bomb; many who read at the same time.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import zstandard

import rdl
from rdl import chunk_store
from rdl.api import Session
from rdl.chunk_store import ChunkStore, expanded
from rdl.core.caibx import Caibx
from rdl.core.chunks import Chunks
from rdl.core.events import Result
from rdl.errors import (
    HTTPStatusError,
    Interrupted,
    LocalFileError,
    NetworkError,
    PolicyError,
    ProtocolError,
    RdlError,
    UsageError,
)
from rdl.options import NetworkOptions, Options, TransferOptions
from tests.scenarios.coded import KiB, MiB, coded
from tests.support.folders import Folder, serving
from tests.support.origin import HANG, Origin, response

SIZES = [40 * KiB, 100 * KiB, 7, 64 * KiB, 1, 90 * KiB] * 4
DATA = coded(0, sum(SIZES))
NETWORK = NetworkOptions(netrc=False, proxy="")
Compress = Callable[[bytes], bytes]
HOW: dict[str, Compress] = {
    "zstd": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
    "gzip": gzip.compress,
}


def cut(data: bytes, sizes: list[int], algorithm: str = "sha512_256") -> Caibx:
    """The index of `data` in chunks of these sizes."""
    stops = array("Q", accumulate(sizes))
    starts = [stop - size for stop, size in zip(stops, sizes, strict=True)]
    parts = [data[start:stop] for start, stop in zip(starts, stops, strict=True)]
    digests = b"".join(hashlib.new(algorithm, part).digest() for part in parts)
    return Caibx(1, 64 * KiB, 256 * KiB, Chunks(algorithm, 32, stops, digests))


def place(folder: Path, index: Caibx, number: int, form: str = ".cacnk") -> Path:
    """Where this chunk is stored."""
    name = index.chunks.digest(number).hex()
    path = folder / name[:4] / f"{name}{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def store(folder: Path, index: Caibx, data: bytes, compress: Compress | None = HOW["zstd"]) -> None:
    """Make a store; without `compress` of plain chunks."""
    for number in range(len(index.chunks)):
        span = index.chunks.chunk(number)
        part = data[span.start : span.stop]
        form = ".cacnk" if compress else ""
        place(folder, index, number, form).write_bytes(compress(part) if compress else part)


@pytest.fixture
def index() -> Caibx:
    return cut(DATA, SIZES)


@pytest.fixture
def folder(tmp_path: Path, index: Caibx) -> Iterator[Folder]:
    """A store of the file, being served."""
    (tmp_path / "castr").mkdir()
    store(tmp_path / "castr", index, DATA)
    with serving(tmp_path / "castr") as made:
        yield made


@pytest.fixture
def session() -> Iterator[Session]:
    with Session() as made:
        yield made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there" / "f"


def opened(index: Caibx, url: str, session: Session, **more: Any) -> ChunkStore:
    return ChunkStore(index, url, session, name="files/f", **({"network": NETWORK} | more))


def fetch(source: ChunkStore, path: Path, **transfer: Any) -> Result:
    return rdl.get(source, path, options=Options(NETWORK, TransferOptions(**transfer)))


def published(path: Path, content: bytes) -> bool:
    """The right file, and nothing beside it."""
    return path.read_bytes() == content and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("connections", [1, 8])
def test_a_file_comes_whole_and_each_chunk_once(
    connections: int, folder: Folder, index: Caibx, session: Session, target: Path
) -> None:
    result = fetch(
        opened(index, folder.url, session), target, connections=connections, min_split=128 * KiB
    )
    assert published(target, DATA)
    assert (result.bytes_total, result.bytes_downloaded) == (len(DATA), len(DATA))
    lines = [asked.line for asked in folder.log]
    assert len(set(lines)) == len(lines) == len(SIZES)
    assert {line.split()[0] for line in lines} == {"GET"}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512_256"])
def test_every_compression_and_digest_from_a_folder(
    how: str, algorithm: str, tmp_path: Path, session: Session, target: Path
) -> None:
    data = coded(0, 100 * KiB)
    index = cut(data, [50 * KiB, 50 * KiB], algorithm)
    store(tmp_path / "a store", index, data, HOW[how])
    fetch(opened(index, (tmp_path / "a store").as_uri(), session), target)
    assert published(target, data)


def test_plain_chunks_and_those_of_both_forms(tmp_path: Path, session: Session) -> None:
    """The form that was found last is asked for first."""
    data = coded(0, 5 * KiB)
    index = cut(data, [KiB] * 5)
    store(tmp_path, index, data, None)
    place(tmp_path, index, 3, "").rename(place(tmp_path, index, 3))
    place(tmp_path, index, 3).write_bytes(HOW["zstd"](data[3 * KiB : 4 * KiB]))
    with serving(tmp_path) as folder:
        with session.stream(opened(index, folder.url, session)) as stream:
            assert stream.readall() == data
        forms = ["cacnk" in asked.line for asked in folder.log]
    assert forms == [True, False, False, False, False, True, True, False]


def test_an_empty_file(session: Session, target: Path) -> None:
    source = opened(cut(b"", []), "http://127.0.0.1:1/", session)
    assert fetch(source, target).bytes_total == 0
    assert published(target, b"")


def test_what_comes_again_is_fetched_once_by_many_readers(tmp_path: Path, session: Session) -> None:
    """The same chunk a hundred times, read by eight threads."""
    once = coded(0, 4 * KiB)
    index = cut(once * 100, [len(once)] * 100)
    store(tmp_path, index, once * 100)
    taken = dict[int, bytes]()
    with serving(tmp_path) as folder:
        source = opened(index, folder.url, session)

        def read(number: int) -> None:
            view = memoryview(bytearray(10 * KiB))
            for at in range(number * KiB, len(once) * 100, 32 * KiB):
                taken[at] = bytes(view[: source.read(at, view)])

        threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(folder.log) == 1
    assert len(taken) == 104
    assert all(data == once[at % len(once) :] for at, data in taken.items())


def test_few_chunks_are_kept(
    folder: Folder, index: Caibx, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as fit; those that were used last."""
    monkeypatch.setattr(chunk_store, "KEPT", 150 * KiB)
    monkeypatch.setattr(chunk_store, "READERS", 1)
    source, view = opened(index, folder.url, session), memoryview(bytearray(1))
    starts = [index.chunks.chunk(number).start for number in (0, 1, 0, 3, 0, 1)]
    bytes_read = b"".join(bytes(view[: source.read(at, view)]) for at in starts)
    assert bytes_read == b"".join(DATA[at : at + 1] for at in starts)
    names = [asked.line.split("/")[2][:8] for asked in folder.log]
    assert names == [index.chunks.digest(number).hex()[:8] for number in (0, 1, 3, 1)]


# What is wrong


def zeros(size: int) -> bytes:
    return HOW["zstd"](bytes(size))


def wide(data: bytes) -> bytes:
    """In a frame whose decoder is to have 128 MiB of memory."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    into = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return into.compress(data) + into.flush()


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (HOW["zstd"](DATA[1 : 100 * KiB + 1]), "not the 102400 bytes that have this digest"),
        (HOW["zstd"](DATA[:-1]), "not the 102400 bytes"),
        (zeros(64 * MiB), "not the 102400 bytes"),
        (HOW["zstd"](os.urandom(100 * KiB))[:-100], "not the 102400 bytes"),
        (HOW["gzip"](bytes(MiB)), "not the 102400 bytes"),
        (HOW["xz"](bytes(MiB)), "not the 102400 bytes"),
        (wide(DATA[:100]), "cannot be expanded: .*memory"),
        (HOW["zstd"](b"x")[:4] + b"\xff" * 30, "cannot be expanded: zstd"),
        (HOW["gzip"](b"x")[:10] + b"\xff" * 30, "cannot be expanded: Error -3"),
        (HOW["xz"](b"x")[:8] + b"\xff" * 30, "cannot be expanded: .*[Cc]orrupt"),
        (b"<html>", "neither zstd, xz nor gzip"),
        (b"x", "neither zstd, xz nor gzip"),
        (bytes(8 * MiB), "neither zstd, xz nor gzip"),
    ],
    ids=lambda value: f"{len(value)}" if isinstance(value, bytes) else "",
)
def test_a_damaged_chunk_is_asked_for_again_once(
    stored: bytes, why: str, folder: Folder, index: Caibx, session: Session
) -> None:
    place(folder.root, index, 1).write_bytes(stored)
    with pytest.raises(ProtocolError, match=why) as caught:
        opened(index, folder.url, session).read(50 * KiB, memoryview(bytearray(1)))
    error = caught.value
    assert error.what == f"chunk {index.chunks.digest(1).hex()}"
    assert folder.url in error.why
    assert error.resumable
    assert len(folder.log) == 2


def test_a_damaged_chunk_ends_the_download_and_the_rest_is_kept(
    folder: Folder, index: Caibx, session: Session, target: Path
) -> None:
    """Once the store is mended the same command goes on."""
    path = place(folder.root, index, 21)
    right = path.read_bytes()
    path.write_bytes(right[:-1])
    with pytest.raises(ProtocolError, match=path.stem):
        fetch(opened(index, folder.url, session), target, connections=1)
    assert not target.exists()
    path.write_bytes(right)
    folder.log.clear()
    result = fetch(opened(index, f"{folder.url}/.", session), target)
    assert published(target, DATA)
    assert result.bytes_reused == index.chunks.chunk(21).start
    assert len(folder.log) <= 5


def test_what_was_damaged_on_the_way_is_right_the_second_time(
    index: Caibx, session: Session, target: Path
) -> None:
    """A cache on the way has a wrong one: it is told not to answer from there."""
    parts = [index.chunks.chunk(number) for number in range(len(SIZES))]
    right = {
        index.chunks.digest(number).hex(): HOW["zstd"](DATA[part.start : part.stop])
        for number, part in enumerate(parts)
    }

    def answer(connection: int, turn: int, seen: Any) -> list[bytes]:
        fresh = seen.fields.get("cache-control") == "no-cache"
        return [response(right[seen.line.split("/")[3][:64]] if fresh else b"stale")]

    with Origin(answer) as origin:
        fetch(opened(index, origin.url("/castr/"), session), target, connections=1)
        assert len(origin.seen) == 2 * len(SIZES)
    assert published(target, DATA)


@pytest.mark.parametrize("connections", [1, 8])
def test_a_missing_chunk_is_named(
    connections: int, folder: Folder, index: Caibx, session: Session, target: Path
) -> None:
    path = place(folder.root, index, 10)
    path.unlink()
    source = opened(index, f"{folder.url}/?token=secret", session)
    with pytest.raises(HTTPStatusError) as caught:
        fetch(source, target, connections=connections, min_split=64 * KiB)
    assert str(caught.value) == (
        f"chunk {path.stem}: HTTP 404: no such file on the server ({folder.url}/?token=***)"
    )
    assert caught.value.resumable
    assert not target.exists()
    here = opened(index, folder.root.as_uri(), session)
    with pytest.raises(LocalFileError, match=f"chunk {path.stem}: .*no such file"):
        fetch(here, target, connections=connections, min_split=64 * KiB)


def test_a_busy_store_is_waited_for(
    folder: Folder, index: Caibx, session: Session, target: Path
) -> None:
    folder.busy = 1
    fetch(opened(index, folder.url, session), target)
    assert published(target, DATA)
    folder.busy = 2
    with pytest.raises(NetworkError, match=r"^chunk [0-9a-f]{64}: HTTP 503: .*busy"):
        opened(index, folder.url, session).read(0, memoryview(bytearray(1)))


class Halting(ChunkStore):
    """Its session is interrupted when it is read at its middle."""

    halt: Callable[[], None]

    def read(self, offset: int, view: memoryview, /) -> int:
        if offset >= len(DATA) // 2:
            self.halt()
        return super().read(offset, view)


@pytest.mark.parametrize("same", [True, False])
def test_a_partial_is_continued_with_the_same_index_and_not_with_another(
    same: bool, folder: Folder, index: Caibx, session: Session, target: Path
) -> None:
    with Session() as ending:
        source = Halting(index, folder.url, ending, name="files/f", network=NETWORK)
        source.halt = lambda: ending.interrupt("SIGTERM")
        with pytest.raises(Interrupted):
            ending.get(rdl.Target(source, target, Options(NETWORK)))
    here = rdl.status(target).bytes_present
    assert len(DATA) // 2 <= here < len(DATA)
    again = index if same else cut(DATA, [len(DATA) // 4] * 4)
    store(folder.root, again, DATA)
    result = fetch(opened(again, folder.url, session), target)
    assert result.bytes_reused == (here if same else 0)
    assert published(target, DATA)


def test_leaving_the_session_ends_a_read(index: Caibx, session: Session) -> None:
    """Whoever waits for a chunk does not wait on."""
    hanging = threading.Event()

    def answer(connection: int, turn: int, seen: Any) -> list[str]:
        hanging.set()
        return [HANG]

    with Origin(answer) as origin:
        source, ends = opened(index, origin.url("/"), session), list[type]()

        def read() -> None:
            with pytest.raises(RdlError) as caught:
                source.read(0, memoryview(bytearray(1)))
            ends.append(caught.type)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert hanging.wait(5)
        session.interrupt("SIGTERM")
        for thread in threads:
            thread.join(10)
        assert ends == [Interrupted, Interrupted]


@pytest.mark.parametrize("store", ["ftp://h/", "castr", "http:///x", "file:castr"])
def test_a_store_that_is_none(store: str, index: Caibx, session: Session) -> None:
    with pytest.raises(UsageError):
        opened(index, store, session)


def test_chunks_that_are_too_large_and_digests_that_are_not_there(session: Session) -> None:
    huge = Caibx(1, 2, 128 * MiB, Chunks("sha256", 32, array("Q", [1, 34 * MiB]), bytes(64)))
    with pytest.raises(PolicyError, match="chunks of 35651583 bytes; 32 MiB are the most"):
        opened(huge, "http://127.0.0.1:1/", session)
    strange = Caibx(1, 2, MiB, Chunks("sha512_257", 32, array("Q", [1]), bytes(32)))
    with pytest.raises(UsageError, match="OpenSSL of this Python has no sha512_257"):
        opened(strange, "http://127.0.0.1:1/", session)


def test_without_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others need none."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert expanded(HOW["xz"](b"x"), 1) == b"x"
    with pytest.raises(UsageError, match="zstandard is not installed") as caught:
        expanded(zeros(5), 5)
    assert "rdl-get[sync]" in caught.value.hint


def test_the_login_is_of_the_store(index: Caibx, session: Session) -> None:
    """It is sent there, and shown nowhere."""
    with Origin(lambda *_: [response(b"", "404 Not Found")]) as origin:
        url = origin.url("/s").replace("//", "//ann:secret@")
        with pytest.raises(HTTPStatusError) as caught:
            opened(index, url, session).read(0, memoryview(bytearray(1)))
        assert [seen.fields["authorization"] for seen in origin.seen] == [
            "Basic YW5uOnNlY3JldA=="
        ] * 2
    assert "secret" not in str(caught.value)
