"""One fetch, step by step: what is read, written and reported."""

import itertools

import pytest
from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.fields import ResponseHead
from rdl.core.gate import Ask
from rdl.engine.edges import Edges, Place
from rdl.engine.reception import EXTENT, Reception
from rdl.engine.throttle import Limits, RequestLimit, Throttle
from rdl.errors import ChangedError, NetworkError, NoSpaceError
from rdl.options import HostLimits, SessionOptions
from rdl.transport.scripted import Answer, ScriptedTransport
from tests.engine.staging import content_of

ALL = Ask()


class Slate:
    """A store that only remembers what was written where, and recorded."""

    def __init__(self):
        self.data, self.extents, self.error, self.index_error = {}, [], None, None

    def record(self, extents):
        if self.index_error:
            raise self.index_error
        self.extents += extents

    def write_at(self, offset, data):
        if self.error:
            raise self.error
        self.data.update(zip(range(offset, offset + len(data)), bytes(data), strict=True))

    def read_into(self, offset, view):
        here = bytes(self.data[at] for at in range(offset, offset + len(view)) if at in self.data)
        view[: len(here)] = here
        return len(here)

    @property
    def text(self):
        return bytes(self.data[offset] for offset in sorted(self.data))


class Stage:
    def __init__(self, steps, ask=ALL, headers=(), step_bytes=1 << 18):
        self.slate, self.now = Slate(), 0.0
        self.transport = ScriptedTransport(lambda request: Answer(ResponseHead(200), iter(steps)))
        edges = Edges(
            "http://h/f", self.transport, self.slate, Throttle(None), Throttle(None), self.clock
        )
        self.reception = Reception(m.Fetch(7, ask, headers), edges, Place("http://h/f"))
        self.view = memoryview(bytearray(step_bytes))

    def clock(self):
        return self.now

    def run(self, range, skip=0, compare=0):
        """Open, receive, and step to the end; all events."""
        events = [self.reception.open()]
        self.reception.receive(m.Receive(7, range, skip, compare))
        while not isinstance(events[-1], m.Ended):
            events += self.reception.step(self.view)
        return events[1:]


def arrived(events):
    return [event.range for event in events if isinstance(event, m.Arrived)]


def test_the_request_carries_the_range_and_the_conditions():
    stage = Stage([], Ask(5, 10), (("If-Range", '"a"'),))
    head = stage.reception.open()
    assert isinstance(head, m.Head)
    assert stage.transport.requests[0].headers == (("Range", "bytes=5-9"), ("If-Range", '"a"'))


def test_what_is_reported_is_what_is_written_with_its_checksum():
    data = content_of(3 * EXTENT + 5)
    stage = Stage([data[at : at + 70_000] for at in range(0, len(data), 70_000)])
    events = stage.run(ByteRange(100, 100 + len(data)))
    assert stage.slate.text == data
    for parts in (stage.slate.extents, arrived(events)):
        assert (parts[0].start, parts[-1].stop) == (100, 100 + len(data))
        assert all(one.stop == two.start for one, two in itertools.pairwise(parts))
    for one in stage.slate.extents:
        assert 0 < one.stop - one.start <= EXTENT
        assert one.checksum == xxh3_64_intdigest(data[one.start - 100 : one.stop - 100])
    assert events[-1] == m.Ended(7)


def test_skipped_bytes_are_not_written():
    stage = Stage([b"0123456789" * 10], step_bytes=7)
    stage.run(ByteRange(33, 40), skip=33)
    assert stage.slate.text == b"3456789"
    assert min(stage.slate.data) == 33


def test_a_body_that_ends_while_skipping_writes_nothing():
    stage = Stage([b"0123456789"])
    assert stage.run(ByteRange(33, 40), skip=33) == [m.Ended(7)]
    assert stage.slate.data == {}


@pytest.mark.parametrize("step_bytes", [2, 7, 64])
def test_what_is_here_is_compared_and_only_the_rest_written(step_bytes):
    stage = Stage([b"0123456789" * 2], step_bytes=step_bytes)
    stage.slate.write_at(30, b"3456789")
    events = stage.run(ByteRange(37, 47), skip=3, compare=7)
    assert events[0] == m.Compared(7, 7)
    assert [(one.start, one.stop) for one in stage.slate.extents] == [(37, 47)]
    assert stage.slate.text == b"3456789" + b"0123456789"


