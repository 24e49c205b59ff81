"""Who we are to the first origin: user and password given, or netrc's for exactly that host.

netrc's `default` entry is not used; nothing here goes to another origin.
"""

from __future__ import annotations

import base64
import netrc
import os
from collections.abc import Mapping
from http.cookiejar import CookieJar, LoadError, MozillaCookieJar
from pathlib import Path

from rdl.errors import LocalFileError, UsageError
from rdl.options import NetworkOptions

Logins = dict[str, tuple[str, str]]
_HINT = "--no-netrc ignores the file"


def load_netrc(options: NetworkOptions, environment: Mapping[str, str]) -> Logins:
    """Host to (user, password). Raises LocalFileError (unreadable), UsageError (syntax)."""
    path = _netrc_path(options, environment)
    if path is None:
        return {}
    try:
        hosts = netrc.netrc(str(path)).hosts
    except netrc.NetrcParseError as error:
        raise UsageError(
            str(path), f"line {error.lineno} is not netrc syntax", hint=_HINT
        ) from error
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "is not text"
        raise LocalFileError(str(path), why, hint=_HINT) from error
    logins = {}
    for host, (user, _, password) in hosts.items():
        if host != "default":
            logins[host.lower()] = (user or "", password or "")
    return logins


def load_cookies(path: Path) -> CookieJar:
    """Those of a Netscape cookie file that have not expired. Raises LocalFileError (unreadable),
    UsageError (another format)."""
    jar = MozillaCookieJar(str(path))
    try:
        jar.load(ignore_discard=True, ignore_expires=True)
    except LoadError as error:
        why = "not a cookie file as browsers and curl write them"
        raise UsageError(str(path), why, hint="-H 'Cookie: N=V' sends one cookie") from error
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "is not text"
        raise LocalFileError(str(path), why) from error
    for cookie in jar:
        cookie.expires = cookie.expires or None  # 0: as long as the browser runs
    jar.clear_expired_cookies()
    return jar


def _netrc_path(options: NetworkOptions, environment: Mapping[str, str]) -> Path | None:
    if not options.netrc:
        return None
    if options.netrc_file is not None:
        return options.netrc_file
    if environment.get("NETRC"):
        return Path(environment["NETRC"])
    path = Path(environment.get("HOME") or os.path.expanduser("~")) / ".netrc"
    return path if path.exists() else None


def basic(user: str, password: str) -> bytes:
    """The value of an Authorization field (RFC 7617, UTF-8). Raises UsageError."""
    if ":" in user:
        raise UsageError("user name", "must not contain a colon")
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())
