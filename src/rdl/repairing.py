"""A repaired copy of a file that has not its digest: rdl.repair, `rdl verify --repair`.

Evidence decides what of the file is kept (docs/design.md); what is fetched comes through the
one engine, and nothing takes the file's place before the copy has the digests asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from rdl.api import Session, Target
from rdl.core.byterange import ByteRange
from rdl.core.digest import disagreement
from rdl.core.events import Fact, Result, Teller
from rdl.core.representation import Trust
from rdl.core.row import span_of
from rdl.core.text import redact_url
from rdl.engine.hashing import Follower
from rdl.errors import (
    ChangedError,
    DigestMismatch,
    LocalFileError,
    NetworkError,
    ProtocolError,
    RdlError,
    TargetExists,
    UsageError,
)
from rdl.landing import Landing
from rdl.manifest_reading import opened
from rdl.options import Digest, FileOptions, Options, RangeSpec, Source
from rdl.sources import addressed
from rdl.storage.copying import PrivateCopy, has_unknown_part, target_stat
from rdl.storage.disk import FileStat, told
from rdl.storage.inspecting import PART
from rdl.storage.names import Names, private_name
from rdl.storage.platform import PosixDisk
from rdl.syncing import INDEXES, NONE, Syncing, beside
from rdl.verification import Check, Verifier, as_check

STEP = 1 << 20


def repair(
    path: str | os.PathLike[str],
    url: str | Source,
    digest: str | Digest | Iterable[str | Digest],
    *,
    range: RangeSpec | tuple[int, int | None] | None = None,
    options: Options | None = None,
    tell: Teller | None = None,
) -> Result:
    """Give the file `path` its `digest` by fetching from `url` what it lacks; `digest` and
    `range` as in verify(). `reason` is "unchanged" when it has it already.

    Raises DigestMismatch where the remote file has not the digest either; ChangedError where
    only a range was given and the remote file is of another length; other RdlError as get().
    """
    check = as_check(path, digest, range)
    with Session() as session:
        return repair_with(session, url, [check], options, tell)


def repair_with(
    session: Session,
    url: str | Source,
    checks: Sequence[Check],
    options: Options | None = None,
    tell: Teller | None = None,
) -> Result:
    """repair() of one file by all these checks of it."""
    path = checks[0].path
    url, options = addressed(url, options or Options())
    if path.name.endswith(PART):
        raise UsageError(str(path), "name the file itself, not its part file")
    if any(check.range is None for check in checks):
        return _repair_whole(session, url, checks, options, tell)
    return _Ranges(session, url, checks, options, tell).repair()


def repair_by(
    session: Session, target: Target, manifest: str, tell: Teller | None = None
) -> Result:
    """The file at `target.path` as its manifest says; of `target.url` comes what it lacks."""
    return Syncing(session, _kept_mode(target), (), tell).run(manifest, decides=True)


def _repair_whole(
    session: Session, url: str, checks: Sequence[Check], options: Options, tell: Teller | None
) -> Result:
    """What a manifest at the server says is wrong is fetched; where there is none, the file is
    adopted, like a partial of unknown origin."""
    wanted = tuple(digest for check in checks for digest in check.digests)
    transfer = replace(options.transfer, digests=wanted, range=None)
    target = _kept_mode(Target(url, checks[0].path, replace(options, transfer=transfer)))
    check = session.checker(transfer.max_time, str(target.path))
    landing = Landing(target.path, redact_url(url), target.options, check=check)
    if (right := landing.already_there()) is not None:
        landing.sweep()
        return right
    if target.path.exists() and (result := _by_index(session, target, tell)):
        return result
    options = target.options
    options = replace(options, file=replace(options.file, adopt=True))
    return session.get(replace(target, options=options), tell)


def _kept_mode(target: Target) -> Target:
    """The repaired file has the mode of the old one. Raises LocalFileError."""
    path, options = target.path, target.options
    if not path.exists():
        return target
    mode = target_stat(PosixDisk(), path).mode
    if has_unknown_part(PosixDisk(), path):
        name = Names.of(path).part
        hint = "rdl get --continue with the digest adopts it; or remove it"
        raise LocalFileError(name, "exists, and no index says what it holds", hint=hint)
    return replace(target, options=replace(options, file=replace(options.file, mode=mode)))


def _by_index(session: Session, target: Target, tell: Teller | None) -> Result | None:
    """By a manifest, or another program's index, beside the file at its server, if there is one of
    the right version."""
    work, url = Syncing(session, target, [], tell), str(target.url)
    if target.options.source is not None:
        return None
    for suffix in INDEXES:
        try:
            index = opened(session, url, beside(url, suffix), target.options)
        except (*NONE, NetworkError):
            continue
        with index, suppress(ChangedError, DigestMismatch):
            if work.agrees(index):
                return work.by(index)
    return None


class _Patch(Struct, frozen=True):
    """Right bytes for `range` of a file, in the file `source`."""

    range: ByteRange
    source: Path
    result: Result


class _Ranges:
    """A file whose checks are all of ranges: each that fails is a download of its own."""

    def __init__(
        self,
        session: Session,
        url: str,
        checks: Sequence[Check],
        options: Options,
        tell: Teller | None,
    ) -> None:
        self._session, self._url, self._checks = session, url, checks
        self._options, self._tell = options, tell
        self._path = checks[0].path
        self._alive = session.checker(options.transfer.max_time, str(self._path))

    def repair(self) -> Result:
        """What became of it. Raises RdlError; then the file is as it was."""
        began, target = time.monotonic(), target_stat(PosixDisk(), self._path)
        failed = self._failed()
        patches: list[_Patch] = []
        try:
            for check in failed:
                patches.append(self._fetch(check, target.size))
            if patches:
                self._replace(target, patches)
        except RdlError as error:
            if error.resumable:  # what is complete is used by the next run
                raise
            _remove(patches)
            raise
        _remove(patches)
        return self._result(target, patches, time.monotonic() - began)

    def _failed(self) -> list[Check]:
        """The checks whose range has not its digest. Raises what else is wrong with one."""
        failed = []
        for check, found in zip(self._checks, Verifier().run(self._checks), strict=True):
            if found.reason == DigestMismatch.reason:
                failed.append(check)
            elif found.exit_code:
                raise LocalFileError(found.error, hint=found.hint)
        return failed

    def _fetch(self, check: Check, size: int) -> _Patch:
        """What the range of a file of `size` bytes should be, under a name that depends on
        nothing else, so that a run that was cut off is continued by the next."""
        part = _range_of(check, size)
        about = repr((self._path.name, part.start, part.stop, check.digests))
        source = self._path.with_name(private_name(about))
        transfer = replace(
            self._options.transfer,
            digests=check.digests,
            range=RangeSpec(part.start, part.stop),
            expected_size=size,
        )
        file = FileOptions(keep_time=False, mode=0o600)
        own = replace(self._options, transfer=transfer, file=file)
        try:
            result = self._session.get(Target(self._url, source, own), self._teller())
        except RdlError as error:
            if isinstance(error, DigestMismatch):
                self._path.with_name(Names.of(source).bad).unlink(missing_ok=True)
                error.hint = "the remote file has it neither"
            shown = str(error).replace(str(source), str(self._path))
            error.args = (shown.replace(source.name, self._path.name),)
            raise
        return _Patch(part, source, result)

    def _teller(self) -> Teller | None:
        """Facts of the range under the name that the user knows."""
        tell = self._tell
        if tell is None:
            return None

        def told(fact: Fact) -> None:
            tell(replace(fact, path=str(self._path)))

        return told

    def _replace(self, target: FileStat, patches: Sequence[_Patch]) -> None:
        """The copy, patched, proved, and given the name."""
        with PrivateCopy(PosixDisk(), self._path, target, self._alive) as copy:
            for patch in patches:
                _write(copy, patch, self._alive)
            for check in self._checks:
                self._prove(copy, check, target.size)
            try:
                copy.replace()
            except TargetExists as error:
                raise TargetExists(str(self._path), error.why) from error

    def _prove(self, copy: PrivateCopy, check: Check, size: int) -> None:
        """Read back: what is published is what was proved, ranges that were right before too."""
        follower = Follower(copy)
        follower.feed(_range_of(check, size), [digest.algorithm for digest in check.digests])
        wanted = {digest.algorithm: digest.hex for digest in check.digests}
        if why := disagreement(follower.digests(), wanted):
            raise DigestMismatch(str(self._path), why)

    def _result(self, target: FileStat, patches: Sequence[_Patch], seconds: float) -> Result:
        fetched = [patch.result for patch in patches]
        return Result(
            redact_url(self._url),
            str(self._path),
            reason="complete" if patches else "unchanged",
            bytes_total=target.size,
            bytes_present=target.size,
            bytes_downloaded=sum(one.bytes_downloaded for one in fetched),
            bytes_reused=target.size - _covered([patch.range for patch in patches]),
            seconds=seconds,
            connections=max((one.connections for one in fetched), default=0),
            retries=sum(one.retries for one in fetched),
            verified_by=tuple(
                f"{digest.algorithm} of bytes {part.start}-{part.stop - 1}"
                for check in self._checks
                for part in [_range_of(check, target.size)]
                for digest in check.digests
            ),
            trust=Trust.T4.value,
        )


def _range_of(check: Check, size: int) -> ByteRange:
    part = span_of(check.range, size)
    if part is None:
        raise ProtocolError(str(check.path), f"the range lies outside of its {size} bytes")
    return part


def _covered(ranges: Sequence[ByteRange]) -> int:
    """How many bytes lie in at least one of them."""
    count = end = 0
    for run in sorted(ranges, key=lambda run: run.start):
        count, end = count + max(0, run.stop - max(end, run.start)), max(end, run.stop)
    return count


def _write(copy: PrivateCopy, patch: _Patch, check: Callable[[], None]) -> None:
    buffer, at = memoryview(bytearray(STEP)), patch.range.start
    with told(str(patch.source)), patch.source.open("rb", buffering=0) as source:
        while count := source.readinto(buffer[: min(STEP, patch.range.stop - at)]):
            check()
            copy.write_at(at, buffer[:count])
            at += count


def _remove(patches: Sequence[_Patch]) -> None:
    for patch in patches:
        patch.source.unlink(missing_ok=True)
