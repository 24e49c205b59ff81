"""The heart, event by event: answers that break rules, ranges and policy."""

from itertools import pairwise

import pytest

from rdl.core import messages as m
from rdl.core.events import Retrying
from rdl.core.gate import Ask
from rdl.core.order import JOINT
from rdl.core.row import OVERLAP
from rdl.core.transfer import Phase, Spec
from rdl.errors import (
    DigestMismatch,
    ExitCode,
    PolicyError,
    ProtocolError,
    exit_code_of,
)
from rdl.options import RangeSpec
from tests.core.playing import (
    JOIN,
    SUM,
    TOTAL,
    MiB,
    Play,
    hashing,
    one_stream,
    part,
    remembered,
    rng,
    spec,
    status,
    whole,
)

# 416 and rules that are broken


def test_416_to_a_good_range_is_tried_and_then_one_plain_stream_is_the_last_resort():
    play = Play(spec(remembered((0, MiB))))
    for _ in range(3):
        play.head(status(416))
        if not play.of(m.Fetch):
            play.next_fetch()
    assert play.fetch.ask.range_field is None
    play.head(whole())
    assert play.of(m.Receive) == [m.Receive(4, rng(MiB, TOTAL), JOIN, OVERLAP)]


def test_416_to_a_wanted_range_of_unknown_length_gets_one_plain_request():
    play = Play(range=RangeSpec(5, 10))
    play.head(status(416))
    assert play.fetch.ask.range_field is None
    play.head(whole())
    assert play.of(m.Receive) == [m.Receive(2, rng(5, 10), skip=5)]


def test_416_that_says_the_file_is_shorter_than_the_wanted_range_ends():
    play = Play(range=RangeSpec(5, 10))
    play.head(status(416, content_range="bytes */3"))
    assert isinstance(play.error, ProtocolError)
    assert len(play.ever(m.Fetch)) == 1


def test_an_offer_of_ranges_is_tried_by_one():
    play = Play(connections=4)
    play.head(whole(accept_ranges="bytes"))
    (worker,) = play.of(m.Fetch)
    play.head(whole(accept_ranges="bytes"), worker.segment)
    assert len(play.ever(m.Receive)) == 1
    assert play.ever(m.Trim)[-1] == m.Trim(1, TOTAL)
    play.fill(1, 0, TOTAL)
    assert len(play.ever(m.Fetch)) == 2
    assert play.of(m.Publish)


def test_ranges_that_are_proved_are_used_by_all():
    play = Play(connections=4)
    play.head(whole(accept_ranges="bytes"))
    (worker,) = play.of(m.Fetch)
    play.head(part(worker.ask.start, worker.ask.stop), worker.segment)
    workers = play.of(m.Fetch)
    assert len(workers) == 2
    for one in sorted(workers, key=lambda fetch: -fetch.ask.start):  # some of a farm do not
        play.head(whole(accept_ranges="bytes"), one.segment)
    play.fill(worker.segment, worker.ask.start, TOTAL)
    play.fill(1, 0, worker.ask.start)
    assert play.of(m.Publish)


def test_an_offer_is_not_tried_where_one_connection_is_allowed():
    play = Play(connections=1)
    play.head(whole(accept_ranges="bytes"))
    play.arrive(1, 0, MiB)
    assert len(play.ever(m.Fetch)) == 1


def test_an_offer_that_proved_false_is_not_believed_again():
    play = Play(connections=4)
    play.head(whole(accept_ranges="bytes"))
    (worker,) = play.of(m.Fetch)
    play.head(whole(accept_ranges="bytes"), worker.segment)
    play.end(worker.segment)
    play.arrive(1, 0, MiB)
    play.reset(1)
    play.head(whole(accept_ranges="bytes"))
    play.arrive(play.fetch.segment, MiB, 2 * MiB)
    assert len(play.ever(m.Fetch)) == 3


def test_a_refused_try_of_an_offer_is_not_repeated():
    play = Play(connections=4)
    play.head(whole(accept_ranges="bytes"))
    (worker,) = play.of(m.Fetch)
    play.head(status(503), worker.segment)
    for turn in range(10):
        play.arrive(1, turn * MiB, (turn + 1) * MiB)
        if play.of(m.Checkpoint):
            play.sync()
    assert len(play.ever(m.Fetch)) == 2


