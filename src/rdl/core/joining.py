"""Whether a further source may fill the row beside the one that it was begun with.

Validators speak for one URL. What belongs to the bytes themselves speaks for all: a digest
that decides about the whole, or the length and a validator that two copies of a file share.
"""

from __future__ import annotations

from rdl.core.representation import Representation


def strange(known: Representation, offered: Representation, *, decided: bool) -> str:
    """Why what it offers may be another file, or nothing. `decided`: a digest tells in the end."""
    if offered.total != known.total:
        size = "a length that it does not say" if offered.total is None else str(offered.total)
        return f"its file has {size} bytes, not {known.total}"
    if known.contradicts(offered.digests):
        return "it publishes another digest"
    hexes = {digest.hex for digest in known.digests}
    same = any(digest.hex in hexes for digest in offered.digests)
    same = same or (offered.strong_etag is not None and offered.etag == known.etag)
    dated = known.last_modified is not None and offered.last_modified == known.last_modified
    if decided or same or dated:
        return ""
    return "nothing shows that its file is the same; a digest would (--checksum)"
