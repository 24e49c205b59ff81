"""rdl.get and Session over loopback: the whole way of a byte."""

import contextlib
import hashlib
import json
import os
import threading
import time
from itertools import count

import pytest
from msgspec.structs import replace

import rdl
from rdl.api import Session, Target
from rdl.core.events import Planned, Progress, Warned
from rdl.core.row import OVERLAP
from rdl.errors import (
    DigestMismatch,
    HTTPStatusError,
    Interrupted,
    LocalFileError,
    NetworkError,
    ProtocolError,
    RdlError,
)
from rdl.landing import Landing
from rdl.options import (
    Digest,
    FileOptions,
    NetworkOptions,
    Options,
    RangeSpec,
    SessionOptions,
    TransferOptions,
)
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from tests.engine.staging import content_of
from tests.support.origin import HANG, Origin, Wait, response

QUICK = Options(network=NetworkOptions(netrc=False, proxy=""))


def ranged(content, etag='"1"'):
    """An honest server of one content under every path but /missing."""

    def answer(connection, number, seen):
        path = seen.line.split()[1]
        if path.startswith("/missing"):
            return [response(b"no", "404 Not Found")]
        fields = seen.fields
        if fields.get("if-none-match") == etag:
            return [f"HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n".encode()]
        if "range" not in fields or not content:
            return [response(content, "200 OK", f"ETag: {etag}")]
        first, last = fields["range"].removeprefix("bytes=").split("-")
        start, stop = int(first), min(len(content), int(last) + 1 if last else len(content))
        said = f"Content-Range: bytes {start}-{stop - 1}/{len(content)}"
        return [response(content[start:stop], "206 Partial Content", said, f"ETag: {etag}")]

    return answer


@pytest.mark.parametrize("size", [0, 1, 1_000_003])
def test_get_leaves_the_file_and_nothing_else(tmp_path, size):
    content = content_of(size)
    with Origin(ranged(content)) as origin:
        result = rdl.get(origin.url("/a.bin"), tmp_path / "a.bin", options=QUICK, connections=2)
    assert (tmp_path / "a.bin").read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]
    assert (result.reason, result.bytes_total) == ("complete", size)


def test_get_again_fetches_nothing(tmp_path):
    with Origin(ranged(b"x" * 5000)) as origin:
        first = rdl.get(origin.url(), tmp_path / "f", options=QUICK)
        again = rdl.get(origin.url(), tmp_path / "f", options=QUICK)
    assert (first.reason, again.reason) == ("complete", "unchanged")
    assert again.bytes_downloaded == 0
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_the_same_validator_at_another_url_is_another_file(tmp_path):
    old, new, path = b"o" * 5000, b"n" * 5000, tmp_path / "f"
    with Origin(ranged(old)) as one, Origin(ranged(new)) as other:
        rdl.get(one.url("/f?v=1"), path, options=QUICK)
        assert rdl.get(other.url("/f?v=1"), path, options=QUICK).reason == "complete"
        assert path.read_bytes() == new
        assert rdl.get(other.url("/f?v=2"), path, options=QUICK).reason == "complete"
        assert rdl.get(other.url("/f?v=2"), path, options=QUICK).reason == "unchanged"


def cut_once(content):
    """The first answer ends after 2 MB; there are no others."""
    turns = count()

    def answer(connection, number, seen):
        (whole,) = ranged(content)(connection, number, seen)
        return ["reset"] if next(turns) else [whole[:2_000_000], "reset"]

    return answer


def test_a_partial_of_another_url_is_not_continued(tmp_path):
    old, path, facts = content_of(3_000_000), tmp_path / "f", []
    new = old[:2_000_000] + bytes(1_000_000)
    short = Options(network=QUICK.network, transfer=TransferOptions(retry=0))

    with Origin(cut_once(old)) as one, Origin(ranged(new)) as other:
        with pytest.raises(NetworkError):
            rdl.get(one.url("/f"), path, options=short)
        result = rdl.get(other.url("/f"), path, options=QUICK, tell=facts.append)
    assert path.read_bytes() == new
    assert result.bytes_reused == 0
    assert any("another URL" in fact.message for fact in facts if isinstance(fact, Warned))