def test_a_file_that_changes_again_and_again_is_fetched_in_one_stream():
    play = Play(connections=4)
    play.head(part(etag='"0"'))
    for turn in (1, 2):
        play.head(part(play.fetch.ask.start, play.fetch.ask.stop, etag=f'"{turn}"'))
        for command in play.of(m.Drop):
            play.end(command.segment)
        assert play.fetch.ask == Ask()
        play.head(part(etag=f'"{turn}"'))
    last = play.fetch
    assert last.ask == Ask()
    play.fill(last.segment, 0, TOTAL)
    assert play.fetch is last
    assert play.of(m.Publish)


def test_strikes_are_forgotten_when_bytes_come():
    play = Play(connections=1)
    for turn in range(20):
        start = turn * MiB
        play.head(part(start + 5))
        play.next_fetch()
        play.head(part(play.fetch.ask.start))
        play.arrive(play.fetch.segment, start, start + MiB)
        play.reset(play.fetch.segment)
        if not play.of(m.Fetch):
            play.next_fetch()
    assert play.fetch.ask == Ask(20 * MiB - JOINT, TOTAL)


def test_a_response_that_always_breaks_the_rules_ends():
    play = Play()
    for _ in range(9):
        if play.ever(m.Finish):
            break
        play.head(part(5, 10))
        if not play.of(m.Fetch) and not play.of(m.Finish):
            play.next_fetch()
    assert isinstance(play.error, ProtocolError)
    assert len(play.ever(m.Fetch)) == 4
    assert play.ever(m.Receive) == []


def test_a_short_206_is_no_failure():
    play = Play(connections=1)
    play.head(part(0, MiB))
    play.fill(1, 0, MiB)
    assert play.facts(Retrying) == []
    assert play.fetch.ask.start == MiB - JOINT


def test_a_worker_whose_range_is_ignored_writes_nothing():
    play = Play(connections=2)
    play.head(part())
    worker = play.of(m.Fetch)[0]
    play.head(whole(), worker.segment)
    assert play.of(m.Receive) == []
    assert m.Drop(worker.segment) in play.out


# Ranges


def test_a_suffix_range_is_asked_for_and_checked():
    play = Play(range=RangeSpec(suffix=500))
    assert play.fetch.ask.range_field == "bytes=-500"
    play.head(part(TOTAL - 500, TOTAL))
    assert play.of(m.Begin)[0].span == rng(TOTAL - 500, TOTAL)
    assert play.of(m.Reserve) == [m.Reserve(500)]
    play.fill(1, TOTAL - 500, TOTAL)
    assert play.of(m.Publish)


def test_a_range_from_a_server_without_ranges_is_cut_out_of_the_whole():
    play = Play(range=RangeSpec(10, 20))
    play.head(whole())
    assert play.of(m.Receive) == [m.Receive(1, rng(10, 20), skip=10)]
    play.fill(1, 10, 20)
    assert play.of(m.Publish)


def test_a_suffix_of_unknown_length_cannot_be_had():
    play = Play(range=RangeSpec(suffix=500))
    play.head(whole(None))
    assert isinstance(play.error, ProtocolError)


@pytest.mark.parametrize("head", [status(416, content_range=f"bytes */{TOTAL}"), whole(total=90)])
def test_a_range_outside_of_the_file_ends_at_once(head):
    play = Play(range=RangeSpec(2 * TOTAL))
    play.head(head)
    assert exit_code_of(play.error) is ExitCode.POLICY
    assert len(play.ever(m.Fetch)) == 1


# Policy


@pytest.mark.parametrize("head", [whole(), part()])
def test_a_file_over_the_limit_is_refused_before_a_byte(head):
    play = Play(max_filesize=TOTAL - 1)
    play.head(head)
    assert isinstance(play.error, PolicyError)
    assert play.ever(m.Begin) == play.ever(m.Receive) == []


def test_a_file_just_at_the_limit_is_taken():
    play = Play(max_filesize=TOTAL)
    play.head(whole())
    assert play.of(m.Receive)


