"""Whole files at full speed: rdl beside the others, again, after a kill, and at two sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from bench.clients import CLIENTS, CURL, RDL, Client, aria2_checking, installed, rdl_with
from bench.measure import Cost, best, interleaved, median, ratio, run, told
from bench.place import SCHEMES, Bench, Content
from tests.support.content import MiB, sha256_of
from tests.support.program import Download

GiB = 1 << 30


def beside_others(bench: Bench, schemes: Sequence[str], rounds: int) -> dict[str, dict[str, Cost]]:
    """Every client that is installed, by every scheme."""
    found, content = {}, bench.content()
    for scheme in schemes:
        with bench.server(scheme) as server:
            url = f"{server.url}/{content.path.name}"
            trials = {
                client.name: partial(_fetched, bench, client, url, content)
                for client in installed(*CLIENTS)
            }
            found[scheme] = interleaved(trials, rounds)
    return found


def _fetched(bench: Bench, client: Client, url: str, content: Content, _round: int) -> Cost:
    return bench.fetch(client, url, content)


def again(bench: Bench, rounds: int) -> Cost:
    """A finished file run again: what it costs to find out that there is nothing to do."""
    content = bench.content()
    with bench.server("http") as server:
        url = f"{server.url}/{content.path.name}"
        command = RDL.build(url, bench.output, bench.certificates.authority)
        run(command)
        cost = median([run(command) for _ in range(rounds)])
    bench.take("rdl", content)
    return cost


def kill_and_resume(bench: Bench) -> dict[str, int]:
    """SIGKILL half-way: bytes that the killed run had, and how many of them were lost."""
    content, output = bench.content(), bench.output
    with bench.server("http", rate=max(MiB, content.size // 20)) as server:
        url = f"{server.url}/{content.path.name}"
        with Download(url, output) as killed:
            if not killed.wait_for("progress", bytes_present=content.size // 2):
                raise RuntimeError(f"rdl ended before it was killed: {killed.said}")
            time.sleep(0.1)
            killed.kill()
            had = killed.events("progress")[-1]["bytes_present"]
        with Download(url, output) as resumed:
            if resumed.finish() != 0:
                raise RuntimeError(f"rdl did not resume: {resumed.said}")
            reused = resumed.result()["bytes_reused"]
    if sha256_of(output) != content.sha256:
        raise RuntimeError("the resumed file is wrong")
    output.unlink()
    return {"had": had, "reused": reused, "lost": max(0, had - reused)}


def further(
    bench: Bench, schemes: Sequence[str], large: int, rounds: int
) -> dict[str, dict[str, Any]]:
    """Every client at two sizes, in turn: CPU seconds at each, and of a further GiB, which is
    free of what a start costs. `to_best`: rdl's to the least of the others."""
    sizes = {"small": bench.size, "large": large}
    clients, found = installed(*CLIENTS), {}
    for scheme in schemes:
        trials = {}
        with bench.server(scheme) as server:
            for label, size in sizes.items():
                content = bench.content(size)
                url = f"{server.url}/{content.path.name}"
                for client in clients:
                    trial = partial(_fetched, bench, client, url, content)
                    trials[f"{label} {client.name}"] = trial
            costs = interleaved(trials, rounds, step=len(clients) + 1)
        found[scheme] = _compared(costs, [client.name for client in clients], sizes)
    return found


def _compared(costs: dict[str, Cost], names: list[str], sizes: dict[str, int]) -> dict[str, Any]:
    at = {label: {name: costs[f"{label} {name}"] for name in names} for label in sizes}
    figures = {label: {name: at[label][name].cpu for name in names} for label in sizes}
    apart = (sizes["large"] - sizes["small"]) / GiB
    figures["further"] = {
        name: (figures["large"][name] - figures["small"][name]) / apart for name in names
    }
    to_best = {label: ratio(one["rdl"], best(one)) for label, one in figures.items()}
    return {"sizes": sizes, **at, "further": figures["further"], "to_best": to_best}


