"""Digests as users and sums files write them, to `Digest` values. Text in, values out.

Only algorithms that can verify are read: SHA-2 and BLAKE2b. MD5 and SHA-1 are refused when
asked for, and passed over in sums files.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from rdl.core.text import is_url, safe_text
from rdl.errors import UsageError
from rdl.options import Digest

MAX_SUMS = 8 << 20
"""Characters; a longer sums file is refused."""

HEX_DIGITS = {"blake2b": 128, "sha512": 128, "sha384": 96, "sha256": 64}
"""Hex digits of each algorithm, strongest first (of equals, the one a sums file names)."""

_BY_LENGTH = {64: "sha256", 96: "sha384", 128: "sha512"}
_WEAK_LENGTHS = {32: "MD5", 40: "SHA-1"}
_SPEC = re.compile(r"(sha2?-?[0-9]+|[a-z][a-z0-9]*)([:=-])(.*)", re.IGNORECASE)
_HEX = re.compile(r"[0-9A-Fa-f]+")
_DIGITS = "[0-9A-Fa-f]{32,128}|[0-9A-Za-z+/]{43}=|[0-9A-Za-z+/]{64}|[0-9A-Za-z+/]{86}=="
_GNU = re.compile(rf"(\\?)({_DIGITS}) [ *](.+)")
_BSD = re.compile(rf"(\\?)([A-Za-z0-9-]+) ?\((.+)\) ?= ?({_DIGITS})")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class Listed(Struct, frozen=True):
    """What a sums file says: each name, in order, with its strongest digest (None: only such
    as verify nothing); `strange` counts lines that are neither digests, comments nor blank."""

    digests: dict[str, Digest | None]
    strange: int = 0


def parse_digest(spec: str) -> Digest:
    """A digest from `sha256:HEX`, `sha-256=HEX`, `sha256-BASE64` (SRI) or bare hex.

    Bare hex is told by its length: 64 is SHA-256, 96 SHA-384, 128 SHA-512. Raises UsageError.
    """
    found = _SPEC.fullmatch(spec)
    if found is None:
        return _bare(spec)
    algorithm = algorithm_of(found[1])
    if algorithm is None:
        raise _refusal(spec, _why_not(found[1]))
    if found[2] == "-":
        return Digest(algorithm, _from_base64(spec, algorithm, found[3]))
    return Digest(algorithm, _checked_hex(spec, algorithm, found[3]))


def parse_sums(
    text: str, name: str, *, bare: str | None = None, inner: bool = True
) -> Digest | None:
    """The strongest digest that the sums file `text` has for the file `name`, or None.

    Reads GNU (`HEX  name`, `HEX *name`, escaped names) and BSD (`SHA256 (name) = HEX`)
    lines, both also with base64 in place of HEX (`cksum --base64`), and a file that is one
    bare digest. `bare` is the algorithm of GNU lines with 128 digits (default sha512). A name
    with directories counts when no line has the exact name (not without `inner`). Raises
    UsageError when the file is too large or contradicts itself.
    """
    if len(text) > MAX_SUMS:
        raise UsageError("sums file", f"more than {MAX_SUMS >> 20} MiB")
    if _HEX.fullmatch(text.strip()):
        return _bare(text.strip())
    lines = _sums_lines(text, bare or "sha512")
    entries = [(entry, digest) for entry, digest in lines if entry and digest]
    exact = {digest for entry, digest in entries if entry.removeprefix("./") == name}
    below = {digest for entry, digest in entries if entry.rpartition("/")[2] == name}
    return _strongest(exact or (below if inner else set()), name)


def read_sums(text: str, *, bare: str | None = None) -> Listed:
    """Everything that a sums file names; lines and `bare` as in parse_sums. Raises UsageError
    when the file is too large or contradicts itself."""
    if len(text) > MAX_SUMS:
        raise UsageError("sums file", f"more than {MAX_SUMS >> 20} MiB")
    found: dict[str, set[Digest]] = {}
    strange = 0
    for name, digest in _sums_lines(text, bare or "sha512"):
        strange += name is None
        if name is not None:
            found.setdefault(name, set()).update({digest} if digest else ())
    return Listed({name: _strongest(some, name) for name, some in found.items()}, strange)


def digests_in_fragment(url: str) -> tuple[Digest, ...]:
    """Those that the fragment of a URL says (`#sha256=HEX`, as package indexes do). Raises
    UsageError where one is named and malformed."""
    if "#" not in url:
        return ()
    pairs = (part.partition("=") for part in url.partition("#")[2].split("&"))
    return tuple(
        parse_digest(f"{name}:{text}")
        for name, equals, text in pairs
        if equals and name[0:1].isalpha() and algorithm_of(name)
    )


def pinned(name: str) -> tuple[str, tuple[Digest, ...]]:
    """A path or URL without the digests behind its `#`, and these: what is there must have them.
    Raises UsageError."""
    head, mark, fragment = name.partition("#") if is_url(name) else name.rpartition("#")
    digests = digests_in_fragment(mark + fragment)
    if mark and not digests and is_url(name):
        what = safe_text(f"#{fragment}")
        raise UsageError(what, "is no digest", hint="#sha256=HEX pins what is before it")
    return head if digests else name, digests


def disagreement(
    found: Mapping[str, str], wanted: Mapping[str, str], says: str = "expected"
) -> str:
    """Why the digests found (algorithm to hex) are not the wanted ones; empty when they are."""
    wrong = [name for name, want in wanted.items() if found.get(name) != want]
    return "; ".join(f"{name} is {found.get(name)}, {says} {wanted[name]}" for name in wrong)


def agreeing(digests: Iterable[Digest]) -> tuple[Digest, ...]:
    """The first of each algorithm. Raises ValueError, whose text is the algorithm, where two
    differ: both can never hold."""
    first: dict[str, Digest] = {}
    for one in digests:
        if first.setdefault(one.algorithm, one).hex != one.hex:
            raise ValueError(one.algorithm)
    return tuple(first.values())


def algorithm_of(name: str) -> str | None:
    """hashlib's name for `SHA-256`, `sha256`, `SHA2-256`, `blake2b512`...; None: not ours."""
    plain = name.lower().removeprefix("sha2-")
    plain = "sha" + plain if plain.isdigit() else plain.replace("-", "")
    plain = "blake2b" if plain == "blake2b512" else plain
    return plain if plain in HEX_DIGITS else None


