"""From URLs and a list to targets: which name, which directory, which digest.

Everything is checked before anything is fetched; only `make_directories` changes the disk.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from rdl.cli.input_list import MAX_LIST, Entry, parse_list
from rdl.cli.layers import OptionsFor
from rdl.cli.settings import read_small
from rdl.cli.sums import Sums, digest_or_sums, sums_from
from rdl.cli.values import Address, parse_mirror, parse_url
from rdl.core.digest import agreeing, parse_digest, parse_sums, read_sums
from rdl.core.lock import decode_lock, path_fault
from rdl.core.metalink import parse_metalink
from rdl.core.names import last_segment, name_fault, name_from_url
from rdl.core.text import is_url, safe_text
from rdl.errors import DigestMissing, LocalFileError, UsageError, why_of
from rdl.options import Digest, Options
from rdl.storage.names import SUFFIXES


class Download(Struct, frozen=True):
    """What will be a Target; the engine is not imported before everything is known right."""

    url: str
    path: Path
    options: Options


def entries_from(given: Mapping[str, Any]) -> list[Entry]:
    """The URLs of the command line, then those of the list."""
    urls = given["urls"]
    if len(urls) == 2 and is_url(urls[0]) and re.fullmatch(r"[^/]*[^/\d][^/]*", urls[1]):
        shown = safe_text(urls[1])
        raise UsageError(shown, "not a URL", hint=f"-o {shown} names the output")
    entries = [Entry(url) for url in urls]
    name = given["input_file"]
    if name is not None:
        option = "" if "list" in given else "-i "  # `rdl lock LIST` has no option for it
        data, shown = _list_data(name, option), "stdin" if name == "-" else name
        if given["base_url"]:
            found = _summed_entries(given, data, shown)
        elif _is_metalink(name, data):
            found = _metalink_entries(given, data, shown)
        else:
            found = parse_list(data, shown, foreign=name == "-")
        if not found:
            raise UsageError(safe_text(shown), "no URL in this list")
        entries += found
    if given["locked"] is not None:
        entries += _locked_entries(given)
    if not entries and not given["resume"]:
        raise UsageError("get", "no URL given", hint="rdl get URL; rdl get --help tells more")
    return entries


def _summed_entries(given: Mapping[str, Any], data: bytes, name: str) -> list[Entry]:
    """The names of a sums file, below the URL of --base-url."""
    shown = safe_text(name)
    file = sums_from(given["input_file"], data)
    try:
        sums = read_sums(file.text, bare=file.bare)
    except UsageError as error:
        raise UsageError(shown, error.why) from None
    if sums.strange:
        raise UsageError(shown, f"lines that are no digest and name: {sums.strange}")
    entries = []
    for listed, digest in sums.digests.items():
        path, where = listed.removeprefix("./"), f"{shown}: '{safe_text(listed)}'"
        if fault := path_fault(path):
            raise UsageError(where, fault)
        if digest is None:
            raise DigestMissing(where, "its digest can be forged and verifies nothing")
        url = f"{given['base_url']}{quote(path)}"
        entries.append(replace(_below(given, url, where, path), checksums=_specs(digest)))
    return entries


def _is_metalink(name: str, data: bytes) -> bool:
    begin = data[:1000].removeprefix(b"\xef\xbb\xbf").lstrip()
    return name.lower().endswith(".meta4") or begin.startswith((b"<?xml", b"<metalink"))


def _metalink_entries(given: Mapping[str, Any], data: bytes, name: str) -> list[Entry]:
    """The files of a metalink, each from its best URL, with the others as mirrors."""
    if given["ranges"]:
        raise UsageError("-r with a metalink", "its digests are of whole files")
    entries = []
    for one in parse_metalink(data, name):
        where = f"{safe_text(name)}: '{safe_text(one.name)}'"
        urls = [parse_mirror(url, f"{where}: ", foreign=True) for url in one.urls]
        if not urls:
            raise UsageError(where, "it has no http or https URL")
        entries.append(
            replace(
                _below(given, urls[0], where, one.name),
                checksums=_specs(*one.digests),
                size=one.size,
                blocks=one.blocks,
                mirrors=tuple(urls[1:]),
            )
        )
    return entries


def _specs(*digests: Digest) -> tuple[str, ...]:
    return tuple(f"{digest.algorithm}:{digest.hex}" for digest in digests)


def _below(given: Mapping[str, Any], url: str, where: str, path: str) -> Entry:
    """An entry whose path is below the folder of -d."""
    folder, _, out = path.rpartition("/")
    place = str(Path(given["directory"] or "", folder)) if folder else None
    return Entry(url, where, out, place)


def _locked_entries(given: Mapping[str, Any]) -> list[Entry]:
    name = given["locked"]
    found = decode_lock(read_small(name, MAX_LIST, f"--locked {name}"), name)
    if not found:
        raise UsageError(safe_text(name), "no file in this lock")
    entries = []
    for number, one in enumerate(found, 1):
        where = f"{safe_text(name)}: file {number}"
        try:
            parse_url(one.url, foreign=True)
        except UsageError as error:
            raise UsageError(f"{where}: {error.what}", error.why) from None
        checksums = (f"sha256:{one.sha256}",)
        entry = _below(given, one.url, where, one.path)
        entries.append(replace(entry, checksums=checksums, size=one.size))
    return entries


def _list_data(name: str, option: str) -> bytes:
    if name != "-":
        return read_small(name, MAX_LIST, f"{option}{name}")
    if sys.stdin is None:
        raise UsageError(f"{option}-", "stdin is closed")
    return sys.stdin.buffer.read(MAX_LIST + 1)


def downloads_from(
    given: Mapping[str, Any], entries: list[Entry], options_for: OptionsFor
) -> list[Download]:
    """One download per entry. Raises UsageError, or DigestMissing when a sums file does not
    name the file."""
    checks = _checks(given)
    if len(entries) > 1 and any(isinstance(check, Digest) for check in checks):
        hint = "a sums file, or checksum= in a list, tells them apart"
        raise UsageError("--checksum", "one digest for several URLs", hint=hint)
    if len(entries) > 1 and given.get("mirrors"):
        hint = "mirror= in a list tells them apart"
        raise UsageError("--mirror", "one file's mirrors for several URLs", hint=hint)
    targets = [_target(given, entry, checks, options_for) for entry in entries]
    if len(entries) > 1 and given["output"] and not _base(given).is_dir():
        why = "with several URLs this must be an existing directory"
        raise UsageError("-o", why, hint="-d makes one")
    _refuse_same(targets, entries)
    return targets


def lone_download(url: str, given: Mapping[str, Any], options_for: OptionsFor) -> Download:
    """One URL whose bytes get no file. Raises as downloads_from."""
    name = Path(last_segment(url) or "index")
    return _lone(url, name, _names(Entry(url), name), given, options_for)


def member_download(
    url: str, member: str, path: Path, given: Mapping[str, Any], options_for: OptionsFor
) -> Download:
    """What is to become of a member of the archive at `url`; the digests are the member's.
    Raises UsageError, or DigestMissing when a sums file does not name it."""
    if _sums_at(given):
        why = "with --member it is a digest, or the path of a sums file"
        raise UsageError("--checksum", why)
    return _lone(url, path, (member, path.name), given, options_for)


def _lone(
    url: str, path: Path, names: Sequence[str], given: Mapping[str, Any], options_for: OptionsFor
) -> Download:
    """What sums files may call it: `names`."""
    address = parse_url(url)
    digests, options = _digests(_checks(given), names), options_for(address, ())
    own = replace(
        options,
        transfer=replace(options.transfer, digests=digests),
        sums=_sums_at(given),
        mirrors=_mirrors(address, options.mirrors),
    )
    return Download(address.url, path, own)


def member_path(given: Mapping[str, Any], member: str) -> Path:
    """Where a member goes: -o, else the last segment of its name. Raises UsageError."""
    if given["output"] and not _base(given).is_dir():
        return _path(given, Entry(""))
    name = member.rpartition("/")[2]
    if fault := name_fault(name):
        why = f"'{safe_text(name, 80)}' is no file name: {fault}"
        raise UsageError(f"'{safe_text(member)}'", why, hint="-o FILE gives another name")
    return _path(given, Entry("", out=name))


def _target(
    given: Mapping[str, Any],
    entry: Entry,
    checks: Sequence[Digest | Sums],
    options_for: OptionsFor,
) -> Download:
    address = parse_url(entry.url)
    try:
        path = _path(given, entry)
        checks = [*checks, *(digest_or_sums(spec) for spec in entry.checksums if not is_url(spec))]
        digests = _digests(checks, _names(entry, path)) if checks else ()
    except (UsageError, DigestMissing) as error:
        what = f"{entry.where}: {error.what}" if entry.where else error.what
        raise type(error)(what, error.why, hint=error.hint) from None
    options = options_for(address, entry.headers)
    transfer = options.transfer
    transfer = replace(transfer, digests=digests, expected_size=entry.size, blocks=entry.blocks)
    if entry.range is not None:  # in another version these bytes may be others
        transfer = replace(transfer, range=entry.range, on_change="fail")
    own = replace(
        options,
        transfer=transfer,
        sums=_sums_at(given, entry.checksums),
        mirrors=_mirrors(address, options.mirrors + entry.mirrors),
    )
    return Download(address.url, path, own)


def _mirrors(address: Address, given: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, and none that is the file's own URL."""
    own = address.url.partition("#")[0]
    return tuple(url for url in dict.fromkeys(given) if url != own)


