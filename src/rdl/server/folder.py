"""The files of a folder: regular ones, reached without links, segment by segment.

No name leads out, nothing whose name begins with a dot is there, and what rdl itself keeps
beside a download is not served as a file.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from html import escape
from itertools import islice
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from rdl.core.text import format_size, safe_text
from rdl.errors import LocalFileError, why_of
from rdl.server.files import FileReading, Notes, is_served
from rdl.server.page import HTML, LISTING_POLICY, listing
from rdl.server.partials import Partials, targets
from rdl.server.requests import Reply, later, nowhere
from rdl.server.resource import Reading, Text, View
from rdl.storage.inspecting import INDEX

MAX_SEGMENTS = 64
MAX_LISTED = 10_000
"""Entries of a folder that its page names."""
LAST_SECOND = 253_402_300_799
"""Of the year 9999."""
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Folder:
    """The Site of a folder. `hold`: a download is served when it is complete. Raises
    LocalFileError where there is none."""

    def __init__(self, path: Path, *, hold: bool = False) -> None:
        self._notes = Notes()
        self._partials = Partials(self._notes, hold=hold)
        try:
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise LocalFileError(safe_text(str(path)), why_of(error)) from error

    def find(self, path: str) -> Reading:
        segments = _segments(path)
        try:
            return self._find(path, segments)
        except (OSError, ValueError, LocalFileError) as error:
            cause = error.__cause__ or error
            if getattr(cause, "errno", 0) in (errno.EMFILE, errno.ENFILE):
                raise later("too many files are open") from None
            raise nowhere() from None

    def _find(self, path: str, segments: list[bytes]) -> Reading:
        try:
            file = self._open(segments)
        except FileNotFoundError:
            if path.endswith("/"):
                raise
            home = self._open(segments[:-1])
            try:
                return self._partials.find(home, segments[-1], _encoded(segments))
            except LocalFileError:  # none is there, or it has got its name just now
                file = self._open(segments)
        try:
            mode = os.fstat(file).st_mode
            if stat.S_ISREG(mode) and not path.endswith("/"):
                return FileReading(file, segments[-1], self._notes)
            if not stat.S_ISDIR(mode):
                raise nowhere()
            if not path.endswith("/"):
                raise Reply(301, "a folder", (("Location", f"{_encoded(segments)}/"),))
            text = listing(_title(segments), _items(file, segments))
            found = Text(text, HTML, LISTING_POLICY)
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return found

    def view(self) -> View | None:
        return self._partials.view(self._root)

    def front(self) -> list[str]:
        try:
            folder = self._open([])
        except OSError:
            raise later("the folder cannot be read now") from None
        try:
            return _items(folder, [])
        finally:
            os.close(folder)

    def close(self) -> None:
        self._partials.close()
        self._notes.close()
        os.close(self._root)

    def _open(self, segments: list[bytes]) -> int:
        """Raises OSError; ValueError for what is neither file nor folder."""
        here = os.open(".", _FLAGS | os.O_DIRECTORY, dir_fd=self._root)
        for number, name in enumerate(segments, 1):
            try:
                mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
                if not (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and number == len(segments))):
                    raise ValueError("not opened: to open a device may do something")
                below = os.open(name, _FLAGS, dir_fd=here)
            finally:
                os.close(here)
            here = below
        return here


def _segments(path: str) -> list[bytes]:
    """The names that a path is made of. Raises Reply for one that no file here may have."""
    inner = path[1:].removesuffix("/") if path != "/" else ""
    segments = [unquote_to_bytes(part) for part in inner.split("/")] if path != "/" else []
    if len(segments) > MAX_SEGMENTS or not all(is_served(name) for name in segments):
        raise nowhere()
    return segments


def _encoded(segments: list[bytes]) -> str:
    return "".join(f"/{quote(name, safe='')}" for name in segments)


def _title(segments: list[bytes]) -> str:
    return safe_text("/".join(["", *map(_shown, segments), ""]), 1000)


def _items(folder: int, segments: list[bytes]) -> list[str]:
    """What is in a folder, as HTML: names, times (UTC) and sizes."""
    up = ['<a href="../">../</a>'] if segments else []
    return up + [_item(*entry) for entry in islice(_entries(folder), MAX_LISTED)]


def _entries(folder: int) -> Iterator[tuple[bytes, os.stat_result, bool]]:
    """Those that are served, in order, and whether they are still coming. Raises Reply where the
    folder cannot be read."""
    try:
        found = os.listdir(folder)
    except OSError:
        raise nowhere() from None
    names = set(map(os.fsencode, found))
    coming = {os.fsencode(one): os.fsencode(f"{one}{INDEX}") for one in targets(found)}
    coming = {target: index for target, index in coming.items() if target not in names}
    for shown in sorted(filter(is_served, names | coming.keys())):
        try:
            facts = os.stat(coming.get(shown, shown), dir_fd=folder, follow_symlinks=False)
        except OSError:  # it has gone meanwhile
            continue
        if stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode):
            yield shown, facts, shown in coming


def _item(name: bytes, facts: os.stat_result, coming: bool) -> str:
    slash = "/" if stat.S_ISDIR(facts.st_mode) else ""
    size = "folder" if slash else "coming" if coming else format_size(facts.st_size)
    at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(min(max(facts.st_mtime, 0), LAST_SECOND)))
    text = escape(safe_text(_shown(name), 255))
    link = f'<a href="{quote(name, safe="")}{slash}">{text}{slash}</a>'
    return f'{link} <span class="facts">{at}, {size}</span>'


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
