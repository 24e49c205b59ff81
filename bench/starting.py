"""What a start costs, and what each of many small files costs beside it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.clients import RDL
from bench.measure import Cost, best, interleaved, ratio, run, told
from bench.place import Bench, compare
from tests.support.content import write_seeded

SMALL = 64 << 10
TINY = 1 << 10
MODULE = [sys.executable, "-m", "rdl"]

Listed = Callable[[Path, Path], list[str]]
"""The command for a list of URLs and a folder."""


def start(bench: Bench, times: int) -> dict[str, Any]:
    """`rdl --version` beside an interpreter that does nothing, and `rdl get` of 1 KiB beside
    httpx that fetches it. `ratios`: of CPU and of wall seconds."""
    content, script = bench.content(TINY), Path(sys.executable).with_name("rdl")
    program = [str(script)] if script.exists() else MODULE
    with bench.server("http") as server:
        url = f"{server.url}/{content.path.name}"
        fetch = f"import httpx; assert len(httpx.get({url!r}).content) == {TINY}"
        get = [*program, "get", url, "-o", str(bench.output), "-q"]

        def fetched(_round: int) -> Cost:
            cost = run(get)
            bench.take("rdl", content)
            return cost

        costs = interleaved(
            {
                "rdl --version": lambda _: run([*program, "--version"]),
                "python -c pass": lambda _: run([sys.executable, "-c", "pass"]),
                "rdl get": fetched,
                "httpx.get": lambda _: run([sys.executable, "-c", fetch]),
            },
            times,
        )
    return {
        "costs": costs,
        "ratios": {
            "version": _both(costs["rdl --version"], costs["python -c pass"]),
            "get": _both(costs["rdl get"], costs["httpx.get"]),
        },
    }


def _both(ours: Cost, theirs: Cost) -> dict[str, float | None]:
    return {"cpu": ratio(ours.cpu, theirs.cpu), "wall": ratio(ours.wall, theirs.wall)}


def small(bench: Bench, count: int, rounds: int) -> dict[str, Any]:
    """Many files of 64 KiB from a list. `cpu`: milliseconds a file beyond the first, whose
    list of one is measured too; `to_best`: rdl's to the least of the others."""
    folder = bench.public / "small"
    folder.mkdir()
    for number in range(count):
        write_seeded(folder / f"{number}.bin", SMALL, seed=number)
    clients = {name: made for name, made in _clients().items() if shutil.which(made[0])}
    with bench.server("http") as server:
        trials = {}
        for label, many in (("one", 1), ("all", count)):
            names = [f"{number}.bin" for number in range(many)]
            urls, config = bench.folder / f"{label}.list", bench.folder / f"{label}.config"
            urls.write_text("".join(f"{server.url}/small/{name}\n" for name in names))
            config.write_text("".join(_curl_lines(f"{server.url}/small", names)))
            for name, (_, build) in clients.items():
                listed = config if name == "curl -Z" else urls
                trial = partial(all_of, bench, name, partial(build, listed), names)
                trials[f"{label} {name}"] = trial
        costs = interleaved(trials, rounds, step=len(clients) + 1)
    shutil.rmtree(folder)
    one, every = ({name: costs[f"{label} {name}"] for name in clients} for label in ("one", "all"))
    cpu = {name: 1000 * (every[name].cpu - one[name].cpu) / (count - 1) for name in clients}
    wall = {name: every[name].wall for name in clients}
    to_best = {"cpu": ratio(cpu["rdl"], best(cpu)), "wall": ratio(wall["rdl"], best(wall))}
    return {"files": count, "costs": every, "of_one": one, "cpu": cpu, "to_best": to_best}


def _clients() -> dict[str, tuple[str, Listed]]:
    """The program, and how it is told."""
    return {
        "rdl": (
            RDL.program,
            lambda listed, to: [*MODULE, "get", "-q", "-i", str(listed), "-d", str(to)],
        ),
        "curl -Z": (
            "curl",
            lambda listed, to: [
                "curl",
                "-q",
                "-sS",
                "--no-progress-meter",
                "-Z",
                "-K",
                str(listed),
                "--output-dir",
                str(to),
            ],
        ),
        "wget2": (
            "wget2",
            lambda listed, to: ["wget2", "--no-config", "-q", "-i", str(listed), "-P", str(to)],
        ),
        "aria2c -j8": (
            "aria2c",
            lambda listed, to: [
                "aria2c",
                "--no-conf",
                "-q",
                "-j8",
                "-i",
                str(listed),
                "-d",
                str(to),
            ],
        ),
    }


def _curl_lines(base: str, names: list[str]) -> list[str]:
    return [f'url = "{base}/{name}"\noutput = "{name}"\n' for name in names]


def all_of(
    bench: Bench, name: str, build: Callable[[Path], list[str]], names: list[str], _round: int
) -> Cost:
    """Fetch a list; every file is compared, and nothing else may be there."""
    to = bench.folder / "many"
    to.mkdir()
    cost = run(build(to))
    if sorted(path.name for path in to.iterdir()) != sorted(names):
        raise RuntimeError(f"{name} left other files than it was asked for")
    for one in names:
        compare(name, to / one, bench.public / "small" / one)
    shutil.rmtree(to)
    return cost


def told_start(found: dict[str, Any]) -> str:
    """The row of start for people."""
    each = ", ".join(
        f"{name} {1000 * cost.cpu:.0f} ms CPU {1000 * cost.wall:.0f} ms wall"
        for name, cost in found["costs"].items()
    )
    version, get = found["ratios"]["version"], found["ratios"]["get"]
    return (
        f"start: {each}; rdl --version to python {told(version['cpu'])} (CPU) and "
        f"{told(version['wall'])} (wall), rdl get to httpx {told(get['cpu'])} and "
        f"{told(get['wall'])}"
    )


def told_small(found: dict[str, Any]) -> str:
    """The row of small for people."""
    rows = [
        f"| {found['files']} files of 64 KiB | CPU ms a file | CPU s | wall s |",
        "|---|---|---|---|",
    ]
    for name, cost in found["costs"].items():
        rows.append(f"| {name} | {found['cpu'][name]:.2f} | {cost.cpu:.2f} | {cost.wall:.2f} |")
    to_best = found["to_best"]
    last = f"| rdl to the best other | {told(to_best['cpu'])} | | {told(to_best['wall'])} |"
    return "\n".join([*rows, last])
