"""The two closed sets through which the heart meets the world: commands out, events in.

A driver performs commands in order and reports events; it decides nothing. Every Fetch is
answered by exactly one Ended, also after a Drop.
"""

from __future__ import annotations

from msgspec import Struct, field

from rdl.core.byterange import ByteRange
from rdl.core.events import Fact, Result
from rdl.core.fields import ResponseHead
from rdl.core.gate import Ask
from rdl.core.reading import Consumed, Invalidate, Left, ReaderEvent, Save, Want, WantAll
from rdl.core.representation import Representation
from rdl.errors import RdlError

__all__ = ["Consumed", "Invalidate", "Left", "ReaderEvent", "Save", "Want", "WantAll"]
"""Events that stand elsewhere."""

# Commands


class Fetch(Struct, frozen=True):
    """Send a request; answer with Head, or Ended when there is none."""

    segment: int
    ask: Ask
    headers: tuple[tuple[str, str], ...] = ()
    fresh: bool = True
    """To the URL as given; else to the link that the last such request, when its body was let
    in, had led to."""
    source: int = 0
    """0: the URL as given; 1, 2, ...: its mirrors."""
    idle: bool = False
    """Nobody waits for it."""


class Renew(Struct, frozen=True):
    """Have a new URL made, to be used as if it had been given; answer Renewed."""


class Seek(Struct, frozen=True):
    """Answer with Found: the mirrors that the response to this segment names, or that were found
    before. They are sources from then on, numbered as they come."""

    segment: int


class Receive(Struct, frozen=True):
    """The Gate let it pass: drop `skip` bytes of the body, compare the next `compare` bytes
    with what stands before `range` (answer Compared, or Ended with ChangedError), write the
    rest at `range` and record it, an extent of at most a MiB after the other."""

    segment: int
    range: ByteRange
    skip: int = 0
    compare: int = 0
    hold: bool = False
    """At the end of the range wait for a Trim, which may move it on."""


class Trim(Struct, frozen=True):
    """Write nothing at or after `stop`; end there, or with `hold` wait there for the next."""

    segment: int
    stop: int
    hold: bool = False


class Drop(Struct, frozen=True):
    """Stop this exchange now; bytes already written are reported before Ended."""

    segment: int


class Begin(Struct, frozen=True):
    """Start the index anew for this representation; what was present is not any more."""

    representation: Representation
    span: ByteRange | None
    block_size: int
    adopted: tuple[ByteRange, ...] = ()
    """These bytes of the part file stay, and are not recorded as extents."""
    url: str = ""
    """Of the mirror that has it, redacted; empty: as given."""


class Mix(Struct, frozen=True):
    """The representation that was begun does not speak for what comes now: only a digest does."""


class Reserve(Struct, frozen=True):
    """Make `size` bytes of room."""

    size: int


class Forget(Struct, frozen=True):
    """These bytes are not present any more: note it."""

    ranges: tuple[ByteRange, ...]


class Checkpoint(Struct, frozen=True):
    """Sync data, then make all that was recorded durable; answer Synced or LocalFailed."""


class Deliver(Struct, frozen=True):
    """The reader in order may take the bytes before `upto`."""

    upto: int


class Known(Struct, frozen=True):
    """Readers of a lazy row have this representation; `size` bytes of it, None while that is not
    known."""

    representation: Representation
    size: int | None


class Show(Struct, frozen=True):
    """Readers may have these bytes; what is forgotten or evicted they may not any more."""

    ranges: tuple[ByteRange, ...]


class Evict(Struct, frozen=True):
    """Let so many bytes go from memory, but none of `wanted`; answer Evicted at once."""

    size: int
    wanted: tuple[ByteRange, ...]


class Saved(Struct, frozen=True):
    """All that readers had when they asked for Save is durable, or cannot be."""


class Hash(Struct, frozen=True):
    """Feed these bytes to digests of these algorithms; a range that starts at the row's start
    begins them. After `last`, answer Hashed."""

    range: ByteRange
    algorithms: tuple[str, ...]
    last: bool = False


class Check(Struct, frozen=True):
    """Compute the digest of this part, as a server sent it, and answer Checked."""

    range: ByteRange
    algorithm: str


class CheckBlocks(Struct, frozen=True):
    """Compute the digest of each of these blocks, and answer CheckedBlocks."""

    blocks: tuple[ByteRange, ...]
    algorithm: str


