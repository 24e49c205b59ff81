"""What Link fields (RFC 8288) say of a file's mirrors (RFC 6249).

A link that breaks the grammar, is of another resource, or leads elsewhere than by http is
passed over; nothing here fails, and time grows with the text and no faster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urljoin, urlsplit

from rdl.core.metalink import LAST

MOST_TEXT = 64 << 10
"""Characters of all fields together; a field beyond is passed over."""
MOST = 32
"""Mirrors."""

_LINK = re.compile(r'(?:<[^<>]*+>|"(?:[^"\\]|\\.)*+"?|[^,"])++', re.DOTALL)
_TARGET = re.compile(r"[ \t]*+<([^<>]*+)>[ \t]*+")
_PARAMETER = re.compile(
    r";[ \t]*+(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)[ \t]*+"
    r'(?:=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s",;]++))[ \t]*+)?+)?+',
    re.DOTALL,
)
_PRIORITY = re.compile(r"[0-9]{1,6}")


def mirrors_in(values: Sequence[str], base: str) -> tuple[str, ...]:
    """URLs of the same bytes, best first, that the Link fields `values` of the response from the
    URL `base` say."""
    found: list[tuple[int, str]] = []
    for reference, parameters in _links(values):
        relations = parameters.get("rel", "").lower().split()
        if "duplicate" in relations and "anchor" not in parameters:  # it is of another resource
            found.append((_priority(parameters.get("pri", "")), reference))
    best = (reference for _, reference in sorted(found, key=lambda one: one[0]))
    return _resolved(base, best)


def _links(values: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each link's reference and its parameters; of one given twice the first counts."""
    room = MOST_TEXT
    for text in values:
        if len(text) > room:
            continue
        room -= len(text)
        for found in _LINK.finditer(text):
            target = _TARGET.match(found[0])
            parameters = _parameters(found[0][target.end() :]) if target else None
            if target and parameters is not None:
                yield target[1], parameters


def _parameters(text: str) -> dict[str, str] | None:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        one = _PARAMETER.match(text, at)
        if one is None:
            return None
        at = one.end()
        if one[1]:
            value = one[3] or re.sub(r"\\(.)", r"\1", one[2] or "", flags=re.DOTALL)
            found.setdefault(one[1].lower(), value)
    return found


def _priority(text: str) -> int:
    said = int(text) if _PRIORITY.fullmatch(text) else 0
    return said or LAST


def _resolved(base: str, references: Iterable[str]) -> tuple[str, ...]:
    """The first usable ones, each once, without that of the response itself."""
    itself = base.partition("#")[0]
    urls = dict.fromkeys(_absolute(base, one) for one in references)
    return tuple(url for url in urls if url and url != itself)[:MOST]


def _absolute(base: str, reference: str) -> str:
    """The URL, http or https, without a fragment; empty: it cannot be used."""
    if not reference.isascii() or not reference.isprintable() or " " in reference:
        return ""
    try:
        url = urljoin(base, reference).partition("#")[0]
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    usable = parts.scheme in ("http", "https") and parts.hostname and port != 0
    return url if usable and "@" not in parts.netloc else ""
