"""A row that is filled as its readers want it, by pure sequences of events."""

from base64 import b64encode

import pytest

from rdl.core import messages as m
from rdl.core.demand import Demands
from rdl.core.events import Warned
from rdl.core.fields import ResponseHead
from rdl.core.gate import Ask
from rdl.core.lanes import Lanes
from rdl.core.planner import Claim, Flow, Steal
from rdl.core.reading import Want
from rdl.core.representation import Representation
from rdl.core.row import Row
from rdl.core.spec import Spec
from rdl.errors import ChangedError, NetworkError, PolicyError
from rdl.options import LazyOptions, TransferOptions
from tests.core.playing import SUM, TOTAL, MiB, Play, part, remembered, rng, status, whole

KiB = 1 << 10


def lazy(saved=None, *, pinned=None, keep=None, mirrors=(), **options):
    """A row in memory where it is kept in `keep` bytes, else at a path."""
    how = LazyOptions() if keep is None else LazyOptions(keep=keep)
    made = TransferOptions(connections=4, **options)
    return Play(
        Spec(
            "http://h/f",
            "f",
            made,
            1,
            True,
            saved,
            pinned=pinned,
            lazy=how,
            volatile=keep is not None,
            mirrors=mirrors,
        )
    )


def want(play, start, stop, reader=1, after=0.0):
    return play.on(m.Want(reader, rng(start, stop)), after)


def begun(play, stop=128 * KiB):
    """The first bytes are here, and were shown."""
    want(play, 0, stop)
    play.head(part(0, stop))
    play.arrive(play.fetch.segment, 0, stop)
    return play


@pytest.mark.parametrize("event", [m.Want(1, rng(0, 1000)), m.Want(1, None), m.WantAll()])
def test_what_an_earlier_run_left_is_compared_for_a_reader_who_has_it_here(event):
    play = lazy(remembered((0, MiB)))
    assert not play.ever(m.Fetch)
    play.on(event)
    assert play.fetch.ask.stop == MiB
    play.head(part(MiB - 64 * KiB, MiB))
    assert not play.ever(m.Show)
    play.same(play.fetch.segment)
    assert play.ever(m.Show)[0].ranges == (rng(0, MiB),)


def test_all_is_here_but_not_confirmed_and_somebody_waits_until_it_is_complete():
    play = lazy(remembered((0, TOTAL)))
    play.on(m.WantAll())
    play.head(part(TOTAL - 64 * KiB, TOTAL))
    play.same(play.fetch.segment)
    play.end(play.fetch.segment)
    assert play.ever(m.Publish)


def test_an_empty_file_of_an_earlier_run_is_asked_for_without_a_range():
    demands = Demands(LazyOptions())
    demands.want(Want(1, None), 0.0)
    ask, overlap, _ = demands.first(Row(Representation(0, '"a"'), rng(0, 0), None))
    assert (ask.ranged, overlap) == (False, 0)


def test_a_request_is_not_taken_over_from_where_it_begins():
    demands = Demands(LazyOptions(block=4 * MiB, max_jump=0))
    demands.want(Want(1, rng(5 * MiB, 6 * MiB)), 0.0)
    row = Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None)
    step = demands.step(row, [Flow(1, 4 * MiB, TOTAL)], 4, 0.0)
    assert step == Steal(1, rng(5 * MiB, TOTAL))


def test_many_readers_that_want_the_same_are_one_wish():
    demands = Demands(LazyOptions())
    row = Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None)
    for reader in range(200):
        demands.want(Want(reader, rng(MiB, TOTAL), TOTAL), 0.0)
    demands.want(Want(200, rng(0, 2 * MiB), 3 * MiB), 0.0)
    assert demands.waiting(row) == [rng(MiB, TOTAL), rng(0, 2 * MiB)]
    assert demands.uncovered(row, [Flow(1, 0, TOTAL - 1)])
    assert not demands.uncovered(row, [Flow(1, 0, TOTAL)])


def test_of_a_long_block_what_is_waited_for_comes_first():
    demands = Demands(LazyOptions(block=8 * MiB))
    demands.want(Want(1, rng(7 * MiB, 7 * MiB + 1)), 0.0)
    row = Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None)
    step = demands.step(row, [], 4, 0.0)
    assert isinstance(step, Claim)
    assert 7 * MiB in step.range


