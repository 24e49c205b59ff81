"""A file whose lacking chunks are wished for in one answer, behind the interface of a transport.

By HEAD its server says what the file is; its bytes come from the list of its chunks. Only a chunk
that has its digest goes on to the engine; whatever else comes is a ProtocolError.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import accumulate, chain, pairwise

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.fields import ResponseHead, parse_http_date, parse_range
from rdl.core.manifest import Manifest, fine_range
from rdl.core.representation import WISHES_TYPE
from rdl.core.row import span_of
from rdl.core.shuffle import TRIVIAL
from rdl.core.text import redact_url, safe_text
from rdl.core.wishlist import ANSWER, Receiver, Wish, encode_fine, encode_wishlist, wish
from rdl.errors import NetworkError, ProtocolError, RdlError
from rdl.transport.answering import Selected, answer
from rdl.transport.base import Exchange, Lineage, Request, Transport

KEPT = 8 << 20
"""Bytes of chunks that came before the engine asks for them; those beyond are wished for anew."""
PORTION = 256 << 10
WAIT = 20
"""Seconds that a server waits for a chunk that it still receives itself: less than we do."""
OVERLAP = 64 << 10
"""Bytes of chunks that are here: with no more of them a range is one of what is wished for."""
LOOK_SECONDS = 0.2
"""Who waits for an answer looks so often whether it should."""
MOST_WHY = 500
"""Bytes of what a server says of a refusal."""
NOT_TAKEN = (301, 302, 303, 404, 405, 411, 413, 415, 501)
"""What says that there are no wishes here after all, or that they are not understood."""

Alive = Callable[[], None]


class WishTransport:
    """The file at `url`, of which some chunks are wished for at the manifest at `where`; the rest,
    and other URLs, are asked for as ever. For one transfer, which asks for bytes about in order.

    `coarse`: the manifest's. `over` and `lack` are said before the first request. A context
    manager.
    """

    def __init__(self, url: str, where: str, coarse: Chunks) -> None:
        self._url, self._where, self._coarse = url, where, coarse
        self._what = safe_text(redact_url(where))
        self.outdated = False
        """The list is not that of the file as it is now."""
        self.used = False
        """Something was wished for."""
        self._failed = False
        """The server said so last, instead of a chunk."""
        self.lack(coarse, ())
        self._beyond: Transport | None = None
        self._selected: Selected | None = None
        self._coming: Coming | None = None
        self._kept = dict[int, bytes]()
        self._room = KEPT
        self._turn = threading.Lock()

    def over(self, beyond: Transport) -> WishTransport:
        """Itself, which reaches servers by this transport."""
        self._beyond = beyond
        return self

    def lack(self, chunks: Chunks, runs: Iterable[ByteRange]) -> bool:
        """These runs of chunks are to come by wishes; whether there are any. Some of `chunks` may
        be fine ones."""
        self._chunks, self._lacking = chunks, bytearray(len(chunks))
        for number in chain.from_iterable(map(chunks.numbers, runs)):
            self._lacking[number] = 1
        self._wished = bytes(self._lacking)
        return any(self._wished)

    def __enter__(self) -> WishTransport:
        return self

    def __exit__(self, *error: object) -> None:
        self._leave()

    def ask(self, request: Request) -> None:
        """An answer may take long."""

    def open(self, request: Request) -> Exchange:
        """What the engine asks for, when its first chunk is here or on its way; or a refusal, for
        the engine to judge. Raises RdlError."""
        beyond = self._beyond
        assert beyond is not None
        if request.url != self._url or request.lineage is not None or not self._covers(request):
            return beyond.open(request)
        with self._turn:
            self.used = True
            has = self._selected or self._select(beyond)
            if not isinstance(has, Selected):
                return has
            head, left = answer(request, has, time.time())
            refusal = self._wish(beyond, left)
        return refusal or Wished(self, head, left)

    def close(self) -> None:
        """Who waits for more of an answer is woken."""
        coming = self._coming
        if coming is not None:
            coming.exchange.close()

    def _covers(self, request: Request) -> bool:
        """Whether it is for what is wished for, and hardly for anything else."""
        spec = parse_range({name.lower(): value for name, value in request.headers}.get("range"))
        span = span_of(spec, self._chunks.span.stop) if spec is not None else None
        if span is None:
            return False
        wished, other = False, 0
        for number in self._chunks.numbers(span):
            wished = wished or bool(self._wished[number])
            other += 0 if self._wished[number] else len(self._chunks.chunk(number))
            if other > OVERLAP:
                return False
        return wished

    def _select(self, beyond: Transport) -> Selected | Exchange:
        """What the file is, or the refusal to say so."""
        exchange = beyond.open(Request(self._url, method="HEAD"))
        head = exchange.head
        if head.status != 200 and head.status not in NOT_TAKEN:
            return exchange
        exchange.close()
        size, etags = head.content_length, head.all("etag")
        if head.status != 200 or size is None:
            raise ProtocolError(self._what, "the server does not say by HEAD what the file is")
        if size != self._chunks.span.stop:
            self.outdated = True
            raise ProtocolError(self._what, "it is a list of the chunks of another file")
        self._selected = Selected(
            size,
            etags[0] if len(etags) == 1 else None,
            parse_http_date(head.get("last-modified")),
            head.get("repr-digest"),
        )
        return self._selected

    # Under the turn

    def _wish(self, beyond: Transport, span: ByteRange) -> Exchange | None:
        """All of it is here, or on its way in one answer; else why not."""
        fresh = [one for one in self._chunks.numbers(span) if not self._is_near(one)]
        if not fresh:
            return None
        for number in fresh:
            self._lacking[number] = 1
        self._leave()
        chunks = self._chunks
        wanted = wish(chunks, TRIVIAL, (one for one, flag in enumerate(self._lacking) if flag))
        if not wanted.numbers:
            return None
        exchange = beyond.open(
            Request(
                self._where,
                (("Content-Type", WISHES_TYPE), ("Prefer", f"wait={WAIT}")),
                method="POST",
                body=encode_wishlist(chunks, len(TRIVIAL), 0, wanted, self._coarse),
            )
        )
        if exchange.head.status != 200:
            return self._refused(exchange)
        self._coming = Coming(exchange, chunks, wanted)
        return None

    def _refused(self, exchange: Exchange) -> Exchange:
        """Of what is not about wishes the engine judges. Raises ProtocolError."""
        status = exchange.head.status
        if status >= 400 and status not in (400, 412, *NOT_TAKEN):
            return exchange
        why = f"HTTP {status}: it takes no wishlists"
        with closing(exchange):
            if status == 400:
                why = f"the wishlist is refused: {_text(exchange)}"
        if status == 412:
            self.outdated = True
            why = "the list of its chunks is another one by now"
        raise ProtocolError(self._what, why)

    def _is_near(self, number: int) -> bool:
        """Whether it is here, or on its way."""
        coming = self._coming
        return number in self._kept or (coming is not None and bool(coming.flags[number]))

    def read(self, offset: int, view: memoryview) -> int:
        """Of one chunk, as much as there is room for. Raises RdlError."""
        with self._turn:
            number = self._chunks.numbers(ByteRange(offset, offset + 1)).start
            span = self._chunks.chunk(number)
            try:
                data = self._chunk(number)
            except RdlError as error:
                self._judge(error)
                self._leave()
                raise
            part = data[offset - span.start :][: len(view)]
            view[: len(part)] = part
            if offset + len(part) == span.stop:  # all of it was handed on
                self._forget(number)
            return len(part)

    def _judge(self, error: RdlError) -> None:
        """A server that says twice, with nothing between, that no more comes is not asked again."""
        if self._coming is not None and self._coming.failed:
            error.permanent, self._failed = self._failed, True

    def _chunk(self, number: int) -> bytes:
        """It is kept until all of it was read."""
        coming = self._coming
        while number not in self._kept:
            if coming is None or not coming.flags[number]:
                raise NetworkError(self._what, f"chunk {number} has not come")
            found, data = coming.next()
            self._keep(found, data)
        return self._kept[number]

    def _keep(self, found: int, data: bytes) -> None:
        """What came before it is asked for, as far as there is room."""
        self._lacking[found], self._failed = 0, False
        self._kept[found] = data
        self._room -= len(data)
        while self._room < 0 and (number := next(iter(self._kept))) != found:
            self._forget(number)
            self._lacking[number] = 1

    def _forget(self, number: int) -> None:
        self._room += len(self._kept.pop(number))

    def _leave(self) -> None:
        """The answer is let go, read to its end or not."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.close()


