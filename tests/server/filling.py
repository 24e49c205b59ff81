"""A download of another process, at the test's word: a part file and its index beside FILE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange, Extent
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.storage.base import Finish
from rdl.storage.part_file import PartStore

STEP = 64 << 10


class Filling:
    """Fills FILE with `data`, where and when it is told to."""

    def __init__(
        self, path: Path, data: bytes, etag: str | None = '"one"', span: ByteRange | None = None
    ) -> None:
        self.path, self.data, self.etag, self.span = path, data, etag, span
        self.store = PartStore(path)
        self._begun = self.store.open() is not None

    def begin(self, *, total: bool = True) -> None:
        known = Representation(len(self.data) if total else None, self.etag)
        self.store.begin(Header("http://h/f", known, 1 << 18, self.span))
        self._begun = True

    def fill(self, start: int, stop: int, data: bytes | None = None) -> None:
        """These bytes are here, and the index says so."""
        if not self._begun:
            self.begin()
        for at in range(start, stop, STEP):
            self.write(at, min(at + STEP, stop), data or self.data)
        self.store.checkpoint()

    def write(self, start: int, stop: int, data: bytes) -> None:
        part = data[start:stop]
        self.store.write_at(start, memoryview(part))
        self.store.record([Extent(start, stop, xxh3_64_intdigest(part))])

    def publish(self) -> None:
        self.store.checkpoint()
        self.store.publish(Finish())
        self.store.close()

    def stop(self) -> None:
        """As a process that is told to stop: what is here stays."""
        self.store.close()


@contextmanager
def filling(path: Path, data: bytes, **facts: Any) -> Iterator[Filling]:
    found = Filling(path, data, **facts)
    try:
        yield found
    finally:
        found.store.close()
