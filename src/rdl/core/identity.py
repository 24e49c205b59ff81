"""Which preconditions a request carries, so that parts of two versions never meet.

One open stream that may turn into a restart sends If-Range (a 200 is then usable at once); a
further worker sends If-Match, whose 412 has no body (RFC 9110 sections 13.1.1-13.1.5).
"""

from __future__ import annotations

from msgspec import Struct

from rdl.core.representation import Representation, Trust

Headers = tuple[tuple[str, str], ...]


class Dislikes(Struct, frozen=True):
    """What an origin was seen not to understand; nothing of it is sent again."""

    if_match: bool = False
    if_range: bool = False


NOTHING = Dislikes()


def resume_headers(known: Representation, dislikes: Dislikes = NOTHING) -> Headers:
    """For the request that continues an earlier run. Weak validators are never sent."""
    if dislikes.if_range or known.trust is Trust.T0:
        return ()
    validator = known.strong_etag or known.last_modified
    return (("If-Range", validator),) if validator else ()


def worker_headers(known: Representation, dislikes: Dislikes = NOTHING) -> Headers:
    """For a further range while others run."""
    if dislikes.if_match or known.trust is Trust.T0:
        return ()
    if known.strong_etag:
        return (("If-Match", known.strong_etag),)
    return (("If-Unmodified-Since", known.last_modified),) if known.last_modified else ()


def unchanged_headers(existing: Representation) -> Headers:
    """For the request that asks whether the published file is still current."""
    if existing.etag:
        return (("If-None-Match", existing.etag),)
    if existing.last_modified:
        return (("If-Modified-Since", existing.last_modified),)
    return ()
