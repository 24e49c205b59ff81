"""Ranges that are answered wrongly, or rightly in ways that surprise."""

from __future__ import annotations

from tests.support.origin import END, Answer
from tests.traps.harness import (
    FRESH,
    RESUME,
    WORKERS,
    Asked,
    Head,
    KiB,
    Row,
    Server,
    ends,
)


def without_accept_ranges(server: Server, asked: Asked) -> Answer:
    return server.honest(asked)


def always_whole(server: Server, asked: Asked) -> Answer:
    return [Head(length=len(server.content)).encode(), server.content]


def shifted(by: int, first: int = 0) -> object:
    """206s that start elsewhere than asked, from request `first` on."""

    def script(server: Server, asked: Asked) -> Answer:
        if not asked.ranged or asked.number < first or not asked.start:
            return server.honest(asked)
        start = max(0, asked.start + by)
        body = server.content[start : asked.stop]
        said = f"bytes {start}-{start + len(body) - 1}/{len(server.content)}"
        return [Head("206 Partial Content", len(body), said).encode(), body]

    return script


def another_version_from(number: int) -> object:
    """The file is replaced before request `number`."""

    def script(server: Server, asked: Asked) -> Answer:
        return server.honest(asked, int(asked.number >= number))

    return script


def cut_everything(server: Server, asked: Asked) -> Answer:
    """Bodies end after 200 KiB."""
    head, body = server.head(asked)
    return [head.encode(), body[: 200 * KiB], END]


def one_byte_more(server: Server, asked: Asked) -> Answer:
    head, body = server.head(asked)
    return [replace(head, length=len(body) + 1).encode(), body, END]


ROWS = [
    Row(
        "P01",
        "no Accept-Ranges, but ranges",
        without_accept_ranges,
        ends(0),
        trust="T2",
        fetched=1.1,
    ),
    Row(
        "P02",
        "Accept-Ranges, but a 200 to every range",
        always_whole,
        ends(0),
        fetched=1.1,
    ),
    Row("P05", "a 206 that starts too early", shifted(-1000), ends(0, 7)),
    Row("P06", "a 206 that starts too late", shifted(1), ends(0, 7)),
    Row(
        "P22",
        "another version in mid-download",
        another_version_from(2),
        ends(0),
        versions=2,
        modes=(RESUME, WORKERS),
    ),
    Row("P36", "bodies shorter than their length", cut_everything, ends(0), fetched=1.1),
    Row(
        "P81",
        "Content-Length that is not that of the range",
        one_byte_more,
        ends(4, 7),
        modes=(FRESH,),
    ),
]
