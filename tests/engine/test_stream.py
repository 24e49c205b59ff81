"""rdl.stream and Session.stream over loopback: in order, bounded, honest at the end."""

import hashlib
import random
import threading
import time
from contextlib import suppress

import pytest

import rdl
from rdl.api import Session
from rdl.errors import (
    ChangedError,
    DigestMismatch,
    HTTPStatusError,
    NetworkError,
    ProtocolError,
    RdlError,
    UsageError,
)
from rdl.options import Digest, NetworkOptions, Options, RangeSpec, TransferOptions
from tests.engine.staging import content_of
from tests.support import threads
from tests.support.origin import HANG, Origin, Wait, response

NETWORK = NetworkOptions(netrc=False, proxy="")
MiB = 1 << 20


def options(**transfer):
    return Options(NETWORK, TransferOptions(**transfer))


def ranged(content, etag='"1"', trouble=lambda number, start, data: [data]):
    """An honest server, but for what `trouble` makes of a body."""

    def answer(connection, number, seen):
        fields, total, start, stop, status = seen.fields, len(content), 0, len(content), "200 OK"
        more = [f"ETag: {etag}"] if etag else []
        if fields.get("if-match", etag) != etag:
            return [response(b"", "412 Precondition Failed")]
        if "range" in fields:
            first, last = fields["range"].removeprefix("bytes=").split("-")
            start = int(first or total - int(last))
            stop = min(total, int(last) + 1) if first and last else total
            status = "206 Partial Content"
            more.append(f"Content-Range: bytes {start}-{stop - 1}/{total}")
        data = response(content[start:stop], status, *more)
        return trouble(connection, start, data)

    return answer


def read_all(url, given=None, ranges=()):
    with Session() as session, session.stream(url, given or options(), None, ranges) as stream:
        data = stream.readall()
        return data, stream


@pytest.mark.parametrize("connections", [None, 1, 8])
@pytest.mark.parametrize("size", [0, 1, MiB + 1, 40 * MiB + 3])
def test_all_bytes_in_order(size, connections):
    content = content_of(size)
    with Origin(ranged(content)) as origin:
        data, stream = read_all(origin.url(), options(connections=connections))
    assert data == content
    assert stream.statistics.bytes == size
    assert [one.reason for one in stream.results] == ["complete"]


