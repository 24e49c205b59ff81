"""A request for which the list of the chunks of a file is needed.

The list is a file of its own where there is one, and else made of the file when that is all here.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import structs

from rdl.core.byterange import ByteRange
from rdl.server.answers import BYTES, Facts
from rdl.server.lists import MOST_KEPT, ChunkList, Lists, Made, Opened
from rdl.server.requests import ACCEPT_POST, Reply
from rdl.server.resource import Metered, Reading
from rdl.server.version import Version

Find = Callable[[bool], Reading]
"""Opens the file; True: there is no list, so that it is to be all here."""


class Pair:
    """A file, which `find` opens when it is asked for, and `own`, where a file is its list; `name`
    of the file. Both are closed with it. Raises what `find` does where there is no `own`."""

    def __init__(self, own: Reading | None, find: Find, name: bytes) -> None:
        self.own, self.name, self._find = own, name, find
        self._changed: Callable[[], None] = lambda: None
        self._file: Reading | None = None
        self._client = ""
        if own is None:
            self._file = find(True)

    @property
    def file(self) -> Reading:
        """Raises Reply where it is not there."""
        if self._file is None:
            self._file = self._find(self.own is None)
            if isinstance(self._file, Metered):
                self._file.on_behalf(self._client)
            self._file.notify(self._changed)
        return self._file

    @property
    def moving(self) -> int:
        return sum(one.moving for one in (self.own, self._file) if one is not None)

    def notify(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        for one in (self.own, self._file):
            if one is not None:
                one.notify(changed)

    def on_behalf(self, client: str) -> None:
        self._client = client
        for one in (self.own, self._file):
            if isinstance(one, Metered):
                one.on_behalf(client)

    def settle(self, sent: int) -> None:
        """What was sent is credited once."""
        for one in (self._file, self.own):
            if isinstance(one, Metered):
                one.settle(sent)
                sent = 0

    def alone(self) -> None:
        """There is no such list after all."""
        if self.own is not None:
            self.own.close()
            self.own = None

    def close(self) -> None:
        self.alone()
        if self._file is not None:
            self._file.close()


class Listed:
    """Takes the pair over. Metered: both cost an upstream something."""

    def __init__(self, pair: Pair, lists: Lists) -> None:
        self._pair, self._lists = pair, lists
        self._changed: Callable[[], None] = lambda: None
        self._list: ChunkList | None = None
        self._wanted = False

    @property
    def moving(self) -> int:
        return self._pair.moving + (self._list.moving if self._list is not None else 0)

    def notify(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._pair.notify(self._ring)

    def on_behalf(self, client: str) -> None:
        self._pair.on_behalf(client)

    def settle(self, sent: int) -> None:
        self._pair.settle(sent)

    def close(self) -> None:
        if self._list is not None:
            self._lists.leave(self._list, self._ring)
        self._pair.close()

    def _ring(self) -> None:
        self._changed()

    def _made(self) -> Made | None:
        """The list; None while it is fetched or made. Raises Reply where there will be none."""
        if self._list is None and (source := self._source()) is not None:
            self._list = self._lists.join(source, self._ring)
        if self._list is None:
            return None
        if self._list.error is not None:
            raise self._list.error
        return self._list.made

    def _source(self) -> Opened | None:
        """What says the list, or is cut."""
        about, pair = self._own(), self._pair
        if pair.own is not None:
            if about is not None and about.size > MOST_KEPT:
                raise Reply(404, "no list of chunks is so long")
            return self._whole(pair.own, about)
        return self._whole(pair.file, pair.file.facts)

    def _own(self) -> Facts | None:
        """Of the file that is the list, as long as there seems to be one."""
        try:
            return self._pair.own.facts if self._pair.own is not None else None
        except Reply as reply:
            if reply.status not in (404, 410):
                raise
        self._pair.alone()
        return None

    def _whole(self, reading: Reading, about: Facts | None) -> Opened | None:
        """When all of it is here, which is wanted then."""
        if about is None:
            return None
        if reading.descriptor is None and not self._wanted:
            self._wanted = True
            reading.demand(ByteRange(0, about.size))
        proved = reading.available(0) >= about.size  # asked first: it is in its file by then
        file = reading.descriptor
        if file is None:
            if proved:
                raise Reply(404, "no list of chunks can be read here now")
            return None
        return Opened(file, Version.of(file), self._pair.name, reading is self._pair.own)


class ListReading(Listed):
    """A manifest: as it lies there, or made here."""

    @property
    def facts(self) -> Facts | None:
        about = self._own()
        if self._pair.own is not None:
            return None if about is None else _offering(about)
        made = self._made()
        of = self._pair.file.facts if made is not None else None
        if made is None or of is None or self._list is None:
            return None
        tag = self._list.key[0].tag("list")
        found = structs.replace(of, size=made.manifest.length, etag=tag, sha256=None)
        return _offering(structs.replace(found, media_type=BYTES))

    @property
    def descriptor(self) -> int | None:
        if self._pair.own is not None:
            return self._pair.own.descriptor
        made = self._made()
        return made.file if made else None

    def demand(self, wanted: ByteRange) -> None:
        if self._pair.own is not None:
            self._pair.own.demand(wanted)

    def available(self, offset: int) -> int:
        if self._pair.own is not None:
            return self._pair.own.available(offset)
        made = self._made()
        return made.manifest.length - offset if made else 0

    def read_into(self, offset: int, view: memoryview) -> int:
        if self._pair.own is not None:
            return self._pair.own.read_into(offset, view)
        made = self._made()
        return os.preadv(made.file, [view], offset) if made else 0


def _offering(about: Facts) -> Facts:
    """Says that it takes wishlists."""
    return structs.replace(about, said=(*about.said, ACCEPT_POST))
