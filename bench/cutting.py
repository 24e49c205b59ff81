"""How fast content is cut, beside SHA-256 of the same bytes, and what a manifest costs to make."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.deltas import RDL
from bench.measure import Cost, interleaved, ratio, run, told
from bench.place import Bench
from rdl.chunkers import chunker_of
from rdl.core.manifest import Sizes
from rdl.manifests import WINDOW, sizes_for

GB = 10**9
SHA256 = "SHA-256"


def cutting(bench: Bench, size: int, rounds: int) -> dict[str, Any]:
    """GB/s (medians, of the CPU that one core gives) of SHA-256, of the coarse level and of both;
    Costs of `rdl manifest make` and of sha256sum."""
    content = bench.content(size)
    windows = _windows(content.path)
    sizes = sizes_for(size)
    coarse, fine = (
        chunker_of(sizes.chunker, one.least, one.average, one.most)
        for one in (sizes.coarse, sizes.fine)
    )

    def both() -> None:
        for window in windows:
            for start, stop in pairwise([0, *coarse.cuts(window, final=True)]):
                fine.cuts(window[start:stop], final=True)

    def cut() -> None:
        for window in windows:
            coarse.cuts(window, final=True)

    def digest() -> None:
        whole = hashlib.sha256()
        for window in windows:
            whole.update(window)

    def seconds(work: Callable[[], None]) -> float:
        begun = time.thread_time()
        work()
        return time.thread_time() - begun

    works = {SHA256: digest, _name("coarse", sizes.coarse): cut, _name("both", sizes.fine): both}
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    manifest = Path(f"{content.path}.rdlm")

    def make(_: int) -> Cost:
        cost = run([*RDL, "manifest", "make", str(content.path), "-o", str(manifest), "-q"])
        manifest.unlink()
        return cost

    costs = interleaved(
        {"rdl manifest make": make, "sha256sum": lambda _: run(["sha256sum", str(content.path)])},
        rounds,
    )
    return {
        "size": size,
        "speed": {name: size / statistics.median(times) / GB for name, times in taken.items()},
        "make": {name: asdict(cost) for name, cost in costs.items()},
    }


def _name(level: str, sizes: Sizes) -> str:
    return f"{level} ({sizes.average} B)"


def _windows(path: Path) -> list[memoryview]:
    data = memoryview(path.read_bytes())
    return [data[start : start + WINDOW] for start in range(0, len(data), WINDOW)]


def told_cutting(found: dict[str, Any]) -> str:
    """The row of cutting for people."""
    lines = [f"{found['size'] >> 20} MiB of random bytes, one core"]
    for name, speed in found["speed"].items():
        share = told(ratio(speed, found["speed"][SHA256]))
        lines.append(f"  {name:<18} {speed:5.2f} GB/s, {share} of SHA-256")
    lines.append("  (wanted: the coarse level not slower than SHA-256)")
    for name, one in found["make"].items():
        lines.append(
            f"  {name:<18} CPU {one['cpu']:5.2f} s, wall {one['wall']:5.2f} s,"
            f" peak {one['rss']:.0f} MiB"
        )
    return "\n".join(lines)
