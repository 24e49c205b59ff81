"""Bytes that are on no server are answered for as RFC 9110 tells a server to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.byterange import ByteRange
from rdl.core.classify import Context, Partial, Unchanged, Unsatisfiable, Whole, classify
from rdl.core.fields import format_http_date
from rdl.core.gate import Ask
from rdl.core.identity import resume_headers, unchanged_headers, worker_headers
from rdl.core.representation import Representation, Trust
from rdl.transport.answering import Selected, answer
from rdl.transport.base import Request

THEN, NOW = 1e9, 1.7e9
DATE, LATER = format_http_date(THEN), format_http_date(THEN + 1)
EARLIER = format_http_date(THEN - 1)
BOTH = Selected(100, '"v"', THEN)
DATED = Selected(100, None, THEN)
BARE = Selected(100)
PART = {"Range": "bytes=10-19"}


@pytest.mark.parametrize(
    ("has", "fields", "status", "body"),
    [
        (BOTH, {}, 200, (0, 100)),
        (BOTH, PART, 206, (10, 20)),
        (BOTH, {"Range": "bytes=90-"}, 206, (90, 100)),
        (BOTH, {"Range": "bytes=90-500"}, 206, (90, 100)),
        (BOTH, {"Range": "bytes=-7"}, 206, (93, 100)),
        (BOTH, {"Range": "bytes=-700"}, 206, (0, 100)),
        (BOTH, {"Range": "bytes=-0"}, 416, (0, 0)),
        (BOTH, {"Range": "bytes=100-"}, 416, (0, 0)),
        (Selected(0), {"Range": "bytes=0-"}, 416, (0, 0)),
        (Selected(0), {}, 200, (0, 0)),
        (BOTH, {"Range": "bytes=5-4"}, 200, (0, 100)),
        (BOTH, {"Range": "bytes=0-1,4-5"}, 200, (0, 100)),
        (BOTH, {"Range": "lines=0-1"}, 200, (0, 100)),
        # If-Match, If-Unmodified-Since
        (BOTH, PART | {"If-Match": '"v"'}, 206, (10, 20)),
        (BOTH, PART | {"If-Match": '"u", "v"'}, 206, (10, 20)),
        (BOTH, PART | {"If-Match": "*"}, 206, (10, 20)),
        (BOTH, PART | {"If-Match": '"u"'}, 412, (0, 0)),
        (BARE, PART | {"If-Match": '"u"'}, 412, (0, 0)),
        (DATED, PART | {"If-Unmodified-Since": DATE}, 206, (10, 20)),
        (DATED, PART | {"If-Unmodified-Since": EARLIER}, 412, (0, 0)),
        (DATED, PART | {"If-Unmodified-Since": "yesterday"}, 206, (10, 20)),
        (BOTH, PART | {"If-Match": '"v"', "If-Unmodified-Since": EARLIER}, 206, (10, 20)),
        # If-None-Match, If-Modified-Since
        (BOTH, {"If-None-Match": '"v"'}, 304, (0, 0)),
        (BOTH, {"If-None-Match": '"u"'}, 200, (0, 100)),
        (BOTH, {"If-None-Match": '"u"', "If-Modified-Since": LATER}, 200, (0, 100)),
        (DATED, {"If-Modified-Since": DATE}, 304, (0, 0)),
        (DATED, {"If-Modified-Since": EARLIER}, 200, (0, 100)),
        (BARE, {"If-Modified-Since": LATER}, 200, (0, 100)),
        # If-Range
        (BOTH, PART | {"If-Range": '"v"'}, 206, (10, 20)),
        (BOTH, PART | {"If-Range": '"u"'}, 200, (0, 100)),
        (BOTH, PART | {"If-Range": 'W/"v"'}, 200, (0, 100)),
        (DATED, PART | {"If-Range": DATE}, 206, (10, 20)),
        (DATED, PART | {"If-Range": LATER}, 200, (0, 100)),
        (BARE, PART | {"If-Range": DATE}, 200, (0, 100)),
        (Selected(100, None, NOW), PART | {"If-Range": format_http_date(NOW)}, 200, (0, 100)),
    ],
)
def test_the_table(
    has: Selected, fields: dict[str, str], status: int, body: tuple[int, int]
) -> None:
    head, range = answer(Request("file:///f", tuple(fields.items())), has, NOW)
    assert (head.status, range) == (status, ByteRange(*body))
    assert head.content_length == len(range) == int(head.get("content-length") or -1)
    assert head.get("content-range") == {
        206: f"bytes {body[0]}-{body[1] - 1}/100",
        416: f"bytes */{has.size}",
    }.get(status)


@given(
    size=st.integers(0, 60),
    start=st.integers(0, 70),
    stop=st.none() | st.integers(1, 80),
    suffix=st.none() | st.integers(1, 70),
    ranged=st.booleans(),
    etag=st.sampled_from([None, '"v"']),
    modified=st.sampled_from([None, THEN, NOW - 0.5, 1e20, -1e20]),
    ours=st.sampled_from([resume_headers, worker_headers, unchanged_headers, None]),
)
def test_the_gate_lets_in_what_was_asked_for(
    *, size, start, stop, suffix, ranged, etag, modified, ours
) -> None:
    """Whatever the heart may ask for, and under its own preconditions."""
    if stop is not None and stop <= start:
        return
    ask, has = Ask(start, stop, suffix, ranged), Selected(size, etag, modified)
    known = Representation(size, etag, format_http_date(modified or THEN), modified_strong=True)
    known = known if etag or modified in (THEN, NOW - 0.5) else Representation(size)
    headers = ours(known) if ours else ()
    if ask.range_field:
        headers = (("Range", ask.range_field), *headers)
    head, body = answer(Request("file:///f", headers), has, NOW)
    verdict = classify(ask, head, Context(existing=known if ours is unchanged_headers else None))
    match verdict:
        case Whole():
            assert body == ByteRange(0, size)
        case Partial():
            assert body == verdict.range
        case Unsatisfiable():
            assert verdict.total == size
            assert ranged
            assert not size or (suffix is None and start >= size)
        case _:
            assert isinstance(verdict, Unchanged)
            assert ours is unchanged_headers
            assert known.trust is not Trust.T0
