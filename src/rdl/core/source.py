"""The sources of a row, as the heart sees them: the URL that was given, and its mirrors.

Each has its own validators, limits, patience and link. One leads: the row was begun with its
representation. Another joins when it shows that it has the same bytes: core/joining.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from rdl.core.byterange import ByteRange, joined
from rdl.core.events import Share
from rdl.core.identity import NOTHING, Dislikes
from rdl.core.lanes import Lane, Like
from rdl.core.link import Link
from rdl.core.pace import Growth, Patience
from rdl.core.representation import Representation
from rdl.core.spec import Spec
from rdl.errors import RdlError

MOST_AT_ONCE = 4
"""So many sources are in use at one time."""


class Source(Struct):
    """A place that can fill the row. `url` is redacted; `joined`: its bytes were compared with
    those that are here, or began the row; `known`: the representation that it sends."""

    number: int
    url: str
    patience: Patience
    growth: Growth
    like: Like
    renewable: bool = False
    found: bool = False
    """Named by a server, not by the user: used only where a digest decides."""
    link: Link = field(default_factory=Link)
    known: Representation | None = None
    joined: bool = False
    doubted: bool = False
    """A new link of it is to be compared first."""
    dislikes: Dislikes = NOTHING
    ranges: bool = False
    proved: bool = False
    """It has sent parts;"""
    ignored: bool = False
    """or the whole where a part was asked for."""
    growing: bool = False
    strikes: int = 0
    misled: int = 0
    """Parts that were not what it said of them."""
    cut_early: int = 0
    gained: int = 0
    """Bytes in this run."""
    brought: list[ByteRange] = field(default_factory=list)
    """What lanes brought that have ended."""
    aside: bool = False
    """Nothing shows that it has the same: used when no other is left."""
    left: RdlError | None = None
    """Why it is not used any more."""

    def forget(self) -> None:
        """Another version is begun: nothing is known of what it has."""
        self.known, self.joined, self.ranges, self.brought = None, False, False, []
        self.doubted = False

    def ended(self, lane: Lane, now: float) -> None:
        """A lane of it is over."""
        self.bring(lane.brought)
        self.like = Like.of(lane, self.like.rate, now)

    def bring(self, range: ByteRange) -> None:
        """These bytes are of it."""
        if self.brought and self.brought[-1].stop == range.start:
            range = ByteRange(self.brought.pop().start, range.stop)
        if range:
            self.brought.append(range)

    def lose(self, range: ByteRange) -> None:
        """These bytes are to come again."""
        self.brought = [part for one in self.brought for part in one.without(range)]

    def pauses(self) -> tuple[float, float]:
        """When it may be asked again, after failures and for a new link."""
        return self.patience.not_before, self.link.not_before()

    @property
    def not_before(self) -> float:
        return max(self.pauses())


class Sources:
    """All of them. `lead`: the one whose representation the row has."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._all: list[Source] = []
        for url in (spec.url, *spec.mirrors):
            self.add(url)
        self.given = self._all[0]
        """The URL as given."""
        self.given.renewable = spec.renewable
        self.lead = self._all[spec.lead]

    def __iter__(self) -> Iterator[Source]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def add(self, url: str, *, found: bool = False) -> Source:
        """One more."""
        options, number = self._spec.options, len(self._all)
        patience = Patience(options.retry, options.retry_max_time, self._spec.seed + number)
        growth = Growth(options.ceiling, options.connections)
        self._all.append(Source(number, url, patience, growth, Like(number, 0.0), found=found))
        return self._all[-1]

    def of(self, lane: Lane) -> Source:
        """The one that this lane asked."""
        return self._all[lane.source]

    def number(self, number: int) -> Source:
        """The one of this number."""
        return self._all[number]

    def usable(self) -> list[Source]:
        """Those that were not left: the lead, then those in use, then the others."""
        if len(self._all) == 1:
            return self._all
        use = [one for one in self._all if one.left is None]
        use = [one for one in use if not one.aside] or use
        return sorted(use, key=lambda one: (one is not self.lead, not one.joined, one.number))

    def besides(self, source: Source) -> list[Source]:
        """The usable others."""
        return [one for one in self._all if one is not source and one.left is None]

    @property
    def believed(self) -> Source:
        """The one whose bytes count where two differ."""
        return self.given if self.given.left is None else self.lead

    def put_aside(self, source: Source) -> bool:
        """Whether there is another one to wait for."""
        source.aside = any(not one.aside for one in self.besides(source))
        return source.aside

    @property
    def ranges(self) -> bool:
        """Whether one in use sends parts."""
        if len(self._all) == 1:  # it is asked several times after each event
            return self.lead.ranges and self.lead.joined and self.lead.left is None
        return any(one.ranges and one.joined and one.left is None for one in self._all)

    def share(self, source: Source, ready: Sequence[Source], most: int | None) -> int:
        """How many of `most` connections in all are this one's, of those that are `ready`; also
        while some are not in use yet: those that came first would keep theirs."""
        if most is None or len(self._all) == 1:
            return self._spec.options.ceiling if most is None else most
        use = [one for one in ready if one.ranges or not one.joined]
        use = sorted(use, key=lambda one: not one.joined)[:MOST_AT_ONCE]
        return (most + len(use) - 1 - use.index(source)) // len(use) if source in use else 0

    def level(self, most: int | None) -> int:
        """How many connections there may be."""
        use = [one for one in self._all if one.joined and one.left is None]
        total = sum(one.growth.level for one in use) or self.given.growth.level
        return total if most is None else min(most, total)

    @property
    def alike(self) -> bool:
        """Whether one strong validator speaks for all that came: of one source, or the same."""
        tags = {one.known.etag if one.known else None for one in self._all if one.gained}
        return len(tags) < 2

    def shares(self) -> tuple[Share, ...]:
        """What each of several brought."""
        if len(self._all) == 1:
            return ()
        return tuple(
            Share(
                one.url,
                one.gained,
                tuple((run.start, run.stop - 1) for run in joined(sorted(one.brought))),
                str(one.left) if one.left else "",
            )
            for one in self._all
        )

    def blame(self, error: RdlError) -> RdlError:
        """The error to end with when all have failed: that of the URL as given."""
        return self.given.left or error
