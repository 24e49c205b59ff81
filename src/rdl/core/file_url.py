"""file: URLs of this machine (RFC 8089): an absolute path, percent-encoded, and no other host.

Only what the user wrote may be one; text in, the path's bytes out, and nothing is looked at.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from rdl.core.digest import pinned
from rdl.core.text import is_url, redact_url, safe_text
from rdl.errors import UsageError

_FILE_URL = re.compile(r"file://(?P<host>[^/]*)(?P<path>[^?#]*)(?P<query>[^#]*)", re.IGNORECASE)


def is_file_url(text: str) -> bool:
    """Whether it means to be one."""
    return text[:5].lower() == "file:"


def decides(place: str) -> bool:
    """Whether what is at this path or URL is the user's word: a file of theirs, or with a digest
    after it (`#sha256=HEX`); else it is what a server says."""
    address, digests = pinned(place)
    return bool(digests) or not is_url(address) or is_file_url(address)


def path_of(url: str) -> bytes:
    """The path that a file: URL names. Raises UsageError."""
    why, hint = "is not a usable file URL", "file:///PATH, with three slashes, names a local file"
    found = _FILE_URL.fullmatch(url.partition("#")[0])
    if found is not None and url.isprintable() and " " not in url:
        path = unquote_to_bytes(found["path"])
        if found["host"].lower() not in ("", "localhost"):
            why = "names another host, and files of others are not to be had by file://"
        elif found["query"]:
            why, hint = "has a query, which a file has not", "in a name, ? is written as %3F"
        elif b"\0" in path:
            why, hint = "holds a NUL, which no path has", ""
        elif path.startswith(b"/"):
            return path
    raise UsageError(safe_text(redact_url(url)), why, hint=hint)