def test_what_a_digest_continued_at_another_url_is_current_there(tmp_path):
    content, path = content_of(3_000_000), tmp_path / "f"
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    decided = Options(QUICK.network, TransferOptions(retry=0, digests=(digest,)))

    with Origin(cut_once(content)) as one, Origin(ranged(content)) as other:
        with pytest.raises(NetworkError):
            rdl.get(one.url("/f"), path, options=decided)
        assert rdl.get(other.url("/f"), path, options=decided).bytes_reused > 0
        assert rdl.get(other.url("/f"), path, options=QUICK).reason == "unchanged"


@pytest.mark.parametrize("location", ["/x", "/.", "/x/../..?q", ""])
def test_credentials_stay_at_home_also_in_later_requests(tmp_path, location):
    content = content_of(3_000_000)
    network = NetworkOptions(netrc=False, proxy="", user="u", password="canary")
    short = TransferOptions(connections=3, min_split=1 << 18)
    with Origin(ranged(content)) as other, Origin(ranged(content)) as origin:
        target = f"http://127.0.0.1:{other.port}{location}"
        origin.answer = lambda *seen: [response(b"", "302 Found", f"Location: {target}")]
        rdl.get(origin.url("/f"), tmp_path / "f", options=Options(network, short))
        assert len(other.seen) > 1
        assert all("authorization" not in seen.fields for seen in other.seen)
        assert all("authorization" in seen.fields for seen in origin.seen)


def test_a_new_version_replaces_the_old_file_in_one_step(tmp_path):
    path = tmp_path / "f"
    with Origin(ranged(b"old", '"1"')) as origin:
        rdl.get(origin.url(), path, options=QUICK)
    with Origin(ranged(b"newer", '"2"')) as origin:
        assert rdl.get(origin.url(), path, options=QUICK).reason == "complete"
    assert path.read_bytes() == b"newer"


def test_a_right_digest_is_checked_and_a_wrong_one_leaves_no_file(tmp_path):
    content = content_of(300_000)
    with Origin(ranged(content)) as origin:
        right = hashlib.sha256(content).hexdigest()
        result = rdl.get(origin.url(), tmp_path / "f", sha256=right, options=QUICK)
        assert (result.trust, result.verified_by) == ("T4", ("sha256",))
        with pytest.raises(DigestMismatch):
            rdl.get(origin.url(), tmp_path / "g", sha256="0" * 64, options=QUICK)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["f", "g.part.bad"]


def test_a_missing_file_raises_after_one_request_and_leaves_nothing(tmp_path):
    with Origin(ranged(b"x")) as origin:
        with pytest.raises(HTTPStatusError) as raised:
            rdl.get(origin.url("/missing"), tmp_path / "f", options=QUICK)
        assert len(origin.seen) == 1
    assert raised.value.status == 404
    assert list(tmp_path.iterdir()) == []


def test_identity_is_asked_for_and_the_first_request_is_the_download(tmp_path):
    with Origin(ranged(b"x" * 100)) as origin:
        rdl.get(origin.url(), tmp_path / "f", options=QUICK)
        (seen,) = origin.seen
    assert seen.line == "GET /file HTTP/1.1"
    assert seen.fields["range"] == "bytes=0-"
    assert seen.fields["accept-encoding"] == "identity"


def test_a_cut_run_is_continued_by_the_next_without_fetching_twice(tmp_path):
    content = content_of(400_000)
    honest = ranged(content)

    def cut(connection, number, seen):
        (whole,) = honest(connection, number, seen)
        return [whole[:200_000], "reset"] if len(origin.seen) == 1 else ["reset"]

    options = Options(QUICK.network, TransferOptions(retry=0, connections=1))
    with Origin(cut) as origin:
        with pytest.raises(RdlError) as raised:
            rdl.get(origin.url(), tmp_path / "f", options=options)
        assert raised.value.resumable
        assert not (tmp_path / "f").exists()
        origin.answer = honest
        before = len(origin.seen)
        result = rdl.get(origin.url(), tmp_path / "f", options=options)
        assert origin.seen[before].fields["if-range"] == '"1"'
    assert (tmp_path / "f").read_bytes() == content
    assert result.bytes_reused > 0
    assert result.bytes_reused + result.bytes_downloaded == len(content)


def test_restart_forgets_the_part(tmp_path):
    content = content_of(300_000)
    honest, options = ranged(content), TransferOptions(retry=0)

    def cut(connection, number, seen):
        (whole,) = honest(connection, number, seen)
        return [whole[:200_000], "reset"] if len(origin.seen) == 1 else ["reset"]

    with Origin(cut) as origin, pytest.raises(RdlError):
        rdl.get(origin.url(), tmp_path / "f", options=Options(QUICK.network, options))
    again = Options(QUICK.network, file=FileOptions(restart=True))
    with Origin(honest) as origin:
        result = rdl.get(origin.url(), tmp_path / "f", options=again)
    assert result.bytes_reused == 0
    assert (tmp_path / "f").read_bytes() == content