def _sums_lines(text: str, long: str) -> Iterator[tuple[str | None, Digest | None]]:
    """The name and the digest of each line. No digest: one that verifies nothing; no name:
    the line is something else. Blank lines and comments are left out."""
    for line in text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n"):
        algorithm: str | None
        if found := _GNU.fullmatch(line):
            escaped, name, digits = found[1], found[3], _as_hex(found[2])
            algorithm = long if len(digits) == HEX_DIGITS[long] else _BY_LENGTH.get(len(digits))
        elif found := _BSD.fullmatch(line):
            escaped, name, digits = found[1], found[3], _as_hex(found[4])
            algorithm = algorithm_of(found[2])
        else:
            if line.strip() and not line.startswith("#"):
                yield None, None
            continue
        right = algorithm is not None and len(digits) == HEX_DIGITS[algorithm]
        digest = Digest(algorithm, digits) if algorithm and right else None
        yield _unescape(name) if escaped else name, digest


def _as_hex(digits: str) -> str:
    """Hex or base64 of a sums file as lower-case hex."""
    if _HEX.fullmatch(digits):
        return digits.lower()
    return base64.b64decode(digits).hex()


def _unescape(name: str) -> str:
    return re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], name)


def _strongest(digests: set[Digest], name: str) -> Digest | None:
    for algorithm in HEX_DIGITS:
        same = [digest for digest in digests if digest.algorithm == algorithm]
        if len(same) > 1:
            raise UsageError("sums file", f"two different digests for '{safe_text(name)}'")
        if same:
            return same[0]
    return None


def _bare(spec: str) -> Digest:
    if not _HEX.fullmatch(spec):
        raise _refusal(spec, "not a digest")
    if len(spec) in _WEAK_LENGTHS:
        raise _refusal(spec, _why_not(_WEAK_LENGTHS[len(spec)]))
    if len(spec) not in _BY_LENGTH:
        why = f"{len(spec)} hex digits; SHA-256 has 64, SHA-384 96, SHA-512 128"
        raise _refusal(spec, why)
    return Digest(_BY_LENGTH[len(spec)], spec.lower())


def _checked_hex(spec: str, algorithm: str, digits: str) -> str:
    if not _HEX.fullmatch(digits):
        raise _refusal(spec, "not hexadecimal")
    if len(digits) != HEX_DIGITS[algorithm]:
        raise _refusal(spec, f"{len(digits)} hex digits; {algorithm} has {HEX_DIGITS[algorithm]}")
    return digits.lower()


def _from_base64(spec: str, algorithm: str, text: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _refusal(spec, "not base64") from None
    if len(raw) * 2 != HEX_DIGITS[algorithm]:
        raise _refusal(spec, f"{len(raw)} bytes; {algorithm} has {HEX_DIGITS[algorithm] // 2}")
    return raw.hex()


def _is_weak(name: str) -> bool:
    return name.lower().replace("-", "") in ("md5", "sha1")


def _why_not(name: str) -> str:
    if _is_weak(name):
        return f"{safe_text(name)} can be forged and verifies nothing"
    return f"unknown algorithm '{safe_text(name, 40)}'"


def _refusal(spec: str, why: str) -> UsageError:
    known = ", ".join(sorted(HEX_DIGITS))
    return UsageError(f"digest {safe_text(spec, 100)}", why, hint=f"known: {known}")
