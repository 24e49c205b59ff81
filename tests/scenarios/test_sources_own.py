"""Local files and sources of the caller's from end to end, all through the one engine.

The number in a test's name is that of the acceptance scenario.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import rdl
from rdl.api import Session, Target
from rdl.core import link, pace
from rdl.core.events import Result
from rdl.core.representation import Representation, Trust
from rdl.core.row import OVERLAP
from rdl.engine import stream as streams
from rdl.engine.stream import Stream
from rdl.errors import (
    ChangedError,
    DigestMismatch,
    DigestMissing,
    LocalFileError,
    NetworkError,
    PolicyError,
    ProtocolError,
    RdlError,
    UsageError,
)
from rdl.options import NetworkOptions, Options, RangeSpec, Source, TransferOptions
from rdl.sources import named, renewal
from rdl.transport.base import Lineage, Request, ResponseHead
from rdl.transport.files import FileSource
from rdl.transports import Transports
from tests.scenarios.coded import KiB, MiB, coded
from tests.scenarios.own import KINDS, Coded, Watch, source_of, watched_read
from tests.support.origin import Origin, response
from tests.support.program import rdl as run
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Of all local files."""
    made = Watch()
    monkeypatch.setattr(FileSource, "read", watched_read(made))
    return made


def given(kind: str, folder: Path, size: int, watch: Watch) -> str | Source:
    (folder / "here").mkdir(exist_ok=True)
    source = source_of(kind, folder / "here", size)
    if isinstance(source, Coded):
        source.watch = watch
    return source


def fetch(source: str | Source, path: Path, **transfer: Any) -> Result:
    network = NetworkOptions(netrc=False, proxy="")
    with Session() as session:
        return session.get(Target(source, path, Options(network, TransferOptions(**transfer))))


def published(path: Path, content: bytes) -> bool:
    """The right file, and nothing beside it."""
    return path.read_bytes() == content and os.listdir(path.parent) == [path.name]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there" / "f"


# 1, 2, 11, 36


@every_kind
@pytest.mark.parametrize("old", [None, b"old"])
def test_row_01_the_target_appears_when_it_is_complete(
    kind: str, old: bytes | None, tmp_path: Path, target: Path, watch: Watch
) -> None:
    size = 10 * MiB + 33
    source, seen = given(kind, tmp_path, size, watch), list[bytes | None]()
    if old is not None:
        target.write_bytes(old)
    watch.before = lambda _: seen.append(target.read_bytes() if target.exists() else None)
    result = fetch(source, target)
    assert len(seen) >= 10
    assert set(seen) == {old}
    assert (result.bytes_total, result.bytes_downloaded, result.trust) == (size, size, "T2")
    assert published(target, coded(0, size))
    watch.reads.clear()
    assert fetch(source, target).reason == "unchanged"
    assert not watch.reads


