"""A member of an archive on its way to a file: the part file, the proofs, the final name.

Nothing is continued: what a run leaves that was killed is replaced by the next.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress

from rdl.api import Target
from rdl.core.blockmap import MIN_BLOCK
from rdl.core.digest import disagreement
from rdl.core.events import Progress, Result, Teller
from rdl.core.index_json import Header
from rdl.core.representation import Representation, Trust
from rdl.doors.members import Archive, Member, check_size
from rdl.errors import DigestMismatch, RdlError
from rdl.landing import Landing
from rdl.sources import shown_url
from rdl.storage.base import Finish
from rdl.storage.names import Names
from rdl.storage.part_file import PartStore
from rdl.storage.small import SmallStore

_REPORT = 0.1
"""Seconds between two facts."""
Opener = Callable[[], tuple[Archive, str]]


class Keeping:
    """One member to be kept at `target.path`; the digests of its options are the member's.

    `opened` gives the archive, and how far one may trust that it is one version; it is called
    when something is to be read. `check` is called again and again, and may raise.
    """

    def __init__(
        self, target: Target, opened: Opener, tell: Teller, check: Callable[[], None]
    ) -> None:
        self._target, self._opened, self._tell, self._check = target, opened, tell, check
        self._url = shown_url(target.url)
        self._path = str(target.path)
        self._wanted = {one.algorithm: one.hex for one in target.options.transfer.digests}

    def keep(self, name: str) -> Result:
        """The member of this name under the final name. Raises RdlError, and leaves what was
        there, but for what has not the digest: that is put aside as FILE.part.bad."""
        target, began = self._target, time.monotonic()
        landing = Landing(target.path, "", target.options, check=self._check)
        if (early := landing.already_there()) is not None:
            return early
        archive, trust = self._opened()
        member = archive.find(name)
        check_size(member, target.options.transfer.max_filesize)
        store = SmallStore(
            PartStore(
                target.path,
                preallocate=target.options.file.preallocate,
                warn=lambda text: landing.warn(text, self._tell),
                check=self._check,
            )
        )
        try:
            landing.open(store, self._tell)
            self._fill(store, archive, member)
            store.publish(self._finish(member))
        except BaseException:
            with suppress(RdlError):
                store.close(discard=True)
            raise
        store.close()
        return self._result(archive, trust, member, time.monotonic() - began)

    def _fill(self, store: SmallStore, archive: Archive, member: Member) -> None:
        """All bytes, proved. Raises RdlError."""
        store.begin(Header("", Representation(member.size), MIN_BLOCK))
        store.reserve(member.size)
        try:
            self._write(store, archive, member)
        except DigestMismatch as error:
            store.quarantine()
            bad = Names.of(self._target.path).bad
            error.hint = f"the data is kept as {bad}; rdl clean --bad removes it"
            raise

    def _write(self, store: SmallStore, archive: Archive, member: Member) -> None:
        hashes = {name: hashlib.new(name) for name in self._wanted}
        began = told = time.monotonic()
        at = 0
        for chunk in archive.chunks(member):
            self._check()
            store.write_at(at, memoryview(chunk))
            at += len(chunk)
            for one in hashes.values():
                one.update(chunk)
            if (now := time.monotonic()) >= told + _REPORT:
                told = now
                self._tell(_progress(self._path, member.size, at, now - began))
        found = {name: one.hexdigest() for name, one in hashes.items()}
        if why := disagreement(found, self._wanted):
            raise DigestMismatch(self._path, why)

    def _finish(self, member: Member) -> Finish:
        file = self._target.options.file
        mtime = member.modified if file.keep_time else None
        return Finish(no_clobber=file.no_clobber, mtime=mtime, size=member.size, mode=file.mode)

    def _result(self, archive: Archive, trust: str, member: Member, seconds: float) -> Result:
        return Result(
            self._url,
            self._path,
            bytes_total=member.size,
            bytes_present=member.size,
            bytes_downloaded=archive.fetched,
            seconds=seconds,
            connections=1,
            digests=dict(self._wanted),
            verified_by=(*self._wanted, *archive.verified_by),
            trust=Trust.T4.value if self._wanted else trust,
        )


def _progress(path: str, size: int, at: int, seconds: float) -> Progress:
    speed = at / seconds if seconds > 0 else 0.0
    return Progress(
        path=path,
        bytes_total=size,
        bytes_present=at,
        bytes_downloaded=at,
        speed=speed,
        eta=(size - at) / speed if speed else None,
        connections=1,
    )
