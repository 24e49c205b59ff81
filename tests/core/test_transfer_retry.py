"""The heart, event by event: failing, trying again, and how many connections."""

from itertools import pairwise

import pytest

from rdl.core import messages as m
from rdl.core.order import JOINT
from rdl.core.transfer import Phase
from rdl.errors import (
    AuthError,
    HTTPStatusError,
    NetworkError,
)
from tests.core.playing import (
    TOTAL,
    MiB,
    Play,
    part,
    status,
    whole,
)

# Failing and trying again


def test_four_retries_are_five_requests_with_growing_gaps():
    play, times = Play(retry=4), [0.0]
    while True:
        play.head(status(503))
        if play.of(m.Finish):
            break
        play.next_fetch()
        times.append(play.now)
    gaps = [after - before for before, after in pairwise(times)]
    assert len(play.ever(m.Fetch)) == 5
    assert gaps[0] >= 0.25
    assert gaps[2] > gaps[0]
    assert gaps[3] > gaps[1]
    assert isinstance(play.error, HTTPStatusError)
    assert play.finish.result.resumable


def test_a_refused_connection_is_tried_and_ends_as_network():
    play = Play(retry=2)
    for _ in range(3):
        play.reset(play.fetch.segment)
        if not play.ever(m.Finish):
            play.next_fetch()
    assert isinstance(play.error, NetworkError)
    assert len(play.ever(m.Fetch)) == 3


@pytest.mark.parametrize(
    ("value", "seconds"), [("2", 2.0), ("Sun, 06 Nov 1994 08:49:39 GMT", 2.0), ("120", 120.0)]
)
def test_the_servers_delay_is_waited_for(value, seconds):
    play = Play()
    play.head(status(503, retry_after=value, date="Sun, 06 Nov 1994 08:49:37 GMT"))
    asked = play.now
    play.next_fetch()
    assert play.now >= asked + seconds


@pytest.mark.parametrize("value", ["121", "86400", "999999999", "9" * 30])
def test_an_absurd_delay_ends_at_once(value):
    play = Play()
    play.head(status(503, retry_after=value))
    assert isinstance(play.error, HTTPStatusError)
    assert play.finish.result.resumable
    assert play.error.hint.startswith("the server asks to try again in ")


def test_a_worker_told_to_wait_absurdly_long_does_not_end_what_flows():
    play = Play(connections=2)
    play.head(part())
    worker = play.of(m.Fetch)[0]
    play.head(status(503, retry_after="300"), worker.segment)
    play.fill(1, 0, worker.ask.start)
    assert play.ever(m.Finish) == []
    assert play.phase is Phase.FILLING


@pytest.mark.parametrize("value", ["-5", "1e3", "soon", ""])
def test_a_delay_that_is_none_is_ordinary_back_off(value):
    play = Play()
    play.head(status(503, retry_after=value))
    play.next_fetch()
    assert play.now < 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 407, 410, 451, 501])
def test_a_final_refusal_is_one_request(code):
    play = Play()
    play.head(status(code))
    assert len(play.ever(m.Fetch)) == 1
    expected = AuthError if code in (401, 403, 407) else HTTPStatusError
    assert isinstance(play.error, expected)
    assert play.finish.result.bytes_present == 0


def test_a_cut_body_continues_where_it_stopped_at_once():
    play = Play(connections=1)
    play.head(part())
    play.arrive(1, 0, 10_000)
    play.reset(1)
    assert play.of(m.Fetch)
    assert play.fetch.ask.start == 10_000 - 10_000 // 16
    play.head(part(play.fetch.ask.start))
    play.reset(play.fetch.segment)  # nothing new: then nothing is compared that could be all
    assert play.next_fetch().ask.start == 10_000


def test_a_body_shorter_than_its_length_is_a_failure_of_its_tail():
    play = Play(connections=1)
    play.head(part())
    play.fill(1, 0, TOTAL - 1)
    assert play.ever(m.Publish) == []
    assert play.fetch.ask.start == TOTAL - 1 - JOINT


def test_a_source_that_brings_a_byte_a_time_is_never_given_up():
    play = Play(connections=1, retry=1)
    play.head(part())
    for offset in range(40):
        play.arrive(play.fetch.segment, offset, offset + 1)
        play.reset(play.fetch.segment)
        if not play.of(m.Fetch):
            play.next_fetch()
        play.head(part(offset + 1))
    assert play.ever(m.Finish) == []


