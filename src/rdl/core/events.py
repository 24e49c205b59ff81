"""Facts for displays: what a transfer tells, and its result. Values only, no text for people.

The JSON form of each is in docs/json-events.md.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field
from msgspec.structs import replace

from rdl.errors import RdlError, exit_code_of


class Planned(Struct, frozen=True):
    """What --dry-run prints and what a start knows: JSON event `plan`."""

    url: str
    path: str
    bytes_total: int | None
    bytes_present: int
    ranges: bool | None
    trust: str
    resume: bool


class Started(Struct, frozen=True):
    """The first response was accepted: JSON event `start`."""

    url: str
    path: str
    bytes_total: int | None
    bytes_reused: int
    trust: str
    parallel: bool


class Progress(Struct, frozen=True):
    """At most ten a second: JSON event `progress`. `coverage`: present share, 0..1, of equal
    slices of the row (for the block map); `speed` in bytes a second; `eta` in seconds."""

    path: str
    bytes_total: int | None
    bytes_present: int
    bytes_downloaded: int
    speed: float
    eta: float | None
    connections: int
    coverage: tuple[float, ...] = ()


class Retrying(Struct, frozen=True):
    """A request failed and will be made again after `delay` seconds: JSON event `retry`."""

    path: str
    why: str
    attempt: int
    delay: float


class Changed(Struct, frozen=True):
    """The remote file is another one now; what was here is fetched anew: event `changed`."""

    path: str
    why: str


class Verifying(Struct, frozen=True):
    """Bytes that are here already are worked on: JSON event `verify`. `stage`: "digests" are being
    finished, old files are looked through ("seeds"), or what they hold is copied ("copies")."""

    path: str
    bytes_total: int
    bytes_hashed: int
    stage: str = "digests"


class Warned(Struct, frozen=True):
    """Something the user should know that stops nothing; goes to stderr as a line."""

    path: str
    message: str


Fact = Planned | Started | Progress | Retrying | Changed | Verifying | Warned
Teller = Callable[[Fact], None]
"""Who hears facts, as they come."""


class Share(Struct, frozen=True):
    """What one of several sources brought in this run: `ranges` are first and last bytes, of what
    still counts. `error`: why it was not used to the end, empty where it was."""

    url: str
    bytes_downloaded: int
    ranges: tuple[tuple[int, int], ...] = ()
    error: str = ""


class Result(Struct, frozen=True):
    """The end of one download; the result object of CLI.md. `digests`: algorithm to hex.

    `reason` is a stable word: complete, unchanged, dry-run, or the error's reason.
    `range`: first and last byte of the remote file where only these were asked for; None: all
    of it, or not known. `error` and `hint` are text for people, empty on success.
    """

    url: str
    path: str
    exit_code: int = 0
    reason: str = "complete"
    resumable: bool = False
    bytes_total: int | None = None
    bytes_present: int = 0
    bytes_downloaded: int = 0
    bytes_reused: int = 0
    seconds: float = 0.0
    connections: int = 0
    retries: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    verified_by: tuple[str, ...] = ()
    trust: str = "T0"
    completeness: str = "confirmed"
    range: tuple[int, int] | None = None
    sources: tuple[Share, ...] = ()
    """With mirrors: each source, in the order given."""
    error: str = ""
    hint: str = ""


def unchanged(url: str, path: str, size: int, trust: str) -> Result:
    """Of a file that was here already, all of it."""
    return Result(
        url,
        path,
        reason="unchanged",
        bytes_total=size,
        bytes_present=size,
        bytes_reused=size,
        trust=trust,
    )


def ended(url: str, path: str, error: RdlError) -> Result:
    """The result of a download that ended with this error, which may know how far it was."""
    known = error.result
    if isinstance(known, Result):
        return failed(known, error, resumable=known.resumable)
    return failed(Result(url, path), error)


def failed(result: Result, error: RdlError, *, resumable: bool | None = None) -> Result:
    """The result of what ended with this error. `resumable`: as the transfer found it; None:
    there was none, and it is as for errors of this kind."""
    return replace(
        result,
        exit_code=int(exit_code_of(error)),
        reason=error.reason,
        resumable=error.resumable if resumable is None else resumable,
        completeness="unconfirmed",
        error=str(error),
        hint=error.hint,
    )
