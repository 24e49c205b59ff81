"""Packed extents behave like a list of them."""

from __future__ import annotations

import sys
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.core import extents as module
from rdl.core.byterange import ByteRange, Extent
from rdl.core.extents import Extents, Run

changes = st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 12)), max_size=40)


@settings(max_examples=400)
@given(changes)
def test_adding_and_dropping_as_in_a_list(changes: list[tuple[bool, int, int]]) -> None:
    here, model = Extents(), list[Extent]()
    for number, (adds, start, length) in enumerate(changes):
        here.drop(start, start + length)
        model = [e for e in model if e.stop <= start or start + length <= e.start]
        if adds:
            here.add(Run.of(Extent(start, start + length, number)))
            model.append(Extent(start, start + length, number))
    model.sort(key=lambda extent: extent.start)
    assert list(here) == model
    assert len(here) == len(model)
    assert {at for run in here.ranges() for at in range(run.start, run.stop)} == {
        at for extent in model for at in range(extent.start, extent.stop)
    }
    assert all(a.stop < b.start for a, b in zip(here.ranges(), here.ranges()[1:], strict=False))


def some() -> Extents:
    return Extents([Extent(0, 4, 1), Extent(4, 6, 2), Extent(9, 12, 3)])


def test_those_that_follow_one_another_are_one_run() -> None:
    assert [(run.start, run.stop, len(run)) for run in some().runs] == [(0, 6, 2), (9, 12, 1)]


@pytest.mark.parametrize(
    ("stop", "left"), [(12, 3), (11, 2), (9, 2), (6, 2), (5, 1), (4, 1), (0, 0)]
)
def test_before_leaves_what_ends_there(stop: int, left: int) -> None:
    all_of_them = some()
    assert list(all_of_them.before(stop)) == list(some())[:left]
    assert list(all_of_them) == list(some())


def test_a_copy_is_its_own() -> None:
    first = some()
    twin = first.copy()
    twin.add(Run.of(Extent(12, 13, 4)))
    twin.drop(0, 1)
    assert list(first) == list(some())
    assert list(twin) == [*list(some())[1:], Extent(12, 13, 4)]


def test_all_of_another_are_taken() -> None:
    into, other = some(), Extents([Extent(6, 9, 8), Extent(20, 21, 9)])
    into.take_all(other)
    assert into.ranges() == (ByteRange(0, 12), ByteRange(20, 21))
    assert len(into) == 5
    assert not other


def test_a_run_in_parts() -> None:
    parts = list(some().runs[0].parts(1))
    assert [extent for part in parts for extent in part] == list(some())[:2]
    assert [(part.start, part.stop) for part in parts] == [(0, 4), (4, 6)]


@pytest.mark.parametrize("order", ["little", "big"])
def test_numbers_are_little_endian_on_every_machine(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths, sums = array("I", [5, 7]), array("Q", [1, 2**63])
    if order != sys.byteorder:
        lengths.byteswap()
        sums.byteswap()
    monkeypatch.setattr(module.sys, "byteorder", order)
    run = Run.packed(100, lengths.tobytes(), sums.tobytes())
    assert list(run) == [Extent(100, 105, 1), Extent(105, 112, 2**63)]
    assert run.pack() == (lengths.tobytes(), sums.tobytes())


def test_the_extent_of_a_byte() -> None:
    assert [some().at(at) for at in (0, 3, 4, 5, 11)] == [
        *(Extent(0, 4, 1), Extent(0, 4, 1), Extent(4, 6, 2), Extent(4, 6, 2), Extent(9, 12, 3))
    ]
    assert [some().at(at) for at in (6, 8, 12)] == [None, None, None]
    assert Extents().at(0) is None


@settings(max_examples=200, deadline=None)
@given(changes, changes)
def test_those_that_are_kept(first: list[tuple[bool, int, int]], then: list[tuple[bool, int, int]]):
    here, number = Extents(), 0
    before = here.copy()
    for part in (first, then):
        before = here.copy()
        for adds, start, length in part:
            here.drop(start, start + length)
            if adds:
                number += 1
                here.add(Run.of(Extent(start, start + length, number)))
    assert here.keeps(before) == (set(before) <= set(here))


def test_those_of_other_runs_are_kept_too() -> None:
    joined, apart = some(), Extents([Extent(4, 6, 2)])
    apart.add(Run.of(Extent(0, 4, 1)))
    apart.add(Run.of(Extent(9, 12, 3)))
    assert len(apart.runs) == 3
    assert joined.keeps(apart)
    assert apart.keeps(joined)
