"""`rdl verify FILE --repair URL`: after a bad verdict a repaired copy takes the file's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rdl.cli.console import Console
from rdl.cli.display.choose import display_for
from rdl.cli.display.plain import Style
from rdl.cli.display.summary import name_of
from rdl.cli.frame import said
from rdl.cli.layers import Layers
from rdl.cli.report import Report
from rdl.cli.settings import session_options_from
from rdl.cli.values import parse_url
from rdl.core.events import Result, failed
from rdl.core.text import redact_url
from rdl.errors import ExitCode, Interrupted, RdlError, UsageError, exit_code_of
from rdl.options import Options

if TYPE_CHECKING:
    from rdl.verification import Check, Verification

OF_GET = frozenset(
    (
        *("connections", "min_split_size", "limit_rate", "limit_requests", "retry"),
        *("retry_max_time", "connect_timeout", "timeout", "max_time", "headers", "user"),
        *("netrc_file", "no_netrc", "user_agent", "proxy", "noproxy", "cacert", "cert", "key"),
        *("insecure", "ipv4", "ipv6", "allow_insecure_redirect", "allow_private_redirect"),
        *("block_size", "preallocate", "keep_time", "url_command", "cookies"),
    )
)
"""Options of get that say how to fetch,"""
REACHING = OF_GET - {"connections", "min_split_size", "block_size", "preallocate", "keep_time"}
"""and those of them that are about no file that is written."""


def repair_options(layers: Layers, checks: Sequence[Check]) -> tuple[str, Options]:
    """The URL without credentials, and how to fetch. Raises UsageError."""
    if len({check.path for check in checks}) != 1:
        raise UsageError("--repair", "one URL repairs one file", hint="name the FILE")
    address = parse_url(layers.given["repair"])
    fetching = {name: layers.given[name] for name in OF_GET}
    return address.url, layers.options_for(fetching)(address, ())


def refuse_where_nothing_is_fetched(lacks: str) -> None:
    """What says how to fetch says nothing there. Raises UsageError."""
    for option in said(OF_GET):
        raise UsageError(option, f"useless without {lacks}")


def worth_it(verdicts: Sequence[Verification]) -> bool:
    """Whether fetching can help: some bytes are not right, or cannot be read."""
    codes = {verdict.exit_code for verdict in verdicts} - {ExitCode.OK}
    return bool(codes) and codes <= {ExitCode.DIGEST, ExitCode.LOCAL_FILE}


def repair(
    console: Console, given: dict[str, Any], checks: Sequence[Check], url: str, options: Options
) -> int:
    """Repair the file that did not pass; returns the exit code."""
    from rdl.api import Session, Target
    from rdl.repairing import repair_by, repair_with

    style = Style(given["verbose"], given["quiet"], False, 1, tries=options.transfer.retry)
    display = display_for(given["progress"], console.messages, style)
    report = Report(display, console.output, json=given["json"], plans=False)
    with Session(session_options_from(given)) as session:
        console.signals.watch(session, display.abandon)
        try:
            if given["manifest"] is not None:
                target = Target(url, checks[0].path, options)
                result = repair_by(session, target, given["manifest"], report.tell)
            else:
                result = repair_with(session, url, checks, options, report.tell)
        except Interrupted as error:
            display.close()
            console.messages.line(f"rdl: interrupted: {name_of(str(checks[0].path))} is as it was")
            return int(exit_code_of(error))
        except RdlError as error:
            result = failed(Result(redact_url(url), str(checks[0].path)), error)
        finally:
            console.signals.watch(None, display.abandon)
    report.done(result)
    report.end()
    return result.exit_code
