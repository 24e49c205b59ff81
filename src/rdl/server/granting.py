"""A site whose files have lists of their chunks beside them, which take wishes.

A chunk is sent when it is here and has the digest that the list says. Of a file that is still
received each is waited for; what fails then is said in the answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Timer
from urllib.parse import unquote_to_bytes

from rdl.core.byterange import ByteRange
from rdl.core.manifest import SUFFIX, Manifest, fine_range
from rdl.core.reads import filled
from rdl.core.row import ENDLESS
from rdl.core.wishlist import (
    CHUNKS_TYPE,
    FAILED,
    FINE_TYPE,
    Sender,
    asks_fine,
    ending,
    list_in,
    parse_wishlist,
)
from rdl.errors import ChangedError, ProtocolError, RdlError
from rdl.server.answers import Facts
from rdl.server.folder import Folder
from rdl.server.listed import Listed, ListReading, Pair
from rdl.server.lists import MOST_KEPT, Lists, Made
from rdl.server.partials import PartialReading
from rdl.server.requests import Reply, later, nowhere
from rdl.server.resource import Over, Reading, Text, View
from rdl.server.upstream import Upstream

HANDS = 2
"""Threads that read wishlists: the longest ones take a second."""
AHEAD = 256 << 10
"""Bytes of an answer that are made ready at a time, or one chunk; an ABSENT counts as what it
takes to find out: 131072 of them, in 256 KiB, would hold the loop for a second."""
LOOK = 2 << 10
"""Bytes that are hashed in the time that it takes to see that a chunk is not here (8 µs)."""
MOST_WAIT = 30.0
"""Seconds that a chunk is waited for, whatever the client would."""
RUN = 8 << 20
"""Bytes of chunks that stand one after another and are asked for together."""


class Granting:
    """The Site of a folder or an upstream with its lists, `most` bytes of which are kept.
    Wishable."""

    def __init__(self, site: Folder | Upstream, *, most: int = MOST_KEPT) -> None:
        self._site, self.lists = site, Lists(most)
        self._hands = ThreadPoolExecutor(HANDS, "wishes")

    def view(self) -> View | None:
        return self._site.view()

    def front(self) -> list[str] | None:
        return self._site.front()

    def find(self, path: str) -> Reading:
        if not path.endswith(SUFFIX):
            return self._site.find(path)
        return ListReading(self._pair(path), self.lists)

    def grant(self, path: str, body: bytes, wait: float) -> Reading:
        """What answers this wishlist. Raises Reply."""
        return Granted(self._pair(path), self.lists, body, self._hands, wait)

    def close(self) -> None:
        self._hands.shutdown(cancel_futures=True)
        self.lists.close()
        self._site.close()

    def _pair(self, path: str) -> Pair:
        """The manifest at a path, and its file. Raises Reply where there is neither."""
        own: Reading | None = None
        try:
            own = self._site.find(path)
        except Reply as reply:
            if reply.status != 404:
                raise
        file = path.removesuffix(SUFFIX)
        name = unquote_to_bytes(file.rpartition("/")[2])
        return Pair(own, lambda alone: self._file(file, alone=alone), name)

    def _file(self, path: str, *, alone: bool) -> Reading:
        """Of which there is a list, or of which it is made: then all of it is here. Raises
        Reply."""
        if alone and isinstance(self._site, Upstream) and not self._site.keeps(path):
            raise nowhere()
        try:
            found = self._site.find(path)
        except Reply as reply:
            if reply.status == 301:
                raise nowhere() from None
            raise
        if isinstance(found, Text) or (alone and isinstance(found, PartialReading)):
            found.close()
            raise nowhere()
        return found


class Granted(Listed):
    """The chunks that were wished. By a list that was made here the file is complete, and its
    length is that of an answer that is complete too; else it goes on to its end."""

    descriptor = None

    def __init__(
        self, pair: Pair, lists: Lists, body: bytes, hands: ThreadPoolExecutor, wait: float = 0
    ) -> None:
        super().__init__(pair, lists)
        self._body, self._hands, self._asked = body, hands, False
        self._wait = min(wait, MOST_WAIT)
        self._held, self._gone, self._closing = 0, False, Lock()
        """Bytes of its own list; whether it was closed."""
        self._facts: Facts | None = None
        self._error: Reply | None = None
        self._numbers: Sequence[int] = ()
        self._records: Iterator[bytes] = iter(())
        self._start, self._ready = 0, b""
        """Of the answer, what is made ready."""
        self._much = False
        """Half of the file is wished."""
        self._in_vain = 0
        """Bytes, of the answer's next part, that were hashed for nothing, or might have been."""
        self._next, self._awaited, self._here = 0, -1, 0
        """Which of the numbers is the next; which is waited for, and up to where that is here."""
        self._due: float | None = None
        """Until when it is waited for."""
        self._alarm: Timer | None = None

    @property
    def facts(self) -> Facts | None:
        made = self._made()
        about = self._pair.file.facts if made is not None else None
        if self._error is not None:
            raise self._error
        if made is not None and about is not None and not self._asked:
            self._asked = True
            _check(made.manifest, about)
            self._hands.submit(self._understand, made)
        return self._facts

    def demand(self, wanted: ByteRange) -> None:
        """Chunks are, when they are the next."""

    def close(self) -> None:
        if (alarm := self._alarm) is not None:
            alarm.cancel()
        self._body = b""  # it may still stand in line to be understood
        with self._closing:
            self._gone = True
            self._lists.let_go(self._held)
            self._held = 0
        super().close()

    @property
    def _open(self) -> bool:
        """Whether the answer says no length: something of it may be lacking, or not be right."""
        return self._pair.own is not None

    def _understand(self, made: Made) -> None:
        """In a thread of its own."""

        def read(span: ByteRange) -> bytes:
            return os.pread(made.file, len(span), span.start)

        try:
            self._chunks = chunks = list_in(made.manifest, self._body, read)
            if chunks is not made.manifest.coarse:
                self._hold(len(chunks) * (8 + chunks.width))
            numbers = parse_wishlist(chunks, self._body)
            if asks_fine(self._body):
                spans = [fine_range(made.manifest, one, one + 1) for one in numbers]
                self._records, length = map(read, spans), sum(map(len, spans))
                self._facts = Facts(length, media_type=FINE_TYPE, ranges=False, control="no-store")
            else:
                self._answer(Sender(chunks, numbers, self._chunk), numbers)
        except ChangedError as error:
            self._error = Reply(412, f"{error}; its manifest is a new one")
        except ProtocolError as error:
            self._error = Reply(400, str(error))
        except OSError:
            self._error = later("the list of its chunks cannot be read now")
        except Reply as reply:
            self._error = reply
        self._ring()

    def _hold(self, size: int) -> None:
        """This list is nobody else's. Raises Reply where there are too many such."""
        with self._closing:
            if not self._gone:
                self._lists.hold(size)
                self._held = size

    def _answer(self, sender: Sender, numbers: Sequence[int]) -> None:
        """Begins with what precedes the first chunk."""
        self._numbers, self._records = numbers, sender.answer()
        self._ready = next(self._records)
        self._much = 2 * sender.to_transfer >= self._chunks.span.stop
        self._facts = Facts(
            ENDLESS if self._open else sender.length,
            media_type=CHUNKS_TYPE,
            ranges=False,
            control="no-store",
            endless=self._open,
            ends=True,
        )

    def _chunk(self, number: int) -> bytes | None:
        """The next one, as the list says that it is; None where it is not here."""
        self._next += 1
        chunks, file = self._chunks, self._pair.file
        span = chunks.chunk(number)
        if self._open and file.available(span.start) < len(span):
            self._in_vain += LOOK
            return None
        data = bytearray(len(span))
        with memoryview(data) as view:
            filled(file.read_into, span.start, view)
        if chunks.proves(number, data):
            return bytes(data)
        if self._open:
            self._in_vain += len(span)
            return None
        raise ChangedError("a file", "it is no longer as the list of its chunks says")

    def available(self, offset: int) -> int:
        if offset == self._start + len(self._ready):
            made, self._in_vain = bytearray(), 0
            try:
                while (
                    len(made) + self._in_vain < AHEAD
                    and self._comes()
                    and (record := next(self._records, b""))
                ):
                    made += record
            except (RdlError, Reply):
                if not self._open:
                    raise
                made += ending(FAILED, "it does not receive the file any more")
                self._numbers, self._records = (), iter(())
            if not made and self._open and self._next >= len(self._numbers):
                raise Over
            self._start, self._ready = offset, bytes(made)
        return self._start + len(self._ready) - offset

    def read_into(self, offset: int, view: memoryview) -> int:
        found = self._ready[offset - self._start :][: len(view)]
        view[: len(found)] = found
        return len(found)

    def _comes(self) -> bool:
        """Whether the next chunk is not waited for: it is here, or was waited for long enough.
        Raises RdlError and Reply where it will not come."""
        if not self._open:
            self._pair.file.available(0)
        if not self._open or not self._wait or self._next >= len(self._numbers):
            return True
        file, span = self._pair.file, self._chunks.chunk(self._numbers[self._next])
        if self._awaited != self._next:
            self._awaited, self._here, self._due = self._next, span.start, None
        self._here += file.available(self._here)
        if self._here >= span.stop:
            return True
        now = time.monotonic()
        if self._due is None:
            self._due = now + self._wait
            self._ask(file)
            self._here += file.available(self._here)  # nobody rings for what came before that
            if self._here >= span.stop:
                return True
        if now >= self._due:
            return True
        if self._alarm is None:
            self._alarm = Timer(self._due - now, self._on_time)
            self._alarm.daemon = True
            self._alarm.start()
        return False

    def _on_time(self) -> None:
        """In a thread of its own: what is waited for now is looked at again."""
        self._alarm = None
        self._ring()

    def _ask(self, file: Reading) -> None:
        """For the next chunk, with those that follow it in the file; where half of all is wished,
        the rest may come too."""
        chunks, numbers = self._chunks, self._numbers
        if self._much:
            self._much = False
            file.demand(chunks.span)
        span = chunks.chunk(numbers[self._next])
        for at in range(self._next + 1, len(numbers)):
            after = chunks.chunk(numbers[at])
            if after.start != span.stop or len(span) > RUN:
                break
            span = ByteRange(span.start, after.stop)
        file.demand(span)


def _check(manifest: Manifest, about: Facts) -> None:
    """Raises Reply where the list is of another file than this."""
    sha256 = bytes.fromhex(manifest.sha256)
    if about.size != manifest.total or about.sha256 not in (None, sha256):
        raise Reply(412, "the manifest is of another file")
