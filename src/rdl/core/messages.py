"""The two closed sets through which the heart meets the world: commands out, events in.

A driver performs commands in order and reports events; it decides nothing. Every Fetch is
answered by exactly one Ended, also after a Drop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rdl.core.byterange import ByteRange
from rdl.core.events import Fact, Result
from rdl.core.fields import ResponseHead
from rdl.core.gate import Ask
from rdl.core.representation import Representation
from rdl.errors import RdlError

# Commands


@dataclass(frozen=True, slots=True)
class Fetch:
    """Send a request; answer with Head, or Ended when there is none."""

    segment: int
    ask: Ask
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Receive:
    """The Gate let it pass: drop `skip` bytes of the body, compare the next `compare` bytes
    with what stands before `range` (answer Compared, or Ended with ChangedError), write the
    rest at `range` and record it, an extent of at most a MiB after the other."""

    segment: int
    range: ByteRange
    skip: int = 0
    compare: int = 0


@dataclass(frozen=True, slots=True)
class Trim:
    """Write nothing at or after `stop`; end there."""

    segment: int
    stop: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Stop this exchange now; bytes already written are reported before Ended."""

    segment: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the index anew for this representation; what was present is not any more."""

    representation: Representation
    span: ByteRange | None
    block_size: int
    adopted: int = 0
    """So many bytes at the start of the part file stay, and are not recorded as extents."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Make `size` bytes of room."""

    size: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Sync data, then make all that was recorded durable; answer Synced or LocalFailed."""


@dataclass(frozen=True, slots=True)
class Hash:
    """Feed these bytes to the digests; a range that starts at the row's start restarts them.
    After `last`, answer Hashed."""

    range: ByteRange
    last: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """Give the complete file its final name; answer Published or LocalFailed."""

    representation: Representation


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Put the data aside under FILE.part.bad."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a Tick at this time at the latest; replaces the wake-up asked for before."""

    time: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Show this fact."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Finish:
    """The end. `error` is None exactly when the file stands under its final name."""

    result: Result
    error: RdlError | None = None


Command = (
    Fetch
    | Receive
    | Trim
    | Drop
    | Begin
    | Reserve
    | Checkpoint
    | Hash
    | Publish
    | Quarantine
    | WakeAt
    | Tell
    | Finish
)

# Events


@dataclass(frozen=True, slots=True)
class Demand:
    """Somebody wants the row; the first event."""


@dataclass(frozen=True, slots=True)
class Head:
    """The final response head of a Fetch."""

    segment: int
    head: ResponseHead


@dataclass(frozen=True, slots=True)
class Arrived:
    """These bytes are written and recorded."""

    segment: int
    range: ByteRange


@dataclass(frozen=True, slots=True)
class Compared:
    """The bytes that were to be compared are the same."""

    segment: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The exchange is over: at its trimmed stop or the body's proper end, or with an error."""

    segment: int
    error: RdlError | None = None


@dataclass(frozen=True, slots=True)
class Synced:
    """The last Checkpoint holds."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """The digests of the whole row, algorithm to hex."""

    digests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """The file stands under its final name."""

    path: str


@dataclass(frozen=True, slots=True)
class LocalFailed:
    """The disk refused a command or a write; commands that followed it were not performed.
    After a failed Checkpoint (`during_sync`) nothing since the last good one is durable."""

    error: RdlError
    during_sync: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """The user or the system asks to stop."""

    name: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    Demand
    | Head
    | Arrived
    | Compared
    | Ended
    | Synced
    | Hashed
    | Published
    | LocalFailed
    | Signal
    | Tick
)
