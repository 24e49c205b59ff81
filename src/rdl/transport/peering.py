"""A file that others receive too, behind the interface of a transport: what is asked for is wished
of them first, and what they lack comes from its server.

Only a chunk that has its digest is taken of them. Whoever is slow or fails rests, and whoever
breaks the rules is asked no more: its server has all of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import takewhile

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.classify import takes_wishes
from rdl.core.fields import (
    ResponseHead,
    format_range,
    parse_content_range,
    parse_http_date,
    parse_range,
)
from rdl.core.representation import WISHES_TYPE
from rdl.core.row import span_of
from rdl.core.shuffle import TRIVIAL
from rdl.core.wishlist import Receiver, Wish, encode_wishlist, wish
from rdl.errors import NetworkError, ProtocolError, RdlError
from rdl.transport.answering import Selected, answer
from rdl.transport.base import Exchange, Lineage, Request, Transport

SECONDS = 5.0
"""So long one wishlist may take, and so long nobody says a byte."""
TURN = 0.25
"""Who asks somebody else's peer meanwhile waits so long, then asks the server."""
REST, MOST_REST = 0.2, 60.0
MOST_WISHED, MOST_KEPT = 4 << 20, 8 << 20
"""Bytes of one wishlist, and of what came and was not asked for yet."""
PORTION = 256 << 10
LATER = (404, 503)
"""Of a file that somebody has not begun to receive, or rests with."""


class Peer:
    """Who receives the file too, at `url`; `where`: the URL of the manifest there."""

    def __init__(self, url: str, where: str, beyond: Transport) -> None:
        self.url, self._where, self._beyond = url, where, beyond
        self._turn, self._until, self._rest = threading.Lock(), 0.0, REST

    @property
    def rests(self) -> bool:
        return time.monotonic() < self._until

    def receives(self, coarse: Chunks) -> bool:
        """Whether it takes wishes for these chunks, and may lack some of them: of who has them all
        ranges are asked, as of any mirror."""
        try:
            with closing(self._post(encode_wishlist(coarse, len(TRIVIAL), 0, Wish(())))) as asked:
                head = asked.head
            if head.status == 200:
                return head.content_length is None
            if head.status not in LATER:
                return False
            with closing(self._beyond.open(Request(self._where, method="HEAD"))) as about:
                return about.head.status == 200 and takes_wishes(about.head)
        except RdlError:
            return False

    def has(self, chunks: Chunks, coarse: Chunks, numbers: Sequence[int]) -> dict[int, bytes]:
        """Of these chunks those that it has now, as far as they come soon."""
        came = dict[int, bytes]()
        if not self._turn.acquire(timeout=TURN):
            return came
        try:
            if not self.rests:
                self._wish(chunks, coarse, numbers, came)
                self._rest = REST
        except ProtocolError:
            self._until = float("inf")
        except RdlError:
            self._until, self._rest = time.monotonic() + self._rest, min(2 * self._rest, MOST_REST)
        finally:
            self._turn.release()
        return came

    def _wish(
        self, chunks: Chunks, coarse: Chunks, numbers: Sequence[int], came: dict[int, bytes]
    ) -> None:
        due, wanted = time.monotonic() + SECONDS, wish(chunks, TRIVIAL, numbers)
        receiver, view = Receiver(chunks, wanted), memoryview(bytearray(PORTION))
        with closing(self._post(encode_wishlist(chunks, len(TRIVIAL), 0, wanted, coarse))) as sent:
            if sent.head.status != 200:
                raise NetworkError(self.url, f"HTTP {sent.head.status}")
            while not receiver.ended or sent.ready():
                if not (count := sent.readinto(view)):
                    break
                came.update(receiver.feed(view[:count]))
                if time.monotonic() > due:
                    raise NetworkError(self.url, "it is slow")
            receiver.finish()

    def _post(self, body: bytes) -> Exchange:
        headers = (("Content-Type", WISHES_TYPE),)
        return self._beyond.open(Request(self._where, headers, method="POST", body=body))


