"""A folder whose files have lists of their chunks beside them, which take wishes.

A list is there under FILE.rdlm, unless a file of this name is. A chunk is sent when it has the
digest that the list says, and else nothing more: who asked sees no end, and asks again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.manifest import SUFFIX
from rdl.core.wishlist import CHUNKS_TYPE, Sender, parse_wishlist
from rdl.errors import ChangedError, ProtocolError
from rdl.server.answers import Facts
from rdl.server.files import FileReading, nowhere
from rdl.server.folder import Folder
from rdl.server.lists import MOST_KEPT, List, Lists, Made
from rdl.server.requests import ACCEPT_POST, Reply
from rdl.server.resource import Reading, View

HANDS = 2
"""Threads that read wishlists: the longest ones take a second."""
AHEAD = 256 << 10
"""Bytes of an answer that are made ready at a time, or one chunk."""
NO_STORE = (("Cache-Control", "no-store"),)


class Granting:
    """The Site of a folder with its lists, `most` bytes of which are kept. Wishable."""

    def __init__(self, folder: Folder, *, most: int = MOST_KEPT) -> None:
        self._folder, self.lists = folder, Lists(most)
        self._hands = ThreadPoolExecutor(HANDS, "wishes")

    def view(self) -> View | None:
        return self._folder.view()

    def front(self) -> list[str] | None:
        return self._folder.front()

    def find(self, path: str) -> Reading:
        try:
            return self._folder.find(path)
        except Reply as reply:
            if reply.status != 404 or not path.endswith(SUFFIX):
                raise
        return ListReading(self._file(path), self.lists)

    def grant(self, path: str, body: bytes) -> Reading:
        """What answers this wishlist. Raises Reply."""
        return Granted(self._file(path), self.lists, body, self._hands)

    def close(self) -> None:
        self._hands.shutdown(cancel_futures=True)
        self.lists.close()
        self._folder.close()

    def _file(self, path: str) -> FileReading:
        """Of which this is the list. Raises Reply."""
        try:
            found = self._folder.find(path.removesuffix(SUFFIX))
        except Reply as reply:
            if reply.status == 301:
                raise nowhere() from None
            raise
        if isinstance(found, FileReading):
            return found
        found.close()
        raise nowhere()


class _OfAList:
    """A request for which the list of a file is needed; it takes the file over."""

    def __init__(self, file: FileReading, lists: Lists) -> None:
        self._file, self._lists = file, lists
        self._changed: Callable[[], None] = lambda: None
        self._list: List | None = None

    @property
    def moving(self) -> int:
        return self._list.moving if self._list is not None else 0

    def notify(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._list = self._lists.join(self._file, self._ring)

    def demand(self, wanted: ByteRange) -> None:
        """It is all here."""

    def close(self) -> None:
        if self._list is not None:
            self._lists.leave(self._list, self._ring)
        self._file.close()

    def _ring(self) -> None:
        self._changed()

    def _made(self) -> Made | None:
        """The list; None while it is made. Raises Reply where it cannot be."""
        if self._list is None:
            return None
        if self._list.error is not None:
            raise self._list.error
        return self._list.made


class ListReading(_OfAList):
    """A manifest that was made here."""

    @property
    def facts(self) -> Facts | None:
        made, version = self._made(), self._file.version
        if made is None:
            return None
        return Facts(
            made.manifest.length,
            etag=version.tag("list"),
            modified=version.mtime_ns / 1e9,
            private=self._file.facts.private,
            said=(ACCEPT_POST,),
        )

    @property
    def descriptor(self) -> int | None:
        made = self._made()
        return made.file if made else None

    def available(self, offset: int) -> int:
        made = self._made()
        return made.manifest.length - offset if made else 0

    def read_into(self, offset: int, view: memoryview) -> int:
        made = self._made()
        return os.preadv(made.file, [view], offset) if made else 0


class Granted(_OfAList):
    """The chunks that were wished; its length is that of an answer that is complete."""

    descriptor = None

    def __init__(
        self, file: FileReading, lists: Lists, body: bytes, hands: ThreadPoolExecutor
    ) -> None:
        super().__init__(file, lists)
        self._body, self._hands, self._asked = body, hands, False
        self._facts: Facts | None = None
        self._error: Reply | None = None
        self._records: Iterator[bytes] = iter(())
        self._start, self._ready = 0, b""
        """Of the answer, what is made ready."""

    @property
    def facts(self) -> Facts | None:
        made = self._made()
        if self._error is not None:
            raise self._error
        if made is not None and not self._asked:
            self._asked = True
            self._hands.submit(self._understand, made.manifest.coarse)
        return self._facts

    def _understand(self, chunks: Chunks) -> None:
        """In a thread of its own."""
        try:
            numbers = parse_wishlist(chunks, self._body)
            sender = Sender(chunks, numbers, lambda number: self._chunk(chunks, number))
            self._records = sender.answer()
            self._facts = Facts(sender.length, media_type=CHUNKS_TYPE, ranges=False, said=NO_STORE)
        except ChangedError as error:
            self._error = Reply(412, f"{error}; its manifest is a new one")
        except ProtocolError as error:
            self._error = Reply(400, str(error))
        self._ring()

    def _chunk(self, chunks: Chunks, number: int) -> bytes:
        span = chunks.chunk(number)
        data = os.pread(self._file.descriptor, len(span), span.start)
        if hashlib.new(chunks.algorithm, data).digest()[: chunks.width] != chunks.digest(number):
            raise ChangedError("a file", "it is no longer as the list of its chunks says")
        return data

    def available(self, offset: int) -> int:
        if offset == self._start + len(self._ready):
            self._file.available(0)
            made, size = list[bytes](), 0
            while size < AHEAD and (record := next(self._records, b"")):
                made.append(record)
                size += len(record)
            self._start, self._ready = offset, b"".join(made)
        return self._start + len(self._ready) - offset

    def read_into(self, offset: int, view: memoryview) -> int:
        found = self._ready[offset - self._start :][: len(view)]
        view[: len(found)] = found
        return len(found)
