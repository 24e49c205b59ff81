"""Content-Digest of parts (row P85): checked where all of one was taken, while it makes sense."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.events import Warned
from rdl.core.fields import ResponseHead
from rdl.core.parts import Parts
from rdl.core.published import of_part
from rdl.core.transfer import Phase, Spec
from rdl.errors import DigestMismatch
from rdl.options import Digest, TransferOptions
from tests.core.playing import TOTAL, MiB, Play, part, rng

HEXES = {number: f"{number:064x}" for number in range(9)}


def promising(start: int, stop: int, number: int = 1, etag: str | None = '"a"') -> ResponseHead:
    """A 206 that says what it hashes to."""
    head = part(start, stop, etag=etag)
    text = b64encode(bytes.fromhex(HEXES[number])).decode()
    fields = (*head.headers, ("content-digest", f"sha-256=:{text}:"))
    return ResponseHead(206, fields, content_length=stop - start)


def half(**options: Any) -> Play:
    """The first half is asked for by one, the second by another that promises."""
    play = Play(connections=2, **options)
    play.head(part())
    second = play.fetch
    assert second.ask.stop == TOTAL
    play.head(promising(second.ask.start, TOTAL))
    play.arrive(second.segment, second.ask.start, TOTAL)
    return play


def told(play: Play) -> str:
    """All warnings."""
    return "; ".join(fact.message for fact in play.facts(Warned))


def bring(play: Play) -> m.Fetch:
    """The newest request is answered with a promise, and all of it comes."""
    fetch = play.fetch
    play.head(promising(fetch.ask.start, fetch.ask.stop or TOTAL))
    play.arrive(fetch.segment, fetch.ask.start, fetch.ask.stop or TOTAL)
    return fetch


def test_a_part_is_looked_at_when_all_of_it_was_taken():
    play = half()
    assert play.of(m.Check) == [m.Check(rng(TOTAL // 2, TOTAL), "sha256")]
    play.sync()
    play.arrive(1, 0, TOTAL // 2)
    for segment in (1, 2):
        play.end(segment)
    assert play.phase is Phase.FILLING, "it is not known yet"
    play.on(m.Checked(rng(TOTAL // 2, TOTAL), HEXES[1]))
    if play.transfer._fill.saving.syncing:
        play.sync()
    assert play.phase is Phase.PUBLISHING


def test_a_body_that_was_not_taken_to_its_end_is_not():
    play = Play(connections=1)
    play.head(part())
    play.arrive(1, 0, MiB)
    play.reset(1)
    fetch = play.fetch
    play.head(promising(fetch.ask.start, TOTAL))
    play.arrive(fetch.segment, MiB, TOTAL - 1)
    play.reset(fetch.segment)
    assert not play.ever(m.Check)


@pytest.mark.parametrize("off", [True, False])
def test_verify_off_looks_at_none(off):
    play = half(verify="off" if off else "auto")
    assert bool(play.of(m.Check)) is not off


def test_a_wrong_part_comes_again():
    play = half()
    play.sync()
    play.on(m.Checked(rng(TOTAL // 2, TOTAL), HEXES[2]))
    assert play.of(m.Forget) == [m.Forget((rng(TOTAL // 2, TOTAL),))]
    assert "are not what its Content-Digest says, and come again" in told(play)
    play.end(2)
    assert play.fetch.ask.stop == TOTAL


def test_one_that_stays_wrong_is_the_end():
    play = half()
    play.sync()
    for _ in range(3):
        play.on(m.Checked(rng(TOTAL // 2, TOTAL), HEXES[2]))
        if play.transfer._fill.failure:
            break
        play.end(play.fetch.segment)
        fetch = play.fetch
        play.head(promising(fetch.ask.start, TOTAL))
        play.arrive(fetch.segment, TOTAL // 2, TOTAL)
        if fetch.ask.start != TOTAL // 2:
            play.transfer._fill.parts.expect(rng(TOTAL // 2, TOTAL), Digest("sha256", HEXES[1]), 0)
        if play.transfer._fill.saving.syncing:
            play.sync()
    error = play.transfer._fill.failure
    assert isinstance(error, DigestMismatch)
    assert "--verify off" in error.hint


def test_a_mirror_that_sends_wrong_parts_is_left():
    options = TransferOptions(connections=1)
    play = Play(Spec("http://h/f", "f", options, 1, mirrors=("http://m/f",)))
    play.transfer._fill.sources.given.misled = 2
    play.head(promising(0, TOTAL // 2))
    play.arrive(1, 0, TOTAL // 2)
    play.on(m.Checked(rng(0, TOTAL // 2), HEXES[2]))
    assert "http://h/f is not used any more" in told(play)


def test_one_digest_of_two_parts_is_of_neither():
    play = half()
    fetch = play.fetch
    play.sync()
    play.end(fetch.segment)
    third = play.fetch
    assert third.ask.stop == TOTAL // 2
    play.head(promising(third.ask.start, third.ask.stop))
    play.arrive(third.segment, third.ask.start, third.ask.stop)
    assert not play.of(m.Check)
    assert "one Content-Digest of two parts" in told(play)
    play.on(m.Checked(rng(TOTAL // 2, TOTAL), HEXES[2]))
    assert not play.ever(m.Forget)


def test_what_a_response_says_of_its_body():
    found = of_part(promising(0, 5))
    assert found is not None
    assert (found.algorithm, found.hex, found.source) == ("sha256", HEXES[1], "content-digest")
    assert of_part(part(0, 5)) is None
    for text in ("md5=:AAAA:", "sha-256=AAAA", "sha-256=:AAAA:", ""):
        assert of_part(ResponseHead(206, (("content-digest", text),))) is None
    both = "sha-512=:" + b64encode(bytes(64)).decode() + ":, sha-256=:"
    both += b64encode(bytes(32)).decode() + ":"
    cheapest = of_part(ResponseHead(206, (("content-digest", both),)))
    assert cheapest is not None
    assert cheapest.algorithm == "sha256"


def test_promises_alone():
    parts = Parts()
    one, two = Digest("sha256", "aa"), Digest("sha256", "bb")
    assert parts.expect(rng(0, 5), one, 3)
    assert parts.expect(rng(0, 5), one, 4), "the same part may come again"
    assert parts.expect(rng(5, 9), two, 5)
    assert len(parts) == 2
    assert parts.judge(rng(0, 5), "bb") is None, "of what came first"
    assert parts.judge(rng(0, 5), "bb") == 4
    assert parts.judge(rng(0, 5), "bb") is None
    parts.forget(ByteRange(8, MiB))
    assert len(parts) == 0
    assert parts.expect(rng(5, 9), two, 5)
    assert not parts.expect(rng(9, 12), two, 5)
    assert (len(parts), parts.believed) == (0, False)


def test_an_answer_of_a_row_before_is_no_promise_kept():
    parts, said = Parts(), Digest("sha256", "aa")
    assert parts.judge(rng(0, 5), "aa") is None
    assert parts.expect(rng(0, 5), said, 1)
    assert parts.expect(rng(0, 5), said, 1)
    assert parts.judge(rng(0, 5), "aa") is None
    assert parts.judge(rng(0, 5), "bb") == 1, "what was read last counts"