class Coming:
    """One answer. `flags`: 1 for chunks that are to come in it."""

    def __init__(self, exchange: Exchange, chunks: Chunks, wanted: Wish) -> None:
        self.exchange, self._receiver = exchange, Receiver(chunks, wanted)
        self.flags = bytearray(len(chunks))
        for number in chain(wanted.numbers, *wanted.others.values()):
            self.flags[number] = 1
        self._chunks = self._arriving()

    @property
    def failed(self) -> bool:
        """Whether the server says that no more comes now."""
        return self._receiver.failed

    def next(self) -> tuple[int, bytes]:
        """The next chunk. Raises RdlError; ProtocolError where the server has it not."""
        found = next(self._chunks, None)
        if found is None:
            raise ProtocolError(ANSWER, "chunks were to come after its end")
        self.flags[found[0]] = 0
        return found

    def _arriving(self) -> Iterator[tuple[int, bytes]]:
        view, receiver = memoryview(bytearray(PORTION)), self._receiver
        while count := self.exchange.readinto(view):
            yield from receiver.feed(view[:count])
            if receiver.absent:
                raise ProtocolError(ANSWER, f"the server has not chunk {receiver.absent[0]}")
            if receiver.ended and not self.exchange.ready():
                return
        receiver.finish()

    def close(self) -> None:
        """When all has come its end is read, as far as that is here, so that the connection is
        kept; nobody waits for more of it."""
        view, receiver = memoryview(bytearray(PORTION)), self._receiver
        with suppress(RdlError):
            while not receiver.left and self.exchange.ready():
                if not (count := self.exchange.readinto(view)):
                    break
                list(receiver.feed(view[:count]))  # nothing, for all chunks have come
        self.exchange.close()


