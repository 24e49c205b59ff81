"""Servers that refuse, ask to wait, or take only so many connections."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.support.origin import END, HANG, RESET, Answer, Step, Wait
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
    ends,
)

EXTRA = 30
"""At most so many requests more than needed where a server limits connections."""


def refusal(status: str, *fields: str, body: bytes = b"") -> Answer:
    """An answer that is no file."""
    return [Head(status, len(body), etag=None, more=fields).encode(), body]


def at_first(count: int, *steps: Step) -> Script:
    """The first `count` requests get these steps, the others honest answers."""

    def script(server: Server, asked: Asked) -> Answer:
        return list(steps) if asked.number < count else server.honest(asked)

    return script


def after(count: int, *steps: Step) -> Script:
    """All requests but the first `count` get these steps; bodies are cut at 200 KiB."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.number >= count:
            return list(steps)
        head, body = server.head(asked)
        return [head.encode(), body[: 200 * KiB], END]

    return script


def beyond(limit: int, *steps: Step) -> Script:
    """What is opened while `limit` connections are gets these steps, and no more."""

    def script(server: Server, asked: Asked) -> Answer:
        assert server.origin is not None
        hung = server.marks.setdefault("hung", set())
        if asked.turn > 0 or server.origin.alive - len(hung) <= limit:
            return slowly(server, asked)
        server.marks["refused"] = server.marks.get("refused", 0) + 1
        if HANG in steps:
            hung.add(asked.connection)
        return [*steps, END]

    return script


def slowly(server: Server, asked: Asked) -> Answer:
    """An honest answer that leaves the others time to come."""
    head, body = server.head(asked)
    steps: list[Step] = [head.encode()]
    for at in range(0, len(body), 32 * KiB):
        steps += [body[at : at + 32 * KiB], Wait(0.002)]
    return steps


def few_were_refused(played: Played) -> None:
    refused = played.server.marks.get("refused", 0)
    assert 1 <= refused <= EXTRA, refused
    assert played.result.connections > 1


def one_new_connection_in_50_ms(server: Server, asked: Asked) -> Answer:
    """New connections that come too fast are reset."""
    now, last = time.monotonic(), server.marks.get("last", float("-inf"))
    if asked.turn == 0:
        if now - last < 0.05 and asked.number > 0:
            server.marks["refused"] = server.marks.get("refused", 0) + 1
            return [RESET]
        server.marks["last"] = now
    return slowly(server, asked)


def missing_here_and_there(server: Server, asked: Asked) -> Answer:
    """Each third request meets a node that has not got the file."""
    return refusal("404 Not Found") if asked.number % 3 == 2 else slowly(server, asked)


def kept(least: int) -> Callable[[Played], None]:
    """At least so much of the file is kept for the next run."""

    def check(played: Played) -> None:
        assert played.result.bytes_present >= least
        assert (played.folder / "f.bin.part").stat().st_size >= least

    return check


def says(*words: str) -> Callable[[Played], None]:
    """The error or its hint tells this."""

    def check(played: Played) -> None:
        told = f"{played.result.error}\n{played.result.hint}"
        assert all(word in told for word in words), told

    return check


ROWS = [
    Row(
        "P50",
        "503 with a Retry-After",
        at_first(2, *refusal("503 Service Unavailable", "Retry-After: 0")),
        ends(0),
        requests=16,
        fetched=1.1,
    ),
    Row(
        "P50-workers",
        "429 to all but the first, which asks for a second of rest",
        lambda server, asked: (
            refusal("429 Too Many Requests", "Retry-After: 0")
            if 0 < asked.number < 4
            else slowly(server, asked)
        ),
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
    ),
    Row(
        "P51",
        "Retry-After as dates, by a clock that is wrong by years",
        at_first(
            3,
            *[
                Head(
                    "503 Service Unavailable",
                    0,
                    etag=None,
                    date="Sun, 06 Nov 1994 08:49:37 GMT",
                    more=("Retry-After: Sunday, 06-Nov-94 08:49:37 GMT",),
                ).encode()
            ],
        ),
        ends(0),
        fetched=1.1,
    ),
    *(
        Row(
            f"P52-{number}",
            f"Retry-After: {value[:20]}",
            at_first(1, *refusal("503 Service Unavailable", f"Retry-After: {value}")),
            ends(code),
            requests=1 if code else 16,
            check=says("asks", "again") if code else lambda played: None,
            modes=(FRESH, RESUME),
        )
        for number, (value, code) in enumerate(
            [
                ("9999999999", 8),
                ("86400", 8),
                ("9" * 5000, 8),
                ("Wed, 18 Nov 2099 12:00:00 GMT", 8),
                ("-5", 0),
                ("1e3", 0),
                ("NaN", 0),
                ("\xb2", 0),
                ("soon", 0),
            ]
        )
    ),
    Row(
        "P53",
        "a burst of 500, 502, 504, 520",
        lambda server, asked: (
            refusal(("500 A", "502 B", "504 C", "520 D")[asked.number])
            if asked.number < 4
            else server.honest(asked)
        ),
        ends(0),
        fetched=1.1,
    ),
    Row("P53-ever", "500 for ever", after(0, *refusal("500 No")), ends(8), requests=5),
    Row(
        "P54",
        "503 with an endless page",
        at_first(
            2,
            Head("503 No", 1 << 40, etag=None).encode(),
            b"<html>" * 100_000,
            HANG,
        ),
        ends(0),
        fetched=1.1,
    ),
    Row(
        "P56",
        "403 beyond two connections",
        beyond(2, *refusal("403 Forbidden")),
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
        check=few_were_refused,
    ),
    Row("P57", "404 from the start", after(0, *refusal("404 Gone")), ends(8), requests=1),
    Row(
        "P57-midway",
        "410 for ever after the first cut",
        after(1, *refusal("410 Gone")),
        ends(8),
        modes=(FRESH, RESUME),
        requests=2,
        check=kept(200 * KiB),
    ),
    Row(
        "P57-mixed",
        "404 from one of three nodes",
        missing_here_and_there,
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
    ),
    Row(
        "P58",
        "401 with a challenge, to a password that is wrong",
        after(0, *refusal("401 No", 'WWW-Authenticate: Basic realm="x"')),
        ends(6),
        requests=1,
        check=says("not accepted"),
    ),
    Row(
        "P58-midway",
        "401 after the first cut",
        after(1, *refusal("401 No", 'WWW-Authenticate: Basic realm="x"')),
        ends(6),
        modes=(FRESH, RESUME),
        requests=2,
        check=kept(200 * KiB),
    ),
    Row(
        "P71",
        "connections beyond the second are reset",
        beyond(2, RESET),
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
        check=few_were_refused,
    ),
    Row(
        "P71-503",
        "connections beyond the second get 503",
        beyond(2, *refusal("503 Busy")),
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
        check=few_were_refused,
    ),
    Row(
        "P71-one",
        "connections beyond the first are reset",
        beyond(1, RESET),
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
    ),
    Row(
        "P72",
        "connections beyond the second are accepted and get no answer",
        beyond(2, HANG),
        ends(0),
        modes=(WORKERS,),
        network={"timeout": 0.3},
        fetched=1.1,
        check=few_were_refused,
    ),
    Row(
        "P73",
        "new connections that come too fast are reset",
        one_new_connection_in_50_ms,
        ends(0),
        fetched=1.1,
    ),
]