def test_retry_max_time_ends_with_the_last_cause():
    play = Play(retry=10**6, retry_max_time=60)
    for _ in range(200):
        play.head(status(503))
        if play.ever(m.Finish):
            break
        play.next_fetch()
    assert isinstance(play.error, HTTPStatusError)
    assert 60 <= play.now < 120


def test_of_several_nodes_another_may_have_what_one_sent_beside_others_was_refused():
    play = Play(connections=2, min_split=TOTAL // 2)
    play.head(part(0, TOTAL))
    first, second = play.ever(m.Fetch)
    play.arrive(first.segment, 0, second.ask.start)
    play.end(first.segment)
    play.head(status(404), second.segment)
    assert not play.ever(m.Finish)
    again = play.fetch
    assert again.ask.stop == second.ask.stop
    play.end(second.segment)
    play.head(status(404), again.segment)  # this one was sent alone
    play.sync()
    assert play.finish.result.reason == "http-status"


def test_a_worker_refused_while_another_flows_only_lowers_the_number():
    play = Play(connections=4, retry=0)
    play.head(part())
    workers = play.of(m.Fetch)
    assert len(workers) == 3
    for worker in workers:
        play.head(status(403), worker.segment)
    play.arrive(1, 0, MiB)
    assert play.ever(m.Finish) == []
    assert len(play.ever(m.Fetch)) <= 5


def test_workers_without_an_answer_are_given_up_while_others_are_served():
    play = Play(connections=4)
    play.head(part())
    served, *silent = play.of(m.Fetch)
    play.head(part(served.ask.start, served.ask.stop), served.segment)
    dropped: list[m.Drop] = []
    while not dropped and play.now < 60:
        assert play.now < 10.1
        play.wake()
        dropped = play.of(m.Drop)
    assert {drop.segment for drop in dropped} == {one.segment for one in silent}
    assert play.now > 9.9
    assert play.of(m.Fetch) == []  # two are enough
    play.head(part(silent[0].ask.start, silent[0].ask.stop), silent[0].segment)
    assert play.of(m.Receive) == []
    play.fill(served.segment, served.ask.start, served.ask.stop)
    assert play.next_fetch().segment not in {one.segment for one in silent}


def test_one_worker_without_an_answer_is_waited_for():
    play = Play(connections=2)
    play.head(part())
    (silent,) = play.of(m.Fetch)
    play.arrive(1, 0, silent.ask.start)
    play.end(1)
    for _ in range(100):
        play.on(m.Tick(), 1.0)
    asked = play.ever(m.Fetch)[2:]
    assert len(play.ever(m.Drop)) <= len(asked)
    assert len(asked) <= 20
    assert play.ever(m.Finish) == []


def test_a_server_that_is_slow_to_answer_is_given_time():
    play = Play(connections=4)
    play.on(m.Head(1, part()), 8.0)
    served, *others = play.of(m.Fetch)
    play.head(part(served.ask.start, served.ask.stop), served.segment)
    for _ in range(23):
        play.on(m.Tick(), 1.0)
    assert play.ever(m.Drop) == []
    play.on(m.Tick(), 2.0)
    assert {drop.segment for drop in play.of(m.Drop)} == {one.segment for one in others}


# Connections


def test_a_fixed_number_of_connections_is_used_at_once_and_never_exceeded():
    play = Play(connections=4)
    play.head(part())
    workers = play.of(m.Fetch)
    assert len(workers) == 3
    assert all(worker.headers == (("If-Match", '"a"'),) for worker in workers)
    for worker in workers:
        play.head(part(worker.ask.start, worker.ask.stop), worker.segment)
    assert play.of(m.Fetch) == []


def test_split_segments_tile_the_file_and_nobody_asks_for_more_than_its_tile():
    play = Play(connections=8, min_split=MiB)
    play.head(part())
    assert {trim.segment for trim in play.of(m.Trim)} == {1}
    edges = sorted((fetch.ask.start, fetch.ask.stop) for fetch in play.of(m.Fetch))
    assert len(edges) == 7
    assert edges[0][0] == play.of(m.Trim)[-1].stop
    assert edges[-1][1] == TOTAL
    assert all(one[1] == two[0] for one, two in pairwise(edges))


def test_workers_that_flow_are_trimmed_before_others_are_started():
    play = Play(connections=8, min_split=MiB)
    play.head(part())
    kinds = [type(one) for one in play.out if isinstance(one, m.Trim | m.Fetch)]
    assert kinds.index(m.Fetch) > len(kinds) - 1 - kinds[::-1].index(m.Trim)


def test_what_was_written_but_not_reported_is_not_asked_for_again():
    play = Play(connections=2, min_split=MiB)
    play.head(part())
    (other,) = play.of(m.Fetch)
    play.head(part(other.ask.start, other.ask.stop), other.segment)
    assert play.on(m.Reached(1, other.ask.start - 2 * MiB)) == []
    play.fill(other.segment, other.ask.start, other.ask.stop)
    (thief,) = play.of(m.Fetch)
    assert thief.ask.start == other.ask.start - MiB


def test_connections_grow_while_the_rate_rises():
    play, flowing = Play(min_split=MiB), {1: [0, TOTAL]}
    play.head(part())
    counts = []
    for _ in range(60):
        for segment, (at, stop) in list(flowing.items()):
            upto = min(stop, at + 65536)
            play.arrive(segment, at, upto, 0.05 / len(flowing))
            flowing[segment][0] = upto
            if play.of(m.Checkpoint):
                play.sync()
            for trim in play.of(m.Trim):
                flowing[trim.segment][1] = trim.stop
            for fetch in play.of(m.Fetch):
                play.head(part(fetch.ask.start, fetch.ask.stop), fetch.segment)
                flowing[fetch.segment] = [fetch.ask.start, fetch.ask.stop]
        counts.append(len(flowing))
    assert counts[0] == 1
    assert counts[-1] == 8
    assert counts == sorted(counts)


def test_a_stolen_half_leaves_no_gap_when_its_thief_fails():
    play = Play(connections=2, min_split=MiB)
    play.head(part())
    thief = play.of(m.Fetch)[0]
    play.reset(thief.segment)
    play.fill(1, 0, thief.ask.start)
    while not play.of(m.Fetch) and len(play.ever(m.Fetch)) == 2:
        play.wake()
    assert play.ever(m.Publish) == []
    assert min(fetch.ask.start for fetch in play.ever(m.Fetch)[2:]) == thief.ask.start


def test_a_change_seen_by_a_worker_waits_until_nothing_old_can_be_written():
    play = Play(connections=2)
    play.head(part())
    worker = play.of(m.Fetch)[0]
    play.head(part(worker.ask.start, worker.ask.stop, etag='"b"'), worker.segment)
    assert m.Drop(1) in play.out
    play.arrive(1, 0, MiB)
    assert len(play.ever(m.Begin)) == 1
    assert play.ever(m.Fetch)[-1] is worker
    play.end(1)
    assert play.fetch.ask.range_field == "bytes=0-"
    play.head(part(etag='"b"'))
    assert len(play.ever(m.Begin)) == 2


def test_412_from_a_server_that_never_understands_if_match_does_not_end_the_download():
    play = Play(connections=2)
    for _ in range(30):
        for fetch in play.of(m.Fetch):
            if "If-Match" in dict(fetch.headers):
                play.head(status(412), fetch.segment)
                flowing = {one.segment for one in play.ever(m.Receive)}
                for drop in play.of(m.Drop):
                    if drop.segment in flowing:
                        play.end(drop.segment)
            else:
                play.head(part(fetch.ask.start, fetch.ask.stop or TOTAL), fetch.segment)
    assert play.ever(m.Finish) == []


def test_connections_that_are_cut_again_and_again_beside_others_are_too_many():
    """A server that answers any number of requests, and soon cuts all but one of them."""
    play = Play(connections=8, min_split=MiB)
    play.head(part())
    for _ in range(40):
        for fetch in play.ever(m.Fetch)[1:]:
            lane = play.transfer._fill.lanes.get(fetch.segment)
            if lane is not None and not lane.flowing:
                play.head(part(fetch.ask.start, fetch.ask.stop), fetch.segment)
                start = lane.upto
                play.arrive(fetch.segment, start, start + 8000)
                play.on(m.Ended(fetch.segment, NetworkError("server", "cut")), after=0.1)
    assert len(play.ever(m.Fetch)) < 20
    assert play.ever(m.Finish) == []


def test_connections_grow_where_only_a_later_answer_proves_ranges():
    play = Play(connections=4, min_split=MiB)
    play.head(whole())
    play.arrive(1, 0, 8 * MiB)
    assert play.of(m.Fetch) == []
    play.on(m.Ended(1, NetworkError("server", "cut")))
    (again,) = play.of(m.Fetch)
    play.head(part(again.ask.start, TOTAL), again.segment)
    if play.of(m.Receive)[0].compare:
        play.on(m.Compared(again.segment))
    assert len(play.of(m.Fetch)) == 3
