"""Digests as people and sums files write them."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.digest import (
    MAX_SUMS,
    Listed,
    agreeing,
    digests_in_fragment,
    parse_digest,
    parse_sums,
    pinned,
    read_sums,
)
from rdl.core.published import Published
from rdl.errors import UsageError
from rdl.options import Digest

DATA = b"rdl"
SHA256 = hashlib.sha256(DATA).hexdigest()
SHA384 = hashlib.sha384(DATA).hexdigest()
SHA512 = hashlib.sha512(DATA).hexdigest()
BLAKE = hashlib.blake2b(DATA).hexdigest()
MD5 = "0" * 32
SHA1 = "0" * 40


def sri(algorithm: str) -> str:
    return base64.b64encode(hashlib.new(algorithm, DATA).digest()).decode()


@pytest.mark.parametrize(
    ("spec", "digest"),
    [
        (f"sha256:{SHA256}", Digest("sha256", SHA256)),
        (f"SHA256:{SHA256.upper()}", Digest("sha256", SHA256)),
        (f"sha-256={SHA256}", Digest("sha256", SHA256)),
        (f"sha-512:{SHA512}", Digest("sha512", SHA512)),
        (f"sha384={SHA384}", Digest("sha384", SHA384)),
        (f"blake2b:{BLAKE}", Digest("blake2b", BLAKE)),
        (f"sha256-{sri('sha256')}", Digest("sha256", SHA256)),
        (f"sha-384-{sri('sha384')}", Digest("sha384", SHA384)),
        (f"sha512-{sri('sha512')}", Digest("sha512", SHA512)),
        (SHA256, Digest("sha256", SHA256)),
        (SHA384, Digest("sha384", SHA384)),
        (SHA512.upper(), Digest("sha512", SHA512)),
    ],
)
def test_every_form_is_read(spec: str, digest: Digest) -> None:
    assert parse_digest(spec) == digest


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "not a digest"),
        ("SHA256SUMS", "not a digest"),
        ("sha256:", "not hexadecimal"),
        ("sha256:zz", "not hexadecimal"),
        (f"sha256: {SHA256}", "not hexadecimal"),
        (f"sha256:{SHA256}0", "65 hex digits; sha256 has 64"),
        (f"sha256:{SHA512}", "128 hex digits; sha256 has 64"),
        (f"sha512={SHA256}", "64 hex digits; sha512 has 128"),
        ("sha256-AAAA", "3 bytes; sha256 has 32"),
        ("sha256-====", "not base64"),
        (f"sha256-{sri('sha256')[:-1]}", "not base64"),
        ("sha256-ünïcode", "not base64"),
        (SHA256[:-1], "63 hex digits"),
        (MD5, "MD5 can be forged"),
        (SHA1, "SHA-1 can be forged"),
        (f"md5:{MD5}", "md5 can be forged"),
        (f"sha-1={SHA1}", "sha-1 can be forged"),
        ("crc32:00000000", "unknown algorithm 'crc32'"),
        ("sha3-256:" + SHA256, "unknown algorithm"),
        ("\x1b[31m:aa", "not a digest"),
    ],
)
def test_every_wrong_digest_says_why(spec: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_digest(spec)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=100))
def test_anything_is_a_digest_or_a_usage_error(spec: str) -> None:
    try:
        digest = parse_digest(spec)
    except UsageError:
        return
    assert len(digest.hex) in (64, 96, 128)


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (f"{SHA256}  f.iso\n", Digest("sha256", SHA256)),
        (f"{SHA256} *f.iso\n", Digest("sha256", SHA256)),
        (f"{SHA256.upper()}  ./f.iso\r\n", Digest("sha256", SHA256)),
        (f"\ufeff{SHA256}  f.iso", Digest("sha256", SHA256)),
        (f"SHA256 (f.iso) = {SHA256}\n", Digest("sha256", SHA256)),
        (f"SHA2-256(f.iso)= {SHA256}\n", Digest("sha256", SHA256)),
        (f"BLAKE2b (f.iso) = {BLAKE}", Digest("blake2b", BLAKE)),
        (f"# comment\n\n{MD5}  f.iso\n{SHA256}  f.iso\n", Digest("sha256", SHA256)),
        (f"{SHA256}  f.iso\n{SHA512}  f.iso\n", Digest("sha512", SHA512)),
        (f"{SHA512}  other\n{SHA256}  f.iso\n{SHA256}  f.iso\n", Digest("sha256", SHA256)),
        (f"{SHA256}  deep/f.iso\n", Digest("sha256", SHA256)),
        (f"{'0' * 64}  old/f.iso\n{SHA256}  f.iso\n", Digest("sha256", SHA256)),
        (SHA256 + "\n", Digest("sha256", SHA256)),
        (f"{SHA256}  other.iso\n", None),
        (f"{SHA256}  xf.iso\n", None),
        (f"MD5 (f.iso) = {MD5}\n{SHA1}  f.iso\n", None),
        (f"SHA512 (f.iso) = {SHA256}\n", None),
        (f"{SHA256} f.iso\n", None),
        ("<html>\n", None),
        ("", None),
    ],
)
def test_sums_files(text: str, digest: Digest | None) -> None:
    assert parse_sums(text, "f.iso") == digest


def test_escaped_names() -> None:
    text = f"\\{SHA256}  a\\nb\\\\c\n"
    assert parse_sums(text, "a\nb\\c") == Digest("sha256", SHA256)
    assert parse_sums(f"\\SHA256 (a\\nb) = {SHA256}", "a\nb") == Digest("sha256", SHA256)
    assert parse_sums(f"{SHA256}  a\\nb\n", "a\\nb") == Digest("sha256", SHA256)


def test_128_digits_are_what_the_caller_says() -> None:
    assert parse_sums(f"{BLAKE}  f", "f", bare="blake2b") == Digest("blake2b", BLAKE)
    assert parse_sums(f"{SHA512}  f", "f") == Digest("sha512", SHA512)


@pytest.mark.parametrize(
    "text",
    [
        f"{SHA256}  f.iso\n{'0' * 64}  f.iso\n",
        f"{SHA256}  a/f.iso\n{'0' * 64}  b/f.iso\n",
        "x" * (MAX_SUMS + 1),
    ],
)
def test_a_doubtful_sums_file_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sums(text, "f.iso")


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_sums_may_be_base64(algorithm: str) -> None:
    digest = Digest(algorithm, hashlib.new(algorithm, DATA).hexdigest())
    assert parse_sums(f"{algorithm.upper()} (f) = {sri(algorithm)}\n", "f") == digest
    assert parse_sums(f"{sri(algorithm)}  f\n", "f") == digest


def test_everything_that_a_sums_file_names() -> None:
    text = f"# sums\n\n{SHA256}  a\nSHA512 (a) = {SHA512}\n{MD5}  b\nodd\n\\{SHA256}  c\\nd\n"
    found = {"a": Digest("sha512", SHA512), "b": None, "c\nd": Digest("sha256", SHA256)}
    assert read_sums(text) == Listed(found, strange=1)
    with pytest.raises(UsageError, match="two different digests for 'a'"):
        read_sums(f"{SHA256}  a\n{'0' * 64}  a\n")
    with pytest.raises(UsageError, match="more than 8 MiB"):
        read_sums("x" * (MAX_SUMS + 1))


# In URLs

HEX = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    "fragment", [f"sha256={HEX}", f"egg=name&sha256={HEX}", f"sha-256={HEX.upper()}"]
)
def test_a_fragment_may_say_a_digest(fragment: str) -> None:
    assert digests_in_fragment(f"http://h/f#{fragment}") == (Digest("sha256", HEX),)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/f",
        "http://h/f#",
        "http://h/f#page=2",
        "http://h/#sha256",
        "http://h/#256=x",
        "http://h/#md5=x",
    ],
)
def test_most_fragments_say_none(url: str) -> None:
    assert digests_in_fragment(url) == ()


def test_a_fragment_that_is_cut_is_refused() -> None:
    with pytest.raises(UsageError, match="60 hex digits"):
        digests_in_fragment(f"http://h/f#sha256={HEX[:60]}")


def test_the_first_of_each_algorithm_where_none_differ() -> None:
    own, long = Digest("sha256", SHA256), Digest("sha512", SHA512)
    assert agreeing([own, long, Published("sha256", SHA256, "digest"), long]) == (own, long)
    assert agreeing([]) == ()
    with pytest.raises(ValueError, match=r"^sha512$"):
        agreeing([own, long, own, Digest("sha512", BLAKE)])


@pytest.mark.parametrize("name", ["m", "a #1/m", "http://h/m"])
def test_a_pinned_name_may_contain_what_begins_the_digest(name: str) -> None:
    assert pinned(f"{name}#sha256={HEX}") == (name, (Digest("sha256", HEX),))
    assert pinned(name) == (name, ())
