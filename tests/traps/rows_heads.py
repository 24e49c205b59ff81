"""Heads that lie, bomb or lead astray: redirects, portals, cookies, statuses, and bad bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import rdl
from tests.support.origin import END, HANG, Answer, Step
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
from tests.traps.rows_waits import kept, says, slowly

AT_ONCE = (FRESH, RESUME)
"""Modes of rows that no second connection sees."""
PAGE = b"<!doctype html><title>Log in</title>" + b" " * 2000


def raw(*steps: Step, first: int = 0) -> Script:
    """These bytes to every request from number `first` on."""

    def script(server: Server, asked: Asked) -> Answer:
        return list(steps) if asked.number >= first else server.honest(asked)

    return script


def lead(location: str, status: str = "302 Found") -> Script:
    """Every request is sent elsewhere."""
    return raw(Head(status, 0, etag=None, more=(f"Location: {location}",)).encode())


def in_a_row(server: Server, asked: Asked) -> Answer:
    """/f.bin leads to /1, that to /2, without an end."""
    path = asked.seen.line.split(" ")[1]
    number = int(path[1:]) + 1 if path[1:].isdigit() else 1
    return [Head("302 Found", 0, etag=None, more=(f"Location: /{number}",)).encode()]


def by_a_redirect_with(*body: Step) -> Script:
    """The file is where a redirect leads that has a body of its own."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.seen.line.startswith("GET /there"):
            return server.honest(asked)
        return [b"HTTP/1.1 302 Found\r\nLocation: /there\r\n", *body]

    return script


def page(first: int = 0, **fields: Any) -> Script:
    """A login page in place of the file, from request `first` on."""
    head = Head(length=len(PAGE), etag='"page"', more=("Content-Type: text/html; charset=x",))

    def script(server: Server, asked: Asked) -> Answer:
        if asked.number < first:
            honest, body = server.head(asked)
            return [honest.encode(), body[: 200 * KiB], END]
        return [replace(head, **fields).encode(), PAGE]

    return script


def trailers(server: Server, asked: Asked) -> Answer:
    """Chunks, then trailer fields that contradict the head."""
    head, body = server.head(asked)
    chunks: list[Step] = []
    for at in range(0, len(body), 100 * KiB):
        part = body[at : at + 100 * KiB]
        chunks += [f"{len(part):x}\r\n".encode(), part, b"\r\n"]
    more = ("Transfer-Encoding: chunked", "Trailer: ETag, Content-Length, Content-Range")
    lies = b'ETag: "other"\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\n'
    return [replace(head, length=None, more=more).encode(), *chunks, b"0\r\n", lies, b"\r\n"]


def with_fields(count: int, value: str = "x") -> Script:
    """So many fields more in each head."""
    return altered(more=tuple(f"X-{number}: {value}" for number in range(count)))


def by_cookie(server: Server, asked: Asked) -> Answer:
    """The first answer sets a cookie; without it there is only the page."""
    known = "k=v1" in asked.seen.fields.get("cookie", "")
    if asked.number > 0 and not known:
        return page()(server, asked)
    head, body = server.head(asked)
    steps: list[Step] = [replace(head, more=("Set-Cookie: k=v1; Path=/",)).encode()]
    return [*steps, *slowly(server, asked)[1:]] if body else steps


def cut_by_cookie(server: Server, asked: Asked) -> Answer:
    """The same with one connection: bodies are cut."""
    answer = by_cookie(server, asked)
    return [answer[0], server.head(asked)[1][: 400 * KiB], END] if len(answer) > 2 else answer


def all_alike(played: Played) -> None:
    """Requests differ in what they ask for, and in nothing else."""
    special = ("range", "if-range", "if-match")
    rest = [
        {name: text for name, text in asked.seen.fields.items() if name not in special}
        for asked in played.requests
    ]
    assert len(rest) > 1
    assert all(one == rest[0] for one in rest)
    known = {"host", "accept", "accept-encoding", "connection", "user-agent"}
    assert rest[0].keys() == known | {"x-secret", "authorization"}  # no Referer, no cookie
    lines = {asked.seen.line for asked in played.requests}
    assert len(lines) == 1


