"""Whether a further source may fill the row beside the one that it was begun with.

Validators speak for one URL. What belongs to the bytes themselves speaks for all: a digest
that decides about the whole, or the length and a validator that two copies of a file share.
"""

from __future__ import annotations

from rdl.core.representation import Match, Representation, Trust
from rdl.core.source import Source

UNKNOWN = "nothing shows that its file is the same; a digest would (--checksum)"


def differs(known: Representation, offered: Representation) -> str:
    """Why what it offers is another file, or nothing."""
    if offered.total != known.total:
        size = "a length that it does not say" if offered.total is None else str(offered.total)
        return f"its file has {size} bytes, not {known.total}"
    return "it publishes another digest" if known.contradicts(offered.digests) else ""


def vouched(known: Representation, offered: Representation) -> bool:
    """Whether something that belongs to the bytes, or that copies of a file keep, is the same."""
    hexes = {digest.hex for digest in known.digests}
    if any(digest.hex in hexes for digest in offered.digests):
        return True
    if offered.strong_etag is not None and offered.etag == known.etag:
        return True
    return known.last_modified is not None and offered.last_modified == known.last_modified


def speaks(known: Representation, offered: Representation, source: Source, lead: Source) -> bool:
    """Whether what the index names speaks for this of `source` too, in a run without a digest."""
    if known.trust is Trust.T0:
        return True  # it speaks for nothing
    if source is lead:
        return known.compare(offered) is Match.SAME
    return not source.found and vouched(known, offered)