def test_many_connections_with_cuts_and_delays():
    content, chance = content_of(30 * MiB), random.Random(5)

    def trouble(connection, start, data):
        if chance.random() < 0.3:
            return [data[: len(data) // 2], "reset"]
        return [data[:9000], Wait(chance.random() / 50), data[9000:]]

    with Origin(ranged(content, trouble=trouble)) as origin:
        data, stream = read_all(origin.url(), options(connections=6))
    assert hashlib.sha256(data).digest() == hashlib.sha256(content).digest()
    assert stream.statistics.out_of_order > 0
    assert stream.statistics.most_out_of_order <= 14 * MiB


def test_ranges_in_the_order_given():
    content = content_of(3 * MiB)
    wanted = [RangeSpec(MiB, 2 * MiB), RangeSpec(0, 10), RangeSpec(suffix=7)]
    digest = hashlib.sha256(content[MiB : 2 * MiB] + content[:10] + content[-7:]).hexdigest()
    with Origin(ranged(content)) as origin:
        given = options(digests=(Digest("sha256", digest),))
        data, _ = read_all(origin.url(), given, wanted)
        assert data == content[MiB : 2 * MiB] + content[:10] + content[-7:]
        with rdl.stream(origin.url(), (5, 9), options=options()) as stream:
            assert stream.read(100) == content[5:9]
            assert stream.read(100) == b""


def test_ranges_of_two_versions_are_an_error():
    with Origin(ranged(content_of(MiB))) as origin:
        given = (RangeSpec(0, 5), RangeSpec(5, 10))
        with Session() as session, session.stream(origin.url(), options(), None, given) as stream:
            assert len(stream.read(5)) == 5
            origin.answer = ranged(content_of(MiB, seed=2), '"2"')
            with pytest.raises(ChangedError):
                stream.readall()


def test_a_wrong_digest_is_an_error_after_the_last_byte():
    content = content_of(10_000)
    with Origin(ranged(content)) as origin:
        given = options(digests=(Digest("sha256", "0" * 64),))
        with Session() as session, session.stream(origin.url(), given) as stream:
            assert b"".join(bytes(chunk) for chunk in _until(stream, 10_000)) == content
            with pytest.raises(DigestMismatch):
                stream.read(1)


def _until(stream, size):
    while size:
        data = stream.read(size)
        size -= len(data)
        yield data


def test_a_file_that_changes_under_the_reader_is_an_error():
    content = content_of(40 * MiB)
    given = options(connections=2)
    with Origin(ranged(content)) as origin, Session() as session:
        stream = session.stream(origin.url(), given)
        assert stream.read(MiB)
        origin.answer = ranged(content_of(40 * MiB, seed=2), '"2"')
        with pytest.raises(ChangedError):
            stream.readall()
        stream.close()


@pytest.mark.parametrize("connections", [1, 4])
def test_another_file_under_the_same_validator_is_not_joined(connections):
    """The server replaced it, and keeps the strong ETag: only the bytes themselves tell."""
    old, new = content_of(40 * MiB), content_of(40 * MiB, seed=2)
    given, out = options(connections=connections), b""

    def trouble(connection, start, data):
        if not start:  # the old one is cut, at a place that is no tile's
            origin.answer = ranged(new)
            return [data[:3_000_000], "reset"]
        return [data]

    with Origin(ranged(old, trouble=trouble)) as origin, Session() as session:
        stream = session.stream(origin.url(), given)
        with suppress(ChangedError):
            while data := stream.read(MiB):
                out += data
            raise AssertionError("two files were joined")
        stream.close()
    assert 0 < len(out) <= 3_000_000
    assert old.startswith(out)


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_a_cut_body_that_nothing_can_be_joined_to_is_an_error(etag):
    content = content_of(MiB)

    def trouble(connection, start, data):
        return [data[:500_000], "reset"]

    with Origin(ranged(content, etag, trouble)) as origin, pytest.raises(NetworkError):
        read_all(origin.url())
    assert len(origin.seen) == 1


def test_a_server_without_ranges_is_skipped_through():
    content = content_of(2 * MiB)
    whole = [response(content, "200 OK", 'ETag: "1"')]
    with Origin(lambda *seen: whole) as origin:
        data, _ = read_all(origin.url(), None, [RangeSpec(MiB, MiB + 100)])
        assert data == content[MiB : MiB + 100]
        assert read_all(origin.url())[0] == content
        with pytest.raises(ProtocolError):
            read_all(origin.url(), None, [RangeSpec(3 * MiB, None)])


def test_errors_of_the_server_reach_the_reader():
    missing = [response(b"", "404 Not Found")]
    with Origin(lambda *seen: missing) as origin, pytest.raises(HTTPStatusError):
        read_all(origin.url())


def test_a_slow_reader_holds_the_fetching_back():
    """And the memory with it: tests/scenarios read under a limit of addresses."""
    size = 96 * MiB
    with Origin(ranged(bytes(size))) as origin, Session() as session:
        stream = session.stream(origin.url(), options(connections=4))
        for turn in range(1, 6):
            assert len(stream.read(100_000)) <= 100_000
            time.sleep(0.06)
            assert max(map(_end, origin.seen[1:]), default=0) <= 12 * MiB + turn * 100_000
        stream.close()


def _end(seen):
    return int(seen.fields["range"].rpartition("-")[2]) + 1


def test_closing_early_ends_the_fetching():
    before = threads.running()
    with Origin(ranged(bytes(64 * MiB))) as origin, Session() as session:
        stream = session.stream(origin.url(), options(connections=3))
        assert stream.read(10) == bytes(10)
        begun = time.monotonic()
        stream.close()
        assert time.monotonic() - begun < 3
        with pytest.raises(ValueError, match="closed"):
            stream.read(1)
    assert not threads.left(before)


def test_a_slow_connection_at_the_head_is_replaced():
    content = content_of(24 * MiB)

    def trouble(connection, start, data):
        if connection == 2:
            steps = [data[at : at + 20_000] for at in range(0, len(data), 20_000)]
            return [step for one in steps for step in (one, Wait(0.05))]
        steps = [data[at : at + 200_000] for at in range(0, len(data), 200_000)]
        return [step for one in steps for step in (one, Wait(0.01))]

    with Origin(ranged(content, trouble=trouble)) as origin:
        begun = time.monotonic()
        data, _ = read_all(origin.url(), options(connections=4))
        seconds = time.monotonic() - begun
    assert data == content
    assert seconds < 10


def test_a_range_without_the_validator_of_the_first_is_a_change():
    content, third = content_of(300_000), [RangeSpec(0, 100_000), RangeSpec(100_000, 200_000)]

    def answer(connection, number, seen):
        tag = '"1"' if seen.fields["range"] == "bytes=0-99999" else None
        return ranged(content, tag)(connection, number, seen)

    with Origin(answer) as origin, pytest.raises(ChangedError):
        read_all(origin.url(), None, third)


def test_a_change_before_the_first_byte_is_delivered_begins_anew_and_mixes_nothing():
    old, new = content_of(4 * MiB), content_of(4 * MiB, seed=2)

    def answer(connection, number, seen):
        if len(origin.seen) == 1:
            (whole,) = ranged(old)(connection, number, seen)
            head, _, body = whole.partition(b"\r\n\r\n")
            return [head + b"\r\n\r\n", Wait(0.05), body]
        return [response(new, "200 OK", 'ETag: "2"')]

    with Origin(answer) as origin, Session() as session:
        stream = session.stream(origin.url(), options(connections=2))
        try:
            data = stream.readall()
        except ChangedError:
            data = new
        stream.close()
    assert data == new


def test_many_ranges_need_no_more_memory_than_one():
    with Origin(ranged(bytes(4 * MiB))) as origin, Session() as session:
        given = [RangeSpec(0, 4 * MiB)] * 8
        with session.stream(origin.url(), options(), None, given) as stream:
            assert len(stream.readall()) == 32 * MiB
            assert sum(len(one._store._ring) for one in stream._passages) == 0


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999/x", "ftp://h/x"])
def test_an_impossible_url_is_a_usage_error(url):
    with pytest.raises(UsageError):
        read_all(url)


@pytest.mark.parametrize("part", [(0, 0), (5, 3), (-5, None)])
def test_a_range_that_makes_no_sense_is_a_usage_error(part):
    with pytest.raises(UsageError), rdl.stream("http://127.0.0.1:1/x", part):
        pass


def test_an_unknown_digest_is_a_usage_error_and_starts_nothing():
    with pytest.raises(UsageError):
        read_all("http://127.0.0.1:1/x", options(digests=(Digest("nope", "00"),)))


def test_closing_the_session_ends_its_streams():
    steps = [response(bytes(MiB))[:1000], HANG]
    with Origin(lambda *seen: steps) as origin:
        session = Session()
        stream = session.stream(origin.url(), options())
        stream.read(10)
        threading.Timer(0.3, session.close).start()
        begun = time.monotonic()
        with pytest.raises(RdlError):
            stream.readall()
        assert time.monotonic() - begun < 5
        stream.close()
