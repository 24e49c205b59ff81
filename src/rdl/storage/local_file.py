"""A local file opened for reading only, and watched: a verdict on bytes that changed is none.

A part file is read by what its index says is there. Nothing is locked, written or created,
so a download that is running is not disturbed; what is no regular file is never opened.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Self

from rdl.core.byterange import ByteRange
from rdl.core.index import Decoded
from rdl.core.row import span_of
from rdl.core.text import safe_text
from rdl.errors import LocalFileError, PolicyError, ProtocolError, TargetExists
from rdl.options import RangeSpec
from rdl.storage.checking import session_of
from rdl.storage.disk import NO_SPACE, Disk, FileStat, told, write_all
from rdl.storage.index_file import Place, load
from rdl.storage.inspecting import INDEX, PART, believed, gaps
from rdl.storage.platform import PosixDisk

STEP = 1 << 20


class FileChanged(TargetExists):
    """The file is not the one, or not as it was, when the reading began."""

    reason: ClassVar[str] = "file-changed"


class LocalFile:
    """The regular file at `path`; a context manager that opens and closes it.

    Links are followed, though not out of the folder `within` (PolicyError) where that is
    given. Entering raises LocalFileError. Offsets are those of the file, or of the
    representation where it is a part file with an index.
    """

    def __init__(self, path: Path, *, within: Path | None = None, disk: Disk | None = None) -> None:
        self.shown = safe_text(str(path), 200)
        self._path, self._within = path, within
        self._disk: Disk = disk or PosixDisk()
        self._folder = self._file = -1
        self._name = ""
        self._index: Decoded | None = None

    def __enter__(self) -> Self:
        try:
            with told(self.shown):
                self._open(self._real_path())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def span(self, spec: RangeSpec | None) -> ByteRange:
        """The bytes that a range means here: all without one, clipped to the end as in HTTP.
        ProtocolError when none of them exists."""
        header = self._index.header if self._index else None
        total = header.representation.total if header else self._stat.size
        if total is None and (spec is None or spec.stop is None):
            raise LocalFileError(self.shown, "incomplete, and its length is not known yet")
        wanted = span_of(spec, total)
        if wanted is None:
            raise ProtocolError(self.shown, f"the range lies outside of its {total} bytes")
        return header.span if header and header.span and spec is None else wanted

    def first_gap(self, wanted: ByteRange) -> ByteRange | None:
        """The first bytes of `wanted` that a part file's index does not claim rightly; None
        when all are there, as in a plain file."""
        if self._index is None:
            return None
        with told(self.shown):
            stat, now = self._disk.fstat(self._file), session_of(self._disk, self._file)
        here = believed(self._index, now, stat).ranges()
        runs = [run.clip(wanted) for run in here]
        return next(iter(gaps([run for run in runs if run], wanted)), None)

    @property
    def size(self) -> int:
        """Its bytes, or those it will have."""
        return len(self.span(None))

    def copy_to(self, target: int, offset: int, size: int, place: int) -> int:
        """Copy some of `size` bytes at `offset` to `place` in the open file `target`, or share
        them; how much. FileChanged where the file ends too early; OSError where the target
        fails."""
        try:
            count = self._disk.copy(self._file, target, offset - self._start, size, place)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            # it does not say which of the two fails
            view = memoryview(bytearray(min(size, STEP)))
            count = self.read_into(offset, view)
            write_all(self._disk, target, view[:count], place)
        if count == 0:
            raise self._changed()
        return count

    def read_into(self, offset: int, view: memoryview) -> int:
        """Read 1 to len(view) bytes. FileChanged where the file ends too early."""
        with told(self.shown):
            count = self._disk.pread(self._file, view, offset - self._start)
        if count == 0:
            raise self._changed()
        return count

    def check_unchanged(self) -> None:
        """FileChanged unless the name still leads to this file, and the file is as it was; a
        part file may have grown, under the same run."""
        with told(self.shown):
            now, named = (
                self._disk.fstat(self._file),
                self._disk.stat(self._folder, self._name),
            )
            index = self._load()
        if not now.same_file(named):
            raise self._changed()
        before = self._index
        if before is None:
            same = now.at_rest_since(self._stat)
        else:
            same = index is not None and (index.header, index.session) == (
                before.header,
                before.session,
            )
        if not same:
            raise self._changed()
        self._index = index if before else None

    @property
    def stat(self) -> FileStat:
        """The file as it was when it was opened."""
        return self._stat

    def check_at_rest(self) -> None:
        """FileChanged unless the file is as it was, whatever its name leads to by now."""
        with told(self.shown):
            now = self._disk.fstat(self._file)
        if not now.at_rest_since(self._stat):
            raise self._changed()

    def _real_path(self) -> Path:
        try:
            real = Path(os.path.realpath(self._path))
            inside = self._within is None or real.is_relative_to(os.path.realpath(self._within))
        except ValueError as error:  # a NUL in the name
            raise LocalFileError(self.shown, str(error)) from error
        if not inside:
            raise PolicyError(
                self.shown,
                "this name leads out of the folder of the sums file",
                hint="name the file itself: rdl verify --sums SUMS FILE",
            )
        return real

    def _open(self, real: Path) -> None:
        disk, self._name = self._disk, real.name
        self._folder = disk.open_folder(real.parent)
        self._check_kind(disk.stat(self._folder, self._name))
        self._file = disk.open(self._folder, self._name, write=False)
        self._stat = disk.fstat(self._file)
        self._check_kind(self._stat)
        self._index = self._load()
        span = self._index.header.span if self._index else None
        self._start = span.start if span else 0
        if self._stat.size == 0 and disk.pread(self._file, memoryview(bytearray(1)), 0):
            raise LocalFileError(self.shown, "it has no size, as files of the system have not")

    def _check_kind(self, stat: FileStat | None) -> None:
        if stat is None:
            raise LocalFileError(self.shown, "no such file", hint=self._hint())
        if stat.kind != "file":
            why = "a directory" if stat.kind == "folder" else "not a regular file"
            raise LocalFileError(self.shown, why)

    def _hint(self) -> str:
        if self._disk.stat(self._folder, self._name + PART) is None:
            return ""
        return f"its download is incomplete: {self.shown}{PART} holds what is here (see -r)"

    def _load(self) -> Decoded | None:
        if not self._name.endswith(PART):
            return None
        index = self._name.removesuffix(PART) + INDEX
        return load(Place(self._disk, self._folder, index))

    def _changed(self) -> FileChanged:
        return FileChanged(
            self.shown, "it changed while it was read", hint="verify again when it is at rest"
        )

    def _close(self) -> None:
        for handle in (self._file, self._folder):
            if handle >= 0:
                self._disk.close(handle)
        self._file = self._folder = -1
