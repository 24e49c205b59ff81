"""RFC 9110 sections 13.1 and 13.2.2, row by row, and what makes no sense."""

from __future__ import annotations

import itertools

import pytest

from rdl.core.conditions import Validators, range_applies, unmet
from rdl.core.fields import format_http_date
from tests.support.timing import seconds

THEN, NOW = 1e9, 1.7e9
AT, BEFORE, AFTER = (format_http_date(THEN + by) or "" for by in (0, -1, 1))
STRONG, WEAK = Validators('"v"', THEN + 0.7), Validators('W/"v"', THEN)
DATED, BARE = Validators(None, THEN), Validators()

NAMED = ["*", '"v"', '"u", "v"', ' , "v" ,, "u"', '"a,b","v"', "\t*\t"]
NOT_NAMED = ['"u"', "", ",", "v", '"v', '"v" "u"', '"u"x, "v"', "**", '*, "v"', '"V"']


@pytest.mark.parametrize("tags", NAMED)
def test_a_list_that_names_it(tags: str) -> None:
    assert unmet({"if-match": tags}, STRONG) == 0
    assert unmet({"if-none-match": tags}, STRONG) == 304


@pytest.mark.parametrize("tags", NOT_NAMED)
def test_a_list_that_does_not(tags: str) -> None:
    assert unmet({"if-match": tags}, STRONG) == 412
    assert unmet({"if-none-match": tags}, STRONG) == 0


@pytest.mark.parametrize(
    ("has", "tags", "match", "none"),
    [
        (STRONG, 'W/"v"', 412, 304),
        (WEAK, 'W/"v"', 412, 304),
        (WEAK, '"v"', 412, 304),
        (WEAK, "*", 0, 304),
        (BARE, '"v"', 412, 0),
        (BARE, "*", 0, 304),
        (STRONG, 'w/"v"', 412, 0),
    ],
)
def test_strong_and_weak_comparison(has: Validators, tags: str, match: int, none: int) -> None:
    assert unmet({"if-match": tags}, has) == match
    assert unmet({"if-none-match": tags}, has) == none


DATES = {AT: (0, 304), BEFORE: (412, 0), AFTER: (0, 304), "yesterday": (0, 0), "": (0, 0)}


@pytest.mark.parametrize("has", [STRONG, DATED], ids=["with a fraction", "whole"])
@pytest.mark.parametrize(("date", "ends"), DATES.items())
def test_dates_are_compared_by_whole_seconds(
    has: Validators, date: str, ends: tuple[int, int]
) -> None:
    assert unmet({"if-unmodified-since": date}, has) == ends[0]
    assert unmet({"if-modified-since": date}, has) == ends[1]
    assert unmet({"if-unmodified-since": date, "if-modified-since": date}, BARE) == 0


def test_two_dates_are_none() -> None:
    assert unmet({"if-modified-since": f"{AFTER}, {AFTER}"}, DATED) == 0
    assert unmet({"if-unmodified-since": f"{BEFORE}, {BEFORE}"}, DATED) == 0


MATCH = {None: None, '"v"': True, '"u"': False}
SINCE = {None: None, AFTER: True, BEFORE: False}


@pytest.mark.parametrize(
    ("match", "unmodified", "none", "modified"), list(itertools.product(MATCH, SINCE, MATCH, SINCE))
)
def test_the_order_of_section_13_2_2(
    match: str | None, unmodified: str | None, none: str | None, modified: str | None
) -> None:
    fields = {
        "if-match": match,
        "if-unmodified-since": unmodified,
        "if-none-match": none,
        "if-modified-since": modified,
    }
    first = MATCH[match] if match else SINCE[unmodified]
    second = MATCH[none] if none else SINCE[modified]
    expected = 412 if first is False else 304 if second is True else 0
    assert unmet({name: text for name, text in fields.items() if text}, STRONG) == expected


@pytest.mark.parametrize(
    ("has", "given", "applies"),
    [
        (STRONG, '"v"', True),
        (STRONG, '"u"', False),
        (STRONG, 'W/"v"', False),
        (WEAK, 'W/"v"', False),
        (WEAK, '"v"', False),
        (BARE, '"v"', False),
        (STRONG, '"v", "v"', False),
        (STRONG, "*", False),
        (STRONG, "", False),
        (STRONG, AT, True),
        (DATED, AT, True),
        (DATED, AFTER, False),
        (DATED, BEFORE, False),
        (BARE, AT, False),
        (Validators(None, NOW), format_http_date(NOW), False),
        (Validators(None, NOW - 1), format_http_date(NOW - 1), True),
    ],
)
def test_if_range(has: Validators, given: str, applies: bool) -> None:
    assert range_applies({"if-range": given}, has, NOW) is applies
    assert range_applies({}, has, NOW)


@pytest.mark.parametrize("text", ['"v",', " ", '"', "\t,", 'W/"', '"v" ', ",,x"])
def test_long_lists_take_linear_time(text: str) -> None:
    asked = {"if-none-match": text * (100_000 // len(text)) + "x"}
    assert unmet(asked, STRONG) == 0
    assert seconds(unmet, asked, STRONG) < 0.5


def test_a_time_without_a_date_is_no_validator() -> None:
    assert Validators(None, 1e20).date is None
    assert unmet({"if-modified-since": AFTER}, Validators(None, 1e20)) == 0
