"""The page at the root and its news: one picture a second while somebody looks, for all of them.

A watcher has the latest picture whole, then the one that is the latest by then: who is slow
misses some, and holds no more than one.
"""

from __future__ import annotations

from collections.abc import Callable

from rdl.core.byterange import ByteRange
from rdl.core.row import ENDLESS
from rdl.server import page
from rdl.server.answers import Facts
from rdl.server.picture import Counts, Painter, Picture
from rdl.server.requests import Reply, later
from rdl.server.resource import Site, Text, View, copied

PERIOD = 1.0
SOON = 0.05
"""Seconds until it is looked again for what is not known yet."""
HEARTBEAT = 15.0
"""So long a connection is silent at most."""
_NEVER = float("inf")


class Board:
    """Of one Site, with `most` watchers. The caller has the clock: it calls `tick` when `due` is
    over."""

    def __init__(self, site: Site, counts: Callable[[], Counts], most: int) -> None:
        self._site, self._counts, self._most = site, counts, most
        self._painter = Painter()
        self.watchers, self.fronts = set[Watching](), set[Front]()
        self._picture: Picture | None = None
        self._told_at = -_NEVER
        self.latest, self.number = b"", 0
        self.due = _NEVER

    def watch(self) -> Watching:
        """For one who wants the news. Raises Reply where there are too many."""
        if len(self.watchers) >= self._most:
            raise later("too many are watching", 30)
        found = Watching(self, self.number - 1 if self.watchers else self.number)
        if not self.watchers:
            self._picture = None  # what was told last was told long ago
        self.watchers.add(found)
        self.due = min(self.due, 0)
        return found

    def front(self) -> Front:
        """The page itself."""
        found = Front(self)
        self.fronts.add(found)
        self.due = min(self.due, 0)
        return found

    def tick(self, now: float) -> None:
        """Look, and tell what is new."""
        view = self._site.view() if self.watchers or self.fronts else None
        if view is not None:
            self._tell(view, now)
        waits = self.fronts or (self.watchers and view is None)
        self.due = now + SOON if waits else now + PERIOD if self.watchers else _NEVER

    def _tell(self, view: View, now: float) -> None:
        picture = self._painter.paint(view, self._counts(), now)
        if self.fronts:
            self._open(picture)
        if picture == self._picture and now - self._told_at < HEARTBEAT:
            return
        self._picture, self._told_at = picture, now
        self.latest, self.number = picture.event(), self.number + 1
        for watcher in tuple(self.watchers):
            watcher.changed()

    def _open(self, picture: Picture) -> None:
        """The page for all who wait for it, or why there is none."""
        fronts, self.fronts = self.fronts, set()
        try:
            text = page.live(picture, self._site.front())
        except Reply as reply:
            for front in fronts:
                front.show(reply)
            return
        for front in fronts:
            front.show(Text(text, page.HTML, page.LIVE_POLICY))


class Front:
    """A reading of the page, as it is when all that it shows is known."""

    descriptor = None
    moving = 0

    def __init__(self, board: Board) -> None:
        self._board = board
        self._text: Text | None = None
        self._reply: Reply | None = None
        self._changed: Callable[[], None] = lambda: None

    def show(self, found: Text | Reply) -> None:
        if isinstance(found, Reply):
            self._reply = found
        else:
            self._text = found
        self._changed()

    @property
    def facts(self) -> Facts | None:
        if self._reply is not None:
            raise self._reply
        return self._text.facts if self._text else None

    def notify(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def demand(self, wanted: ByteRange) -> None:
        """It is all here."""

    def available(self, offset: int) -> int:
        return self._text.available(offset) if self._text else 0

    def read_into(self, offset: int, view: memoryview) -> int:
        return self._text.read_into(offset, view) if self._text else 0

    def close(self) -> None:
        self._board.fronts.discard(self)


class Watching:
    """A reading of the news: pictures one after the other, without an end."""

    descriptor = None
    moving = 0
    facts = Facts(ENDLESS, media_type="text/event-stream", endless=True)

    def __init__(self, board: Board, seen: int) -> None:
        self._board, self._seen = board, seen
        self._event, self._start = b"", 0
        """What it has now, and the offset where that begins."""
        self.changed: Callable[[], None] = lambda: None

    def notify(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def demand(self, wanted: ByteRange) -> None:
        """It comes by itself."""

    def available(self, offset: int) -> int:
        end = self._start + len(self._event)
        if offset == end and self._seen != self._board.number:
            self._event, self._start = self._board.latest, end
            self._seen = self._board.number
        return self._start + len(self._event) - offset

    def read_into(self, offset: int, view: memoryview) -> int:
        return copied(self._event, offset - self._start, view)

    def close(self) -> None:
        self._board.watchers.discard(self)