def test_a_dry_run_makes_no_file(tmp_path):
    with Origin(ranged(b"x" * 100)) as origin:
        result = rdl.get(origin.url(), tmp_path / "f", options=Options(QUICK.network, dry_run=True))
    assert result.reason == "dry-run"
    assert list(tmp_path.iterdir()) == []


class Handles(PosixDisk):
    """Those that are open."""

    def __init__(self):
        self.open_now = set()

    def open_folder(self, path):
        self.open_now.add(handle := super().open_folder(path))
        return handle

    def close(self, handle):
        super().close(handle)
        self.open_now.remove(handle)


@pytest.mark.parametrize("restart", [False, True])
def test_a_dry_run_lets_go_of_the_folder(tmp_path, restart):
    options, disk = Options(dry_run=True, file=FileOptions(restart=restart)), Handles()
    landing = Landing(tmp_path / "f", "http://h/f", options, disk)
    assert landing.open(PartStore(tmp_path / "f", disk), None) is None
    assert not disk.open_now


def test_one_failure_of_many_is_a_result_and_the_others_stand(tmp_path):
    done = []
    with Origin(ranged(b"content")) as origin, Session() as session:
        names = ["a", "missing", "b", "c"]
        targets = [Target(origin.url(f"/{name}"), tmp_path / name, QUICK) for name in names]
        results = session.get_all(targets, done=done.append)
    assert [result.exit_code for result in results] == [0, 8, 0, 0]
    assert [result.path for result in results] == [str(tmp_path / name) for name in names]
    assert len(done) == 4
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b", "c"]


def test_no_more_than_so_many_run_at_once(tmp_path):
    at_once, most, lock = 0, 0, threading.Lock()
    honest = ranged(b"content")

    def counted(connection, number, seen):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.03)
        with lock:
            at_once -= 1
        return honest(connection, number, seen)

    with Origin(counted) as origin, Session(SessionOptions(parallel=2)) as session:
        targets = [Target(origin.url(f"/{i}"), tmp_path / str(i), QUICK) for i in range(6)]
        assert all(result.exit_code == 0 for result in session.get_all(targets))
    assert most <= 2


def test_an_interrupt_ends_what_runs_and_what_has_not_started(tmp_path):
    with (
        Origin(lambda connection, number, seen: [HANG]) as origin,
        Session(SessionOptions(parallel=1)) as session,
    ):
        targets = [Target(origin.url(f"/{i}"), tmp_path / str(i), QUICK) for i in range(3)]
        threading.Timer(0.2, session.interrupt, ["SIGTERM"]).start()
        before = time.monotonic()
        results = session.get_all(targets)
    assert time.monotonic() - before < 5
    assert [result.exit_code for result in results] == [143] * 3
    assert {result.reason for result in results} == {"interrupted"}
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_in_a_body_keeps_what_is_here(tmp_path):
    content = content_of(100_000)
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nETag: "1"\r\n\r\n'
    steps = [head + content[:50_000], Wait(20)]
    with Origin(lambda connection, number, seen: steps) as origin, Session() as session:
        threading.Timer(0.3, session.interrupt, ["SIGINT"]).start()
        with pytest.raises(Interrupted):
            session.get(Target(origin.url(), tmp_path / "f", QUICK))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["f.part", "f.part.index"]


def test_credentials_of_a_url_are_in_no_result_and_no_file(tmp_path):
    with Origin(ranged(b"content")) as origin, Session() as session:
        url = origin.url("/missing").replace("http://", "http://me:secret@")
        (result,) = session.get_all([Target(url, tmp_path / "f", QUICK)])
        assert origin.seen[0].fields["authorization"].startswith("Basic ")
    assert "secret" not in repr(result)


def test_a_limited_session_is_as_slow_as_it_was_told(tmp_path):
    with (
        Origin(ranged(content_of(300_000))) as origin,
        Session(SessionOptions(limit_rate=500_000)) as session,
    ):
        before = time.monotonic()
        session.get(Target(origin.url(), tmp_path / "f", QUICK))
        assert 0.4 < time.monotonic() - before < 10


