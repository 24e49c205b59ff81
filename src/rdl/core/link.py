"""Where the URL of a source leads, as the heart sees it: the URL as given, and the link behind it.

A link (a signed URL, a node of a CDN) may die before all is here. Then one request asks the URL
as given again, and the others wait for its answer: at least a second after the last such request,
later while the links that it gives are refused.
"""

from __future__ import annotations

from msgspec import Struct

from rdl.core.lanes import Lane

LEAST_SECONDS, MOST_SECONDS = 1.0, 60.0
MOST_REFUSED = 5
"""So many new links that are refused one after another are the end."""
DYING = (400, 401, 403, 404, 410)
"""What servers say of a link that was good before."""


class Link(Struct):
    """`number`: of the link in use; each lane has that of the link it asked. `led`: it is not
    the URL as given. `refused`: new links in a row that served nothing."""

    number: int = 0
    led: bool = False
    dead: bool = True
    refused: int = 0
    asking: int | None = None
    """The segment whose request asks the URL as given."""
    gone: bool = False
    """It was refused: dead for good."""
    due: bool = False
    """A new URL is to be made before that,"""
    renewing: bool = False
    """and is being made."""
    asked_at: float = float("-inf")

    def ask(self, lane: Lane, now: float) -> bool:
        """A request is sent; whether it goes to the URL as given."""
        lane.fresh = self.dead or not self.led
        if self.dead:
            self.number, self.asking, self.asked_at = self.number + 1, lane.segment, now
        lane.link = self.number
        return lane.fresh

    def not_before(self) -> float:
        """When the next may be asked."""
        if not (self.dead and (self.led or self.refused)):
            return float("-inf")
        return self.asked_at + min(LEAST_SECONDS * (1 << max(0, self.refused - 1)), MOST_SECONDS)

    def waits(self, now: float) -> bool:
        """Whether nothing can be asked now. When a time has to pass, that is not_before();
        everything else that is waited for comes as an event."""
        return self.asking is not None or self.renewing or now < self.not_before()

    def accepted(self, lane: Lane, *, compares: bool) -> None:
        """Its response was let in; what it `compares` is waited for: it may be another file."""
        if lane.segment == self.asking:
            self.dead, self.asking = False, self.asking if compares else None
        if lane.fresh:
            self.led = lane.elsewhere

    def served(self, lane: Lane) -> None:
        """It brought bytes."""
        if lane.link == self.number:
            self.refused = 0

    def over(self, lane: Lane) -> None:
        """It ended, was dropped, or has been compared."""
        if lane.segment == self.asking:
            self.asking = None

    def young(self, lane: Lane, now: float) -> bool:
        """Whether it asked the link in use, and that was good a moment ago."""
        good = lane.link == self.number and not self.dead
        return good and now < self.asked_at + LEAST_SECONDS

    def suspect(self, lane: Lane, *, refused: bool = False) -> bool:
        """What this lane got from a link makes it worth while to ask the URL as given again.
        Whether the link in use was not yet known to be dead; one that `refused` is for good."""
        if not self.led or self.dead or lane.link != self.number:
            return False
        self.dead, self.gone = True, refused
        return True

    def give_back(self, lane: Lane) -> bool:
        """The URL as given did not answer: the link may, when it is not gone for good."""
        back = self.led and self.dead and lane.fresh and not lane.elsewhere and not self.gone
        if back:
            self.dead = False
        return back

    def refuse(self, *, another: bool) -> bool:
        """The newest link serves nothing, and `another` URL is to be made, or the one as given
        asked again; False when that was too often."""
        self.dead, self.gone, self.due = True, True, another
        self.refused += 1
        return self.refused <= MOST_REFUSED