@pytest.mark.parametrize("here", [b"345678X", b"X456789", b"34567", b""])
def test_bytes_that_are_not_those_here_end_it_and_nothing_is_written(here):
    stage = Stage([b"0123456789" * 2], step_bytes=8)
    stage.slate.write_at(30, here)
    (*before, end) = stage.run(ByteRange(37, 47), skip=3, compare=7)
    assert before == []
    assert isinstance(end.error, ChangedError)
    assert stage.slate.text == here


def test_a_comparison_with_nothing_to_write_behind_it():
    stage = Stage([b"0123456789"])
    stage.slate.write_at(0, b"0123456789")
    assert stage.run(ByteRange(10, 10), compare=10) == [m.Compared(7, 10), m.Ended(7)]


def test_a_body_that_ends_within_the_comparison_says_neither():
    stage = Stage([b"0123"])
    stage.slate.write_at(0, b"0123456789")
    assert stage.run(ByteRange(10, 20), compare=10) == [m.Ended(7)]


def test_a_reader_who_waits_is_told_before_a_read_would_wait():
    stage = Stage([b"abc", b"def", b"ghi"])
    stage.now, place = 1.0, [0]
    stage.reception._edges = replace(
        stage.reception._edges, awaited=lambda range: place[0] in range, volatile=True
    )
    stage.reception.open()
    stage.reception.receive(m.Receive(7, ByteRange(0, 60)))
    assert [one.stop for one in arrived(stage.reception.step(stage.view))] == [3]
    assert arrived(stage.reception.step(stage.view)) == []
    stage.reception._exchange.ready = lambda: False
    place[0] = 99  # it has other bytes to take
    assert arrived(stage.reception.step(stage.view)) == []
    place[0] = 3
    assert [one.stop for one in arrived(stage.reception.step(stage.view))] == [9]


def test_at_the_edge_of_a_window_it_waits_and_goes_on():
    stage = Stage([b"0123456789"])
    stage.reception.open()
    stage.reception.receive(m.Receive(7, ByteRange(0, 4), hold=True))
    assert [one.stop for one in arrived(stage.reception.step(stage.view))] == [4]
    stage.reception.trim(4, hold=True)
    assert stage.reception.step(stage.view) == ()  # it waited, and was woken
    stage.reception.trim(8, hold=True)
    assert [one.stop for one in arrived(stage.reception.step(stage.view))] == [8]
    stage.reception.trim(6)
    assert stage.reception.step(stage.view) == (m.Ended(7),)
    assert stage.slate.text == b"01234567"


def test_bytes_after_the_end_are_never_written():
    stage = Stage([b"x" * 100])
    stage.run(ByteRange(0, 60))
    assert max(stage.slate.data) == 59


def test_an_error_comes_after_what_was_written_before_it():
    error = NetworkError("server", "reset")
    stage = Stage([b"abc", b"def", error])
    events = stage.run(ByteRange(0, 60))
    assert arrived(events)[-1].stop == 6
    assert events[-1] == m.Ended(7, error)


def test_a_short_body_ends_without_error_where_it_ends():
    stage = Stage([b"abc"])
    events = stage.run(ByteRange(0, 60))
    assert arrived(events)[-1].stop == 3
    assert events[-1] == m.Ended(7)


def test_a_trimmed_segment_stops_there():
    stage = Stage([b"x" * 10] * 10, step_bytes=10)
    stage.reception.open()
    stage.reception.receive(m.Receive(1, ByteRange(0, 100), 0))
    stage.reception.step(stage.view)
    stage.reception.trim(25)
    events = []
    while not events or not isinstance(events[-1], m.Ended):
        events += stage.reception.step(stage.view)
    assert max(stage.slate.data) == 24
    assert arrived(events)[-1].stop == 25


def test_a_segment_trimmed_behind_itself_ends_and_its_bytes_count():
    stage = Stage([b"x" * 10] * 10, step_bytes=10)
    stage.reception.open()
    stage.reception.receive(m.Receive(1, ByteRange(0, 100), 0))
    first = stage.reception.step(stage.view)
    second = stage.reception.step(stage.view)
    stage.reception.trim(5)
    events = (*first, *second, *stage.reception.step(stage.view))
    assert events[-1] == m.Ended(7)
    assert arrived(events)[-1].stop == 20
    assert len(stage.slate.data) == 20


