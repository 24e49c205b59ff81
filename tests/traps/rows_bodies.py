"""Bodies that end early, late or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.support.origin import END, RESET, Answer
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
from tests.traps.rows_ranges import DEMOTED


def cut_at(count: int, how: str = END, times: int = 10**9) -> Script:
    """The first `times` bodies end after `count` bytes (negative: so many before the end)."""

    def script(server: Server, asked: Asked) -> Answer:
        head, body = server.head(asked)
        return [head.encode(), body[:count], how] if asked.number < times else server.honest(asked)

    return script


def chunked(data: bytes, step: int = 64 * KiB) -> bytes:
    """As chunks, without the last one."""
    parts = (data[at : at + step] for at in range(0, len(data), step))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


@dataclass(frozen=True)
class Chunks:
    """Chunked bodies, honest but for what is said here. The first `times` have `tail` instead of
    the last chunk, after `upto` bytes (None: after all); `abc` in it stands for the next three.
    Without `ranges` it is always the whole. `most`: bytes of a 206."""

    fields: tuple[str, ...] = ()
    tail: bytes | None = None
    times: int = 10**9
    upto: int | None = None
    ranges: bool = True
    most: int | None = None

    def __call__(self, server: Server, asked: Asked) -> Answer:
        if self.most is not None and asked.start is not None and asked.stop is not None:
            asked = replace(asked, stop=min(asked.stop, asked.start + self.most))
        head, body = server.head(asked) if self.ranges else (Head(), server.content)
        more = ("Transfer-Encoding: chunked", *self.fields)
        start = replace(head, length=None, more=more).encode()
        if self.tail is None or asked.number >= self.times:
            return [start, chunked(body) + b"0\r\n\r\n"]
        upto = len(body) if self.upto is None else self.upto
        tail = self.tail.replace(b"abc", body[upto : upto + 3])
        return [start, chunked(body[:upto]) + tail, END]


def until_closed(how: str, count: int | None = None, times: int = 10**9) -> Script:
    """The whole without a length; the first `times` connections end after `count` bytes."""

    def script(server: Server, asked: Asked) -> Answer:
        head = Head(version="HTTP/1.0").encode()
        stop, last = (count, how) if asked.number < times else (None, END)
        return [head, server.content[:stop], last]

    return script


def surplus(more: bytes, most: int = 256 * KiB) -> Script:
    """206s of at most 256 KiB, and behind each body `more`, in the same write."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.start is None or asked.stop is None:
            return server.honest(asked)
        body = server.content[asked.start : min(asked.stop, asked.start + most)]
        said = f"bytes {asked.start}-{asked.start + len(body) - 1}/{len(server.content)}"
        head = Head("206 Partial Content", len(body), said)
        return [head.encode() + body + more]

    return script


def forged(most: int) -> Script:
    """Behind each body stands an answer to the next request, with other bytes."""

    def script(server: Server, asked: Asked) -> Answer:
        total = len(server.content)
        start = (asked.start or 0) + most
        said = f"bytes {start}-{total - 1}/{total}"
        lie = bytes(max(0, total - start))
        return surplus(Head("206 Partial Content", len(lie), said).encode() + lie, most)(
            server, asked
        )

    return script


def off_by(count: int) -> Script:
    """The Content-Length of 206s, and their bodies, by so many bytes."""

    def script(server: Server, asked: Asked) -> Answer:
        head, body = server.head(asked)
        if not asked.ranged:
            return server.honest(asked)
        sent = body + b"x" if count > 0 else body[:-1]
        return [replace(head, length=len(body) + count).encode(), sent]

    return script


# What must hold besides


def fresh_connections(played: Played) -> None:
    """No connection with surplus bytes was used again."""
    assert {asked.turn for asked in played.requests} == {0}


def unconfirmed(played: Played) -> None:
    """Unless a part that was begun under the same ETag says how long the file is."""
    said = "confirmed" if played.mode == RESUME else "unconfirmed"
    assert played.result.completeness == said


