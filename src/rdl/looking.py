"""Looking without fetching or changing anything: what a server says, what is on disk.

One request (a second, plain one where the first is refused as a range); no body is waited for.
The network is imported only when it is asked: httpx takes longer than a look at the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from rdl.core.blockmap import BlockMap, block_size_for
from rdl.core.byterange import ByteRange
from rdl.core.classify import (
    Context,
    Malformed,
    Partial,
    Refused,
    RetryLater,
    Unsatisfiable,
    Verdict,
    Whole,
    classify,
)
from rdl.core.describing import Info, described, serves_ranges
from rdl.core.fields import ResponseHead
from rdl.core.gate import Ask
from rdl.core.representation import Representation
from rdl.core.text import redact_url
from rdl.errors import LocalFileError, NetworkError, ProtocolError, RdlError
from rdl.options import NetworkOptions, Options, Source
from rdl.storage.clearing import Leftover, remove, survey
from rdl.storage.disk import Disk, opened_folder, told
from rdl.storage.inspecting import Partial as OnDisk
from rdl.storage.inspecting import gaps, names_for, partials_in, read_partial
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import check_target, read_published

if TYPE_CHECKING:
    from rdl.transport.base import Exchange, Transport

Pair = tuple[int, int]
FIRST_BYTE, PLAIN = Ask(0, 1), Ask(ranged=False)


class Status(Struct, frozen=True):
    """What is on disk of the file `path`. Ranges are inclusive: `(first, last)`.

    `url` is redacted. `range`: the part that was asked for, None: all. `complete` is None for
    a file that rdl knows nothing about, and true of a part that was published as it was asked
    for: `length` is then more than `bytes_present`. `running`: another process is fetching it now;
    `settled`: the next run believes what is here without reading it; `adopted`: so many further
    bytes are here that only a digest can prove; `modified`: seconds since the epoch.
    """

    path: str
    url: str | None = None
    length: int | None = None
    block_size: int | None = None
    bytes_present: int = 0
    present: tuple[Pair, ...] = ()
    missing: tuple[Pair, ...] = ()
    complete: bool | None = None
    range: Pair | None = None
    etag: str | None = None
    last_modified: str | None = None
    trust: str = "T0"
    running: bool = False
    settled: bool = False
    adopted: int = 0
    modified: float | None = None

    @property
    def wanted(self) -> int | None:
        """How many bytes it will have; None while that is unknown."""
        return self.length if self.range is None else self.range[1] - self.range[0] + 1

    def block_map(self) -> BlockMap | None:
        """The present bytes as a map; None while the length is unknown."""
        if self.length is None:
            return None
        blocks = BlockMap(self.length, self.block_size or block_size_for(self.length))
        for first, last in self.present:
            blocks.add(ByteRange(first, last + 1))
        return blocks


class Listing(Struct, frozen=True):
    """The partials of one folder, and why others could not be read."""

    partials: tuple[Status, ...] = ()
    errors: tuple[RdlError, ...] = ()


def info(
    url: str | Source,
    network: NetworkOptions | None = None,
    *,
    transport: Transport | None = None,
) -> Info:
    """What the server says of the file at `url`, by a request for its first byte, which is
    not waited for. Raises RdlError as a download would, but tries only once.

    A range is asked for because that is answered as in a download; HEAD is often refused or
    answered by somebody else. `transport`: where to ask; it stays open.
    """
    from rdl.sources import addressed, check_given
    from rdl.transport.urls import split_userinfo

    url, options = addressed(url, Options())
    check_given(url, options.source)
    url, user, password = split_userinfo(url)
    network = network or NetworkOptions()
    if user is not None and network.user is None:
        network = replace(network, user=user, password=password)
    if transport is not None:
        return _ask(url, transport)
    from rdl.transports import Transports

    own = Transports()
    try:
        return _ask(url, own.take(network, options.source))
    finally:
        own.close()


def _ask(url: str, transport: Transport) -> Info:
    head = _head(url, transport, FIRST_BYTE)
    first = verdict = classify(FIRST_BYTE, head, Context())
    again = isinstance(first, Unsatisfiable | Malformed)
    if again:
        head = _head(url, transport, PLAIN)
        verdict = classify(PLAIN, head, Context())
    about = _described_by(verdict, url)
    return described(url, head, about, serves_ranges(head, first, asked_again=again))


def _head(url: str, transport: Transport, ask: Ask) -> ResponseHead:
    from rdl.transport.base import Request

    field = ask.range_field
    exchange = transport.open(Request(url, (("Range", field),) if field else ()))
    try:
        if exchange.head.get("content-length") == "1":
            _pass_by(exchange)
        return exchange.head
    finally:
        exchange.close()


def _pass_by(exchange: Exchange) -> None:
    """The byte that was asked for, if it is here already: then the connection serves again."""
    view = memoryview(bytearray(1))
    with suppress(NetworkError):  # what was asked for is the head
        while exchange.ready() and exchange.readinto(view):
            pass


def _described_by(verdict: Verdict, url: str) -> Representation:
    match verdict:
        case Partial() | Whole():
            return verdict.representation
        case Refused() | RetryLater():
            raise verdict.error
        case Malformed():
            raise ProtocolError(redact_url(url), verdict.why)
    raise ProtocolError(redact_url(url), "the server answers with no file")


def status(path: str | os.PathLike[str], *, disk: Disk | None = None) -> Status:
    """What is on disk of the file `path`, which may also be named by its part file or index.

    Offline, and changes nothing. Raises LocalFileError (nothing there, a folder, a damaged or
    foreign index, one of a newer version), BusyError (only just begun).
    """
    place, disk = Path(path), disk or PosixDisk()
    with _folder(disk, place.parent) as folder:
        names = names_for(disk, folder, place.name)
        found = read_partial(disk, folder, names)
        if found is not None:
            return _of_partial(place.with_name(names.target), found)
        with told(str(place)):
            stat = check_target(disk, folder, names.target)
    if stat is None:
        raise LocalFileError(str(place), "there is no such file, and no partial of it")
    return _of_file(place.with_name(names.target), stat.size, stat.mtime_ns / 1e9, disk)


def partials(path: str | os.PathLike[str], *, disk: Disk | None = None) -> Listing:
    """The partials in the folder `path`, not below it. Raises LocalFileError."""
    disk, found, errors = disk or PosixDisk(), list[Status](), list[RdlError]()
    with _folder(disk, Path(path)) as folder:
        for names in partials_in(disk, folder):
            try:
                one = read_partial(disk, folder, names)
            except RdlError as error:
                errors.append(error)
                continue
            if one is not None:
                found.append(_of_partial(Path(path) / names.target, one))
    return Listing(tuple(found), tuple(errors))


@contextmanager
def _folder(disk: Disk, path: Path) -> Iterator[int]:
    with told(str(path)), opened_folder(disk, path) as folder:
        yield folder


def _of_partial(path: Path, found: OnDisk) -> Status:
    header, about = found.header, found.header.representation
    span = header.wanted
    missing = gaps(found.present, span) if span is not None else ()
    return Status(
        path=str(path),
        url=redact_url(header.url) or None,
        length=about.total,
        block_size=header.block_size,
        bytes_present=sum(map(len, found.present)),
        present=_pairs(found.present),
        missing=_pairs(missing),
        complete=False,
        range=_pairs((header.span,))[0] if header.span else None,
        etag=about.etag,
        last_modified=about.last_modified,
        trust=about.trust.value,
        running=found.running,
        settled=found.settled,
        adopted=sum(map(len, header.adopted)),
        modified=found.part.mtime_ns / 1e9 if found.part else None,
    )


def _of_file(path: Path, size: int, modified: float, disk: Disk) -> Status:
    """A file under its final name; only what publishing noted tells that it is ours."""
    facts = read_published(path, disk)
    whole = ((0, size - 1),) if size else ()
    known = Status(
        str(path), length=size, bytes_present=size, present=whole, modified=modified, settled=True
    )
    if facts is None:
        return known
    etag, last_modified = _text(facts.get("etag")), _text(facts.get("last_modified"))
    strong = facts.get("modified_strong") is True
    trust = Representation(size, etag, last_modified, strong).trust.value
    total = facts.get("total")
    if type(total) is int and total > size:  # only a part was asked for; which is not noted
        known = replace(known, length=total, present=())
    return replace(known, complete=True, etag=etag, last_modified=last_modified, trust=trust)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _pairs(ranges: tuple[ByteRange, ...]) -> tuple[Pair, ...]:
    return tuple((run.start, run.stop - 1) for run in ranges)


def leftovers(
    path: str | os.PathLike[str], *, bad: bool = False, disk: Disk | None = None
) -> tuple[list[Leftover], list[LocalFileError]]:
    """What clear() may remove from the folder `path`, with `bad` FILE.part.bad too, and why
    other things that look like it may not. Raises LocalFileError."""
    disk = disk or PosixDisk()
    with _folder(disk, Path(path)) as folder:
        return survey(disk, folder, bad=bad)


def clear(path: str | os.PathLike[str], leftover: Leftover, *, disk: Disk | None = None) -> int:
    """Remove one of them; returns the bytes of the disk that became free. Raises BusyError
    where another rdl holds it, LocalFileError."""
    disk = disk or PosixDisk()
    with _folder(disk, Path(path)) as folder:
        return remove(disk, folder, leftover)
