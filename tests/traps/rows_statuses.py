"""Answers that carry no file, or not as it is, empty files, and lengths no file can have."""

from __future__ import annotations

from dataclasses import replace

from tests.support.origin import END, Answer
from tests.traps.harness import (
    FRESH,
    RESUME,
    WORKERS,
    Asked,
    Head,
    Played,
    Row,
    Script,
    Server,
    altered,
    ends,
)
from tests.traps.rows_bodies import Chunks
from tests.traps.rows_ranges import DEMOTED


def status(
    line: str, *, body: bool = False, times: int = 10**9, closed: bool = False, least: int = 0
) -> Script:
    """This status to the first `times` requests from the one numbered `least` on."""

    def script(server: Server, asked: Asked) -> Answer:
        if not least <= asked.number < least + times:
            return server.honest(asked)
        head, content = server.head(asked)
        sent = replace(head, status=line, length=len(content) if body else None if closed else 0)
        return [sent.encode(), content if body else b"", *([END] if body or closed else [])]

    return script


def length_of(*values: str) -> Script:
    """A 200 with these Content-Lengths; few bytes follow."""

    def script(server: Server, asked: Asked) -> Answer:
        more = tuple(f"Content-Length: {value}" for value in values)
        return [Head(more=more).encode(), b"abc", END]

    return script


def range_of(total: int) -> Script:
    """A 206 of a file that is said to be so long."""

    def script(server: Server, asked: Asked) -> Answer:
        said = f"bytes 0-{total - 1}/{total}"
        return [Head("206 Partial Content", total, said).encode(), b"abc", END]

    return script


def no_bytes_in_range(line: str, said: str | None, *, always: bool = False) -> Script:
    """An empty file: this answer to a Range, and an empty 200 to a plain request."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.ranged or always:
            return [Head(line, 0, said).encode()]
        return [Head(length=0).encode()]

    return script


# What must hold besides


def nothing_left(played: Played) -> None:
    if played.mode != RESUME:
        assert list(played.folder.iterdir()) == []


def is_empty(played: Played) -> None:
    assert played.target.read_bytes() == b""
    assert played.result.completeness == "confirmed"


EMPTY = "bytes */0"


NO_DATA = ("204 No Content", "205 Reset Content", "304 Not Modified")
NOT_THE_FILE = (
    "203 Non-Authoritative Information",
    "207 Multi-Status",
    "226 IM Used",
    "299 Strange",
)
LENGTHS = {
    "2^63": (str(2**63),),
    "2^70": (str(2**70),),
    "5000-digits": ("9" * 5000,),
    "negative": ("-1",),
    "plus": ("+3",),
    "junk": ("3x",),
    "blank": ("3 3",),
    "list": ("3, 5",),
    "two": ("3", "5"),
    "hex": ("0x3",),
    "underscore": ("1_0",),
}

GZIP = "Content-Encoding: gzip"
CODED = [
    Row(
        "P19",
        "Content-Encoding on everything",
        altered(more=(GZIP,)),
        ends(7),
        requests=DEMOTED,
        fetched=0.0,
        check=nothing_left,
    ),
    Row(
        "P19-brief",
        "Content-Encoding on the first answer",
        lambda server, asked: (
            altered(more=(GZIP,))(server, asked) if asked.number == 0 else server.honest(asked)
        ),
        ends(0),
        fetched=1.1,
    ),
    *(
        Row(
            f"P20-{coding.split(',')[0]}",
            f"Transfer-Encoding: {coding}",
            altered(more=(f"Transfer-Encoding: {coding}",), length=None),
            ends(7),
            requests=DEMOTED,
            fetched=0.0,
            check=nothing_left,
        )
        for coding in ("gzip, chunked", "identity", "strange")
    ),
]
STATUSES = [
    *(
        Row(
            f"P41-{line[:3]}{'-body' if body else ''}",
            f"{line} to everything, {'with' if body else 'without'} a body",
            status(line, body=body),
            ends(7),
            requests=DEMOTED,
            fetched=0.0,
            check=nothing_left,
        )
        for line in NO_DATA
        for body in (False, True)
    ),
    Row("P41-once", "204 once", status("204 No Content", times=1), ends(0), fetched=1.1),
    Row(
        "P41-worker",
        "304 to a worker",
        status("304 Not Modified", times=2, least=2),
        ends(0),
        modes=(WORKERS,),
        fetched=1.1,
    ),
    *(
        Row(
            f"P42-{line[:3]}",
            f"{line} to everything, with the bytes",
            status(line, body=True),
            ends(7),
            requests=DEMOTED,
            fetched=0.0,
            check=nothing_left,
        )
        for line in NOT_THE_FILE
    ),
    Row(
        "P42-202",
        "202 to everything, with the bytes: it may pass",
        status("202 Accepted", body=True),
        ends(8),
        requests=5,
        fetched=0.0,
        check=nothing_left,
    ),
    Row("P42-once", "202 twice", status("202 Accepted", times=2), ends(0), fetched=1.1),
]
SIZES = [
    *(
        Row(
            f"P47-{name}",
            f"an empty file: {name}",
            script,
            ends(0),
            size=0,
            modes=(FRESH, WORKERS),
            requests=most,
            check=is_empty,
        )
        for name, script, most in (
            ("416", no_bytes_in_range("416 Range Not Satisfiable", EMPTY), 2),
            ("416-bare", no_bytes_in_range("416 Range Not Satisfiable", None), 2),
            ("200", no_bytes_in_range("200 OK", None), 1),
            ("206", no_bytes_in_range("206 Partial Content", EMPTY), DEMOTED),
            ("206-minus", no_bytes_in_range("206 Partial Content", "bytes 0--1/0"), DEMOTED),
            ("chunked", Chunks(ranges=False), 1),
        )
    ),
    Row(
        "P47-all",
        "416 to a plain request too",
        no_bytes_in_range("416 Range Not Satisfiable", EMPTY, always=True),
        ends(8),
        size=0,
        modes=(FRESH,),
        requests=2,
        check=nothing_left,
    ),
    *(
        Row(
            f"P80-{name}",
            f"Content-Length {name}",
            length_of(*values),
            ends(7),
            modes=(FRESH, RESUME),
            requests=DEMOTED,
            fetched=0.0,
            check=nothing_left,
        )
        for name, values in LENGTHS.items()
    ),
    Row(
        "P80-largest",
        "the largest length there can be: no room",
        length_of(str(2**63 - 2)),
        ends(12),
        modes=(FRESH,),
        requests=1,
        fetched=0.0,
        check=nothing_left,
    ),
    Row(
        "P80-range",
        "the largest complete-length in a Content-Range: no room",
        range_of(2**63 - 2),
        ends(12),
        modes=(FRESH,),
        requests=1,
        fetched=0.0,
        check=nothing_left,
    ),
    Row(
        "P80-beyond",
        "one more than that",
        range_of(2**63 - 1),
        ends(7),
        modes=(FRESH,),
        requests=DEMOTED,
        fetched=0.0,
        check=nothing_left,
    ),
]


ROWS = [*CODED, *STATUSES, *SIZES]
