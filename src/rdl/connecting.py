"""What one transfer works with: its transports and limits, and those of its mirrors."""

from __future__ import annotations

from rdl.engine.edges import Edges, Place
from rdl.engine.throttle import Limits
from rdl.options import NetworkOptions, Options
from rdl.sources import found_of, mirrors_of, renewal
from rdl.storage.base import Store
from rdl.transport.base import Lineage, ResponseHead, Transport
from rdl.transport.heard import HeardTransport
from rdl.transports import Transports


def listened(transport: Transport, options: Options) -> Transport:
    """So that whoever wants to hear what is answered does."""
    return transport if options.heard is None else HeardTransport(transport, options.heard)


def edges_of(
    url: str, options: Options, store: Store, transports: Transports, limits: Limits
) -> tuple[Edges, list[NetworkOptions]]:
    """What a transfer works with; transports.done() is to follow for the second."""
    networks = [options.network]
    transport = listened(transports.take(options.network, options.source), options)
    rate, requests = limits.of(url, options.limits)

    def place(one: str, network: NetworkOptions, lineage: Lineage | None = None) -> Place:
        networks.append(network)
        _, own = limits.of(one, None)
        reached = listened(transports.take(network), options)
        return Place(one, lineage, transport=reached, requests=own)

    def seek(head: ResponseHead, public: bool) -> list[Place]:
        return [place(*one) for one in found_of(head, url, options, public=public)]

    edges = Edges(
        url,
        transport,
        store,
        rate,
        requests,
        renew=renewal(url, options),
        mirrors=tuple(place(*one) for one in mirrors_of(url, options)),
        named=seek,
    )
    return edges, networks
