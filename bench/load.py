"""A hundred readers of one file that `rdl serve --upstream` is fetching, and nginx beside it.

The upstream is nginx, whose access log says what it sent. Readers are of one thread of the bench.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.crowd import Reader, Span, connected, places, read
from bench.measure import ENVIRONMENT, high_water
from bench.place import Bench, Content
from tests.support.content import MiB
from tests.support.servers import Recipe, RunningServer, nginx, running

READERS, STALLED = 100, 200
FETCH_SECONDS = 16.0
"""How long the upstream takes where somebody joins at the half."""
TICKS = os.sysconf("SC_CLK_TCK")
GiB = 1 << 30
RDL = [sys.executable, "-m", "rdl", "serve", "--bind", "127.0.0.1:0", "--readers", "1000"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """`rdl serve` in front of `upstream`, with nothing kept yet."""

    url: str
    process: subprocess.Popen[str]
    upstream: RunningServer

    def sent(self) -> int:
        """Bytes of bodies that the upstream sent for requests that are over."""
        return sum(size for _, status, size in self.upstream.requests() if status in (200, 206))


def cpu_of(pid: int) -> float:
    """User and system seconds so far (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def _nginx(bench: Bench) -> Iterator[RunningServer]:
    private = Path(tempfile.mkdtemp(dir=bench.folder))
    with running(Recipe("nginx", "nginx", nginx), bench.public, private) as server:
        yield server
    shutil.rmtree(private)


@contextmanager
def _proxy(bench: Bench, content: Content, *options: str) -> Iterator[Proxy]:
    cache = Path(tempfile.mkdtemp(dir=bench.folder))
    with _nginx(bench) as upstream:
        command = [*RDL, "--upstream", upstream.url, "--cache", str(cache), *options]
        process = subprocess.Popen(
            command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            found = re.search(r"at (http://[^ ]*/);", said)
            if not found:
                raise RuntimeError(f"rdl serve said {said!r}")
            yield Proxy(f"{found[1]}{content.path.name}", process, upstream)
        finally:
            process.terminate()
            process.wait(20)
            process.stderr.close()
            shutil.rmtree(cache)


def _crowd(url: str, pid: int, content: Content) -> dict[str, float]:
    """What so many readers of all of it cost the server `pid`."""
    before, begun = cpu_of(pid), time.monotonic()
    with connected(url, places(content.size, READERS)) as readers:
        read(url, content.path, readers)
    cpu, wall = cpu_of(pid) - before, time.monotonic() - begun
    served = READERS * content.size / GiB
    return {"cpu_per_gib": cpu / served, "wall": wall, "rss": high_water(pid)}


def load(bench: Bench, rounds: int) -> dict[str, Any]:
    """Medians, and of the spreads the worst."""
    content = bench.content()
    found: dict[str, list[dict[str, float]]] = {"fetching": [], "again": [], "nginx": []}
    fetched = []
    for _ in range(rounds):
        with _proxy(bench, content) as proxy:
            found["fetching"].append(_crowd(proxy.url, proxy.process.pid, content))
            found["again"].append(_crowd(proxy.url, proxy.process.pid, content))
            fetched.append(_settled(proxy) / content.size)
        with _nginx(bench) as server:
            url = f"{server.url}/{content.path.name}"
            found["nginx"].append(_crowd(url, server.process.pid, content))
    return {
        "readers": READERS,
        "size": content.size,
        "upstream_to_size": max(fetched),
        "late": max(_late(bench, content) for _ in range(rounds)),
        "stalled": _median([_stalled(bench, content) for _ in range(rounds)]),
        **{name: _median(rows) for name, rows in found.items()},
    }


def _median(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _settled(proxy: Proxy) -> int:
    """What the upstream sent, when nothing is added any more."""
    before = -1
    while before != (now := proxy.sent()):
        before = now
        time.sleep(0.3)
    return now


def _late(bench: Bench, content: Content) -> float:
    """How many seconds after the others one ends that joins at the half."""
    rate = f"{max(1, int(content.size / FETCH_SECONDS / 1024))}k"
    whole: list[Span] = [(0, content.size)]
    with (
        _proxy(bench, content, "--limit-rate", rate) as proxy,
        connected(proxy.url, [whole] * 3) as early,
        connected(proxy.url, []) as none,
    ):
        late = Reader(list(whole))
        none.append(late)

        def told(one: Reader) -> Sequence[Reader]:
            if one is not early[0] or one.at < content.size // 2 or len(none) == 0:
                return ()
            none.clear()
            host, port = proxy.url.split("/")[2].split(":")
            late.sock.connect((host, int(port)))
            late.ask(proxy.url)
            return (late,)

        try:
            read(proxy.url, content.path, early, told)
        finally:
            late.sock.close()
        return late.ended - max(one.ended for one in early)


def _stalled(bench: Bench, content: Content) -> dict[str, float]:
    """Seconds that one reader takes, alone and beside many that take nothing, each of a file that
    is being fetched."""
    seconds = {}
    for name, count in (("alone", 0), ("beside", STALLED)):
        with (
            _proxy(bench, content) as proxy,
            connected(proxy.url, [[(0, content.size)]] * count, 4096),
            connected(proxy.url, [[(0, content.size)]]) as readers,
        ):
            begun = time.monotonic()
            read(proxy.url, content.path, readers)
            seconds[name] = time.monotonic() - begun
    return seconds


def told_load(data: dict[str, Any]) -> str:
    """A table, and what else was seen."""
    lines = [
        f"{data['readers']} readers of all of {data['size'] // MiB} MiB, from anywhere on",
        f"{'':<24}{'CPU s a GiB served':>20}{'wall s':>10}{'peak MiB':>10}",
    ]
    for name, shown in (
        ("fetching", "rdl, while it fetches"),
        ("again", "rdl, once more"),
        ("nginx", "nginx, the file"),
    ):
        row = data[name]
        lines.append(
            f"{shown:<24}{row['cpu_per_gib']:>20.3f}{row['wall']:>10.1f}{row['rss']:>10.0f}"
        )
    times = data["fetching"]["cpu_per_gib"] / data["nginx"]["cpu_per_gib"]
    stalled = data["stalled"]
    return "\n".join(
        [
            *lines,
            f"CPU to nginx {times:.2f}; upstream bytes to size {data['upstream_to_size']:.4f}",
            f"who joins at the half ends {data['late']:+.2f} s after the others",
            f"one reader {stalled['alone']:.2f} s, beside {STALLED} that take nothing "
            f"{stalled['beside']:.2f} s",
        ]
    )
