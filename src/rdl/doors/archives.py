"""Members of archives: which archive it is, by how it begins and never by its name.

The formats are the standard library's; what may be asked of the carrier, and how much may be made
of it, is decided here (docs/design.md).
"""

from __future__ import annotations

from rdl.core.reads import Carrier
from rdl.doors.members import Archive
from rdl.doors.tars import PACKINGS, TarArchive, begins_tar
from rdl.doors.zips import ZipArchive
from rdl.errors import ArchiveError

HEAD = 512
_HINT = "zip, tar, tar.gz, tar.bz2 and tar.xz are read"


def open_archive(carrier: Carrier, *, trusted: bool = False) -> Archive:
    """The archive that `carrier` is. `trusted`: its members may be any number of times larger than
    what is stored of them. Raises ArchiveError where it is none, and what the carrier raises."""
    try:
        return _found(carrier, trusted)
    except ArchiveError as error:
        error.hint = error.hint or _HINT
        raise


def _found(carrier: Carrier, trusted: bool) -> Archive:
    """The end is looked at first: most are zips, and it says that without the beginning, unless
    something stands before it. That may be a program; or a tar whose last member is a zip."""
    fault = ""
    try:
        archive = ZipArchive(carrier, trusted=trusted)
    except ArchiveError as error:
        fault = error.why
    else:
        if archive.alone:
            return archive
    head = carrier.read_at(0, HEAD)
    for packing in PACKINGS:
        if head.startswith(packing.magic):
            return TarArchive(carrier, packing, trusted=trusted)
    if begins_tar(head):
        return TarArchive(carrier, trusted=trusted)
    if not fault:
        return archive
    if head.startswith(b"PK"):
        raise ArchiveError("archive", fault)
    return _old_tar(carrier, trusted)


def _old_tar(carrier: Carrier, trusted: bool) -> Archive:
    """One of before 1988 begins with a name."""
    try:
        return TarArchive(carrier, trusted=trusted)
    except ArchiveError:
        raise ArchiveError("archive", "no archive, or a zip whose end is missing") from None
