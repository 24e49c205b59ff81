"""What a URL says besides where: its login, its digest; and how a new one is made of it.

What was sent to the origin of the URL as given (logins, private fields) goes to no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from msgspec.structs import replace

from rdl.core.digest import agreeing, digests_in_fragment
from rdl.core.fields import ResponseHead
from rdl.core.file_url import is_file_url, path_of
from rdl.core.link_field import mirrors_in
from rdl.core.text import redact_url, safe_text
from rdl.engine.edges import Place
from rdl.errors import AuthError, RdlError, UsageError
from rdl.options import Digest, NetworkOptions, Options, Source
from rdl.transport.base import Lineage
from rdl.transport.own import url_of
from rdl.transport.urls import parse_url, split_userinfo

WHAT = "the renewed URL"
MOST_NAMED = 8
MOST_CONNECTIONS, ORIGIN_BUDGET = 8, 16
"""To one file, and to one server for all files of a list."""


def addressed(url: str | Source, options: Options) -> tuple[str, Options]:
    """A Source of the caller's goes with the options, and is called by a URL from there on."""
    if isinstance(url, str):
        return url, options
    return url_of(url), replace(options, source=url)


def shown_url(url: str | Source) -> str:
    """The URL without secrets, as people may see it, also that of a Source."""
    try:
        return redact_url(url if isinstance(url, str) else url_of(url))
    except UsageError:  # it has no name, and will be refused
        return "source"


def check_given(url: str, source: Source | None = None) -> None:
    """A URL that the user wrote may name a local file. Raises UsageError."""
    if is_file_url(url):
        path_of(url)
    elif source is None or url != url_of(source):
        parse_url(url)


def as_given(url: str | Source, options: Options, *, whole: bool) -> tuple[str, Options]:
    """The URL without its login, which belongs to the request and to no name, file or message;
    and, where the `whole` file is wanted, the digests of its fragment. Raises UsageError."""
    url, options = addressed(url, options)
    check_given(url, options.source)
    for mirror in options.mirrors:
        check_given(mirror)
        if split_userinfo(mirror)[1] is not None:
            why = "a login in its URL is not used"
            raise UsageError(f"mirror {redact_url(mirror)}", why, hint="netrc may hold it")
    url, user, password = split_userinfo(url)
    network, transfer = options.network, options.transfer
    if user is None and not transfer.digests and "#" not in url:  # it says nothing else
        return url, options
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


def ceilings(urls: Sequence[str | Source], abreast: int) -> list[int]:
    """How many connections each target of a list may have, where nobody said: those of one origin
    that run at the same time share its budget."""
    origins = [server_of(url) for url in urls]
    counts = Counter(origins)
    shares = (min(abreast, counts[one]) for one in origins)
    return [max(1, min(MOST_CONNECTIONS, ORIGIN_BUDGET // share)) for share in shares]


def limited(options: Options, most: int) -> Options:
    """With at most so many connections, where nobody said how many."""
    transfer = options.transfer
    if most >= transfer.ceiling:
        return options
    return replace(options, transfer=replace(transfer, ceiling=most))


def server_of(url: str | Source) -> str:
    """Host and port, as what shares a budget; empty where there is none."""
    if not isinstance(url, str):
        return ""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:  # it will be refused
        return ""


def _abroad(url: str, given: str, network: NetworkOptions) -> NetworkOptions:
    """How to ask for `url`, when the login and the private fields are of the URL `given`. What
    says itself for which host it is (netrc, cookies) goes there all the same."""
    if origin_of(url) == origin_of(given):
        return network
    return replace(network, headers=(), user=None, password=None, cert=None, key=None)


def mirrors_of(given: str, options: Options) -> list[tuple[str, NetworkOptions]]:
    """The mirrors of the URL `given`, and how to ask each of them."""
    return [(url, _abroad(url, given, options.network)) for url in options.mirrors]


def named(head: ResponseHead, given: str, options: Options) -> list[str]:
    """The mirrors of the URL `given` that a server names: in this response (RFC 6249), or before.
    None that is told to be one already, or leads from https to http."""
    found = [*options.found_mirrors, *mirrors_in(head.all("link"), head.url or given)]
    network, known, urls = options.network, {given, *options.mirrors}, list[str]()
    secure = origin_of(given).startswith("https:")
    for url in dict.fromkeys(found):
        try:
            scheme = parse_url(url).scheme
        except UsageError:
            continue
        downgrade = secure and scheme != "https"
        if url in known or split_userinfo(url)[1] is not None:
            continue
        if not downgrade or network.allow_insecure_redirect:
            urls.append(url)
    return urls[:MOST_NAMED]


def found_of(
    head: ResponseHead, given: str, options: Options, *, public: bool
) -> list[tuple[str, NetworkOptions, Lineage]]:
    """Those, and how to ask them: nothing of the user goes there, and from a `public` server none
    leads to a private address."""
    network = unknown(options.network)
    urls = named(head, given, options)
    return [(url, network, Lineage(origin_of(url), public)) for url in urls]


def origin_of(url: str) -> str:
    """Scheme, host and port; of what is on no server the scheme alone."""
    scheme = url.partition(":")[0].lower()
    return parse_url(url).origin if scheme in ("http", "https") else scheme


def unknown(network: NetworkOptions) -> NetworkOptions:
    """How to ask a server that only another server named: nothing of the user goes there."""
    return replace(
        network,
        headers=(),
        user=None,
        password=None,
        netrc=False,
        cookies=None,
        cert=None,
        key=None,
    )


def renewal(given: str, options: Options) -> Callable[[], Place] | None:
    """What the engine calls to have one made; None where there is no way."""
    renew = options.renew
    if renew is None:
        return None

    def renewed() -> Place:
        try:
            url, user, _ = split_userinfo(str(renew(given)))
            check_given(url)
        except UsageError as error:
            raise AuthError(WHAT, error.why) from error
        except RdlError:
            raise
        except Exception as bug:
            raise AuthError(WHAT, f"could not be made: {safe_text(repr(bug), 200)}") from bug
        if user is not None:
            raise AuthError(WHAT, "it contains a login, which is not taken from there")
        lineage = None if is_file_url(url) else Lineage(origin_of(given))
        return Place(url, lineage, led=True)

    return renewed
