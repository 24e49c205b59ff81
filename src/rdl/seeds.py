"""The user's files that may hold bytes of a new one: read, never written to.

Some of many are open at a time. One that cannot be read, or changes, is left out and said so. The
chunk cache is another one, which is not looked through: it says what it has.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.delta import Place
from rdl.core.reads import filled
from rdl.core.text import safe_text
from rdl.engine.seeding import Wanted
from rdl.errors import (
    Interrupted,
    LocalFileError,
    NoSpaceError,
    OutOfTime,
    RdlError,
    TargetExists,
    why_of,
)
from rdl.options import ChunkCache
from rdl.storage.disk import told
from rdl.storage.local_file import LocalFile
from rdl.storage.packs import Packs

MOST_OPEN = 64
MOST_FILES = 100_000
MOST_SAID = 10
"""So many that are left out are named."""
T = TypeVar("T")


class Watch(Protocol):
    """Hears how much is read, and how much of it that will be; may raise."""

    def expect(self, size: int) -> None:
        """So many more bytes."""
        ...

    def __call__(self, count: int) -> None: ...


class Seeds:
    """Files by their numbers; a context manager that closes them. `warn` hears which are left.
    After those to look through come the packs of the `cache` that were used."""

    def __init__(
        self,
        paths: Sequence[Path],
        warn: Callable[[str], None],
        cache: ChunkCache | None = None,
    ) -> None:
        self._paths, self._warn, self._cache = [*paths], warn, cache
        self._count, self._packs = len(paths), dict[str, int]()
        self.cache: Packs | None = None
        self.recalls = False
        """The cache has chunks that may be those of the new file."""
        self._open: OrderedDict[int, LocalFile] = OrderedDict()
        self._left = set[int]()

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """All bytes of them, about."""
        sizes = 0
        for path in self._paths[: self._count]:
            with suppress(OSError):
                sizes += path.stat().st_size
        return sizes

    def __enter__(self) -> Seeds:
        if self._cache is not None:
            try:
                self.cache = Packs(self._cache.folder, self._cache.most).__enter__()
            except (LocalFileError, NoSpaceError) as error:
                self.leave_cache(error)
        return self

    def leave_cache(self, error: Exception) -> None:
        """Nothing more is looked for there."""
        self._warn(f"the cache is left out: {_with_hint(error)}")
        if self.cache is not None:
            self.cache.__exit__()
        self.cache, self.recalls = None, False

    def forgo(self) -> None:
        """No file is looked through."""
        self._count = 0

    def number_of(self, name: str) -> int:
        """Of the pack of this name in the cache."""
        assert self.cache is not None
        if name not in self._packs:
            self._packs[name] = len(self._paths)
            self._paths.append(self.cache.folder / name)
        return self._packs[name]

    def __exit__(self, *error: object) -> None:
        for file in self._open.values():
            file.__exit__(None, None, None)
        self._open.clear()
        if self.cache is not None:
            self.cache.__exit__()
            self.cache = None

    def using(self, number: int, work: Callable[[LocalFile], T], instead: T) -> T:
        """What `work` makes of this file; `instead` where it cannot be read."""
        if number in self._left:
            return instead
        try:
            return work(self._opened(number))
        except (LocalFileError, TargetExists) as error:
            self._left.add(number)
            if len(self._left) <= MOST_SAID:
                self._warn(f"a seed is left out: {error}")
            elif len(self._left) == MOST_SAID + 1:
                self._warn("more seeds are left out")
            return instead

    def _opened(self, number: int) -> LocalFile:
        file = self._open.get(number)
        if file is None:
            if len(self._open) >= MOST_OPEN:
                self._open.popitem(last=False)[1].__exit__(None, None, None)
            file = self._open[number] = LocalFile(self._paths[number]).__enter__()
        self._open.move_to_end(number)
        return file


def keep(
    cache: ChunkCache,
    path: Path,
    chunks: Chunks,
    numbers: Iterator[int],
    warn: Callable[[str], None],
) -> None:
    """Put chunks of a file into the cache; `warn` hears where that fails, or is ended: the file is
    complete without it."""
    try:
        where = told(safe_text(str(cache.folder), 200))
        with Packs(cache.folder, cache.most) as packs, LocalFile(path) as file, where:
            packs.add(file, chunks, numbers)
    except (LocalFileError, NoSpaceError, TargetExists, Interrupted, OutOfTime) as error:
        warn(f"what was fetched is not kept in the cache: {_with_hint(error)}")


def _with_hint(error: Exception) -> str:
    hint = error.hint if isinstance(error, RdlError) else ""
    return f"{error}; {hint}" if hint else str(error)


def recall(seeds: Seeds, wanted: Wanted, check: Watch) -> None:
    """Look what of it is in the cache, if there is one."""
    if seeds.cache is not None:
        try:
            _recalled(seeds, seeds.cache, wanted, check)
        except OSError as error:
            seeds.leave_cache(error)


def _recalled(seeds: Seeds, cache: Packs, wanted: Wanted, check: Watch) -> None:
    """A pack of which a chunk is not right goes, unused."""
    chunks = wanted.chunks
    for pack in cache.packs():
        table = cache.table(pack)
        if table is None:
            cache.drop(pack)
            continue
        if table.algorithm != chunks.algorithm or table.width < chunks.width:
            continue
        seeds.recalls = True
        digests = ((one, table.digest(one)[: chunks.width]) for one in range(len(table)))
        hits = [hit for hit in digests if wanted.lacks(hit[1], len(table.chunk(hit[0])))]
        if not hits or not cache.pin(pack):
            continue
        number = seeds.number_of(pack.name)
        spans = [table.chunk(one) for one, _ in hits]
        check.expect(sum(map(len, spans)))
        look = partial(_digests, spans=spans, algorithm=chunks.algorithm, check=check)
        found = [one[: chunks.width] for one in seeds.using(number, look, list[bytes]())]
        if found != [digest for _, digest in hits]:
            cache.drop(pack)
            continue
        for digest, span in zip(found, spans, strict=True):
            wanted.at(digest, len(span), Place(number, span.start))


def _digests(
    seed: LocalFile, spans: Sequence[ByteRange], algorithm: str, check: Watch
) -> list[bytes]:
    """Of what stands there."""
    view = memoryview(bytearray(max(map(len, spans))))
    found = list[bytes]()
    for span in spans:
        count = filled(seed.read_into, span.start, view[: len(span)])
        found.append(hashlib.new(algorithm, view[:count]).digest())
        check(count)
    return found


def files_of(
    seeds: Sequence[Path], warn: Callable[[str], None], check: Callable[[], None]
) -> list[Path]:
    """The seeds, and for a folder the regular files in it and below, in order. `warn` hears which
    folders below are left out; `check` is called for each folder, and may raise. Raises
    LocalFileError where a seed does not exist, or is neither."""
    found = list[Path]()
    for seed in seeds:
        if seed.is_dir():
            found += islice(_below(seed, warn, check), MOST_FILES + 1 - len(found))
        elif seed.is_file():
            found.append(seed)
        else:
            why = "not a regular file" if seed.exists() else "no such file"
            raise LocalFileError(safe_text(str(seed), 200), why)
        if len(found) > MOST_FILES:
            raise LocalFileError(safe_text(str(seed), 200), f"more than {MOST_FILES} files")
    return found


def _below(folder: Path, warn: Callable[[str], None], check: Callable[[], None]) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        shown, why = safe_text(str(error.filename), 200), why_of(error)
        if error.filename == str(folder):
            raise LocalFileError(shown, why) from error
        warn(f"a folder of seeds is left out: {shown}: {why}")

    for place, folders, names in os.walk(str(folder), onerror=refused):
        check()
        folders.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            if os.path.isfile(path) and not os.path.islink(path):  # these raise nothing
                yield Path(path)
