"""File names from URLs: the last segment of the URL as the user typed it, or a refusal.

A name is never repaired and never comes from a redirect: what does not look like one plain
file name on every system is refused, and the user says `-o FILE`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from rdl.core.text import redact_url, safe_text
from rdl.errors import UsageError

MAX_NAME = 255
"""Bytes; what common file systems take."""

_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*(?:[.:].*)?",
    re.IGNORECASE,
)
_DRIVE = re.compile(r".:")


def name_from_url(url: str) -> str:
    """The file name that `url` suggests: its last path segment, percent-decoded once.

    Raises UsageError, with a hint to give -o, when that is not a plain file name.
    """
    segment = last_segment(url)
    try:
        name = unquote_to_bytes(segment).decode("utf-8")
        fault = name_fault(name)
    except UnicodeError:
        name, fault = segment, "it is not UTF-8"
    if not fault:
        return name
    shown = safe_text(redact_url(url))
    if not name:
        raise UsageError(shown, "the URL ends without a file name", hint="-o FILE gives one")
    why = f"'{safe_text(name, 80)}' is no file name: {fault}"
    raise UsageError(shown, why, hint="-o FILE gives another name")


def last_segment(url: str) -> str:
    """The last segment of the path, still percent-encoded; empty when there is none."""
    rest = url.partition("://")[2] or url
    path = rest.partition("#")[0].partition("?")[0].partition("/")[2]
    return path.rpartition("/")[2]


def name_fault(name: str) -> str:
    """Why `name` cannot be used as a file name; empty when it can."""
    if name in ("", ".", ".."):
        return "it names a directory or nothing"
    if "/" in name or "\\" in name:
        return "it holds a path separator"
    if not name.isprintable():
        return "it holds a control or invisible character"
    if name[0] in "-.":
        return f"it begins with '{name[0]}'"
    if name[0] == " " or name[-1] in " .":
        return "it begins or ends with a space, or ends with a dot"
    if _DRIVE.match(name):
        return "it begins like a drive"
    if _DEVICE.fullmatch(name):
        return "it is a device name on Windows"
    if len(name.encode("utf-8")) > MAX_NAME:
        return f"it is longer than {MAX_NAME} bytes"
    return ""
