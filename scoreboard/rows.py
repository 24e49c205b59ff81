"""The rows: what the server does, as a function from a request to its reply."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace

from scoreboard.stage import Asked, Reply, Script, Stage, part

EARLY = 1000
LONGER = 4096
BOUNDARY = "part-of-it"
SLOW = 0.03
"""Seconds; 2 MiB/s a connection, where a kill costs something."""
PAGE = b"<!doctype html><html><body>Please log in.</body></html>\n"


@dataclass(frozen=True, slots=True)
class Row:
    """`several`: makes sense over several connections only. `killed`: the first run gets
    SIGKILL when half has been sent; `replaced`: the file is another one after that. `shrinks`:
    the later version is a quarter as long. `shows`: a number that the cell names."""

    name: str
    says: str
    script: Script
    several: bool = False
    killed: bool = False
    replaced: bool = False
    shrinks: bool = False
    shows: str = ""
    pause: float = 0.005
    """Seconds between two blocks of a body: 12.5 MiB/s a connection."""


def honest(stage: Stage, asked: Asked) -> Reply:
    return stage.honest(asked)


def cut_once(stage: Stage, asked: Asked) -> Reply:
    """The very first body ends early; a short one in its middle."""
    reply = stage.honest(asked)
    if asked.number:
        return reply
    return replace(reply, cut=min(stage.cut, len(reply.body) // 2))


def replaced_in_a_cut(stage: Stage, asked: Asked) -> Reply:
    reply = cut_once(stage, asked)
    stage.now = 1
    return reply


def replaced_under_way(stage: Stage, asked: Asked) -> Reply:
    """The third request meets the new file."""
    stage.now = int(asked.number >= 2)
    return stage.honest(asked)


def too_early(stage: Stage, asked: Asked) -> Reply:
    reply = cut_once(stage, asked)
    if not asked.continues or not reply.status.startswith("206"):
        return reply
    whole = replace(reply, body=stage.versions[stage.now].data)
    return part(whole, max(0, (asked.start or 0) - EARLY), asked.stop)


def without_span(stage: Stage, asked: Asked) -> Reply:
    reply = cut_once(stage, asked)
    if not asked.continues:
        return reply
    data = stage.versions[stage.now].data
    return replace(reply, status="206 Partial Content", body=data, length=len(data), span=None)


def shorter(stage: Stage, asked: Asked) -> Reply:
    """No part is longer than an eighth of the file."""
    if not asked.continues:
        return cut_once(stage, asked)
    start = asked.start or 0
    stop = min(asked.stop or stage.size, start + stage.size // 8)
    return stage.honest(replace(asked, stop=stop))


def other_total(stage: Stage, asked: Asked) -> Reply:
    reply = cut_once(stage, asked)
    if not asked.continues or reply.span is None:
        return reply
    return replace(reply, span=f"{reply.span.partition('/')[0]}/{stage.size + LONGER}")


def encoded(stage: Stage, asked: Asked) -> Reply:
    reply = cut_once(stage, asked)
    if not asked.continues:
        return reply
    body = gzip.compress(reply.body, 1, mtime=0)
    return replace(reply, body=body, length=len(body), coding="gzip")


def multipart(stage: Stage, asked: Asked) -> Reply:
    reply = cut_once(stage, asked)
    if not asked.continues or not reply.status.startswith("206"):
        return reply
    head = f"--{BOUNDARY}\r\nContent-Type: {reply.media}\r\nContent-Range: {reply.span}\r\n\r\n"
    body = head.encode() + reply.body + f"\r\n--{BOUNDARY}--\r\n".encode()
    media = f"multipart/byteranges; boundary={BOUNDARY}"
    return replace(reply, body=body, length=len(body), media=media, span=None)


def page(stage: Stage, asked: Asked) -> Reply:
    """Once logged out, every continued request gets a page."""
    if not asked.continues:
        return cut_once(stage, asked)
    return portal(stage, asked)


def portal(stage: Stage, asked: Asked) -> Reply:
    """Of the network in between, which wants a login first."""
    return Reply("200 OK", PAGE, len(PAGE), media="text/html; charset=utf-8")


def too_long(stage: Stage, asked: Asked) -> Reply:
    return replace(stage.honest(asked), surplus=b"\0" * LONGER)


def without_length(stage: Stage, asked: Asked) -> Reply:
    """HTTP/1.0 without ranges, validators or a length; the first body is cut."""
    cut = None if asked.number else stage.cut
    return Reply("200 OK", stage.versions[0].data, protocol="HTTP/1.0", cut=cut)


def two_at_once(stage: Stage, asked: Asked) -> Reply:
    if stage.busy >= 2:
        return Reply("503 Service Unavailable", length=0)
    return stage.honest(asked)


ROWS = (
    Row("cut", "the server cuts once, honest ranges", cut_once),
    Row("replaced-cut", "file replaced (same size, new ETag and date) in a cut", replaced_in_a_cut),
    Row("replaced-ranges", "file replaced while 4 ranges run", replaced_under_way, several=True),
    Row(
        "kill-replaced",
        "SIGKILL, file replaced, run again",
        honest,
        killed=True,
        replaced=True,
        pause=SLOW,
    ),
    Row(
        "kill",
        "SIGKILL, run again: bytes sent again",
        honest,
        killed=True,
        shows="again",
        pause=SLOW,
    ),
    Row("early", f"206 that starts {EARLY} bytes too early", too_early),
    Row("no-span", "206 without Content-Range, body from the start", without_span),
    Row("short-206", "206 shorter than asked (legal)", shorter),
    Row("other-total", "another total in Content-Range", other_total),
    Row("shrunk", "file shrank in a cut: 416", replaced_in_a_cut, shrinks=True),
    Row("gzip", "Content-Encoding: gzip on the 206", encoded),
    Row("multipart", "multipart/byteranges to one range", multipart),
    Row("page", "an HTML page, 200, on resume", page),
    Row("portal", "an HTML page, 200, in place of the file", portal),
    Row("surplus", "body longer than Content-Length", too_long),
    Row("no-length", "HTTP/1.0 without length, cut", without_length),
    Row(
        "two-at-once",
        "refuses the third connection (503)",
        two_at_once,
        several=True,
        shows="requests",
    ),
)
