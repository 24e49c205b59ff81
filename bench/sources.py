"""Where the bytes come from: links that die while they are used, mirrors fast, slow and wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from typing import Any

from bench.clients import RDL
from bench.events import telling
from bench.place import Bench
from tests.support.content import MiB
from tests.support.links import Links
from tests.support.mirror import Mirror

BLOCK = MiB
RATES = (8 * MiB, 24 * MiB)
CONNECTIONS = 8
RATE = MiB
"""Bytes a second and connection."""
LIFE = 2.0


def links(bench: Bench, seconds: float) -> dict[str, Any]:
    """A URL that leads to a link which lives two seconds and cuts its bodies then, in a download
    that takes eight connections so many seconds. `forced`: new links that no client can do
    without; `written`: bytes that were written, to the size."""
    content = bench.content(int(CONNECTIONS * RATE * seconds))
    with Links(content.path.read_bytes(), LIFE, RATE) as served:
        command = RDL.build(served.url, bench.output, bench.certificates.authority)
        with telling([word for word in command if word != "-q"]) as run:
            events = [event for _, event in run.events()]
            if run.process.wait() != 0:
                raise RuntimeError(f"rdl failed: {events[-1:]} {''.join(run.said)}")
        bench.take("rdl", content)
    result = events[-1]
    return {
        "wall": result["seconds"],
        "ideal": seconds,
        "links": len(served.issued),
        "forced": int(result["seconds"] / LIFE),
        "refused": served.refused,
        "written": result["bytes_downloaded"] / content.size,
    }


def mirrors(bench: Bench, seconds: float) -> dict[str, Any]:
    """Two servers, of 8 and 24 MiB/s, that would send the file together in so many seconds; and
    two of 24 where one has a wrong bit in one block of a hundred, with digests of the blocks."""
    content = bench.content(int(sum(RATES) * seconds))
    data = content.path.read_bytes()
    with Mirror(data, RATES[0]) as slow, Mirror(data, RATES[1]) as fast:
        words = ["--mirror", fast.url(), slow.url(), "-o", str(bench.output)]
        shared = _mirrored([slow, fast], *words)
    bench.take("rdl", content)
    hexes = [sha256(data[at : at + BLOCK]).hexdigest() for at in range(0, len(data), BLOCK)]
    flips = tuple(range(BLOCK // 2, len(data), 100 * BLOCK))
    with Mirror(data, RATES[1]) as good, Mirror(data, RATES[1], flips=flips) as bad:
        listed = bench.output.with_suffix(".meta4")
        listed.write_text(_metalink(bench.output.name, len(data), hexes, good.url(), bad.url()))
        wrong = _mirrored([good, bad], "-i", str(listed), "-d", str(bench.output.parent))
        listed.unlink()
    bench.take("rdl", content)
    refetched = wrong["bytes_downloaded"] - len(data)
    return {
        "wall": shared["seconds"],
        "ideal": seconds,
        "share": [one["bytes_downloaded"] / len(data) for one in shared["sources"]],
        "sent": shared["sent"] / len(data),
        "left": sum(bool(one["error"]) for one in wrong["sources"]),
        "blocks": refetched / BLOCK,
        "again": (wrong["sent"] - len(data)) / BLOCK,
    }


def _mirrored(served: list[Mirror], *words: str) -> dict[str, Any]:
    """What `rdl get` with these words says in the end, and how many bytes the servers sent."""
    command = [sys.executable, "-m", "rdl", "get", *words, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"rdl failed: {run.stderr}")
    found: dict[str, Any] = json.loads(run.stdout)
    return {**found, "sent": sum(one.sent for one in served)}


def _metalink(name: str, size: int, hexes: list[str], *urls: str) -> str:
    blocks = "".join(f"<hash>{digest}</hash>" for digest in hexes)
    return (
        f'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="{name}">'
        f'<size>{size}</size><pieces length="{BLOCK}" type="sha-256">{blocks}</pieces>'
        f"{''.join(f'<url>{url}</url>' for url in urls)}</file></metalink>"
    )


def told_mirrors(found: dict[str, Any]) -> str:
    """The row of mirrors for people."""
    shares = " and ".join(f"{share:.2f}" for share in found["share"])
    return (
        f"two mirrors of 8 and 24 MiB/s: {found['wall']:.1f} s where their sum takes "
        f"{found['ideal']:g} ({found['ideal'] / found['wall']:.2f} of it), {shares} of the bytes, "
        f"{found['sent']:.3f} of the size sent; one with a wrong bit in 1 % of its blocks: "
        f"{found['left']} left, {found['blocks']:.1f} blocks came again, "
        f"{found['again']:.1f} were sent for it"
    )


def told_links(found: dict[str, Any]) -> str:
    """The row of links for people."""
    return (
        f"links that live {LIFE:g} s: {found['wall']:.1f} s where nothing in the way takes "
        f"{found['ideal']:g}; {found['links']} links, {found['forced']} renewals were forced, "
        f"{found['refused']} requests came too late; {found['written']:.3f} of the size written"
    )
