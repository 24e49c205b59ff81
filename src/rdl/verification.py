"""Files and ranges of files against digests: verify() for one, Verifier for many at once.

Only reads. A verdict is given on bytes that did not change while they were read, or not at
all. Names concrete stores, as api does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from rdl.core.byterange import ByteRange
from rdl.core.digest import agreeing, disagreement, parse_digest
from rdl.core.events import Fact, Teller
from rdl.core.manifest import ALGORITHM, Manifest
from rdl.core.representation import Trust
from rdl.engine.turns import awaited
from rdl.engine.verifying import Headway, Stop, hash_chunks, hash_range
from rdl.errors import (
    DigestMismatch,
    DigestMissing,
    LocalFileError,
    RdlError,
    UsageError,
    as_error,
    exit_code_of,
)
from rdl.options import Digest, RangeSpec
from rdl.storage.local_file import LocalFile

MOST_SHOWN = 4
"""Ranges that a line names."""


class Check(Struct, frozen=True):
    """A file, or a range of it, and the digests that must all hold (of different algorithms); or
    the `manifest` that the whole file is compared with. `within`: the folder that the name must
    not lead out of; `lack`: why there is no digest; `published`: a server says what is right."""

    path: Path
    digests: tuple[Digest, ...] = ()
    range: RangeSpec | None = None
    within: Path | None = None
    lack: str = ""
    manifest: Manifest | None = None
    published: bool = False

    @property
    def trust(self) -> Trust:
        """How sure one is where they hold."""
        return Trust.T3 if self.published else Trust.T4

    @property
    def expected(self) -> dict[str, str]:
        """Algorithm to hex."""
        if self.manifest is not None:
            return {ALGORITHM: self.manifest.sha256}
        return {digest.algorithm: digest.hex for digest in self.digests}


class Verification(Struct, frozen=True):
    """What came of one check. `range`: the bytes that were meant, None for the whole file;
    `digests`: algorithm to hex as found; `expected`: as asked for; `verified_by`: the
    algorithms that agreed; `trust`: T4, or T3 where a server said them; `wrong`: where it is not as
    the manifest says. `reason`: verified, or the error's. `error` and `hint` are text for people,
    empty on success."""

    path: str
    exit_code: int = 0
    reason: str = "verified"
    range: ByteRange | None = None
    bytes_total: int | None = None
    bytes_hashed: int = 0
    seconds: float = 0.0
    digests: dict[str, str] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    verified_by: tuple[str, ...] = ()
    trust: str = Trust.T4.value
    wrong: tuple[ByteRange, ...] = ()
    error: str = ""
    hint: str = ""


Outcome = tuple[Verification, RdlError | None]


class Verifier:
    """Checks many files and ranges on all cores. Safe to interrupt from a signal handler."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1
        self._stop = Stop()

    def interrupt(self, signal: str) -> None:
        """End soon ("SIGINT", "SIGTERM", "SIGHUP"); what is not done yet is interrupted."""
        self._stop.set(signal)

    def run(
        self,
        checks: Iterable[Check],
        tell: Teller | None = None,
        done: Callable[[Verification], None] | None = None,
    ) -> list[Verification]:
        """Check them all. Never raises for one of them: failures are results with an exit code
        and `error`. `tell` and `done` may be called from several threads, one at a time;
        `done`, like the results, in the order of the checks."""
        wanted, lock = list(checks), threading.Lock()
        ready, told = dict[int, Verification](), [0]

        def tell_one(fact: Fact) -> None:
            if tell is not None:
                with lock:
                    tell(fact)

        headways = {str(check.path): Headway(str(check.path), tell_one) for check in wanted}

        def run(number: int) -> Verification:
            check = wanted[number]
            result, _ = _outcome(check, headways[str(check.path)], self._stop)
            with lock:
                ready[number] = result
                while done is not None and told[0] in ready:
                    done(ready.pop(told[0]))
                    told[0] += 1
            return result

        if len(wanted) == 1:
            return [run(0)]
        with ThreadPoolExecutor(min(self.threads, len(wanted) or 1), "verify") as pool:
            running = [pool.submit(run, number) for number in range(len(wanted))]
            return [one.result() for one in awaited(running)]


