"""The row knows what is wanted, what is here and what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.byterange import ByteRange
from rdl.core.fields import MAX_TOTAL
from rdl.core.index_json import Header, header_bytes, read_header
from rdl.core.representation import Representation
from rdl.core.row import ENDLESS, Remembered, Row, span_of
from rdl.options import RangeSpec


@pytest.mark.parametrize(
    ("spec", "total", "span"),
    [
        (None, 10, (0, 10)),
        (None, 0, (0, 0)),
        (None, None, (0, ENDLESS)),
        (RangeSpec(0, 5), 10, (0, 5)),
        (RangeSpec(0, 50), 10, (0, 10)),
        (RangeSpec(9), 10, (9, 10)),
        (RangeSpec(9, 10), 10, (9, 10)),
        (RangeSpec(10), 10, None),
        (RangeSpec(11, 12), 10, None),
        (RangeSpec(0), 0, None),
        (RangeSpec(suffix=3), 10, (7, 10)),
        (RangeSpec(suffix=10), 10, (0, 10)),
        (RangeSpec(suffix=11), 10, (0, 10)),
        (RangeSpec(suffix=0), 10, None),
        (RangeSpec(suffix=1), 0, None),
        (RangeSpec(suffix=1), None, None),
        (RangeSpec(5), None, (5, ENDLESS)),
        (RangeSpec(5, 9), None, (5, 9)),
    ],
)
def test_the_wanted_part_of_a_representation(spec, total, span):
    assert span_of(spec, total) == (ByteRange(*span) if span else None)


@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=20),
    st.sampled_from([None, RangeSpec(20, 100), RangeSpec(suffix=50)]),
)
def test_present_and_missing_make_the_span(total, pairs, spec):
    span = span_of(spec, total)
    if span is None:
        return
    row, here = Row(Representation(total, '"a"'), span, None), set()
    for pair in pairs:
        run = ByteRange(min(pair), min(max(pair), total)) if min(pair) < total else None
        if run:
            row.add([run])
            here |= set(range(run.start, run.stop))
    wanted = set(range(span.start, span.stop))
    missing = {offset for run in row.missing() for offset in range(run.start, run.stop)}
    assert missing == wanted - here
    assert row.present_bytes == len(wanted & here)
    assert row.complete is (not missing)
    assert row.head() == min(missing, default=span.stop)
    assert all(0 <= share <= 1 for share in row.coverage())


def test_an_empty_file_is_complete_at_once():
    row = Row(Representation(0, '"a"'), ByteRange(0, 0), None)
    assert row.complete
    assert row.size == 0
    assert row.coverage() == ()
    assert list(row.missing()) == []


def test_an_unknown_length_is_complete_only_when_ended():
    row = Row(Representation(None), ByteRange(0, ENDLESS), None)
    row.add([ByteRange(0, 7)])
    assert row.size is None
    assert not row.complete
    assert row.head() == 7
    assert list(row.missing()) == [ByteRange(7, ENDLESS)]
    row.end()
    assert row.complete
    assert row.size == 7
    assert list(row.missing()) == []


def saved(total=100, span=None, present=()):
    return Remembered(Representation(total, '"a"'), span, tuple(present))


def test_a_remembered_row_holds_what_the_index_says():
    row = Row.remembered(saved(present=[ByteRange(0, 10), ByteRange(50, 60)]), None, None)
    assert row is not None
    assert row.present_bytes == 20
    assert list(row.missing()) == [ByteRange(10, 50), ByteRange(60, 100)]


@pytest.mark.parametrize(
    ("remembered", "spec"),
    [
        (saved(None), None),
        (saved(span=ByteRange(0, 50)), None),
        (saved(), RangeSpec(0, 50)),
        (saved(span=ByteRange(0, 50)), RangeSpec(0, 51)),
        (saved(), RangeSpec(500)),
        (saved(0), None),
    ],
)
def test_a_row_for_something_else_is_not_continued(remembered, spec):
    assert Row.remembered(remembered, spec, None) is None


def test_the_same_part_asked_in_another_way_is_continued():
    assert Row.remembered(saved(span=ByteRange(50, 100)), RangeSpec(suffix=50), None) is not None
    assert Row.remembered(saved(), RangeSpec(suffix=100), None) is not None


@pytest.mark.parametrize("total", [2**62 - 1, 2**62, 2**62 + 1, MAX_TOTAL])
def test_the_largest_files_can_be_complete(total):
    row = Row(Representation(total), ByteRange(0, total), None)
    row.add([ByteRange(0, total)])
    assert (row.size, row.complete, row.part) == (total, True, None)


def test_what_stands_for_no_end_can_be_kept():
    header = Header("u", Representation(None), 4096, ByteRange(5, ENDLESS))
    assert read_header(header_bytes(header)) == header


def test_only_a_real_part_is_written_into_the_index():
    assert Row(Representation(9), ByteRange(0, 9), None).part is None
    assert Row(Representation(9), ByteRange(1, 9), None).part == ByteRange(1, 9)
    assert Row(Representation(None), ByteRange(0, ENDLESS), None).part is None
