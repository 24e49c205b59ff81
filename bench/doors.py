"""What it costs to read a little of a large file: a member of a zip, a column of a table.

Each client is a program of a few lines; what it read is compared, what the server sent is from
nginx's access log. Clients that are not installed are left out.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from bench.measure import run
from bench.place import SEED, Bench
from tests.support.content import MiB
from tests.support.servers import Recipe, RunningServer, nginx, running

NGINX = Recipe("nginx", "nginx", nginx)
MEMBERS, COLUMNS = 2000, 50
TAIL = "import hashlib; assert hashlib.sha256(data).hexdigest() == {digest!r}"
OPENED = {
    "rdl.open": (("rdl",), "import rdl; file = rdl.open({url!r})"),
    "rdl behind fsspec": (
        ("rdl", "fsspec"),
        "import fsspec; file = fsspec.open('rdl+' + {url!r}).open()",
    ),
    "fsspec's http": (
        ("fsspec", "aiohttp"),
        "import fsspec; file = fsspec.open({url!r}).open()",
    ),
}
"""What each needs, and how it opens the file."""
ZIP = (
    "import zipfile; archive = zipfile.ZipFile(file); names = archive.namelist()",
    "data = archive.read(names[len(names) // 2])",
)
REMOTEZIP = "import remotezip; archive = remotezip.RemoteZip({url!r}); names = archive.namelist()"
COLUMN = (
    "from pyarrow import parquet",
    "data = parquet.read_table(file, columns=['c20']).column(0).combine_chunks().buffers()[1]",
)


def zipped(bench: Bench, size: int) -> dict[str, Any]:
    """A zip of MEMBERS members is listed, and the one in the middle read. For each client:
    requests, and bytes that the server sent."""
    source, each = random.Random(SEED), size // MEMBERS
    path = bench.public / "many.zip"
    with ZipFile(path, "w") as archive:
        for number in range(MEMBERS):
            data = source.randbytes(each)
            archive.writestr(f"folder/of/members/member-{number:05}.bin", data)
            if number == MEMBERS // 2:
                digest = sha256(data).hexdigest()
    programs = {name: (needs, (opened, *ZIP)) for name, (needs, opened) in OPENED.items()}
    programs["remotezip"] = (("remotezip",), (REMOTEZIP, ZIP[1]))
    return {
        "size": path.stat().st_size,
        "member": each,
        "clients": _compared(bench, path, programs, digest),
    }


def table(bench: Bench, size: int) -> dict[str, Any]:
    """A parquet file of COLUMNS columns, of which one is read. `needed`: the bytes of its chunk
    and of the footer; `again`: the requests of each client's second read."""
    if find_spec("pyarrow") is None:
        raise RuntimeError("pyarrow is not installed")
    import pyarrow
    from pyarrow import parquet

    rows, source = size // COLUMNS // 8, random.Random(SEED)
    column = pyarrow.array([source.random() for _ in range(rows)])
    whole = pyarrow.table({f"c{number}": column for number in range(COLUMNS)})
    path = bench.public / "wide.parquet"
    parquet.write_table(whole, path, row_group_size=rows, use_dictionary=False, compression="none")
    about = parquet.read_metadata(path)
    needed = about.row_group(0).column(20).total_compressed_size + about.serialized_size
    digest = sha256(column.buffers()[1]).hexdigest()
    programs = {name: (needs, (opened, *COLUMN)) for name, (needs, opened) in OPENED.items()}
    twice = {name: (needs, (*lines, COLUMN[1])) for name, (needs, lines) in programs.items()}
    found = _compared(bench, path, programs, digest)
    again = _compared(bench, path, twice, digest)
    return {
        "size": path.stat().st_size,
        "needed": needed,
        "clients": found,
        "again": {name: again[name]["requests"] - one["requests"] for name, one in found.items()},
    }


def _compared(
    bench: Bench, path: Path, programs: dict[str, Any], digest: str
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    private = Path(tempfile.mkdtemp(dir=bench.folder))
    with running(NGINX, bench.public, private) as server:
        url = f"{server.url}/{path.name}"
        for name, (needs, lines) in programs.items():
            if all(find_spec(one) for one in needs):
                code = "\n".join((*lines, TAIL)).format(url=url, digest=digest)
                before = len(server.requests())
                cost = run([sys.executable, "-W", "ignore", "-c", code])
                rows = _settled(server)[before:]
                sent = sum(size for _, _, size in rows)
                found[name] = {"requests": len(rows), "sent": sent, "wall": cost.wall}
    return found


def _settled(server: RunningServer) -> list[tuple[str, int, int]]:
    """The log when nothing is added to it any more."""
    rows = server.requests()
    while True:
        time.sleep(0.3)
        if len(now := server.requests()) == len(rows):
            return now
        rows = now


def _told(found: dict[str, Any], title: str, also: Callable[[str], str]) -> str:
    lines = [title]
    for name, one in found["clients"].items():
        sent = f"{one['sent'] / MiB:8.2f} MiB sent"
        lines.append(f"  {name:<18} {one['requests']:3} requests {sent}{also(name)}")
    return "\n".join(lines)


def told_zipped(found: dict[str, Any]) -> str:
    """The row of zipped for people."""
    size, each = found["size"] // MiB, found["member"] / 1024
    title = f"a zip of {size} MiB and {MEMBERS} members: listed, and one of {each:.0f} KiB read"
    return _told(found, title, lambda _: "")


def told_table(found: dict[str, Any]) -> str:
    """The row of table for people."""
    needed = found["needed"]
    title = (
        f"a column of {COLUMNS} in {found['size'] // MiB} MiB ({needed / MiB:.2f} MiB with footer)"
    )

    def also(name: str) -> str:
        share = found["clients"][name]["sent"] / needed
        return f", {share:.2f} of what is needed; read again {found['again'][name]} more requests"

    return _told(found, title, also)
