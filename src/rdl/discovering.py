"""Digests from elsewhere: sums files at a URL that was given; and, with `--verify discover`, sums
files and metalinks beside the file, and what GitHub says of a release.

A page is never read as sums, and what was given for the file's origin goes to no other.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from rdl.core.digest import HEX_DIGITS, agreeing, parse_digest, parse_sums
from rdl.core.file_url import is_file_url
from rdl.core.link_field import MOST as MOST_MIRRORS
from rdl.core.metalink import parse_metalink
from rdl.core.names import last_segment
from rdl.core.published import Published
from rdl.core.text import redact_url, safe_text
from rdl.errors import (
    AuthError,
    DigestMismatch,
    DigestMissing,
    HTTPStatusError,
    LocalFileError,
    NetworkError,
    OutOfTime,
    PolicyError,
    ProtocolError,
    UsageError,
)
from rdl.options import BlockDigests, Digest, NetworkOptions, Options, TransferOptions
from rdl.remembered import Read
from rdl.sources import origin_of, unknown
from rdl.transport.urls import parse_url, split_userinfo

MOST = 8 << 20
"""Bytes of a sums file, and of what GitHub says of a release."""
TRIES, SECONDS = 1, 30.0
"""For each of them."""
OWN = ("sha256", "sha512", "sha256sum", "sha512sum", "meta4")
FOLDERS = ("SHA256SUMS", "SHA512SUMS", "checksums.txt")
GITHUB, GITHUB_API = "https://github.com", "https://api.github.com"
_RELEASE = re.compile(r"/([^/]+)/([^/]+)/releases/(?:download/([^/]+)|latest/download)/([^/]+)")


class Found(Struct, frozen=True):
    """A digest of the file, and what was said with it; no mirror is the file's own URL."""

    digest: Published
    blocks: BlockDigests | None = None
    mirrors: tuple[str, ...] = ()


class _Asset(Struct):
    name: str = ""
    digest: str | None = None


class _Release(Struct):
    assets: list[_Asset] = field(default_factory=list)


def with_discovered(url: str, name: str, options: Options, read: Read, *, whole: bool) -> Options:
    """The options with the digests that the sums files of `options` have for the file, by its
    name in the URL or else by `name`; without any, with one that is looked for, where the `whole`
    file is wanted. The time that this takes is part of --max-time."""
    transfer, begun = options.transfer, time.monotonic()
    looks = whole and not (options.sums or transfer.digests or options.source)
    looks = looks and transfer.verify in ("discover", "require")
    if options.dry_run or not (looks or options.sums):
        return options

    def read_in_time(address: str, own: Options) -> bytes:
        most = SECONDS
        if transfer.max_time is not None:
            most = min(most, transfer.max_time - (time.monotonic() - begun))
        if most <= 0:
            raise OutOfTime("the sums of the file", f"{transfer.max_time:g} s are over")
        return read(address, replace(own, transfer=replace(own.transfer, max_time=most)))

    digests = transfer.digests
    for sums in options.sums:
        digests = (*digests, _named(sums, url, name, options, read_in_time))
        try:
            digests = agreeing(digests)
        except ValueError as error:
            why = f"it has another {error} than was given"
            raise DigestMismatch(safe_text(redact_url(sums)), why) from None
    if looks:
        found = None
        with suppress(NetworkError):  # the file itself may be reached all the same
            found = discover(url, options, read_in_time)
        if found:
            digests = (found.digest,)
            transfer = replace(transfer, blocks=transfer.blocks or found.blocks)
            options = replace(options, found_mirrors=found.mirrors)
    transfer = replace(transfer, digests=digests).after(time.monotonic() - begun)
    return replace(options, transfer=transfer)


def _named(sums: str, url: str, name: str, options: Options, read: Read) -> Digest:
    """What the sums file at the URL `sums` has for the file."""
    shown = safe_text(redact_url(sums))
    same = origin_of(sums) == origin_of(url)
    network = options.network if same else unknown(options.network)
    transfer = TransferOptions(connections=1, max_filesize=MOST, verify="off")
    transfer = replace(transfer, retry=options.transfer.retry)
    own = Options(network=network, transfer=transfer, limits=options.limits if same else None)
    text = read(sums, own).decode("utf-8", "replace")
    names = [one for one in (unquote(last_segment(url)), name) if one]
    try:
        found = (_bare(text), *(parse_sums(text, one) for one in names if len(text.split()) > 1))
    except UsageError as error:
        raise DigestMismatch(shown, error.why) from error
    for digest in found:
        if digest is not None:
            return digest
    raise DigestMissing(shown, f"no usable digest for '{safe_text(names[0] if names else name)}'")