def verify(
    path: str | os.PathLike[str],
    digest: str | Digest | Iterable[str | Digest],
    *,
    range: RangeSpec | tuple[int, int | None] | None = None,
    tell: Teller | None = None,
) -> Verification:
    """Check a file against a digest, or against several that must all hold.

    `digest` is what the command line takes: `sha256:HEX`, `sha-256=HEX`, `sha256-BASE64` or
    bare hex. `range`: only these bytes, `(start, stop)` as in a slice (stop None: to the
    end). A part file is read by its index. `tell` hears Verifying facts.

        rdl.verify("disc.iso", "sha256:9f86d0...")
        rdl.verify("disc.iso", first_mib, range=(0, 1 << 20))

    Raises DigestMismatch; DigestMissing without a digest; UsageError for a digest or range
    that makes no sense; ProtocolError when the range lies outside of the file; FileChanged
    (a TargetExists) when the file changes meanwhile; LocalFileError when it cannot be read,
    or the range is not there yet. Changes nothing on disk.
    """
    check = as_check(path, digest, range)
    result, error = _outcome(check, Headway(str(check.path), tell), Stop())
    if error is not None:
        raise error
    return result


def as_check(
    path: str | os.PathLike[str],
    digest: str | Digest | Iterable[str | Digest],
    range: RangeSpec | tuple[int, int | None] | None,
) -> Check:
    """The check that verify() makes of its arguments. Raises UsageError."""
    several = (digest,) if isinstance(digest, str | Digest) else tuple(digest)
    digests = tuple(one if isinstance(one, Digest) else parse_digest(one) for one in several)
    return Check(Path(path), one_of_each(digests), _spec(range))


def one_of_each(digests: Iterable[Digest]) -> tuple[Digest, ...]:
    """The digests without repetition; UsageError when two can never both hold."""
    try:
        return agreeing(digests)
    except ValueError as error:
        raise UsageError("digest", f"two different {error} digests") from None


def _spec(given: RangeSpec | tuple[int, int | None] | None) -> RangeSpec | None:
    if given is None or isinstance(given, RangeSpec):
        return given
    start, stop = given
    if start < 0 or (stop is not None and stop <= start):
        raise UsageError(f"range ({start}, {stop})", "it holds no byte")
    return RangeSpec(start, stop)


def _outcome(check: Check, headway: Headway, stop: Stop) -> Outcome:
    """What became of a check, whatever happened."""
    expected = check.expected
    began = time.monotonic()
    try:
        stop.check()
        result, error = _checked(check, expected, headway, stop)
    except Exception as raised:
        error = as_error(raised)
        result = Verification(str(check.path), expected=expected, trust=check.trust.value)
    result = replace(result, seconds=time.monotonic() - began)
    return (_failed(result, error), error) if error is not None else (result, None)


def _failed(result: Verification, error: RdlError) -> Verification:
    code = int(exit_code_of(error))
    return replace(result, exit_code=code, reason=error.reason, error=str(error), hint=error.hint)


def _checked(check: Check, expected: dict[str, str], headway: Headway, stop: Stop) -> Outcome:
    wrong: tuple[ByteRange, ...] = ()
    with LocalFile(check.path, within=check.within) as file:
        if not expected:
            raise DigestMissing(file.shown, check.lack or "nothing to check against")
        wanted = file.span(check.range)
        if check.manifest is not None:  # which is about all of it, also where a part was asked for
            wanted = ByteRange(0, wanted.stop)
        need(file, wanted)
        if check.manifest is None:
            found = hash_range(file, wanted, expected, headway, stop)
        else:
            chunks = check.manifest.coarse
            digits, wrong = hash_chunks(file, len(wanted), chunks, headway, stop)
            found = {ALGORITHM: digits}
        file.check_unchanged()
        need(file, wanted)
    agreed = tuple(name for name, digits in expected.items() if found[name] == digits)
    result = Verification(
        str(check.path),
        range=None if check.range is None else wanted,
        bytes_total=len(wanted),
        bytes_hashed=len(wanted),
        digests=found,
        expected=expected,
        verified_by=agreed,
        trust=check.trust.value,
        wrong=wrong,
    )
    if len(agreed) == len(expected) and not wrong:
        return result, None
    what = file.shown + ("" if check.range is None else f", bytes {_shown(wanted)}")
    why = "; ".join(filter(None, (disagreement(found, expected), _places(wrong))))
    return result, DigestMismatch(what, why)


def _places(wrong: Sequence[ByteRange]) -> str:
    """Where a file is not as its manifest says, the first of them."""
    shown = ", ".join(map(_shown, wrong[:MOST_SHOWN]))
    more = f" and {len(wrong) - MOST_SHOWN} more ranges" if len(wrong) > MOST_SHOWN else ""
    return f"wrong are bytes {shown}{more}" if wrong else ""


def need(file: LocalFile, wanted: ByteRange) -> None:
    """LocalFileError unless all of `wanted` is there."""
    if (gap := file.first_gap(wanted)) is not None:
        raise LocalFileError(
            file.shown,
            f"incomplete: bytes {_shown(gap)} are not here",
            hint="-r checks a range that is here; the rest is still to be fetched",
        )


def _shown(range: ByteRange) -> str:
    return f"{range.start}-{range.stop - 1}"
