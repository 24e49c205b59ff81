"""The one tree of errors.

Every failure that a user can meet is an RdlError. Its class says the exit code, the stable
word for JSON (`reason`), and whether the same command continues; its instance says what
failed, why, and where there is one, what to do about it.
"""

from __future__ import annotations

from enum import IntEnum

TYPE_CHECKING = False  # `rdl --version` does not wait for typing
if TYPE_CHECKING:
    from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the command line; the meaning of each is in docs/exit-codes.md."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    LOCAL_FILE = 3
    NETWORK = 4
    TLS = 5
    AUTH = 6
    POLICY = 7
    HTTP_STATUS = 8
    CHANGED = 9
    DIGEST = 10
    UNVERIFIED = 11
    NO_SPACE = 12
    EXISTS = 13
    BUSY = 14
    OUT_OF_TIME = 15
    SEVERAL = 20
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class RdlError(Exception):
    """`what` failed and `why`; `hint` says what the user may do next.

    `permanent` means that trying again at once cannot help; `resumable` that the same
    command, run later, continues from what is on disk.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL
    reason: ClassVar[str] = "internal"
    permanent: bool = True
    resumable: bool = False
    delay: float | None = None
    """Seconds after which it may be tried again, where the source says so."""
    result: object = None
    """The Result of the download that ended so, where one had begun."""

    def __init__(self, what: str, why: str = "", *, hint: str = "") -> None:
        super().__init__(f"{what}: {why}" if why else what)
        self.what, self.why, self.hint = what, why, hint

    def __copy__(self) -> RdlError:
        """The same, to be raised in another thread: a traceback belongs to one."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        twin.__cause__ = self.__cause__
        return twin

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as it is, whatever its class is made of: processes hand errors on."""
        return _like, (type(self), self.args), self.__dict__


def _like(kind: type[RdlError], args: tuple[object, ...]) -> RdlError:
    return kind.__new__(kind, *args)


class UsageError(RdlError):
    """The command, an option value, a URL, a digest or a range makes no sense."""

    exit_code, reason = ExitCode.USAGE, "usage"


class LocalFileError(RdlError):
    """The local file system refused, or holds something that is not ours."""

    exit_code, reason, resumable = ExitCode.LOCAL_FILE, "local-file", True


class ProgramError(RdlError):
    """A program of the user's that was fed with the bytes failed."""

    exit_code, reason = ExitCode.LOCAL_FILE, "program"


class NetworkError(RdlError):
    """Name, connect, reset, timeout or stall; `delay`: not to be tried again before so many
    seconds are over."""

    exit_code, reason, permanent, resumable = ExitCode.NETWORK, "network", False, True

    def __init__(
        self, what: str, why: str = "", *, hint: str = "", delay: float | None = None
    ) -> None:
        super().__init__(what, why, hint=hint)
        self.delay = delay


class TLSError(RdlError):
    """The peer could not be verified."""

    exit_code, reason = ExitCode.TLS, "tls"


class AuthError(RdlError):
    """401, 403 or 407."""

    exit_code, reason, resumable = ExitCode.AUTH, "auth", True

    def after_login(self) -> None:
        """A user and password had been given: the hint does not ask for them again."""
        if self.what == "HTTP 401":
            self.hint = "the user and password that were given were not accepted"


class ProtocolError(RdlError):
    """The peer broke HTTP, or our rules about what may be written."""

    exit_code, reason = ExitCode.POLICY, "protocol"


class PolicyError(RdlError):
    """Refused on purpose: a redirect, a page, a size."""

    exit_code, reason = ExitCode.POLICY, "policy"


class ArchiveError(RdlError):
    """An archive that is none, or damaged, or what is asked of it is refused."""

    exit_code, reason = ExitCode.POLICY, "archive"


class HTTPStatusError(RdlError):
    """A 4xx or 5xx that is not about authentication."""

    exit_code, reason = ExitCode.HTTP_STATUS, "http-status"

    def __init__(self, what: str, why: str = "", *, status: int, hint: str = "") -> None:
        super().__init__(what, why, hint=hint)
        self.status = status
        self.permanent = not is_passing(status)
        self.resumable = is_passing(status)


class ChangedError(RdlError):
    """The remote file is no longer the one that was begun."""

    exit_code, reason = ExitCode.CHANGED, "changed"


class DigestMismatch(RdlError):
    """The bytes are not the ones that the digest names."""

    exit_code, reason = ExitCode.DIGEST, "digest-mismatch"


class DigestMissing(RdlError):
    """Verification was required, and nothing to verify against was found."""

    exit_code, reason = ExitCode.UNVERIFIED, "no-digest"


NO_DIGEST = "verification is required, and no digest was found"
NO_DIGEST_HINT = "--sha256 gives one; --restart asks for all anew; --verify auto takes it without"


class NoSpaceError(RdlError):
    """Not enough space or quota."""

    exit_code, reason, resumable = ExitCode.NO_SPACE, "no-space", True


class TargetExists(RdlError):
    """The target exists and must not be replaced, or changed while we worked."""

    exit_code, reason = ExitCode.EXISTS, "exists"


class BusyError(RdlError):
    """Another rdl is writing this target."""

    exit_code, reason = ExitCode.BUSY, "busy"


class OutOfTime(RdlError):
    """--max-time is over."""

    exit_code, reason, resumable = ExitCode.OUT_OF_TIME, "out-of-time", True


class Interrupted(RdlError):
    """A signal; the state is saved."""

    exit_code, reason, resumable = ExitCode.INTERRUPTED, "interrupted", True
    CODES: ClassVar[dict[str, ExitCode]] = {
        "SIGHUP": ExitCode.HANGUP,
        "SIGINT": ExitCode.INTERRUPTED,
        "SIGTERM": ExitCode.TERMINATED,
    }

    def __init__(self, signal: str) -> None:
        super().__init__("interrupted", signal)
        self.signal = signal


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code of any exception; what is not an RdlError is a bug (1)."""
    if isinstance(error, Interrupted):
        return Interrupted.CODES.get(error.signal, ExitCode.INTERRUPTED)
    return error.exit_code if isinstance(error, RdlError) else ExitCode.INTERNAL


def as_error(error: BaseException) -> RdlError:
    """What is no RdlError is a bug, and becomes one that says so."""
    if isinstance(error, RdlError):
        return error
    bug = RdlError("internal error", repr(error))
    bug.__cause__ = error
    return bug


def why_of(error: Exception) -> str:
    """What the system says of a failure, without its number and the name of the file."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def is_passing(status: int) -> bool:
    """Whether a status is worth another try later (RFC 9110 section 15, RFC 6585)."""
    return status in (202, 408, 421, 425, 429, 500, 502, 503, 504, 509) or 520 <= status <= 527