@pytest.mark.parametrize("given", [SUM, ()])
@pytest.mark.parametrize(("etag", "joins"), [('"a"', True), ('"m"', False), (None, False)])
def test_nobody_joins_by_a_digest_that_is_checked_after_the_reads(given, etag, joins):
    play = lazy(mirrors=("http://m/f",), digests=given)
    want(play, 0, TOTAL)
    segment, stop = play.fetch.segment, play.fetch.ask.stop or TOTAL
    says = ("repr-digest", f"sha-256=:{b64encode(bytes(32)).decode()}:")
    fields = (("content-range", f"bytes 0-{stop - 1}/{TOTAL}"), ("etag", '"a"'), says)
    play.head(ResponseHead(206, fields, content_length=stop))
    play.arrive(segment, 0, MiB, after=0.5)
    while not any(fetch.source for fetch in play.ever(m.Fetch)):
        play.wake()
    (probe,) = [fetch for fetch in play.ever(m.Fetch) if fetch.source]
    play.head(part(probe.ask.start, probe.ask.stop, etag=etag), probe.segment)
    assert bool(play.of(m.Receive)) is joins
    aside = [fact.message for fact in play.facts(Warned) if "only when no other" in fact.message]
    assert len(aside) == (not joins)
    assert not play.ever(m.Seek)


def test_what_compares_is_not_dropped_for_a_read():
    play = begun(lazy(mirrors=("http://m/f",)))
    play.end(play.fetch.segment)
    fill = play.transfer._fill
    fill.sources.given.growth.level = 1
    probe = fill.lanes.add(Ask(0, 64 * KiB), 64 * KiB, play.now, 64 * KiB, 1)
    probe.probe = True
    fill.demands.want(Want(1, rng(8 * MiB, 9 * MiB)), play.now)
    fill._drop_idle()
    assert fill.lanes.get(probe.segment) is probe


def test_the_only_connection_is_of_one_that_is_in_use():
    play = begun(lazy(mirrors=("http://m/f",)))
    sources = play.transfer._fill.sources
    given, mirror = sources
    given.joined, mirror.joined, mirror.ranges = False, True, True
    assert [sources.share(one, [given, mirror], 1) for one in (given, mirror)] == [0, 1]


def test_a_reader_who_has_what_it_reads_makes_nobody_ask_sooner():
    play = begun(lazy(retry=10))
    play.end(play.fetch.segment)
    asked = len(play.ever(m.Fetch))
    first = asked
    for at in range(100):  # 5 seconds
        play.on(m.Want(1, rng(at, at + 1), MiB), 0.05)
        while len(play.ever(m.Fetch)) > asked:
            asked = len(play.ever(m.Fetch))
            play.head(status(503))
    assert 1 <= asked - first <= 6


def test_a_server_that_is_busy_is_asked_ten_times_in_ten_seconds_at_most():
    play = Play(
        Spec(
            "http://h/f", "f", TransferOptions(connections=4), 1, True, lazy=LazyOptions(fill=True)
        )
    )
    begun(play)
    play.end(play.fetch.segment)
    before = len(play.ever(m.Fetch))
    answered, until = before, play.now + 10.0
    while play.now < until:
        while len(play.ever(m.Fetch)) > answered:
            answered += 1
            play.head(status(503), play.ever(m.Fetch)[answered - 1].segment)
        if play.ever(m.Finish):
            break
        play.wake()
    assert 1 <= answered - before <= 10


def test_where_readers_had_bytes_that_nothing_can_be_joined_to_the_next_run_ends():
    known = Representation(TOTAL, 'W/"a"')
    saved = remembered((0, MiB), etag='W/"a"')
    play = lazy(saved, pinned=known, keep=TOTAL)
    want(play, 2 * MiB, 3 * MiB)
    play.head(part(2 * MiB, 3 * MiB, etag='W/"a"'))
    play.head(whole(etag='W/"a"'))
    assert isinstance(play.error, ChangedError)
    assert not play.ever(m.Begin)


def test_a_whole_that_comes_for_a_part_goes_on_with_what_readers_had():
    known = Representation(TOTAL, '"a"')
    play = lazy(remembered((MiB, 2 * MiB)), pinned=known)
    want(play, 0, 1000)
    play.head(whole())
    assert not play.ever(m.Begin)
    assert play.ever(m.Receive)[-1].range == rng(0, TOTAL)


def test_a_server_without_parts_is_told_off_where_memory_cannot_hold_all():
    play = begun(lazy(keep=MiB))
    play.end(play.fetch.segment)
    want(play, 8 * MiB, 9 * MiB)
    play.transfer._fill.sources.lead.proved = False
    play.head(whole())
    assert isinstance(play.error, PolicyError)


