"""Another version, or what looks like one: in mid-download, between runs, from another node."""

from __future__ import annotations

from dataclasses import replace

from tests.support.origin import END, Answer
from tests.traps.harness import (
    ALL,
    CUT,
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
from tests.traps.rows_identity import CONDITIONS, new_version, plain, unheard


def another_version_from(number: int) -> Script:
    """The file is replaced before request `number`."""
    return lambda server, asked: server.honest(asked, int(asked.number >= number))


def if_range_unknown(server: Server, asked: Asked) -> Answer:
    """If-Range is always taken as not met; the 200 has the same ETag."""
    if "if-range" in asked.seen.fields:
        return [Head(length=len(server.content)).encode(), server.content]
    return server.honest(asked)


def if_match_refused(times: int) -> Script:
    """412 to the first requests with If-Match, though nothing changed."""

    def script(server: Server, asked: Asked) -> Answer:
        count = server.marks.setdefault("count", [0])
        if "if-match" in asked.seen.fields and count[0] < times:
            count[0] += 1
            return [Head("412 Precondition Failed", 0, etag=None).encode()]
        return server.honest(asked)

    return script


def all_conditions_refused(server: Server, asked: Asked) -> Answer:
    """412 to every request that has a precondition."""
    if any(name in asked.seen.fields for name in CONDITIONS):
        return [Head("412 Precondition Failed", 0, etag=None).encode()]
    return server.honest(asked)


def two_nodes(*, told: bool, same: int = 0) -> Script:
    """Requests go to two nodes in turn, each with an ETag of its own for the same bytes. `told`:
    they answer 412 to the other's; `same`: the first so many requests go to one."""

    def script(server: Server, asked: Asked) -> Answer:
        tag = '"v0"' if asked.number < same or asked.number % 2 == 0 else '"w0"'
        if told and asked.seen.fields.get("if-match", tag) != tag:
            return [Head("412 Precondition Failed", 0, etag=tag).encode()]
        head, body = plain(server, asked)
        if asked.seen.fields.get("if-range", tag) != tag:
            head, body = Head(length=len(server.content)), server.content
        return [replace(head, etag=tag).encode(), body]

    return script


def growing(*, tagged: bool) -> Script:
    """1000 bytes more at every request; `tagged`: with an ETag for each."""

    def script(server: Server, asked: Asked) -> Answer:
        version = min(asked.number, len(server.versions) - 1)
        if tagged:
            return server.honest(asked, version)
        head, body = plain(server, asked, version)
        return [replace(head, etag='"v0"').encode(), body]

    return script


# What must hold besides


def stopped_asking(played: Played) -> None:
    """Nothing but one volley was sent with If-Match."""
    with_match = [asked for asked in played.requests if "if-match" in asked.seen.fields]
    assert len(with_match) <= 4
    assert played.result.connections == (4 if played.mode == WORKERS else 1)


SWITCHES = [
    Row(
        f"P22-{number}-{kind}",
        f"another version of {kind} size at request {number}",
        another_version_from(number),
        ends(0),
        versions=2,
        sizes=sizes,
        modes=ALL if number == 0 else (RESUME, WORKERS),
        fetched=2.4,
        requests=24,
    )
    for number in range(8)
    for kind, sizes in {
        "equal": (SIZE, SIZE),
        "lesser": (SIZE, SIZE - 300 * KiB),
        "small": (SIZE, 5000),
        "greater": (SIZE, SIZE + 300 * KiB),
    }.items()
]


def other_bytes_after_a_cut(server: Server, asked: Asked) -> Answer:
    """The first answer ends early; from then on it is the other version, under the same tag."""
    head, body = server.head(asked, int(asked.number > 0))
    steps = [replace(head, etag='"v0"').encode(), body]
    return steps if asked.number else [steps[0], body[:CUT], END]


ROWS = [
    *SWITCHES,
    Row(
        "P22-fail",
        "another version, --on-change=fail",
        another_version_from(2),
        ends(9),
        versions=2,
        modes=(WORKERS,),
        options={"on_change": "fail"},
        fetched=1.1,
    ),
    Row(
        "P22-fail-resume",
        "another version between two runs, --on-change=fail",
        another_version_from(0),
        ends(9),
        versions=2,
        modes=(RESUME,),
        options={"on_change": "fail"},
        requests=1,
        fetched=0.1,
    ),
    Row(
        "P23",
        "other bytes under the ETag of those that are here",
        unheard(1, etag='"v0"'),
        ends(0),
        versions=2,
        modes=(RESUME,),
        fetched=1.2,
        check=new_version,
    ),
    Row(
        "P23-cut",
        "other bytes under the same ETag after a cut",
        other_bytes_after_a_cut,
        ends(0),
        versions=2,
        modes=(FRESH,),
        fetched=1.6,
        check=new_version,
    ),
    Row(
        "P23-digest",
        "other bytes under the same ETag in mid-download, and a digest given",
        unheard(1, first=2, etag='"v0"'),
        ends(10),
        versions=2,
        modes=(WORKERS,),
        digest=True,
    ),
    # the body in hand is the file: it is used, rather than another request made
    Row(
        "P28",
        "If-Range is not understood: a 200 with the same ETag",
        if_range_unknown,
        ends(0),
        fetched=1.1,
        requests=20,
    ),
    Row(
        "P29",
        "If-Range is not heard: a 206 of another version",
        unheard(1),
        ends(0),
        versions=2,
        modes=(RESUME,),
        fetched=1.1,
        requests=2,
        check=new_version,
    ),
    Row(
        "P29-match",
        "If-Match is not heard either",
        unheard(1, first=2),
        ends(0),
        versions=2,
        modes=(RESUME, WORKERS),
        fetched=2.1,
    ),
    Row(
        "P30",
        "412 to every If-Match, though nothing changed",
        if_match_refused(10**9),
        ends(0),
        fetched=1.2,
        requests=24,
        check=stopped_asking,
    ),
    Row(
        "P30-all",
        "412 to every precondition",
        all_conditions_refused,
        ends(0),
        fetched=2.1,
        requests=24,
    ),
    Row(
        "P31",
        "two nodes in turn, each with its ETag, that refuse the other's",
        two_nodes(told=True),
        ends(0),
        fetched=3.5,
        requests=40,
    ),
    Row(
        "P31-deaf",
        "two nodes that hear no precondition but If-Range",
        two_nodes(told=False),
        ends(0),
        fetched=3.5,
        requests=40,
    ),
    Row("P46", "412 once", if_match_refused(1), ends(0), fetched=1.2, requests=24),
    Row(
        "P49",
        "the file grows at every request, with an ETag for each length",
        growing(tagged=True),
        ends(0),
        sizes=[SIZE + 1000 * more for more in range(40)],
        growing=True,
        fetched=3.5,
        requests=30,
    ),
    # another length is another version, whatever the ETag says
    Row(
        "P49-same",
        "it grows under one ETag",
        growing(tagged=False),
        ends(0),
        sizes=[SIZE + 1000 * more for more in range(40)],
        growing=True,
        fetched=3.5,
        requests=40,
    ),
]
