"""rdl.sync: a file is brought up to date from what local files hold; what they lack is fetched.

The manifest only says where bytes may be found. What was copied is checked where it was put, what
is fetched comes through the one engine, and the digest of the whole decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from msgspec.structs import replace

from rdl.api import Session, Target
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.delta import Sown
from rdl.core.events import Result, Teller, Warned
from rdl.core.file_url import is_file_url
from rdl.core.manifest import SUFFIX, Manifest
from rdl.core.published import Published
from rdl.core.representation import Trust
from rdl.core.text import redact_url
from rdl.errors import (
    AuthError,
    ChangedError,
    DigestMismatch,
    HTTPStatusError,
    LocalFileError,
    NetworkError,
    PolicyError,
    ProtocolError,
    RdlError,
    UsageError,
)
from rdl.landing import Sow
from rdl.manifest_reading import Index, opened
from rdl.options import ChunkCache, Digest, HostLimits, Options, Source, TransferOptions
from rdl.recipes import Found, Listed, Manifested, Recipe
from rdl.seeds import files_of, keep
from rdl.sources import as_given, mirrors_of
from rdl.sowing import Sowing
from rdl.storage.disk import told
from rdl.storage.names import Names
from rdl.storage.part_file import PartStore
from rdl.storage.sown_part import SownPart
from rdl.transport.base import Transport
from rdl.transport.peering import SECONDS, Peer, PeerTransport
from rdl.transport.wishing import WishTransport, fine_of

STORE, INDEXES = ".castr", (".rdlm", ".meta4", ".zsync", ".caibx")
"""Of a store of chunks; of what says how files are made."""
ABSENT = (404, 410)
NONE = (HTTPStatusError, AuthError, LocalFileError, PolicyError, ProtocolError)
"""What is where a manifest may be, and is none."""
WEAK = "sha1"
"""It tells damage, and not what is made to look right."""
UNLIMITED = HostLimits("chunks", limit_rate=1 << 50)


def sync(
    url: str | Source,
    path: str | os.PathLike[str],
    *,
    seeds: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    manifest: str | os.PathLike[str] | None = None,
    options: Options | None = None,
    tell: Teller | None = None,
    cache: ChunkCache | None = None,
) -> Result:
    """Download `url` to `path`, but for what `path` itself, a partial of it, and the `seeds` (files
    or folders) hold already.

    `manifest`: a path or a URL of one that `rdl manifest make` wrote, or of a .zsync or .caibx
    file; default: URL.rdlm, and where there is none, all is fetched. With `#sha256=HEX` after it
    the manifest must have this digest, and then decides what is right. `cache`: chunks that are
    in it are not fetched, and those that were are put there. Raises as get() does.
    """
    several = (seeds,) if isinstance(seeds, str | os.PathLike) else seeds
    with Session() as session:
        target = Target(url, Path(path), options or Options())
        return sync_with(
            session, target, [Path(seed) for seed in several], manifest, tell, cache=cache
        )


def sync_with(
    session: Session,
    target: Target,
    seeds: Sequence[Path] = (),
    manifest: str | os.PathLike[str] | None = None,
    tell: Teller | None = None,
    *,
    cache: ChunkCache | None = None,
) -> Result:
    """sync() in a session."""
    if target.options.transfer.range is not None:
        raise UsageError("sync", "it makes whole files, and no ranges")
    if target.options.dry_run:
        raise UsageError("sync", "what is to be fetched shows when it is put together")
    return Syncing(session, target, seeds, tell, cache=cache).run(manifest)


def beside(url: str, suffix: str) -> str:
    """The URL with this after its path."""
    parts = urlsplit(url)
    return urlunsplit((*parts[:2], parts.path + suffix, parts.query, ""))


class Syncing:
    """One file, by a manifest and without."""

    def __init__(
        self,
        session: Session,
        target: Target,
        seeds: Sequence[Path],
        tell: Teller | None,
        *,
        cache: ChunkCache | None = None,
    ) -> None:
        self._url, self._options = as_given(target.url, target.options, whole=True)
        self._session, self._path, self._tell = session, target.path, tell
        self._begun = time.monotonic()
        self._again = False
        """The manifest was another one when wishes were sent, and was asked for anew."""
        self._alive = session.checker(target.options.transfer.max_time, str(target.path))
        files = files_of(seeds, self._warn, self._alive)
        target = Target(self._url, self._path, self._options)
        self._sowing = Sowing(target, files, self._alive, tell, cache=cache)

    def run(self, manifest: str | os.PathLike[str] | None, *, decides: bool = False) -> Result:
        """Make the file. `decides`: the manifest says what is right, wherever it is. Raises
        RdlError."""
        result = self._run(manifest, decides=decides)
        return replace(result, seconds=time.monotonic() - self._begun)

    def _run(self, manifest: str | os.PathLike[str] | None, *, decides: bool) -> Result:
        if manifest is None and urlsplit(self._url).path.endswith(INDEXES):
            hint = "rdl sync URL --manifest M: URL is the file's, M its manifest or index"
            raise UsageError(redact_url(self._url), "it is an index, and no file", hint=hint)
        try:
            address = beside(self._url, SUFFIX) if manifest is None else manifest
            index = opened(self._session, self._url, address, self._options)
        except NONE as error:
            status = error.status if isinstance(error, HTTPStatusError) else None
            if manifest is not None or status not in (None, *ABSENT):
                raise
            return self._plain(
                f"no manifest helps ({error}); where it has changed, all of it is fetched"
            )
        with index:
            index.decides = index.decides or decides
            self._check_size(index.recipe.total)
            if index.decides and not self.agrees(index):
                why = "the manifest is of another file than the digest that was given"
                raise DigestMismatch(str(self._path), why)
            if not self.agrees(index):
                return self._plain("the manifest is of another file; all of it is fetched")
            if not (index.recipe.proves or self._options.transfer.digests):
                return self._plain("no digest would prove what is put together; all is fetched")
            if self._vouched(index):
                return self._as_vouched(index)
            try:
                return self.by(index)
            except (ChangedError, DigestMismatch) as error:
                why = str(error)
        if index.wishes is not None and not self._again:  # there is a new one where that came from
            self._again = True
            return self._run(manifest, decides=decides)
        return self._plain(f"the manifest is of another version ({why}); all of it is fetched")

    def _check_size(self, size: int) -> None:
        limit = self._options.transfer.max_filesize
        if limit is not None and size > limit:
            raise PolicyError(str(self._path), f"{size} bytes are over --max-filesize")

    def _as_vouched(self, index: Index) -> Result:
        try:
            return self._delta(index)
        except ChangedError as error:
            error.hint = error.hint or "the manifest is of another file, or of another version"
            raise

    def by(self, index: Index) -> Result:
        """As this, of a server, says, or not at all. Raises RdlError: ChangedError or
        DigestMismatch where it is of another version."""
        try:
            return self._delta(index)
        except ChangedError:
            self._let_go()
            raise
        except DigestMismatch:
            with told(str(self._path)):
                self._path.with_name(Names.of(self._path).bad).unlink(missing_ok=True)
            self._let_go()
            raise

    def _vouched(self, index: Index) -> bool:
        """Whether the user says, by its digest or by that of the file, that it is right."""
        digests = self._options.transfer.digests
        return index.decides or any(one.algorithm in index.recipe.digests for one in digests)

    def _let_go(self) -> None:
        """Of what the manifest had put together nothing is of use but what the server sent; with
        mirrors, which were let in by what the manifest says, nobody knows what that is."""
        store = PartStore(self._path)
        saved = store.open()
        known = saved is not None and saved.header.representation.trust is not Trust.T0
        store.close(discard=not known or bool(self._options.mirrors))

    def _plain(self, why: str) -> Result:
        if self._is_store:
            raise self._no_index()
        self._warn(why)
        options = replace(self._options, transfer=self._transfer())
        return self._session.get(Target(self._url, self._path, options), self._tell)

    def _transfer(self) -> TransferOptions:
        return self._options.transfer.after(time.monotonic() - self._begun)

    def agrees(self, index: Index) -> bool:
        """Whether the user's digests and the manifest's can be of one file."""
        said, given = index.recipe.digests, self._options.transfer.digests
        return all(said.get(one.algorithm, one.hex) == one.hex for one in given)

    def _delta(self, index: Index) -> Result:
        """Of those who receive it too, else by wishes where they are granted, else by ranges."""
        recipe = index.recipe
        with ExitStack() as stack:
            if isinstance(recipe, Manifested) and (peers := self._peers(recipe.chunks, stack)):
                return self._filled(index, recipe, peers=PeerTransport(peers, recipe.chunks))
        if index.wishes is not None and isinstance(recipe, Manifested) and not self._is_store:
            with (
                WishTransport(self._url, index.wishes, recipe.chunks) as wishes,
                self._session.reaching(self._options.network) as servers,
            ):
                recipe.ask = partial(self._fine, servers, index.wishes)
                try:
                    return self._filled(index, recipe, wishes)
                except ProtocolError as error:
                    if wishes.outdated:
                        raise ChangedError(str(self._path), str(error)) from error
                    if not wishes.used:
                        raise
                    self._warn(f"what is missing comes by ranges: {error}")
                finally:
                    recipe.ask = None
        return self._filled(index, recipe)

    def _peers(self, coarse: Chunks, stack: ExitStack) -> list[Peer]:
        """Those of the mirrors that receive the file themselves, and grant what they have."""
        found = list[Peer]()
        for url, network in mirrors_of(self._url, self._options):
            if is_file_url(url) or self._is_store or self._options.source is not None:
                continue
            self._alive()
            soon = replace(
                network,
                connect_timeout=min(network.connect_timeout, SECONDS),
                timeout=min(network.timeout, SECONDS),
            )
            peer = Peer(url, beside(url, SUFFIX), stack.enter_context(self._session.reaching(soon)))
            found += [peer] if peer.receives(coarse) else []
        return found

    def _fine(
        self, servers: Transport, where: str, manifest: Manifest, numbers: Sequence[int]
    ) -> Mapping[int, bytes] | None:
        """As Manifested asks for it."""
        try:
            return fine_of(servers, where, manifest, numbers, self._alive)
        except (NetworkError, PolicyError, ProtocolError):
            return None  # what is wrong shows when it is read

    def _filled(
        self,
        index: Index,
        recipe: Recipe,
        wishes: WishTransport | None = None,
        peers: PeerTransport | None = None,
    ) -> Result:
        transfer = self._transfer()
        known = {one.algorithm for one in transfer.digests}
        said = tuple(
            Digest(name, hex)
            if index.decides and name != WEAK
            else Published(name, hex, "manifest")
            for name, hex in recipe.digests.items()
            if name not in known
        )
        transfer = replace(transfer, digests=(*transfer.digests, *said), expected_size=recipe.total)
        url = self._store(recipe) if self._is_store else self._url
        own = replace(self._options, transfer=transfer)
        if url is not self._url:  # chunks are counted as they are fetched
            own = replace(own, limits=UNLIMITED)
        if peers is not None:
            others = tuple(one for one in own.mirrors if one not in peers.urls)
            own = replace(own, mirrors=others)
        target = Target(url, self._path, own)

        def put(part: SownPart, here: tuple[ByteRange, ...]) -> Sown:
            try:
                sown = self._sowing.put(recipe, part, here, wishes)
                if peers is not None and sown.chunks is not None:
                    peers.know(sown.chunks)
                return replace(sown, published=not index.decides, tiled=peers is not None)
            except ProtocolError as error:  # what is read of it later makes no sense
                if self._vouched(index):
                    raise
                raise ChangedError(str(self._path), str(error)) from error
            except RdlError as error:
                error.result = Result(
                    redact_url(self._url),
                    str(self._path),
                    resumable=error.resumable,
                    bytes_total=recipe.total,
                    bytes_present=self._sowing.held,
                )
                raise

        reach = wishes or peers
        sow = Sow(put, reach.over) if reach is not None else Sow(put)
        self._sowing.found = None  # that of another manifest says nothing of this one
        result = self._session.get(target, self._tell, sow=sow)
        cache, found = self._sowing.cache, self._sowing.found
        if cache is not None and found is not None:
            keep(cache, self._path, found.chunks, self._came(found), self._warn)
        return result

    def _came(self, found: Found) -> Iterator[int]:
        """As it says, as long as this may take time."""
        for number in found.came():
            self._alive()
            yield number

    @property
    def _is_store(self) -> bool:
        """The URL may be that of a store of chunks, as casync names them."""
        return urlsplit(self._url).path.rstrip("/").endswith(STORE)

    def _no_index(self) -> UsageError:
        why = "it is a store of chunks, and nothing says which of them"
        return UsageError(redact_url(self._url), why, hint="--manifest names a .caibx")

    def _store(self, recipe: Recipe) -> Source:
        if not isinstance(recipe, Listed):
            raise self._no_index()
        from rdl.chunk_store import ChunkStore

        network, limits = self._options.network, self._options.limits
        name = f"{redact_url(self._url).rstrip('/')}/{self._path.name}"
        return ChunkStore(
            recipe.index, self._url, self._session, name=name, network=network, limits=limits
        )

    def _warn(self, text: str) -> None:
        if self._tell is not None:
            self._tell(Warned(str(self._path), text))
