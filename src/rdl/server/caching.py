"""What the upstream lets a cache do with an answer (RFC 9111): sans-IO.

One cache for everybody is a shared one; one whose readers all know a token is theirs alone.
What cannot be understood is not kept, or asked after each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from rdl.core.fields import parse_http_date
from rdl.options import Head

NOT_SAID = 60.0
"""Seconds for which an answer that says nothing of its freshness serves who joins it."""
MOST_DIRECTIVES = 20
_PASSED = re.compile(r"[a-z0-9-]{1,40}(?:=[a-z0-9.-]{1,40})?")
_NUMBER = re.compile("[0-9]{1,10}")
_WHO = frozenset(("private", "public", "s-maxage"))
"""What speaks of whose cache it is."""


class Caching(Struct, frozen=True):
    """`refusal`: why it may not be kept, empty where it may; `private`: by a cache of one alone;
    `lifetime`: seconds for which it is fresh, None: nothing is said; `age`: seconds it had when it
    came; `said`: the directives, to be passed on."""

    refusal: str = ""
    private: bool = False
    lifetime: float | None = None
    age: float = 0.0
    said: tuple[str, ...] = ()

    def why_not(self, *, shared: bool) -> str:
        """Why a cache may not keep it; `shared`: one for everybody. Empty where it may."""
        if shared and self.private and not self.refusal:
            return "Cache-Control: private"
        return self.refusal

    def serves(self, seconds: float) -> bool:
        """Whether it may be given to one who comes so long after it came, and nobody is asked."""
        return self.lasts(seconds) if self.lifetime is not None else seconds < NOT_SAID

    def lasts(self, seconds: float) -> bool:
        """Whether it says itself that it is fresh then."""
        return self.lifetime is not None and self.age + seconds < self.lifetime

    def control(self, *, shared: bool) -> str | None:
        """The Cache-Control for readers."""
        said = self.said
        if not shared:
            said = ("private", *(one for one in said if one.partition("=")[0] not in _WHO))
        return ", ".join(said) or None


def caching_of(head: Head, now: float) -> Caching:
    """What a response says that came at `now` (seconds since the epoch)."""
    found: dict[str, list[str | None]] = {}
    whole = ", ".join(head.all("cache-control"))
    directives = list(_directives(whole))
    for name, value in directives:
        found.setdefault(name, []).append(value)
    refusal = "Cache-Control: no-store" if "no-store" in found else ""
    if any("*" in _names(one) for one in head.all("vary")):
        refusal = refusal or "Vary: *"
    return Caching(
        refusal,
        "private" in found,
        _lifetime(found, head),
        _age(head, now),
        tuple(_passed(directives)),
    )


def _directives(text: str) -> Iterator[tuple[str, str | None]]:
    """Names in lower case, with the values. Commas within quotes divide, too: so what stands there
    can only make it stricter, or name a time besides others."""
    for one in text.split(",")[:MOST_DIRECTIVES]:
        name, equals, value = one.strip(" \t").partition("=")
        yield name.strip(" \t").lower(), value.strip(' \t"') if equals else None
    if text.count(",") >= MOST_DIRECTIVES:
        yield "no-store", None


def _passed(directives: list[tuple[str, str | None]]) -> Iterator[str]:
    """No name twice, and nothing odd; which fields `private` and `no-cache` name is not passed on,
    so that they hold for the whole."""
    seen = set[str]()
    for name, value in directives:
        alone = value is None or name in ("private", "no-cache")
        text = name if alone else f"{name}={value}".lower()
        if name not in seen and _PASSED.fullmatch(text):
            yield text
        seen.add(name)


def _lifetime(found: dict[str, list[str | None]], head: Head) -> float | None:
    """Of several the least, of what is no number none; `no-cache` leaves none."""
    if "no-cache" in found:
        return 0.0
    for name in ("s-maxage", "max-age"):
        if name in found:
            return min(_seconds(value) for value in found[name])
    expires = head.all("expires")
    if not expires:
        return None
    times = [parse_http_date(one) for one in expires]
    began = parse_http_date(_first(head, "date"))
    if began is None or None in times:
        return 0.0
    return max(0.0, min(one for one in times if one is not None) - began)


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else 0.0


def _age(head: Head, now: float) -> float:
    """RFC 9111 section 4.2.3, without the time that the request took."""
    began = parse_http_date(_first(head, "date"))
    apparent = 0.0 if began is None else max(0.0, now - began)
    return max(apparent, *(_seconds(one.strip()) for one in head.all("age")), 0.0)


def _first(head: Head, name: str) -> str | None:
    return next(iter(head.all(name)), None)


def _names(text: str) -> list[str]:
    return [one.strip(" \t").lower() for one in text.split(",")]
