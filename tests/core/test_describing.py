"""What header fields say of a file, and what is not believed."""

from __future__ import annotations

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.classify import Malformed, Partial, Unsatisfiable, Verdict, Whole
from rdl.core.describing import described, offered_name, serves_ranges
from rdl.core.fields import ResponseHead
from rdl.core.representation import Representation


def head(*fields: tuple[str, str], status: int = 206) -> ResponseHead:
    return ResponseHead(status, fields, url="http://h/a?token=secret")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("attachment; filename=a.iso", "a.iso"),
        ('attachment; filename="a b.iso"', "a b.iso"),
        ('inline;filename="a\\"b.iso"; size=3', 'a"b.iso'),
        ("attachment; filename=a.iso; filename*=UTF-8''%e2%82%ac.iso", "€.iso"),
        ("attachment; filename*=utf-8'en'x%20y; filename=a", "x y"),
        ("attachment; filename=a; filename*=koi8-r''x", "a"),
        ('attachment; filename="â\x82¬.iso"', "€.iso"),
        ("attachment", None),
        ("filename=a.iso", None),
        ('attachment; filename="../a"', None),
        ("attachment; filename*=UTF-8''..%2Fa", None),
        ("attachment; filename*=UTF-8''a%00b", None),
        ('attachment; filename=".bashrc"', None),
        ('attachment; filename="CON.txt"', None),
        ("attachment; filename=a; filename=b", None),
        ('attachment; filename="a', None),
        ("attachment; filename=a b", None),
    ],
)
def test_only_a_clean_name_is_offered(text: str, name: str | None) -> None:
    assert offered_name(head(("content-disposition", text))) == name


def test_two_dispositions_offer_none() -> None:
    field = ("content-disposition", "attachment; filename=a")
    assert offered_name(head(field, field)) is None
    assert offered_name(head()) is None


NOTHING = Representation(5)
PART = Partial(ByteRange(0, 1), NOTHING)
WHOLE = Whole(NOTHING)
OFFER, DENY = ("accept-ranges", "bytes"), ("accept-ranges", "none")


@pytest.mark.parametrize(
    ("status", "fields", "first", "again", "expected"),
    [
        (206, (), PART, False, True),
        (206, (DENY,), WHOLE, False, True),
        (200, (), WHOLE, False, False),
        (200, (OFFER,), WHOLE, False, None),
        (200, (DENY,), WHOLE, False, False),
        (200, (OFFER,), Unsatisfiable(0), True, None),
        (200, (DENY,), Unsatisfiable(0), True, False),
        (200, (), Malformed("x"), True, None),
    ],
)
def test_ranges_are_told_by_what_was_answered(
    status: int,
    fields: tuple[tuple[str, str], ...],
    first: Verdict,
    again: bool,
    expected: bool | None,
) -> None:
    answer = head(*fields, status=status)
    assert serves_ranges(answer, first, asked_again=again) is expected


def test_urls_are_redacted_and_names_clean() -> None:
    found = described("http://u:p@h/x%2Fy?sig=secret#frag", head(), NOTHING, True)
    assert (found.url, found.final_url) == ("http://h/x%2Fy?sig=***", "http://h/a?token=***")
    assert found.filename is None
    assert described("http://h/a.iso", head(), NOTHING, True).filename == "a.iso"
