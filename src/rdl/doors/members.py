"""What an archive holds: its members, as values, and how one is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Literal, Protocol

from msgspec import Struct

from rdl.core.text import safe_text
from rdl.errors import ArchiveError, PolicyError

MAX_MEMBERS = 1 << 20
_COMPARED = 10_000
"""Names looked through for one like what was asked for."""

Kind = Literal["file", "directory", "symlink", "hardlink", "other"]
_KINDS = {
    "directory": "is a directory",
    "symlink": "is a symbolic link",
    "hardlink": "is a hard link",
    "other": "is no regular file",
}


class Member(Struct, frozen=True):
    """One entry of an archive. `size`: bytes when it is read; `stored`: bytes in the archive, None
    where that is not known; `modified`: seconds since the epoch (a zip's time, which has no zone,
    is taken as UTC); `crc32`: hex; `link`: where a link of a tar leads.

    `place` is the archive's own mark. `refusal`: why it cannot be read, though it is a file.
    """

    name: str
    size: int
    place: int
    kind: Kind = "file"
    stored: int | None = None
    modified: float | None = None
    crc32: str | None = None
    link: str = ""
    refusal: str = ""


class Archive(Protocol):
    """An archive that was opened; one thing is done with it at a time."""

    @property
    def fetched(self) -> int:
        """Bytes asked for of the carrier so far."""
        ...

    @property
    def verified_by(self) -> tuple[str, ...]:
        """What proved the bytes of a member that was read to its end."""
        ...

    def members(self) -> Iterator[Member]:
        """All, in their order; may be asked for once. Raises ArchiveError at what is damaged."""
        ...

    def find(self, name: str) -> Member:
        """The last one of this name, which is a file. Raises ArchiveError."""
        ...

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The bytes of what find() gave, a MiB at a time, `member.size` in all. Raises
        ArchiveError, or DigestMismatch where the archive's own check sum is another."""
        ...


def checked(name: str, found: Member | None, names: Iterable[str]) -> Member:
    """`found`, where it is a file that can be read. Raises ArchiveError; `names` are all."""
    if found is None:
        near = get_close_matches(name, islice(names, _COMPARED), 3)
        shown = ", ".join(f"'{safe_text(one)}'" for one in near)
        hint = f"there is {shown}" if near else "rdl ls lists them"
        raise ArchiveError(f"'{safe_text(name)}'", "no such member", hint=hint)
    if found.kind != "file":
        hint = ""
        if found.kind == "hardlink":
            hint = f"the bytes are those of '{safe_text(found.link)}'"
        raise ArchiveError(f"'{safe_text(name)}'", _KINDS[found.kind], hint=hint)
    if found.refusal:
        raise ArchiveError(f"'{safe_text(name)}'", found.refusal)
    return found


def check_size(member: Member, limit: int | None) -> None:
    """Raises PolicyError where it is larger than `limit` (--max-filesize)."""
    if limit is not None and member.size > limit:
        why = f"{member.size} bytes, and --max-filesize is {limit}"
        raise PolicyError(f"'{safe_text(member.name)}'", why)


def too_many() -> ArchiveError:
    return ArchiveError("archive", f"it has more than {MAX_MEMBERS} members")
