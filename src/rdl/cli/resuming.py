"""`get --resume FILE`: from what the index of a partial says to an entry, as if it were typed."""

from __future__ import annotations

import os
from pathlib import Path

from rdl.cli.input_list import Entry
from rdl.core.events import Result, unchanged
from rdl.core.text import is_redacted, safe_text
from rdl.errors import LocalFileError, UsageError
from rdl.options import RangeSpec


def resumption(name: str) -> Entry | Result:
    """What continues the file `name`, which may also be named by its part file; a result where
    it is as rdl published it. Raises LocalFileError, UsageError where the URL is not known."""
    from rdl.looking import status

    if os.path.isdir(name):
        why = "a directory; --resume takes the FILE that was begun"
        hint = f"rdl status {safe_text(name)} lists them"
        raise LocalFileError(safe_text(name), why, hint=hint)
    found = status(name)
    path = Path(found.path)
    if found.complete:
        return unchanged("", str(path), found.bytes_present, found.trust)
    again = f"rdl get URL -o {safe_text(str(path))}"
    if found.url is None:
        hint = f"{again} fetches it"
        raise LocalFileError(safe_text(name), "no download of rdl is here to continue", hint=hint)
    if is_redacted(found.url):
        why = "its URL had a secret, and secrets are not kept"
        raise UsageError(safe_text(name), why, hint=f"{again} continues it")
    if found.url.startswith("source:"):
        why = "it was begun from Python, with a source that is no URL"
        raise UsageError(safe_text(name), why, hint="rdl.get(source, path) continues it there")
    part = RangeSpec(found.range[0], found.range[1] + 1) if found.range else None
    return Entry(found.url, where="--resume", out=path.name, dir=str(path.parent), range=part)
