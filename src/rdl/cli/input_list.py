"""The list of `-i`: one URL a line, and what belongs to it (`out=b.iso`, `checksum=sha256:...`)
after tabs or on indented lines.

Text in, entries out; whatever is not understood is an error that names file and line.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from rdl.cli.values import parse_header, parse_mirror, parse_url
from rdl.core.file_url import is_file_url
from rdl.core.text import redact_url, safe_text
from rdl.errors import UsageError
from rdl.options import BlockDigests, RangeSpec

MAX_LIST = 64 << 20
"""Bytes; a longer list is refused."""
_KNOWN = "out=, dir=, checksum=, mirror=, header="
_LINE = f"one URL a line; below it, indented, {_KNOWN}; nothing was fetched"


class Entry(Struct, frozen=True):
    """One URL as typed, and what the list says about it; `where` is `file:line`, or empty
    for a URL of the command line."""

    url: str
    where: str = ""
    out: str | None = None
    dir: str | None = None
    checksums: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    range: RangeSpec | None = None
    """Of --resume: the part that was begun."""
    size: int | None = None
    """Of --locked and of a metalink: its bytes."""
    blocks: BlockDigests | None = None
    """Of a metalink."""
    mirrors: tuple[str, ...] = ()
    """Further URLs of the same bytes, best first."""

    def __repr__(self) -> str:  # headers may hold secrets
        return f"Entry({redact_url(self.url)!r}, {self.where!r})"


def parse_list(data: bytes, name: str, *, foreign: bool = False) -> list[Entry]:
    """The entries of a list called `name`; one that is `foreign` names no local files. Raises
    UsageError."""
    shown = safe_text(name)
    if len(data) > MAX_LIST:
        raise UsageError(shown, f"longer than {MAX_LIST >> 20} MiB")
    entries: list[Entry] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        where = f"{shown}:{number}"
        line = _decode(raw, where).removesuffix("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [text for text in line.split("\t") if text.strip()]
        if line[0] in " \t":
            if not entries:
                raise UsageError(where, "an indented line before the first URL")
        else:
            entries.append(_first(fields.pop(0).strip(), where, foreign))
        for text in fields:
            entries[-1] = _add(entries[-1], text.strip(), where, foreign)
    return entries


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(where, "not UTF-8") from None


def _first(url: str, where: str, foreign: bool) -> Entry:
    try:
        parse_url(url, foreign=foreign)
    except UsageError as error:
        hint = error.hint if is_file_url(url) else _LINE
        raise UsageError(f"{where}: {error.what}", error.why, hint=hint) from None
    return Entry(url, where)


def _add(entry: Entry, text: str, where: str, foreign: bool) -> Entry:
    key, equals, value = text.partition("=")
    if not equals or not value:
        raise UsageError(where, f"'{safe_text(key, 40)}' is not NAME=VALUE")
    if not value.isprintable():
        raise UsageError(where, f"{safe_text(key, 40)}= holds a control character")
    match key:
        case "out" | "dir":
            if getattr(entry, key) is not None:
                raise UsageError(where, f"{key}= is given twice")
            return replace(entry, **{key: value})
        case "checksum":
            if foreign and is_file_url(value):
                raise UsageError(f"{where}: checksum=", "a list from stdin names no local files")
            return replace(entry, checksums=(*entry.checksums, value))
        case "mirror":
            mirror = parse_mirror(value, f"{where}: mirror=", foreign=foreign)
            return replace(entry, mirrors=(*entry.mirrors, mirror))
        case "header":
            return replace(entry, headers=(*entry.headers, _header(value, where)))
    why = f"unknown name '{safe_text(key, 40)}='"
    raise UsageError(where, why, hint=f"known: {_KNOWN}")


def _header(text: str, where: str) -> tuple[str, str]:
    try:
        return parse_header(text)
    except ValueError as error:
        raise UsageError(where, f"header=: {error}") from None
