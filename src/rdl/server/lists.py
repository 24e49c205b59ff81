"""Lists of chunks of files that are served: made when somebody asks, once for all who do; or read
of a file that is one.

A list is of one version of a file and of no other. It is kept in a file without a name while
there is room; making it is done by a thread of its own, and waited for by nobody.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from rdl.chunkers import chunker_of
from rdl.core.byterange import ByteRange
from rdl.core.manifest import HEAD_BYTES, Manifest, parse_coarse, parse_head
from rdl.core.reads import filled
from rdl.core.representation import TICK
from rdl.core.text import safe_text
from rdl.engine.verifying import Headway, Stop
from rdl.errors import ChangedError, PolicyError, ProtocolError, RdlError
from rdl.manifests import Cutter, sizes_for
from rdl.server.requests import Reply, later
from rdl.server.version import Version

MOST_KEPT, MOST_LISTS = 1 << 30, 64
"""Bytes of all lists that are kept, and how many, besides those that are in use."""
MOST_OWN = 128 << 20
"""Bytes of lists with fine chunks, each of which is of one wishlist: 24 MiB for a million."""
MOST_WAITING = 16
"""Lists that are to be made; who wants another one is told to come again."""
STEP = 1 << 20

Key = tuple[Version, bytes, bool]


class Made(Struct, frozen=True):
    """A manifest, and the open file that all of it is in."""

    manifest: Manifest
    file: int


class Opened(Struct, frozen=True):
    """A file that is open, and all here. `given`: it is a list itself, and not to be cut."""

    descriptor: int
    version: Version
    name: bytes
    given: bool = False

    @property
    def key(self) -> Key:
        """What tells its list from others."""
        return self.version, self.name, self.given


class ChunkList:
    """Of one version of a file: what was `made`, or the `error` that became of it. `moving` grows
    while it is being made. Changes under the lock of its Lists."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.made: Made | None = None
        self.error: Reply | None = None
        self.moving = 0
        self.users = set[Callable[[], None]]()


class Lists:
    """`most` bytes of them. Raises UsageError where nothing can be cut on this machine."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        cutting = sizes_for(0)  # tried now, and not when somebody asks
        sizes = cutting.coarse
        chunker_of(cutting.chunker, sizes.least, sizes.average, sizes.most)
        self._most, self._stop, self._lock = most, Stop(), threading.Lock()
        self._lists = OrderedDict[Key, ChunkList]()
        """The one used last stands last."""
        self._own = 0
        self._maker = ThreadPoolExecutor(1, "list")

    def join(self, file: Opened, changed: Callable[[], None]) -> ChunkList:
        """The list of this file as it was opened. `changed` is called, in any thread, when it is
        made, or will not be; until leave(). Raises Reply."""
        with self._lock:
            found = self._lists.get(file.key)
            if found is None:
                if sum(one.made is None for one in self._lists.values()) >= MOST_WAITING:
                    raise later("too many lists of chunks are to be made")
                _check_size(file)
                try:
                    source = os.dup(file.descriptor)
                except OSError:
                    raise later("too many files are open") from None
                found = self._lists[file.key] = ChunkList(file.key)
                self._maker.submit(self._make, found, source)
            self._lists.move_to_end(file.key)
            found.users.add(changed)
        return found

    def leave(self, found: ChunkList, changed: Callable[[], None]) -> None:
        """It is not used any more."""
        with self._lock:
            found.users.discard(changed)
            self._evict()

    def hold(self, size: int) -> None:
        """So many bytes are a list of one wishlist; until let_go(). Raises Reply."""
        with self._lock:
            if self._own + size > MOST_OWN:
                raise later("too many lists of fine chunks are in use")
            self._own += size

    def let_go(self, size: int) -> None:
        """They are not needed any more."""
        with self._lock:
            self._own -= size

    def close(self) -> None:
        """What is being made ends. Nobody may use one any more."""
        self._stop.set("SIGTERM")
        self._maker.shutdown()
        with self._lock:
            self._most = -1
            self._evict()

    # In its thread

    def _make(self, found: ChunkList, source: int) -> None:
        error: Reply | None = later("the list of its chunks cannot be made now")
        try:
            with suppress(RdlError, OSError):
                given = found.key[2]
                found.made = self._read(found, source) if given else self._cut(found, source)
                error = None
        except Reply as reply:
            error = reply
        finally:
            os.close(source)
            self._publish(found, error)

    def _publish(self, found: ChunkList, error: Reply | None) -> None:
        """Those who wait for it hear what became of it."""
        with self._lock:
            found.error = error
            if error is not None:
                del self._lists[found.key]
            users = tuple(found.users)
            self._evict()
        for changed in users:
            changed()

    def _read(self, found: ChunkList, source: int) -> Made:
        """What the file says that is one. Raises Reply where it is none."""
        file, size = _Still(source, found), found.key[0].size
        try:
            head = parse_head(file.first(min(size, HEAD_BYTES)), size)
            manifest = parse_coarse(head, file.first(head.length_of_coarse))
        except ProtocolError as error:
            raise Reply(404, f"no list of chunks: {error.why}") from error
        file.check()
        return Made(manifest, os.dup(source))

    def _cut(self, found: ChunkList, source: int) -> Made:
        version, name, _ = found.key
        if version.is_young:  # else the times would not tell of another change
            time.sleep(TICK)
        file, whole = _Still(source, found), ByteRange(0, version.size)
        with tempfile.TemporaryFile() as fine:
            cutter = Cutter(file, whole, sizes_for(len(whole)), Headway("", None), self._stop)
            first = cutter.write(safe_text(os.fsdecode(name), 200), fine)
            file.check()
            made, path = tempfile.mkstemp(prefix="rdl-")
            Path(path).unlink()
            try:
                fine.seek(0)
                with os.fdopen(made, "wb", closefd=False) as out:
                    out.write(first)
                    shutil.copyfileobj(fine, out, STEP)
            except BaseException:
                os.close(made)
                raise
        return Made(parse_coarse(parse_head(first), first), made)

    def _evict(self) -> None:
        """Under the lock: of what nobody uses, that which was not for the longest time, until the
        rest has room."""
        made = {key: one for key, one in self._lists.items() if one.made is not None}
        sizes = {key: one.made.manifest.length for key, one in made.items() if one.made}
        total, count = sum(sizes.values()), len(sizes)
        for key, one in made.items():
            if total <= self._most and count <= MOST_LISTS:
                break
            if one.made is not None and not one.users:
                os.close(one.made.file)
                del self._lists[key]
                total, count = total - sizes[key], count - 1


class _Still:
    """A file that is read for its list, and is to stay as it is."""

    def __init__(self, file: int, of: ChunkList) -> None:
        self._file, self._of = file, of

    def read_into(self, offset: int, view: memoryview) -> int:
        count = os.preadv(self._file, [view], offset)
        if not count:
            raise ChangedError("a file", "it changed while it was read")
        self._of.moving += 1
        return count

    def first(self, size: int) -> bytes:
        """So many bytes, which it has."""
        view = memoryview(bytearray(size))
        return bytes(view[: filled(self.read_into, 0, view)])

    def check(self) -> None:
        """Raises ChangedError."""
        if Version.of(self._file) != self._of.key[0]:
            raise ChangedError("a file", "it changed while it was read")


def _check_size(file: Opened) -> None:
    """Raises Reply for a file that is too large."""
    try:
        if not file.given:
            sizes_for(file.version.size)
    except PolicyError as error:
        raise Reply(404, str(error)) from error