@every_kind
def test_row_02_a_killed_run_is_continued(kind: str, tmp_path: Path, target: Path) -> None:
    size, folder = 8 * MiB, target.parent

    def start(rate: int) -> subprocess.Popen[str]:
        words = ["tests.scenarios.own", "get", kind, str(folder), str(size), str(rate)]
        return subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    first = start(2 * MiB)
    try:
        assert until(lambda: target.with_name("f.part.index").exists())
        assert until(lambda: rdl.status(target).bytes_present >= size // 4)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    kept = rdl.status(target).bytes_present
    assert not target.exists()
    second = start(0)
    try:
        said, _ = second.communicate(timeout=30)
    finally:
        second.kill()
    reused, downloaded = map(int, said.split())
    assert second.returncode == 0
    assert size // 4 <= kept == reused
    assert downloaded <= size - kept + OVERLAP
    assert target.read_bytes() == coded(0, size)
    assert sorted(os.listdir(folder)) == ["f", *(["stored data.bin"] if kind == "file" else [])]


@every_kind
def test_row_11_several_reads_at_a_time_each_of_many_blocks(
    kind: str, tmp_path: Path, target: Path, watch: Watch
) -> None:
    size = 32 * MiB + 5
    source = given(kind, tmp_path, size, watch)

    def before(offset: int) -> None:
        assert until(lambda: watch.peak >= 3)
        time.sleep(0.02)

    watch.before = before
    fetch(source, target, connections=6, min_split=MiB, block_size=64 * KiB)
    assert 3 <= watch.peak <= 6
    blocks = size // (64 * KiB)
    assert len(watch.reads) <= blocks // 4
    if kind == "blocks":
        ends = {(at + count) % (64 * KiB) for at, count in watch.reads if at + count < size}
        assert {at % (64 * KiB) for at, _ in watch.reads} == ends == {0}
    assert published(target, coded(0, size))


@every_kind
def test_row_36_a_stalled_head_keeps_the_others_within_the_window(
    kind: str, tmp_path: Path, watch: Watch
) -> None:
    size, at, ahead, window = 48 * MiB, 0, list[int](), 16 * MiB
    source = given(kind, tmp_path, size, watch)

    def before(offset: int) -> None:
        ahead.append(offset - at)
        if MiB <= offset < 2 * MiB:
            assert until(lambda: max(ahead) >= 4 * MiB)

    watch.before = before
    options = Options(transfer=TransferOptions(connections=8, min_split=MiB))
    with rdl.stream(source, options=options) as stream:
        for chunk in stream.chunks():
            assert chunk == coded(at, at + len(chunk))
            at += len(chunk)
    assert at == size
    assert 4 * MiB <= max(ahead) <= window + MiB


@every_kind
def test_row_36_a_stream_needs_little_memory(kind: str, tmp_path: Path) -> None:
    words = ["tests.scenarios.own", "stream", kind, str(tmp_path), str(128 * MiB), "0"]
    ended = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    small, large = map(int, ended.stdout.split())
    assert large - small <= 66 * MiB


# What a source may say, and what it must not


def test_a_digest_of_the_source_counts_as_published(target: Path) -> None:
    right = f"sha256:{sha256(coded(0, MiB)).hexdigest()}"
    result = fetch(Coded(MiB, digest=right), target)
    assert (result.trust, result.verified_by) == ("T3", ("repr-digest:sha256",))
    with pytest.raises(DigestMismatch):
        fetch(Coded(MiB, digest=right, salt=1, validator="v2"), target)
    assert target.read_bytes() == coded(0, MiB)


def test_the_default_name_and_what_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Coded(MiB, name="store/a file\x1b.bin", validator="\u00fc" * 2000)
    with pytest.raises(UsageError, match="no file name"):
        rdl.get(source)
    source.name = "store/a file.bin"
    assert rdl.get(source).url == "source:///store/a%20file.bin"
    assert published(tmp_path / "a file.bin", coded(0, MiB))
    info = rdl.info(source)
    assert (info.length, info.ranges, info.trust) == (MiB, True, "T2")
    assert rdl.get(source, sha256=sha256(coded(0, MiB)).hexdigest()).reason == "unchanged"
    with rdl.stream(source, (5, 9)) as part:
        assert part.readall() == coded(5, 9)


def test_a_source_repairs_a_file(target: Path) -> None:
    content = coded(0, MiB)
    target.write_bytes(content[:1000] + b"?" + content[1001:])
    rdl.repair(target, Coded(MiB), f"sha256:{sha256(content).hexdigest()}")
    assert published(target, content)


def test_two_sources_of_one_name_in_one_session_are_two(tmp_path: Path) -> None:
    sources = [Coded(MiB, salt=salt, validator=f"v{salt}") for salt in range(4)]
    with Session() as session:
        targets = [Target(one, tmp_path / str(one.salt)) for one in sources]
        assert [one.exit_code for one in session.get_all(targets)] == [0] * 4
    for one in sources:
        assert (tmp_path / str(one.salt)).read_bytes() == coded(0, MiB, one.salt)


def test_a_source_without_validator_is_one_stream(target: Path) -> None:
    source = Coded(4 * MiB, validator=None)
    assert fetch(source, target, connections=4, min_split=MiB).trust == "T0"
    assert source.watch.peak == 1
    assert published(target, coded(0, 4 * MiB))


def test_nothing_is_looked_for_beside_a_source(target: Path) -> None:
    digest = f"sha256:{sha256(coded(0, MiB)).hexdigest()}"
    assert fetch(Coded(MiB), target, verify="discover").trust == "T2"
    target.unlink()
    with pytest.raises(DigestMissing):
        fetch(Coded(MiB), target, verify="require")
    assert not target.exists()
    assert fetch(Coded(MiB, digest=digest), target, verify="require").trust == "T3"


@pytest.mark.parametrize("validator", ["0123456789abcdef" * 2, "_" * 5000, "a" * 100])
def test_a_validator_speaks_for_its_source_alone(validator: str) -> None:
    etag = rdl.info(Coded(MiB, validator=validator)).etag
    assert Representation(MiB, etag).trust is Trust.T2
    assert not Representation(MiB, etag).distinctive


def test_no_other_name_and_no_other_validator_continues_a_partial(target: Path) -> None:
    """Not even one that looks like a hash: it is of this source."""
    source, tag = Coded(4 * MiB, validator="a" * 64), "a" * 64

    def fail(offset: int) -> None:
        if offset >= 2 * MiB:
            raise NetworkError("store", "gone")

    for name, validator, salt in (("other", tag, 1), ("stored/data.bin", "b" * 64, 2)):
        source.watch.before = fail
        with pytest.raises(NetworkError):
            fetch(source, target, retry=0, connections=1)
        assert rdl.status(target).bytes_present >= MiB
        done = run(target.parent, "get", "--resume", "f")
        assert (done.returncode, "it was begun from Python" in done.stderr) == (2, True)
        other = Coded(4 * MiB, name=name, validator=validator, salt=salt)
        assert fetch(other, target).bytes_reused == 0
        assert published(target, coded(0, 4 * MiB, salt))
        target.unlink()


@pytest.mark.parametrize("delay", [None, 0.4])
def test_a_passing_failure_is_tried_again(
    delay: float | None, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BASE_DELAY", 0.2)
    source, failed = Coded(3 * MiB), list[float]()

    def before(offset: int) -> None:
        if not failed:
            failed.append(time.monotonic())
            raise NetworkError("store", "busy", delay=delay)
        failed.append(time.monotonic())

    source.watch.before = before
    assert fetch(source, target).retries == 1
    assert failed[1] - failed[0] >= (delay or 0.1)
    assert published(target, coded(0, 3 * MiB))


@pytest.mark.parametrize(
    "error", [PolicyError("store", "no"), LocalFileError("store", "no"), NetworkError("s", "no")]
)
def test_a_permanent_failure_ends_it(error: RdlError, target: Path) -> None:
    error.permanent = True
    source = Coded(3 * MiB)

    def before(offset: int) -> None:
        raise error

    source.watch.before = before
    with pytest.raises(type(error), match="no"):
        fetch(source, target)
    assert len(source.watch.reads) == 1
    assert not target.exists()


class Hostile(Coded):
    """Ends early, says more or less than it did, or raises."""

    answer: Any = 0

    def read(self, offset: int, view: memoryview, /) -> int:
        if offset < MiB:
            return super().read(offset, view)
        if isinstance(self.answer, BaseException):
            raise self.answer
        count: int = self.answer(view) if callable(self.answer) else self.answer
        return count


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (0, "it ended at 1048576 of 3145728 bytes"),
        (-1, "it says -1 where"),
        (1 << 40, "it says 1099511627776 where"),
        (None, "it says None where"),
        (True, "it says True where"),
        ("x", "it says 'x' where"),
        (ValueError("no\x1b"), r"it failed: ValueError\('no\\x1b'\)"),
        (OSError(5, "Input/output error"), "it failed: OSError"),
        (SystemExit(3), "it failed: SystemExit"),
        (KeyboardInterrupt(), "it failed: KeyboardInterrupt"),
        (StopIteration(), "it failed: StopIteration"),
        (lambda view: view.release(), "it failed|it says None"),
    ],
)
@pytest.mark.parametrize("block", [None, 256 * KiB])
def test_a_source_that_breaks_its_contract(
    answer: object, why: str, block: int | None, target: Path
) -> None:
    source = Hostile(3 * MiB, block)
    source.answer = answer
    with pytest.raises(ProtocolError, match=why) as caught:
        fetch(source, target, connections=1)
    assert caught.value.what == "source:///stored/data.bin"
    assert not target.exists()
    source = Hostile(3 * MiB, block)
    source.answer = lambda view: Coded._fill(source, 0, view)  # right in number, wrong in bytes
    with pytest.raises(DigestMismatch):
        rdl.get(source, target, sha256=sha256(coded(0, 3 * MiB)).hexdigest())
    assert not target.exists()


