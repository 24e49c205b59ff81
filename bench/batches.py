"""A long list of small files: by threads of one process, and by the workers of a dask scheduler on
the same machine, which is to cost little more."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from distributed import LocalCluster

from bench.measure import interleaved
from bench.place import Bench
from bench.starting import MODULE, all_of
from tests.support.content import write_seeded

SMALL = 16 << 10
WORKERS = 2
MOST_OVERHEAD = 5.0
"""Milliseconds a file that dask may cost."""


def batch(bench: Bench, count: int, rounds: int) -> dict[str, Any]:
    """`wall`: milliseconds a file, the start of rdl and the connection to the scheduler with it;
    the scheduler and its workers are there before. `overhead`: what dask costs more."""
    folder = bench.public / "small"
    folder.mkdir()
    names = [f"{number}.bin" for number in range(count)]
    for number, name in enumerate(names):
        write_seeded(folder / name, SMALL, seed=number)
    listed = bench.folder / "batch.list"
    with (
        bench.server("http") as server,
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(bench.folder / "dask"),
        ) as cluster,
    ):
        listed.write_text("".join(f"{server.url}/small/{name}\n" for name in names))
        engines = {
            "threads": [],
            f"dask, {WORKERS} processes": [
                *("--engine", "dask", "--scheduler", cluster.scheduler_address)
            ],
        }

        def command(words: list[str], to: Path) -> list[str]:
            return [*MODULE, "get", "-q", "-i", str(listed), "-d", str(to), *words]

        costs = interleaved(
            {
                name: partial(all_of, bench, name, partial(command, words), names)
                for name, words in engines.items()
            },
            rounds,
        )
    shutil.rmtree(folder)
    wall = {name: 1000 * cost.wall / count for name, cost in costs.items()}
    threads, dask = wall.values()
    return {"files": count, "costs": costs, "wall": wall, "overhead": dask - threads}


def told_batch(found: dict[str, Any]) -> str:
    """The row for people."""
    rows = [f"| {found['files']} files of 16 KiB | ms a file | wall s |", "|---|---|---|"]
    for name, cost in found["costs"].items():
        rows.append(f"| {name} | {found['wall'][name]:.2f} | {cost.wall:.2f} |")
    wanted = f"wanted: {MOST_OVERHEAD:g} at most"
    return "\n".join([*rows, f"| dask costs more | {found['overhead']:.2f} | {wanted} |"])
