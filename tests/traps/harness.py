"""Plays a row of protocol traps in its modes, and checks after each what must always hold.

The origin is a raw socket that says what the row scripts; the client is the real Session over
real sockets, with short waits. Modes: `fresh`; `resume` of a run that an honest server cut;
`workers`: four connections on small parts.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import rdl
from rdl.api import Session, Target
from rdl.core import pace
from rdl.core.events import Changed, Fact, Result
from rdl.errors import LocalFileError
from rdl.options import FileOptions, NetworkOptions, Options, TransferOptions
from rdl.storage.part_file import PartStore
from tests.engine.staging import content_of
from tests.support.origin import END, Answer, Origin, Seen

KiB, MiB = 1 << 10, 1 << 20
SIZE = 1536 * KiB
CUT = 600 * KiB
CANARY = "canary-9f3b7c"
FRESH, RESUME, WORKERS = "fresh", "resume", "workers"
ALL = (FRESH, RESUME, WORKERS)
DATE = "Wed, 18 Nov 2026 12:00:00 GMT"
EARLIER = "Mon, 02 Nov 2026 08:00:00 GMT"


@dataclass(frozen=True)
class Head:
    """A response head to be altered: `replace(head, total=...)`. None leaves a field out."""

    status: str = "200 OK"
    length: int | str | None = None
    content_range: str | None = None
    etag: str | None = '"v0"'
    modified: str | None = None
    date: str | None = DATE
    more: tuple[str, ...] = ()
    version: str = "HTTP/1.1"

    def encode(self) -> bytes:
        """As it goes over the wire."""
        named = {
            "Content-Length": self.length,
            "Content-Range": self.content_range,
            "ETag": self.etag,
            "Last-Modified": self.modified,
            "Date": self.date,
        }
        lines = [f"{self.version} {self.status}"]
        lines += [f"{name}: {value}" for name, value in named.items() if value is not None]
        return "\r\n".join([*lines, *self.more, "", ""]).encode("latin-1")


@dataclass(frozen=True)
class Asked:
    """One request as a row sees it: its number over all connections, and what it asks for.
    `start` and `stop` (half-open, clipped to `size`) are those of its Range, None without one."""

    number: int
    connection: int
    turn: int
    seen: Seen
    start: int | None
    stop: int | None

    @property
    def ranged(self) -> bool:
        return self.start is not None


@dataclass
class Server:
    """What a row's script works with: `versions` of one file, the newest is served by default."""

    versions: list[bytes]
    marks: dict[str, Any] = field(default_factory=dict)
    """For scripts that remember something."""
    origin: Origin | None = None
    """Where it is served."""

    @property
    def content(self) -> bytes:
        return self.versions[0]

    def head(self, asked: Asked, version: int = 0) -> tuple[Head, bytes]:
        """An honest head, and its body: a 206 to a Range that is there, 416, or a 200."""
        data = self.versions[version]
        tag = f'"v{version}"'
        fields = asked.seen.fields
        if fields.get("if-match", tag) != tag:
            return Head("412 Precondition Failed", 0, etag=tag), b""
        if fields.get("if-none-match") == tag:
            return Head("304 Not Modified", None, etag=tag), b""
        fits = fields.get("if-range", tag) == tag
        if asked.start is None or asked.stop is None or not fits:
            return Head(length=len(data), etag=tag), data
        stop = min(asked.stop, len(data))
        if asked.start >= len(data):
            said = f"bytes */{len(data)}"
            return Head("416 Range Not Satisfiable", 0, said, etag=tag), b""
        body = data[asked.start : stop]
        said = f"bytes {asked.start}-{stop - 1}/{len(data)}"
        return Head("206 Partial Content", len(body), said, etag=tag), body

    def honest(self, asked: Asked, version: int = 0) -> Answer:
        """All of an honest answer."""
        head, body = self.head(asked, version)
        return [head.encode(), body]


Script = Callable[[Server, Asked], Answer]