class PeerTransport:
    """The file of the coarse chunks `coarse`, which these receive too. For one transfer, which asks
    for it in an order of its own. `over` and `know` are said before the first request."""

    def __init__(self, peers: Sequence[Peer], coarse: Chunks) -> None:
        self._peers, self._coarse, self._chunks = peers, coarse, coarse
        self.urls = [peer.url for peer in peers]
        self._beyond: Transport | None = None
        self._selected: Selected | None = None
        self._kept, self._lacking = dict[int, bytes](), set[int]()
        """What came and was not asked for yet; what nobody had who was asked."""
        self._lock = threading.Lock()

    def over(self, beyond: Transport) -> PeerTransport:
        """Itself, which reaches the server by this transport."""
        self._beyond = beyond
        return self

    def know(self, chunks: Chunks) -> None:
        """It is wished for as these; some may be fine ones."""
        self._chunks = chunks

    def ask(self, request: Request) -> None:
        """An answer may take long."""

    def open(self, request: Request) -> Exchange:
        """What others have of the start of what is asked for, or what they have not from its
        server. Raises RdlError."""
        has, span = self._selected, self._span(request)
        if has is None or span is None or all(peer.rests for peer in self._peers):
            return self._serve(request)
        numbers = self._chunks.numbers(span.clip(ByteRange(0, span.start + MOST_WISHED)))
        self._gather(numbers)
        run, data = self._take(numbers)
        part = span.clip(run)
        head, left = answer(_about(request, part), has, time.time())
        if not data or left != part:  # nobody has it, or it is to be of another version
            return self._serve(_about(request, part))
        return Brought(head, memoryview(data)[part.start - run.start :][: len(part)])

    def close(self) -> None:
        """Nothing is open that is not somebody else's."""

    def _serve(self, request: Request) -> Exchange:
        """By its server, whose first answer says what the file is."""
        assert self._beyond is not None
        exchange = self._beyond.open(request)
        head = exchange.head
        said = parse_content_range(head.get("content-range") or "")
        size = said.total if head.status == 206 and said is not None else None
        if self._selected is None and size == self._chunks.span.stop:
            modified = parse_http_date(head.get("last-modified"))
            self._selected = Selected(size, head.get("etag"), modified)
        return exchange

    def _span(self, request: Request) -> ByteRange | None:
        spec = parse_range({name.lower(): value for name, value in request.headers}.get("range"))
        return span_of(spec, self._chunks.span.stop) if spec is not None else None

    def _gather(self, numbers: Sequence[int]) -> None:
        """What is not here, and was not asked for in vain, is wished of one after the other."""
        with self._lock:
            known = self._kept.keys() | self._lacking
        for peer in self._peers:
            left = [number for number in numbers if number not in known]
            if left:
                came = peer.has(self._chunks, self._coarse, left)
                known |= came.keys()
                with self._lock:
                    self._kept |= came
        with self._lock:
            self._lacking.update(number for number in numbers if number not in known)

    def _take(self, numbers: Sequence[int]) -> tuple[ByteRange, bytes]:
        """The first run of them that is here, or of those that are not, without bytes. Who asks for
        these again had nothing from the server, so that others may be asked again."""
        with self._lock:
            kept = self._kept
            here = numbers[0] in kept
            run = [*takewhile(lambda number: (number in kept) is here, numbers)]
            data = b"".join(map(kept.pop, run)) if here else b""
            self._lacking.difference_update(run)
            room = MOST_KEPT - sum(map(len, kept.values()))
            while room < 0:
                room += len(kept.pop(next(iter(kept))))
        chunks = self._chunks
        return ByteRange(chunks.chunk(run[0]).start, chunks.chunk(run[-1]).stop), data


class Brought:
    """What others had, as a server would send it."""

    lineage: Lineage | None = None
    public = False

    def __init__(self, head: ResponseHead, data: memoryview) -> None:
        self.head, self._data = head, data

    def ready(self) -> bool:
        return True

    def readinto(self, view: memoryview) -> int:
        part, self._data = self._data[: len(view)], self._data[len(view) :]
        view[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._data = self._data[:0]


def _about(request: Request, span: ByteRange) -> Request:
    """The same of these bytes."""
    others = (one for one in request.headers if one[0].lower() != "range")
    headers = (("Range", format_range(span.start, span.stop)), *others)
    return Request(request.url, headers, lineage=request.lineage)
