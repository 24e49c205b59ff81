"""A repaired copy of a file that has not its digest: rdl.repair, `rdl verify --repair`.

Evidence decides what of the file is kept (docs/design.md); what is fetched comes through the
one engine, and nothing takes the file's place before the copy has the digests asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from rdl.api import Session, Target, Teller
from rdl.core.blockmap import block_size_for
from rdl.core.byterange import ByteRange
from rdl.core.events import Result
from rdl.core.index_json import Header
from rdl.core.representation import Representation, Trust
from rdl.core.text import redact_url
from rdl.engine.hashing import Follower
from rdl.errors import (
    ChangedError,
    DigestMismatch,
    LocalFileError,
    ProtocolError,
    TargetExists,
    UsageError,
)
from rdl.looking import info
from rdl.options import Digest, FileOptions, Options, RangeSpec
from rdl.storage.base import Finish
from rdl.storage.copying import copy_to_part
from rdl.storage.inspecting import BAD, PART
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.verification import Check, Verifier, as_check

STEP = 1 << 20


class Patch(Struct, frozen=True):
    """Right bytes for `range` of a file, in the file `source`, which has `digests`."""

    range: ByteRange
    source: Path
    digests: tuple[Digest, ...]
    result: Result

    @property
    def proofs(self) -> tuple[str, ...]:
        """What was shown of it, for a result."""
        part = f"of bytes {self.range.start}-{self.range.stop - 1}"
        return tuple(f"{digest.algorithm} {part}" for digest in self.digests)


def repair(
    path: str | os.PathLike[str],
    url: str,
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
    url: str,
    checks: Sequence[Check],
    options: Options | None = None,
    tell: Teller | None = None,
) -> Result:
    """repair() of one file by all these checks of it."""
    options, path = options or Options(), checks[0].path
    if path.name.endswith(PART):
        raise UsageError(str(path), "name the file itself, not its part file")
    if any(check.range is None for check in checks):
        wanted = tuple(digest for check in checks for digest in check.digests)
        transfer = replace(options.transfer, digests=wanted, range=None)
        file = replace(options.file, adopt=True)
        return session.get(Target(url, path, replace(options, transfer=transfer, file=file)), tell)
    failed = _failed(checks)
    if not failed:
        size = path.stat().st_size
        return Result(redact_url(url), str(path), reason="unchanged", bytes_total=size)
    return _repair_ranges(_Source(session, url, options, tell), failed)


def _failed(checks: Sequence[Check]) -> list[Check]:
    """Those whose range has not its digest. Raises what else keeps one from being checked."""
    failed = []
    for check, found in zip(checks, Verifier().run(checks), strict=True):
        if found.reason == DigestMismatch.reason:
            failed.append(check)
        elif found.exit_code:
            raise LocalFileError(str(check.path), found.error, hint=found.hint)
    return failed


class _Source(Struct, frozen=True):
    """Where right bytes come from."""

    session: Session
    url: str
    options: Options
    tell: Teller | None

    def fetch(self, check: Check, size: int) -> Patch:
        """What the range of a file of `size` bytes should be. A run that was cut off is
        continued by the next."""
        spec = check.range or RangeSpec()
        start = max(0, size - spec.suffix) if spec.suffix is not None else spec.start
        stop = size if spec.stop is None else min(spec.stop, size)
        source = check.path.with_name(f"{check.path.name}.{start}-{stop - 1}.repair")
        options = self.options.transfer
        transfer = replace(options, digests=check.digests, range=RangeSpec(start, stop))
        own = replace(self.options, transfer=transfer, file=FileOptions(keep_time=False))
        try:
            result = self.session.get(Target(self.url, source, own), self.tell)
        except DigestMismatch:
            source.with_name(source.name + BAD).unlink(missing_ok=True)
            raise
        if source.stat().st_size != stop - start:
            source.unlink()
            raise ProtocolError(str(check.path), "the remote file is shorter than it said")
        return Patch(ByteRange(start, stop), source, check.digests, result)


def _repair_ranges(source: _Source, failed: Sequence[Check]) -> Result:
    """Each range is a download of its own, with its digest."""
    path, began = failed[0].path, time.monotonic()
    size = path.stat().st_size
    length = info(source.url, source.options.network).length
    if length != size:
        why = f"it has {size} bytes, and the remote file {length}"
        raise ChangedError(str(path), why, hint="give a digest of the whole file")
    patches = [source.fetch(check, size) for check in failed]
    check = source.session.checker(source.options.transfer.max_time, str(path))
    _publish(path, redact_url(source.url), patches, check)
    for patch in patches:
        patch.source.unlink(missing_ok=True)
    return Result(
        redact_url(source.url),
        str(path),
        bytes_total=size,
        bytes_present=size,
        bytes_downloaded=sum(patch.result.bytes_downloaded for patch in patches),
        bytes_reused=size - sum(len(patch.range) for patch in patches),
        seconds=time.monotonic() - began,
        connections=max(patch.result.connections for patch in patches),
        retries=sum(patch.result.retries for patch in patches),
        verified_by=tuple(proof for patch in patches for proof in patch.proofs),
        trust=Trust.T4.value,
    )


def _publish(path: Path, url: str, patches: Sequence[Patch], check: Callable[[], None]) -> None:
    """The copy, patched, proved, and given the name."""
    before = _identity(path)
    if not copy_to_part(PosixDisk(), path, check, holes=False):
        hint = "rdl get URL -o FILE finishes it; rdl clean removes it"
        raise LocalFileError(str(path), "a partial stands beside it", hint=hint)
    store, size = PartStore(path, adopt=True, check=check), before[1]
    try:
        store.open()
        whole, about = ByteRange(0, size), Representation(size)
        store.begin(Header(url, about, block_size_for(size, None), adopted=(whole,)))
        for patch in patches:
            _write(store, patch, check)
        for patch in patches:
            _prove(store, patch)
        if _identity(path) != before:
            raise TargetExists(str(path), "changed while we worked")
        store.publish(Finish(size=size))
    except BaseException:
        store.close(discard=True)
        raise
    store.close()


def _identity(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _write(store: PartStore, patch: Patch, check: Callable[[], None]) -> None:
    view, at = memoryview(bytearray(STEP)), patch.range.start
    with patch.source.open("rb", buffering=0) as source:
        while count := source.readinto(view):
            check()
            store.write_at(at, view[:count])
            at += count


def _prove(store: PartStore, patch: Patch) -> None:
    """Read back: what is published is what was proved."""
    follower = Follower(store)
    follower.feed(patch.range, [digest.algorithm for digest in patch.digests])
    found = follower.digests()
    for digest in patch.digests:
        if found[digest.algorithm] != digest.hex:
            why = f"{digest.algorithm} is {found[digest.algorithm]}, expected {digest.hex}"
            raise DigestMismatch(str(store.path), why)