class Wished:
    """What one request of the engine brings: a range of the file, chunk by chunk."""

    lineage: Lineage | None = None
    public = False

    def __init__(self, of: WishTransport, head: ResponseHead, left: ByteRange) -> None:
        self.head, self._of, self._left = head, of, left
        self._closed, self._reading = False, threading.Lock()

    def ready(self) -> bool:
        return False

    def readinto(self, view: memoryview) -> int:
        with self._reading:
            view = view[: len(self._left)]
            if not view:
                return 0
            if self._closed:
                raise NetworkError("the answer", "was closed")
            count = self._of.read(self._left.start, view)
            self._left = ByteRange(self._left.start + count, self._left.stop)
            return count

    def close(self) -> None:
        """The wishes stay, unless a thread waits for what they bring."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            self._reading.release()
        else:
            self._of.close()


def fine_of(
    beyond: Transport, where: str, manifest: Manifest, numbers: Sequence[int], alive: Alive
) -> dict[int, bytes]:
    """What the manifest at `where` has of these coarse chunks, in ascending order: by one request,
    as one that takes wishes answers it. `alive` may raise. Raises RdlError."""
    what = safe_text(redact_url(where))
    body = encode_fine(manifest.coarse, numbers)
    request = Request(where, (("Content-Type", WISHES_TYPE),), method="POST", body=body)
    sizes = [len(fine_range(manifest, one, one + 1)) for one in numbers]
    ends = [0, *accumulate(sizes)]
    data, have = memoryview(bytearray(ends[-1] + 1)), 0
    with closing(_answered(beyond, request, alive)) as exchange:
        if exchange.head.status != 200:
            raise ProtocolError(what, f"HTTP {exchange.head.status}: it does not say fine chunks")
        while have < len(data) and (count := exchange.readinto(data[have:])):
            have += count
            alive()
    if have != ends[-1]:
        raise ProtocolError(what, "of its fine chunks come others than were asked for")
    return {
        one: bytes(data[start:stop])
        for one, (start, stop) in zip(numbers, pairwise(ends), strict=True)
    }


def _answered(beyond: Transport, request: Request, alive: Alive) -> Exchange:
    asked = beyond.ask(request)
    if asked is None:
        return beyond.open(request)
    try:
        while not asked.answered(LOOK_SECONDS):
            alive()
    except BaseException:
        asked.close()
        raise
    return asked.open()


def _text(exchange: Exchange) -> str:
    """The start of a body, for people."""
    view = memoryview(bytearray(MOST_WHY))
    try:
        return safe_text(bytes(view[: exchange.readinto(view)]).decode("utf-8", "replace").strip())
    except RdlError as error:
        return str(error)