def test_a_part_of_a_block_is_refused(target: Path) -> None:
    source = Hostile(3 * MiB, 64 * KiB)
    source.answer = lambda view: 100
    with pytest.raises(ProtocolError, match="100 bytes at 1048576 are no whole blocks"):
        fetch(source, target, connections=1)


class Sparing(Coded):
    """Brings little at a time, and keeps where it put that."""

    kept: Sequence[memoryview] = ()

    def read(self, offset: int, view: memoryview, /) -> int:
        for old in self.kept:
            with suppress(ValueError):  # it is released
                old[:1] = b"?"
        self.kept = [view]
        return self._fill(offset, view[:100_000])


@pytest.mark.parametrize("connections", [1, 3])
def test_short_reads_of_who_keeps_the_view(connections: int, target: Path) -> None:
    source = Sparing(3 * MiB + 1)
    fetch(source, target, connections=connections, min_split=MiB)
    assert published(target, coded(0, 3 * MiB + 1))


@pytest.mark.parametrize(
    ("what", "value", "why"),
    [
        ("length", -1, "its size is no number of bytes"),
        ("length", None, "its size is no number of bytes"),
        ("length", 1 << 63, "its size is no number of bytes"),
        ("length", 1.5, "its size is no number of bytes"),
        ("validator", "", "its validator is no text"),
        ("validator", 7, "its validator is no text"),
        ("digest", "md5:00", "its digest makes no sense"),
        ("digest", b"", "its digest is no text"),
        ("block_size", 0, "its block size"),
        ("block_size", (16 << 20) + 1, "its block size"),
        ("name", "", "neither a URL nor a Source"),
        ("name", None, "neither a URL nor a Source"),
    ],
)
def test_a_source_that_says_nonsense(what: str, value: Any, why: str, target: Path) -> None:
    source = Coded(MiB)
    setattr(source, what, value)
    with pytest.raises((ProtocolError, UsageError), match=why):
        fetch(source, target)
    with Session() as session:
        results = session.get_all([Target(source, target), Target(Coded(5), target.with_name("g"))])
    assert [one.exit_code for one in results] == [2 if what == "name" else 7, 0]
    assert os.listdir(target.parent) == ["g"]


