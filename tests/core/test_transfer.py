"""The heart, event by event: how a download begins, goes on and is continued."""

import pytest

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.events import Changed, Planned, Started, Warned
from rdl.core.fields import ResponseHead
from rdl.core.order import JOINT
from rdl.core.representation import Representation
from rdl.core.row import OVERLAP, Remembered
from rdl.core.transfer import Phase, Spec
from rdl.errors import (
    ChangedError,
    ExitCode,
    HTTPStatusError,
    NetworkError,
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
    one_stream,
    part,
    remembered,
    rng,
    spec,
    status,
    whole,
)

# Fresh


def test_the_first_request_is_the_download():
    play = Play()
    (fetch,) = play.of(m.Fetch)
    assert fetch.ask.range_field == "bytes=0-"
    assert fetch.headers == ()


def test_a_fresh_206_begins_reserves_and_receives_in_this_order():
    play = Play(connections=1)
    play.head(part())
    kinds = [type(one) for one in play.out if not isinstance(one, m.Tell | m.WakeAt)]
    assert kinds == [m.Begin, m.Reserve, m.Receive]
    assert play.of(m.Receive) == [m.Receive(1, rng(0, TOTAL))]
    (started,) = play.facts(Started)
    assert (started.bytes_total, started.trust, started.parallel) == (TOTAL, "T2", True)


def test_a_fresh_200_is_one_stream_for_good():
    play = one_stream(connections=8)
    play.arrive(1, 0, MiB)
    play.on(m.Tick(), 60)
    assert len(play.ever(m.Fetch)) == 1


def test_a_complete_row_is_published_once_and_finished_after_it():
    play = one_stream()
    play.fill(1, 0, TOTAL)
    assert len(play.ever(m.Publish)) == 1
    assert play.ever(m.Finish) == []
    play.on(m.Published())
    assert play.finish.error is None
    assert play.finish.result.bytes_present == play.finish.result.bytes_downloaded == TOTAL
    assert play.on(m.Tick(), 9) == []


def test_nothing_is_published_while_a_checkpoint_runs():
    play = one_stream()
    play.arrive(1, 0, TOTAL)
    assert play.of(m.Checkpoint)
    play.end(1)
    assert play.ever(m.Publish) == []
    play.sync()
    assert play.of(m.Publish)


@pytest.mark.parametrize("answer", ["200", "416"])
def test_an_empty_file_is_published(answer):
    play = Play()
    if answer == "416":
        play.head(status(416, content_range="bytes */0"))
        assert play.fetch.ask.range_field is None
    play.head(whole(0))
    assert play.ever(m.Receive) == []
    assert play.of(m.Publish)
    play.on(m.Published())
    assert play.finish.result.bytes_total == 0


def test_a_single_byte_is_a_file():
    play = Play(connections=8)
    play.head(part(0, 1, 1))
    play.fill(1, 0, 1)
    assert play.of(m.Publish)
    assert len(play.ever(m.Fetch)) == 1


# Unknown length


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_a_body_of_unknown_length_is_complete_at_its_end(framing):
    play = Play()
    play.head(ResponseHead(200, (), framing=framing))
    assert play.ever(m.Reserve) == []
    play.fill(1, 0, 5000)
    assert play.of(m.Publish)
    play.on(m.Published())
    result = play.finish.result
    assert result.bytes_total == 5000
    assert result.completeness == ("unconfirmed" if framing == "close" else "confirmed")
    assert bool(play.facts(Warned)) is (framing == "close")


def test_strict_refuses_a_body_that_ends_with_the_connection():
    play = Play(strict=True)
    play.head(ResponseHead(200, (), framing="close"))
    play.fill(1, 0, 5000)
    while play.of(m.Checkpoint):
        play.sync()
    assert isinstance(play.error, ProtocolError)
    assert play.ever(m.Publish) == []


def test_strict_takes_a_chunked_body():
    play = Play(strict=True)
    play.head(whole(None))
    play.fill(1, 0, 5000)
    assert play.of(m.Publish)