BAD_CHUNKS = {
    "negative": b"-5\r\nabcde\r\n",
    "long": b"f" * 24 + b"\r\nabc",
    "blank": b"\r\nabc\r\n",
    "letters": b"xyz\r\nabc\r\n",
    "footer": b"3\r\nabcXX0\r\n\r\n",
    "plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "hexed": b"0x3\r\nabc\r\n0\r\n\r\n",
}
UNSAID = [
    Row(
        "P21",
        "chunked, and a Content-Length that lies",
        Chunks(("Content-Length: 5",), most=256 * KiB),
        ends(0),
        fetched=1.1,
        check=fresh_connections,
    ),
    Row(
        "P34",
        "chunked, no length",
        Chunks(ranges=False),
        ends(0),
        completeness="confirmed",
        fetched=1.1,
    ),
    Row(
        "P34-cut",
        "the last chunk is missing twice",
        Chunks(ranges=False, tail=b"", times=2),
        ends(0),
        completeness="confirmed",
        fetched=3.1,
        requests=3,
    ),
    Row(
        "P34-never",
        "the last chunk never comes",
        Chunks(ranges=False, tail=b""),
        {FRESH: ends(4), RESUME: ends(0), WORKERS: ends(4)},  # the part knows its length
        fetched=5.1,
        requests=5,
    ),
    Row(
        "P34-ranges",
        "206s in chunks, the last chunk missing",
        Chunks(tail=b""),
        ends(0),
        fetched=1.1,
    ),
    Row(
        "P35",
        "no length, ended by the connection",
        until_closed(END),
        ends(0),
        fetched=1.1,
        check=unconfirmed,
    ),
    Row(
        "P35-reset",
        "a reset instead of the end, twice",
        until_closed(RESET, 200 * KiB, times=2),
        ends(0),
        fetched=2.1,
        requests=3,
        check=unconfirmed,
    ),
    Row(
        "P35-resets",
        "always",
        until_closed(RESET, 200 * KiB),
        ends(4),
        requests=5,
    ),
    Row(
        "P35-strict",
        "no length, with --strict",
        until_closed(END),
        {FRESH: ends(7), RESUME: ends(0), WORKERS: ends(7)},
        options={"strict": True},
        fetched=1.1,
        requests=1,
    ),
]
SHORT = [
    Row(
        "P36",
        "bodies shorter than their length",
        cut_at(200 * KiB),
        ends(0),
        fetched=1.1,
        requests=24,
    ),
    Row("P36-one", "two bodies of one byte", cut_at(1, times=2), ends(0), fetched=1.1),
    Row("P36-last", "the last byte is missing", cut_at(-1, times=4), ends(0), fetched=1.1),
    Row("P36-none", "no byte of a body ever", cut_at(0), ends(4), requests=8, fetched=0.0),
    Row("P37", "bodies reset", cut_at(200 * KiB, RESET, 6), ends(0), fetched=1.1),
    Row("P37-last", "reset before the last byte", cut_at(-1, RESET, 4), ends(0), fetched=1.1),
    *(
        Row(
            f"P38-{name}",
            f"a {name} chunk size or footer behind good chunks, once",
            Chunks(tail=form, times=1, upto=100 * KiB),
            ends(0),
            fetched=1.2,
        )
        for name, form in BAD_CHUNKS.items()
    ),
    *(
        Row(
            f"P38-{name}-unsaid",
            "the same in a body of unknown length",
            Chunks(tail=form, times=1, upto=700 * KiB, ranges=False),
            ends(0),
            completeness="confirmed",
            fetched=1.5,
            requests=2,
        )
        for name, form in BAD_CHUNKS.items()
    ),
    Row(
        "P38-ever",
        "damaged chunks in every body of unknown length",
        Chunks(tail=BAD_CHUNKS["negative"], upto=100 * KiB, ranges=False),
        ends(4),
        modes=(FRESH,),
        requests=5,
    ),
]
LONG = [
    Row(
        "P39",
        "500 bytes more than Content-Length",
        surplus(b"x" * 500),
        ends(0),
        fetched=1.1,
        check=fresh_connections,
    ),
    Row(
        "P39-head",
        "the surplus comes together with head and body",
        surplus(b"x" * 500, most=4000),
        ends(0),
        size=20000,
        cut=9000,
        check=fresh_connections,
    ),
    Row(
        "P40",
        "a forged answer to the next request behind each body",
        forged(256 * KiB),
        ends(0),
        fetched=1.1,
        check=fresh_connections,
    ),
    Row(
        "P40-head",
        "the same in the packet of head and body",
        forged(4000),
        ends(0),
        size=20000,
        cut=9000,
        check=fresh_connections,
    ),
    Row(
        "P81",
        "Content-Length one more than Content-Range",
        off_by(1),
        ends(0),  # the plain request at last
        requests=DEMOTED,
        fetched=1.1,
    ),
    Row("P81-less", "one less", off_by(-1), ends(0), requests=DEMOTED, fetched=1.1),
]

ROWS = [*UNSAID, *SHORT, *LONG]