@pytest.mark.parametrize("block", [1, 1000, 3 << 20, 16 << 20])
def test_odd_blocks(block: int, target: Path) -> None:
    size = 5 * MiB + 7
    source = Coded(size, block)
    fetch(source, target, connections=3, min_split=MiB)
    assert {at % block for at, _ in source.watch.reads} == {0}
    with rdl.stream(source, (12345, 45678)) as part:
        assert part.readall() == coded(12345, 45678)
    assert published(target, coded(0, size))


# Bytes that change


def changing(kind: str, folder: Path, watch: Watch, at: int, times: int) -> str | Source:
    """One whose bytes become others when so much of them was read, so many times."""
    source = given(kind, folder, 4 * MiB, watch)
    path, state = folder / "here" / "stored data.bin", [0]

    def before(offset: int) -> None:
        if offset >= at and state[0] < times:
            state[0] += 1
            if isinstance(source, Coded):
                source.salt = source.salt + (1 << 40)
                source.validator = f"v{source.salt}"
            else:
                data = coded(0, 4 * MiB, state[0] << 40)
                with path.open("r+b") as file:  # in place: the reader has it open
                    file.write(data)

    watch.before = before
    return source


@every_kind
@pytest.mark.parametrize("connections", [1, 4])
def test_what_changes_while_it_is_read_is_begun_anew(
    kind: str, connections: int, tmp_path: Path, target: Path, watch: Watch
) -> None:
    source = changing(kind, tmp_path, watch, 2 * MiB, 1)
    fetch(source, target, connections=connections, min_split=MiB)
    assert published(target, coded(0, 4 * MiB, 1 << 40))


@every_kind
def test_what_changes_again_and_again_ends_it(
    kind: str, tmp_path: Path, target: Path, watch: Watch
) -> None:
    source = changing(kind, tmp_path, watch, 2 * MiB, 100)
    with pytest.raises(ChangedError):
        fetch(source, target)
    assert not target.exists()


def read_into(taken: bytearray, stream: Stream) -> None:
    for chunk in stream.chunks():
        taken += chunk