def test_a_run_that_fails_early_removes_nothing_it_did_not_make(tmp_path):
    part, path = tmp_path / "f.part", tmp_path / "f"
    part.write_bytes(b"mine" * 1000)
    part.chmod(0o600)
    transfer = TransferOptions(retry=0, digests=(Digest("sha256", "0" * 64),))
    options = Options(QUICK.network, transfer, FileOptions(adopt=True))
    with pytest.raises(NetworkError):
        rdl.get("http://127.0.0.1:1/f", path, options=options)
    assert part.read_bytes() == b"mine" * 1000


@pytest.mark.parametrize("sized", [True, False])
def test_adopted_bytes_that_are_others_leave_nothing_behind(tmp_path, sized):
    content, path = content_of(100_000), tmp_path / "f"
    (tmp_path / "f.part").write_bytes(b"G" * 130_000)
    (tmp_path / "f.part").chmod(0o600)
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    options = Options(QUICK.network, TransferOptions(digests=(digest,)), FileOptions(adopt=True))
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n"
    answer = ranged(content) if sized else lambda *seen: [chunked + content + b"\r\n0\r\n\r\n"]
    with Origin(answer) as origin:
        rdl.get(origin.url(), path, options=options)
    assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_adopted_bytes_are_continued(tmp_path):
    content, path = content_of(1_000_000), tmp_path / "f"
    (tmp_path / "f.part").write_bytes(content[:600_000])
    (tmp_path / "f.part").chmod(0o600)
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    options = Options(QUICK.network, TransferOptions(digests=(digest,)), FileOptions(adopt=True))
    with Origin(ranged(content)) as origin:
        result = rdl.get(origin.url(), path, options=options)
        assert origin.seen[0].fields["range"] == f"bytes={600_000 - OVERLAP}-"
    assert path.read_bytes() == content
    assert result.bytes_reused == 600_000


@pytest.mark.parametrize("stop", ["100-", "0-200000"])
def test_a_range_of_a_body_without_length_ends_where_the_body_ends(tmp_path, stop):
    content, path = content_of(100_000), tmp_path / "f"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n"
    first, _, last = stop.partition("-")
    part = RangeSpec(int(first), int(last) + 1 if last else None)
    options = Options(QUICK.network, TransferOptions(range=part))
    with Origin(lambda *seen: [chunked + content + b"\r\n0\r\n\r\n"]) as origin:
        rdl.get(origin.url(), path, options=options)
        assert path.read_bytes() == content[int(first) :]
        outside = replace(options, transfer=TransferOptions(range=RangeSpec(200_000, 200_001)))
        with pytest.raises(ProtocolError, match="outside"):
            rdl.get(origin.url(), tmp_path / "g", options=outside)
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("note", [{"etag": 5}, {"etag": ["x"]}, {"etag": "☃"}, {"total": -1}, {}])
def test_a_note_that_makes_no_sense_is_no_note(tmp_path, note):
    path = tmp_path / "f"
    with Origin(ranged(b"x" * 5000)) as origin:
        rdl.get(origin.url(), path, options=QUICK)
        stat = path.stat()
        facts = {"size": stat.st_size, "total": 5000, "mtime_ns": stat.st_mtime_ns, "etag": None}
        facts |= {"last_modified": 7} | note
        with contextlib.suppress(OSError):  # a file system without attributes has no note at all
            os.setxattr(path, "user.rdl", json.dumps(facts).encode())
        assert rdl.get(origin.url(), path, options=QUICK).reason == "complete"


def test_data_that_cannot_be_put_aside_is_kept_and_the_hint_is_true(tmp_path):
    (tmp_path / "f.part.bad").mkdir()
    with Origin(ranged(content_of(1000))) as origin, pytest.raises(DigestMismatch) as caught:
        rdl.get(origin.url(), tmp_path / "f", sha256="0" * 64, options=QUICK)
    assert "could not be put aside" in caught.value.hint
    assert (tmp_path / "f.part").exists()


def test_a_foreign_file_with_the_index_s_temporary_name_is_left_alone(tmp_path):
    foreign = tmp_path / "f.part.index.new"
    foreign.write_bytes(b"my notes")
    foreign.chmod(0o600)
    with Origin(ranged(content_of(1000))) as origin, pytest.raises(LocalFileError):
        rdl.get(origin.url(), tmp_path / "f", options=QUICK)
    assert foreign.read_bytes() == b"my notes"


