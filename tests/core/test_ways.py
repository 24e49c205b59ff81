"""What is wished for, and what is asked for by ranges: by so many requests and bytes."""

from __future__ import annotations

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.ways import Line, wished

KiB, MiB = 1 << 10, 1 << 20
NEAR, FAR = Line(0.001, 8), Line(0.08, 8)


def runs_of(*sizes: int) -> list[ByteRange]:
    """Far from each other."""
    return [ByteRange(number << 30, (number << 30) + size) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "line", "wishes"),
    [
        ([], NEAR, 0),
        ([], FAR, 0),
        ([KiB], NEAR, 0),  # a HEAD and the wishes are two round trips, a range is one
        ([KiB], FAR, 0),
        ([KiB] * 2, FAR, 2),  # the second would wait for the first
        ([KiB] * 3, FAR, 3),
        ([KiB] * 40, NEAR, 40),
        ([KiB] * 4000, NEAR, 4000),
        ([16 * KiB] * 400, FAR, 400),
        ([200 * MiB], NEAR, 0),  # all of the file: by several connections
        ([200 * MiB], FAR, 0),
        ([8 * MiB] * 20, NEAR, 0),
        ([MiB] * 40, NEAR, 0),
        ([MiB] * 40, FAR, 40),  # each would wait for longer than it takes
        ([40 * MiB] + [KiB] * 400, NEAR, 400),  # the long one comes beside them
        ([40 * MiB] + [KiB] * 400, FAR, 400),
        ([KiB], Line(0.08, 1), 0),
        ([KiB] * 3, Line(0.08, 1), 3),
        ([200 * MiB], Line(0.08, 1), 0),
    ],
)
def test_the_way_of_each_run(sizes: list[int], line: Line, wishes: int) -> None:
    found = wished(runs_of(*sizes), line)
    assert len(found) == wishes
    assert not {*found} - {*runs_of(*sizes)[len(sizes) - wishes :]}