def _base(given: Mapping[str, Any]) -> Path:
    """What -d and -o say together; -o is taken from -d when it is relative."""
    return Path(given["directory"] or "", given["output"] or "")


def _path(given: Mapping[str, Any], entry: Entry) -> Path:
    output = given["output"]
    if entry.dir is not None:
        base = Path(entry.dir)
    elif output and not _base(given).is_dir():
        if output.endswith("/"):
            raise UsageError(f"-o {safe_text(output)}", "no such directory", hint="-d makes one")
        if entry.out is None:
            return _base(given)
        base = Path(given["directory"] or "")
    else:
        base = _base(given)
    return base / (entry.out or name_from_url(entry.url))


def _checks(given: Mapping[str, Any]) -> list[Digest | Sums]:
    checks = [digest_or_sums(spec) for spec in given["checksum"] if not is_url(spec)]
    if given["sha256"] is not None:
        checks.append(parse_digest("sha256:" + given["sha256"]))
    return checks


def _sums_at(given: Mapping[str, Any], more: Sequence[str] = ()) -> tuple[str, ...]:
    """The URLs among what --checksum and a list say. Raises UsageError."""
    return tuple(parse_url(spec).url for spec in (*given["checksum"], *more) if is_url(spec))


def _digests(checks: Sequence[Digest | Sums], names: Sequence[str]) -> tuple[Digest, ...]:
    """One digest per algorithm; a sums file is asked for these names in turn."""
    found = [one if isinstance(one, Digest) else _look_up(one, names) for one in checks]
    try:
        return agreeing(found)
    except ValueError as error:
        raise UsageError("--checksum", f"two different {error} digests") from None