@dataclass(frozen=True)
class Row:
    """A row. `says`: what the server does. `ends`: for each mode (or all) the exit codes that
    are right; 0 means a published file that is one version. `versions`: how many the script
    uses. `requests`: at most so many in the trapped run; `sent`: at most so many bodies' worth
    of bytes let in, in sizes of the file (budget of what is fetched again).
    """

    name: str
    says: str
    script: Script
    ends: frozenset[int] | dict[str, frozenset[int]]
    modes: Sequence[str] = ALL
    versions: int = 1
    size: int = SIZE
    requests: int | None = None
    fetched: float = 2.5
    trust: str | None = None
    completeness: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    file: dict[str, Any] = field(default_factory=dict)
    digest: bool = False
    sizes: Sequence[int] = ()
    """Of the versions, where they are not all of `size` bytes."""
    growing: bool = False
    """Each version begins with the one before it."""
    begun: dict[str, Any] = field(default_factory=dict)
    """Fields of the honest head that RESUME continues from, and what `altered` says."""
    cut: int = CUT
    """So many bytes of the body the honest run got; all of it: it was cut before publishing."""
    check: Callable[[Played], None] = lambda played: None

    def right(self, mode: str) -> frozenset[int]:
        return self.ends if isinstance(self.ends, frozenset) else self.ends[mode]


@dataclass
class Played:
    """What happened in a trapped run."""

    row: Row
    mode: str
    server: Server
    origin: Origin
    folder: Path
    result: Result
    facts: list[Fact]
    requests: list[Asked]

    @property
    def target(self) -> Path:
        return self.folder / "f.bin"


def ends(*codes: int) -> frozenset[int]:
    """The exit codes that are right."""
    return frozenset(codes)