def cut_at(size: int) -> Script:
    """Bodies end after `size` bytes."""

    def script(server: Server, asked: Asked) -> Answer:
        head, body = server.head(asked)
        return [head.encode(), body[:size], END]

    return script


def one_bit_flipped(server: Server, asked: Asked) -> Answer:
    """A broken disk behind the server: the byte at 1,000,000 is another one."""
    head, body = server.head(asked)
    at = 1_000_000 - (asked.start or 0)
    if 0 <= at < len(body):
        body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    return [head.encode(), body]


def put_aside(played: Played) -> None:
    assert (played.folder / "f.bin.part.bad").exists()
    assert not (played.folder / "f.bin.part").exists()


def stale(status: int) -> Callable[[Server, Asked], Answer]:
    """A cache in between that has the end of each part only in an older version."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.number == 0:
            head, body = server.head(asked)
            return [head.encode(), body[: 400 * KiB], END]
        if status == 206 and asked.start:
            body = server.versions[1][asked.start : asked.stop]
            said = f"bytes {asked.start}-{asked.start + len(body) - 1}/{len(server.versions[1])}"
            return [Head("206 Partial Content", len(body), said, etag='"v1"').encode(), body]
        return server.honest(asked)

    return script


def endless_chunks(server: Server, asked: Asked) -> Answer:
    """A body without a length that never ends."""
    data, size = server.content, 100 * KiB
    parts = [data[at : at + size] for at in range(0, len(data) // size * size, size)]
    chunks = [f"{size:x}\r\n".encode() + part + b"\r\n" for part in parts]
    return [Head(more=("Transfer-Encoding: chunked",)).encode(), *chunks, HANG]


def little_was_taken(played: Played) -> None:
    """One byte more than allowed shows that it is over."""
    assert played.result.bytes_downloaded <= 512 * KiB + 1
    assert (played.folder / "f.bin.part").stat().st_size <= 512 * KiB + 1


def as_it_was(played: Played) -> None:
    """What an earlier run left is there, and no byte of the page is."""
    says("web page")(played)
    if played.mode == RESUME:
        assert rdl.status(played.target).bytes_present >= played.row.cut
        assert PAGE[:100] not in (played.folder / "f.bin.part").read_bytes()


REFUSED_LOCATIONS = {
    "file": "file:///etc/passwd",
    "ftp": "ftp://127.0.0.1/x",
    "data": "data:text/plain,x",
    "javascript": "javascript:x",
    "no-host": "http:///x",
    "empty": "",
    "bad-port": "http://127.0.0.1:99999/",
    "backslash": "http://h\\@127.0.0.1/",
    "userinfo-bracket": "http://a@[::1/",
    "escape": "http://\x1b[2Jh/",
    "long": "/" + "x" * 70_000,
}

ROWS = [
    Row("P59", "a redirect to itself", lead("/f.bin"), ends(7), requests=2),
    Row(
        "P59-ping-pong",
        "two URLs that lead to each other",
        lambda server, asked: lead("/b" if asked.seen.line.startswith("GET /f") else "/f.bin")(
            server, asked
        ),
        ends(7),
        requests=3,
    ),
    Row("P59-hops", "redirects without an end", in_a_row, ends(7), requests=11),
    *(
        Row(
            f"P63-{name}",
            f"Location: {text[:30]!r}",
            lead(text),
            ends(7),
            modes=AT_ONCE,
            requests=1,
        )
        for name, text in REFUSED_LOCATIONS.items()
    ),
    *(
        Row(
            f"P64-{status}",
            f"{status} in place of the file",
            lead("/elsewhere", f"{status} X"),
            ends(7),
            modes=AT_ONCE,
            requests=1,
        )
        for status in (300, 304, 305, 306, 399)
    ),
    Row(
        "P64-nowhere",
        "302 without Location",
        raw(Head("302 Found", 0, etag=None).encode()),
        ends(7),
        requests=1,
    ),
    Row(
        "P65",
        "a redirect with an endless body",
        by_a_redirect_with(b"Content-Length: 99999999999\r\n\r\n", b"x" * 100_000, HANG),
        ends(0),
        fetched=1.1,
    ),
    Row(
        "P65-chunked",
        "a redirect with endless chunks",
        by_a_redirect_with(
            b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"x" * 0x8000, HANG
        ),
        ends(0),
        fetched=1.1,
    ),
    Row(
        "P66",
        "a login page with 200",
        page(),
        ends(7),
        requests=1,
        check=as_it_was,
    ),
    Row(
        "P66-midway",
        "a login page after the first cut",
        page(first=1),
        ends(7),
        modes=(FRESH, RESUME),
        check=kept(200 * KiB),
    ),
    Row(
        "P66-same-tag",
        "a login page under the tag of the file",
        page(first=1, etag='"v0"'),
        ends(7),
        modes=(FRESH, RESUME),
        check=kept(200 * KiB),
    ),
    Row(
        "P67",
        "511",
        raw(Head("511 Network Authentication Required", len(PAGE), etag=None).encode(), PAGE),
        ends(4),
        requests=1,
        check=says("wants a login"),
    ),
    Row("P78", "trailers that contradict the head", trailers, ends(0), fetched=1.1, trust="T2"),
    Row("P79", "100,000 fields", with_fields(100_000), ends(7), requests=1),
    Row("P79-201", "201 fields and more", with_fields(201), ends(7), requests=1),
    Row("P79-large", "a field of 5 MB", with_fields(1, "x" * 5_000_000), ends(7), requests=1),
    Row("P79-fine", "150 fields", with_fields(150), ends(0), fetched=1.1, trust="T2"),
    *(
        Row(f"P82-{name}", f"{line[:30]!r}", raw(line, END), ends(code), AT_ONCE, requests=most)
        for name, line, code, most in [
            ("0", b"HTTP/1.1 0 No\r\n\r\n", 7, 1),
            ("99", b"HTTP/1.1 099 No\r\n\r\n", 7, 1),
            ("600", b"HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n", 7, 8),
            ("999", b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n", 7, 8),
            ("text", b"hello world\r\n\r\n", 7, 1),
            ("tls", b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", 7, 1),
            ("nul", b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n", 7, 1),
            ("cut", b"HTTP/1.1 200 OK\r\nContent-Le", 4, 5),
            ("space", b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", 7, 1),
        ]
    ),
    Row(
        "P82-fine",
        "no reason, bare LF, a folded field",
        lambda server, asked: (
            [
                server.head(asked)[0]
                .encode()
                .replace(b" OK", b"")
                .replace(b"\r\n\r\n", b"\r\nX-Folded: a\r\n  b\r\n\r\n")
                .replace(b"\r\n", b"\n"),
                server.head(asked)[1],
            ]
        ),
        ends(0),
        fetched=1.1,
        trust="T2",
    ),
    Row("P83", "a cookie is needed", by_cookie, ends(0), modes=(WORKERS,), fetched=1.1),
    Row(
        "P83-cut",
        "a cookie is needed to continue",
        cut_by_cookie,
        ends(0),
        modes=(FRESH,),
        fetched=1.1,
    ),
    Row(
        "P84",
        "content that depends on the request's fields",
        cut_at(300 * KiB),
        ends(0),
        fetched=1.1,
        check=all_alike,
    ),
    Row(
        "P86",
        "one wrong bit, and the digest known",
        one_bit_flipped,
        ends(10),
        digest=True,
        fetched=1.1,
        check=put_aside,
    ),
    Row(
        "P87",
        "a cache has parts of an older version",
        stale(206),
        ends(0, 7, 9),
        versions=2,
        modes=(FRESH, RESUME),
        fetched=4.5,
        requests=20,
    ),
    Row(
        "S20",
        "a body that never ends, and --max-filesize",
        endless_chunks,
        ends(7),
        modes=(FRESH,),
        options={"max_filesize": 512 * KiB},
        check=little_was_taken,
    ),
    Row(
        "S20-large",
        "a length over --max-filesize",
        altered(length=1 << 50),
        ends(7),
        modes=(FRESH,),
        options={"max_filesize": 512 * KiB},
        requests=6,
        fetched=0.0,
    ),
]
