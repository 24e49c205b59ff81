"""How a list is divided among workers: into shards, by host, each with its share of the budgets.

Pure. All shards of an origin that run at a time ask no more of it together than one session may;
where servers redirect to is not known beforehand, and not counted.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from rdl import __version__
from rdl.api import Target
from rdl.options import HostLimits, Options, SessionOptions
from rdl.sources import MOST_CONNECTIONS, ORIGIN_BUDGET, limited, server_of

MOST = 128
"""Files of a shard: so many are looked at again when a worker is lost."""
SHARDS_EACH = 4
"""So many for each worker, where there are files enough, so that all end at about the same time."""


class Shard(Struct, frozen=True):
    """What one worker fetches in one session. `batch`: the name of all this; it says nothing.
    `packed`: the targets, and the options of the session; a worker of another version of rdl does
    not look into it."""

    batch: str
    count: int
    packed: bytes
    version: str = __version__

    def __repr__(self) -> str:  # shown by schedulers and in their logs; options may hold secrets
        return f"Shard({self.count} files)"

    def unpacked(self) -> tuple[Sequence[Target], SessionOptions]:
        """What is in it."""
        targets, options = pickle.loads(self.packed)
        return targets, options


def packed(batch: str, targets: Sequence[Target], options: SessionOptions) -> Shard:
    """A shard that any process can be given."""
    return Shard(batch, len(targets), pickle.dumps((tuple(targets), options)))


class Group(Struct):
    """Numbers of targets in shards, of which at most `abreast` run at a time. No other group has
    a target of the same origin."""

    shards: list[list[int]]
    abreast: int


def divided(targets: Sequence[Target], workers: int, parallel: int) -> list[Group]:
    """All targets, for so many workers that each fetch `parallel` files at a time."""
    count = len(targets)
    least = min(parallel, -(-count // workers))
    size = max(1, least, min(MOST, -(-count // (SHARDS_EACH * workers))))
    groups, small = list[Group](), list[int]()
    for numbers in _by_host(targets):
        if len(small) + len(numbers) <= size:
            small += numbers
        elif len(numbers) <= size:
            groups.append(Group([small], 1))
            small = numbers
        else:
            shards = [numbers[at : at + size] for at in range(0, len(numbers), size)]
            most = min(workers, len(shards), max(ORIGIN_BUDGET, parallel))
            groups.append(Group(shards, most))
    return [*groups, Group([small], 1)] if small else groups


def _by_host(targets: Sequence[Target]) -> list[list[int]]:
    """Numbers of those that share a server, or a limit, also by way of others."""
    leader: dict[str, str] = {}

    def first(key: str) -> str:
        while (before := leader.setdefault(key, key)) != key:
            leader[key] = key = leader[before]
        return key

    own: list[str] = []
    for target in targets:
        options = target.options
        urls = (target.url, *options.mirrors, *options.sums)
        keys = [server_of(url) for url in urls]
        if options.limits is not None:
            keys.append(f"limit {options.limits.name}")
        for key in keys[1:]:
            leader[first(key)] = first(keys[0])
        own.append(keys[0])
    found: dict[str, list[int]] = {}
    for number, key in enumerate(own):
        found.setdefault(first(key), []).append(number)
    return list(found.values())


def share_of(options: SessionOptions, abreast: int, all_abreast: int) -> SessionOptions:
    """What a shard may have of what the session of a list may, where so many of its group, and so
    many of all, run at a time."""
    rate, requests = options.limit_rate, options.limit_requests
    return replace(
        options,
        limit_rate=rate and max(1, rate // all_abreast),
        limit_requests=requests and requests / abreast,
        parallel=min(options.parallel, _files(options, abreast)),
    )


def sharing(options: Options, session: SessionOptions, abreast: int) -> Options:
    """The options of a target in a shard, of whose group so many run at a time. A worker that was
    taken for lost may still write the file: it is waited for."""
    most = _files(session, abreast) // min(session.parallel, _files(session, abreast))
    own = limited(options, min(MOST_CONNECTIONS, most))
    own = replace(own, file=replace(options.file, join=True))
    limits = options.limits
    if limits is None or abreast == 1:
        return own
    rate, requests = limits.limit_rate, limits.limit_requests
    less = HostLimits(
        limits.name, rate and max(1, rate // abreast), requests and requests / abreast
    )
    return replace(own, limits=less)


def _files(options: SessionOptions, abreast: int) -> int:
    """Files of one origin that a shard may fetch at the same time."""
    return max(ORIGIN_BUDGET, options.parallel) // abreast
