"""Back-off, patience, growth and grants are plain arithmetic under a told time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.pace import (
    LONGEST_DELAY,
    LONGEST_SERVER_DELAY,
    Abreast,
    Grants,
    Growth,
    Patience,
    backoff,
    jitter,
)


@given(st.integers(0, 2**64), st.integers(1, 10**6))
def test_back_off_is_bounded_and_at_least_half_of_full(seed, attempt):
    full = min(LONGEST_DELAY, 0.5 * 2 ** min(attempt - 1, 16))
    assert full / 2 <= backoff(attempt, seed) <= full
    assert 0 <= jitter(seed, attempt) < 1


def test_the_same_seed_waits_the_same_and_another_does_not():
    assert backoff(3, 7) == backoff(3, 7)
    assert len({backoff(3, seed) for seed in range(100)}) == 100


def test_gaps_between_tries_grow():
    delays = [backoff(attempt, 5) for attempt in range(1, 20, 2)]
    assert delays[:4] == sorted(delays[:4])
    assert delays[3] > 4 * delays[0]


def test_patience_allows_so_many_tries_after_the_first():
    patience = Patience(4, 600, 1)
    assert [patience.failure(float(i), None, False) for i in range(5)] == [True] * 4 + [False]


def test_no_tries_is_over_at_once():
    assert not Patience(0, 600, 1).failure(0.0, None, False)


def test_a_new_byte_resets_the_count():
    patience = Patience(1, 600, 1)
    for now in range(20):
        assert patience.failure(float(now), None, False)
        patience.progress()


def test_a_request_that_brought_much_is_made_again_at_once():
    patience = Patience(0, 600, 1)
    assert patience.failure(5.0, None, True)
    assert patience.not_before <= 5.0


def test_patience_ends_with_its_time():
    patience = Patience(1000, 60, 1)
    assert patience.failure(0.0, None, False)
    assert patience.failure(60.0, None, False)
    assert not patience.failure(60.1, None, False)


@pytest.mark.parametrize("gained", [True, False])
def test_the_servers_delay_is_honoured_up_to_a_limit(gained):
    patience = Patience(4, 600, 1)
    assert patience.failure(10.0, 2.0, gained)
    assert patience.not_before >= 12.0
    assert patience.failure(20.0, LONGEST_SERVER_DELAY, gained)
    assert not patience.failure(20.0, LONGEST_SERVER_DELAY + 1, gained)
    assert not patience.failure(20.0, 1e9, gained)


def test_a_wait_is_never_shortened_by_a_later_failure():
    patience = Patience(4, 600, 1)
    patience.failure(0.0, 100.0, False)
    patience.failure(1.0, None, True)
    assert patience.not_before >= 100.0


def grow(rate_of, seconds=20.0, left=2**62):
    """Run a growth over a network whose rate depends on the number of connections. `left`: bytes
    that are missing all the time."""
    growth, now, arrived, levels = Growth(8), 0.0, 0, []
    growth.proven(now, 0.01, 0)
    while now < seconds:
        now += 0.05
        arrived += int(rate_of(growth.level) * 0.05)
        growth.tick(now, arrived, left)
        levels.append(growth.level)
    return levels


def test_connections_grow_to_the_ceiling_while_it_pays():
    assert grow(lambda level: 1e6 * level)[-1] == 8


def test_connections_shrink_again_where_it_does_not_pay():
    assert grow(lambda level: 1e6, 8.0)[-1] == 1
    assert grow(lambda level: 1e6 * min(level, 2), 8.0, 3_500_000)[-1] == 2


def test_a_long_way_gets_all_connections_at_once_and_a_short_one_none():
    assert grow(lambda level: 1e6 * level, 0.5, 4_500_000)[-1] == 8
    assert grow(lambda level: 1e6 * level, 0.5, 3_500_000)[-1] == 2
    assert grow(lambda level: 1e6 * level, 8.0, 1_900_000)[-1] == 1


def test_a_pause_of_the_reader_says_nothing_of_the_rate():
    growth, now, arrived = Growth(8), 0.0, 0
    growth.proven(now, 0.01, 0)
    while growth.level < 8:
        now, arrived = now + 0.05, arrived + int(growth.level * 5e5)
        growth.tick(now, arrived)
    for _ in range(60):
        now += 0.05
        growth.pause()
    for _ in range(60):
        now, arrived = now + 0.05, arrived + int(growth.level * 5e5)
        growth.tick(now, arrived)
    assert growth.level == 8


@pytest.mark.parametrize(("mib", "level"), [(700, 1), (300, 8)])
def test_beside_a_connection_as_fast_as_the_program_there_is_no_other(mib, level):
    assert grow(lambda level: mib * (1 << 20) * level, 3.0)[-1] == level


def test_what_did_not_pay_is_tried_again_later_and_ever_more_rarely():
    levels = grow(lambda level: 1e6, 200.0)
    steps = [at for at, (one, next) in enumerate(pairwise(levels)) if next > one]
    assert levels[-1] == 1
    assert len(steps) == 1 + 5
    pauses = [later - before for before, later in pairwise(steps)]
    assert all(later >= before - 1 for before, later in pairwise(pauses))
    late = [0.05 * at for at, level in enumerate(levels) if level > 1]
    assert len(late) < 0.1 * len(levels)


def test_bursts_do_not_end_the_growing():
    """A server that sends a connection its second's worth at once, then nothing."""
    growth, now, arrived, begun = Growth(8), 0.0, 0, [0.0]
    growth.proven(now, 0.01, 0)
    while now < 4.0:
        now += 0.05
        begun += [now] * (growth.level - len(begun))
        arrived = sum(1_000_000 * int((now - since) / 0.7 + 0.9) for since in begun)
        growth.tick(now, arrived)
    assert growth.level == 8


