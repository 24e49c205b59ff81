"""A file of 1 TiB that a server makes up: how soon rdl begins, looks, and goes on.

Part files are sparse. No data but what rdl fetches in a moment, and what a continued run
compares, is ever written.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.events import telling
from bench.measure import ENVIRONMENT, PATIENCE, run
from bench.place import Bench
from bench.serving import Serving
from rdl.core.blockmap import BlockMap, block_size_for
from rdl.core.byterange import ByteRange, Extent
from rdl.core.index import MAX_EXTENT
from rdl.core.representation import Representation
from rdl.core.row import OVERLAP
from rdl.storage.base import Header
from rdl.storage.part_file import PartStore
from tests.support.content import MiB

GiB = 1 << 30
RDL = [sys.executable, "-m", "rdl"]
RATE = 50 * MiB
"""Bytes a second and connection: what is fetched before a run is ended stays small."""
SHARE = 100
"""One block of so many is missing."""
MOST = 256 * MiB
"""Bytes that one run is given, whatever it does: they lie in memory. Then connections end."""
AT_ONCE = 4096
"""Extents that are recorded in one go."""
MARK = 8
PATTERN = random.Random(3).randbytes(MiB)


class MadeUp(Serving):
    """Every MiB is the same random bytes, but for its own number in the first eight."""

    etag = '"made-up"'
    _left = MOST

    def restart(self) -> None:
        """Forget the requests so far; MOST bytes are there to be had again."""
        self.asked.clear()
        self._left = MOST

    def rate_of_next(self) -> float:
        return RATE

    def send(self, connection: socket.socket, start: int, size: int) -> int:
        if self._left <= 0:
            raise ConnectionAbortedError(f"more than {MOST} bytes were taken")
        sent = connection.send(made_up(start, size))
        self._left -= sent  # threads may lose an update: it is a brake, no account
        return sent


def made_up(start: int, size: int) -> memoryview:
    """At most `size` bytes from `start` on, up to the end of the MiB."""
    number, at = divmod(start, MiB)
    if at >= MARK:
        return memoryview(PATTERN)[at : at + size]
    return memoryview(number.to_bytes(MARK) + PATTERN[MARK : at + size])[at : at + size]


def scale(bench: Bench, size: int) -> dict[str, Any]:
    """`first`: a download that begins; `status`: of a partial of which one block of a hundred
    is missing, here and there; `resumed`: that partial continued."""
    output = bench.folder / "scale.bin"
    with MadeUp(size) as server:
        first = _begun(server, output)
        checked = _right(output, BlockMap(size, block_size_for(size)), _present(output, size))
        _remove(output)
        before = _built(output, server.url, size)
        index = _index(output).stat().st_size
        if _present(output, size) != before:
            raise RuntimeError("status tells of other bytes than were recorded")
        status = run([*RDL, "status", str(output)])
        resumed = _begun(server, output)
        checked += _right(output, before, _present(output, size))
        _remove(output)
    return {
        "size": size,
        "first": first,
        "status": status,
        "resumed": resumed,
        "index": index,
        "missing": size - before.present_bytes,
        "blocks_missing": len(list(before.missing())),
        "checked": checked,
    }


def _begun(server: MadeUp, output: Path) -> dict[str, float]:
    """Seconds to the first request, the `start` event, the first `progress`, and the first with
    a new byte; seconds from SIGTERM, which it then gets, to its end; its peak memory in MiB."""
    server.restart()
    options = ["--preallocate", "none", "--no-netrc", "--proxy", ""]
    with telling([*RDL, "get", server.url, "-o", str(output), *options]) as going:
        start, began = going.first("start")
        progress, first = going.first("progress")
        moved = progress
        while first["bytes_present"] <= began["bytes_reused"]:
            moved, first = going.first("progress")
        stopped = going.interrupted()
    return {
        "request": server.asked[0][0] - going.begun,
        "start": start,
        "progress": progress,
        "moved": moved,
        "stop": stopped,
        "peak": going.peak,
        "requests": len(server.asked),
    }


def _built(output: Path, url: str, size: int) -> BlockMap:
    """A partial as a run leaves it that stopped in order: an index that is clean, a part file
    of that size and time. Only what the next run may compare holds data: what stands before a
    gap. Returns what is present."""
    block, present = block_size_for(size), BlockMap(size, block_size_for(size))
    present.add(ByteRange(0, size))
    count = -(-size // block)
    for number in random.Random(2).sample(range(1, count - 1), max(1, count // SHARE)):
        present.discard(ByteRange(number * block, (number + 1) * block))
    store = PartStore(output, preallocate="none")
    store.open()
    store.begin(Header(url, Representation(size, etag=MadeUp.etag), block))
    for gap in present.missing():
        _write(store, gap.start - OVERLAP, OVERLAP)
    _write(store, size - 1, 1)
    for run_ in present.present():
        _record(store, run_)
    store.checkpoint()
    store.close()
    return present


def _write(store: PartStore, start: int, size: int) -> None:
    while size > 0:
        data = made_up(start, size)
        store.write_at(start, data)
        start, size = start + len(data), size - len(data)


def _record(store: PartStore, part: ByteRange) -> None:
    """Without checksums: they are not looked at after an orderly stop."""
    starts = range(part.start, part.stop, MAX_EXTENT)
    for at in range(0, len(starts), AT_ONCE):
        some = starts[at : at + AT_ONCE]
        store.record([Extent(one, min(one + MAX_EXTENT, part.stop), 0) for one in some])


def _present(output: Path, size: int) -> BlockMap:
    """What `rdl status` says is on disk."""
    said = subprocess.run(
        [*RDL, "status", "--json", str(output)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        timeout=PATIENCE,
        check=True,
    ).stdout
    found = BlockMap(size, block_size_for(size))
    for first, last in json.loads(said)["present"]:
        found.add(ByteRange(first, last + 1))
    return found


def _right(output: Path, before: BlockMap, now: BlockMap) -> int:
    """Compare what came since `before` with what was served; how many bytes. RuntimeError when
    nothing came, or something else."""
    count = 0
    with _part(output).open("rb") as file:
        for gap in before.missing():
            for part in now.present(gap):
                _compare(file.fileno(), part)
                count += len(part)
    if not count:
        raise RuntimeError("nothing was fetched")
    return count


def _compare(file: int, part: ByteRange) -> None:
    at = part.start
    while at < part.stop:
        expected = made_up(at, part.stop - at)
        if os.pread(file, len(expected), at) != bytes(expected):
            raise RuntimeError(f"wrong bytes in the MiB at {at}")
        at += len(expected)


def _part(output: Path) -> Path:
    return output.with_name(f"{output.name}.part")


def _index(output: Path) -> Path:
    found: Sequence[Path] = [
        path for path in output.parent.glob(f"{output.name}.*") if path != _part(output)
    ]
    if len(found) != 1:
        raise RuntimeError(f"not one index: {found}")
    return found[0]


def _remove(output: Path) -> None:
    for path in output.parent.glob(f"{output.name}*"):
        path.unlink()


def told_scale(found: dict[str, Any]) -> str:
    """The row of scale for people."""
    resumed, status = found["resumed"], found["status"]
    return (
        f"{found['size'] / GiB:g} GiB made up: {_told_begun(found['first'])}\n"
        f"{found['missing'] / GiB:.2f} GiB missing in {found['blocks_missing']} places: index "
        f"{found['index'] / MiB:.1f} MiB, status {status.wall:.2f} s, peak {status.rss:.0f} MiB\n"
        f"continued: {_told_begun(resumed)}; {found['checked'] / MiB:.1f} MiB compared"
    )


def _told_begun(found: dict[str, float]) -> str:
    return (
        f"request after {found['request']:.2f} s, progress after {found['progress']:.2f} s, "
        f"a new byte told after {found['moved']:.2f} s, stopped in {found['stop']:.2f} s, "
        f"peak {found['peak']:.0f} MiB"
    )
