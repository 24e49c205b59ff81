"""What each file of a long list costs `rdl get -i`, and each call costs a scheduler of dask:
the constants of docs/scale.md."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.measure import PATIENCE, Cost, run
from bench.place import Bench, compare
from tests.support.content import write_seeded

KiB = 1 << 10
PAGE = 4 * KiB
"""What a smaller file takes."""
RDL = [sys.executable, "-m", "rdl", "get", "-q", "--json"]


def listed(bench: Bench, count: int) -> dict[str, Any]:
    """`count` files of 1 KiB, and a tenth of them: all fetched, then all once more. Of each
    file, by `count` alone: milliseconds of CPU; by the difference: KiB of memory."""
    folder, to = bench.public / "many", bench.folder / "listed"
    folder.mkdir()
    names = [f"{number}.bin" for number in range(count)]
    for number, name in enumerate(names):
        write_seeded(folder / name, KiB, seed=number)
    costs: dict[tuple[str, int], Cost] = {}
    with bench.server("http") as server:
        for many in (count // 10, count):
            urls, results = bench.folder / "list", bench.folder / "results"
            urls.write_text("".join(f"{server.url}/many/{name}\n" for name in names[:many]))
            fetch = [*RDL, "-i", str(urls), "-d", str(to)]
            for what in ("new", "again"):
                costs[what, many] = _kept(fetch, results)
            for name in names[:many]:
                compare("rdl", to / name, folder / name)
            shutil.rmtree(to)
            size = results.stat().st_size
    shutil.rmtree(folder)
    further = costs["new", count].rss - costs["new", count // 10].rss
    return {
        "files": count,
        "cpu": {what: 1000 * costs[what, count].cpu / count for what in ("new", "again")},
        "wall": {what: costs[what, count].wall for what in ("new", "again")},
        "memory": 1024 * further / (count - count // 10),
        "json": size / count,
    }


def _kept(command: list[str], results: Path) -> Cost:
    """Its stdout goes to a file."""
    shell = ["sh", "-c", 'out=$1; shift; exec "$@" > "$out"', "sh", str(results), *command]
    return run(shell)


def told_listed(data: dict[str, Any]) -> str:
    new, again = (f"{data['cpu'][what]:.2f} ms of CPU" for what in ("new", "again"))
    return (
        f"a list of {data['files']} files of 1 KiB: {new} each ({data['wall']['new']:.1f} s), "
        f"{again} each when they are here ({data['wall']['again']:.1f} s), "
        f"{data['memory']:.2f} KiB of memory and {data['json']:.0f} bytes of JSON each"
    )


def scheduled(count: int) -> dict[str, Any]:
    """Empty calls by a LocalCluster of two processes. RuntimeError where there is no dask."""
    command = [sys.executable, "-m", "bench.listing", str(count)]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
    )
    if ended.returncode:
        raise RuntimeError(ended.stderr.decode(errors="replace").strip()[-200:])
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def told_scheduled(data: dict[str, Any]) -> str:
    return (
        f"dask {data['version']}, {data['calls']} empty calls in two processes: "
        f"{data['rate']:.0f} a second, {data['cpu']:.2f} ms of CPU of client and scheduler and "
        f"{data['memory']:.1f} KiB of their memory each"
    )


def _nothing(number: int) -> int:
    return number


def _schedule(count: int) -> None:
    import distributed
    import psutil

    here = psutil.Process(os.getpid())
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        client.gather(client.map(_nothing, range(100)))
        memory, cpu, begun = here.memory_info().rss, time.process_time(), time.monotonic()
        calls = client.map(_nothing, range(100, 100 + count))
        client.gather(calls)
        wall, cpu = time.monotonic() - begun, time.process_time() - cpu
        found = {
            "version": distributed.__version__,
            "calls": count,
            "rate": count / wall,
            "cpu": 1000 * cpu / count,
            "memory": (here.memory_info().rss - memory) / count / KiB,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    _schedule(int(sys.argv[1]))