def play(row: Row, mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """Run a row in a mode, and check all that must hold."""
    monkeypatch.setattr(pace, "BASE_DELAY", 0.005)
    monkeypatch.setattr(pace, "LONGEST_DELAY", 0.02)
    server = Server(_contents(row))
    longest = max(map(len, server.versions))
    inside = folder / "in"
    inside.mkdir()
    lock, count = threading.Lock(), [0]
    requests: list[Asked] = []
    trapped = threading.Event()

    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        with lock:
            asked = _asked(count[0], connection, turn, seen, longest)
            count[0] += 1
            if not trapped.is_set():
                head, body = server.head(asked)
                gone = Head("410 Gone", 0, etag=None).encode()
                begun = replace(head, **row.begun).encode()
                return [begun, body[: row.cut], END] if asked.number == 0 else [gone]
            requests.append(asked)
            return row.script(server, asked)

    with Origin(answer) as origin:
        server.origin = origin
        if mode == RESUME:
            with _unpublished(monkeypatch):
                _run(row, origin, inside, mode, [], cut=True)
            assert (inside / "f.bin.part").exists(), "the honest run left nothing to resume"
            origin.seen.clear()
            count[0] = 0
        trapped.set()
        facts: list[Fact] = []
        result = _run(row, origin, inside, mode, facts)
        played = Played(row, mode, server, origin, inside, result, facts, requests)
        _check_always(played)
        row.check(played)
    return played


def _contents(row: Row) -> list[bytes]:
    sizes = row.sizes or [row.size] * row.versions
    if row.growing:
        longest = content_of(max(sizes), seed=0)
        return [longest[:size] for size in sizes]
    return [content_of(size, seed=number) for number, size in enumerate(sizes)]


@contextmanager
def _unpublished(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it no run gives its file the final name."""

    def publish(store: PartStore, finish: Any) -> None:
        raise LocalFileError("f.bin", "it ends before the name is given")

    with monkeypatch.context() as changed:
        changed.setattr(PartStore, "publish", publish)
        yield


def _asked(number: int, connection: int, turn: int, seen: Seen, size: int) -> Asked:
    text = seen.fields.get("range", "")
    if not text.startswith("bytes="):
        return Asked(number, connection, turn, seen, None, None)
    first, _, last = text.removeprefix("bytes=").partition("-")
    if not first:
        return Asked(number, connection, turn, seen, max(0, size - int(last)), size)
    return Asked(number, connection, turn, seen, int(first), int(last) + 1 if last else size)


def _run(
    row: Row, origin: Origin, folder: Path, mode: str, facts: list[Fact], *, cut: bool = False
) -> Result:
    """One download; `cut`: by an honest server that cuts, without another try."""
    network = NetworkOptions(
        netrc=False,
        proxy="",
        timeout=2.0,
        connect_timeout=2.0,
        headers=(("X-Secret", CANARY),),
        user="user",
        password=CANARY,
    )
    transfer = TransferOptions(retry=0 if cut else 4, connections=1)
    if mode == WORKERS:
        transfer = TransferOptions(retry=4, connections=4, min_split=64 * KiB)
    options = Options(
        replace_struct(network, {} if cut else row.network),
        replace_struct(transfer, {} if cut else row.options),
        FileOptions(**row.file),
    )
    if row.digest and not cut:
        made = hashlib.sha256(_contents(row)[0]).hexdigest()
        digests = (rdl.Digest("sha256", made),)
        options = replace_struct(
            options, {"transfer": replace_struct(options.transfer, {"digests": digests})}
        )
    url = origin.url(f"/f.bin?token={CANARY}")
    with Session() as session:
        [result] = session.get_all([Target(url, folder / "f.bin", options)], facts.append)
    return result


def replace_struct(value: Any, changes: dict[str, Any]) -> Any:
    """msgspec's replace, by a dictionary."""
    from msgspec.structs import replace as change

    return change(value, **changes) if changes else value


def _check_always(played: Played) -> None:
    row, result, target = played.row, played.result, played.target
    assert result.exit_code in row.right(played.mode), f"{result!r}"
    assert result.exit_code != 1, f"a bug: {result!r}"
    # the final name is absent, or exactly one version; present exactly when the exit is 0
    assert target.exists() == (result.exit_code == 0)
    if target.exists():
        data = target.read_bytes()
        assert any(data == version for version in played.server.versions), "a wrong byte"
    # what the index claims is what one version has, and good bytes are kept
    _check_index(played)
    _check_kept(played)
    _check_requests(played.requests)
    # nothing else is there, and no secret in anything that was written or said
    names = {"f.bin", "f.bin.part", "f.bin.part.index", "f.bin.part.bad"}
    assert {entry.name for entry in played.folder.iterdir()} <= names
    assert os.listdir(played.folder.parent) == ["in"]
    for entry in played.folder.iterdir():
        assert CANARY.encode() not in entry.read_bytes()
    assert CANARY not in repr(result) + repr(played.facts)
    # budgets
    if row.requests is not None:
        assert len(played.requests) <= row.requests, [one.seen.line for one in played.requests]
    # what is compared; and a worker may write past an end that has moved closer
    slack = MiB if played.mode == WORKERS else 64 * KiB
    assert result.bytes_downloaded <= row.fetched * row.size + slack
    if result.exit_code == 0 and row.trust is not None:
        assert result.trust == row.trust
    if result.exit_code == 0 and row.completeness is not None:
        assert result.completeness == row.completeness


def _check_index(played: Played) -> None:
    try:
        status = rdl.status(played.target)
    except LocalFileError:
        return
    if status.complete is not False:
        return
    part = played.target.with_name("f.bin.part").read_bytes()
    for version in played.server.versions:
        if all(part[a : b + 1] == version[a : b + 1] for a, b in status.present):
            return
    raise AssertionError(f"the index claims a mix: {status!r}")


def _check_kept(played: Played) -> None:
    """A run that failed, and saw no other version, has what the run before it had."""
    changed = any(isinstance(fact, Changed) for fact in played.facts)
    weak = played.result.trust == "T0" and not played.row.digest
    if played.mode == RESUME and played.result.exit_code not in (0, 10) and not (changed or weak):
        assert rdl.status(played.target).bytes_present >= min(played.row.cut, played.row.size)


def _check_requests(requests: list[Asked]) -> None:
    """No HEAD, no coding, one range, and never a weak tag to join parts by."""
    for asked in requests:
        fields = asked.seen.fields
        assert asked.seen.line.startswith("GET ")
        assert fields["accept-encoding"] == "identity"
        assert "," not in fields.get("range", "")
        assert not any(fields.get(name, "").startswith("W/") for name in ("if-range", "if-match"))


def altered(**changes: Any) -> Script:
    """Honest answers with these fields of the head changed."""

    def script(server: Server, asked: Asked) -> Answer:
        head, body = server.head(asked)
        return [replace(head, **changes).encode(), body]

    return script
