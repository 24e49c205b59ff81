"""Preconditions: what is sent for which knowledge, and that weak validators never are."""

from __future__ import annotations

import pytest

from rdl.core.identity import Dislikes, resume_headers, unchanged_headers, worker_headers
from rdl.core.representation import Representation

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
STRONG = Representation(9, '"a"', DATE, True)
DATED = Representation(9, None, DATE, True)
BOTH = Representation(9, 'W/"a"', DATE, True)
WEAK = Representation(9, 'W/"a"', DATE, False)
ENDLESS = Representation(None, '"a"', DATE, True)


@pytest.mark.parametrize(
    ("known", "resume", "worker"),
    [
        (STRONG, (("If-Range", '"a"'),), (("If-Match", '"a"'),)),
        (DATED, (("If-Range", DATE),), (("If-Unmodified-Since", DATE),)),
        (BOTH, (("If-Range", DATE),), (("If-Unmodified-Since", DATE),)),
        (WEAK, (), ()),
        (ENDLESS, (), ()),
        (Representation(9), (), ()),
    ],
)
def test_what_continues_and_what_joins(
    known: Representation, resume: object, worker: object
) -> None:
    assert resume_headers(known) == resume
    assert worker_headers(known) == worker


def test_what_an_origin_does_not_understand_is_not_sent() -> None:
    assert resume_headers(STRONG, Dislikes(if_range=True)) == ()
    assert worker_headers(STRONG, Dislikes(if_match=True)) == ()


@pytest.mark.parametrize(
    ("existing", "sent"),
    [
        (STRONG, (("If-None-Match", '"a"'),)),
        (WEAK, (("If-None-Match", 'W/"a"'),)),
        (DATED, (("If-Modified-Since", DATE),)),
        (Representation(9), ()),
    ],
)
def test_whether_a_published_file_is_current(existing: Representation, sent: object) -> None:
    assert unchanged_headers(existing) == sent
