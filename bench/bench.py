"""rdl beside curl and others: the same file from nginx on loopback, by http and by https.

Rounds are interleaved and begin with another client each time, so that a noisy minute, and
what the one before left, hits every client; the table shows medians.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.clients import CLIENTS, Client
from bench.measure import Cost, median, run
from bench.reading import (
    beside_curl,
    beside_get,
    slow_reader,
    told_beside_get,
    told_slow_reader,
)
from tests.support.certificates import Certificates, make_certificates
from tests.support.content import MiB, sha256_of, write_seeded
from tests.support.program import Download
from tests.support.servers import Recipe, RunningServer, Site, nginx, program_path, running

MEMORY = Path("/dev/shm")
ROWS = ("get", "again", "kill", "cat-slow-connection", "cat", "cat-slow-reader")


def serve(site: Site) -> list[str]:
    """nginx without an access log."""
    return nginx(site, log=False)


SCHEMES = {
    "http": Recipe("http", "nginx", serve),
    "https": Recipe("https", "nginx", serve, tls=True),
}


class Bench:
    """A folder in memory with the content, the certificates and room for one output."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.public = folder / "public"
        self.public.mkdir()
        self.sha256 = write_seeded(self.public / "data.bin", size, seed=1)
        self.certificates: Certificates = make_certificates(folder)
        self.output = folder / "output.bin"

    @contextmanager
    def server(self, scheme: str, rate: int | None = None) -> Iterator[RunningServer]:
        """nginx for one scheme, throttled or not."""
        private = Path(tempfile.mkdtemp(dir=self.folder))
        certificates = self.certificates
        with running(
            SCHEMES[scheme], self.public, private, rate=rate, certificates=certificates
        ) as server:
            yield server

    def fetch(self, client: Client, url: str) -> Cost:
        """One measured download; the output is removed afterwards."""
        cost = run(client.build(url, self.output, self.certificates.authority))
        if self.output.stat().st_size != self.size:
            raise RuntimeError(f"{client.name} left {self.output.stat().st_size} bytes")
        return cost

    def _warm(self) -> None:
        """Touch as much memory as the output will need: a virtual machine gets pages from its
        host when they are first used, and whoever comes first would pay for that."""
        block = bytes(MiB)
        with self.output.open("wb") as file:
            for _ in range(self.size // MiB):
                file.write(block)
        self.output.unlink()

    def compare(self, scheme: str, clients: list[Client], rounds: int) -> dict[str, Cost]:
        """Medians of every client over interleaved rounds."""
        costs: dict[str, list[Cost]] = {client.name: [] for client in clients}
        with self.server(scheme) as server:
            for number in range(rounds):
                first = number % len(clients)  # who follows whom matters: memory that was freed
                for client in clients[first:] + clients[:first]:  # long ago costs more again
                    self._warm()
                    costs[client.name].append(self.fetch(client, f"{server.url}/data.bin"))
                    self.output.unlink()
        return {name: median(found) for name, found in costs.items()}

    def run_again(self, rounds: int) -> Cost:
        """A finished file run again: what it costs to find out that there is nothing to do."""
        with self.server("http") as server:
            url = f"{server.url}/data.bin"
            self.fetch(CLIENTS[0], url)
            cost = median([self.fetch(CLIENTS[0], url) for _ in range(rounds)])
        self.output.unlink()
        return cost

    def kill_and_resume(self) -> dict[str, int]:
        """SIGKILL half-way: bytes that the killed run had, and how many of them were lost."""
        with self.server("http", rate=max(MiB, self.size // 20)) as server:
            url = f"{server.url}/data.bin"
            with Download(url, self.output) as killed:
                if not killed.wait_for("progress", bytes_present=self.size // 2):
                    raise RuntimeError(f"rdl ended before it was killed: {killed.said}")
                time.sleep(0.1)
                killed.kill()
                had = killed.events("progress")[-1]["bytes_present"]
            with Download(url, self.output) as resumed:
                if resumed.finish() != 0:
                    raise RuntimeError(f"rdl did not resume: {resumed.said}")
                reused = resumed.result()["bytes_reused"]
        if sha256_of(self.output) != self.sha256:
            raise RuntimeError("the resumed file is wrong")
        self.output.unlink()
        return {"had": had, "reused": reused, "lost": max(0, had - reused)}


def table(scheme: str, medians: dict[str, Cost]) -> str:
    """A table in Markdown; the ratio is CPU to curl's CPU."""
    base = medians.get("curl")
    rows = [f"| {scheme} | CPU s | wall s | peak MiB | CPU to curl |", "|---|---|---|---|---|"]
    for name, cost in medians.items():
        ratio = f"{cost.cpu / base.cpu:.2f}" if base else "-"
        rows.append(f"| {name} | {cost.cpu:.2f} | {cost.wall:.2f} | {cost.rss:.0f} | {ratio} |")
    return "\n".join(rows)


def measured(bench: Bench, chosen: argparse.Namespace) -> dict[str, Any]:
    """The rows that were asked for."""
    rows, rounds, found = chosen.row or ROWS, chosen.rounds, dict[str, Any]()
    if "get" in rows:
        clients = [client for client in CLIENTS if client.is_installed()]
        for scheme in chosen.scheme or SCHEMES:
            found[scheme] = bench.compare(scheme, clients, rounds)
    if "again" in rows:
        found["run_again"] = bench.run_again(rounds)
    if "kill" in rows:
        found["kill_and_resume"] = bench.kill_and_resume()
    if "cat-slow-connection" in rows:
        data, rate = bench.public / "data.bin", chosen.rate * MiB
        found["cat_beside_get"] = beside_get(data, bench.sha256, rate, rounds)
    if "cat" in rows:
        with bench.server("http") as server:
            url = f"{server.url}/data.bin"
            found["cat"] = beside_curl(url, bench.sha256, rounds)
    if "cat-slow-reader" in rows:
        found["cat_slow_reader"] = slow_reader(bench.size, chosen.seconds)
    return found


def report(found: dict[str, Any], size: int, rounds: int) -> str:
    """Everything for people."""
    lines = [f"{size // MiB} MiB, medians of {rounds} rounds"]
    lines += [f"\n{table(scheme, found[scheme])}" for scheme in SCHEMES if scheme in found]
    if "cat" in found:
        lines.append(f"\n{table('http into sha256sum (not counted)', found['cat'])}")
    lines.append("")
    if again := found.get("run_again"):
        lines.append(f"finished file run again: {again.cpu:.2f} s CPU, {again.wall:.2f} s wall")
    if killed := found.get("kill_and_resume"):
        had, lost = killed["had"] / MiB, killed["lost"] / MiB
        lines.append(f"killed at {had:.1f} MiB: {lost:.2f} MiB fetched again")
    if "cat_beside_get" in found:
        lines.append(told_beside_get(found["cat_beside_get"]))
    if "cat_slow_reader" in found:
        lines.append(told_slow_reader(found["cat_slow_reader"]))
    return "\n".join(lines)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="MiB to fetch (1024)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every client (5)")
    parser.add_argument("--scheme", choices=SCHEMES, action="append", help="http, https (both)")
    parser.add_argument("--row", choices=ROWS, action="append", help="only these rows (all)")
    parser.add_argument(
        "--rate", type=int, default=10, help="MiB/s a connection where one is slow (10)"
    )
    parser.add_argument(
        "--seconds", type=int, default=10, help="how long the slow reader is slow (10)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser.parse_args()


def obstacle(size: int) -> str:
    """Why the bench cannot run here; empty when it can."""
    missing = [name for name in ("nginx", "openssl") if program_path(name) is None]
    if missing:
        return f"{' and '.join(missing)} must be installed (Debian: apt-get install nginx openssl)"
    if not MEMORY.is_dir():
        return f"{MEMORY} is not there"
    if shutil.disk_usage(MEMORY).free < 2 * size + 64 * MiB:
        return f"{MEMORY} has no room for twice {size // MiB} MiB; use --size"
    return ""


def main() -> int:
    """Exit code 0 when everything was measured, 2 when it cannot be measured here."""
    chosen = options()
    size = chosen.size * MiB
    if problem := obstacle(size):
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="rdl-bench-", dir=MEMORY) as folder:
        found = measured(Bench(Path(folder), size), chosen)
    if chosen.json:
        about = {"size": size, "rounds": chosen.rounds}
        print(json.dumps(about | found, default=asdict))
    else:
        print(report(found, size, chosen.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