def discover(url: str, options: Options, read: Read) -> Found | None:
    """The first digest that is found for the file at `url`: what it is, and where that was said.
    Raises DigestMismatch where a sums file contradicts itself, and what ends a download."""
    if (released := _of_release(url, options, read)) is not None:
        return Found(released)
    name = unquote(last_segment(url))
    for beside, address in _beside(url, name) if name else ():
        if beside == f"{name}.meta4":
            data = _small(address, options.network, options, read)
            if (found := _of_metalink(data, beside, url, name)) is not None:
                return found
            continue
        text = _sums(address, options, read)
        digest = _bare(text) if beside not in FOLDERS else None
        try:
            if digest is None and len(text.split()) > 1:
                digest = parse_sums(text, name, inner=beside not in FOLDERS)
        except UsageError as error:
            raise DigestMismatch(beside, error.why) from error
        if digest is not None:
            return Found(Published(digest.algorithm, digest.hex, beside))
    return None


def _of_metalink(data: bytes, beside: str, url: str, name: str) -> Found | None:
    """What it says of the file, under its name or where it is the only one; nothing, where it is
    refused or says no digest."""
    try:
        files = parse_metalink(data)
    except UsageError:
        return None
    same = [one for one in files if one.name == name] or files
    if len(same) != 1 or not same[0].digests:
        return None
    strongest, own = same[0].digests[0], None if is_file_url(url) else parse_url(url)
    mirrors = [one for one in same[0].urls if _usable(one) and parse_url(one) != own]
    digest = Published(strongest.algorithm, strongest.hex, beside)
    return Found(digest, same[0].blocks, tuple(mirrors[:MOST_MIRRORS]))


def _usable(url: str) -> bool:
    try:
        parse_url(url)
    except UsageError:
        return False
    return split_userinfo(url)[1] is None


def _beside(url: str, name: str) -> list[tuple[str, str]]:
    """Names of files that may say it, and their URLs. A query is the file's own."""
    parts = urlsplit(url)
    folder = parts.path.rpartition("/")[0]
    paths = [(f"{name}.{end}", f"{parts.path}.{end}") for end in OWN]
    paths += [(sums, f"{folder}/{sums}") for sums in FOLDERS]
    return [(shown, urlunsplit((*parts[:2], path, "", ""))) for shown, path in paths]


def _sums(url: str, options: Options, read: Read) -> str:
    """The text of a sums file; empty where there is none, or a page in its place."""
    data = _small(url, options.network, options, read)
    text = data.decode("utf-8", "replace")
    return "" if text.lstrip("\ufeff \t\r\n")[:1] in ("<", "{") else text


def _small(url: str, network: NetworkOptions, options: Options, read: Read) -> bytes:
    transfer = TransferOptions(
        connections=1,
        max_filesize=MOST,
        verify="off",
        retry=min(TRIES, options.transfer.retry),
    )
    try:
        limits = options.limits if network is options.network else None
        return read(url, Options(network=network, transfer=transfer, limits=limits))
    except (HTTPStatusError, AuthError, PolicyError, ProtocolError, LocalFileError):
        return b""
    except OutOfTime:
        limit = options.transfer.max_time
        if limit is not None and limit <= SECONDS:
            raise
        return b""


def _bare(text: str) -> Digest | None:
    """A digest and no name: it is of the file that the sums file is called after."""
    try:
        return parse_digest(text.strip())
    except UsageError:
        return None


def _of_release(url: str, options: Options, read: Read) -> Published | None:
    """What GitHub's interface says of the assets of a release."""
    parts = urlsplit(url)
    found = _RELEASE.fullmatch(parts.path)
    if found is None or f"{parts.scheme}://{parts.netloc}".lower() != GITHUB:
        return None
    owner, repository, tag, name = found.groups()
    which = f"tags/{quote(unquote(tag), safe='')}" if tag else "latest"
    address = f"{GITHUB_API}/repos/{owner}/{repository}/releases/{which}"
    network = unknown(options.network)
    try:
        release = msgspec.json.decode(_small(address, network, options, read), type=_Release)
        texts = [one.digest for one in release.assets if one.name == unquote(name) and one.digest]
        digests = [parse_digest(text) for text in texts]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UsageError):
        return None
    strongest = min(digests, key=lambda one: [*HEX_DIGITS].index(one.algorithm), default=None)
    if strongest is None:
        return None
    return Published(strongest.algorithm, strongest.hex, "github-release")
