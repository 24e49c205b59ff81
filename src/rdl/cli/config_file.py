"""The configuration file: TOML to settings, each checked as the option of its name is.

Preferences at the top, and for single hosts below `[host."example.org"]`; whatever is not
understood is one error that names file and section. An absent file says nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from msgspec import Struct, field

from rdl.cli.environment import CONFIG, PREFERENCES
from rdl.cli.options import get_parameters
from rdl.cli.settings import read_small
from rdl.cli.values import HOST, long_name
from rdl.core.text import is_secret_name, redact_url, safe_text
from rdl.errors import LocalFileError, UsageError, why_of

MAX_CONFIG = 1 << 20
_OF_ALL = frozenset(("parallel", "quiet", "verbose", "progress"))
OF_HOST = (PREFERENCES - _OF_ALL) | {"headers", "cookies"}
PATHS = frozenset(("netrc_file", "cacert", "cookies"))
_NUMBERS = ("N", "S", "SIZE")
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(rf"(?:\*\.)?(?:{HOST.pattern})(?::([0-9]{{1,5}}))?")
_BARE = re.compile(r"[A-Za-z0-9_-]+")

Key = tuple[bool, str, int | None]
"""Whether it stands for what is below the host; the host, and the port if one is named."""


class Setting(Struct, frozen=True):
    """The value of an option as it is after parsing, as people may see it, and who says so."""

    value: Any
    shown: str
    where: str

    def __repr__(self) -> str:  # values may be secrets
        return f"Setting({self.shown!r}, {self.where!r})"


Settings = Mapping[str, Setting]
"""By the names that the options have in Python."""


class Config(Struct, frozen=True):
    """A whole file; `secrets`: it holds what others should not read."""

    path: Path | None = None
    general: Settings = field(default_factory=dict)
    hosts: Mapping[Key, Settings] = field(default_factory=dict)
    secrets: bool = False

    def key_of(self, url: str) -> Key | None:
        """Of the section that names the host of `url` most exactly: with its port, then without,
        then `*.` and the domains that it is in, the nearest first."""
        if not self.hosts:  # of a list it is asked for each URL
            return None
        return next((key for key in _keys(url) if key in self.hosts), None)

    def of_host(self, key: Key | None) -> Settings:
        """What that section says."""
        return self.hosts[key] if key is not None else {}


def _keys(url: str) -> Iterator[Key]:
    """A section without a port stands for the port of the scheme."""
    parts = urlsplit(url)
    host, own = parts.hostname or "", _PORTS.get(parts.scheme.lower())
    port = parts.port or own
    ports = [port, None] if port == own else [port]
    labels = host.split(".")
    above = range(1, min(len(labels), 128))
    for wild, name in [(False, host), *((True, ".".join(labels[n:])) for n in above)]:
        if not name:
            return
        yield from ((wild, name, one) for one in ports)


def config_path(environment: Mapping[str, str]) -> Path:
    """The file that is read, if it is there: RDL_CONFIG, or rdl/config.toml in the folder for
    configuration (XDG Base Directory Specification)."""
    if environment.get(CONFIG):
        return Path(environment[CONFIG])
    folder = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):  # the specification says to ignore it then
        folder = os.path.join(os.path.expanduser("~"), ".config")
    return Path(folder) / "rdl" / "config.toml"


def read_config(environment: Mapping[str, str]) -> Config:
    """What the file says. Raises UsageError."""
    path = config_path(environment)
    named = bool(environment.get(CONFIG))
    if not named and not os.path.lexists(path):
        return Config()
    what = f"{CONFIG}: {path}" if named else str(path)
    return parse_config(read_small(str(path), MAX_CONFIG, what), path)


def others_may_read(path: str | Path) -> bool:
    """Whether the mode of a file lets its group or everybody read it. Raises LocalFileError."""
    try:
        return bool(os.stat(path).st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError as error:
        raise LocalFileError(safe_text(str(path)), why_of(error)) from None


def parse_config(data: bytes, path: Path) -> Config:
    """The settings in the text of a file. Raises UsageError."""
    shown = safe_text(str(path))
    tables = _tables(data, shown)
    hosts = tables.pop("host", {})
    if not isinstance(hosts, dict):
        raise UsageError(f"{shown}: host", 'a section for one host is [host."example.org"]')
    reader = _Reader(path)
    general = reader.settings(tables, shown, PREFERENCES)
    found: dict[Key, Settings] = {}
    for name, table in hosts.items():
        where = f"{shown}: host.{_quoted(name)}"
        key = _key(name, where)
        if not isinstance(table, dict):
            raise UsageError(where, 'a section for one host is [host."example.org"]')
        if key in found:
            raise UsageError(where, "a second section for this host")
        found[key] = reader.settings(table, where, OF_HOST)
    return Config(path, general, found, reader.secrets)


def _tables(data: bytes, shown: str) -> dict[str, Any]:
    import tomllib  # not at every start of rdl

    try:
        return tomllib.loads(data.removeprefix(b"\xef\xbb\xbf").decode())
    except UnicodeDecodeError:
        raise UsageError(shown, "not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(shown, f"not TOML: {safe_text(str(error))}") from None
    except RecursionError:
        raise UsageError(shown, "nested too deeply") from None
    except ValueError:  # a number of thousands of digits
        raise UsageError(shown, "a number in it is too long") from None


def _key(name: str, where: str) -> Key:
    found = _NAME.fullmatch(name)
    wild, place = name.startswith("*."), name.removeprefix("*.")
    hint = 'a host, with a port if it is not the usual one: "example.org:8443"; or "*.DOMAIN"'
    if found is None or "*" in place or (found[1] and not 0 < int(found[1]) < 65536):
        raise UsageError(where, "not a host", hint=hint)
    try:
        parts = urlsplit(f"//{place}")
    except ValueError:  # brackets around what is no address, and what a host cannot be made of
        raise UsageError(where, "not a host", hint=hint) from None
    return wild, parts.hostname or "", parts.port


def _quoted(name: str) -> str:
    return safe_text(name) if _BARE.fullmatch(name) else f'"{safe_text(name)}"'


class _Reader:
    """From TOML values to settings, by the options of get."""

    def __init__(self, path: Path) -> None:
        options = [one for one in get_parameters() if isinstance(one, click.Option)]
        self._options = {long_name(one): one for one in options}
        self._folder = path.parent
        self.secrets = False

    def settings(self, table: dict[str, Any], where: str, allowed: frozenset[str]) -> Settings:
        """Those of one section. Raises UsageError."""
        found = {}
        for name, value in table.items():
            option = self._options.get(name)
            what = f"{where}: {_quoted(name)}"
            if option is None or option.name not in allowed:
                raise self._unknown(name, what, allowed)
            if option.name == "headers":
                setting = self._header(value, option, where)
            else:
                setting = self._setting(value, option, where)
            found[str(option.name)] = setting
        return found

    def _unknown(self, name: str, what: str, allowed: frozenset[str]) -> UsageError:
        option = self._options.get(name)
        if option is None:
            names = [key for key, one in self._options.items() if one.name in allowed]
            near = get_close_matches(name, names, 1, 0.75)
            return UsageError(what, "no such name", hint=f"did you mean {near[0]}?" if near else "")
        if option.name in OF_HOST:
            return UsageError(what, 'only for one host: in a section [host."example.org"]')
        if option.name in PREFERENCES:
            return UsageError(what, "it is for all hosts: at the top of the file")
        return UsageError(what, "only an option of the command line")

    def _setting(self, value: Any, option: click.Option, where: str) -> Setting:
        text = _text_of(value, option, f"{where}: {long_name(option)}")
        parsed = _convert(text, option, where)
        shown = text
        if option.name in PATHS:
            shown = parsed = self._path(str(parsed))
        elif option.name == "proxy":
            shown = redact_url(str(parsed))
            self.secrets |= "@" in str(parsed)
        return Setting(parsed, safe_text(shown), where)

    def _path(self, text: str) -> str:
        """Of a file: from the folder of this one, `~` being somebody's home, if they have one."""
        return str(self._folder / os.path.expanduser(text))

    def _header(self, value: Any, option: click.Option, where: str) -> Setting:
        """One or several header lines, as -H takes them; of a file only the path."""
        lines = [value] if isinstance(value, str) else value
        if not isinstance(lines, list) or not all(isinstance(one, str) for one in lines):
            raise UsageError(f"{where}: header", "'Name: value' is wanted, or a list of them")
        parsed, names = [], []
        for line in lines:
            one = _convert(line, option, where)
            if isinstance(one, str):
                one = f"@{self._path(one[1:])}"
            else:
                self.secrets |= one[0].lower() == "cookie" or is_secret_name(one[0])
            parsed.append(one)
            names.append(one if isinstance(one, str) else one[0])
        return Setting(tuple(parsed), safe_text(", ".join(names)), where)


def _text_of(value: Any, option: click.Option, what: str) -> str:
    """As it would stand on the command line. Raises UsageError for another type."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(what, "true or false is wanted")
        return "yes" if value else "no"
    if getattr(option.type, "name", "") in _NUMBERS:
        if not (number or isinstance(value, str)):
            raise UsageError(what, "a number is wanted")
        if number and abs(value) >= 1 << 64:
            raise UsageError(what, "too large")
        return str(value)
    if not isinstance(value, str):
        raise UsageError(what, "text in quotes is wanted")
    return value


def _convert(text: str, option: click.Option, where: str) -> Any:
    try:
        return option.type.convert(text, option, None)
    except UsageError as error:
        what = f"{where}: {error.what.removeprefix('--')}"
        raise UsageError(what, error.why, hint=error.hint) from None
    except click.BadParameter as error:
        what = f"{where}: {long_name(option)}"
        raise UsageError(what, safe_text(error.message).rstrip(".")) from None
