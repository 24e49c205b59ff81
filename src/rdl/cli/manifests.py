"""Manifests as the command line names them: a path or a URL, and behind `#` what the manifest
itself hashes to (`FILE.rdlm#sha256=HEX`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdl.cli.display.json_lines import SCHEMA
from rdl.cli.display.plain import Plain, Style
from rdl.cli.display.summary import counted, locating
from rdl.cli.layers import Layers
from rdl.cli.repairs import OF_GET
from rdl.cli.settings import session_options_from
from rdl.cli.single import open_session
from rdl.cli.streams import Messages
from rdl.cli.values import parse_url
from rdl.core.digest import pinned
from rdl.core.text import format_size, is_url, redact_url, safe_text
from rdl.options import Digest

if TYPE_CHECKING:
    from rdl.core.manifest import Manifest, Sizes


def load(layers: Layers, messages: Messages, manifest: str) -> tuple[Manifest, str]:
    """The manifest, and its place as people and scripts may see it. Raises RdlError."""
    place, digests = pinned(manifest)
    if is_url(place):
        return _fetched(layers, messages, place, digests), redact_url(place)
    from rdl.manifests import open_manifest

    return open_manifest(Path(place), digests), place


def _fetched(layers: Layers, messages: Messages, url: str, digests: Sequence[Digest]) -> Manifest:
    """What of it is needed, and no more."""
    given = layers.given
    address = parse_url(url)
    fetching = {name: given[name] for name in OF_GET if name in given}
    options = layers.options_for(fetching)(address, ())
    tell = Plain(messages, Style(given["verbose"], given["quiet"], tries=given["retry"])).tell
    shown = safe_text(redact_url(address.url), 300)
    from rdl.manifests import read_manifest

    with (
        locating(address.url, options.network.user),
        open_session(session_options_from(given)) as session,
        session.open(address.url, options=options, tell=tell) as remote,
    ):
        return read_manifest(remote, shown, digests)


def manifest_object(manifest: Manifest, place: str) -> dict[str, Any]:
    """The `manifest` object; its fields are in docs/json-events.md."""
    cutting = manifest.cutting
    return {
        "schema": SCHEMA,
        "event": "manifest",
        "path": place,
        "name": manifest.name,
        "bytes_total": manifest.total,
        "sha256": manifest.sha256,
        "chunker": manifest.chunker,
        "coarse_sizes": _three(cutting.coarse),
        "coarse_chunks": len(manifest.coarse),
        "fine_sizes": _three(cutting.fine),
        "fine_chunks": manifest.fine_count,
        "digest_bytes": manifest.coarse.width,
        "bytes_first": manifest.fine_at,
        "bytes_manifest": manifest.length,
        "urls": [redact_url(url) for url in manifest.urls],
    }


def manifest_lines(manifest: Manifest) -> list[str]:
    """The same for people."""
    cutting, total = manifest.cutting, manifest.total
    rows = [
        ("name", manifest.name),
        ("length", counted(total)),
        ("sha256", manifest.sha256),
        ("chunker", manifest.chunker),
        ("coarse", _chunks(len(manifest.coarse), total, cutting.coarse)),
        ("fine", _chunks(manifest.fine_count, total, cutting.fine)),
        ("manifest", f"{counted(manifest.length)}; {format_size(manifest.fine_at)} are read first"),
        *(("url", safe_text(redact_url(url), 2000)) for url in manifest.urls),
    ]
    return [f"{name:<8}  {text}" for name, text in rows]


def _chunks(count: int, total: int, sizes: Sizes) -> str:
    average = f", {total // count} bytes on average" if count else ""
    return f"{count} chunks{average} ({sizes.least} to {sizes.most})"


def _three(sizes: Sizes) -> list[int]:
    return [sizes.least, sizes.average, sizes.most]
