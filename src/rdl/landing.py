"""What stands at a download's final name before it begins, and what an earlier run left.

Decides whether there is anything to do; touches nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from rdl.core.byterange import ByteRange, joined
from rdl.core.delta import Sown
from rdl.core.events import Result, Teller, Warned, unchanged
from rdl.core.fields import parse_etag, parse_http_date
from rdl.core.names import last_segment
from rdl.core.proving import proof_of
from rdl.core.representation import Representation, Trust
from rdl.core.row import Remembered
from rdl.core.spec import Spec
from rdl.core.text import is_redacted, redact_url
from rdl.errors import BusyError, LocalFileError, NoSpaceError, RdlError, TargetExists
from rdl.options import Options
from rdl.storage.base import Header, Saved
from rdl.storage.copying import copy_to_part
from rdl.storage.disk import Disk, FileStat, as_ours, opened, opened_folder, told
from rdl.storage.foreign import Foreign, find_foreign, give_back, remove_aside
from rdl.storage.inspecting import bytes_kept, read_partial
from rdl.storage.names import Names
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import read_published, url_mark
from rdl.storage.small import SmallStore
from rdl.storage.sown_part import SownPart
from rdl.transport.base import Transport

STEP = 1 << 20
PAGES = (".htm", ".html", ".xhtml")


class Sow(Struct, frozen=True):
    """A download begins with what is on this disk. `put` is called with the open part file, and
    what of it is claimed to be here. `reach`: by which transport the rest comes, over the usual."""

    put: Callable[[SownPart, tuple[ByteRange, ...]], Sown]
    reach: Callable[[Transport], Transport] = lambda usual: usual


def names_page(url: str) -> bool:
    """Whether the URL's own name is that of a web page."""
    name = last_segment(url).lower()
    return name.endswith(PAGES) or not name


