"""Ranges that are answered wrongly, or rightly in ways that surprise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.support.origin import Answer
from tests.traps.harness import (
    FRESH,
    RESUME,
    WORKERS,
    Asked,
    Head,
    KiB,
    Played,
    Row,
    Script,
    Server,
    altered,
    ends,
)

DEMOTED = 4
"""Three answers that break the rules, then one plain request: the most a lone run makes."""


def honest(server: Server, asked: Asked) -> Answer:
    return server.honest(asked)


def always_whole(server: Server, asked: Asked) -> Answer:
    """Range is ignored, and said to be known."""
    head = Head(length=len(server.content), more=("Accept-Ranges: bytes",))
    return [head.encode(), server.content]


def whole_first(then: int, *fields: str) -> Script:
    """A 200 to request 0, and then to every one whose number `then` divides; else honest."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.number == 0 or (then and asked.number % then == 0):
            return [Head(length=len(server.content), more=fields).encode(), server.content]
        return server.honest(asked)

    return script


def partial(server: Server, start: int, stop: int, said: str | None = None) -> Answer:
    """A 206 of these bytes; `said`: its Content-Range, when it is not the true one."""
    body = server.content[start:stop]
    true = f"bytes {start}-{start + len(body) - 1}/{len(server.content)}"
    return [Head("206 Partial Content", len(body), said or true).encode(), body]


def shifted(by: int, first: int = 0) -> Script:
    """206s that start elsewhere than asked, from request `first` on."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.number < first or not asked.start:
            return server.honest(asked)
        return partial(server, max(0, asked.start + by), asked.stop or 0)

    return script


def capped(server: Server, asked: Asked) -> Answer:
    """No 206 has more than 256 KiB."""
    if asked.start is None or asked.stop is None:
        return server.honest(asked)
    return partial(server, asked.start, min(asked.stop, asked.start + 256 * KiB))


def overshooting(server: Server, asked: Asked) -> Answer:
    """206s that go on for 4096 bytes after what was asked for."""
    if asked.start is None or asked.stop is None:
        return server.honest(asked)
    return partial(server, asked.start, min(asked.stop + 4096, len(server.content)))


def said_of(text: str, first: int = 0) -> Script:
    """206s with this Content-Range, `{a}`, `{b}`, `{t}` being the true numbers."""

    def script(server: Server, asked: Asked) -> Answer:
        head, body = server.head(asked)
        if asked.start is None or asked.number < first or head.content_range is None:
            return server.honest(asked)
        a, b, t = asked.start, asked.start + len(body) - 1, len(server.content)
        said = text.format(a=a, b=b, t=t, more=t + 4096)
        return [replace(head, content_range=said).encode(), body]

    return script


def ranged_only(script: Script) -> Script:
    """Plain requests are answered honestly."""
    return lambda server, asked: (script if asked.ranged else honest)(server, asked)


def all_of_it_as_206(server: Server, asked: Asked) -> Answer:
    return [Head("206 Partial Content", len(server.content)).encode(), server.content]


def empty_206(server: Server, asked: Asked) -> Answer:
    start, total = asked.start or 80000, len(server.content)
    said = f"bytes {start}-{start - 1}/{total}"
    return [Head("206 Partial Content", 0, said).encode()]


def middle_for_everyone(server: Server, asked: Asked) -> Answer:
    """A 206 of bytes 1000 to 1999, whatever was asked for."""
    return partial(server, 1000, 2000)


def part_as_200(server: Server, asked: Asked) -> Answer:
    """A 200 whose Content-Range says that it is a part."""
    head, body = server.head(asked)
    start = asked.start or 0
    said = f"bytes {start}-{start + len(body) - 1}/{len(server.content)}"
    return [replace(head, status="200 OK", content_range=said).encode(), body]


def multipart(server: Server, asked: Asked) -> Answer:
    head, body = server.head(asked)
    lines = f"\r\n--x\r\nContent-Type: text/plain\r\nContent-Range: {head.content_range}\r\n\r\n"
    whole = lines.encode() + body + b"\r\n--x--\r\n"
    fields = ("Content-Type: multipart/byteranges; boundary=x",)
    return [replace(head, length=len(whole), more=fields).encode(), whole]


def refused(first: int, said: str | None, least: int = 1) -> Script:
    """416 to ranges that are there, from request `first` on, when they start at `least` or
    later."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.number < first or asked.start is None or asked.start < least:
            return server.honest(asked)
        return [Head("416 Range Not Satisfiable", 0, said, etag=None).encode()]

    return script


# What must hold besides


def used_workers(played: Played) -> None:
    if played.mode == WORKERS:
        assert played.result.connections == 4


def honoured(played: Played) -> None:
    """Nobody lost patience with the server."""
    assert played.result.retries == 0
    used_workers(played)


def never_plain(played: Played) -> None:
    assert all(asked.ranged for asked in played.requests)


def at_most(fresh: int, resume: int, workers: int) -> Callable[[Played], None]:
    """So many requests in each mode."""

    def check(played: Played) -> None:
        most = {FRESH: fresh, RESUME: resume, WORKERS: workers}[played.mode]
        assert len(played.requests) <= most, [one.seen.line for one in played.requests]

    return check