def test_growth_never_leaves_its_limits():
    for cap in range(1, 9):
        assert all(1 <= level <= 8 for level in grow(lambda level, cap=cap: 1e6 * min(level, cap)))


def test_a_fixed_number_is_used_at_once():
    growth = Growth(8, 16)
    growth.proven(0.0, 0.1, 0)
    assert growth.level == 16
    assert growth.wake() is None


def test_a_refusal_leaves_those_that_are_served_and_one_comes_back_every_half_minute():
    growth = Growth(8, 8)
    growth.proven(0.0, 0.1, 0)
    growth.refused(0.0, 2)
    growth.served(3)
    growth.refused(0.0, 3)
    assert growth.level == 3
    growth.tick(29.0, 0)
    assert growth.level == 3
    for now in range(30, 400):
        growth.tick(float(now), 0)
    assert growth.level == 8
    assert growth.wake() is None


def test_a_refusal_leaves_no_more_than_answer():
    growth = Growth(8, 8)
    growth.proven(0.0, 0.1, 0)
    growth.refused(0.0, 2)
    assert growth.level == 2
    growth.refused(0.0, 0)
    assert growth.level == 1


def test_growth_never_asks_to_be_woken_in_the_past():
    growth, now = Growth(8), 0.0
    growth.proven(now, 0.1, 0)
    for turn in range(300):
        growth.tick(now, turn * 1000)
        wake = growth.wake()
        assert wake is None or wake > now
        if turn == 50:
            growth.refused(now, 3)
        now += 0.3


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 1000)), max_size=50))
def test_grants_never_exceed_rate_and_burst(steps):
    grants, now, taken = Grants(100.0, 50.0, 50.0), 0.0, 0
    for pause, amount in steps:
        now += pause
        wait = grants.take(amount, now)
        taken += amount
        assert wait >= 0
        assert taken <= 50 + 100 * (now + wait) + 1e-6 * taken


def test_a_debt_is_paid_in_order():
    grants = Grants(10.0, 0.0)
    assert [grants.take(10, 0.0) for _ in range(3)] == [1.0, 2.0, 3.0]


def ended(abreast, seconds, *, files, busy):
    """What the limit is after so many seconds with that many ends each, evenly."""
    now = cpu = 0.0
    for _ in range(int(seconds * files) + 1):
        abreast.finished(now, cpu)
        now, cpu = now + 1 / files, cpu + busy / files
    return abreast.limit


@pytest.mark.parametrize(
    ("files", "busy", "limit"),
    [(500, 0.95, 1), (500, 0.3, 8), (5, 1.0, 8), (5, 0.1, 8)],
    ids=["small, busy", "small, waiting", "large, busy", "large, waiting"],
)
def test_only_small_files_that_keep_the_process_busy_go_one_by_one(files, busy, limit):
    assert ended(Abreast(8), 1.0, files=files, busy=busy) == limit


def test_what_made_a_list_slower_is_taken_back_and_not_soon_tried_again():
    """Another thread of the program is busy all the time; the files wait for the network."""
    abreast, now, limits = Abreast(16), 0.0, []
    while now < 5.0:
        now += 1 / (30 * abreast.limit)
        abreast.finished(now, now)
        limits.append((now, abreast.limit))
    assert sum(limit == 16 for _, limit in limits) > 0.8 * len(limits)
    assert min(limit for now, limit in limits if now > 1.5) == 16


def test_a_list_begins_with_two_at_a_time_or_what_is_allowed():
    assert (Abreast(8).limit, Abreast(1).limit) == (2, 1)


def test_where_none_ends_all_that_are_allowed_go_on():
    abreast = Abreast(8)
    assert ended(abreast, 1.0, files=500, busy=0.95) == 1
    abreast.stalled()
    assert abreast.limit == 8


def test_growing_is_tried_again_at_the_moment_at_which_a_pause_ends():
    growth = Growth(8)
    growth.proven(0.0, 0.1, 0)
    growth.tick(0.1, 1)
    growth.again_at = 5.0
    growth.pause()
    growth.tick(5.0, 1000)
    assert growth.level == 2
