"""What `rdl cat` costs: beside `get` with a slow connection, beside curl, with a slow reader.

What was read is checked in every run.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from bench.measure import Cost, interleaved, median, piped, run
from bench.throttled import OF, Throttled
from tests.scenarios.coded import Origin
from tests.scenarios.reader import Reader, fetched
from tests.support.content import MiB, sha256_of

CONNECTIONS = 8
ROOM = 240 * MiB
"""Of addresses; see tests/scenarios/test_reading.py."""
RDL = [sys.executable, "-m", "rdl"]
NETWORK = ["--no-netrc", "--proxy", "", "-x", str(CONNECTIONS)]


def read(command: list[str], sha256: str) -> Cost:
    """Its bytes into sha256sum, whose cost is not counted. RuntimeError when they are wrong."""
    cost, said = piped(command, ["sha256sum"])
    if said.split()[0] != sha256:
        raise RuntimeError(f"wrong bytes: {' '.join(command)}")
    return cost


def beside_get(data: Path, sha256: str, rate: int, rounds: int) -> dict[str, Any]:
    """`cat` and `get` where one connection of eight has a tenth of the others' speed, another
    one in each round. A connection that replaces another counts as a new one, so a client that
    closes many meets slow ones again. `speed`: of cat, to get's; the median of the rounds."""
    output, pairs, made = data.with_name("output.bin"), [], {"cat": 0, "get": 0}
    with Throttled(data, rate) as server:
        cat = [*RDL, "cat", server.url, *NETWORK]
        get = [*RDL, "get", server.url, "-o", str(output), "-q", *NETWORK]
        for number in range(rounds):
            found: dict[str, Cost] = {}
            for name in ("cat", "get") if number % 2 else ("get", "cat"):
                server.restart(slow=3 * number % OF)
                found[name] = read(cat, sha256) if name == "cat" else run(get)
                made[name] = max(made[name], server.connections)
            if sha256_of(output) != sha256:
                raise RuntimeError("get left a wrong file")
            output.unlink()
            pairs.append((found["cat"], found["get"]))
    speeds = [get.wall / cat.wall for cat, get in pairs]
    costs = {"cat": median([cat for cat, _ in pairs]), "get": median([get for _, get in pairs])}
    return {
        **costs,
        "speed": statistics.median(speeds),
        "speeds": speeds,
        "rate": rate,
        "connections": made,
    }


def beside_curl(url: str, sha256: str, rounds: int) -> dict[str, Cost]:
    """`cat` as it comes and with one connection, and curl; medians of interleaved rounds."""
    commands = {
        "rdl cat": [*RDL, "cat", url, "--no-netrc", "--proxy", ""],
        "rdl cat -x1": [*RDL, "cat", url, "--no-netrc", "--proxy", "", "-x", "1"],
        "curl": ["curl", "-q", "-sS", url],
    }
    trials = {
        name: partial(_read, words, sha256)
        for name, words in commands.items()
        if shutil.which(words[0])
    }
    return interleaved(trials, rounds)


def _read(command: list[str], sha256: str, _round: int) -> Cost:
    return read(command, sha256)


def slow_reader(size: int, seconds: int) -> dict[str, float]:
    """A reader of 1 MiB a second for so long, which then takes the rest at once, under a limit
    of addresses: peak memory, and how far ahead of it was fetched, in MiB."""
    origin, ahead = Origin(size=size), 0
    script = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({ROOM}, {ROOM}))"
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    try:
        with Reader(origin, ("-x", str(CONNECTIONS)), script, env=environment) as reader:
            begun = time.monotonic()
            for number in range(16 * seconds):
                reader.take(MiB // 16)
                time.sleep(max(0.0, begun + number / 16 - time.monotonic()))
                if number % 16 == 15:
                    ahead = max(ahead, fetched(origin) - reader.at)
            peak = reader.high_water()
            if reader.rest() != 0 or reader.at != size:
                raise RuntimeError(f"cat ended at {reader.at}: {reader.said()}")
            return {
                "peak": peak / MiB,
                "peak_to_the_end": reader.peak / MiB,
                "ahead": ahead / MiB,
                "room": ROOM / MiB,
            }
    finally:
        origin.close()


def told_beside_get(found: dict[str, Any]) -> str:
    """The row of beside_get for people."""
    cat, get, made = found["cat"], found["get"], found["connections"]
    each = ", ".join(f"{speed:.2f}" for speed in found["speeds"])
    return (
        f"one of {OF} connections ({found['rate'] / MiB:g} MiB/s) at a tenth: "
        f"cat {cat.wall:.2f} s, get {get.wall:.2f} s; "
        f"{made['cat']} and {made['get']} connections made; "
        f"cat has {found['speed']:.2f} of get's speed (rounds: {each})"
    )


def told_slow_reader(found: dict[str, float]) -> str:
    """The row of slow_reader for people."""
    return (
        f"1 MiB/s out of `cat -x {CONNECTIONS}` in {found['room']:.0f} MiB of addresses: "
        f"peak {found['peak']:.0f} MiB (with the rest at once {found['peak_to_the_end']:.0f} MiB), "
        f"{found['ahead']:.1f} MiB fetched ahead"
    )
