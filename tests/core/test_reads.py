"""Reads that bring less than they were asked for."""

from __future__ import annotations

import pytest

from rdl.core.reads import filled, watched


@pytest.mark.parametrize(("at", "size", "here"), [(0, 10, 10), (7, 10, 3), (10, 5, 0), (3, 0, 0)])
def test_it_is_read_until_it_is_full_or_over(at: int, size: int, here: int) -> None:
    data, asked = b"0123456789", list[int]()

    def read(offset: int, view: memoryview) -> int:
        asked.append(len(view))
        some = data[offset : offset + min(4, len(view))]
        view[: len(some)] = some
        return len(some)

    view = memoryview(bytearray(size))
    assert filled(read, at, view) == here
    assert bytes(view[:here]) == data[at : at + here]
    assert all(asked), "nothing is asked for once it is full"


def test_who_watches_hears_of_each_and_may_end_it() -> None:
    heard = list[int]()

    def check(count: int) -> None:
        heard.append(count)
        if len(heard) == 2:
            raise TimeoutError

    read = watched(lambda _, view: min(len(view), 4), check)
    with pytest.raises(TimeoutError):
        filled(read, 0, memoryview(bytearray(9)))
    assert heard == [4, 4]
