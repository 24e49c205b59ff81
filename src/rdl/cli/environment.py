"""Which options the environment may give, as RDL_ and the option's long name in capitals.

Preferences: how, not what to fetch, where to put it or what to check; nothing that trusts
more, and no credential. The table for users is docs/environment.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click
from click.core import ParameterSource

from rdl.cli.streams import Messages
from rdl.cli.values import Switch, is_from, long_name
from rdl.core.text import safe_text

PREFERENCES = frozenset(
    (
        *("parallel", "connections", "min_split_size", "on_change", "strict", "max_filesize"),
        *("limit_rate", "limit_requests", "retry", "retry_max_time", "connect_timeout", "timeout"),
        *("max_time", "netrc_file", "user_agent", "proxy", "noproxy", "cacert", "block_size"),
        *("preallocate", "keep_time", "quiet", "verbose", "progress"),
    )
)
GIVES_WAY = {
    "netrc_file": ("no_netrc",),
    "quiet": ("verbose",),
    "verbose": ("quiet",),
    "progress": ("quiet",),
}
"""Contradictions: such a variable, or line of the configuration file, says nothing beside these."""

TOLD = frozenset(
    ("RDL_URL", "RDL_PATH", "RDL_REASON", "RDL_BYTES", "RDL_DIGESTS", "RDL_TRUST"),
)
"""What commands of the user's are told; they may run rdl in their turn."""
CONFIG = "RDL_CONFIG"
"""Where the configuration file is."""
VARIABLES = frozenset(f"RDL_{name.upper()}" for name in PREFERENCES)


def warn_of_unknown(messages: Messages, given: Mapping[str, Any]) -> None:
    """A line for each variable that looks like ours and is not; none where that is not wanted,
    and of an empty one."""
    if not wants_warnings(given):
        return
    known = VARIABLES | {CONFIG}
    for name in sorted(os.environ.keys() - known - TOLD):
        if name.startswith("RDL_") and os.environ[name]:
            near = get_close_matches(name[4:], (one[4:] for one in known), 1, 0.75)
            hint = f"; did you mean RDL_{near[0]}?" if near else ""
            messages.line(f"rdl: warning: {safe_text(name)}: no such variable; ignored{hint}")


def wants_warnings(given: Mapping[str, Any]) -> bool:
    """Whether a command says what is not an error."""
    return not given.get("quiet") and given.get("progress") != "json"


def prefer(parameters: Iterable[click.Parameter]) -> None:
    """Give the preferences among them their variables."""
    for one in parameters:
        if isinstance(one, click.Option) and one.name in PREFERENCES:
            one.envvar = f"RDL_{long_name(one).replace('-', '_').upper()}"
            one.callback = _after_explicit(GIVES_WAY.get(one.name, ()))
            if one.is_flag:
                one.type = Switch()


def _after_explicit(
    others: Sequence[str],
) -> Callable[[click.Context, click.Parameter, Any], Any] | None:
    """A value from the environment is as if unset where one of `others` is on the command line
    (click looks at what stands there first)."""

    def choose(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        explicit = any(is_from(ParameterSource.COMMANDLINE, ctx, other) for other in others)
        if explicit and is_from(ParameterSource.ENVIRONMENT, ctx, param.name) and value != "json":
            return param.get_default(ctx)
        return value

    return choose if others else None


def without_environment(parameters: list[click.Parameter]) -> list[click.Parameter]:
    """The same, whatever the environment says."""
    for one in parameters:
        one.envvar = None
    return parameters
