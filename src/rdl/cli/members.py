"""Members of remote archives for the commands: `ls`, and --member of `get` and `cat`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rdl.cli.display.summary import located
from rdl.cli.frame import said
from rdl.cli.targets import Download
from rdl.core.digest import disagreement
from rdl.core.events import Result, Teller, failed
from rdl.core.text import safe_text
from rdl.errors import NO_DIGEST, DigestMismatch, DigestMissing, RdlError, UsageError
from rdl.options import LazyOptions, Options, Source

if TYPE_CHECKING:
    from rdl.api import Session, Target
    from rdl.doors.members import Archive
    from rdl.engine.remote_file import RemoteFile

KEPT = 32 << 20
"""Bytes of an archive that are kept in memory, at most."""
_USELESS = frozenset(
    (
        *("input_file", "base_url", "locked", "resume", "parallel", "ranges", "adopt", "offset"),
        *("program", "join", "on_change", "strict", "allow_html", "block_size", "dry_run"),
    )
)
"""Options that say nothing of a member."""


def refuse_with_member() -> None:
    """Raises UsageError for an option on the command line that says nothing of a member."""
    for option in said(_USELESS):
        raise UsageError(f"{option} with --member", "a member knows nothing of it")


class _Remote:
    """A remote file as the carrier of an archive; `check` may raise."""

    def __init__(self, file: RemoteFile, check: Callable[[], None]) -> None:
        self._file, self._check = file, check

    def size(self) -> int:
        return self._file.size()

    def read_at(self, offset: int, size: int) -> bytes:
        self._check()
        return self._file.read_at(offset, size)


@contextmanager
def archive_at(
    session: Session, url: str | Source, options: Options, tell: Teller | None = None
) -> Iterator[tuple[Archive, str]]:
    """The archive at `url`; what the options say of a file is not about it, but for the limit that
    makes it trusted. Raises RdlError."""
    from rdl.core.digest import digests_in_fragment
    from rdl.doors.archives import open_archive
    from rdl.sources import shown_url

    shown = safe_text(shown_url(url), 300)
    if isinstance(url, str) and digests_in_fragment(url):
        why = "the digest in it is of the whole archive, and only some of that is read"
        raise UsageError(shown, why, hint="--sha256 is about a member")
    limit = options.transfer.max_filesize
    transfer = replace(options.transfer, digests=(), max_filesize=None, verify="off")
    check = session.checker(transfer.max_time, shown)
    own = replace(options, transfer=transfer)
    with session.open(url, options=own, lazy=LazyOptions(keep=KEPT), tell=tell) as remote:
        try:
            archive = open_archive(_Remote(remote, check), trusted=limit is not None)
            yield archive, remote.stat().trust
        except RdlError as error:
            if error.what == "archive":
                error.args = (f"{shown}: {error.why}",)
            raise


def member_of(
    download: Download, name: str, sink: Callable[[memoryview], None]
) -> Callable[..., None]:
    """What reads the member; its digests are compared at the end."""
    transfer = download.options.transfer

    def read(session: Session, tell: Teller) -> None:
        from rdl.doors.members import check_size

        _require(download.options)
        hashes = {one.algorithm: hashlib.new(one.algorithm) for one in transfer.digests}
        with archive_at(session, download.url, download.options, tell) as (archive, _):
            member = archive.find(name)
            check_size(member, transfer.max_filesize)
            for chunk in archive.chunks(member):
                for one in hashes.values():
                    one.update(chunk)
                sink(memoryview(chunk))
        wanted = {one.algorithm: one.hex for one in transfer.digests}
        found = {algorithm: one.hexdigest() for algorithm, one in hashes.items()}
        if why := disagreement(found, wanted):
            raise DigestMismatch(f"'{safe_text(name)}'", why)

    return read


def keep_member(session: Session, target: Target, name: str, tell: Teller) -> Result:
    """What became of the member, which goes to a file. Never raises for what went wrong."""
    from contextlib import ExitStack

    from rdl.doors.keeping import Keeping
    from rdl.sources import shown_url

    path, max_time = str(target.path), target.options.transfer.max_time
    check = session.checker(max_time, path)
    try:
        _require(target.options)
        with ExitStack() as open_ones:

            def opened() -> tuple[Archive, str]:
                found = archive_at(session, target.url, target.options, tell)
                return open_ones.enter_context(found)

            return Keeping(target, opened, tell, check).keep(name)
    except RdlError as error:
        shown = shown_url(target.url)
        located(error, shown, target.options.network.user)
        return failed(Result(shown, path), error, resumable=False)


def _require(options: Options) -> None:
    """The server's digests, which --verify asks for, are the archive's."""
    if options.transfer.verify == "require" and not options.transfer.digests:
        raise DigestMissing("--member", NO_DIGEST, hint="--sha256 gives the member's")
