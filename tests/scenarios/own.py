"""Sources that are no URL of a server: a class of the caller's, and a local file; each is watched.

Run as a program it downloads or streams one, so that it can be killed and measured.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import rdl
from rdl.options import Options, SessionOptions, Source, TransferOptions
from rdl.transport.files import FileSource
from tests.scenarios.coded import KiB, MiB, coded

KINDS = ("file", "own", "blocks")


@dataclass
class Watch:
    """Which reads there were, as (offset, bytes asked for), and how many at one time. `before` is
    called in each with its offset."""

    before: Callable[[int], None] = lambda offset: None
    reads: list[tuple[int, int]] = field(default_factory=list)
    peak: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, offset: int, size: int, really: Callable[[], int]) -> int:
        with self._lock:
            self.reads.append((offset, size))
            self._now += 1
            self.peak = max(self.peak, self._now)
        try:
            self.before(offset)
            return really()
        finally:
            with self._lock:
                self._now -= 1


@dataclass
class Coded:
    """A source of the caller's, which says at every place where that is."""

    length: int
    block_size: int | None = None
    name: str = "stored/data.bin"
    validator: str | None = "v1"
    digest: str | None = None
    salt: int = 0
    watch: Watch = field(default_factory=Watch)

    def size(self) -> int:
        return self.length

    def read(self, offset: int, view: memoryview, /) -> int:
        return self.watch.read(offset, len(view), lambda: self._fill(offset, view))

    def _fill(self, offset: int, view: memoryview) -> int:
        data = coded(offset, min(offset + len(view), self.length), self.salt)
        view[: len(data)] = data
        return len(data)


def source_of(kind: str, folder: Path, size: int) -> str | Source:
    """One of this kind, of `size` bytes."""
    if kind == "file":
        path = folder / "stored data.bin"
        if not path.exists():
            with path.open("wb") as file:
                for at in range(0, size, MiB):
                    file.write(coded(at, min(at + MiB, size)))
        return path.as_uri()
    return Coded(size, 64 * KiB if kind == "blocks" else None)


def watched_read(watch: Watch) -> Callable[[FileSource, int, memoryview], int]:
    """FileSource.read, watched."""
    read = FileSource.read

    def watched(self: FileSource, offset: int, view: memoryview, /) -> int:
        return watch.read(offset, len(view), lambda: read(self, offset, view))

    return watched


def high_water() -> int:
    """The largest resident set of this process so far, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def main(doing: str, kind: str, folder: str, size: str, rate: str) -> None:
    """get: the result; stream: what a small and a large one took of memory."""
    place, limits = Path(folder), SessionOptions(limit_rate=int(rate) or None)
    options = Options(transfer=TransferOptions(connections=8, min_split=MiB))
    with rdl.Session(limits) as session:
        if doing == "get":
            source = source_of(kind, place, int(size))
            result = session.get(rdl.Target(source, place / "f", options))
            print(result.bytes_reused, result.bytes_downloaded)
            return
        marks = list[int]()
        for length in (MiB, int(size)):
            (place / str(length)).mkdir()
            source, at = source_of(kind, place / str(length), length), 0
            with session.stream(source, options) as stream:
                for chunk in stream.chunks():
                    assert chunk == coded(at, at + len(chunk)), f"wrong at {at}"
                    at += len(chunk)
            assert at == length
            marks.append(high_water())
        print(*marks)


if __name__ == "__main__":
    main(*sys.argv[1:])
