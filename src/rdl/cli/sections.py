"""Under which headings `--help` and the man pages list the options of a command that has many.

A command's own options, which are under none of these, come first.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

FEW = 12
"""Parameters; so many need no headings."""
OWN = "Options"
HEADINGS = {
    "Output": "output directory program on_complete",
    "Lists": "input_file base_url locked parallel engine scheduler",
    "Parts": "ranges member",
    "What is here already": "resume join adopt restart no_clobber on_change",
    "Verification": "checksum sha256 verify strict allow_html max_filesize",
    "Speed": "connections min_split_size limit_rate limit_requests",
    "Patience": "retry retry_max_time connect_timeout timeout max_time",
    "Sources and logins": "mirrors url_command headers user netrc_file no_netrc cookies user_agent",
    "Network": "proxy noproxy cacert cert key insecure ipv4 ipv6 "
    "allow_insecure_redirect allow_private_redirect",
    "Disk": "block_size preallocate keep_time",
    "Messages and results": "quiet verbose progress json dry_run help",
}
"""By the names of parameters."""


def sections(params: Sequence[click.Parameter]) -> list[tuple[str, list[click.Parameter]]]:
    """Headings, and what is listed under each, in the order of `params`."""
    if len(params) <= FEW:
        return [(OWN, [*params])]
    of = {name: heading for heading, names in HEADINGS.items() for name in names.split()}
    found: dict[str, list[click.Parameter]] = {heading: [] for heading in (OWN, *HEADINGS)}
    for one in params:
        name = "help" if "--help" in one.opts else one.name
        found[of.get(name or "", OWN)].append(one)
    return [*found.items()]


def records(
    params: Sequence[click.Parameter], context: click.Context
) -> list[tuple[str, list[tuple[str, str]]]]:
    """The same as text: how each option is written, and what it does."""
    listed = []
    for heading, some in sections(params):
        texts = filter(None, (one.get_help_record(context) for one in some))
        if described := [record for record in texts if record[1]]:  # an argument has no text
            listed.append((heading, described))
    return listed


class SectionedCommand(click.Command):
    """Its help has headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them."""
        for heading, some in records(self.get_params(ctx), ctx):
            with formatter.section(heading):
                formatter.write_dl(some)
