"""Where the bytes come from: links that die while they are used."""

from __future__ import annotations

from typing import Any

from bench.clients import RDL
from bench.events import telling
from bench.place import Bench
from tests.support.content import MiB
from tests.support.links import Links

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


def told_links(found: dict[str, Any]) -> str:
    """The row of links for people."""
    return (
        f"links that live {LIFE:g} s: {found['wall']:.1f} s where nothing in the way takes "
        f"{found['ideal']:g}; {found['links']} links, {found['forced']} renewals were forced, "
        f"{found['refused']} requests came too late; {found['written']:.3f} of the size written"
    )