ROWS = [
    Row(
        "P01",
        "no Accept-Ranges, but ranges",
        honest,
        ends(0),
        trust="T2",
        fetched=1.1,
        check=honoured,
    ),
    Row(
        "P02",
        "Accept-Ranges, but a 200 to every range",
        always_whole,
        ends(0),
        fetched=1.1,
        check=at_most(1, 1, 3),
    ),
    Row(
        "P02-one",
        "the same, small parts and one connection",
        always_whole,
        ends(0),
        options={"connections": 1, "min_split": 64 * KiB},
        fetched=1.1,
        requests=1,
    ),
    # no second request is made to find out what the server did not offer
    Row("P03", "a 200 first, 206s later", whole_first(0), ends(0), fetched=1.1, requests=1),
    Row(
        "P03-said",
        "a 200 first that offers ranges, 206s later",
        whole_first(0, "Accept-Ranges: bytes"),
        ends(0),
        fetched=1.1,
        check=used_workers,
    ),
    Row(
        "P04",
        "200 and 206 in turn",
        whole_first(2, "Accept-Ranges: bytes"),
        ends(0),
        fetched=1.6,
        check=at_most(1, 1, 24),
    ),
    Row("P05", "a 206 that starts too early", shifted(-1000), ends(0), check=at_most(1, 4, 20)),
    Row("P06", "a 206 that starts too late", shifted(1), ends(0), check=at_most(1, 4, 20)),
    Row(
        "P06-later",
        "the same from the third request on",
        shifted(1, first=2),
        ends(0),
        modes=(WORKERS,),
        requests=20,
    ),
    Row(
        "P07",
        "206s that end before what was asked for",
        capped,
        ends(0),
        fetched=1.1,
        requests=24,
        check=honoured,
    ),
    Row("P08", "206s that go on after it", overshooting, ends(0), fetched=1.1, check=honoured),
    Row(
        "P09",
        "another complete-length under the same ETag, from the fourth request on",
        said_of("bytes {a}-{b}/{more}", first=3),
        ends(0),  # another length is another version, whatever the ETag says
        modes=(WORKERS,),
        fetched=3.5,
    ),
    Row(
        "P09-all",
        "another complete-length in every 206, and 416 where its end should be",
        said_of("bytes {a}-{b}/{more}"),
        ends(0),  # the plain request at last says the true one
        fetched=2.1,
    ),
    Row("P10", "complete-length * throughout", said_of("bytes {a}-{b}/*"), ends(0)),
    Row(
        "P10-later",
        "complete-length * after the first answer",
        said_of("bytes {a}-{b}/*", first=1),
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
        check=honoured,
    ),
    Row(
        "P11",
        "206 without Content-Range, all of the file",
        ranged_only(all_of_it_as_206),
        ends(0),
        check=at_most(DEMOTED, DEMOTED, DEMOTED),
    ),
    Row("P13", "206s of no byte", ranged_only(empty_206), ends(0), requests=DEMOTED, fetched=1.1),
    Row("P13-all", "nothing else comes", empty_206, ends(7), requests=DEMOTED, fetched=0.0),
    Row(
        "P14",
        "another unit than bytes",
        said_of("items {a}-{b}/{t}"),
        ends(0),
        requests=DEMOTED,
        fetched=1.1,
    ),
    Row(
        "P15",
        "a 206 of the middle, also to a request without Range",
        middle_for_everyone,
        ends(7),
        requests=DEMOTED,
        fetched=0.0,
    ),
    Row(
        "P15-start",
        "a 206 of the first bytes, only to a request without Range",
        lambda server, asked: (
            part_as_200(server, asked) if asked.ranged else partial(server, 0, 1000)
        ),
        ends(7),
        requests=DEMOTED,
        fetched=0.0,
    ),
    Row(
        "P16",
        "a 200 that says it is a part",
        ranged_only(part_as_200),
        ends(0),
        requests=DEMOTED,
        fetched=1.1,
    ),
    Row("P16-all", "always", part_as_200, ends(7), requests=DEMOTED, fetched=0.0),
    Row(
        "P17",
        "multipart/byteranges to one range",
        ranged_only(multipart),
        ends(0),
        requests=DEMOTED,
        fetched=1.1,
    ),
    Row("P17-all", "always", multipart, ends(7), requests=DEMOTED, fetched=0.0),
    Row(
        "P18",
        "Content-Encoding on 206s",
        ranged_only(altered(more=("Content-Encoding: gzip",))),
        ends(0),
        requests=DEMOTED,
        fetched=1.1,
    ),
    Row(
        "P43",
        "all is here, and the server refuses its end: 416 with the same length",
        refused(0, f"bytes */{1536 * KiB}"),
        ends(0),
        modes=(RESUME,),
        cut=1536 * KiB,
        requests=DEMOTED,
        fetched=1.1,
    ),
    Row(
        "P43-here",
        "all is here, only its name is not",
        honest,
        ends(0),
        modes=(RESUME,),
        cut=1536 * KiB,
        requests=1,
        fetched=0.1,
    ),
    Row(
        "P44",
        "the file shrank: 416 with another length",
        refused(0, "bytes */4096"),
        ends(0),
        modes=(RESUME,),
        requests=2,
        fetched=1.1,
    ),
    Row(
        "P44-workers",
        "416 with another length to the third request on, under the same ETag",
        refused(2, "bytes */4096"),
        ends(0),
        modes=(WORKERS,),
    ),
    Row(
        "P45",
        "416 without Content-Range to every range but the first",
        refused(0, None),
        ends(0),
        requests=20,
        fetched=1.6,
    ),
    Row(
        "P45-once",
        "416 without Content-Range, once",
        lambda server, asked: (
            refused(2, None)(server, asked) if asked.number == 2 else server.honest(asked)
        ),
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
        check=never_plain,
    ),
    Row(
        "P45-all",
        "416 to everything with Range",
        refused(0, None, least=0),
        ends(0),
        requests=DEMOTED,
        fetched=1.1,
    ),
]