def test_a_dropped_segment_writes_nothing_more_and_ends_without_error():
    stage = Stage([b"x" * 10] * 10, step_bytes=10)
    stage.reception.open()
    stage.reception.receive(m.Receive(1, ByteRange(0, 100), 0))
    stage.reception.step(stage.view)
    stage.reception.drop()
    assert stage.reception.step(stage.view)[-1] == m.Ended(7)
    assert len(stage.slate.data) == 10


def test_one_dropped_before_it_was_sent_sends_nothing():
    stage = Stage([b"x"])
    stage.reception.drop()
    assert stage.reception.open() == m.Ended(7)
    assert stage.transport.requests == []


def test_a_disk_that_refuses_is_reported_and_nothing_is_claimed():
    stage = Stage([b"x" * 10])
    stage.slate.error = NoSpaceError("f", "full")
    events = stage.run(ByteRange(0, 100))
    assert arrived(events) == []
    assert events == [m.LocalFailed(stage.slate.error), m.Ended(7)]
    assert stage.slate.extents == []


def test_an_index_that_refuses_is_reported_and_nothing_is_claimed():
    stage = Stage([b"x" * 10])
    stage.slate.index_error = NoSpaceError("f", "full")
    events = stage.run(ByteRange(0, 100))
    assert arrived(events) == []
    assert events[0] == m.LocalFailed(stage.slate.index_error)
    assert events[-1] == m.Ended(7)


def test_no_more_than_a_mib_is_written_and_not_recorded_and_nothing_unrecorded_is_told():
    stage = Stage([b"x" * 100_000] * 100)
    stage.reception.open()
    stage.reception.receive(m.Receive(7, ByteRange(0, 10_000_000)))
    told = ended = 0
    while not ended:
        events = stage.reception.step(stage.view)
        recorded = max([one.stop for one in stage.slate.extents], default=0)
        told = max([told, *(one.stop for one in arrived(events))])
        assert len(stage.slate.data) - recorded < EXTENT
        assert told <= recorded
        ended = any(isinstance(event, m.Ended) for event in events)
    assert told == 10_000_000


def test_reports_are_a_tenth_of_a_second_or_some_mib_apart():
    stage = Stage([b"x" * 10] * 1000, step_bytes=10)
    events = stage.run(ByteRange(0, 10_000))
    assert len(arrived(events)) <= 2
    slow = Stage([b"x" * 10] * 10, step_bytes=10)
    slow.reception.open()
    slow.reception.receive(m.Receive(1, ByteRange(0, 100), 0))
    count = 0
    for _ in range(10):
        slow.now += 0.2
        count += len(arrived(slow.reception.step(slow.view)))
    assert count == 10


def test_an_end_that_moves_while_the_rate_is_waited_for_is_seen():
    stage = Stage([b"x" * 1000] * 5, step_bytes=1000)
    reception = stage.reception
    waits = []

    def pause(seconds):
        waits.append(seconds)
        if len(waits) == 2:  # the first is before the request
            reception.trim(3000)

    reception._pause = pause
    stage.run(ByteRange(0, 1000))
    assert sorted(stage.slate.data)[-1] == 2999


@pytest.mark.parametrize("rate", [1_000, 1_000_000])
def test_a_throttle_grants_no_more_than_rate_and_burst(rate):
    now = 0.0
    throttle, taken = Throttle(rate, rate / 16, clock=lambda: now), 0
    while now < 3:
        wait = throttle.take(throttle.grant)
        taken += throttle.grant
        now += wait
        assert taken <= rate / 16 + rate * now + 1
    assert taken >= 2.9 * rate


def test_no_limit_never_waits():
    assert Throttle(None).take(10**12) == 0


def test_limits_of_a_host_are_shared_by_those_that_name_them():
    limits, own = Limits(SessionOptions(1000, 2.0)), HostLimits("h", 50)
    rate, requests = limits.of("http://a/x", own)
    assert limits.of("http://b/x", HostLimits("h", 50))[0] is rate
    plain = limits.of("http://a/x", None)
    assert plain[0] is not rate
    assert plain[1] is requests
    assert rate.take(100) == 100 / 50 - 1 / 16
    assert plain[0].take(10) == 0
    other = limits.of("http://a/x", HostLimits("h", None, 9.0))
    assert other[0] is plain[0]
    assert other[1] is not requests


def test_requests_are_limited_for_each_origin_alone():
    limit = RequestLimit(1.0)
    one, other = limit.of("http://a/x"), limit.of("http://b/x")
    assert limit.of("http://a/y") is one
    assert one is not other
    assert one.take(1) == other.take(1) == 0
    assert one.take(1) > 0