@every_kind
def test_on_change_fail_and_streams_end_at_once(
    kind: str, tmp_path: Path, target: Path, watch: Watch
) -> None:
    source = changing(kind, tmp_path, watch, 2 * MiB, 1)
    with pytest.raises(ChangedError):
        fetch(source, target, on_change="fail")
    source, taken = changing(kind, tmp_path, watch, 2 * MiB, 1), bytearray()
    salt = source.salt if isinstance(source, Coded) else 1 << 40
    with rdl.stream(source) as stream, pytest.raises(ChangedError):
        read_into(taken, stream)
    assert MiB <= len(taken) < 4 * MiB
    assert taken == coded(0, len(taken), salt)


def test_a_file_of_the_same_size_and_time_is_another(tmp_path: Path, target: Path) -> None:
    """Whoever writes can set the time back."""
    source = tmp_path / "source"
    source.write_bytes(coded(0, 4 * MiB))
    before = source.stat()
    first = rdl.info(source.as_uri())
    source.write_bytes(coded(0, 4 * MiB, 1))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = rdl.info(source.as_uri())
    assert first.last_modified == again.last_modified
    assert first.etag != again.etag


def test_a_file_that_was_just_written_is_looked_at_a_moment_later(tmp_path: Path) -> None:
    """Two changes within one tick of its clock would look like one."""
    source = tmp_path / "source"
    for salt in range(5):
        source.write_bytes(coded(0, KiB, salt))
        with rdl.stream(source.as_uri()) as stream:
            assert stream.readall() == coded(0, KiB, salt)
        assert time.time() - source.stat().st_mtime >= 0.02


def test_the_target_has_the_time_of_the_file(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100)
    os.utime(source, (1e9, 1e9))
    fetch(source.as_uri(), target)
    assert target.stat().st_mtime == 1e9
    fetch(source.as_uri(), target, range=RangeSpec(suffix=5))
    assert target.read_bytes() == b"xxxxx"


class Alarm(Exception):
    """What a signal handler of the reader's raises."""


@pytest.mark.parametrize("kind", ["file", "own"])
def test_a_signal_while_the_reader_itself_reads_is_its_own(
    kind: str, tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads local files itself, where it is what is waited for; never a caller's source."""
    here, size = list[bool](), 32 * MiB

    def before(offset: int) -> None:
        here.append(threading.current_thread() is threading.main_thread())
        if here[-1] and sum(here) == 3:
            raise Alarm
        if not here[-1] and kind == "file" and sum(here) < 3:
            time.sleep(0.01)  # so that it is waited for

    watch.before = before
    monkeypatch.setattr(streams, "AWAY_SECONDS", 5.0)  # a busy machine is not a slow reader
    options = Options(transfer=TransferOptions(connections=1))
    with rdl.stream(given(kind, tmp_path, size, watch), options=options) as stream:
        taken = bytearray()
        if kind == "file":
            with pytest.raises(Alarm):
                read_into(taken, stream)
        read_into(taken, stream)
    assert taken == coded(0, size)
    assert (sum(here) >= 3) == (kind == "file")


# Which files


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "no such file"),
        (Path.mkdir, "a directory"),
        (make_fifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to("/proc/cpuinfo"), "it has no size"),
        (lambda path: path.symlink_to(path), "Too many levels|symbolic"),
    ],
)
def test_what_is_no_file(
    make: Callable[[Path], None], why: str, tmp_path: Path, target: Path
) -> None:
    make(tmp_path / "source")
    with pytest.raises(LocalFileError, match=why) as caught:
        fetch((tmp_path / "source").as_uri(), target)
    assert caught.value.exit_code == 3
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("path", ["b\udce4d", "a b", "50%25", "?#x", "\u00fc"])
def test_names_of_all_kinds(path: str, tmp_path: Path, target: Path) -> None:
    (tmp_path / path).write_bytes(b"here")
    plain = (tmp_path / path).as_uri()
    for url in (plain, plain.replace("//", "//LOCALhost")):
        assert fetch(url, target).bytes_total == 4
        target.unlink()


# Nobody but the user leads to a file


