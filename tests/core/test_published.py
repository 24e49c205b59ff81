"""Fields that say what a file hashes to: which are read, when, and who is believed."""

from __future__ import annotations

import base64
import hashlib

import pytest

from rdl.core.fields import ResponseHead
from rdl.core.published import informing, published, quarrel

DATA = b"the bytes of a file"
HEX = hashlib.sha256(DATA).hexdigest()
TEXT = base64.b64encode(bytes.fromhex(HEX)).decode()
LONG = base64.b64encode(hashlib.sha512(DATA).digest()).decode()
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
OTHER = base64.b64encode(bytes(32)).decode()
CRC = base64.b64encode(bytes(4)).decode()


def said(*fields: tuple[str, str], whole: bool = True) -> list[tuple[str, str, str]]:
    found = published(ResponseHead(200, fields), whole=whole)
    return [(one.source, one.algorithm, one.hex) for one in found]


ALWAYS = [
    ("repr-digest", f"sha-256=:{TEXT}:"),
    ("repr-digest", f"md5=:AAAA:, sha-256=:{TEXT}:;q=1 , unixsum=:AQ==:"),
    ("docker-content-digest", f"sha256:{HEX}"),
    ("x-linked-etag", f'"{HEX}"'),
]
OF_THE_CONTENT = [
    ("content-digest", f"sha-256=:{TEXT}:"),
    ("digest", f"SHA-256={TEXT}"),
    ("digest", f"MD5={MD5}, id-sha-256={TEXT}"),
    ("x-amz-checksum-sha256", TEXT),
]


@pytest.mark.parametrize("field", ALWAYS)
@pytest.mark.parametrize("whole", [True, False])
def test_what_speaks_of_the_whole(field: tuple[str, str], whole: bool) -> None:
    assert said(field, whole=whole) == [(field[0], "sha256", HEX)]


@pytest.mark.parametrize("field", OF_THE_CONTENT)
def test_what_speaks_of_the_content_counts_where_that_is_the_whole(field: tuple[str, str]) -> None:
    assert said(field) == [(field[0], "sha256", HEX)]
    assert said(field, whole=False) == []


@pytest.mark.parametrize(
    "field",
    [
        ("repr-digest", ""),
        ("repr-digest", "sha-256"),
        ("repr-digest", f"sha-256={TEXT}"),
        ("repr-digest", f"sha-256=:{TEXT[:-4]}:"),
        ("repr-digest", "sha-256=:!!!!:"),
        ("repr-digest", f"sha-256=:{TEXT}=:"),
        ("repr-digest", f"sha-256=:{TEXT}:, sha-256=:{OTHER}:"),
        ("repr-digest", f"md5=:{TEXT}:"),
        ("digest", f"SHA-256={HEX}"),
        ("digest", f"SHA-256={TEXT};SHA-256={OTHER}"),
        ("docker-content-digest", HEX),
        ("docker-content-digest", f"sha256:{HEX[:-1]}"),
        ("docker-content-digest", f"sha512:{HEX}"),
        ("x-linked-etag", f'"{HEX[:40]}"'),
        ("x-linked-etag", f'W/"{HEX}"'),
        ("x-amz-checksum-sha256", f"{TEXT}-7"),
        ("x-goog-hash", f"md5={MD5}"),
        ("etag", f'"{HEX}"'),
    ],
)
def test_what_makes_no_sense_or_verifies_nothing_says_nothing(field: tuple[str, str]) -> None:
    assert said(field) == []


@pytest.mark.parametrize(
    "more", [("x-amz-checksum-type", "COMPOSITE"), ("x-amz-mp-parts-count", "3")]
)
def test_the_checksum_of_an_upload_in_parts_is_not_that_of_the_file(more: tuple[str, str]) -> None:
    assert said(("x-amz-checksum-sha256", TEXT), more) == []


def test_a_field_that_comes_twice_is_one_list() -> None:
    assert len(said(ALWAYS[0], ALWAYS[0])) == 1
    assert said(("repr-digest", f"sha-256=:{TEXT}:"), ("repr-digest", f"sha-256=:{OTHER}:")) == []


def test_the_cheapest_of_several_comes_first() -> None:
    found = said(("repr-digest", f"sha-512=:{LONG}:"), ("digest", f"SHA-256={TEXT}"))
    assert [(source, name) for source, name, _ in found] == [
        ("digest", "sha256"),
        ("repr-digest", "sha512"),
    ]


def test_two_fields_that_disagree_are_named() -> None:
    fields = (("repr-digest", f"sha-256=:{TEXT}:"), ("x-linked-etag", f'"{"0" * 64}"'))
    found = published(ResponseHead(200, fields), whole=True)
    assert quarrel(found) == "repr-digest and x-linked-etag publish different sha256"
    assert quarrel(found[:1]) == ""


@pytest.mark.parametrize(
    ("fields", "name", "digest"),
    [
        ((("x-goog-hash", f"crc32c={CRC},md5={MD5}"),), "md5", hashlib.md5(DATA).hexdigest()),
        ((("x-goog-hash", f"crc32c={CRC}"),), "crc32c", "00000000"),
        ((("content-md5", MD5),), "md5", hashlib.md5(DATA).hexdigest()),
        ((("x-amz-checksum-crc32c", CRC),), "crc32c", "00000000"),
        ((("etag", f'"{"a" * 32}"'), ("x-amz-request-id", "1")), "md5", "a" * 32),
    ],
)
def test_what_only_informs(fields: tuple[tuple[str, str], ...], name: str, digest: str) -> None:
    head = ResponseHead(200, fields)
    assert (name, digest) in [(one.algorithm, one.hex) for one in informing(head, whole=True)]
    assert published(head, whole=True) == ()


@pytest.mark.parametrize(
    "fields",
    [
        (("etag", f'"{"a" * 32}"'),),
        (("etag", f'"{"a" * 32}-5"'), ("x-amz-request-id", "1")),
        (
            ("etag", f'"{"a" * 32}"'),
            ("x-amz-request-id", "1"),
            ("x-amz-server-side-encryption", "aws:kms"),
        ),
    ],
)
def test_an_etag_that_is_no_md5(fields: tuple[tuple[str, str], ...]) -> None:
    assert informing(ResponseHead(200, fields), whole=True) == ()
