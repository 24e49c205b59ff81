"""What RFC 9111 lets a cache do with an answer; strict where it is not understood."""

from __future__ import annotations

import pytest

from rdl.core.fields import ResponseHead
from rdl.server.caching import NOT_SAID, Caching, caching_of

NOW = 784111777.0
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def of(*fields: tuple[str, str]) -> Caching:
    return caching_of(ResponseHead(200, fields), NOW)


def control(text: str) -> Caching:
    return of(("cache-control", text))


@pytest.mark.parametrize(
    ("text", "shared", "alone"),
    [
        ("", "", ""),
        ("public, max-age=60", "", ""),
        ("private", "Cache-Control: private", ""),
        ("max-age=60 , PRIVATE", "Cache-Control: private", ""),
        ('private="Set-Cookie, X", max-age=5', "Cache-Control: private", ""),
        ("no-store", "Cache-Control: no-store", "Cache-Control: no-store"),
        ("No-Store=1, private", "Cache-Control: no-store", "Cache-Control: no-store"),
        (",," * 20, "Cache-Control: no-store", "Cache-Control: no-store"),
    ],
)
def test_what_may_be_kept(text: str, shared: str, alone: str) -> None:
    found = control(text)
    assert (found.why_not(shared=True), found.why_not(shared=False)) == (shared, alone)


def test_several_fields_are_one() -> None:
    found = of(("cache-control", "max-age=9"), ("cache-control", "private"))
    assert found.private
    assert found.lifetime == 9


@pytest.mark.parametrize(
    ("text", "why"),
    [("*", "Vary: *"), ("Accept-Encoding, *", "Vary: *"), ("Accept-Encoding, Origin", "")],
)
def test_what_varies_with_nobody_knows_what_is_not_kept(text: str, why: str) -> None:
    assert of(("vary", text)).why_not(shared=False) == why


@pytest.mark.parametrize(
    ("text", "lifetime"),
    [
        ("max-age=60", 60),
        ('max-age="60"', 60),
        ("max-age=60, s-maxage=5", 5),
        ("max-age=60, max-age=7", 7),
        ("max-age=60, no-cache", 0),
        ('no-cache="X", max-age=3', 0),
        ("max-age=-1", 0),
        ("max-age", 0),
        ("max-age=1e9", 0),
        ("must-revalidate", None),
    ],
)
def test_how_long_it_is_fresh(text: str, lifetime: float | None) -> None:
    assert control(text).lifetime == lifetime


@pytest.mark.parametrize(
    ("expires", "date", "lifetime"),
    [
        ("Sun, 06 Nov 1994 08:50:37 GMT", DATE, 60),
        ("Sun, 06 Nov 1994 08:00:00 GMT", DATE, 0),
        ("0", DATE, 0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", "gone", 0),
    ],
)
def test_expires(expires: str, date: str, lifetime: float) -> None:
    assert of(("expires", expires), ("date", date)).lifetime == lifetime
    fields = ("expires", expires), ("date", date), ("cache-control", "max-age=4")
    assert of(*fields).lifetime == 4


def test_age() -> None:
    early = ("date", "Sun, 06 Nov 1994 08:49:07 GMT")
    assert of(early).age == 30
    assert of(early, ("age", "50")).age == 50
    assert of(("age", "-3")).age == of().age == 0


def test_who_comes_is_served_while_it_is_fresh() -> None:
    fresh, silent = of(("cache-control", "max-age=60"), ("age", "20")), of()
    assert fresh.serves(39)
    assert fresh.lasts(39)
    assert not fresh.serves(40)
    assert silent.serves(NOT_SAID - 1)
    assert not silent.lasts(0)
    assert not control("no-cache").serves(0)


@pytest.mark.parametrize(
    ("text", "shared", "alone"),
    [
        ("", None, "private"),
        ("max-age=5, must-revalidate", "max-age=5, must-revalidate", None),
        ("public, s-maxage=5, max-age=3", "public, s-maxage=5, max-age=3", "private, max-age=3"),
        ('no-cache="X", max-age=3, max-age=4', "no-cache, max-age=3", None),
        ("stale-if-error=60, a b, x=\x01, e=y;z", "stale-if-error=60", None),
    ],
)
def test_what_readers_are_told(text: str, shared: str | None, alone: str | None) -> None:
    found = control(text)
    assert found.control(shared=True) == shared
    alone = alone or f"private, {shared}"
    assert found.control(shared=False) == alone