class Repeat(Struct, frozen=True):
    """The same bytes stand at these places too: copy them there, and answer Repeated. They are not
    recorded: no server sent them there."""

    range: ByteRange
    places: tuple[ByteRange, ...]


class Publish(Struct, frozen=True):
    """Give the complete file of `size` bytes its final name; answer Published or LocalFailed.
    `url`, redacted: of the source whose validators these are."""

    representation: Representation
    size: int
    url: str


class Quarantine(Struct, frozen=True):
    """Put the data aside under FILE.part.bad."""


class WakeAt(Struct, frozen=True):
    """Send a Tick at this time at the latest; replaces the wake-up asked for before."""

    time: float


class Tell(Struct, frozen=True):
    """Show this fact."""

    fact: Fact


class Finish(Struct, frozen=True):
    """The end. `error` is None exactly when the file stands under its final name."""

    result: Result
    error: RdlError | None = None


Command = (
    Fetch
    | Renew
    | Seek
    | Receive
    | Trim
    | Drop
    | Begin
    | Mix
    | Reserve
    | Forget
    | Checkpoint
    | Deliver
    | Known
    | Show
    | Evict
    | Saved
    | Hash
    | Check
    | CheckBlocks
    | Repeat
    | Publish
    | Quarantine
    | WakeAt
    | Tell
    | Finish
)

# Events


class Demand(Struct, frozen=True):
    """Somebody wants the row, all of it; the first event, which says no more of a lazy row."""


class Evicted(Struct, frozen=True):
    """These bytes were let go."""

    ranges: tuple[ByteRange, ...]


class MakeWay(Struct, frozen=True):
    """Others need the connection of this segment more, unless somebody waits for it by now."""

    segment: int


class Head(Struct, frozen=True):
    """The final response head of a Fetch."""

    segment: int
    head: ResponseHead
    elsewhere: bool = False
    """The answer is not of the URL as given, but of a link that a redirect led to."""


class Arrived(Struct, frozen=True):
    """These bytes are written and recorded."""

    segment: int
    range: ByteRange


class Reached(Struct, frozen=True):
    """What was written up to here is not reported yet, but will be: nobody else shall ask for it,
    and a reader in order may have it. Sent before every other event."""

    segment: int
    at: int


class Compared(Struct, frozen=True):
    """The bytes that were to be compared are the same, as far as they are still here: `size` of
    them, which may be none where a reader in order went on."""

    segment: int
    size: int = 1


class Ended(Struct, frozen=True):
    """The exchange is over: at its trimmed stop or the body's proper end, or with an error."""

    segment: int
    error: RdlError | None = None


class Renewed(Struct, frozen=True):
    """There is a new URL, or no way to get one."""

    error: RdlError | None = None


class Found(Struct, frozen=True):
    """Further sources that a server named; redacted URLs."""

    urls: tuple[str, ...]


class Synced(Struct, frozen=True):
    """The last Checkpoint holds."""


class Hashed(Struct, frozen=True):
    """The digests of the whole row, algorithm to hex."""

    digests: dict[str, str] = field(default_factory=dict)


class Checked(Struct, frozen=True):
    """The digest of this part, as hex."""

    range: ByteRange
    hex: str


class CheckedBlocks(Struct, frozen=True):
    """The digests of these blocks, as hex."""

    blocks: tuple[ByteRange, ...]
    hexes: tuple[str, ...]


class Repeated(Struct, frozen=True):
    """These places have been written, or are not to be relied on."""

    places: tuple[ByteRange, ...]
    copied: bool = True


class Published(Struct, frozen=True):
    """The file stands under its final name."""


class LocalFailed(Struct, frozen=True):
    """The disk refused a command or a write; commands that followed it were not performed.
    After a failed Checkpoint (`during_sync`) nothing since the last good one is durable."""

    error: RdlError
    during_sync: bool = False


class Signal(Struct, frozen=True):
    """The user or the system asks to stop."""

    name: str


class Tick(Struct, frozen=True):
    """Time has passed."""


Event = (
    Demand
    | Want
    | WantAll
    | Left
    | Evicted
    | Invalidate
    | MakeWay
    | Save
    | Head
    | Arrived
    | Reached
    | Consumed
    | Compared
    | Ended
    | Renewed
    | Found
    | Synced
    | Hashed
    | Checked
    | CheckedBlocks
    | Repeated
    | Published
    | LocalFailed
    | Signal
    | Tick
)