class Landing:
    """The place where one download will stand. `url` is redacted. `lazy`: what is continued is
    not compared where it is joined; `own`: nothing but this very URL's stands there."""

    def __init__(
        self,
        path: Path,
        url: str,
        options: Options,
        disk: Disk | None = None,
        check: Callable[[], None] = lambda: None,
        *,
        lazy: bool = False,
        own: bool = False,
    ) -> None:
        self._path, self._url, self._options = path, url, options
        self._lazy, self._own = lazy, own
        self.urls = (url, *map(redact_url, options.mirrors))
        """Of all sources, redacted."""
        self.lead = 0
        """By which of them the partial was begun."""
        self._disk, self._check = disk or PosixDisk(), check
        self.existing: Representation | None = None
        self.adopted: tuple[ByteRange, ...] = ()
        """Bytes of unknown origin in the part file, with --continue."""
        self._stood: FileStat | None = None
        """What was at the name at first."""
        self._moved = False
        """Another program's state was put aside."""

    def already_there(self) -> Result | None:
        """The result when nothing need be fetched. Raises TargetExists with --no-clobber and
        LocalFileError where the name belongs to something that is no plain file."""
        self._stood = self._standing()
        if self._stood is None:
            return None
        if self._options.file.no_clobber and not self._options.dry_run:
            raise TargetExists(str(self._path), "it exists, and --no-clobber was given")
        if self._options.file.restart:
            return None
        if self._options.transfer.digests:
            return self._by_digest()
        if self._options.transfer.verify != "require":  # its answer would carry no digest
            self.existing = self.noted()
        return None

    def spec_for(
        self, url: str, store: SownPart | SmallStore, sow: Sow | None, tell: Teller | None
    ) -> Spec:
        """Open the store: the transfer that fills it."""
        if sow is None or not isinstance(store, SownPart):
            return self.spec(url, self.open(store, tell))
        saved = store.open()
        here = store.adoptable()
        if saved is not None and not self._options.file.restart:
            ranges = (*saved.extents.ranges(), *saved.header.adopted)
            here = tuple(joined(sorted(ranges, key=lambda run: run.start)))
        begun = time.monotonic()
        sown = sow.put(store, here)
        self.adopted, self.existing = sown.kept, None
        return replace(
            self.spec(url, None),
            options=self._options.transfer.after(time.monotonic() - begun),
            chunks=sown.chunks,
            chunks_published=sown.published,
            repeats=sown.repeats,
            tiled=sown.tiled,
        )

    def spec(self, url: str, remembered: Remembered | None) -> Spec:
        """The transfer that is to land here."""
        return Spec(
            self._url,
            str(self._path),
            self._options.transfer,
            secrets.randbits(32),
            page_name=self.page_name(url),
            remembered=remembered,
            existing=self.existing,
            dry_run=self._options.dry_run,
            adopted=self.adopted,
            renewable=self._options.renew is not None,
            mirrors=self.urls[1:],
            lead=self.lead,
        )

    def sweep(self) -> None:
        """Where nothing need be fetched: remove what a run that was killed while it published left
        beside the file. What is not surely that stays."""
        folder = None if self._options.dry_run else self._folder()
        if folder is None:
            return
        names = Names.of(self._path)
        try:
            here, part, index = (
                self._disk.stat(folder, name) for name in (names.target, names.part, names.index)
            )
            remove_aside(self._disk, folder, names)
        except OSError:  # the file is right: its neighbours are no reason to fail
            return
        finally:
            self._disk.close(folder)
        empty = part is not None and part.size == 0
        if empty or (part.same_file(here) if part else index is not None):
            store = PartStore(self._path, self._disk)
            with suppress(LocalFileError, NoSpaceError, BusyError):
                store.open()
                store.close(discard=empty)

    def open(self, store: PartStore | SmallStore, tell: Teller | None) -> Remembered | None:
        """Open the store; what of an earlier run is to be continued."""
        if self._options.dry_run:
            return self._looked_at()
        foreign = self._foreign()
        copied = self._copy_partial(foreign, tell)
        saved = store.open()
        if copied:
            store.disposable = True
        self.adopted = store.adoptable()
        here = bool(self.adopted or foreign)
        if self._options.file.adopt and self.existing is None and saved is None:
            here = here or self._standing() is not None
        if here and not self._options.transfer.digests:
            self.warn("without a digest nothing proves the old bytes; all is fetched", tell)
        if store.damage:
            self.warn(f"the index was not usable ({store.damage}); starting again", tell)
        if saved is None or self._options.file.restart:
            return None
        if not self._continues(saved.header):
            if not self._options.transfer.digests:
                self.warn("the partial is of another URL, and will be replaced", tell)
                return None
            store.mix()  # its validators are that one's
        if saved.header.representation.trust is Trust.T0 and not self._options.transfer.digests:
            self.warn("nothing tells whether the remote file is the same; starting again", tell)
        if saved.damaged:
            self.warn(f"{saved.damaged} extents changed on disk and are fetched again", tell)
        return _remembered(saved)

    def close(
        self,
        store: PartStore | SmallStore,
        result: Result,
        error: RdlError | None,
        tell: Teller | None,
    ) -> Result:
        """Let go of the store. The result; where the disk failed, with what it holds."""
        late: RdlError | None = None
        try:
            store.close(discard=result.reason == "unchanged")
        except RdlError as failed:
            if error is None:
                raise
            late = failed
            self.warn(f"what is here could not be kept: {late}", tell)
            result = replace(result, resumable=False)
        self.leave(done=error is None)
        if late or isinstance(error, LocalFileError | NoSpaceError):
            return replace(result, bytes_present=bytes_kept(self._disk, self._path))
        return result

    def leave(self, *, done: bool) -> None:
        """When the store is closed: the state of another program that was put aside goes when
        FILE is `done`; it has its name again when this run took that, FILE is still the same, and
        no part file is kept."""
        if self._stood is None or self._options.dry_run:
            return
        names = Names.of(self._path)
        with suppress(OSError), opened_folder(self._disk, self._path.parent) as folder:
            if done:
                remove_aside(self._disk, folder, names)
            elif self._moved and self._stood.same_file(self._disk.stat(folder, names.target)):
                give_back(self._disk, folder, names)

    def _looked_at(self) -> Remembered | None:
        """For a plan: what would be continued, read without touching it."""
        folder = None if self._options.file.restart else self._folder()
        if folder is None:
            return None
        try:
            names = Names.of(self._path)
            foreign = self._disk.stat(folder, names.index) is None
            partial = None
            if not (foreign and self._options.file.adopt):
                partial = read_partial(self._disk, folder, names)
        except OSError as error:
            raise as_ours(error, str(self._path)) from error
        finally:
            self._disk.close(folder)
        if partial is None or not self._continues(partial.header):
            return None
        header = partial.header
        return Remembered(header.representation, header.span, partial.present, header.adopted)

    def _continues(self, header: Header) -> bool:
        """Whether what was begun there may be continued from our URL. Validators speak for one
        URL, but for those that are made of the bytes. A query may be new where joints are
        compared: it is where signatures stand."""
        for number, url in enumerate(self.urls):
            if self._same(url, header.url):
                self.lead = number
                return True
        return header.representation.distinctive

    def _same(self, url: str, begun: str) -> bool:
        """Whether they are one URL; both are redacted, so a secret in the query may be another."""
        if self._lazy and not self._own:
            return url == begun and not is_redacted(url)
        return url.partition("?")[0] == begun.partition("?")[0]

    def _foreign(self) -> Foreign | None:
        """What another program began, with --continue."""
        if self._options.file.adopt and self.existing is None:
            return find_foreign(self._disk, self._path)
        return None

    def _copy_partial(self, foreign: Foreign | None, tell: Teller | None) -> bool:
        """With --continue FILE itself may be a partial: it is copied to where partials stand.

        Only with a digest of the whole (which has not matched FILE), and where no partial
        stands yet. Whether it was.
        """
        adopts = self._adopts()
        if foreign is None:
            if not adopts or self._standing() is None:
                return False
            return copy_to_part(self._disk, self._path, self._check)
        if adopts and foreign.damage:
            text = f"{foreign.state} was not usable ({foreign.damage}); all but zeros is taken"
            self.warn(text, tell)
        if not adopts:  # then the state only makes place
            if foreign.in_the_way is None:
                return False
            foreign = replace(foreign, claims=())
        copied = copy_to_part(self._disk, self._path, self._check, foreign)
        self._moved = copied and foreign.in_the_way is not None
        return copied

    def _adopts(self) -> bool:
        transfer = self._options.transfer
        return self._options.file.adopt and bool(transfer.digests) and transfer.range is None

    def warn(self, text: str, tell: Teller | None) -> None:
        """Tell the user something that stops nothing."""
        if tell is not None:
            tell(Warned(str(self._path), text))

    def page_name(self, url: str) -> bool:
        """Whether the URL or the target names a web page, so that a page is what is wanted."""
        return names_page(url) or self._path.suffix.lower() in PAGES

    def _standing(self) -> FileStat | None:
        """The file at the name. Raises LocalFileError when it is none."""
        folder = self._folder()
        if folder is None:
            return None
        try:
            found = self._disk.stat(folder, self._path.name)
        except OSError as error:
            raise as_ours(error, str(self._path)) from error
        finally:
            self._disk.close(folder)
        if found is not None and found.kind != "file":
            kind = "a symlink" if found.kind == "link" else "not a regular file"
            raise LocalFileError(str(self._path), f"it is {kind}, and stays untouched")
        return found

    def _folder(self) -> int | None:
        try:
            return self._disk.open_folder(self._path.parent)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise as_ours(error, str(self._path.parent)) from error

    def _by_digest(self) -> Result | None:
        """The digest decides whether an existing file is the wanted one."""
        digests = self._options.transfer.digests
        wanted = {digest.algorithm: digest.hex for digest in digests}
        found, size = self._hashed(wanted)
        if found != wanted:
            return None
        proof, trust = proof_of(digests)
        here = unchanged(self._url, str(self._path), size, trust.value)
        return replace(here, digests=wanted, verified_by=proof)

    def _hashed(self, algorithms: Iterable[str]) -> tuple[dict[str, str], int]:
        """Digests and size of the file that stands there."""
        hashes = {name: hashlib.new(name) for name in algorithms}
        view, size, disk = memoryview(bytearray(STEP)), 0, self._disk
        with (
            told(str(self._path)),
            opened_folder(disk, self._path.parent) as folder,
            opened(disk, folder, self._path.name) as file,
        ):
            while count := disk.pread(file, view, size):
                self._check()
                size += count
                for one in hashes.values():
                    one.update(view[:count])
        return {name: one.hexdigest() for name, one in hashes.items()}, size

    def noted(self) -> Representation | None:
        """The validators that the file was published with, while it is still as it was."""
        facts = read_published(self._path, self._disk)
        whole = self._options.transfer.range is None
        if not facts or not whole or facts.get("total") != facts.get("size"):
            return None
        if facts.get("url") != url_mark(self._url):
            return None
        total = facts["total"]
        etag = parse_etag(_text(facts.get("etag")))
        modified = _text(facts.get("last_modified"))
        if modified is not None and parse_http_date(modified) is None:
            modified = None
        if type(total) is not int or total < 0 or not (etag or modified):
            return None
        noted = Representation(total, etag, modified, bool(facts.get("modified_strong")))
        known = self._own or not is_redacted(self._url) or noted.distinctive
        return noted if known else None  # `?key=***` may have been another file's key


def _text(value: object) -> str | None:
    """What stands in a note that anybody may have written."""
    return value if isinstance(value, str) else None


def _remembered(saved: Saved) -> Remembered:
    header = saved.header
    return Remembered(header.representation, header.span, saved.extents.ranges(), header.adopted)
