"""Text that people may see: remote text made harmless, URLs without secrets, sizes, times.

Everything that came from outside goes through `safe_text` before it reaches a terminal, and
every URL through `redact_url` before it reaches a terminal or a file.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

# Shown as nothing at all though Python calls them printable (Default_Ignorable_Code_Point).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s\"'<>]*[^\s\"'<>:;,.)]", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<![^&;=])([^&;=]+)=([^&;]*)")  # from a name's start: linear
_PATH = re.compile(r"[/?\\]|$")
_AUTHORITY = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
_SECRET_PARTS = re.compile(
    "token|secret|passw|signature|credential|apikey|auth(?!ors?$)|session|^xamz|^xgoog|^hdne|jwt|hmac"
)
_SECRET_ENDS = ("key", "keyid", "sig")
_SECRET_NAMES = frozenset(
    (
        "sig",
        "sign",
        "pass",
        "pwd",
        "policy",
        "keypairid",
        "awsaccesskeyid",
        "sas",
        "se",
        "sp",
        "sv",
        "sr",
        "st",
        "spr",
        "sip",
        "skoid",
        "sktid",
        "skt",
        "ske",
        "sks",
        "skv",
        "verify",
        "code",
        "gda",
    )
)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def safe_text(text: str, limit: int = 200) -> str:
    """`text` with printable characters only, at most `limit` of them.

    Controls, bidirectional and other format characters, lone surrogates and odd spaces are
    shown as `\\xNN` or `\\u{...}`; what is too long ends with an ellipsis.
    """
    shown: list[str] = []
    room = limit
    for char in text[: limit + 1]:
        form = char if _is_plain(char) else _escape(char)
        room -= len(form)
        shown.append(form)
        if room < 0:
            return _cut(shown, limit)
    return "".join(shown)


def _is_plain(char: str) -> bool:
    return char.isprintable() and not _INVISIBLE.match(char)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


def _cut(shown: list[str], limit: int) -> str:
    """The longest row of whole forms that leaves room for the ellipsis."""
    while shown and sum(map(len, shown)) >= limit:
        shown.pop()
    return "".join(shown) + "…"


def redact_url(url: str) -> str:
    """`url` without userinfo and fragment, and with `***` for secret-looking query values.

    Never fails: an authority that makes no sense may hold a password, so nothing after the
    scheme is shown then. Doing it twice changes nothing.
    """
    url = url.partition("#")[0]
    scheme, separator, rest = url.partition("://")
    if url.startswith("//"):
        scheme, rest = "", url[2:]
    elif not separator:
        return _redact_query(url)
    mark = ":" if scheme else ""
    end = _PATH.search(rest)
    stop = end.start() if end else len(rest)
    authority = rest[:stop].rpartition("@")[2]
    if not _AUTHORITY.fullmatch(authority):
        return f"{scheme}{mark}//***"
    return f"{scheme}{mark}//{authority}{_redact_query(rest[stop:])}"


def is_redacted(url: str) -> bool:
    """Whether redact_url left something out that is needed to ask again."""
    return url.endswith("//***") or "=***" in url.partition("?")[2]


def _redact_query(rest: str) -> str:
    path, mark, query = rest.partition("?")
    return path + mark + _PARAMETER.sub(_redact_parameter, query)


def _redact_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}=***" if found[2] and is_secret_name(found[1]) else found[0]


def is_secret_name(name: str) -> bool:
    """Whether a query parameter of this name is likely to hold a secret or a signature."""
    plain = re.sub(r"[^a-z0-9]", "", unquote(name).lower())
    return (
        plain in _SECRET_NAMES
        or plain.endswith(_SECRET_ENDS)
        or _SECRET_PARTS.search(plain) is not None
    )


def redact_text(text: str) -> str:
    """`text` with each http or https URL in it redacted."""
    return _URL.sub(lambda found: redact_url(found[0]), text)


def format_size(size: float) -> str:
    """Bytes for people, in powers of 1024: `512 B`, `1.2 GiB`, `98 MiB`."""
    value = float(size)
    for unit in _UNITS:
        shown = f"{value:.0f}" if unit == "B" or value >= 9.95 else f"{value:.1f}"
        if float(shown) < 1024 or unit == _UNITS[-1]:
            return f"{shown} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes any size")


def format_time(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `12.3 s`, `2m05s`, `3h07m`, `2d05h`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"


def is_url(text: str) -> bool:
    """Whether what was typed where a path may stand too is meant to be a URL."""
    return _SCHEME.match(text) is not None
