"""The command tree of rdl, and how every exception becomes one line and an exit code."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Sequence
from difflib import get_close_matches

import click

from rdl.cli.commands import (
    cache,
    cat,
    clean,
    completion,
    config,
    get,
    info,
    lock,
    ls,
    manifest,
    serve,
    status,
    sync,
    verify,
)
from rdl.cli.console import Console
from rdl.cli.main import BROKEN_PIPE, print_version
from rdl.cli.options import get_parameters
from rdl.cli.values import named, url_hint
from rdl.core.text import redact_text, redact_url, safe_text
from rdl.errors import ExitCode, Interrupted, LocalFileError, RdlError, UsageError, why_of

_COMMANDS = (
    *(cache, cat, clean, completion, config, get, info),
    *(lock, ls, manifest, serve, status, sync, verify),
)
_WITHOUT_PROGRESS = tuple(
    [name] for name in ("info", "ls", "status", "clean", "cache", "completion", "config", "serve")
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
"""Also of a scheme that get then refuses: no command is called so."""
_ELSEWHERE = {
    "help": "rdl --help, or rdl COMMAND --help",
    "version": "rdl --version",
    "resume": "rdl get --resume FILE, or the same command again",
}
"""What other programs call what rdl says otherwise."""
_LIST = re.compile(r"-i|--(?:input-file|locked|resume)(?:=|$)")
_TO_STDOUT = re.compile(r"(?:^| )(?:-[a-zA-Z]*o ?|--output[= ])(?:-|/dev/stdout)(?: |$)")


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code. Never raises."""
    console = Console(json=_asks_for_json(arguments), results=_asks_for_results(arguments))
    try:
        with console.signals:
            return _run(list(arguments), console)
    except (Interrupted, KeyboardInterrupt) as error:
        return Interrupted.CODES[error.signal if isinstance(error, Interrupted) else "SIGINT"]
    except RdlError as error:
        return console.error(error)
    except BrokenPipeError:
        console.output.abandon()
        return BROKEN_PIPE
    except OSError as error:
        return console.error(_from_system(error))
    except Exception as error:
        return _internal(error, console)


def _run(arguments: list[str], console: Console) -> int:
    if arguments and _is_get(arguments):
        arguments.insert(0, "get")
    try:
        tree = group()
        if (offers := completion.answer(tree)) is not None:
            console.output.line(offers)
            return 0
        with tree.make_context("rdl", arguments, obj=console) as context:
            return int(tree.invoke(context) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        raise Interrupted("SIGINT") from None
    except click.ClickException as error:
        raise _usage(error) from None


def _is_get(arguments: list[str]) -> bool:
    """`rdl URL`, also with options before the URL; a list is in the place of URLs."""
    own = arguments[0] in ("--help", "-h", "--version")
    urls = any(_URL.match(argument) or _LIST.match(argument) for argument in arguments)
    return bool(_URL.match(arguments[0])) or (arguments[0].startswith("-") and urls and not own)


def group() -> click.Group:
    """All commands."""
    tree = click.Group(
        "rdl",
        help="A resumable downloader that never puts a wrong byte under the final name. "
        "'rdl URL' means 'rdl get URL'.",
        no_args_is_help=False,
        context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    )
    for one in _COMMANDS:
        tree.add_command(one.command())
    tree.params.append(_version_option())
    return tree


def _version_option() -> click.Option:
    def answer(context: click.Context, _param: click.Parameter, asked: bool) -> None:
        if asked:
            context.exit(print_version())

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=answer,
        help="Print the version and exit.",
    )


def _near(typed: str, options: Sequence[str]) -> list[str]:
    """The options like what was typed; the dashes, which all share, do not count."""
    names = {option.lstrip("-"): option for option in options}
    return sorted(names[name] for name in get_close_matches(typed.lstrip("-"), names))


def _of_get() -> list[click.Parameter]:
    return [one for one in get_parameters() if not getattr(one, "hidden", False)]


def _usage(error: click.ClickException) -> UsageError:
    hint = ""
    what, why = "usage", error.format_message()
    if isinstance(error, click.NoSuchOption):
        what, why = error.option_name, "no such option"
        near = _near(error.option_name, error.possibilities or ())
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        if not near and any(what in one.opts for one in _of_get()):
            hint = "it is one of rdl get"
    elif isinstance(error, click.MissingParameter) and error.param and error.ctx:
        what, why = f"{error.ctx.info_name}", f"no {error.param.name} given"
        hint = f"rdl {what} --help tells more"
    elif isinstance(error, click.BadParameter) and error.param is not None:
        what, why = named(error.param, error.ctx), error.message
    elif isinstance(error, click.BadOptionUsage):
        what, why = error.option_name, re.sub(r"^Option '.*?' ", "", why)
    elif found := re.match(r"No such command '(.*?)'(?:\. (Did you mean .*))?", why, re.DOTALL):
        hint = re.sub(r"[()'\"]", "", found[2] or "").replace("Did", "did")
        what, why = redact_url(found[1]), "no such command"
        hint = _ELSEWHERE.get(what) or hint or url_hint(found[1]) or "rdl --help lists them"
    elif why.startswith("Missing command"):
        what, why, hint = (
            "nothing to do",
            "no command and no URL",
            "rdl get URL; rdl --help tells more",
        )
    return UsageError(safe_text(what), safe_text(why).rstrip("."), hint=hint)


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Also errors in the arguments are JSON events then."""
    line = " ".join(f"{argument}" for argument in arguments)
    if re.search(r"(?:^| )--progress[= ]", line) or list(arguments[:1]) in _WITHOUT_PROGRESS:
        return re.search(r"(?:^| )--progress[= ]json(?: |$)", line) is not None
    return os.environ.get("RDL_PROGRESS") == "json"


def _asks_for_results(arguments: Sequence[str]) -> bool:
    """Also errors in the arguments of get are results then, unless stdout is for its bytes."""
    of_get = bool(arguments) and (arguments[0] == "get" or _is_get([*arguments]))
    return of_get and "--json" in arguments and not _TO_STDOUT.search(" ".join(arguments))


def _from_system(error: OSError) -> RdlError:
    """Of what is not wrapped where it happens only stdout is left: a help text on a full disk."""
    place = str(error.filename) if error.filename else "stdout"
    return LocalFileError(place, why_of(error))


def _internal(error: Exception, console: Console) -> int:
    wrapped = RdlError("internal error", f"{type(error).__name__}: {error}", hint="-vv shows where")
    if console.verbose > 1:
        for line in "".join(traceback.format_exception(error)).splitlines():
            console.messages.line(safe_text(redact_text(line), 500))
        wrapped.hint = ""
    console.error(wrapped)
    return ExitCode.INTERNAL
