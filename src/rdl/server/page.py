"""Pages for people, as HTML: whole without scripts, live with the one that is in them. Pure.

Every text that is not ours is escaped; a policy lets nothing run, load or be framed but what
stands here.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from importlib.resources import files

from rdl.server.picture import CELLS, FilePicture, Picture

HTML = "text/html; charset=utf-8"
EVENTS = "/.rdl/events"
"""Where the news of the page come from; no file has such a name here."""
_CSS = files("rdl.server").joinpath("page.css").read_text("utf-8")
_JS = files("rdl.server").joinpath("page.js").read_text("utf-8")
_BLANK = FilePicture("", ".", "", "", "", [])


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
LISTING_POLICY = f"{_NOTHING}; style-src {_hash(_CSS)}; sandbox allow-downloads"
LIVE_POLICY = f"{_NOTHING}; style-src {_hash(_CSS)}; script-src {_hash(_JS)}; connect-src 'self'"


def listing(title: str, items: Iterable[str]) -> bytes:
    """The page of a folder; `items` are HTML."""
    return _document(title, f"<main>\n<h1>{escape(title)}</h1>\n{_files(items)}</main>").encode()


def live(picture: Picture, items: Iterable[str] | None) -> bytes:
    """The page at the root: what is going on, and what is there, where that can be listed."""
    flights = "".join(map(_flight, picture.flights))
    there = ""
    if items is not None:
        there = f'<section aria-labelledby="there">\n<h2 id="there">Files</h2>\n{_files(items)}'
        there += "</section>\n"
    body = f"""<header>
<h1>rdl serve</h1>
<p class="quiet" id="server">{escape(picture.server)}</p>
<p class="quiet" id="state">As it was when this page was loaded.</p>
</header>
<main>
<section aria-labelledby="coming">
<h2 id="coming">Downloads</h2>
<p class="quiet" id="summary">{escape(picture.summary)}</p>
<ul id="flights">{flights}</ul>
</section>
{there}</main>
<p id="spoken" class="unseen" role="status" aria-live="polite"></p>
<template id="blank">{_flight(_BLANK)}</template>
<script>{_JS}</script>"""
    return _document("rdl serve", body).encode()


def _document(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _files(items: Iterable[str]) -> str:
    rows = "".join(f"<li>{item}</li>\n" for item in items)
    return f'<p class="quiet">Times are in UTC.</p>\n<ul class="files">\n{rows}</ul>\n'


def _flight(one: FilePicture) -> str:
    rects = "".join(
        f'<rect x="{x}" width="{width}" height="1" class="s{shade}"/>'
        for x, width, shade in one.runs
    )
    return f"""<li data-path="{escape(one.path)}">
<a href="{escape(one.href)}">{escape(one.name)}</a>
<svg class="map" role="img" aria-label="{escape(one.label)}" viewBox="0 0 {CELLS} 1"
 preserveAspectRatio="none" shape-rendering="crispEdges">{rects}</svg>
<p class="facts">{escape(one.text)}</p>
</li>"""
