"""Planning never gives a byte to two workers, and never leaves one to nobody."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.byterange import ByteRange
from rdl.core.planner import Claim, Flow, Steal, gaps, next_step

SIZE = 200
ALL = ByteRange(0, SIZE)


@st.composite
def situations(draw):
    """Missing runs, and flows over parts of them (some of a flow may have arrived)."""
    cuts = sorted(draw(st.sets(st.integers(0, SIZE), min_size=2, max_size=12)))
    missing, flows = [], []
    for number, (start, stop) in enumerate(zip(cuts[::2], cuts[1::2], strict=False)):
        missing.append(ByteRange(start, stop))
        if draw(st.booleans()):
            upto = draw(st.integers(start, stop))
            end = draw(st.integers(upto, stop))
            flows.append(Flow(number, upto, end))
    return missing, draw(st.permutations(flows))


def bytes_of(ranges):
    return {offset for one in ranges for offset in range(one.start, one.stop)}


def live(flows):
    return bytes_of(ByteRange(min(flow.upto, flow.stop), flow.stop) for flow in flows)


@given(situations())
def test_gaps_are_what_is_missing_and_nobodys(situation):
    missing, flows = situation
    found = list(gaps(missing, flows))
    assert bytes_of(found) == bytes_of(missing) - live(flows)
    assert sum(map(len, found)) == len(bytes_of(found))
    assert found == sorted(found)
    assert all(found)


@given(situations(), st.integers(1, 40), st.integers(0, SIZE), st.integers(1, 9))
def test_a_step_takes_nothing_from_the_live_part_of_another(situation, min_split, reach, idle):
    missing, flows = situation
    within = ByteRange(0, reach)
    step = next_step(missing, flows, min_split, within, idle=idle)
    if isinstance(step, Claim):
        taken = bytes_of([step.range])
        assert taken
        assert taken <= bytes_of(missing) - live(flows)
    elif isinstance(step, Steal):
        victim = next(flow for flow in flows if flow.segment == step.segment)
        assert victim.upto < step.range.start < step.range.stop <= victim.stop
        assert len(step.range) >= min_split
        assert step.range.start - victim.upto >= min_split
    if step is not None:
        assert within.covers(step.range)


@given(situations(), st.integers(1, 40), st.integers(1, 9))
def test_following_the_plan_fills_everything(situation, min_split, workers):
    missing, _ = situation
    present = set(range(SIZE)) - bytes_of(missing)
    flows, number = {}, 0
    while len(present) < SIZE:
        while len(flows) < workers:
            runs = runs_of(set(range(SIZE)) - present)
            idle = workers - len(flows)
            step = next_step(runs, list(flows.values()), min_split, ALL, idle=idle)
            if step is None:
                break
            if isinstance(step, Steal):
                old = flows[step.segment]
                assert step.range.stop == old.stop
                flows[step.segment] = Flow(old.segment, old.upto, step.range.start)
            number += 1
            flows[number] = Flow(number, step.range.start, step.range.stop)
            assert sum(f.stop - f.upto for f in flows.values()) == len(live(flows.values()))
        assert flows, "nobody works and something is missing"
        for flow in list(flows.values()):
            upto = min(flow.stop, flow.upto + 1 + flow.segment % 7)
            assert not present & set(range(flow.upto, upto)), "a byte was fetched twice"
            present |= set(range(flow.upto, upto))
            flows[flow.segment] = Flow(flow.segment, upto, flow.stop)
            if upto == flow.stop:
                del flows[flow.segment]


def runs_of(offsets):
    runs = []
    for offset in sorted(offsets):
        if runs and runs[-1].stop == offset:
            runs[-1] = ByteRange(runs[-1].start, offset + 1)
        else:
            runs.append(ByteRange(offset, offset + 1))
    return runs


def test_an_idle_worker_takes_the_first_gap():
    runs = [ByteRange(10, 20), ByteRange(40, 60)]
    assert next_step(runs, [], 5, ALL) == Claim(ByteRange(10, 20))
    assert next_step(runs, [Flow(1, 10, 20)], 5, ALL) == Claim(ByteRange(40, 60))


def test_with_no_gap_the_largest_rest_is_halved():
    runs = [ByteRange(0, 100)]
    flows = [Flow(1, 0, 20), Flow(2, 20, 100)]
    assert next_step(runs, flows, 10, ALL) == Steal(2, ByteRange(60, 100))


@pytest.mark.parametrize(
    ("rests", "idle", "min_split", "parts"),
    [
        ([80], 1, 5, [40, 40]),
        ([80], 3, 5, [20, 20, 20, 20]),
        ([61], 7, 8, [8, 8, 9, 9, 9, 9, 9]),
        ([50, 10], 1, 5, [10, 25, 25]),
        ([40, 40], 2, 5, [20, 20, 20, 20]),
        ([60, 20], 2, 5, [20, 20, 20, 20]),
        ([15], 7, 8, [15]),
    ],
)
def test_several_idle_workers_take_equal_parts(rests, idle, min_split, parts):
    edges = list(accumulate(rests, initial=0))
    flows = [Flow(number, *edge) for number, edge in enumerate(pairwise(edges))]
    runs, within = [ByteRange(0, edges[-1])], ByteRange(0, edges[-1])
    for left in range(idle, 0, -1):
        step = next_step(runs, flows, min_split, within, idle=left)
        if step is None:
            break
        old = flows[step.segment]
        flows[step.segment] = Flow(old.segment, old.upto, step.range.start)
        flows.append(Flow(len(flows), step.range.start, step.range.stop))
    assert sorted(flow.stop - flow.upto for flow in flows) == parts


def test_a_rest_is_not_split_below_the_least_size():
    assert next_step([ByteRange(0, 19)], [Flow(1, 0, 19)], 10, ALL) is None
    assert next_step([ByteRange(0, 20)], [Flow(1, 0, 20)], 10, ALL) == Steal(1, ByteRange(10, 20))


def test_no_least_size_is_one_byte():
    assert next_step([], [], 0, ALL) is None
    assert next_step([ByteRange(0, 2)], [Flow(1, 0, 2)], 0, ALL) == Steal(1, ByteRange(1, 2))
    assert next_step([ByteRange(0, 1)], [Flow(1, 0, 1)], 0, ALL) is None


def test_what_is_written_but_not_reported_is_left_where_it_is():
    flow = Flow(1, 0, 100, reached=60)
    assert list(gaps([ByteRange(0, 100)], [flow])) == []
    assert next_step([ByteRange(0, 100)], [flow], 10, ALL) == Steal(1, ByteRange(80, 100))
    assert next_step([ByteRange(0, 100)], [Flow(1, 0, 100, reached=90)], 10, ALL) is None


def test_a_large_rest_is_cut_on_a_64_kib_boundary():
    size = 10_000_001
    step = next_step([ByteRange(1, size)], [Flow(1, 1, size)], 8, ByteRange(0, size))
    assert isinstance(step, Steal)
    assert step.range.start % 65536 == 0


def test_the_window_is_not_begun_in_crumbs_while_others_work():
    runs, flows = [ByteRange(0, 100)], [Flow(1, 0, 40)]
    assert next_step(runs, flows, 30, ByteRange(0, 45)) is None
    assert next_step(runs, flows, 30, ByteRange(0, 70)) == Claim(ByteRange(40, 70))
    assert next_step(runs, [], 30, ByteRange(0, 1)) == Claim(ByteRange(0, 1))


def test_a_flow_past_its_trimmed_end_is_nobodys_gap():
    assert list(gaps([ByteRange(60, 100)], [Flow(1, 60, 50)])) == [ByteRange(60, 100)]