def test_a_cut_body_of_unknown_length_starts_again_from_the_first_byte():
    play = Play()
    play.head(whole(None))
    play.arrive(1, 0, 100)
    play.reset(1)
    assert play.next_fetch().ask.range_field == "bytes=0-"
    assert play.fetch.headers == ()
    play.head(whole(None))
    assert len(play.ever(m.Begin)) == 2
    assert play.of(m.Receive)[0].skip == 0


def test_a_body_that_cannot_be_joined_and_is_always_cut_is_given_up():
    play = Play(retry=4)
    for _ in range(30):
        play.head(whole(None))
        play.sync()
        play.arrive(play.fetch.segment, 0, 10_000)
        play.reset(play.fetch.segment)
        if play.phase is not Phase.FILLING:
            break
        if not play.of(m.Fetch):
            play.next_fetch()
    assert len(play.ever(m.Fetch)) <= 5


def test_a_range_of_a_body_of_unknown_length_ends_where_it_was_asked():
    play = Play(range=RangeSpec(0, 1000))
    play.head(whole(None))
    play.fill(1, 0, 1000)
    assert play.of(m.Publish)
    assert len(play.ever(m.Fetch)) == 1


def test_a_range_past_a_body_of_unknown_length_is_what_there_is():
    play = Play(range=RangeSpec(0, 1000))
    play.head(whole(None))
    play.fill(1, 0, 600)
    assert play.of(m.Publish)


# Resume


def test_a_resume_asks_for_the_first_gap_and_what_is_before_it_under_if_range():
    play = Play(spec(remembered((0, MiB), (2 * MiB, 3 * MiB))))
    assert play.fetch.ask.range_field == f"bytes={JOIN}-{2 * MiB - 1}"
    assert play.fetch.headers == (("If-Range", '"a"'),)
    play.head(part(JOIN, 2 * MiB))
    assert play.of(m.Receive) == [m.Receive(1, rng(MiB, 2 * MiB), compare=OVERLAP)]
    assert play.ever(m.Begin) == []
    assert play.facts(Started) == []
    assert len(play.ever(m.Fetch)) == 1
    play.same(1)
    assert play.facts(Started)[0].bytes_reused == 2 * MiB
    play.fill(1, MiB, 2 * MiB)
    assert play.fetch.ask.range_field == f"bytes={3 * MiB - JOINT}-{TOTAL - 1}"
    fetch = play.fetch
    play.head(part(3 * MiB - JOINT))
    assert play.of(m.Receive) == [m.Receive(fetch.segment, rng(3 * MiB, TOTAL), compare=JOINT)]


def test_what_a_run_joins_after_a_cut_is_compared_as_well():
    play = Play(connections=1)
    play.head(part())
    play.arrive(1, 0, MiB)
    play.reset(1)
    assert play.fetch.ask.start == MiB - JOINT
    play.head(part(MiB - JOINT))
    play.end(play.fetch.segment, ChangedError("part file", "it is not what comes now"))
    assert play.facts(Changed)
    assert play.fetch.ask.range_field == "bytes=0-"


@pytest.mark.parametrize("runs", [[(0, MiB)], [(MiB, 2 * MiB)], [(MiB, TOTAL)], [(0, TOTAL)]])
def test_a_tag_that_outlives_its_file_joins_nothing(runs):
    play = Play(spec(remembered(*runs)))
    ask = play.fetch.ask
    play.head(part(ask.start, ask.stop or TOTAL))
    play.end(1, ChangedError("part file", "it is not what the server sends now"))
    assert len(play.facts(Changed)) == 1
    assert play.fetch.ask.range_field == "bytes=0-"
    play.head(part())
    assert len(play.ever(m.Begin)) == 1
    assert play.of(m.Receive) == [m.Receive(2, rng(0, TOTAL))]


def test_a_tag_that_outlives_its_file_fails_where_a_change_is_to_fail():
    play = Play(spec(remembered((0, MiB)), on_change="fail"))
    play.head(part(JOIN, TOTAL))
    play.end(1, ChangedError("part file", "it is not what the server sends now"))
    assert exit_code_of(play.error) is ExitCode.CHANGED
    assert play.ever(m.Begin) == []