def test_looking_at_a_large_file_ends_on_a_signal(tmp_path):
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(1 << 33)
    digest = TransferOptions(digests=(Digest("sha256", "0" * 64),))
    with Session() as session:
        threading.Timer(0.2, session.interrupt, ["SIGINT"]).start()
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            session.get(Target("http://127.0.0.1:1/f", path, Options(QUICK.network, digest)))
    assert time.monotonic() - begun < 5


def part_of(content, path, url, options):
    """A first run that got two fifths of `content`."""
    honest = ranged(content)

    def cut(connection, number, seen):
        (whole,) = honest(connection, number, seen)
        return [whole[: len(content) * 2 // 5], "reset"] if len(url.seen) == 1 else ["reset"]

    url.answer = cut
    with pytest.raises(NetworkError):
        rdl.get(url.url(), path, options=options)
    url.answer = honest
    url.seen.clear()


def test_a_plan_says_what_would_be_continued_and_touches_nothing(tmp_path):
    content, path, facts = content_of(2_000_000), tmp_path / "f", []
    options = Options(QUICK.network, TransferOptions(retry=0, connections=1))
    with Origin(ranged(content)) as origin:
        part_of(content, path, origin, options)
        before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
        planned = replace(options, dry_run=True)
        rdl.get(origin.url(), path, options=planned, tell=facts.append)
        (plan,) = (fact for fact in facts if isinstance(fact, Planned))
        assert plan.resume
        assert 0 < plan.bytes_present < 900_000
        origin.answer = ranged(content_of(1_000_000), '"2"')
        rdl.get(origin.url(), path, options=planned, tell=facts.append)
        plan = [fact for fact in facts if isinstance(fact, Planned)][-1]
        assert (plan.resume, plan.bytes_total) == (False, 1_000_000)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_what_was_sent_again_is_not_called_reused(tmp_path):
    content, path = content_of(2_000_000), tmp_path / "f"
    options = Options(QUICK.network, TransferOptions(retry=0, connections=1))
    with Origin(ranged(content)) as origin:
        part_of(content, path, origin, options)
        origin.answer = lambda *seen: [response(content, "200 OK", 'ETag: "1"')]
        result = rdl.get(origin.url(), path, options=options)
    assert path.read_bytes() == content
    assert (result.bytes_reused, result.bytes_downloaded) == (0, len(content))


def test_many_logins_do_not_use_up_the_descriptors(tmp_path):
    with Origin(ranged(b"x" * 100)) as origin, Session() as session:
        for number in range(40):
            network = replace(QUICK.network, headers=(("X-N", str(number)),))
            session.get(Target(origin.url(), tmp_path / f"f{number}", Options(network)))
        assert len(session._transports) <= 9


@pytest.mark.parametrize(("etag", "resumable"), [('"1"', True), ('W/"1"', False)])
def test_only_what_can_be_continued_is_called_resumable(tmp_path, etag, resumable):
    content = content_of(300_000)

    def answer(connection, number, seen):
        return [response(content, "200 OK", f"ETag: {etag}")[:200_000], HANG]

    def stop(fact):
        if isinstance(fact, Progress) and fact.bytes_present:
            session.interrupt("SIGINT")

    with Origin(answer) as origin, Session() as session:
        [result] = session.get_all([Target(origin.url(), tmp_path / "f", QUICK)], stop)
    assert (result.exit_code, result.reason) == (130, "interrupted")
    assert result.bytes_present > 0
    assert result.resumable is resumable


def test_a_session_looks_over_one_connection():
    """The byte that comes with the head is passed by."""

    def answer(connection, number, seen):
        fields = ("Content-Range: bytes 0-0/9", 'ETag: "one"')
        return [response(b"x", "206 Partial Content", *fields)]

    with Origin(answer) as origin, Session() as session:
        found = [session.info(origin.url(), QUICK) for _ in range(3)]
        assert {(one.length, one.etag) for one in found} == {(9, '"one"')}
        assert (origin.connections, len(origin.seen)) == (1, 3)


@pytest.mark.parametrize("body", [b"", b"xx"], ids=["none", "long"])
def test_a_look_takes_no_byte_too_many(body):
    """A body that never comes, or is longer than it says, is nobody's concern."""

    def answer(connection, number, seen):
        head = response(b"x", "206 Partial Content", "Content-Range: bytes 0-0/9")[:-1]
        return [head + body, HANG]

    with Origin(answer) as origin, Session() as session:
        for _ in range(2):
            assert session.info(origin.url(), QUICK).length == 9
        assert origin.connections == 2
