"""What it takes to make a new version of a file out of an old one: rdl sync, zsync, casync.

All read from one nginx, each with what its own program says of the new file, with the defaults;
what was sent is from the access log. Programs that are not installed are left out.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.measure import Cost, interleaved, ratio, run, told
from bench.pairs import Absent, Make, Pair
from bench.place import SEED, Bench, compare
from rdl.core.caibx import parse_caibx
from tests.support.content import MiB, write_seeded
from tests.support.servers import Recipe, Site, nginx, running

LOG = "places.log"
ROW = "$request_method $status $body_bytes_sent $bytes_sent $request_length $uri"
MEMORY, SHARE = 72, 0.002
"""Wanted: no more MiB than this and this share of the seeds."""
CHANGED = 100
"""Bytes that are other where one thing has changed."""
CONTENT, TO_ZSYNC = 0.01, 0.95
"""Wanted: of the file where little is put in; of what zsync is sent."""
RDL = [sys.executable, "-m", "rdl"]


@dataclass(frozen=True, slots=True)
class Sent:
    """`control`: bytes that say what is in the file, `content`: those of it, `heads`: those of all
    requests and of the heads of their answers."""

    requests: int
    control: int
    content: int
    heads: int


@dataclass(frozen=True, slots=True)
class Client:
    """`prepare(new)` is run once beside the new file; `build(url, old, out)` is what is measured.
    `control`: how the names end of what says what is in the file."""

    program: str
    prepare: Callable[[Path], list[str]]
    build: Callable[[str, Path, Path], list[str]]
    control: str


def _rdl(url: str, old: Path, out: Path) -> list[str]:
    return [*RDL, "sync", url, "--seed", str(old), "-o", str(out), "-q"]


def _zsync(url: str, old: Path, out: Path) -> list[str]:
    """It begins its file where it stands."""
    there = ["env", "-C", str(out.parent)]
    return [*there, "zsync", "-q", "-i", str(old), "-o", str(out), f"{url}.zsync"]


def _casync(url: str, old: Path, out: Path) -> list[str]:
    return ["casync", "extract", f"--seed={old}", f"--store={url}.castr", f"{url}.caibx", str(out)]


CLIENTS = {
    "rdl": Client(
        sys.executable, lambda new: [*RDL, "manifest", "make", str(new), "-q"], _rdl, ".rdlm"
    ),
    "zsync": Client(
        "zsync",
        lambda new: ["zsyncmake", "-u", new.name, "-o", f"{new}.zsync", str(new)],
        _zsync,
        ".zsync",
    ),
    "casync": Client(
        "casync",
        lambda new: ["casync", "make", f"--store={new}.castr", f"{new}.caibx", str(new)],
        _casync,
        ".caibx",
    ),
}


def _nginx(site: Site) -> list[str]:
    log = site.private / LOG
    return nginx(site, f"log_format place '{ROW}'; access_log {log} place;", log=True)


def _settled(log: Path, before: int) -> list[list[str]]:
    """The rows after so many when nothing is added any more."""
    rows: list[list[str]] = []
    while True:
        time.sleep(0.2)
        now = [line.split() for line in log.read_text().splitlines()[before:]]
        if now and len(now) == len(rows):
            return now
        rows = now


def _sent(rows: list[list[str]], control: str) -> Sent:
    says, content, heads = 0, 0, 0
    for _, status, body, whole, asked, place in rows:
        size = int(body) if status in ("200", "206") else 0
        heads += int(whole) - size + int(asked)
        if place.endswith(control):
            says += size
        else:
            content += size
    return Sent(len(rows), says, content, heads)


@dataclass(frozen=True, slots=True)
class Stage:
    """A pair whose new file is at `url`; `log`: what was sent."""

    pair: Pair
    url: str
    log: Path
    out: Path

    def fetch(self, client: Client, sent: list[Sent], _: int = 0) -> Cost:
        """One run, compared with what is right; what was sent for it is put to `sent`."""
        before = len(self.log.read_text().splitlines()) if self.log.exists() else 0
        cost = run(client.build(self.url, self.pair.old, self.out))
        sent.append(_sent(_settled(self.log, before), client.control))
        compare(client.program, self.out, self.pair.new)
        self.out.unlink()
        return cost


@contextmanager
def _stage(bench: Bench, make: Make) -> Iterator[Stage]:
    """A pair is made and served, and taken away again with all that stands beside it."""
    work, place, private = (
        Path(tempfile.mkdtemp(dir=folder)) for folder in (bench.folder, bench.public, bench.folder)
    )
    place.chmod(0o755)
    old, new = work / "old.bin", place / "new.bin"
    try:
        pair = Pair(make(work, old, new), old, new)
        with running(Recipe("nginx", "nginx", _nginx), bench.public, private) as server:
            url = f"{server.url}/{new.relative_to(bench.public)}"
            yield Stage(pair, url, private / LOG, bench.output)
    finally:
        shutil.rmtree(work)
        shutil.rmtree(place)


def _quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=600)


def beside_others(bench: Bench, make: Make, rounds: int) -> dict[str, Any]:
    """Every client makes the new file; for each its Cost and what was Sent (medians), and the
    bytes in chunks of casync's that the old one has not, before they are compressed."""
    clients = {name: one for name, one in CLIENTS.items() if shutil.which(one.program)}
    sent: dict[str, list[Sent]] = {name: [] for name in clients}
    try:
        with _stage(bench, make) as stage:
            pair = stage.pair
            for one in clients.values():
                _quietly(one.prepare(pair.new))
            trials = {name: partial(stage.fetch, one, sent[name]) for name, one in clients.items()}
            costs = interleaved(trials, rounds)
            return {
                "about": pair.about,
                "size": pair.new.stat().st_size,
                "seed": pair.old.stat().st_size,
                "clients": {name: {"cost": costs[name], **_median(sent[name])} for name in clients},
                "missing": _missing(pair) if "casync" in clients else None,
            }
    except Absent as absent:
        return {"left_out": str(absent)}


