"""What a URL says besides where: its login, its digest; and how a new one is made of it.

What was sent to the origin of the URL as given (logins, private fields) goes to no other.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from rdl.core.digest import agreeing, digests_in_fragment
from rdl.core.text import safe_text
from rdl.engine.reception import Place
from rdl.errors import AuthError, RdlError, UsageError
from rdl.options import Digest, Options
from rdl.transport.base import Lineage
from rdl.transport.urls import origin, parse_url, split_userinfo

WHAT = "the renewed URL"


def as_given(url: str, options: Options, *, whole: bool) -> tuple[str, Options]:
    """The URL without its login, which belongs to the request and to no name, file or message;
    and, where the `whole` file is wanted, the digests of its fragment. Raises UsageError."""
    parse_url(url)
    url, user, password = split_userinfo(url)
    network, transfer = options.network, options.transfer
    if user is not None and network.user is None:
        network = replace(network, user=user, password=password)
    if transfer.verify != "off" and whole:
        transfer = replace(transfer, digests=_with_fragment(url, transfer.digests))
    return url, replace(options, network=network, transfer=transfer)


def _with_fragment(url: str, given: tuple[Digest, ...]) -> tuple[Digest, ...]:
    try:
        return agreeing((*given, *digests_in_fragment(url)))
    except ValueError as error:
        why = f"its fragment says another {error} than was given"
        raise UsageError("the URL", why) from None


def renewal(given: str, options: Options) -> Callable[[], Place] | None:
    """What the engine calls to have one made; None where there is no way."""
    renew = options.renew
    if renew is None:
        return None

    def renewed() -> Place:
        try:
            url, user, _ = split_userinfo(str(renew(given)))
            parse_url(url)
        except UsageError as error:
            raise AuthError(WHAT, error.why) from error
        except RdlError:
            raise
        except Exception as bug:
            raise AuthError(WHAT, f"could not be made: {safe_text(repr(bug), 200)}") from bug
        if user is not None:
            raise AuthError(WHAT, "it contains a login, which is not taken from there")
        return Place(url, Lineage(origin(parse_url(given))))

    return renewed
