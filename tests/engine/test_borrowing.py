"""A reader that is the slower side takes what waits in the network itself, past the ring."""

import time
from itertools import pairwise

import pytest

from rdl.api import Session
from rdl.engine import stream as streams
from rdl.engine.reception import Reception
from rdl.engine.stream import Passage
from rdl.errors import ChangedError, RdlError
from rdl.options import SessionOptions
from tests.engine.staging import content_of
from tests.engine.test_stream import MiB, options, ranged
from tests.support import threads
from tests.support.origin import END, Origin
from tests.support.waiting import until


@pytest.fixture
def past(monkeypatch):
    """The ranges that went past the ring, as (start, stop)."""
    ranges, real = [], Passage._pass_by

    def noted(passage, offset, data):
        ranges.append((offset, offset + len(data)))
        real(passage, offset, data)

    monkeypatch.setattr(Passage, "_pass_by", noted)
    monkeypatch.setattr(streams, "AWAY_SECONDS", 5.0)  # a busy machine is not a slow reader
    return ranges


def read(stream, size=MiB, pause=0.002, until=2**62):
    out = bytearray()
    for chunk in stream.chunks(size):
        out += chunk
        time.sleep(pause)
        if len(out) >= until:
            break
    return bytes(out)


@pytest.mark.parametrize("connections", [1, 3])
def test_what_the_reader_takes_itself_is_in_order_with_the_rest(past, connections):
    content = content_of(48 * MiB + 5)
    with Origin(ranged(content)) as origin, Session() as session:
        stream = session.stream(origin.url(), options(connections=connections))
        assert read(stream) == content
        assert stream.statistics.bytes == len(content)
    assert past or connections > 1  # how much, the machine decides; beside others even whether
    assert all(one[1] <= other[0] for one, other in pairwise(past))


def test_a_reader_of_few_bytes_at_a_time_is_lent_nothing(past):
    content = content_of(6 * MiB)
    with Origin(ranged(content)) as origin, Session() as session:
        stream = session.stream(origin.url(), options(connections=1))
        assert read(stream, size=32 << 10, pause=0) == content
    assert past == []


def cut_at(offset):
    """Every body ends there, but for those that begin near it."""

    def trouble(_connection, start, data):
        head = data.index(b"\r\n\r\n") + 4
        cut = [data[: head + offset], END]  # not a reset, which loses what is on its way
        return cut if start < offset - MiB else [data]

    return trouble


def test_a_body_that_is_cut_while_it_is_lent_is_joined(past):
    content, place = content_of(40 * MiB), 20 * MiB + 77
    with Origin(ranged(content, trouble=cut_at(place))) as origin, Session() as session:
        assert read(session.stream(origin.url(), options(connections=1))) == content
        again = origin.seen[1].fields["range"].removeprefix("bytes=").partition("-")[0]
    assert int(again) == place - (16 << 10)
    assert past[0][0] < place


def test_another_file_under_the_same_validator_is_not_joined_to_what_was_lent(past):
    content, other, answers = content_of(40 * MiB), bytes(40 * MiB), []

    def answer(connection, number, seen):
        answers.append(seen)
        own = content if len(answers) == 1 else other
        return ranged(own, trouble=cut_at(20 * MiB))(connection, number, seen)

    with Origin(answer) as origin, Session() as session, pytest.raises(ChangedError):
        read(session.stream(origin.url(), options(connections=1)))
    assert past
    assert len(answers) >= 2


def test_a_reader_that_stays_away_finds_that_a_worker_went_on(past, monkeypatch):
    monkeypatch.setattr(streams, "AWAY_SECONDS", 1.0)  # longer than between two of its reads
    content = content_of(64 * MiB)
    with Origin(ranged(content)) as origin, Session() as session:
        stream = session.stream(origin.url(), options(connections=1))
        out = bytearray()
        for chunk in stream.chunks(MiB):
            out += chunk
            if len(out) > 20 * MiB and past and past[-1][1] == len(out):
                break
            time.sleep(0.002)
        assert len(out) < len(content), "it is lent something when it stays away"
        passage, here = stream._passages[0], len(out)
        assert until(lambda: passage._delivered - here >= 4 * MiB)
        assert passage._delivered - here <= 16 * MiB
        assert bytes(out) + read(stream) == content


def test_an_exception_between_the_network_and_the_reader_loses_no_byte_unseen(past, monkeypatch):
    content, real = content_of(40 * MiB), Reception.pull

    def interrupted(reception, view, pass_by):
        result = real(reception, view, pass_by)
        if reception.reached > 20 * MiB:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Reception, "pull", interrupted)
    with Origin(ranged(content)) as origin, Session() as session:
        stream = session.stream(origin.url(), options(connections=1))
        with pytest.raises(KeyboardInterrupt):
            read(stream)
        with pytest.raises(RdlError, match="lost"):
            stream.read(MiB)
        monkeypatch.setattr(streams, "CLOSE_SECONDS", 60.0)  # it is not what ends it
        begun = time.monotonic()
        stream.close()
        assert time.monotonic() - begun < 20


def test_closing_while_it_is_lent_ends_the_worker(past, monkeypatch):
    for name in ("AWAY_SECONDS", "CLOSE_SECONDS"):  # it is not what ends it
        monkeypatch.setattr(streams, name, 60.0)
    before = threads.running()
    with Origin(ranged(bytes(64 * MiB))) as origin, Session() as session:
        stream = session.stream(origin.url(), options(connections=1))
        read(stream, until=20 * MiB)
        assert past
        begun = time.monotonic()
        stream.close()
        assert time.monotonic() - begun < 20
    assert not threads.left(before)


def test_a_limited_rate_holds_for_what_the_reader_takes_itself(past):
    limited = SessionOptions(limit_rate=8 * MiB)
    with Origin(ranged(bytes(10 * MiB))) as origin, Session(limited) as session:
        begun = time.monotonic()
        read(session.stream(origin.url(), options(connections=1)), pause=0)
        assert time.monotonic() - begun > 0.9
    assert past
