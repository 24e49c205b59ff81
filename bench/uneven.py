"""Servers and ways that are slow, evenly or not: what rdl makes of several connections.

Every client meets the same server from its first connection on.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit

from bench.clients import AXEL, CURL, RDL, SPLITTING, TOLD, Client, installed, rdl_with
from bench.delaying import delayed
from bench.events import Stamped, telling
from bench.measure import Cost, best, interleaved, ratio, told
from bench.place import Bench, Content
from bench.throttled import Throttled
from tests.support.content import MiB

CONNECTIONS = 8
RATE = 4 * MiB
"""Bytes a second and connection in `throttled`."""
EVERY, SLOWER = 4, 20
"""One connection of so many gets so much less."""
FAST = 8 * MiB
"""Bytes a second of the others in `straggler`."""
ROUND_TRIP = 0.08
LAST = 0.01
"""The share of the bytes that are the tail."""


def throttled(bench: Bench, size: int, rounds: int) -> dict[str, Any]:
    """So many bytes a second for each connection: rdl with no options beside clients that are
    told to use eight. `ideal`: the seconds that eight connections need."""
    content = bench.content(size)
    with bench.server("http", rate=RATE) as server:
        url = f"{server.url}/{content.path.name}"
        trials = {
            client.name: partial(_fetched, bench, client, url, content)
            for client in installed(RDL, SPLITTING, AXEL)
        }
        costs = interleaved(trials, rounds)
    ideal = size / (CONNECTIONS * RATE)
    wall = {name: cost.wall for name, cost in costs.items()}
    return {
        "costs": costs,
        "ideal": ideal,
        "to_ideal": ratio(wall["rdl"], ideal),
        "to_aria2c": ratio(wall["rdl"], wall.get(SPLITTING.name)),
    }


def _fetched(bench: Bench, client: Client, url: str, content: Content, _round: int) -> Cost:
    return bench.fetch(client, url, content)


def straggler(bench: Bench, size: int, rounds: int) -> dict[str, Any]:
    """One connection of four is twenty times slower, another one in each round but never the
    first: that would only say how slow a client with one connection is."""
    content = bench.content(size)
    made: dict[str, int] = {}
    with Throttled(content.path, FAST, every=EVERY, slower=SLOWER) as server:

        def fetched(client: Client, number: int) -> Cost:
            server.restart(slow=1 + number % (EVERY - 1))
            cost = bench.fetch(client, server.url, content)
            made[client.name] = max(made.get(client.name, 0), server.connections)
            return cost

        alike = rdl_with("-x", "8", "-k", "1M", name=TOLD)
        clients = installed(RDL, alike, SPLITTING, AXEL, CURL)
        costs = interleaved({one.name: partial(fetched, one) for one in clients}, rounds)
    wall = {name: cost.wall for name, cost in costs.items()}
    told_so = wall.pop(TOLD)
    least = best(wall)
    return {
        "costs": costs,
        "connections": made,
        "to_best": ratio(wall["rdl"], least),
        "told_to_best": ratio(told_so, least),
    }


def tail(bench: Bench, seconds: float) -> dict[str, Any]:
    """One connection of four at a twentieth, in a download that takes eight full connections
    so many seconds: the share of the time that the last hundredth of the bytes took."""
    content = bench.content()
    rate = int(content.size / (CONNECTIONS * seconds))
    with Throttled(content.path, rate, every=EVERY, slower=SLOWER) as server:
        server.restart(slow=EVERY - 1)
        command = RDL.build(server.url, bench.output, bench.certificates.authority)
        with telling([word for word in command if word != "-q"]) as run:
            events = list(run.events())
            if run.process.wait() != 0:
                raise RuntimeError(f"rdl failed: {events[-1:]} {''.join(run.said)}")
        made = server.connections
    bench.take("rdl", content)
    wall = next(at for at, event in events if event["event"] == "done")
    left = _reached(events, content.size * (1 - LAST))
    whole = _reached(events, content.size)
    return {
        "wall": wall,
        "connections": made,
        "tail": wall - left,
        "closing": wall - whole,
        "share": (wall - left) / wall,
    }


def _reached(events: list[Stamped], wanted: float) -> float:
    """When so many bytes were here, in a straight line between two events that tell of more."""
    before, had = 0.0, 0
    for at, event in events:
        has = int(event.get("bytes_present", had))
        if has >= wanted:
            return before + (at - before) * (wanted - had) / (has - had)
        if has > had:
            before, had = at, has
    raise RuntimeError(f"no event tells of {wanted:.0f} bytes")


def latency(bench: Bench, size: int, rounds: int) -> dict[str, Any]:
    """A round trip of 80 ms. `to_aria2c`: of rdl's time without that of its start, which is
    what a download of 1 KiB takes without the delay."""
    content, tiny = bench.content(size), bench.content(1024)
    with bench.server("http") as server:
        near, path = server.url, f"/{content.path.name}"
        with delayed(urlsplit(near).port or 80, ROUND_TRIP / 2) as port:
            url = f"http://127.0.0.1:{port}{path}"
            trials = {
                client.name: partial(_fetched, bench, client, url, content)
                for client in installed(RDL, SPLITTING, AXEL, CURL)
            }
            trials["start"] = partial(_fetched, bench, RDL, f"{near}/{tiny.path.name}", tiny)
            costs = interleaved(trials, rounds)
    start = costs.pop("start").wall
    base = costs.get(SPLITTING.name)
    to_aria2c = ratio(costs["rdl"].wall - start, base.wall if base else None)
    return {"costs": costs, "start": start, "to_aria2c": to_aria2c}


def _walls(costs: dict[str, Cost]) -> str:
    return ", ".join(f"{name} {cost.wall:.2f} s" for name, cost in costs.items())


def told_throttled(found: dict[str, Any]) -> str:
    """The row of throttled for people."""
    return (
        f"{RATE / MiB:g} MiB/s a connection: {_walls(found['costs'])}; ideal of {CONNECTIONS} "
        f"connections {found['ideal']:.2f} s; rdl to that {told(found['to_ideal'])}, "
        f"to aria2c {told(found['to_aria2c'])}"
    )


def told_straggler(found: dict[str, Any]) -> str:
    """The row of straggler for people."""
    made = ", ".join(f"{name} {count}" for name, count in found["connections"].items())
    return (
        f"one of {EVERY} connections at a {SLOWER}th of {FAST / MiB:g} MiB/s: "
        f"{_walls(found['costs'])}; rdl to the best other {told(found['to_best'])}, "
        f"{TOLD} {told(found['told_to_best'])}; "
        f"connections made: {made}"
    )


def told_tail(found: dict[str, Any]) -> str:
    """The row of tail for people."""
    return (
        f"one of {EVERY} connections at a {SLOWER}th, {found['wall']:.1f} s, "
        f"{found['connections']} connections made: the last {LAST:.0%} of the bytes took "
        f"{found['tail']:.2f} s, {found['share']:.1%} of the time "
        f"({found['closing']:.2f} s of it after the last byte)"
    )


def told_latency(found: dict[str, Any]) -> str:
    """The row of latency for people."""
    return (
        f"{ROUND_TRIP * 1000:.0f} ms round trip: {_walls(found['costs'])}; rdl without its start "
        f"({found['start']:.2f} s) to aria2c {told(found['to_aria2c'])}"
    )
