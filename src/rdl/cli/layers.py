"""Who says what an option is: the command line, the environment, the section of the host, the
top of the configuration file, and then rdl itself.

The header fields of a section are for the origin of the URL that it was chosen by, as those of -H.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import click
from click.core import ParameterSource
from msgspec.structs import replace

from rdl.cli.config_file import PATHS, Key, Setting, Settings, others_may_read, read_config
from rdl.cli.console import Console
from rdl.cli.environment import GIVES_WAY, wants_warnings
from rdl.cli.settings import given_as_in_get, header_fields, options_from, options_over
from rdl.cli.values import Address, is_from
from rdl.core.text import safe_text
from rdl.errors import UsageError
from rdl.options import HostLimits, Options

Fields = tuple[tuple[str, str], ...]
OptionsFor = Callable[[Address, Fields], Options]
"""What a URL is fetched with, which a list may give header fields of its own."""
_LIMITS = ("limit_rate", "limit_requests")


class Layers:
    """What one command goes by. `given`: its values, with those of the top of the file."""

    def __init__(self, console: Console, given: Mapping[str, Any]) -> None:
        self._context = click.get_current_context()
        self._config, self._console = read_config(os.environ), console
        general = winning(self._context, self._config.general)
        self.given = {**given, **{name: _usable(name, one) for name, one in general.items()}}
        console.verbose = self.given["verbose"]
        console.json |= self.given.get("progress") == "json"
        self._warned: set[str] = set()
        if self._config.secrets:
            self._warn_of(str(self._config.path))

    def options_for(self, given: Mapping[str, Any]) -> OptionsFor:
        """What `given` says, with what each URL's host adds. Raises UsageError; may ask for a
        password."""
        given = given_as_in_get(given)
        options = options_from(given)
        made: dict[Key | None, tuple[Options, Fields]] = {}

        def make(address: Address, headers: Fields = ()) -> Options:
            key = self._config.key_of(address.url)
            if key not in made:
                made[key] = self._over(options, given, self._config.of_host(key))
            base, fields = made[key]
            return _with_request(base, address, fields, headers)

        return make

    def _over(
        self, options: Options, given: Mapping[str, Any], settings: Settings
    ) -> tuple[Options, Fields]:
        won = winning(self._context, settings)
        fields = self._fields(won.pop("headers")) if "headers" in won else ()
        if not won:
            return options, fields
        values = {name: _usable(name, one) for name, one in won.items()}
        made = options_over(options, {**given, **values})
        if values.keys() & set(_LIMITS):
            where = next(iter(won.values())).where
            limits = HostLimits(where, values.get("limit_rate"), values.get("limit_requests"))
            made = replace(made, limits=limits)
        return made, fields

    def _fields(self, setting: Setting) -> Fields:
        found: list[tuple[str, str]] = []
        for line in setting.value:
            found += header_fields(line, f"{setting.where}: header ")
            if isinstance(line, str):
                self._warn_of(line[1:])
        return tuple(found)

    def _warn_of(self, path: str) -> None:
        """A file with secrets is its owner's alone; said once."""
        if path not in self._warned and wants_warnings(self.given) and others_may_read(path):
            shown = safe_text(path)
            self._console.messages.line(
                f"rdl: warning: {shown}: others may read the secrets in it; chmod 600 {shown}"
            )
        self._warned.add(path)


def winning(context: click.Context, settings: Settings) -> dict[str, Setting]:
    """Those that neither the command line nor the environment decides, of options that the
    command has; headers are not decided as a whole."""

    def said(name: str) -> bool:
        sources = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        return any(is_from(source, context, name) for source in sources)

    def gives_way(name: str, value: Any) -> bool:
        return value != "json" and any(said(other) for other in GIVES_WAY.get(name, ()))

    return {
        name: one
        for name, one in settings.items()
        if name in context.params
        and (name == "headers" or not (said(name) or gives_way(name, one.value)))
    }


def _usable(name: str, setting: Setting) -> Any:
    """The value. Raises UsageError for a file that is not there."""
    if name in PATHS and not os.path.isfile(setting.value):
        key = name.replace("_", "-")
        raise UsageError(f"{setting.where}: {key} {setting.shown}", "no such file")
    return setting.value


def _with_request(options: Options, address: Address, fields: Fields, headers: Fields) -> Options:
    """With what the URL, the list and the section say of its request: -u wins over the URL's
    userinfo, and both of them, -H and the list over the section."""
    network = options.network
    if network.user is None and address.user is not None:
        network = replace(network, user=address.user, password=address.password)
    own = network.headers + headers
    taken = {name.lower() for name, _ in own} | ({"authorization"} if network.user else set())
    added = tuple(one for one in fields if one[0].lower() not in taken)
    if network is options.network and own + added == network.headers:
        return options
    return replace(options, network=replace(network, headers=own + added))
