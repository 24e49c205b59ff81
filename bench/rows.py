"""Every row of the bench: what it is called, what it does, and how much memory it takes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import (
    batches,
    cutting,
    deltas,
    doors,
    listing,
    load,
    pairs,
    reading,
    scale,
    sources,
    starting,
    uneven,
    whole,
)
from bench.place import SCHEMES, Bench
from bench.whole import table
from tests.support.content import MiB

THROTTLED, STRAGGLER, LATENCY, SMALLEST = 512 * MiB, 64 * MiB, 100 * MiB, 64 * MiB
ZIP, TABLE = 200 * MiB, 64 * MiB
INSERTION, PAIR, CUT = 64 * MiB, 64 * MiB, 256 * MiB
"""Bytes that these rows fetch, unless --size is less."""


def _own(chosen: Namespace) -> list[int]:
    return [chosen.size * MiB]


def _least(size: int) -> Callable[[Namespace], list[int]]:
    return lambda chosen: [min(size, chosen.size * MiB)]


def _large(chosen: Namespace) -> list[int]:
    return [chosen.size * MiB, chosen.large * MiB]


def _memory(chosen: Namespace) -> list[int]:
    return [*_least(SMALLEST)(chosen), chosen.large * MiB]


@dataclass(frozen=True, slots=True)
class Row:
    """`measure` returns plain data, which `told` turns into text. `key`: its name in JSON; None
    where its entries stand beside the others. `sizes`: bytes of the contents that it needs, the
    largest of which it fetches."""

    name: str
    about: str
    measure: Callable[[Bench, Namespace], Any]
    told: Callable[[Any], str]
    sizes: Callable[[Namespace], Sequence[int]] = _own
    key: str | None = ""

    def entries(self, data: Any) -> dict[str, Any]:
        """What JSON says of it."""
        return dict(data) if self.key is None else {self.key or self.name: data}


def _cat(bench: Bench, chosen: Namespace) -> Any:
    content = bench.content()
    with bench.server("http") as server:
        url = f"{server.url}/{content.path.name}"
        return reading.beside_curl(url, content.sha256, chosen.rounds)


def _cat_slow_connection(bench: Bench, chosen: Namespace) -> Any:
    content = bench.content()
    rate = chosen.rate * MiB
    return reading.beside_get(content.path, content.sha256, rate, chosen.rounds)


def _schemes(chosen: Namespace) -> list[str]:
    return chosen.scheme or list(SCHEMES)


def _delta(name: str, what: str, make: pairs.Make) -> Row:
    return Row(
        name,
        f"rdl sync, zsync and casync: {what}",
        lambda bench, chosen: deltas.beside_others(bench, make, chosen.rounds),
        deltas.told_beside_others,
        lambda chosen: [PAIR, PAIR + 1, PAIR + 2],
    )


ROWS = {
    row.name: row
    for row in (
        Row(
            "get",
            "the whole file by every client, over http and https",
            lambda bench, chosen: whole.beside_others(bench, _schemes(chosen), chosen.rounds),
            whole.told_beside_others,
            key=None,
        ),
        Row(
            "again",
            "a finished file run again",
            lambda bench, chosen: whole.again(bench, chosen.rounds),
            whole.told_again,
            key="run_again",
        ),
        Row(
            "kill",
            "SIGKILL half-way, and the run that continues",
            lambda bench, chosen: whole.kill_and_resume(bench),
            whole.told_kill,
            key="kill_and_resume",
        ),
        Row(
            "cat-slow-connection",
            "cat and get where one connection of eight is slow",
            _cat_slow_connection,
            reading.told_beside_get,
            key="cat_beside_get",
        ),
        Row(
            "cat",
            "cat and curl into sha256sum",
            _cat,
            lambda costs: table("http into sha256sum (not counted)", costs),
        ),
        Row(
            "cat-slow-reader",
            "cat with a reader of 1 MiB/s in little room",
            lambda bench, chosen: reading.slow_reader(bench.size, chosen.seconds),
            reading.told_slow_reader,
            key="cat_slow_reader",
        ),
        Row(
            "further",
            "every client at two sizes: the CPU of a further GiB",
            lambda bench, chosen: whole.further(
                bench, _schemes(chosen), chosen.large * MiB, chosen.rounds
            ),
            whole.told_further,
            _large,
        ),
        Row(
            "digest",
            "https with SHA-256: rdl, aria2c, and what it is made of",
            lambda bench, chosen: whole.digest(bench, chosen.rounds),
            whole.told_digest,
        ),
        Row(
            "throttled",
            "a server that gives each connection 4 MiB/s",
            lambda bench, chosen: uneven.throttled(
                bench, min(THROTTLED, bench.size), chosen.rounds
            ),
            uneven.told_throttled,
            _least(THROTTLED),
        ),
        Row(
            "straggler",
            "a server on which one connection of four is twenty times slower",
            lambda bench, chosen: uneven.straggler(
                bench, min(STRAGGLER, bench.size), chosen.rounds
            ),
            uneven.told_straggler,
            _least(STRAGGLER),
        ),
        Row(
            "tail",
            "how long the last hundredth of the bytes takes there",
            lambda bench, chosen: uneven.tail(bench, chosen.tail_seconds),
            uneven.told_tail,
        ),
        Row(
            "links",
            "links that live two seconds, in a download of half a minute",
            lambda bench, chosen: sources.links(bench, chosen.tail_seconds),
            sources.told_links,
            lambda chosen: [int(sources.CONNECTIONS * sources.RATE * chosen.tail_seconds)],
        ),
        Row(
            "mirrors",
            "two mirrors of different speed, and one that sends wrong bits",
            lambda bench, chosen: sources.mirrors(bench, chosen.tail_seconds),
            sources.told_mirrors,
            lambda chosen: [int(sum(sources.RATES) * chosen.tail_seconds)],
        ),
        Row(
            "latency",
            "a round trip of 80 ms",
            lambda bench, chosen: uneven.latency(bench, min(LATENCY, bench.size), chosen.rounds),
            uneven.told_latency,
            _least(LATENCY),
        ),
        Row(
            "small",
            "many files of 64 KiB from a list",
            lambda bench, chosen: starting.small(bench, chosen.files, chosen.rounds),
            starting.told_small,
            lambda chosen: [chosen.files * starting.SMALL],
        ),
        Row(
            "list",
            "what each file of a list of 20 times --files costs",
            lambda bench, chosen: listing.listed(bench, 20 * chosen.files),
            listing.told_listed,
            lambda chosen: [20 * chosen.files * listing.PAGE],
        ),
        Row(
            "scheduler",
            "what dask needs for each call",
            lambda _bench, chosen: listing.scheduled(20 * chosen.files),
            listing.told_scheduled,
            lambda _chosen: [],
        ),
        Row(
            "batch",
            "many files of 16 KiB by threads, and by dask's workers on this machine",
            lambda bench, chosen: batches.batch(bench, chosen.list, chosen.rounds),
            batches.told_batch,
            lambda chosen: [chosen.list * batches.SMALL],
        ),
        Row(
            "memory",
            "peak memory of rdl at two sizes",
            lambda bench, chosen: whole.memory(
                bench, min(SMALLEST, bench.size), chosen.large * MiB, chosen.rounds
            ),
            whole.told_memory,
            _memory,
        ),
        Row(
            "start",
            "what a start costs beside that of Python and of httpx",
            lambda bench, chosen: starting.start(bench, chosen.starts),
            starting.told_start,
            lambda chosen: [],
        ),
        Row(
            "zip",
            "a zip of 2000 members: listed, and one read",
            lambda bench, chosen: doors.zipped(bench, min(ZIP, bench.size)),
            doors.told_zipped,
            _least(ZIP),
        ),
        Row(
            "parquet",
            "one column of 50 of a parquet file",
            lambda bench, chosen: doors.table(bench, min(TABLE, bench.size)),
            doors.told_table,
            _least(TABLE),
        ),
        _delta("delta-insert", "a little put in and taken away", pairs.insertion(INSERTION)),
        _delta("delta-wheel", "two releases of a wheel", pairs.wheels),
        _delta("delta-deb", "two versions of a Debian package", pairs.packages),
        Row(
            "delta-memory",
            "peak memory of rdl sync with a large seed",
            lambda bench, chosen: deltas.memory(bench, bench.size),
            deltas.told_memory,
            lambda chosen: [chosen.size * MiB, chosen.size * MiB + 1],
        ),
        Row(
            "chunking",
            "cutting beside SHA-256, rdl manifest make beside sha256sum",
            lambda bench, chosen: cutting.cutting(bench, min(CUT, bench.size), chosen.rounds),
            cutting.told_cutting,
            _least(CUT),
        ),
        Row(
            "serve",
            "a hundred readers of what rdl serve is fetching",
            lambda bench, chosen: load.load(bench, chosen.rounds),
            load.told_load,
            key="serve",
        ),
        Row(
            "scale",
            "a file of 1 TiB that is made up: begun, looked at, continued",
            lambda bench, chosen: scale.scale(bench, int(chosen.scale * (1 << 30))),
            scale.told_scale,
            lambda chosen: [512 * MiB],
        ),
    )
}