def test_a_body_of_unknown_length_is_stopped_at_the_limit():
    play = Play(max_filesize=MiB)
    play.head(whole(None))
    [receive] = play.of(m.Receive)
    assert receive.range.stop == MiB + 1
    play.arrive(1, 0, MiB)
    assert play.phase is Phase.FILLING
    play.arrive(1, MiB, 2 * MiB)
    play.end(1)
    while play.of(m.Checkpoint):
        play.sync()
    assert isinstance(play.error, PolicyError)


def test_a_web_page_instead_of_a_file_is_refused_with_a_hint():
    play = Play()
    play.head(whole(content_type="text/html; charset=utf-8"))
    assert isinstance(play.error, PolicyError)
    assert "--allow-html" in play.error.hint
    assert play.ever(m.Begin) == []


@pytest.mark.parametrize(
    "made",
    [
        spec(allow_html=True),
        spec(digests=SUM),
        Spec("http://h/", "index.html", page_name=True),
    ],
)
def test_a_web_page_that_is_wanted_is_taken(made):
    play = Play(made)
    play.head(whole(content_type="text/html"))
    assert play.of(m.Receive)


def test_a_portals_page_does_not_replace_good_bytes():
    play = Play(spec(remembered((0, MiB))))
    play.head(whole(total=700, etag=None, content_type="text/html"))
    assert isinstance(play.error, PolicyError)
    assert play.ever(m.Begin) == []


# Digests


def test_a_right_digest_is_published_as_proved():
    play = hashing()
    play.on(m.Hashed({"sha256": "aa"}))
    assert play.of(m.Publish)
    play.on(m.Published())
    result = play.finish.result
    assert (result.trust, result.verified_by) == ("T4", ("sha256",))


@pytest.mark.parametrize("digests", [{"sha256": "bb"}, {}])
def test_a_wrong_digest_is_quarantined_never_published(digests):
    play = hashing()
    play.on(m.Hashed(digests))
    assert play.of(m.Quarantine)
    assert isinstance(play.error, DigestMismatch)
    assert play.ever(m.Publish) == []
    assert play.finish.result.verified_by == ()
    assert play.finish.result.bytes_present == 0


def test_hashing_follows_the_head_and_covers_every_byte_once_in_order():
    play = one_stream(digests=SUM)
    for at in range(0, TOTAL, 5 * MiB + 1):
        play.arrive(1, at, min(TOTAL, at + 5 * MiB + 1))
        if play.of(m.Checkpoint):
            play.sync()
    play.end(1)
    ranges = [hash.range for hash in play.ever(m.Hash)]
    assert len(ranges) > 5
    assert ranges[0].start == 0
    assert ranges[-1].stop == TOTAL
    assert all(one.stop == two.start for one, two in pairwise(ranges))
    assert [hash.last for hash in play.ever(m.Hash)] == [False] * (len(ranges) - 1) + [True]


def test_with_a_digest_nothing_is_begun_far_ahead_of_the_head():
    total = 1 << 30
    play = Play(connections=8, digests=SUM)
    play.head(part(0, total, total))
    starts = [fetch.ask.start for fetch in play.ever(m.Fetch)]
    assert max(starts) < 64 * MiB


def test_after_a_change_the_digest_starts_from_the_new_first_byte():
    play = Play(spec(remembered((0, 10 * MiB)), digests=SUM))
    play.head(whole(etag='"b"'))
    play.arrive(1, 0, 2 * MiB)
    assert play.of(m.Hash)[0].range == rng(0, 2 * MiB)


def test_the_last_segment_is_taken_from_a_connection_much_slower_than_others_were():
    play = Play(connections=2)
    play.head(part())
    play.head(part(play.fetch.ask.start, play.fetch.ask.stop))
    play.arrive(1, 0, MiB, after=1.0)
    for _ in range(5):
        fast = play.fetch
        play.fill(fast.segment, fast.ask.start, fast.ask.stop)
        if m.Drop(1) in play.all:
            break
        play.head(part(play.fetch.ask.start, play.fetch.ask.stop))
    assert m.Drop(1) in play.all
    play.end(1)
    assert play.fetch.ask.start == MiB - JOINT


def test_a_slow_connection_alone_is_left_in_peace():
    play = Play(connections=1)
    play.head(part())
    for turn in range(20):
        play.arrive(1, turn * 1000, turn * 1000 + 1000, after=1.0)
        if play.of(m.Checkpoint):
            play.sync()
    assert play.ever(m.Drop) == []