def _median(sent: list[Sent]) -> dict[str, float]:
    rows = [asdict(one) for one in sent]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _missing(pair: Pair) -> int:
    index = pair.old.with_suffix(".caibx")
    _quietly(["casync", "make", f"--store={pair.old}.castr", str(index), str(pair.old)])
    old, new = (
        {one.digest(number): len(one.chunk(number)) for number in range(len(one))}
        for one in (parse_caibx(path.read_bytes()).chunks for path in (index, _caibx(pair.new)))
    )
    return sum(size for digest, size in new.items() if digest not in old)


def _caibx(new: Path) -> Path:
    return new.with_name(f"{new.name}.caibx")


def memory(bench: Bench, size: int) -> dict[str, Any]:
    """rdl makes a file of `size` bytes out of a seed of as many, which has a little else, and
    nothing of it. For each its Cost and what was Sent."""
    content, client, found = bench.content(size), CLIENTS["rdl"], {"size": size}

    def changed(folder: Path, old: Path, new: Path) -> str:
        old.symlink_to(content.path)
        shutil.copyfile(content.path, new)
        with new.open("r+b") as data:
            data.seek(size // 2)
            data.write(bytes(CHANGED))
        return "one change"

    def foreign(folder: Path, old: Path, new: Path) -> str:
        old.symlink_to(content.path)
        write_seeded(new, size, SEED + 1)
        return "nothing in common"

    for make in (changed, foreign):
        sent: list[Sent] = []
        with _stage(bench, make) as stage:
            _quietly(client.prepare(stage.pair.new))
            cost = stage.fetch(client, sent)
            found[stage.pair.about] = {"cost": cost, **asdict(sent[0])}
    return found


def told_memory(found: dict[str, Any]) -> str:
    """The row of memory for people."""
    most, lines = _allowed(found["size"]), [f"a seed of {found['size'] // MiB} MiB"]
    for name in ("one change", "nothing in common"):
        one = found[name]
        lines.append(
            f"  {name:<18} peak {one['cost'].rss:.0f} MiB (wanted: {most:.0f} at most),"
            f" {one['control'] / MiB:.2f} + {one['content'] / MiB:.2f} MiB in"
            f" {one['requests']} requests, wall {one['cost'].wall:.2f} s"
        )
    return "\n".join(lines)


def _allowed(seeds: int) -> float:
    """MiB."""
    return MEMORY + SHARE * seeds / MiB


def told_beside_others(found: dict[str, Any]) -> str:
    """The row of beside_others for people."""
    if "left_out" in found:
        return f"left out: {found['left_out']}"
    lines = [f"{found['about']}: {found['size'] / MiB:.1f} MiB"]
    for name, one in found["clients"].items():
        cost = one["cost"]
        lines.append(
            f"  {name:<7} {one['control'] / MiB:6.3f} + {one['content'] / MiB:6.3f} MiB"
            f" (heads {one['heads'] / MiB:5.3f}) in {one['requests']:4.0f} requests,"
            f" wall {cost.wall:5.2f} s, CPU {cost.cpu:5.2f} s, peak {cost.rss:4.0f} MiB"
        )
    own, other = found["clients"]["rdl"], found["clients"].get("zsync")
    if found["missing"] is not None:
        lines.append(f"  casync's chunks before they are compressed: {found['missing'] / MiB:.3f}")
    lines.append(
        f"  rdl's content {own['content'] / found['size']:.2%} of the file (wanted where little is"
        f" put in: {CONTENT:.0%}); peak wanted: {_allowed(found['seed']):.0f} MiB"
    )
    if other is not None:
        bodies, whole = (
            [sum(one[name] for name in names) for one in (own, other)]
            for names in (("control", "content"), ("control", "content", "heads"))
        )
        lines.append(
            f"  in all to zsync's: {told(ratio(*bodies))} (wanted: {TO_ZSYNC}),"
            f" {told(ratio(*whole))} with heads"
        )
    return "\n".join(lines)
