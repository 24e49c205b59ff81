"""What response fields say a file hashes to: each field to digests, with its name.

Some speak of the whole file in any response, others of what the response carries, so they count
only where that is the whole. SHA-2 verifies; MD5, SHA-1 and CRCs inform. A field that breaks
its grammar says nothing, and neither does one that contradicts itself.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator

from rdl.core.digest import HEX_DIGITS, algorithm_of
from rdl.core.fields import ResponseHead
from rdl.options import Digest

WEAK_DIGITS = {"sha1": 40, "md5": 32, "crc64nvme": 16, "crc32c": 8, "crc32": 8}
"""Hex digits of what only informs."""


class Published(Digest, frozen=True):
    """A digest and the field that says it."""

    source: str = "repr-digest"


def published(head: ResponseHead, *, whole: bool) -> tuple[Published, ...]:
    """What can verify, the cheapest algorithm first and of each the first field's; `whole`: the
    response carries all of the file."""
    return tuple(_said(head, whole, HEX_DIGITS))


def of_part(head: ResponseHead) -> Published | None:
    """What the body of this response hashes to, whatever it is of the file."""
    found = [Published(name, text, "content-digest") for name, text in _once_of_part(head)]
    found.sort(key=lambda one: list(reversed(HEX_DIGITS)).index(one.algorithm))
    return found[0] if found else None


def _once_of_part(head: ResponseHead) -> list[tuple[str, str]]:
    said = _once(_structured(head, "content-digest")) if head.get("content-digest") else []
    return [(name, text) for name, text in said if len(text) == HEX_DIGITS.get(name)]


def informing(head: ResponseHead, *, whole: bool) -> tuple[Published, ...]:
    """What cannot verify."""
    return tuple(_said(head, whole, WEAK_DIGITS))


def quarrel(found: tuple[Published, ...]) -> str:
    """Which two fields disagree about the file, or nothing."""
    first: dict[str, Published] = {}
    for one in found:
        other = first.setdefault(one.algorithm, one)
        if other.hex != one.hex:
            return f"{other.source} and {one.source} publish different {one.algorithm}"
    return ""


def _said(head: ResponseHead, whole: bool, digits: dict[str, int]) -> Iterator[Published]:
    here = {name for name, _ in head.headers}  # most responses have none of these fields
    found = [
        Published(name, digest, source)
        for source, read, always in _FIELDS
        if source in here and (always or whole)
        for name, digest in _once(read(head, source))
        if len(digest) == digits.get(name)
    ]
    order = list(reversed(digits))
    yield from sorted(found, key=lambda one: order.index(one.algorithm))


def _once(found: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without algorithms of which one field says two things."""
    said: dict[str, set[str]] = {}
    for name, digest in found:
        said.setdefault(name, set()).add(digest)
    return [(name, digests.pop()) for name, digests in said.items() if len(digests) == 1]


_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/]*={0,2}):\s*(?:;.*)?", re.A)
_PAIR = re.compile(r"\s*([A-Za-z0-9-]+)=([A-Za-z0-9+/]+={0,2})\s*", re.ASCII)
_HEX = re.compile(r"[0-9A-Fa-f]+")
_S3_ETAG = re.compile(r'"([0-9a-f]{32})"')


def _named(name: str) -> str:
    """hashlib's name, or that of what only informs."""
    return algorithm_of(name) or name.lower().replace("-", "")


def _structured(head: ResponseHead, source: str) -> Iterator[tuple[str, str]]:
    """`sha-256=:BASE64:`, a dictionary of byte sequences (RFC 9530; RFC 8941 section 3.2)."""
    for member in _members(head, source):
        if parts := _MEMBER.fullmatch(member):
            yield _named(parts[1]), _hex_of(parts[2])


def _pairs(head: ResponseHead, source: str) -> Iterator[tuple[str, str]]:
    """`SHA-256=BASE64` (RFC 3230), `crc32c=BASE64` (x-goog-hash)."""
    for member in _members(head, source):
        if parts := _PAIR.fullmatch(member):
            yield _named(parts[1].lower().removeprefix("id-")), _hex_of(parts[2])


def _amazon(head: ResponseHead, source: str) -> Iterator[tuple[str, str]]:
    """x-amz-checksum-ALGORITHM: BASE64; one of an upload in parts hashes the parts' digests."""
    types = {text.strip().upper() for text in head.all("x-amz-checksum-type")}
    if not types - {"FULL_OBJECT"} and head.get("x-amz-mp-parts-count") is None:
        for text in head.all(source):
            yield source.removeprefix("x-amz-checksum-"), _hex_of(text.strip())


def _docker(head: ResponseHead, source: str) -> Iterator[tuple[str, str]]:
    """`sha256:HEX` (OCI distribution)."""
    for text in head.all(source):
        name, _, digits = text.strip().partition(":")
        if _HEX.fullmatch(digits):
            yield _named(name), digits.lower()


def _linked(head: ResponseHead, source: str) -> Iterator[tuple[str, str]]:
    """`"HEX"`, SHA-256 of a large file (Hugging Face); of a small one it is something else."""
    for text in head.all(source):
        digits = text.strip().strip('"')
        if len(digits) == HEX_DIGITS["sha256"] and _HEX.fullmatch(digits):
            yield "sha256", digits.lower()


def _content_md5(head: ResponseHead, source: str) -> Iterator[tuple[str, str]]:
    for text in head.all(source):
        yield "md5", _hex_of(text.strip())


def _s3_etag(head: ResponseHead, source: str) -> Iterator[tuple[str, str]]:
    """Amazon's ETag of an upload in one part is its MD5."""
    found = _S3_ETAG.fullmatch(head.get(source) or "")
    if found and head.get("x-amz-request-id") and not head.get("x-amz-server-side-encryption"):
        yield "md5", found[1]


_FIELDS: tuple[tuple[str, Callable[[ResponseHead, str], Iterator[tuple[str, str]]], bool], ...] = (
    ("repr-digest", _structured, True),
    ("docker-content-digest", _docker, True),
    ("x-linked-etag", _linked, True),
    ("content-digest", _structured, False),
    ("digest", _pairs, False),
    ("x-amz-checksum-sha256", _amazon, False),
    ("x-amz-checksum-sha1", _amazon, False),
    ("x-amz-checksum-crc64nvme", _amazon, False),
    ("x-amz-checksum-crc32c", _amazon, False),
    ("x-amz-checksum-crc32", _amazon, False),
    ("x-goog-hash", _pairs, True),
    ("content-md5", _content_md5, False),
    ("etag", _s3_etag, True),
)
"""The field, how it is read, and whether it speaks of the whole in any response."""


def _members(head: ResponseHead, source: str) -> Iterator[str]:
    for text in head.all(source):
        yield from text.split(",")


def _hex_of(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):  # not what it claims to be: it says nothing
        return ""
