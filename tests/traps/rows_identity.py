"""Validators that are weak, dated, missing or gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.origin import END, HANG, Answer
from tests.traps.harness import (
    DATE,
    EARLIER,
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

SECOND_BEFORE = "Wed, 18 Nov 2026 11:59:59 GMT"
LATER = "Thu, 19 Nov 2026 12:00:00 GMT"
CONDITIONS = ("if-match", "if-range", "if-unmodified-since")


def plain(server: Server, asked: Asked, version: int = 0) -> tuple[Head, bytes]:
    """An answer to the range alone; preconditions are not heard."""
    lines = asked.seen.head.split(b"\r\n")
    kept = [line for line in lines if line.split(b":")[0].lower().decode() not in CONDITIONS]
    seen = replace(asked.seen, head=b"\r\n".join(kept))
    return server.head(replace(asked, seen=seen), version)


def unheard(version: int, first: int = 0, **changes: Any) -> Script:
    """From request `first` on this version, whatever the preconditions say."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.number < first:
            return server.honest(asked)
        head, body = plain(server, asked, version)
        return [replace(head, **changes).encode(), body]

    return script


def validators(cut: int | None = None, **changes: Any) -> Script:
    """206s and 200s with these validators; bodies end after `cut` bytes."""

    def script(server: Server, asked: Asked) -> Answer:
        head, body = plain(server, asked)
        whole = [replace(head, **changes).encode(), body]
        if cut is None or asked.number > 0 or len(body) <= cut:
            return whole
        return [whole[0], body[:cut], END]

    return script


def tag_gone(server: Server, asked: Asked) -> Answer:
    """No ETag after the first answer."""
    head, body = server.head(asked)
    return [replace(head, etag=head.etag if asked.number == 0 else None).encode(), body]


def head_hangs(server: Server, asked: Asked) -> Answer:
    if asked.seen.line.startswith("HEAD"):
        return [HANG]
    return server.honest(asked)


def head_lies(server: Server, asked: Asked) -> Answer:
    if asked.seen.line.startswith("HEAD"):
        return [Head(length=7, etag='"head"', more=("Content-Type: text/html",)).encode()]
    return server.honest(asked)


# What must hold besides


def began_anew(played: Played) -> None:
    """Without a validator that joins: from the first byte, without preconditions, in one stream."""
    assert [asked.start for asked in played.requests] == [0]
    assert not any(name in played.requests[0].seen.fields for name in CONDITIONS)
    assert played.result.connections == 1


def new_version(played: Played) -> None:
    assert played.target.read_bytes() == played.server.versions[-1]


def sent_back(played: Played) -> None:
    """The Last-Modified that was sent, exactly, where parts are joined."""
    name = {FRESH: "", RESUME: "if-range", WORKERS: "if-unmodified-since"}[played.mode]
    sent = {asked.seen.fields.get(name, SECOND_BEFORE) for asked in played.requests}
    assert sent == {SECOND_BEFORE}
    assert played.mode == FRESH or any(name in asked.seen.fields for asked in played.requests)


NONE: dict[str, Any] = {"etag": None, "modified": None}
WEAK: dict[str, Any] = {"etag": 'W/"v0"'}
BY_DATE: dict[str, Any] = {"etag": None, "modified": SECOND_BEFORE}
UNSOUND: dict[str, dict[str, Any]] = {
    "now": {"etag": None, "modified": DATE},
    "future": {"etag": None, "modified": LATER},
    "undated": {"etag": None, "modified": EARLIER, "date": None},
    "garbage": {"etag": None, "modified": "yesterday"},
}

ROWS = [
    Row(
        "P24",
        "a weak ETag",
        validators(**WEAK),
        ends(0),
        trust="T0",
        begun=WEAK,
        fetched=1.1,
        requests=1,
        check=began_anew,
    ),
    Row(
        "P24-cut",
        "a weak ETag, and the first body is cut",
        validators(cut=700 * KiB, **WEAK),
        ends(0),
        trust="T0",
        begun=WEAK,
        fetched=1.6,
        requests=2,
    ),
    Row(
        "P24-digest",
        "a weak ETag, and a digest given: parts are joined",
        validators(cut=300 * KiB, **WEAK),
        ends(0),
        trust="T4",
        begun=WEAK,
        digest=True,
        fetched=1.1,
    ),
    Row(
        "P25",
        "Last-Modified a second before Date",
        validators(**BY_DATE),
        ends(0),
        trust="T1",
        begun=BY_DATE,
        fetched=1.1,
        check=sent_back,
    ),
    Row(
        "P25-weak",
        "the same beside a weak ETag",
        validators(**{**BY_DATE, **WEAK}),
        ends(0),
        trust="T1",
        begun={**BY_DATE, **WEAK},
        fetched=1.1,
        check=sent_back,
    ),
    *(
        Row(
            f"P25-{name}",
            f"Last-Modified {name}",
            validators(**said),
            ends(0),
            trust="T0",
            begun=said,
            fetched=1.1,
            requests=1,
            check=began_anew,
        )
        for name, said in UNSOUND.items()
    ),
    Row(
        "P25-date-changed",
        "Last-Modified moved between two runs",
        validators(etag=None, modified=EARLIER),
        ends(0),
        trust="T1",
        begun=BY_DATE,
        modes=(RESUME,),
        fetched=1.1,
    ),
    Row(
        "P26",
        "no validator",
        validators(**NONE),
        ends(0),
        trust="T0",
        begun=NONE,
        fetched=1.1,
        requests=1,
        check=began_anew,
    ),
    Row(
        "P26-digest",
        "no validator, and a digest given: parts are joined",
        validators(cut=300 * KiB, **NONE),
        ends(0),
        trust="T4",
        begun=NONE,
        digest=True,
        fetched=1.1,
    ),
    Row(
        "P27",
        "no validator after the first answer",
        tag_gone,
        ends(0),
        modes=(RESUME, WORKERS),
        fetched=2.1,
        requests=12,
    ),
    Row(
        "P27-other",
        "another version without a validator from the third request on",
        unheard(1, first=2, etag=None),
        ends(0),
        versions=2,
        modes=(WORKERS,),
        fetched=2.1,
        requests=16,
    ),
    Row(
        "P27-resume-other",
        "another version without a validator where the part had one",
        unheard(1, etag=None),
        ends(0),
        versions=2,
        modes=(RESUME,),
        fetched=1.1,
        requests=4,
        check=new_version,
    ),
    Row(
        "P27-resume",
        "no validator where the part had one",
        altered(etag=None),
        ends(0),
        modes=(RESUME,),
        fetched=1.1,
        requests=4,
    ),
    Row("P32", "HEAD hangs", head_hangs, ends(0), fetched=1.1),
    Row("P33", "HEAD says other things than GET", head_lies, ends(0), fetched=1.1),
]
