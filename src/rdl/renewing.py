"""A new URL where the one that was given has had its time: from the caller, checked as theirs.

What was sent to the origin of the URL as given (logins, private fields) goes to no other.
"""

from __future__ import annotations

from collections.abc import Callable

from rdl.engine.reception import Place
from rdl.errors import AuthError, UsageError
from rdl.options import Options
from rdl.transport.base import Lineage
from rdl.transport.urls import origin, parse_url, split_userinfo

WHAT = "the renewed URL"


def renewal(given: str, options: Options) -> Callable[[], Place] | None:
    """What the engine calls to have one made; None where there is no way."""
    renew = options.renew
    if renew is None:
        return None

    def renewed() -> Place:
        try:
            url, user, _ = split_userinfo(renew(given))
            parse_url(url)
        except UsageError as error:
            raise AuthError(WHAT, error.why) from error
        if user is not None:
            raise AuthError(WHAT, "it contains a login, which is not taken from there")
        return Place(url, Lineage(origin(parse_url(given))))

    return renewed