def digest(bench: Bench, rounds: int) -> dict[str, Any]:
    """The whole by https with its SHA-256 checked, in wall seconds: rdl, aria2c, rdl without
    the check, and sha256sum alone, which reads the file from memory."""
    content = bench.content()
    sums = bench.folder / "sums"
    sums.write_text(f"{content.sha256}  {content.path}\n")
    checked = {"rdl --sha256": rdl_with("--sha256", content.sha256), "rdl": RDL}
    for client in installed(aria2_checking(content.sha256)):
        checked[client.name] = client
    with bench.server("https") as server:
        url = f"{server.url}/{content.path.name}"
        trials: dict[str, Callable[[int], Cost]] = {
            name: partial(_fetched, bench, client, url, content) for name, client in checked.items()
        }
        trials["sha256sum"] = lambda _: run(["sha256sum", "--check", "--status", str(sums)])
        costs = interleaved(trials, rounds)
    wall = {name: cost.wall for name, cost in costs.items()}
    return {
        "costs": costs,
        "to_aria2c": ratio(wall["rdl --sha256"], wall.get("aria2c -x8 --checksum")),
        "to_the_larger": ratio(wall["rdl --sha256"], max(wall["rdl"], wall["sha256sum"])),
    }


def memory(bench: Bench, small: int, large: int, rounds: int) -> dict[str, Any]:
    """Peak memory of rdl, in MiB, at two sizes; `ratio`: of the larger to the smaller."""
    trials = {}
    with bench.server("http") as server:
        for label, size in (("small", small), ("large", large)):
            content = bench.content(size)
            url = f"{server.url}/{content.path.name}"
            trials[label] = partial(_fetched, bench, RDL, url, content)
        costs = interleaved(trials, rounds)
    peaks = {label: cost.rss for label, cost in costs.items()}
    sizes = {"small": small, "large": large}
    return {"sizes": sizes, "peak": peaks, "ratio": ratio(peaks["large"], peaks["small"])}


def table(title: str, medians: dict[str, Cost]) -> str:
    """A table in Markdown; the ratio is CPU to curl's CPU."""
    base = medians.get(CURL.name)
    rows = [f"| {title} | CPU s | wall s | peak MiB | CPU to curl |", "|---|---|---|---|---|"]
    for name, cost in medians.items():
        to_curl = told(ratio(cost.cpu, base.cpu if base else None))
        rows.append(f"| {name} | {cost.cpu:.2f} | {cost.wall:.2f} | {cost.rss:.0f} | {to_curl} |")
    return "\n".join(rows)


def told_beside_others(found: dict[str, dict[str, Cost]]) -> str:
    """The row of beside_others for people."""
    return "\n\n".join(table(scheme, found[scheme]) for scheme in SCHEMES if scheme in found)


def told_again(cost: Cost) -> str:
    """The row of again for people."""
    return f"finished file run again: {cost.cpu:.2f} s CPU, {cost.wall:.2f} s wall"


def told_kill(found: dict[str, int]) -> str:
    """The row of kill_and_resume for people."""
    had, lost = found["had"] / MiB, found["lost"] / MiB
    return f"killed at {had:.1f} MiB: {lost:.2f} MiB fetched again"


def told_further(found: dict[str, dict[str, Any]]) -> str:
    """The row of further for people."""
    tables = []
    for scheme, one in found.items():
        small, large = (one["sizes"][label] / MiB for label in ("small", "large"))
        head = f"| {scheme}, CPU s | {small:g} MiB | {large:g} MiB | of a further GiB |"
        rows = [head, "|---|---|---|---|"]
        rows += [
            f"| {name} | {one['small'][name].cpu:.2f} | {one['large'][name].cpu:.2f} | {more:.2f} |"
            for name, more in one["further"].items()
        ]
        ratios = [told(one["to_best"][label]) for label in ("small", "large", "further")]
        tables.append("\n".join([*rows, f"| rdl to the best other | {' | '.join(ratios)} |"]))
    return "\n\n".join(tables)


def told_digest(found: dict[str, Any]) -> str:
    """The row of digest for people."""
    each = ", ".join(f"{name} {cost.wall:.2f} s" for name, cost in found["costs"].items())
    to_larger = told(found["to_the_larger"])
    return (
        f"https with SHA-256: {each}; rdl --sha256 to aria2c {told(found['to_aria2c'])}, "
        f"to the larger of its plain download and sha256sum {to_larger}"
    )


def told_memory(found: dict[str, Any]) -> str:
    """The row of memory for people."""
    each = [
        f"{found['sizes'][label] / MiB:g} MiB: {peak:.1f} MiB"
        for label, peak in found["peak"].items()
    ]
    return f"peak memory of rdl, {', '.join(each)}; ratio {told(found['ratio'])}"