@pytest.mark.parametrize("stop", [JOIN + 1000, MiB])
def test_a_body_that_never_confirms_is_a_failure_not_a_loop(stop):
    play = Play(spec(remembered((0, MiB)), connections=1, retry=3))
    for _ in range(9):
        play.head(part(JOIN, stop))
        assert play.of(m.Receive)[0].compare == stop - JOIN
        play.end(play.fetch.segment)
        if play.ever(m.Finish):
            break
        play.next_fetch()
    assert isinstance(play.error, NetworkError)


def test_a_412_without_condition_is_a_strike_also_when_confirmed():
    play = Play(connections=2)
    play.head(part())
    play.head(status(412))
    play.end(1)
    lone = play.fetch
    play.head(part(lone.ask.start, TOTAL))
    worker = play.fetch
    assert worker.headers == ()
    play.head(status(412))
    assert m.Drop(lone.segment) not in play.out
    assert play.ever(m.Finish) == []


def test_a_final_refusal_of_one_ends_nothing_while_others_wait_for_their_answers():
    play = Play(connections=4)
    play.head(part())
    first, second, _ = play.of(m.Fetch)
    play.reset(1)
    play.head(status(403), first.segment)
    assert play.ever(m.Finish) == []
    play.head(part(second.ask.start, second.ask.stop), second.segment)
    assert play.of(m.Receive)


def test_a_part_that_brings_only_what_is_here_confirms_and_the_gap_is_asked_for():
    play = Play(spec(remembered((0, MiB)), connections=1))
    play.head(part(JOIN, MiB))
    assert play.of(m.Receive) == [m.Receive(1, rng(MiB, MiB), compare=OVERLAP)]
    play.same(1)
    play.end(1)
    assert play.fetch.ask.start == MiB - JOINT


def test_a_resume_that_gets_the_whole_skips_to_the_first_gap():
    play = Play(spec(remembered((0, MiB))))
    play.head(whole())
    assert play.of(m.Receive) == [m.Receive(1, rng(MiB, TOTAL), JOIN, OVERLAP)]
    assert play.ever(m.Begin) == []


def test_a_resume_of_another_version_begins_anew_with_the_same_body():
    play = Play(spec(remembered((0, MiB))))
    play.head(whole(etag='"b"'))
    assert len(play.of(m.Begin)) == 1
    assert play.of(m.Receive) == [m.Receive(1, rng(0, TOTAL))]
    assert len(play.facts(Changed)) == 1
    assert len(play.ever(m.Fetch)) == 1


def test_a_206_of_another_version_is_never_joined():
    play = Play(spec(remembered((0, MiB)), connections=1))
    play.head(part(JOIN, TOTAL, etag='"b"'))
    assert play.ever(m.Receive) == []
    assert play.fetch.ask.range_field == "bytes=0-"
    assert play.ever(m.Begin) == []
    play.head(part(etag='"b"'))
    assert len(play.ever(m.Begin)) == 1


@pytest.mark.parametrize(
    "head",
    [
        whole(etag='"b"'),
        part(JOIN, TOTAL, etag='"b"'),
        whole(total=9),
        status(416, content_range="bytes */5"),
    ],
    ids=["200", "206", "total", "416"],
)
def test_on_change_fail_keeps_what_is_there(head):
    play = Play(spec(remembered((0, MiB)), on_change="fail"))
    play.head(head)
    assert isinstance(play.error, ChangedError)
    assert exit_code_of(play.error) is ExitCode.CHANGED
    assert play.ever(m.Begin) == []


def test_412_to_a_request_without_if_match_is_only_a_strike():
    play = Play(spec(remembered((0, MiB))))
    play.head(status(412))
    assert play.next_fetch().ask.range_field == f"bytes={JOIN}-{TOTAL - 1}"
    assert play.ever(m.Begin) == []


def test_a_file_that_changes_for_ever_ends():
    play = Play(connections=1)
    for turn in range(20):
        if play.ever(m.Finish):
            break
        play.head(whole(etag=f'"{turn}"'))
        if play.phase is Phase.FILLING:
            play.arrive(play.fetch.segment, 0, MiB)
            play.reset(play.fetch.segment)
    while play.phase is not Phase.DONE:
        play.sync()
    assert isinstance(play.error, ChangedError)
    assert len(play.ever(m.Fetch)) < 20


