"""What one client may cost the upstream (row S28)."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import cast

import pytest

from rdl.core.byterange import ByteRange
from rdl.errors import NetworkError, RdlError
from rdl.server.flying import Flying, Held, Keeper
from rdl.server.latest import Latest
from rdl.server.meter import FACTOR, HOUR, Meter
from tests.scenarios.coded import KiB, MiB


def test_time_gives_back_what_was_in_vain() -> None:
    meter = Meter(1000)
    meter.note("a", 1000, 0, 5.0)
    assert meter.wait("a", 5.0) == 0
    meter.note("a", 500, 0, 5.0)
    assert meter.wait("a", 5.0) == HOUR / 2
    assert meter.wait("b", 5.0) == 0
    assert meter.wait("a", 5.0 + HOUR / 2) == 0
    assert meter.owes("a", 5.0 + 10 * HOUR) == 0


def test_what_is_sent_gives_back_and_no_more_than_that() -> None:
    meter = Meter(1000)
    meter.note("a", 1000, 1000, 0.0)
    assert meter.owes("a", 0.0) == 0
    meter.note("a", 1500, 0, 0.0)
    assert meter.wait("a", 0.0) > 0
    meter.note("a", 0, 200, 0.0)
    assert meter.owes("a", 0.0) == 1500 - (FACTOR - 1) * 200
    assert meter.wait("a", 0.0) == 0


@pytest.mark.parametrize(("budget", "client"), [(None, "a"), (1, "")])
def test_who_has_no_budget_has_no_limit(budget: int | None, client: str) -> None:
    meter = Meter(budget)
    meter.note(client, 1 << 60, 0, 0.0)
    assert meter.wait(client, 0.0) == 0


@pytest.mark.parametrize("seed", range(50))
def test_s28_the_cost_is_bounded_by_what_is_sent(seed: int) -> None:
    draw, meter = random.Random(seed), Meter(10_000)
    cost = sent = 0
    for _ in range(300):
        if meter.wait("a", 0.0) == 0:
            sends = draw.choice([0, 1, draw.randrange(1000)])
            costs = draw.choice([0, sends, draw.randrange(1000)])
            meter.note("a", costs, sends, 0.0)
            cost, sent = cost + costs, sent + sends
    assert cost <= FACTOR * sent + 10_000 + 1000


def test_the_latest_are_remembered() -> None:
    latest = Latest[str, int](2)
    for number, key in enumerate("abbc"):
        latest[key] = number
    assert latest == {"b": 2, "c": 3}


@pytest.mark.parametrize(
    ("asked", "error", "owed"),
    [
        (192 * KiB, None, 192 * KiB - 4),
        (MiB, None, 192 * KiB - 4),
        (MiB, NetworkError("u", "gone"), 0),
    ],
)
def test_s28_what_still_comes_for_who_has_left_is_paid_for(
    asked: int, error: RdlError | None, owed: int
) -> None:
    """Of a small read all of it; of one that failed nothing does."""
    meter, file = Meter(2 * MiB), SimpleNamespace(present=lambda: ())
    held = SimpleNamespace(file=file, keeping=False, payer="b", error=error)
    reading = Flying(cast(Held, held), cast(Keeper, SimpleNamespace(meter=meter)), waits=False)
    reading.client, reading._paid, reading._lacked = "a", ByteRange(0, asked), asked
    reading.settle(1)
    assert meter._owed.get("a", (0.0, 0.0))[0] == owed
