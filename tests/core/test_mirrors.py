"""Several sources of one row: who is asked, who joins, who is left, and what comes again."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from rdl.core import messages as m
from rdl.core.events import Changed, Share, Started, Warned
from rdl.core.fields import ResponseHead
from rdl.core.representation import Representation
from rdl.core.row import OVERLAP, Remembered
from rdl.core.source import MOST_AT_ONCE, Source, Sources
from rdl.core.transfer import Phase, Spec
from rdl.errors import ChangedError, DigestMismatch, HTTPStatusError, NetworkError
from rdl.options import TransferOptions
from tests.core.playing import SUM, TOTAL, MiB, Play, part, rng, status, whole

DATE, LATER = "Mon, 02 Jan 2023 03:04:05 GMT", "Mon, 02 Jan 2023 03:14:05 GMT"
MIRRORS = ("http://m/f", "http://n/f", "http://o/f", "http://p/f", "http://q/f")


def head(
    start: int, stop: int, total: int = TOTAL, modified: str | None = DATE, etag: str = ""
) -> ResponseHead:
    """A 206 with a date, as mirrors send it."""
    fields = [("content-range", f"bytes {start}-{stop - 1}/{total}"), ("date", LATER)]
    fields += [("last-modified", modified)] if modified else []
    fields += [("etag", etag)] if etag else []
    return ResponseHead(206, tuple(fields), content_length=stop - start)


def mirrored(
    count: int = 1, saved: Remembered | None = None, lead: int = 0, **options: Any
) -> Play:
    """A download with mirrors that has asked its first source."""
    made = TransferOptions(**options)
    spec = Spec("http://h/f", "f", made, 1, remembered=saved, mirrors=MIRRORS[:count], lead=lead)
    return Play(spec)


def flowing(count: int = 1, first: ResponseHead | None = None, **options: Any) -> Play:
    """The given source flows, and has brought a MiB."""
    play = mirrored(count, **options)
    play.head(first or head(0, TOTAL))
    play.arrive(1, 0, MiB)
    return play


def probed(play: Play) -> m.Fetch:
    """Wait until a mirror is asked for bytes that are here."""
    for _ in range(20):
        for fetch in play.of(m.Fetch):
            if fetch.source:
                return fetch
        play.wake()
    raise AssertionError("no mirror was asked")


def answer(play: Play, fetch: m.Fetch, **more: Any) -> list[m.Command]:
    """The mirror sends what it was asked for."""
    assert fetch.ask.stop is not None
    return play.on(m.Head(fetch.segment, head(fetch.ask.start, fetch.ask.stop, **more)), 0.01)


def joined(**options: Any) -> tuple[Play, m.Fetch]:
    """A mirror has shown that it has the same, and was asked for more."""
    play = flowing(connections=2, **options)
    probe = probed(play)
    answer(play, probe)
    play.same(probe.segment)
    play.end(probe.segment)
    (more,) = [fetch for fetch in play.ever(m.Fetch) if fetch.source and fetch is not probe]
    return play, more


def settle(play: Play) -> None:
    """What was dropped has ended, and checkpoints hold."""
    for fetch in play.ever(m.Fetch):
        play.end(fetch.segment)
    if play.transfer._fill.saving.syncing:
        play.sync()


def told(play: Play) -> str:
    """All warnings in one text."""
    return "; ".join(fact.message for fact in play.facts(Warned))


# Joining


def test_a_mirror_first_shows_that_it_has_what_is_here():
    play = flowing(connections=2)
    assert not any(fetch.source for fetch in play.ever(m.Fetch))
    probe = probed(play)
    assert (probe.ask.start, probe.ask.stop, probe.source) == (MiB - OVERLAP, MiB, 1)
    assert probe.headers == (), "the validators of another server say nothing there"
    answer(play, probe)
    (receive,) = play.of(m.Receive)
    assert (receive.range, receive.skip, receive.compare) == (rng(MiB, MiB), 0, OVERLAP)
    assert not [fetch for fetch in play.of(m.Fetch) if fetch.source]
    play.same(probe.segment)
    play.end(probe.segment)
    _, more = [fetch for fetch in play.ever(m.Fetch) if fetch.source]
    assert more.ask.start > MiB
    assert dict(more.headers) == {"If-Unmodified-Since": DATE}


def test_nobody_asks_a_mirror_for_what_is_here_in_a_moment():
    play = flowing(first=head(0, TOTAL))
    play.arrive(1, MiB, TOTAL - MiB, after=0.3)
    assert not any(fetch.source for fetch in play.ever(m.Fetch))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"total": TOTAL + 1}, "it has another file now"),
        ({"modified": None}, "only when no other is left: nothing shows that its file is the same"),
        ({"modified": "Mon, 02 Jan 2023 03:04:06 GMT"}, "nothing shows"),
    ],
)
def test_one_with_another_file_or_an_unknown_one_does_not_join(more, why):
    play = flowing()
    probe = probed(play)
    answer(play, probe, **more)
    assert m.Drop(probe.segment) in play.out or play.transfer._fill.lanes.get(probe.segment) is None
    assert not play.of(m.Receive)
    assert why in told(play)
    assert "http://m/f" in told(play)
    asked = len([fetch for fetch in play.ever(m.Fetch) if fetch.source])
    for at in range(1, 8):
        play.arrive(1, at * MiB, (at + 1) * MiB, after=1.0)
    assert len([fetch for fetch in play.ever(m.Fetch) if fetch.source]) == asked


def test_the_same_strong_validator_is_enough():
    play = flowing(first=head(0, TOTAL, modified=None, etag='"x"'))
    probe = probed(play)
    answer(play, probe, modified=None, etag='"x"')
    assert play.of(m.Receive)


def test_a_digest_of_the_whole_lets_any_join():
    play = flowing(first=head(0, TOTAL, etag='"x"'), digests=SUM)
    probe = probed(play)
    answer(play, probe, modified=None)
    assert play.of(m.Receive)


@pytest.mark.parametrize(
    ("more", "mixed"),
    [({}, False), ({"modified": None}, True), ({"modified": LATER}, True)],
)
def test_before_bytes_come_for_which_only_a_digest_speaks_the_index_says_so(more, mixed):
    play = flowing(connections=2, digests=SUM)
    probe = probed(play)
    answer(play, probe, **more)
    assert not play.ever(m.Mix), "it has only shown what it has"
    play.same(probe.segment)
    play.end(probe.segment)
    fetch = [one for one in play.ever(m.Fetch) if one.source][-1]
    answer(play, fetch, **more)
    kinds = [type(one) for one in play.out if isinstance(one, m.Mix | m.Receive)]
    assert kinds == [m.Mix, m.Receive][1 - mixed :]


def test_an_answer_without_a_validator_is_mixed_in_once_where_a_digest_decides():
    play = Play(digests=SUM, connections=1)
    play.head(part())
    play.arrive(1, 0, MiB)
    for at in (1, 2):
        play.reset(play.fetch.segment)
        play.head(part(play.fetch.ask.start, etag=None))
        if play.of(m.Receive)[0].compare:
            play.same(play.fetch.segment)
        play.arrive(play.fetch.segment, at * MiB, at * MiB + MiB)
    assert len(play.ever(m.Mix)) == 1


def test_a_mirror_that_sends_no_parts_is_left():
    play = flowing()
    probe = probed(play)
    fields = (("last-modified", DATE), ("date", LATER))
    play.on(m.Head(probe.segment, ResponseHead(200, fields, content_length=TOTAL)))
    assert "it sends no parts" in told(play)
    assert not play.of(m.Receive)


def test_a_probe_that_is_cut_is_made_again():
    play = flowing()
    probe = probed(play)
    answer(play, probe)
    play.end(probe.segment)
    again = play.next_fetch()
    assert (again.source, again.ask) == (1, probe.ask)


def test_no_more_than_a_few_at_one_time():
    play = flowing(5)
    probe = probed(play)
    asked = [fetch.source for fetch in play.ever(m.Fetch) if fetch.source]
    assert asked == [1, 2, 3]
    assert len(asked) + 1 == MOST_AT_ONCE
    play.on(m.Head(probe.segment, status(404)))
    assert [fetch.source for fetch in play.ever(m.Fetch) if fetch.source] == [1, 2, 3, 4]


def test_connections_in_all_are_shared():
    play, more = joined()
    assert more.source == 1
    assert play.transfer._fill.lanes.most == 2
    options = TransferOptions(connections=5)
    sources = Sources(Spec("http://h/f", "f", options, mirrors=MIRRORS[:2]))
    for source in sources:
        source.joined = True
    ready = list(sources)
    assert [sources.share(source, ready, 5) for source in ready] == [0, 0, 0], "no parts"
    for source in ready[1:]:
        source.ranges = True
    assert [sources.share(source, ready, 5) for source in ready] == [0, 3, 2]
    assert [sources.share(source, ready, 1) for source in ready] == [0, 1, 0]
    assert [sources.share(source, ready[2:], 1) for source in ready] == [0, 0, 1]


# Failing


def test_the_first_that_fails_for_good_is_left_to_the_mirrors():
    play = mirrored(2)
    play.head(status(404))
    assert play.fetch.source == 1
    assert "http://h/f is not used any more: HTTP 404" in told(play)
    play.head(status(403))
    assert play.fetch.source == 2
    play.head(whole())
    play.fill(play.fetch.segment, 0, TOTAL)
    assert [begin.url for begin in play.ever(m.Begin)] == ["http://n/f"]
    assert play.phase is Phase.PUBLISHING


def test_when_all_have_failed_it_is_the_given_one_that_is_told():
    play = mirrored(1)
    play.head(status(404))
    play.head(status(403))
    assert isinstance(play.error, HTTPStatusError)
    assert [bool(one.error) for one in play.finish.result.sources] == [True, False]


def test_while_one_rests_another_is_asked():
    play = mirrored(1)
    play.reset(1)
    assert play.fetch.source == 1
    play.reset(play.fetch.segment)
    assert {play.next_fetch().source for _ in range(1)} <= {0, 1}
    assert play.now > 0.2, "both rest"


def test_patience_that_is_over_is_that_of_one():
    play = mirrored(1, retry=0)
    play.reset(1)
    assert "http://h/f is not used any more" in told(play)
    play.reset(play.fetch.segment)
    assert isinstance(play.error, NetworkError)


def test_what_the_first_has_begun_a_mirror_continues_when_it_compares():
    play = flowing(connections=1)
    play.reset(1)
    play.head(status(404))
    fetch = play.fetch
    assert fetch.source == 1
    assert fetch.ask.start < MiB
    answer(play, m.Fetch(fetch.segment, type(fetch.ask)(fetch.ask.start, TOTAL)))
    (receive,) = play.of(m.Receive)
    assert receive.range.start == MiB
    assert receive.compare == MiB - fetch.ask.start
    play.same(fetch.segment)
    play.fill(fetch.segment, MiB, TOTAL)
    assert play.phase is Phase.PUBLISHING
    play.on(m.Published())
    assert play.ever(m.Publish)[0].representation == Representation(TOTAL), "the first was left"
    brought = {one.url: one.ranges for one in play.finish.result.sources}
    assert brought == {"http://h/f": ((0, MiB - 1),), "http://m/f": ((MiB, TOTAL - 1),)}
    assert play.finish.result.trust == "T1"


def test_one_that_was_put_aside_begins_anew_when_no_other_is_left():
    play = flowing(connections=2)
    probe = probed(play)
    answer(play, probe, modified=None)
    for fetch in play.ever(m.Fetch):
        play.reset(fetch.segment)
    while play.fetch.source == 0:
        play.head(status(404))
        play.reset(play.ever(m.Fetch)[-2].segment)
    play.on(m.Head(play.fetch.segment, head(play.fetch.ask.start, TOTAL, modified=None)), 0.01)
    assert play.facts(Changed)
    settle(play)
    fetch = play.fetch
    assert (fetch.source, fetch.ask.start) == (1, 0)


def test_a_mirror_that_fails_costs_the_others_nothing():
    play, more = joined()
    play.on(m.Head(more.segment, status(404)))
    again = play.ever(m.Fetch)[-1]
    assert again.source == 0
    assert again.ask.stop == more.ask.stop
    assert play.transfer.phase is Phase.FILLING


def test_a_412_of_a_mirror_is_its_own_affair():
    play, more = joined()
    play.on(m.Head(more.segment, status(412)))
    assert play.ever(m.Drop) == [m.Drop(more.segment)]
    probe = [fetch for fetch in play.ever(m.Fetch) if fetch.source][-1]
    assert probe.ask.stop == MiB, "it compares anew, and without the precondition"
    answer(play, probe, modified="Mon, 02 Jan 2023 03:04:06 GMT")
    assert "http://m/f is not used any more: it has another file now" in told(play)


def test_a_mirror_whose_file_changes_is_left_and_what_it_brought_stays():
    play, more = joined()
    start = more.ask.start
    answer(play, more)
    play.arrive(more.segment, start, start + MiB)
    play.reset(more.segment)
    again = play.next_fetch() if play.fetch is more else play.fetch
    while again.source != 1:
        again = play.next_fetch()
    answer(play, again, total=TOTAL + 5)
    assert not play.ever(m.Forget)
    assert not play.facts(Changed)
    assert play.transfer.row is not None
    assert play.transfer.row.present_bytes >= 2 * MiB


# Wrong bytes


def test_a_mirror_with_other_bytes_is_found_before_it_brings_any():
    play = flowing()
    probe = probed(play)
    answer(play, probe)
    play.end(probe.segment, ChangedError("part file", "it is not what the server sends now"))
    assert "http://m/f is not used any more: it has other bytes" in told(play)
    assert not play.ever(m.Forget)
    assert not play.facts(Changed)


def test_what_a_mirror_brought_comes_again_when_it_later_sends_other_bytes():
    play, more = joined()
    start = more.ask.start
    answer(play, more)
    play.arrive(more.segment, start, start + MiB)
    play.reset(more.segment)
    again = play.fetch
    assert again.source == 1
    assert again.ask.start < start + MiB
    answer(play, again)
    play.end(again.segment, ChangedError("part file", "it is not what the server sends now"))
    settle(play)
    assert [forget.ranges for forget in play.ever(m.Forget)] == [(rng(start, start + MiB),)]
    assert play.transfer.row is not None
    assert play.transfer.row.present_bytes == MiB


def test_when_the_first_finds_other_bytes_it_is_the_mirror_that_is_wrong():
    play, more = joined()
    start, stop = more.ask.start, more.ask.stop
    answer(play, more)
    play.arrive(more.segment, start, start + 4000)
    play.fill(1, MiB, start)
    stolen = play.fetch
    assert stolen.source == 0
    play.on(m.Head(stolen.segment, head(stolen.ask.start, stop)), 0.01)
    play.reset(more.segment)
    play.fill(stolen.segment, stolen.ask.start, stop)
    fetch, stop = play.fetch, stolen.ask.start
    assert (fetch.source, fetch.ask.stop) == (0, stop)
    assert fetch.ask.start < start + 4000
    play.on(m.Head(fetch.segment, head(fetch.ask.start, stop)), 0.01)
    play.end(fetch.segment, ChangedError("part file", "it is not what the server sends now"))
    settle(play)
    assert [forget.ranges for forget in play.ever(m.Forget)] == [(rng(start, start + 4000),)]
    assert not play.facts(Changed)


def complete(play: Play, more: m.Fetch) -> None:
    """Both bring what they were asked for."""
    assert more.ask.stop is not None
    answer(play, more)
    play.fill(1, MiB, more.ask.start)
    play.fill(more.segment, more.ask.start, more.ask.stop)
    for fetch in play.ever(m.Fetch):
        play.end(fetch.segment)


def bring_rest(play: Play) -> None:
    """All that is asked for comes."""
    answered: set[int] = set()
    while open_ones := [
        lane for lane in play.transfer._fill.lanes.all() if lane.segment not in answered
    ]:
        for lane in open_ones:
            answered.add(lane.segment)
            stop = min(lane.stop, TOTAL)
            play.on(m.Head(lane.segment, head(lane.ask.start, stop)), 0.01)
            play.same(lane.segment)
            play.arrive(lane.segment, lane.upto, lane.stop)
            play.end(lane.segment)
    settle(play)


def test_when_the_digest_is_wrong_what_a_mirror_brought_comes_again():
    play, more = joined(digests=SUM)
    complete(play, more)
    assert play.phase is Phase.HASHING
    play.on(m.Hashed({"sha256": "bb"}))
    (forget,) = play.ever(m.Forget)
    assert forget.ranges == (rng(more.ask.start, TOTAL),)
    assert "http://m/f is not used any more: the digest is wrong" in told(play)
    assert play.fetch.source == 0
    bring_rest(play)
    assert play.phase is Phase.HASHING
    later = [one for one in play.all[play.all.index(forget) :] if isinstance(one, m.Hash)]
    assert later[0].range.start == 0, "from the start"
    play.on(m.Hashed({"sha256": "aa"}))
    assert "http://m/f sent wrong bytes" in told(play)
    assert play.phase is Phase.PUBLISHING
    assert play.ever(m.Publish)[0].representation.last_modified == DATE


def test_a_digest_that_stays_wrong_is_the_end():
    play, more = joined(digests=SUM)
    complete(play, more)
    play.on(m.Hashed({"sha256": "bb"}))
    bring_rest(play)
    play.on(m.Hashed({"sha256": "bb"}))
    assert isinstance(play.error, DigestMismatch)
    assert play.ever(m.Quarantine)


# Continuing


def saved() -> Remembered:
    """A MiB is here, begun with the mirror."""
    return Remembered(Representation(TOTAL, '"m"', DATE, True), None, (rng(0, MiB),))


def test_a_run_is_continued_with_the_source_that_it_was_begun_with():
    play = mirrored(1, saved(), lead=1)
    assert play.fetch.source == 1
    assert ("If-Range", '"m"') in play.fetch.headers


def test_when_that_is_gone_another_continues_that_compares():
    play = mirrored(1, saved(), lead=1)
    play.head(status(404))
    fetch = play.fetch
    assert (fetch.source, fetch.headers) == (0, ())
    play.on(m.Head(fetch.segment, head(fetch.ask.start, TOTAL)), 0.01)
    assert play.of(m.Receive)[0].compare == OVERLAP
    play.same(fetch.segment)
    assert play.facts(Started)[0].bytes_reused == MiB


# Mirrors that a server names


def test_mirrors_are_sought_only_where_a_digest_decides():
    play = mirrored(0)
    play.head(head(0, TOTAL))
    assert not play.ever(m.Seek)
    play = mirrored(0, digests=SUM)
    play.head(head(0, TOTAL))
    assert play.ever(m.Seek) == [m.Seek(1)]
    play.on(m.Found(("http://m/f",)))
    play.arrive(1, 0, MiB)
    probe = probed(play)
    answer(play, probe, modified=None)
    assert play.of(m.Receive)


def test_a_digest_that_the_server_publishes_decides_too():
    play = mirrored(0)
    digest = ("repr-digest", "sha-256=:LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=:")
    first = head(0, TOTAL)
    play.head(ResponseHead(206, (*first.headers, digest), content_length=TOTAL))
    assert play.ever(m.Seek)


# What a source has brought


def test_what_is_lost_is_nobodys():
    sources = Sources(Spec("http://h/f", "f"))
    source: Source = sources.given
    for start, stop in ((0, 10), (10, 20), (30, 40), (40, 40)):
        source.bring(rng(start, stop))
    assert source.brought == [rng(0, 20), rng(30, 40)]
    source.lose(rng(5, 35))
    assert source.brought == [rng(0, 5), rng(35, 40)]
    source.lose(rng(100, 200))
    assert source.brought == [rng(0, 5), rng(35, 40)]


def test_shares_are_told_of_several_only():
    assert Sources(Spec("http://h/f", "f")).shares() == ()
    sources = Sources(Spec("http://h/f", "f", mirrors=MIRRORS[:1]))
    sources.lead.bring(rng(10, 20))
    sources.lead.bring(rng(0, 10))
    assert sources.shares() == (
        Share("http://h/f", 0, ((0, 19),)),
        Share("http://m/f", 0),
    )


HEX = "ab" * 32
PUBLISHED = f"sha-256=:{b64encode(bytes.fromhex(HEX)).decode()}:"


def publishing(start: int, stop: int, total: int = TOTAL, **fields: str) -> ResponseHead:
    """A 206 with a date and these fields."""
    said = [("content-range", f"bytes {start}-{stop - 1}/{total}"), ("date", LATER)]
    said += [(name.replace("_", "-"), text) for name, text in fields.items()]
    return ResponseHead(206, tuple(said), content_length=stop - start)


def with_one_found(**fields: str) -> Play:
    """The server has published a digest, named a mirror, and sent a MiB."""
    play = Play(Spec("http://h/f", "f", TransferOptions(connections=1), 1))
    play.head(publishing(0, TOTAL, repr_digest=PUBLISHED, **fields))
    play.on(m.Found(("http://m/f",)))
    play.arrive(1, 0, MiB)
    return play


def test_a_mirror_that_a_server_named_begins_nothing_where_no_digest_is_the_users():
    """What the server published is of its own row, which is over."""
    play = with_one_found()  # no validator: what is here is fetched again from the first byte
    play.reset(1)
    asked = play.fetch
    assert (asked.source, asked.ask.start) == (1, 0)
    play.head(publishing(0, 7, 7, last_modified=DATE))
    assert len(play.ever(m.Begin)) == 1
    again = play.next_fetch()
    assert again.source == 0
    play.head(publishing(0, TOTAL, repr_digest=PUBLISHED))
    assert len(play.ever(m.Begin)) == 2


def test_nor_where_it_is_the_last_one():
    play = with_one_found(last_modified=DATE)
    play.end(1, HTTPStatusError("HTTP 404", "gone", status=404))
    if play.transfer._fill.saving.syncing:
        play.sync()
    asked = play.fetch
    assert asked.source == 1
    play.head(publishing(asked.ask.start, TOTAL + 5, TOTAL + 5, last_modified=DATE))
    assert (play.fetch.source, play.fetch.ask.start) == (1, 0)
    play.head(publishing(0, TOTAL + 5, TOTAL + 5, last_modified=DATE))
    settle(play)
    assert isinstance(play.error, HTTPStatusError)
    assert len(play.ever(m.Begin)) == 1


def test_a_mirror_does_not_replace_a_file_that_may_be_current():
    """The URL as given alone can say whether it is; it is waited for, unless it is gone."""
    existing = Representation(TOTAL, '"new"')
    play = Play(Spec("http://h/f", "f", TransferOptions(), 1, existing=existing, mirrors=MIRRORS))
    play.head(status(503))
    assert play.next_fetch().source == 0
    play.head(status(404))
    assert play.fetch.source == 1


def joined_by_digest() -> tuple[Play, m.Fetch]:
    """A mirror has joined by what the server publishes alone, and was asked for more."""
    play = mirrored(1, connections=2)
    play.head(publishing(0, TOTAL, etag='"a"', repr_digest=PUBLISHED))
    play.arrive(1, 0, MiB)
    probe = probed(play)
    assert probe.ask.stop is not None
    play.on(m.Head(probe.segment, publishing(probe.ask.start, probe.ask.stop)), 0.01)
    play.same(probe.segment)
    play.end(probe.segment)
    more = play.fetch
    assert more.source == 1
    assert more is not probe
    return play, more


def test_a_mirror_that_joined_under_a_digest_of_the_server_needs_no_validator():
    play, more = joined_by_digest()
    assert more.ask.stop is not None
    play.head(publishing(more.ask.start, more.ask.stop))
    assert play.of(m.Receive)


def test_who_joined_by_a_digest_that_is_not_believed_any_more_brought_nothing():
    play, more = joined_by_digest()
    start, stop = more.ask.start, more.ask.stop
    assert stop is not None
    play.head(publishing(start, stop))
    play.arrive(more.segment, start, start + 4 * MiB)
    play.reset(1)
    own = play.fetch
    assert own.source == 0
    assert own.segment > more.segment
    other = f"sha-256=:{b64encode(bytes(32)).decode()}:"
    end = own.ask.stop or TOTAL
    play.head(publishing(own.ask.start, end, etag='"a"', repr_digest=other))
    settle(play)
    assert play.ever(m.Forget)[-1].ranges == (rng(start, start + 4 * MiB),)
    assert "http://m/f is not used any more" in told(play)


def test_a_mirror_is_asked_though_hardly_a_byte_has_come():
    play = mirrored(1, connections=2)
    play.head(head(0, TOTAL))
    play.arrive(1, 0, 10)
    probe = None
    while probe is None and play.now < 20:
        play.wake()
        probe = next((fetch for fetch in play.of(m.Fetch) if fetch.source), None)
    assert probe is not None
    assert (probe.ask.start, probe.ask.stop) == (0, 10)
    assert play.now == pytest.approx(5.0, abs=0.5)


def test_a_mirror_begins_where_the_first_has_answered_and_sent_nothing():
    play = mirrored(1)
    play.head(head(0, TOTAL))
    play.reset(1)
    assert (play.fetch.source, play.fetch.ask.start) == (1, 0)
    play.head(head(0, TOTAL))
    assert play.of(m.Begin)[0].url == "http://m/f"


def test_a_mirror_whose_link_is_refused_at_first_is_left():
    play = flowing()
    probe = probed(play)
    play.on(m.Head(probe.segment, status(403), True), 0.01)
    assert "http://m/f is not used any more: HTTP 403" in told(play)


# Who is believed


def led_by_mirror(**more: Any) -> tuple[Play, m.Fetch]:
    """The URL as given had to rest, and a mirror began the row; now it is compared."""
    play = mirrored(1, **more)
    play.reset(1)
    mirror = play.fetch
    assert mirror.source == 1
    play.on(m.Head(mirror.segment, head(0, TOTAL)), 0.01)
    play.arrive(mirror.segment, 0, MiB)
    for _ in range(20):
        if play.fetch.source == 0 and play.fetch.segment != 1:
            return play, play.fetch
        play.wake()
    raise AssertionError("the URL as given is not asked again")


def test_the_url_as_given_has_another_file_than_the_mirror_that_was_before_it():
    play, probe = led_by_mirror()
    play.on(m.Head(probe.segment, head(probe.ask.start, probe.ask.stop or 0, TOTAL + 1)), 0.01)
    assert play.facts(Changed)
    assert "http://h/f is not used any more" not in told(play)
    settle(play)
    assert (play.fetch.source, play.fetch.ask.start) == (0, 0)


def test_the_url_as_given_is_believed_before_a_mirror_that_leads():
    play, probe = led_by_mirror()
    play.on(m.Head(probe.segment, head(probe.ask.start, probe.ask.stop or 0)), 0.01)
    play.end(probe.segment, ChangedError("part file", "it is not what the server sends now"))
    assert "http://m/f is not used any more: it has other bytes" in told(play)
    settle(play)
    assert play.ever(m.Forget) == [m.Forget((rng(0, MiB),))]
    assert play.fetch.source == 0


def test_of_two_mirrors_that_differ_neither_is_believed():
    play = flowing(2, connections=3)
    fill = play.transfer._fill
    first = probed(play)
    for probe in [one for one in play.ever(m.Fetch) if one.source]:
        answer(play, probe)
        if probe is first:
            play.same(probe.segment)
            play.end(probe.segment)
    fill.sources.number(1).bring(rng(MiB - OVERLAP, MiB))
    fill.lanes.get(1).began = MiB
    second = next(one for one in play.ever(m.Fetch) if one.source == 2)
    play.end(second.segment, ChangedError("part file", "it is not what the server sends now"))
    assert "http://n/f is not used any more: it has other bytes" in told(play)
    settle(play)
    (forget,) = play.ever(m.Forget)
    assert forget.ranges == (rng(MiB - OVERLAP, MiB),)


def test_a_probe_that_could_compare_nothing_proves_nothing():
    play = flowing()
    probe = probed(play)
    answer(play, probe)
    play.on(m.Compared(probe.segment, 0))
    assert not play.transfer._fill.sources.number(1).joined
    assert play.ever(m.Drop)[-1] == m.Drop(probe.segment)
    play.end(probe.segment)
    assert play.next_fetch().source == 1