def test_where_parts_were_given_up_memory_has_to_hold_all():
    play = begun(lazy(keep=MiB))
    play.end(play.fetch.segment)
    play.transfer._fill.plain = True
    want(play, 8 * MiB, 9 * MiB)
    play.head(whole())
    assert isinstance(play.error, PolicyError)


def test_room_is_made_after_all_that_follows_from_an_event():
    play = begun(lazy(keep=256 * KiB), MiB)
    play.on(m.Left(1))
    [evict] = play.of(m.Evict)
    assert play.out[-1] is evict
    assert evict.size == MiB - 256 * KiB
    assert not play.on(m.Evicted(()))


def test_what_was_written_and_not_reported_is_not_let_go():
    lane = Lanes().add(Ask(4 * MiB, 5 * MiB), 5 * MiB, 0.0)
    lane.upto, lane.stop, lane.reached = 0, TOTAL, MiB  # the whole came, from the first gap on
    assert lane.writes == rng(0, TOTAL)
    lane = Lanes().add(Ask(suffix=MiB), MiB, 0.0)
    lane.upto, lane.stop, lane.reached = 2 * MiB, 3 * MiB, 2 * MiB + 1000
    assert lane.writes.start == 2 * MiB


def test_what_goes_while_the_last_lanes_end_comes_again_before_it_is_complete():
    play = lazy()
    play.on(m.WantAll())
    play.head(whole())
    play.on(m.Reached(1, TOTAL))
    play.arrive(1, 0, TOTAL)
    play.on(m.Invalidate(rng(0, MiB)))
    play.end(1)
    play.sync()
    assert not play.ever(m.Publish)
    assert play.ever(m.Forget)[-1].ranges == (rng(0, MiB),)


@pytest.mark.parametrize(("keep", "hashed"), [(TOTAL, True), (TOTAL - 1, False)])
def test_what_may_be_let_go_is_not_hashed_meanwhile(keep, hashed):
    play = lazy(keep=keep, digests=SUM)
    begun(play, 40 * MiB)
    assert bool(play.ever(m.Hash)) is hashed


def test_links_that_die_before_anything_new_comes_are_the_end():
    play = lazy(remembered((MiB, 2 * MiB)))
    fill = play.transfer._fill
    want(play, 0, 1000)
    fill.confirmed = True
    for _ in range(30):
        if fill.failure is None:
            fill.ask_alone()
    assert isinstance(fill.failure, NetworkError)


def test_a_mirror_that_brought_nothing_and_has_other_bytes_is_left():
    play = begun(lazy(mirrors=("http://m/f",)))
    fill = play.transfer._fill
    given, mirror = fill.sources
    fill.out = []
    assert fill.disclaim(mirror, "it has other bytes")
    assert fill.failure is None
    assert mirror.left is not None
    given.left, mirror.left = None, None
    assert fill.disclaim(given, "it has other bytes")  # a reader has some of these
    assert isinstance(fill.failure, ChangedError)


def test_a_source_that_lost_its_place_is_looked_at_again_where_no_other_sends_parts():
    play = begun(lazy(mirrors=("http://m/f",)))
    play.end(play.fetch.segment)
    fill = play.transfer._fill
    given, mirror = fill.sources
    mirror.joined, mirror.ranges = True, False
    fill._doubt(given)
    assert not fill.parallel
    assert fill.now in fill.wakes()


def test_of_memory_each_reader_has_its_share():
    row = Row(Representation(100 * MiB, '"a"'), rng(0, 100 * MiB), None)
    row.add([rng(0, 1 * MiB), rng(50 * MiB, 51 * MiB)])
    demands = Demands(LazyOptions(keep=4 * MiB), volatile=True)
    demands.want(Want(1, rng(0, MiB), 9 * MiB), 0.0)
    assert demands.step(row, [], 1, 0.0) == Claim(rng(MiB, 3 * MiB))
    demands.want(Want(2, rng(50 * MiB, 51 * MiB), 59 * MiB), 0.0)
    assert demands.step(row, [], 1, 0.0) == Claim(rng(MiB, 2 * MiB))
    demands.want(Want(2, rng(50 * MiB, 53 * MiB), 59 * MiB), 0.0)
    row.add([rng(51 * MiB, 53 * MiB)])
    assert demands.step(row, [], 1, 0.0) is None, "what is wanted takes all of it"
    alone = Demands(LazyOptions(keep=4 * MiB))
    alone.want(Want(1, rng(0, MiB), 9 * MiB), 0.0)
    assert alone.step(row, [], 1, 0.0) == Claim(rng(MiB, 9 * MiB))
