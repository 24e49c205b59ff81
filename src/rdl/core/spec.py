"""One transfer as it was asked for, and what follows from that alone."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from rdl.core.blocks import Repeats
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.events import Planned, Result, Started
from rdl.core.gate import Ask
from rdl.core.published import Published, quarrel
from rdl.core.representation import Match, Representation, Trust
from rdl.core.row import ENDLESS, OVERLAP, Remembered, Row, span_of
from rdl.errors import ChangedError, DigestMismatch, PolicyError, RdlError
from rdl.options import LazyOptions, RangeSpec, TransferOptions

QUARREL_HINT = "--verify off, or a digest of yours, takes it without theirs"
PAGES = ("text/html", "application/xhtml+xml")


class Spec(Struct, frozen=True):
    """One transfer as asked for. `url` and `path` are for showing; `page_name`: the URL's own
    name is that of a web page; `existing`: validators of the published file, when it is whole."""

    url: str
    path: str
    options: TransferOptions = field(default_factory=TransferOptions)
    seed: int = 0
    page_name: bool = False
    remembered: Remembered | None = None
    existing: Representation | None = None
    dry_run: bool = False
    adopted: tuple[ByteRange, ...] = ()
    """These bytes of the part file are of unknown origin; only a digest of the whole can prove
    them, so they are kept only where one was given."""
    window: int | None = None
    """The bytes go to a reader in order, and nothing is fetched further ahead of it."""
    pinned: Representation | None = None
    """Another part of this was read before; a representation that differs is a change."""
    renewable: bool = False
    """There is a way to get a new URL when this one has had its time."""
    mirrors: tuple[str, ...] = ()
    """Further sources, redacted as `url`."""
    lazy: LazyOptions | None = None
    """Only what readers want is fetched."""
    volatile: bool = False
    """It is kept in memory, `lazy.keep` bytes at most."""
    lead: int = 0
    """Which of them the remembered row was begun with: 0 is `url`."""
    chunks: Chunks | None = None
    """All of the file; each is checked as a block is."""
    chunks_published: bool = False
    """A server says so, and not the user."""
    repeats: Repeats = field(default_factory=Repeats)
    """What is not fetched: the same bytes stand before it in the file, in whole chunks."""
    tiled: bool = False
    """Others receive it too, and are asked for what they have: it comes in an order of its own."""

    @property
    def adoptable(self) -> tuple[ByteRange, ...]:
        """Which of them, or of those an earlier run adopted, may be kept until the digest
        decides; none where they would be read before that."""
        proved = self.options.digests or self.chunks
        if not proved or self.options.range is not None or self.lazy:
            return ()
        return self.remembered.adopted if self.remembered else self.adopted

    @property
    def has_blocks(self) -> bool:
        """Whether each block of the whole can be checked."""
        known = self.options.blocks is not None or self.chunks is not None
        return known and self.options.range is None

    def blocks(self, total: int) -> Chunks | None:
        """Those of a file of `total` bytes; None where their digests are of another."""
        if self.chunks is not None:
            return self.chunks if self.chunks.span.stop == total else None
        known = self.options.blocks
        return Chunks.of_blocks(known, total) if known is not None else None


def objection(spec: Spec, representation: Representation) -> RdlError | None:
    """Why policy forbids this representation, if it does."""
    if spec.pinned is not None:
        match, known = spec.pinned.compare(representation), spec.pinned.trust is not Trust.T0
        if match is Match.DIFFERENT or (known and match is not Match.SAME):
            return ChangedError(spec.url, "the remote file changed while it was read")
    total, limit = representation.total, spec.options.max_filesize
    expected = spec.options.expected_size
    if expected is not None and total != expected:
        size = "a length that it does not say" if total is None else f"{total} bytes"
        return ChangedError(spec.path, f"the remote file has {size}, not {expected}")
    if spec.has_blocks and total is not None and spec.blocks(total) is None:
        return ChangedError(spec.path, f"digests of blocks do not fit {total} bytes")
    if limit is not None and total is not None and total > limit:
        return PolicyError(spec.path, f"{total} bytes are over --max-filesize")
    found = tuple(one for one in spec.options.digests if isinstance(one, Published))
    decided = len(found) < len(spec.options.digests) or spec.options.verify == "off"
    whole = spec.options.range is None
    if whole and not decided and (why := quarrel((*found, *representation.digests))):
        return DigestMismatch(spec.url, why, hint=QUARREL_HINT)
    wanted = spec.options.allow_html or spec.page_name or spec.options.digests
    if representation.media_type in PAGES and not wanted:
        why = "the server sent a web page instead of a file"
        hint = "a login or a portal may be in the way; --allow-html accepts the page"
        return PolicyError(spec.url, why, hint=hint)
    return None


def first_ask(
    row: Row | None,
    wanted: RangeSpec | None,
    adopted: Sequence[ByteRange] = (),
    most: int = OVERLAP,
) -> tuple[Ask, int]:
    """What to ask for first, or alone, and how many bytes at its start are here already.

    It is a gap (or the end, when all is here), or all that is wanted, or what follows the first
    adopted bytes, and some bytes (`most`) before it: by these it shows whether it is still the
    same file.
    """
    if row is None and adopted:
        overlap = min(len(adopted[0]), most)
        stop = adopted[1].start if len(adopted) > 1 else None
        return Ask(adopted[0].stop - overlap, stop), overlap
    if row is None:
        return (Ask(wanted.start, wanted.stop, wanted.suffix) if wanted else Ask()), 0
    gap = row.joint()
    overlap = min(most, row.overlap(gap.start))
    if not gap and not overlap:  # an empty file
        return Ask(ranged=False), 0
    return Ask(gap.start - overlap, None if gap.stop == ENDLESS else gap.stop), overlap


def plan(spec: Spec, representation: Representation, row: Row | None, ranges: bool) -> Planned:
    """What --dry-run tells."""
    span = span_of(spec.options.range, representation.total)
    size = len(span) if span and span.stop != ENDLESS else None
    present, trust = row.present_bytes if row else 0, representation.trust.value
    return Planned(spec.url, spec.path, size, present, ranges, trust, row is not None)


def started(spec: Spec, row: Row, reused: int, parallel: bool) -> Started:
    """What is told when the first response was accepted."""
    trust = row.representation.trust.value
    return Started(spec.url, spec.path, row.size, reused, trust, parallel)


def _present(result: Result, row: Row | None, representation: Representation) -> int:
    if row is None:
        return (representation.total or 0) if result.reason == "unchanged" else 0
    return row.present_bytes


def asked(row: Row | None, wanted: RangeSpec | None) -> tuple[int, int] | None:
    """First and last byte of the part that was wanted; None: the whole, or not known."""
    if row is None or wanted is None or not row.span or row.span.stop == ENDLESS:
        return None
    part = row.part
    return (part.start, part.stop - 1) if part else None


def about_row(
    result: Result, row: Row | None, existing: Representation | None, error: RdlError | None
) -> Result:
    """The result with what is here, and of what."""
    representation = row.representation if row else existing or Representation()
    kept = row is not None and not isinstance(error, DigestMismatch)
    return replace(
        result,
        bytes_total=row.size if row else representation.total,
        bytes_present=_present(result, row, representation) if kept or row is None else 0,
        trust=representation.trust.value,
    )
