"""The heart and the digests that a server publishes of what it sends."""

from __future__ import annotations

import base64

import pytest

from rdl.core import messages as m
from rdl.core.events import Warned
from rdl.core.fields import ResponseHead
from rdl.core.transfer import Phase, Spec
from rdl.errors import ExitCode, exit_code_of
from rdl.options import Digest, RangeSpec, TransferOptions
from tests.core.playing import JOIN, SUM, TOTAL, MiB, Play, part, remembered, rng, whole

RIGHT, OTHER = bytes(range(32)), bytes(32)


def says(raw: bytes, head: ResponseHead) -> ResponseHead:
    """The head with a Repr-Digest."""
    field = ("repr-digest", f"sha-256=:{base64.b64encode(raw).decode()}:")
    return ResponseHead(
        head.status, (*head.headers, field), content_length=head.content_length, url=head.url
    )


def filled(head: ResponseHead, **options: object) -> Play:
    play = Play(connections=1, **options)
    play.head(head)
    play.arrive(1, 0, TOTAL)
    if play.of(m.Checkpoint):
        play.sync()
    play.end(1)
    return play


@pytest.mark.parametrize("head", [part(), whole(), whole(etag=None)])
def test_what_the_server_publishes_is_checked(head: ResponseHead) -> None:
    play = filled(says(RIGHT, head))
    assert play.phase is Phase.HASHING
    assert {command.algorithms for command in play.ever(m.Hash)} == {("sha256",)}
    play.on(m.Hashed({"sha256": RIGHT.hex()}))
    play.on(m.Published())
    result = play.finish.result
    assert (result.trust, result.verified_by) == ("T3", ("repr-digest:sha256",))
    assert result.digests == {"sha256": RIGHT.hex()}


def test_bytes_that_the_server_itself_contradicts_are_never_published() -> None:
    play = filled(says(RIGHT, part()))
    play.on(m.Hashed({"sha256": OTHER.hex()}))
    assert play.ever(m.Publish) == []
    assert len(play.ever(m.Quarantine)) == 1
    assert exit_code_of(play.error) == ExitCode.DIGEST
    assert "--verify off" in play.error.hint


def test_a_digest_of_the_user_is_the_only_one_that_counts() -> None:
    own = Digest("sha512", "0" * 128)
    play = filled(says(RIGHT, part()), digests=(own,))
    assert {command.algorithms for command in play.ever(m.Hash)} == {("sha512",)}


@pytest.mark.parametrize("options", [{"verify": "off"}, {"range": RangeSpec(0, 2 * MiB)}])
def test_it_is_left_alone_where_it_says_nothing_or_is_not_wanted(
    options: dict[str, object],
) -> None:
    stop = 2 * MiB if "range" in options else TOTAL
    play = Play(connections=1, **options)
    play.head(says(RIGHT, part(0, stop)))
    play.fill(1, 0, stop)
    assert play.ever(m.Hash) == []
    assert len(play.ever(m.Publish)) == 1


@pytest.mark.parametrize("options", [{}, {"verify": "off"}, {"digests": SUM}])
def test_a_server_that_contradicts_itself_is_not_believed(options: dict[str, object]) -> None:
    play = Play(connections=2, min_split=TOTAL // 2, **options)
    play.head(says(RIGHT, part()))
    (other,) = play.of(m.Fetch)
    play.head(says(OTHER, part(other.ask.start, other.ask.stop)), other.segment)
    assert play.of(m.Drop) == []
    assert len(play.facts(Warned)) == 1
    play.fill(1, 0, other.ask.start)
    play.head(says(RIGHT, part()), 1)
    play.fill(other.segment, other.ask.start, TOTAL)
    if "digests" in options:
        assert play.phase is Phase.HASHING
    else:
        assert len(play.ever(m.Publish)) == 1


def test_a_run_that_continues_checks_it_as_well() -> None:
    spec = Spec(
        "http://h/file",
        "file",
        TransferOptions(connections=1),
        remembered=remembered((0, TOTAL - MiB)),
    )
    play = Play(spec)
    play.head(says(RIGHT, part(play.fetch.ask.start, TOTAL)))
    play.same(1)
    assert play.of(m.Hash) == [m.Hash(rng(0, TOTAL - MiB), ("sha256",))]


def test_it_does_not_join_parts_that_nothing_else_joins() -> None:
    play = Play(connections=4)
    play.head(says(RIGHT, part(etag=None)))
    assert play.of(m.Fetch) == []


@pytest.mark.parametrize("etag", ['"a"', None])
def test_the_note_is_of_who_ended_it(etag: str | None) -> None:
    """A partial of another URL is continued where a digest decides."""
    options = TransferOptions(connections=1, digests=(Digest("sha256", RIGHT.hex()),))
    begun = remembered((0, MiB), etag='"a"')
    play = Play(Spec("http://h/other", "file", options, remembered=begun))
    play.head(part(JOIN, TOTAL, etag=etag))
    play.same(1)
    play.arrive(1, MiB, TOTAL)
    if play.of(m.Checkpoint):
        play.sync()
    play.end(1)
    play.on(m.Hashed({"sha256": RIGHT.hex()}))
    (publish,) = play.ever(m.Publish)
    assert (publish.url, publish.representation.etag) == ("http://h/other", etag)
