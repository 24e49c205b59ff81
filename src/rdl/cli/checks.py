"""From the arguments of `verify` to checks: which file, which range, which digests.

Everything is known right before anything is read but the sums files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from rdl.cli.settings import read_small
from rdl.cli.sums import Sums, digest_or_sums, sums_from
from rdl.core.digest import MAX_SUMS, Listed, parse_sums, read_sums
from rdl.core.text import safe_text
from rdl.errors import DigestMissing, LocalFileError, UsageError
from rdl.options import Digest, RangeSpec

if TYPE_CHECKING:
    from rdl.core.manifest import Manifest
    from rdl.verification import Check

_NO_DIGEST_HINT = "rdl verify FILE DIGEST, or --sums SUMS, or --manifest M"


class Checks(Struct, frozen=True):
    """What is to be verified, and what to warn of: (path, message)."""

    checks: list[Check]
    warnings: tuple[tuple[str, str], ...] = ()


def checks_from(given: Mapping[str, Any]) -> Checks:
    """Raises UsageError; DigestMissing when there is nothing to check against."""
    names = given["arguments"]
    if given["sums"] is not None:
        return _by_sums(given, names)
    if not names:
        raise UsageError("verify", "no file given", hint="rdl verify FILE DIGEST")
    return Checks(_by_digests(names[0], _specs(given, names), given["ranges"]))


def file_of_manifest(given: Mapping[str, Any]) -> Path:
    """Which file is compared with a manifest. Raises UsageError."""
    names = given["arguments"]
    if len(names) != 1:
        why = "the FILE is missing" if not names else "one FILE, and no DIGEST: it brings its own"
        raise UsageError("--manifest", why, hint="rdl verify FILE --manifest FILE.rdlm")
    for name in ("sums", "ranges", "checksum", "sha256"):
        if given[name] not in (None, ()):
            option = "-r" if name == "ranges" else f"--{name}"
            raise UsageError(f"--manifest with {option}", "a manifest says it all")
    return Path(names[0])


def by_manifest(path: Path, manifest: Manifest, *, decides: bool) -> Checks:
    """The file against its manifest, which `decides`, or is what a server says."""
    from rdl.verification import Check

    return Checks([Check(path, manifest=manifest, published=not decides)])


def _specs(given: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The digests, as arguments or as options, in their order."""
    specs = [*given["checksum"]]
    if given["sha256"] is not None:
        specs.append("sha256:" + given["sha256"])
    if len(given["ranges"]) > 1 and names[1:] and specs:
        why = "with several ranges the digests are either all arguments or all options"
        raise UsageError("verify", why)
    return [*names[1:], *specs]


def _by_digests(name: str, specs: Sequence[str], ranges: Sequence[RangeSpec]) -> list[Check]:
    from rdl.verification import Check, one_of_each

    path = Path(name)
    digests = [_digest(spec, path, ranged=bool(ranges)) for spec in specs]
    if not digests:
        path_text = safe_text(name)
        raise DigestMissing(path_text, "nothing to check against", hint=_NO_DIGEST_HINT)
    if len(ranges) < 2:
        return [Check(path, one_of_each(digests), ranges[0] if ranges else None)]
    if len(digests) != len(ranges):
        why = f"{len(ranges)} ranges and {len(digests)} digests"
        raise UsageError("-r", why, hint="each range needs its digest, in the same order")
    return [Check(path, (one,), span) for span, one in zip(ranges, digests, strict=True)]


def _digest(spec: str, path: Path, *, ranged: bool) -> Digest:
    """A digest, or what the sums file of that path says of `path`."""
    found = digest_or_sums(spec)
    if isinstance(found, Digest):
        return found
    if ranged:
        raise UsageError(safe_text(spec), "a sums file is about whole files, not ranges")
    digest = _look_up(found, path)
    if digest is None:
        raise DigestMissing(safe_text(spec), f"no usable digest for '{safe_text(str(path))}'")
    return digest


def _by_sums(given: Mapping[str, Any], names: Sequence[str]) -> Checks:
    if given["ranges"] or given["checksum"] or given["sha256"] is not None:
        why = "a sums file is about whole files and brings the digests"
        raise UsageError("--sums", why, hint="without -r, --checksum and --sha256")
    sums = _read(given["sums"])
    if names:
        return Checks([_named(sums, Path(name)) for name in names])
    listed = read_sums(sums.text, bare=sums.bare)
    checks = [_listed(sums, name, digest) for name, digest in listed.digests.items()]
    if not any(listed.digests.values()):
        hint = "SHA-2 and BLAKE2b verify; a bare digest needs the FILE it is for"
        raise DigestMissing(safe_text(sums.name), "no usable digest in it", hint=hint)
    return Checks(checks, _strange(sums, listed))


def _strange(sums: Sums, listed: Listed) -> tuple[tuple[str, str], ...]:
    if not listed.strange:
        return ()
    lines = "1 line is" if listed.strange == 1 else f"{listed.strange} lines are"
    return ((sums.name, f"{lines} no digest and passed over"),)


def _named(sums: Sums, path: Path) -> Check:
    """A check of a FILE that was named beside the sums file."""
    from rdl.verification import Check

    digest = _look_up(sums, path)
    if digest is None:
        return Check(path, lack=f"no usable digest in {safe_text(sums.name)}")
    return Check(path, (digest,))


def _listed(sums: Sums, name: str, digest: Digest | None) -> Check:
    """A check of a file that the sums file names; it stays within the folder."""
    from rdl.verification import Check

    lack = "" if digest else f"no usable digest in {safe_text(sums.name)}"
    return Check(sums.folder / name, (digest,) if digest else (), within=sums.folder, lack=lack)


def _look_up(sums: Sums, path: Path) -> Digest | None:
    """By the path from the sums file's folder, then as it was given, then by its last name."""
    names = [os.path.relpath(path, sums.folder), str(path), path.name]
    found = (parse_sums(sums.text, name, bare=sums.bare) for name in names)
    return next((digest for digest in found if digest is not None), None)


def _read(name: str) -> Sums:
    """A sums file; `-` is stdin, whose names are relative to the current folder."""
    try:
        data = _from_stdin() if name == "-" else read_small(name, MAX_SUMS, name)
    except UsageError as error:
        raise LocalFileError(error.what, error.why) from None
    return sums_from(name, data)


def _from_stdin() -> bytes:
    if sys.stdin is None:
        raise UsageError("stdin", "closed")
    data = sys.stdin.buffer.read(MAX_SUMS + 1)
    if len(data) > MAX_SUMS:
        raise UsageError("stdin", f"larger than {MAX_SUMS >> 20} MiB")
    return data
