"""The heart, event by event: checkpoints, idleness, signals and a disk that refuses."""

import pytest

from rdl.core import messages as m
from rdl.core.transfer import Phase
from rdl.errors import (
    Interrupted,
    LocalFileError,
    NoSpaceError,
    OutOfTime,
    TargetExists,
    exit_code_of,
)
from tests.core.playing import (
    TOTAL,
    MiB,
    Play,
    hashing,
    one_stream,
    part,
    status,
    whole,
)

# Checkpoints


def test_a_checkpoint_comes_after_32_mib():
    play = one_stream()
    play.arrive(1, 0, 31 * MiB)
    assert play.of(m.Checkpoint) == []
    play.arrive(1, 31 * MiB, 32 * MiB)
    assert len(play.of(m.Checkpoint)) == 1
    play.arrive(1, 32 * MiB, 64 * MiB - 1)
    assert play.of(m.Checkpoint) == []


def test_a_checkpoint_comes_a_second_after_the_first_byte():
    play = one_stream()
    play.arrive(1, 0, 1)
    assert play.of(m.Checkpoint) == []
    play.wake()
    while not play.of(m.Checkpoint):
        play.wake()
    assert 1.0 <= play.now <= 1.1


def test_without_new_bytes_there_is_no_checkpoint():
    play = one_stream()
    play.on(m.Tick(), 100)
    assert play.ever(m.Checkpoint) == []


# Idle


@pytest.mark.parametrize("state", ["asking", "one", "several", "waiting", "draining", "syncing"])
def test_idle_ticks_make_no_requests_and_time_moves_on(state):
    options = {"connections": None, "max_time": 1e6}
    play = Play(**options)
    if state in ("one", "syncing"):
        play.head(whole())
        play.arrive(1, 0, 33 * MiB)
    if state in ("several", "draining"):
        play.head(part())
        play.arrive(1, 0, MiB)
    if state == "waiting":
        play.head(status(503))
    if state == "draining":
        play.on(m.Head(1, whole()))
    before = play.now
    for _ in range(100):
        if not play.of(m.WakeAt):
            return
        play.wake()
        if play.of(m.Checkpoint):
            play.sync()
    assert play.now > before + 9
    assert len(play.ever(m.Fetch)) < 10


def test_a_transfer_that_waits_for_a_drain_does_not_spin_when_its_time_is_over():
    play = Play(connections=2, max_time=5)
    play.head(part())
    worker = play.of(m.Fetch)[0]
    play.head(part(worker.ask.start, worker.ask.stop, etag='"b"'), worker.segment)
    play.on(m.Tick(), 6)
    spins = 0
    while play.of(m.WakeAt) and spins < 100:
        play.wake()
        spins += 1
    assert spins < 100


# Ending early


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_while_asking_ends_at_once(name, code):
    play = Play()
    play.on(m.Signal(name))
    assert exit_code_of(play.error) == code
    assert m.Drop(1) in play.out


def test_a_signal_while_waiting_to_try_again_ends_at_once():
    play = Play()
    play.head(status(503, retry_after="100"))
    play.on(m.Signal("SIGINT"))
    assert isinstance(play.error, Interrupted)


def test_a_signal_while_flowing_drains_then_syncs_then_ends():
    play = one_stream()
    play.arrive(1, 0, MiB)
    play.on(m.Signal("SIGINT"))
    assert m.Drop(1) in play.out
    assert play.of(m.Finish) == play.of(m.Checkpoint) == []
    play.arrive(1, MiB, 2 * MiB)
    play.end(1)
    assert play.of(m.Checkpoint)
    assert play.of(m.Finish) == []
    play.sync()
    assert isinstance(play.error, Interrupted)
    assert play.finish.result.bytes_present == 2 * MiB
    assert play.finish.result.resumable


def test_a_second_signal_changes_nothing():
    play = one_stream()
    play.arrive(1, 0, MiB)
    play.on(m.Signal("SIGINT"))
    play.on(m.Signal("SIGTERM"))
    play.end(1)
    play.sync()
    assert exit_code_of(play.error) == 130


def test_a_signal_while_hashing_ends_and_a_late_digest_publishes_nothing():
    play = hashing()
    play.on(m.Signal("SIGINT"))
    while play.of(m.Checkpoint):
        play.sync()
    assert isinstance(play.error, Interrupted)
    assert play.on(m.Hashed({"sha256": "aa"})) == []
    assert play.ever(m.Publish) == []


def test_a_signal_while_publishing_is_too_late():
    play = one_stream()
    play.fill(1, 0, TOTAL)
    play.on(m.Signal("SIGINT"))
    play.on(m.Published())
    assert play.finish.error is None


def test_max_time_ends_a_transfer_and_keeps_what_is_here():
    play = one_stream(max_time=5)
    play.arrive(1, 0, MiB)
    while play.phase is Phase.FILLING:
        play.wake()
        if play.of(m.Checkpoint) and play.phase is Phase.FILLING:
            play.sync()
    assert 5 <= play.now < 5.1
    play.end(1)
    assert isinstance(play.error, OutOfTime)
    assert play.finish.result.bytes_present == MiB


def test_max_time_ends_a_wait():
    play = Play(max_time=5)
    play.head(status(503, retry_after="100"))
    while not play.ever(m.Finish):
        play.wake()
    assert isinstance(play.error, OutOfTime)
    assert play.now < 5.1


# The disk


@pytest.mark.parametrize("error", [NoSpaceError("f", "full"), LocalFileError("f", "I/O error")])
def test_a_disk_that_refuses_ends_at_once_with_what_is_here(error):
    play = one_stream()
    play.arrive(1, 0, MiB)
    play.on(m.LocalFailed(error))
    assert m.Drop(1) in play.out
    play.end(1)
    if play.of(m.Checkpoint):
        play.sync()
    assert play.error is error
    assert len(play.ever(m.Fetch)) == 1


def test_a_failed_sync_is_never_tried_again():
    play = one_stream()
    play.arrive(1, 0, 33 * MiB)
    assert play.of(m.Checkpoint)
    play.arrive(1, 33 * MiB, 34 * MiB)
    play.on(m.LocalFailed(LocalFileError("f", "I/O error"), during_sync=True))
    play.end(1)
    assert isinstance(play.error, LocalFileError)
    assert len(play.ever(m.Checkpoint)) == 1


def test_a_reservation_that_fails_ends_before_a_byte():
    play = Play()
    play.head(whole())
    play.on(m.LocalFailed(NoSpaceError("f", "full")))
    play.end(1)
    assert isinstance(play.error, NoSpaceError)


def test_a_publish_that_is_refused_ends_and_keeps_the_data():
    play = one_stream()
    play.fill(1, 0, TOTAL)
    play.on(m.LocalFailed(TargetExists("f", "it appeared")))
    while play.of(m.Checkpoint):
        play.sync()
    assert isinstance(play.error, TargetExists)
    assert play.finish.result.bytes_present == TOTAL


@pytest.mark.parametrize(("etag", "resumable"), [('"a"', True), ('W/"a"', False), (None, False)])
def test_what_nothing_tells_the_version_of_is_not_called_resumable(etag, resumable):
    play = Play(connections=1)
    play.head(part(etag=etag))
    play.arrive(1, 0, MiB)
    play.on(m.Signal("SIGINT"))
    play.end(1)
    if play.of(m.Checkpoint):
        play.sync()
    assert play.finish.result.resumable is resumable


def test_what_was_never_begun_is_resumable():
    play = Play(connections=1)
    play.on(m.Signal("SIGINT"))
    assert play.finish.result.resumable
