"""Links that die: who asks for a new one, when, and when that is given up."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from rdl.core import messages as m
from rdl.core.asking import LEAST_PROBE
from rdl.core.events import Changed, Retrying
from rdl.core.link import MOST_REFUSED
from rdl.core.row import OVERLAP
from rdl.errors import AuthError, ChangedError, ExitCode
from tests.core.playing import SUM, TOTAL, MiB, Play, part, remembered, rng, spec, status


def led(play: Play, stop: int = TOTAL) -> None:
    """The first request was led to a link, which serves."""
    play.on(m.Head(1, part(0, stop), True), 0.01)


def refused(play: Play, segment: int, code: int = 403) -> list[m.Command]:
    """A link refuses."""
    return play.on(m.Head(segment, status(code), True), 0.01)


def cut() -> Play:
    """The one lane has brought a MiB from its link, ten seconds ago, and was cut."""
    play = Play(connections=1)
    led(play)
    play.arrive(1, 0, MiB)
    play.now += 10
    play.reset(1)
    return play


def several(most: int = 4, later: float = 10.0) -> Play:
    """Several segments flow from the link, each has brought a MiB."""
    play = Play(connections=most)
    led(play)
    for fetch in play.of(m.Fetch):
        assert not fetch.fresh
        start, stop = fetch.ask.start, fetch.ask.stop
        play.on(m.Head(fetch.segment, part(start, stop), True), 0.01)
        play.arrive(fetch.segment, start, start + MiB)
    play.arrive(1, 0, MiB)
    play.now += later
    return play


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_a_link_that_dies_is_asked_for_once_by_one_of_all(code):
    play = several()
    lanes = [fetch.segment for fetch in play.ever(m.Fetch)]
    for segment in lanes:
        play.reset(segment)
    again = play.ever(m.Fetch)[len(lanes) :]
    assert len(again) == 4
    assert not any(fetch.fresh for fetch in again), "a cut says nothing of the link"
    asked = len(play.ever(m.Fetch))
    for fetch in again:
        refused(play, fetch.segment, code)
    (renewal,) = play.ever(m.Fetch)[asked:]
    assert renewal.fresh
    ask = renewal.ask
    play.on(m.Head(renewal.segment, part(ask.start, ask.stop), True), 0.01)
    (receive,) = play.of(m.Receive)
    assert receive.segment == renewal.segment
    assert not play.of(m.Fetch), "it may be another file"
    play.same(renewal.segment)
    assert len(play.of(m.Fetch)) == 3, "the others follow to the new link"
    assert not any(fetch.fresh for fetch in play.of(m.Fetch))
    assert play.transfer.phase.name == "FILLING"


def test_what_an_old_link_still_refuses_is_asked_of_the_new_one_at_once():
    play = several(2)
    play.reset(1)
    old = play.fetch
    play.reset(2)
    later = play.fetch
    refused(play, old.segment)
    renewal = play.fetch
    play.on(m.Head(renewal.segment, part(renewal.ask.start, renewal.ask.stop), True), 0.01)
    play.same(renewal.segment)
    asked = len(play.ever(m.Fetch))
    refused(play, later.segment)
    assert len(play.ever(m.Fetch)) == asked + 1
    assert not play.fetch.fresh
    assert [fact.attempt for fact in play.facts(Retrying)][-1] == 0


def test_two_renewals_are_a_second_apart():
    play = Play(connections=1)
    led(play)
    play.arrive(1, 0, MiB)
    play.now += 10
    times = []
    for at in (MiB, 2 * MiB, 3 * MiB):
        play.reset(play.fetch.segment)
        assert not play.fetch.fresh
        refused(play, play.fetch.segment)
        fetch = play.fetch if play.fetch.fresh else play.next_fetch()
        assert fetch.fresh
        times.append(play.now)
        play.on(m.Head(fetch.segment, part(fetch.ask.start, TOTAL), True), 0.01)
        play.arrive(fetch.segment, at, at + MiB)
    assert times[1] - times[0] >= 1
    assert times[2] - times[1] >= 1
    assert times[2] - times[0] < 2.5


def test_new_links_that_serve_nothing_are_asked_for_ever_more_rarely_and_then_no_more():
    play = Play(connections=1)
    led(play)
    play.arrive(1, 0, MiB)
    play.reset(1)
    refused(play, play.fetch.segment)
    times = []
    for _ in range(MOST_REFUSED + 1):
        fetch = play.fetch if play.fetch.fresh and not times else play.next_fetch()
        assert fetch.fresh
        times.append(play.now)
        refused(play, fetch.segment)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([1, 2, 4, 8, 16], abs=0.1)
    play.sync()
    assert isinstance(play.error, AuthError)
    assert play.finish.result.resumable


@pytest.mark.parametrize("saved", [None, remembered((0, MiB))])
def test_a_first_link_that_is_refused_is_the_end(saved):
    play = Play(spec(saved))
    refused(play, 1)
    assert isinstance(play.error, AuthError)


def test_a_url_that_leads_nowhere_and_refuses_is_the_end():
    play = Play(connections=1)
    play.head(part())
    play.arrive(1, 0, MiB)
    play.reset(1)
    play.head(status(403))
    play.sync()
    assert play.error.exit_code is ExitCode.AUTH


def test_one_that_leads_on_only_later_is_asked_again():
    play = Play(connections=1)
    play.head(part())
    play.arrive(1, 0, MiB)
    play.reset(1)
    refused(play, play.fetch.segment)
    assert play.next_fetch().fresh


def test_a_young_link_that_refuses_one_of_several_has_as_many_as_it_serves():
    play = several(4, later=0.5)
    play.reset(4)
    asked = len(play.ever(m.Fetch))
    refused(play, play.fetch.segment)
    play.arrive(2, TOTAL // 4 + MiB, TOTAL // 4 + 2 * MiB, after=2.0)
    assert len(play.ever(m.Fetch)) == asked, "three flow, and are enough"
    play.reset(2)
    assert len(play.ever(m.Fetch)) == asked + 1
    assert not play.fetch.fresh


def test_while_others_flow_a_new_link_that_refuses_says_how_many_it_serves():
    play = several(4)
    play.reset(4)
    refused(play, play.fetch.segment)
    renewal = play.fetch
    assert renewal.fresh
    refused(play, renewal.segment)
    asked = len(play.ever(m.Fetch))
    play.arrive(2, TOTAL // 4 + MiB, TOTAL // 4 + 2 * MiB, after=2.0)
    assert len(play.ever(m.Fetch)) == asked
    play.reset(2)
    assert len(play.ever(m.Fetch)) == asked + 1
    assert play.fetch.fresh


def test_a_dead_node_is_left():
    play = Play(connections=1)
    led(play)
    play.arrive(1, 0, MiB)
    play.reset(1)
    assert not play.fetch.fresh
    play.reset(play.fetch.segment)
    assert play.next_fetch().fresh


def renewable(**options: object) -> Play:
    """A URL that leads nowhere, and a way to have another made."""
    play = Play(replace(spec(**options), renewable=True))
    play.head(part())
    play.arrive(1, 0, MiB)
    play.reset(1)
    play.now += 10
    return play


def test_a_url_that_died_is_made_anew():
    play = renewable(connections=1)
    play.head(status(403))
    assert len(play.of(m.Renew)) == 1
    asked = len(play.ever(m.Fetch))
    assert asked == 2
    play.on(m.Renewed(), 1.0)
    assert play.fetch.fresh
    assert len(play.ever(m.Fetch)) == 3
    play.on(m.Head(play.fetch.segment, part(play.fetch.ask.start, TOTAL), True))
    assert play.of(m.Receive)


def test_where_none_can_be_made_it_ends_with_the_reason():
    play = renewable(connections=1)
    play.head(status(410))
    play.on(m.Renewed(AuthError("--url-command", "exit code 1")), 1.0)
    play.sync()
    assert str(play.error) == "--url-command: exit code 1"


def test_a_first_url_that_is_refused_is_made_anew_as_well():
    play = Play(replace(spec(), renewable=True))
    play.head(status(401))
    while not play.ever(m.Renew):
        play.wake()
    play.on(m.Renewed())
    assert play.fetch.fresh


def test_what_is_no_matter_of_time_is_not_made_anew():
    play = renewable(connections=1)
    play.head(status(451))
    play.sync()
    assert not play.ever(m.Renew)
    assert play.error.exit_code is ExitCode.HTTP_STATUS


def test_nodes_that_never_agree_are_told_apart_by_a_digest_of_the_users():
    play = Play(connections=1, digests=SUM)
    play.head(part(etag='"0"'))
    begun = []
    for number in range(1, 4):
        play.arrive(play.fetch.segment, 0, MiB)
        play.reset(play.fetch.segment)
        begun.append(len(play.ever(m.Begin)))
        play.head(part(play.fetch.ask.start, TOTAL, etag=f'"{number}"'))
        if play.of(m.Fetch):
            play.head(part(etag=f'"{number}"'))
    assert begun == [1, 2, 3]
    assert len(play.ever(m.Begin)) == 3, "the third change is none"
    assert not {"If-Match", "If-Range"} & dict(play.fetch.headers).keys()
    assert not play.ever(m.Finish)


def test_a_new_link_is_compared_though_what_failed_last_brought_nothing():
    play = cut()
    play.reset(play.fetch.segment)
    fetch = play.next_fetch()
    assert fetch.fresh
    assert fetch.ask.start == MiB - LEAST_PROBE
    play.on(m.Head(fetch.segment, part(fetch.ask.start, TOTAL), True), 0.01)
    (receive,) = play.of(m.Receive)
    assert receive.compare == LEAST_PROBE
    play.end(fetch.segment, ChangedError("f", "other bytes"))
    assert play.facts(Changed)


def doubted() -> Play:
    """One flows, and the other, which was to take of its rest, was refused by an old link."""
    play = Play(connections=2, min_split=64 << 10)
    led(play)
    second = play.fetch
    play.arrive(1, 0, MiB)
    play.now += 10
    refused(play, second.segment)
    return play


def drained(play: Play) -> None:
    """What was dropped has ended, and what is here is saved."""
    play.end(1)
    if play.ever(m.Checkpoint):
        play.sync()


def test_where_a_step_has_nothing_to_compare_a_new_link_shows_what_it_has_first():
    play = doubted()
    assert [one.segment for one in play.of(m.Drop)] == [2], "what flows from the old link goes on"
    (probe,) = play.of(m.Fetch)
    assert probe.fresh
    assert (probe.ask.start, probe.ask.stop) == (MiB - OVERLAP, MiB)
    asked = len(play.ever(m.Fetch))
    play.on(m.Head(probe.segment, part(MiB - OVERLAP, MiB), True), 0.01)
    (receive,) = play.of(m.Receive)
    assert (receive.range, receive.compare) == (rng(MiB, MiB), OVERLAP)
    play.arrive(1, MiB, 2 * MiB)
    assert len(play.ever(m.Fetch)) == asked, "nobody joins before it is compared"
    play.same(probe.segment)
    play.end(probe.segment)
    more = play.fetch
    assert (more.fresh, more.ask.start > 2 * MiB) == (False, True)


def test_where_nothing_can_be_compared_a_new_link_is_asked_alone():
    play = Play(connections=2, min_split=64 << 10)
    led(play)
    second = play.fetch
    play.now += 10
    refused(play, second.segment)
    play.arrive(1, 0, 2000)
    assert not [fetch for fetch in play.of(m.Fetch) if not fetch.fresh]


def test_while_the_url_as_given_does_not_answer_the_link_is_asked_in_turn():
    play = cut()
    asked = []
    for _ in range(6):
        asked.append(play.fetch.fresh)
        before = len(play.ever(m.Fetch))
        play.reset(play.fetch.segment)
        if len(play.ever(m.Fetch)) == before:
            play.next_fetch()
    assert asked == [False, True, False, True, False, True]


def test_a_link_that_was_refused_is_not_asked_again():
    play = cut()
    refused(play, play.fetch.segment)
    for _ in range(3):
        assert play.fetch.fresh
        play.reset(play.fetch.segment)
        if not play.of(m.Fetch):
            play.next_fetch()


def test_a_new_link_that_is_refused_after_a_doubt_is_asked_for_again():
    play = doubted()
    drained(play)
    refused(play, play.fetch.segment)
    assert not play.ever(m.Finish)
    assert play.next_fetch().fresh
