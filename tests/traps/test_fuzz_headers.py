"""Fields of responses: accepted text means what its re-encoding means; hostile text is cheap."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.classify import representation_of
from rdl.core.describing import offered_name
from rdl.core.digest import HEX_DIGITS, digests_in_fragment
from rdl.core.fields import (
    MAX_TOTAL,
    ResponseHead,
    format_range,
    parse_content_range,
    parse_etag,
    parse_http_date,
    parse_retry_after,
    parse_unsatisfied,
)
from rdl.core.names import name_fault
from rdl.core.published import informing, published, quarrel
from rdl.core.text import is_redacted, redact_text, redact_url, safe_text
from rdl.errors import UsageError
from rdl.options import Digest
from tests.support.timing import seconds
from tests.traps.fuzzing import ANY, MiB, bounded, mutated

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
DATES = (DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994")
SHA256 = base64.b64encode(hashlib.sha256(b"rdl").digest()).decode()
DISPOSITION = "attachment; filename=\"a b.bin\"; filename*=UTF-8''a%20b.bin"


def near(*texts: str) -> st.SearchStrategy[str]:
    """Texts a few changes away from these, or any text at all."""
    some = [mutated(text.encode()).map(lambda data: data.decode("latin-1")) for text in texts]
    return st.one_of(*some, ANY)


NUMBERS = st.one_of(
    st.integers(0, 12).map(str),
    st.sampled_from(["007", "*", "", "-1", "+1", " 1", "1_0", "\u0661", "9" * 25, "1e1", "0x1"]),
    st.sampled_from([MAX_TOTAL - 1, MAX_TOTAL, MAX_TOTAL + 1, 2**63, 2**64]).map(str),
)
UNITS = st.sampled_from(["bytes ", "bytes ", "bytes ", "BYTES ", "bytes=", "items ", "bytes  ", ""])
SPANS = st.builds(
    "{}{}-{}/{}{}".format, UNITS, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["", "\n"])
)


SMALL = st.builds("bytes {}-{}/{}".format, *[st.integers(0, 9)] * 3)


@bounded
@given(st.one_of(SMALL, SPANS, near("bytes 0-499/1234", "bytes 42-1233/*")))
def test_a_content_range(text: str) -> None:
    said = parse_content_range(text)
    if said is None:
        return
    first, last = format_range(said.range.start, said.range.stop)[6:].split("-")
    total = "*" if said.total is None else said.total
    assert parse_content_range(f"bytes {first}-{last}/{total}") == said
    digits = [int(number) for number in re.findall("[0-9]+", text)]
    assert digits == [
        number for number in (int(first), int(last), said.total) if number is not None
    ]
    bound = MAX_TOTAL if said.total is None else said.total
    assert 0 <= said.range.start < said.range.stop <= bound <= MAX_TOTAL


@bounded
@given(st.one_of(st.builds("{}*/{}".format, UNITS, NUMBERS), near("bytes */1234")))
def test_an_unsatisfied_range(text: str) -> None:
    total = parse_unsatisfied(text)
    if total is not None:
        assert 0 <= total <= MAX_TOTAL
        assert parse_unsatisfied(f"bytes */{total}") == total
        assert parse_content_range(text) is None


@bounded
@given(near(*DATES))
def test_a_date(text: str) -> None:
    moment = parse_http_date(text)
    if moment is not None:
        again = datetime.fromtimestamp(moment, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        # the year has four digits also before 1000, where strftime leaves the zeros out
        assert parse_http_date(re.sub(r" (\d{1,3}) (?=\d\d:)", _four_digits, again)) == moment
        assert text.isascii()


def _four_digits(found: re.Match[str]) -> str:
    return f" {int(found[1]):04} "


@bounded
@given(st.one_of(NUMBERS, near("120", DATE)), near(DATE))
def test_a_delay(text: str, date: str) -> None:
    delay = parse_retry_after(text, date)
    if delay is not None:
        assert 0 <= delay < float("inf")
        if text.isdigit():
            assert text.isascii()
            assert delay == min(int(text), 1e9)


TAGS = st.builds(
    '{}"{}"{}'.format,
    st.sampled_from(["", "W/", "w/"]),
    st.text(alphabet='a \t\x7f\x00,"\xff\u0100', max_size=3),
    st.sampled_from(["", " ", "\n"]),
)


@bounded
@given(
    st.one_of(
        st.text(alphabet="a \t", max_size=4).map('"{}"'.format), TAGS, near('"abc"', 'W/"abc"')
    )
)
def test_an_entity_tag(text: str) -> None:
    tag = parse_etag(text)
    assert tag in (None, text)
    if tag is not None:
        assert re.search(r"[\x00-\x20\x7f]", tag) is None  # can be sent back as it is
        assert tag.count('"') == 2


digests = st.builds(
    lambda name, seed: Digest(name, hashlib.sha512(seed * 3).hexdigest()[: HEX_DIGITS[name]]),
    st.sampled_from(["sha256", "sha384", "sha512"]),
    st.binary(max_size=3),
)


def encoded(digest: Digest) -> str:
    name = digest.algorithm.replace("sha", "sha-")
    return f"{name}=:{base64.b64encode(bytes.fromhex(digest.hex)).decode()}:"


@bounded
@given(st.lists(digests, max_size=4), st.sampled_from([", ", ",", " ,\t", ";x=1, "]))
def test_published_digests_are_read_back(some: list[Digest], between: str) -> None:
    said = publishes(between.join(map(encoded, some)))
    assert set(said) <= set(some)
    for digest in some:
        hexes = {one.hex for one in some if one.algorithm == digest.algorithm}
        assert (digest in said) == (len(hexes) == 1)


def publishes(text: str, name: str = "repr-digest") -> list[Digest]:
    found = published(ResponseHead(200, ((name, text),)), whole=True)
    return [Digest(one.algorithm, one.hex) for one in found]


@bounded
@given(near(f"sha-256=:{SHA256}:", f"md5=:AAAA:, sha-256=:{SHA256}:;q=1"))
def test_what_publishes_a_digest(text: str) -> None:
    said = publishes(text)
    assert publishes(", ".join(map(encoded, said))) == said
    assert all(len(one.hex) == HEX_DIGITS[one.algorithm] for one in said)


PATHS = st.text(alphabet="a./:%\x1b-", min_size=1, max_size=5)


@bounded
@given(
    st.one_of(
        st.builds('a; filename="{}"'.format, PATHS),
        near(DISPOSITION, 'inline; filename="x\\"y.bin"', "attachment; filename=x.bin"),
    )
)
def test_an_offered_name(text: str) -> None:
    name = offered(text)
    if name is not None:
        assert name_fault(name) == ""
        assert offered(f"attachment; filename*=UTF-8''{quote(name, safe='')}") == name


def offered(text: str) -> str | None:
    return offered_name(ResponseHead(200, (("content-disposition", text),)))


def described(text: str) -> object:
    names = ("etag", "last-modified", "date", "content-type", "repr-digest")
    head = ResponseHead(200, tuple((name, text) for name in names))
    return representation_of(head, 1, whole=True)


SAYING = ("digest", "content-digest", "docker-content-digest", "x-linked-etag", "x-goog-hash")
SAYING += ("x-amz-checksum-sha256", "x-amz-checksum-type", "content-md5", "etag")


def in_fragment(text: str) -> object:
    try:
        return digests_in_fragment(f"http://h/f#md5={text}&{text}")
    except UsageError as error:
        return error


def said(text: str) -> object:
    """By all fields that may say what a file hashes to, as long together as one alone."""
    share = text[: max(100, len(text) // len(SAYING))]
    head = ResponseHead(200, tuple((name, share) for name in SAYING))
    found = published(head, whole=True)
    return found, informing(head, whole=True), quarrel(found)


PARSERS: dict[str, Callable[[str], Any]] = {
    "content-range": parse_content_range,
    "unsatisfied": parse_unsatisfied,
    "etag": parse_etag,
    "date": parse_http_date,
    "retry-after": lambda text: parse_retry_after(text, text),
    "repr-digest": publishes,
    "other digests": said,
    "fragment": in_fragment,
    "content-disposition": offered,
    "representation": described,
    "location": lambda text: redact_url(f"https://h/{text}"),
    "location's query": lambda text: (redact_url(f"//h?{text}"), is_redacted(f"//h?{text}")),
    "message": redact_text,
    "shown": safe_text,
}
HOSTILE = {
    "digits": "9",
    "letters": "a",
    "spaces": " ",
    "quotes": '"',
    "backslashes": "\\",
    "equals": "=",
    "colons": ":",
    "questions": "?",
    "at signs": "u:p@",
    "addresses": "http://a",
    "range": "bytes 0-9/",
    "digest": "sha-256=:A",
    "parameters": "; a=b ",
    "quoted": '; a="\\"',
    "days": "Sun, 0",
    "overrides": "\u202e",
}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("parser", PARSERS)
def test_a_mebibyte_costs_little(parser: str, hostile: str) -> None:
    """Heads are cut at 64 KiB; a cost that grows with the square shows here."""
    text = HOSTILE[hostile]
    size = MiB // 4 if parser == "location's query" else MiB
    assert seconds(PARSERS[parser], text * (size // len(text))) < 0.2


def test_many_parameters_cost_little() -> None:
    names = "".join(f";a{number}=b" for number in range(100_000))
    assert seconds(offered, f"attachment{names}") < 0.6
