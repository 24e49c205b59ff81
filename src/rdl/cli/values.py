"""Option values: text to sizes, times, ranges, headers, URLs. Strict: a doubt is an error.

The `parse_*` functions raise ValueError with the reason only; `Value` makes it one line that
names the option. A value that may hold a secret is not repeated in an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import click
from click.core import ParameterSource
from msgspec import Struct

from rdl.core.digest import digests_in_fragment
from rdl.core.file_url import is_file_url, path_of
from rdl.core.text import is_url, redact_text, redact_url, safe_text
from rdl.errors import UsageError
from rdl.options import RangeSpec

MAX_BYTES = (1 << 63) - 1
MIN_BLOCK = 4 << 10

_SIZE = re.compile(r"([0-9]{1,19})(\.[0-9]{1,9})?(?:([KMGT])(?:iB)?)?", re.IGNORECASE)
_POWERS = {"K": 10, "M": 20, "G": 30, "T": 40}
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_PORT = re.compile(r":[0-9]*$")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HOST = re.compile(r"\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[^\s/?#@\[\]\\<>\"^`{|}:]+")
_OURS = frozenset(
    (
        *("range", "if-range", "if-match", "if-none-match", "if-modified-since"),
        *("if-unmodified-since", "accept-encoding", "content-length", "transfer-encoding"),
        *("connection", "keep-alive", "te", "trailer", "upgrade", "expect"),
    )
)

_PATHS = {"DIR": "dir"} | dict.fromkeys(
    ("F", "FILE", "FILE|DIR", "LIST", "LOCK", "M", "OLD", "SPEC", "SUMS"), "file"
)
"""Metavars that stand for a path, and what a shell is to offer."""

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only in new versions of click


class Value(_ParamType):
    """A click type from a parser; a ValueError becomes `rdl: --option value: why`."""

    def __init__(self, metavar: str, parse: Callable[[str], Any], *, secret: bool = False) -> None:
        self.name, self._parse, self._secret = metavar, parse, secret

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            shown = "" if self._secret else safe_text(redact_text(value), 80) or repr("")
            what = named(param, ctx, shown) if param else f"{self.name} {shown}"
            raise UsageError(what, str(error)) from None

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Where a path is meant, the shell offers what is there."""
        from click.shell_completion import CompletionItem

        kind = _PATHS.get(self.name)
        return [CompletionItem(incomplete, type=kind)] if kind else []


class Switch(click.types.BoolParamType):
    """A flag whose value may also be a word of the environment."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            what = named(param, ctx, safe_text(value, 80)) if param else safe_text(value, 80)
            raise UsageError(what, "neither yes nor no (like 1 or 0)") from None


def is_from(source: ParameterSource, ctx: click.Context | None, name: str | None) -> bool:
    """Whether the value of the parameter `name` came from there."""
    return ctx is not None and name is not None and ctx.get_parameter_source(name) is source


def long_name(param: click.Parameter) -> str:
    """What a configuration file calls an option."""
    return param.opts[-1].lstrip("-")


def named(param: click.Parameter, ctx: click.Context | None, value: str = "") -> str:
    """What an error calls a parameter with this value: its option, or the variable it is from."""
    if is_from(ParameterSource.ENVIRONMENT, ctx, param.name):
        return f"{param.envvar}: {value}" if value else f"{param.envvar}"
    return f"{param.opts[-1]} {value}" if value else param.opts[-1]


def parse_size(text: str) -> int:
    """Bytes, one or more: `4096`, `8M`, `1.5G`, `8MiB`; K, M, G and T are powers of 1024."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("not a size (like 65536, 512K, 8M, 1.5G)")
    if not found[3] and found[2]:
        raise ValueError("bytes have no fractions")
    factor = 1 << _POWERS[found[3].upper()] if found[3] else 1
    size = int(found[1]) * factor + int(float("0" + (found[2] or "")) * factor)
    if size > MAX_BYTES:
        raise ValueError("too large")
    if size < 1:
        raise ValueError("must be at least one byte")
    return size


def parse_block_size(text: str) -> int:
    """A power of two, 4 KiB or more."""
    size = parse_size(text)
    if size & (size - 1) or size < MIN_BLOCK:
        raise ValueError("not a power of two of at least 4K")
    return size