def test_a_complete_part_is_confirmed_by_its_last_bytes():
    play = Play(spec(remembered((0, TOTAL))))
    assert play.fetch.ask.range_field == f"bytes={TOTAL - OVERLAP}-{TOTAL - 1}"
    play.head(part(TOTAL - OVERLAP, TOTAL))
    assert play.of(m.Receive) == [m.Receive(1, rng(TOTAL, TOTAL), compare=OVERLAP)]
    assert play.ever(m.Publish) == []
    play.same(1)
    play.end(1)
    assert play.of(m.Publish)


@pytest.mark.parametrize("run", [(0, TOTAL), (MiB, TOTAL)])
def test_a_whole_that_passes_nothing_to_compare_is_taken_from_its_first_byte(run):
    play = Play(spec(remembered(run)))
    play.head(whole())
    assert len(play.of(m.Begin)) == 1
    assert play.of(m.Receive) == [m.Receive(1, rng(0, TOTAL))]


def test_with_a_digest_a_complete_part_and_the_whole_need_no_body():
    play = Play(spec(remembered((0, TOTAL)), digests=SUM))
    play.head(whole())
    assert play.ever(m.Receive) == []
    assert play.of(m.Hash)


def test_a_complete_part_of_an_old_version_is_not_published():
    play = Play(spec(remembered((0, TOTAL))))
    play.head(part(TOTAL - OVERLAP, TOTAL, etag='"b"'))
    assert play.ever(m.Publish) == []


@pytest.mark.parametrize("etag", [None, 'W/"a"'])
def test_a_part_without_strong_validator_is_not_resumed(etag):
    play = Play(spec(remembered((0, MiB), etag=etag)))
    assert play.fetch.ask.range_field == "bytes=0-"
    assert play.fetch.headers == ()


def test_with_a_digest_a_part_without_validator_is_resumed_and_sends_no_weak_tag():
    play = Play(spec(remembered((0, MiB), etag='W/"a"'), digests=SUM))
    assert play.fetch.ask.start == JOIN
    assert play.fetch.headers == ()


def test_a_part_with_only_a_strong_date_is_resumed_by_it():
    saved = Remembered(Representation(TOTAL, None, "Mon", True), None, remembered((0, 9)).present)
    assert Play(spec(saved)).fetch.headers == (("If-Range", "Mon"),)


# Nothing to do


def test_a_published_file_that_is_current_is_unchanged():
    existing = Representation(TOTAL, '"a"')
    play = Play(spec(existing=existing))
    assert play.fetch.headers == (("If-None-Match", '"a"'),)
    play.head(ResponseHead(304, framing="none"))
    assert play.finish.error is None
    assert play.finish.result.reason == "unchanged"
    assert play.ever(m.Begin) == []


def test_a_published_file_that_is_outdated_is_fetched():
    play = Play(spec(existing=Representation(TOTAL, '"a"')))
    play.head(part(etag='"b"'))
    assert play.of(m.Begin)


@pytest.mark.parametrize("head", [whole(), part()])
def test_a_dry_run_takes_no_body(head):
    made = Spec("http://h/f", "f", dry_run=True)
    play = Play(made)
    play.head(head)
    assert play.finish.error is None
    assert play.finish.result.reason == "dry-run"
    assert play.ever(m.Begin) == play.ever(m.Receive) == []
    (plan,) = play.facts(Planned)
    assert plan.bytes_total == TOTAL


def test_a_dry_run_of_a_missing_file_fails():
    play = Play(Spec("http://h/f", "f", dry_run=True))
    play.head(status(404))
    assert isinstance(play.error, HTTPStatusError)


def test_a_body_whose_segment_is_unknown_is_a_bug_and_says_so():
    play = one_stream()
    with pytest.raises(AssertionError):
        play.arrive(99, 0, 1)


def test_an_answer_after_the_end_is_ignored():
    play = Play()
    play.on(m.Signal("SIGINT"))
    assert play.head(part()) == []
    assert play.transfer.row is None or isinstance(play.transfer.row.span, ByteRange)
