"""Half-open ranges: what they hold, cut and cover."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.byterange import ByteRange, joined

RANGES = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(
    lambda pair: ByteRange(min(pair), max(pair))
)


@pytest.mark.parametrize(("start", "stop"), [(1, 0), (-1, 0), (-2, -1), (5, 4)])
def test_what_is_no_range_is_refused(start, stop):
    with pytest.raises(ValueError, match="not a range"):
        ByteRange(start, stop)


@given(RANGES)
def test_length_truth_and_membership_agree(one):
    inside = [offset for offset in range(-1, 62) if offset in one]
    assert len(one) == len(inside)
    assert bool(one) == bool(inside)
    assert inside == list(range(one.start, one.stop))


@given(RANGES, RANGES)
def test_a_clip_is_the_intersection(one, other):
    clipped = one.clip(other)
    both = set(range(one.start, one.stop)) & set(range(other.start, other.stop))
    assert set(range(clipped.start, clipped.stop)) == both
    assert one.start <= clipped.start <= clipped.stop <= one.stop


@given(RANGES, RANGES)
def test_covering_is_containing_every_byte(one, other):
    if one.covers(other):
        assert one.clip(other) == other or not other
    elif other:
        assert not set(range(other.start, other.stop)) <= set(range(one.start, one.stop))


@given(RANGES, RANGES)
def test_what_is_left_without_another(one, other):
    parts = list(one.without(other))
    assert all(parts)
    left = [offset for part in parts for offset in range(part.start, part.stop)]
    assert left == [offset for offset in range(one.start, one.stop) if offset not in other]


def test_runs_are_made_of_what_touches():
    ranges = [ByteRange(0, 5), ByteRange(5, 9), ByteRange(10, 11)]
    assert list(joined(ranges)) == [ByteRange(0, 9), ByteRange(10, 11)]
    assert list(joined([])) == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_joined_runs_have_the_same_bytes_and_gaps_between_them(pairs):
    ranges = sorted((ByteRange(at, at + size) for at, size in pairs), key=lambda one: one.start)
    runs = list(joined(ranges))
    assert {at for one in ranges for at in range(one.start, one.stop)} == {
        at for run in runs for at in range(run.start, run.stop)
    }
    assert all(before.stop < after.start for before, after in pairwise(runs))