def parse_number(text: str) -> float:
    """A plain number above zero; seconds, or requests a second."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a plain number (like 30 or 2.5)")
    if not 0 < float(text) <= 1e9:
        raise ValueError("must be more than 0" + (" and at most a billion" if float(text) else ""))
    return float(text)


def parse_count(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return parse


def parse_range(text: str) -> RangeSpec:
    """`0-499`, `500-`, `-500` (the last 500), `500+100K` (so many from 500); RFC 9110
    section 14.1.2 for the first three."""
    if found := re.fullmatch(r"([0-9A-Za-z.]+)\+([0-9A-Za-z.]+)", text):
        start = 0 if found[1] == "0" else parse_size(found[1])
        return RangeSpec(start, _bounded(start + parse_size(found[2])))
    found = re.fullmatch(r"([0-9]{0,19})-([0-9]{0,19})", text)
    if not found or text == "-":
        raise ValueError("not one range (like 0-499, 500-, -500, 500+100K)")
    first, last = found[1], found[2]
    if not first:
        return RangeSpec(suffix=_bounded(_at_least_one(int(last))))
    if not last:
        return RangeSpec(start=_bounded(int(first)))
    if int(last) < int(first):
        raise ValueError("it ends before it begins")
    return RangeSpec(int(first), _bounded(int(last) + 1))


def _bounded(offset: int) -> int:
    if offset > MAX_BYTES:
        raise ValueError("too large")
    return offset


def _at_least_one(size: int) -> int:
    if size < 1:
        raise ValueError("it holds no byte")
    return size


def parse_header(text: str) -> tuple[str, str]:
    """`Name: value`; no control characters, and none of the fields that rdl itself needs."""
    name, colon, value = text.partition(":")
    value = value.strip(" \t")
    if not colon or not _TOKEN.fullmatch(name):
        raise ValueError("not 'Name: value'")
    if not value:
        raise ValueError(f"{name} has no value")
    if re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f]", value):
        raise ValueError(f"{name} holds a control character")
    if any(ord(char) > 255 for char in value):
        raise ValueError(f"{name} holds a character that headers cannot carry")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is rdl's own" + (" (see -r)" if name.lower() == "range" else ""))
    return name, value


def parse_agent(text: str) -> str:
    """A User-Agent value."""
    if not text.isascii():
        raise ValueError("holds more than ASCII")
    return parse_header(f"User-Agent: {text}")[1]


class Address(Struct, frozen=True):
    """A URL without userinfo, and what that said; of the fragment only digests stay."""

    url: str
    user: str | None = None
    password: str | None = None


NO_URL = "a file of this machine is wanted, and no URL"


def refuse_url(text: str, command: str, hint: str = "") -> None:
    """Where a path is wanted: raises UsageError, which shows no secret of the URL."""
    if is_url(text):
        raise UsageError(f"{command} {safe_text(redact_url(text), 200)}", NO_URL, hint=hint)


def url_hint(text: str) -> str:
    """What makes a URL of what looks like one, or ''."""
    if os.path.isfile(text):
        return f"rdl get -i {safe_text(text, 200)} reads it as a list; file:///PATH is a local file"
    if re.search(r"\s", text):
        return "quote the URL, and write a space as %20"
    if re.match(r"(?:localhost|[\w-]+(?:\.[\w-]+)+)(?::\d+)?(?:/|$)", text):
        return f"https://{safe_text(redact_url(text), 200)}, or http://"
    return ""


def parse_url(text: str, *, foreign: bool = False) -> Address:
    """An http or https URL (RFC 3986), or one of a local file (RFC 8089), unless it is `foreign`:
    written by others than the user. Raises UsageError, with the URL redacted."""
    try:
        return _address(text) if foreign else _given_address(text)
    except ValueError as error:
        hint = url_hint(text)
        if is_file_url(text):
            hint = "on the command line, and in a list of yours, file:// is for your own files"
        raise UsageError(safe_text(redact_url(text)) or "''", str(error), hint=hint) from None


def parse_mirror(text: str, where: str, *, foreign: bool = False) -> str:
    """A further URL of the same bytes. Raises UsageError, which begins with `where`."""
    try:
        address = parse_url(text, foreign=foreign)
    except UsageError as error:
        raise UsageError(where + error.what, error.why, hint=error.hint) from None
    shown = where + safe_text(redact_url(text))
    if address.user is not None:
        hint = "a netrc file has logins for each host"
        raise UsageError(shown, "no login is taken from the URL of a mirror", hint=hint)
    if "#" in address.url:
        hint = "--checksum, or checksum= in a list, says what all of them must have"
        raise UsageError(shown, "no digest is taken from the URL of a mirror", hint=hint)
    return address.url


def parse_base(text: str) -> str:
    """A URL of a folder: without query and fragment, and with a slash at its end."""
    try:
        _given_address(text)
    except UsageError as error:
        raise ValueError(error.why) from None
    if "?" in text or "#" in text:
        raise ValueError("a folder's URL has neither query nor fragment")
    return text if text.endswith("/") else f"{text}/"


def _given_address(text: str) -> Address:
    if is_file_url(text):
        path_of(text)
        return Address(_without_words(text))
    if not _WEB.match(text):
        raise ValueError("not an http, https or file URL")
    return _address(text)


def _address(text: str) -> Address:
    if not _WEB.match(text):
        raise ValueError("not an http or https URL")
    if not text.isprintable() or " " in text:
        raise ValueError("a URL holds no spaces or control characters")
    text, mark, fragment = _without_words(text).partition("#")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL: the host or port makes no sense") from None
    userinfo, _, place = parts.netloc.rpartition("@")
    host = _PORT.sub("", place)
    if not HOST.fullmatch(host) or port == 0 or "\\" in userinfo:
        raise ValueError("not a URL: the host or port makes no sense")
    start = text.index("://") + 3
    url = text[:start] + text[start + len(parts.netloc) - len(place) :] + mark + fragment
    if not userinfo:
        return Address(url)
    user, _, password = userinfo.partition(":")
    return Address(url, _credential(user), _credential(password))


def _without_words(text: str) -> str:
    """The URL with its fragment only where that is a digest."""
    return text if digests_in_fragment(text) else text.partition("#")[0]


def _credential(text: str) -> str:
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:  # which would show bytes of it
        raise ValueError("user name or password that is not UTF-8") from None
    if any(ord(char) < 32 or ord(char) == 127 for char in plain):
        raise ValueError("control character in the user name or password")
    return plain


def parse_user(text: str) -> tuple[str, str | None]:
    """`USER:PASSWORD` or `USER` (then None: to be asked for)."""
    user, colon, password = text.partition(":")
    if not text.isprintable():
        raise ValueError("control character in the user name or password")
    if not user:
        raise ValueError("no user name")
    return user, password if colon else None


def parse_proxy(text: str) -> str:
    """The URL of a proxy; `host:port` means http; empty means no proxy at all."""
    if not text:
        return ""
    url = text if "://" in text else f"http://{text}"
    try:
        _address(url)
    except ValueError:
        raise ValueError("not an http or https proxy (like http://host:3128)") from None
    return url
