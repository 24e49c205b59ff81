"""Servers that stall, drip, say too much before, or end connections at the wrong moment."""

from __future__ import annotations

from dataclasses import replace

from rdl.core.events import Retrying
from tests.support.origin import END, HANG, Answer, Step, Wait
from tests.traps.harness import (
    FRESH,
    RESUME,
    SIZE,
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
from tests.traps.rows_waits import after, kept, says, slowly

IMPATIENT = {"timeout": 0.2}


def stall_in_the_first_bodies(server: Server, asked: Asked) -> Answer:
    """Three bodies stop in the middle and stay open."""
    head, body = server.head(asked)
    if asked.number >= 3 or len(body) < 2:
        return [head.encode(), body]
    return [head.encode(), body[: len(body) // 2], HANG]


def drip(*numbers: int) -> Script:
    """The bodies of these requests come by 32 bytes every 10 ms, after some at once."""

    def script(server: Server, asked: Asked) -> Answer:
        head, body = server.head(asked)
        if asked.number not in numbers:
            return [head.encode(), body]
        steps: list[Step] = [head.encode(), body[:4096]]
        for at in range(4096, min(len(body), 4096 + 32 * 1000), 32):
            steps += [body[at : at + 32], Wait(0.01)]
        return steps

    return script


def drip_the_second_part(server: Server, asked: Asked) -> Answer:
    """Whoever asks for the byte in the middle first gets it slowly."""
    middle = SIZE // 2
    head, body = server.head(asked)
    begins = asked.start is not None and abs(asked.start - middle) < 200 * KiB
    if asked.number == 0 or not begins or server.marks.setdefault("drips", asked) is not asked:
        return slowly(server, asked)
    steps: list[Step] = [head.encode()]
    for at in range(0, min(len(body), 32 * 1000), 32):
        steps += [body[at : at + 32], Wait(0.01)]
    return steps


def drip_a_head(server: Server, asked: Asked) -> Answer:
    """The first two heads come by a line every 50 ms and never end."""
    if asked.number >= 2:
        return server.honest(asked)
    lines: list[Step] = [b"HTTP/1.1 200 OK\r\n"]
    for _ in range(40):
        lines += [b"X-Line: more\r\n", Wait(0.05)]
    return lines


def interim(count: int, status: str = "103 Early Hints") -> Script:
    """So many interim heads before each answer."""

    def script(server: Server, asked: Asked) -> Answer:
        return [f"HTTP/1.1 {status}\r\nLink: </x>\r\n\r\n".encode() * count, *server.honest(asked)]

    return script


def close_at_the_second_request(server: Server, asked: Asked) -> Answer:
    """Parts are short and keep-alive is offered, but the connection closed when it is used."""
    if asked.turn > 0:
        return [END]
    start, data = asked.start or 0, server.content
    body = data[start : min(asked.stop or len(data), start + 300 * KiB)]
    said = f"bytes {start}-{start + len(body) - 1}/{len(data)}"
    return [Head("206 Partial Content", len(body), said).encode(), body]


def of_1996(server: Server, asked: Asked) -> Answer:
    """HTTP/1.0: one request on a connection, without saying so."""
    head, body = server.head(asked)
    return [replace(head, version="HTTP/1.0").encode(), body, END]


def closed_unseen(played: Played) -> None:
    """What died while idle is replaced, and counts as no try. A part that is short counts."""
    assert any(asked.turn > 0 for asked in played.requests)
    assert not any("closed" in fact.why for fact in played.facts if isinstance(fact, Retrying))


def soon(played: Played) -> None:
    """The dripping bodies alone would take ten seconds."""
    assert played.result.seconds < 4


ROWS = [
    Row(
        "P68",
        "not a byte after the head",
        lambda server, asked: (
            [server.head(asked)[0].encode(), HANG] if asked.number < 2 else server.honest(asked)
        ),
        ends(0),
        network=IMPATIENT,
        fetched=1.1,
    ),
    Row(
        "P68-midway",
        "bodies that stop in the middle",
        stall_in_the_first_bodies,
        ends(0),
        network=IMPATIENT,
        fetched=1.1,
    ),
    Row(
        "P68-ever",
        "silence for ever",
        after(0, HANG),
        ends(4),
        network={"timeout": 0.1},
        requests=5,
        check=says("in time"),
    ),
    Row(
        "P69",
        "a lone connection drips",
        drip(0),
        ends(0),
        modes=(FRESH,),
        options={"connections": None, "min_split": 64 * KiB},
        fetched=1.3,  # what is hedged is as much as had not come by then
        check=soon,
    ),
    Row(
        "P69-workers",
        "one connection of four drips",
        drip_the_second_part,
        ends(0),
        modes=(WORKERS,),
        fetched=1.2,
        check=soon,
    ),
    Row(
        "P69-ever",
        "every body drips: --max-time is the end",
        drip(*range(100)),
        ends(15),
        modes=(FRESH, RESUME),
        options={"max_time": 0.4},
        requests=2,
        check=kept(4096),
    ),
    Row("P70", "heads that drip", drip_a_head, ends(0), network=IMPATIENT, fetched=1.1),
    Row("P70-interim", "17 interim heads", interim(17), ends(7), requests=1, modes=(FRESH, RESUME)),
    Row(
        "P74",
        "keep-alive ends as it is used",
        close_at_the_second_request,
        ends(0),
        options={"retry": 0},
        fetched=1.1,
        check=closed_unseen,
    ),
    Row("P75", "HTTP/1.0", of_1996, ends(0), fetched=1.1, trust="T2"),
    Row("P76", "three interim heads", interim(3), ends(0), fetched=1.1, trust="T2"),
    Row("P76-102", "102 Processing", interim(16, "102 X"), ends(0), fetched=1.1, trust="T2"),
    Row("P77", "101 that nobody asked for", interim(1, "101 X"), ends(7), requests=1),
]