def test_no_server_leads_to_a_file(tmp_path: Path, target: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    url = secret.as_uri()
    led = [response(b"", "302 Found", f"Location: {url}")]
    with Origin(lambda *_: led) as origin, pytest.raises(ProtocolError, match="unusable"):
        fetch(origin.url("/f"), target)
    head = ResponseHead(206, (("link", f"<{url}>; rel=duplicate"),), url="http://h/f")
    for found in ((), (url,)):
        assert named(head, "http://h/f", Options(found_mirrors=found)) == []
    transports = Transports()
    with pytest.raises(PolicyError, match="a server led to a local file"):
        transports.take(NetworkOptions()).open(Request(url, lineage=Lineage("http://h:80")))
    transports.close()
    assert os.listdir(target.parent) == []


def test_a_metalink_beside_the_file_names_no_local_one(
    tmp_path: Path, target: Path, watch: Watch
) -> None:
    """One that a server has: of the two mirrors in it, nothing is read."""
    content = coded(0, MiB)
    (tmp_path / "secret").write_bytes(content)
    digest = sha256(content).hexdigest()
    listed = (
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="f.bin">'
        f'<hash type="sha-256">{digest}</hash><url>{(tmp_path / "secret").as_uri()}</url>'
        "</file></metalink>"
    ).encode()

    def answer(connection: int, turn: int, seen: Any) -> list[bytes]:
        if seen.line.startswith("GET /f.bin.meta4 "):
            return [response(listed)]
        return [response(b"", "404 Not Found")]

    with Origin(answer) as origin, pytest.raises(RdlError, match="404"):
        fetch(origin.url("/f.bin"), target, verify="discover")
    assert watch.reads == []


LISTS = {
    "list.meta4": (
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="f">'
        "<url>{url}</url></file></metalink>"
    ),
    "-": "{url}\n",
    "- mirror": "http://127.0.0.1:1/f\n  mirror={url}\n",
    "- checksum": "http://127.0.0.1:1/f\n  checksum={url}\n",
    "--locked": '{{"rdl-lock": 1, "files": [{{"path": "f", "url": "{url}"}}]}}',
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_others_name_no_files(kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"mine")
    text = LISTS[kind].format(url=(tmp_path / "secret").as_uri())
    (tmp_path / "list.meta4").write_text(text)
    words = ["-i", "-"] if kind[:2] in ("-", "- ") else ["-i", "list.meta4"]
    if kind == "--locked":
        words = ["--locked", "list.meta4"]
    done = run(tmp_path, "get", *words, "-d", "out", stdin=text)
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "out").exists()


def test_the_user_may_name_files(tmp_path: Path) -> None:
    content = coded(0, MiB)
    digest = sha256(content).hexdigest()
    (tmp_path / "a.bin").write_bytes(content)
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  a.bin\n")
    url, gone = (tmp_path / "a.bin").as_uri(), (tmp_path / "gone").as_uri()
    sums = (tmp_path / "SHA256SUMS").as_uri()
    (tmp_path / "list").write_text(f"{gone}\n  out=listed\n  mirror={url}\n  checksum={sums}\n")
    (tmp_path / "listed.sums").write_text(f"{digest}  listed\n")
    for name, words in {
        "plain": [url],
        "mirror": [gone, "--mirror", url],
        "sums": [url, "--checksum", sums],
        "discover": [url, "--verify", "require"],
        "fragment": [f"{url}#sha256={digest}"],
    }.items():
        done = run(tmp_path, "get", *words, "-o", name)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).read_bytes() == content
    done = run(tmp_path, "get", "-i", "SHA256SUMS", "--base-url", tmp_path.as_uri(), "-d", "d")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "d" / "a.bin").read_bytes() == content
    (tmp_path / "plain").write_bytes(content[:-1] + b"?")
    done = run(tmp_path, "verify", "plain", f"sha256:{digest}", "--repair", url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plain").read_bytes() == content
    done = run(tmp_path, "lock", "list")
    assert (done.returncode, "of this machine" in done.stderr) == (2, True)
    assert run(tmp_path, "get", gone).returncode == 3


def test_a_new_url_may_be_a_file(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LEAST_SECONDS", 0.1)
    (tmp_path / "copy").write_bytes(coded(0, MiB))
    url = (tmp_path / "copy").as_uri()
    with Origin(lambda *_: [response(b"", "403 Forbidden")]) as origin:
        options = Options(NetworkOptions(netrc=False, proxy=""), renew=lambda _: url)
        with Session() as session:
            session.get(Target(origin.url("/f"), target, options))
    assert published(target, coded(0, MiB))
    renew = renewal(url, Options(renew=lambda _: "http://h/f"))
    assert renew is not None
    assert renew().lineage == Lineage("file")