def _names(entry: Entry, path: Path) -> list[str]:
    """The URL's own name first, where it has a usable one, then the name of the output."""
    names = [path.name]
    with suppress(UsageError):
        names.insert(0, name_from_url(entry.url))
    return names


def _look_up(sums: Sums, names: Sequence[str]) -> Digest:
    for name in names:
        digest = parse_sums(sums.text, name, bare=sums.bare)
        if digest is not None:
            return digest
    raise DigestMissing(safe_text(sums.name), f"no usable digest for '{safe_text(names[0])}'")


def _refuse_same(targets: Sequence[Download], entries: Sequence[Entry]) -> None:
    """Two downloads must share neither their target nor the files beside it."""
    taken: dict[str, tuple[Path, Entry]] = {}
    folders = {target.path.parent for target in targets}
    real = {folder: os.path.realpath(folder) for folder in folders}
    for target, entry in zip(targets, entries, strict=True):
        place = os.path.join(real[target.path.parent], target.path.name)
        where = f"{entry.where}: " if entry.where else ""
        names = (place, *map(place.__add__, SUFFIXES))
        for name in names:
            if name in taken:
                other, first = taken[name]
                shown, hint = safe_text(str(target.path)), ""
                why = "the same target twice in one run"
                if other.name != target.path.name:
                    why = f"collides with the files beside '{safe_text(str(other))}'"
                elif "--resume" in (entry.where, first.where) and entry.where != first.where:
                    hint = f"rdl get URL -o {shown} continues it from there"
                raise UsageError(where + shown, why, hint=hint)
        taken |= dict.fromkeys(names, (target.path, entry))


def make_directories(given: Mapping[str, Any], entries: Iterable[Entry]) -> None:
    """Make the directories that -d and dir= name. Raises LocalFileError."""
    for name in {given["directory"], *(entry.dir for entry in entries)} - {None}:
        try:
            os.makedirs(name, exist_ok=True)
        except OSError as error:
            why, hint = why_of(error), ""
            if isinstance(error, FileExistsError):
                why, hint = "a file stands where a directory is wanted", "-o FILE names a file"
            raise LocalFileError(safe_text(name), why, hint=hint) from None
