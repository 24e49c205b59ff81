"""The words of the last lines: what came of a download, and what was proved by what.

Pure text from a Result. Whatever came from outside passes safe_text here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

from rdl.cli.exit_codes import SIGNALS
from rdl.core.events import Planned, Result
from rdl.core.text import format_size, format_time, redact_text, redact_url, safe_text
from rdl.errors import AuthError, RdlError
from rdl.options import RangeSpec

SHORTEST = 0.1
"""Seconds; a shorter time is not measured by people."""
SMALLEST = 64 << 10
"""Bytes; the speed of fewer is that of one answer."""
MANY = 10
"""After so many results, errors have scrolled away; no more are told again."""
STAGES = {"digests": "verifying", "seeds": "looking through old files", "copies": "copying"}
"""What a Verifying fact is about."""
_TRUST = {
    "T0": "the server gave no validator",
    "T1": "one version by its Last-Modified",
    "T2": "one version by its ETag",
    "T3": "the server's own digest",
    "T4": "a digest of yours",
}
_RANGES = {True: "yes", False: "no", None: "not known yet"}


def name_of(path: str) -> str:
    """The name of a file as a display shows it."""
    return safe_text(PurePath(path).name or path, 80)


def remote_text(text: str) -> str:
    """An error's or a warning's text, without secrets and harmless to a terminal."""
    return safe_text(redact_text(text), 600)


def located(error: RdlError, url: str, user: str | None) -> RdlError:
    """The same error, which now says of which URL it speaks; `user`: who we said we were."""
    shown = safe_text(redact_url(url), 300)
    if error.what == "stream":
        error.args = (f"{shown}: {error.why}",)
    elif error.what == "range" or error.what.startswith("HTTP "):
        error.args = (f"{shown}: {error}",)
    if isinstance(error, AuthError) and user is not None:
        error.after_login()
    return error


@contextmanager
def locating(url: str, user: str | None) -> Iterator[None]:
    """Errors inside say of which URL they speak."""
    try:
        yield
    except RdlError as error:
        raise located(error, url, user) from error.__cause__


def took(seconds: float) -> str:
    """A time as the last line says it."""
    return format_time(seconds) if seconds >= SHORTEST else f"under {format_time(SHORTEST)}"


def counted(size: int) -> str:
    """Bytes to the byte, and for people."""
    return f"{size} bytes ({format_size(size)})" if size >= 1024 else f"{size} bytes"


def closing_lines(
    result: Result,
    *,
    several: bool = False,
    part: RangeSpec | None = None,
    replaced: bool = False,
) -> list[str]:
    """The last words on one download, without the leading `rdl: `. `part`: what alone was asked
    for; `replaced`: there was a file of that name."""
    if result.exit_code == 0:
        notes = [] if part is None else [f"only {_extent(part, result.bytes_present)}"]
        notes += ["the old file was replaced"] if replaced else []
        return [f"{name_of(result.path)}: {_success(result, notes)}"]
    if result.exit_code in SIGNALS:
        return [] if several and not result.bytes_present else [_interrupted(result)]
    return _failure(result, several)


def _extent(part: RangeSpec, size: int) -> str:
    """Which bytes a range was, of which `size` are here."""
    if part.suffix is not None:
        return f"the last {size} bytes"
    return f"bytes {part.start}-{part.start + size - 1}"


def _success(result: Result, notes: Sequence[str]) -> str:
    size = format_size(result.bytes_present or result.bytes_total or 0)
    if result.reason == "unchanged":
        return f"unchanged, {size}, nothing fetched ({result.trust})"
    if result.reason == "dry-run":
        return "nothing fetched"
    words = [f"{size} in {took(result.seconds)}{_speed(result.bytes_downloaded, result.seconds)}"]
    if result.bytes_reused:
        fetched, reused = format_size(result.bytes_downloaded), format_size(result.bytes_reused)
        words.append(f"{fetched} fetched, {reused} reused")
    return ", ".join([*words, *notes, _proof(result)])


def _speed(size: int, seconds: float) -> str:
    """Of so little, or in so short a time, it would say nothing."""
    if size < SMALLEST or seconds < SHORTEST:
        return ""
    return f" ({format_size(size / seconds)}/s)"


def _proof(result: Result) -> str:
    if result.verified_by:
        proof = f"verified by {safe_text(', '.join(result.verified_by))} ({result.trust})"
    else:
        proof = f"no digest given; {_TRUST.get(result.trust, 'unknown')} ({result.trust})"
    if result.completeness != "confirmed":
        proof += ", completeness unconfirmed: the server gave no length"
    return proof


def _interrupted(result: Result) -> str:
    name = name_of(result.path)
    if not result.bytes_present:
        return f"interrupted: nothing of {name} is here yet; the same command starts it"
    if not result.resumable:  # the server gives nothing to tell versions apart by
        return f"interrupted: what came of {name} cannot be continued; the same command starts anew"
    return f"interrupted: {_kept(result)} of {name} kept; the same command continues"


def _kept(result: Result) -> str:
    kept = format_size(result.bytes_present)
    if result.bytes_total is None:
        return kept
    return f"{kept} of the {format_size(result.bytes_total)}"


def _failure(result: Result, several: bool) -> list[str]:
    text, name = remote_text(result.error or result.reason), name_of(result.path)
    told = PurePath(text.partition(": ")[0]).name == name
    vague = (several and not told) or text.startswith("range: ")
    if result.reason in ("http-status", "auth") and text.startswith("HTTP "):
        text = f"{safe_text(redact_url(result.url), 300)}: {text}"
    elif vague:
        text = f"{name}: {text}"
    hints = [remote_text(result.hint)] if result.hint else []
    if result.resumable and result.bytes_present:
        hints.append(f"{_kept(result)} kept; the same command continues")
    return [text, f"hint: {'; '.join(hints)}"] if hints else [text]


def failed_lines(results: Sequence[Result]) -> list[str]:
    """What did not become complete, where so much was said that it has scrolled away."""
    if len(results) <= MANY:
        return []
    failed = [one for one in results if one.exit_code not in (0, *SIGNALS)]
    lines = [
        f"not complete: {safe_text(one.path, 200)}: {safe_text(one.error or one.reason, 300)}"
        for one in failed[:MANY]
    ]
    more = len(failed) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def outcome_lines(results: Sequence[Result]) -> list[str]:
    """A table of what became of many: how many files, and the bytes that came for them."""
    if len(results) <= MANY:
        return []
    found: dict[str, list[int]] = {}
    for one in results:
        found.setdefault(one.reason, []).append(one.bytes_downloaded)
    rows = [("outcome", "files", "fetched")]
    rows += [
        (reason, str(len(sizes)), format_size(sum(sizes)) if any(sizes) else "nothing")
        for reason, sizes in sorted(found.items(), key=lambda one: -len(one[1]))
    ]
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    return [f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}" for a, b, c in rows]


def total_line(results: Sequence[Result], seconds: float) -> str:
    """The last line on several downloads."""
    good = sum(result.exit_code == 0 for result in results)
    fetched = sum(result.bytes_downloaded for result in results)
    text = f"{good} of {len(results)} files complete, {format_size(fetched)} fetched"
    text += f" in {took(seconds)}{_speed(fetched, seconds)}"
    if any(result.exit_code in SIGNALS for result in results):
        text += "; interrupted, the same command continues"
    return text


def plan_lines(plan: Planned) -> list[str]:
    """What --dry-run prints on stdout for one download."""
    size = "unknown"
    if plan.bytes_total is not None:
        size = counted(plan.bytes_total)
    here = counted(plan.bytes_present)
    if plan.bytes_present:
        here += ", to be continued" if plan.resume else ", of no use"
    return [
        safe_text(redact_url(plan.url), 2000),
        f"  to      {safe_text(plan.path, 1000)}",
        f"  size    {size}",
        f"  here    {here if plan.bytes_present else 'nothing'}",
        f"  ranges  {_RANGES[plan.ranges]}",
        f"  trust   {plan.trust}: {_TRUST.get(plan.trust, 'unknown')}",
    ]
