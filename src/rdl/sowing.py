"""What local files hold of a new file is sown into its part file, as a recipe says where it may be
found; and it is said by which way the rest comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rdl.api import Target
from rdl.chunkers import CannotCut
from rdl.core.blockmap import block_size_for
from rdl.core.blocks import Repeats
from rdl.core.byterange import Runs, joined
from rdl.core.delta import IN_PLACE, Copy, Delta, Sown, fewer, gap_for, planned, repeats_in
from rdl.core.events import Teller, Warned
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.core.ways import Line, wished
from rdl.core.wishlist import MOST_REFINED
from rdl.engine.verifying import Headway
from rdl.errors import UsageError
from rdl.options import ChunkCache
from rdl.recipes import Found, Recipe
from rdl.seeds import Seeds, Watch
from rdl.sources import shown_url
from rdl.storage.disk import told
from rdl.storage.local_file import LocalFile
from rdl.storage.sown_part import SownPart
from rdl.transport.wishing import WishTransport


class _Watch:
    """Counts what is read or copied, and stops it."""

    def __init__(self, alive: Callable[[], None], headway: Headway) -> None:
        self._alive, self._headway = alive, headway

    def expect(self, size: int) -> None:
        self._headway.expect(size)

    def __call__(self, count: int) -> None:
        self._alive()
        self._headway.advance(count)


class Sowing:
    """Of one target, from its seeds and the `cache`. `alive` may raise. `held`: bytes that the part
    file has, or claims; `found`: what was found last, if its digests prove it. `cache` is None
    from when it was left out."""

    def __init__(
        self,
        target: Target,
        seeds: Sequence[Path],
        alive: Callable[[], None],
        tell: Teller | None,
        *,
        cache: ChunkCache | None = None,
    ) -> None:
        self._target, self._seeds, self.cache = target, seeds, cache
        self.found: Found | None = None
        self._alive, self._tell, self.held = alive, tell, 0

    def put(self, recipe: Recipe, part: SownPart, here: Runs, wishes: WishTransport | None) -> Sown:
        """Put it into the part file, of which this is claimed to be `here`, and say what of the
        rest is wished for. Raises RdlError."""
        self.held = sum(map(len, here))
        with Seeds(self._paths(), self._warn, self.cache) as seeds:
            watch = _Watch(self._alive, Headway(str(self._target.path), self._tell, stage="seeds"))
            found = self._found(recipe, part, here, seeds, watch)
            self.found = found if found.checked else None
            self.cache = self.cache if seeds.cache is not None else None
            repeats = Repeats()
            if found.checked:
                repeats = repeats_in(found.chunks, found.places, self._alive)
            delta = None
            if wishes is not None:
                delta = self._wished(recipe, found, repeats, wishes)
            if delta is None:
                gap = gap_for(recipe.round_trip)
                delta = planned(found.chunks, found.places, repeats, gap, alive=self._alive)
            chunks = found.chunks if found.checked else None
            if not delta.copies:
                return Sown((), delta.repeats, chunks)
            size, block = recipe.total, self._target.options.transfer.block_size
            known = Representation(size)
            url, kept = shown_url(self._target.url), fewer(delta.kept())
            part.sow(Header(url, known, block_size_for(size, block), None, kept))
            part.reserve(size)
            self.held = sum(len(one.range) for one in delta.copies if one.seed == IN_PLACE)
            watch = _Watch(self._alive, Headway(str(self._target.path), self._tell, stage="copies"))
            watch.expect(sum(len(one.range) for one in delta.copies if one.seed != IN_PLACE))
            done = [one.range for one in delta.copies if self._copy(part, seeds, one, watch)]
            return Sown(tuple(joined(done)), delta.repeats, chunks)

    def _wished(
        self, recipe: Recipe, found: Found, repeats: Repeats, wishes: WishTransport
    ) -> Delta | None:
        """The plan, if some of what is missing is better wished for than asked for by ranges."""
        chunks, transfer = found.chunks, self._target.options.transfer
        if len(chunks) > MOST_REFINED:
            return None
        # a wish costs its bytes alone
        delta = planned(chunks, found.places, repeats, 0, 0, alive=self._alive)
        line = Line(recipe.round_trip, transfer.connections or transfer.ceiling)
        runs = wished([*joined(map(chunks.chunk, delta.lacking(chunks)))], line)
        return delta if wishes.lack(chunks, runs) else None

    def _found(
        self, recipe: Recipe, part: SownPart, here: Runs, seeds: Seeds, watch: Watch
    ) -> Found:
        """What recipe.find() says; with less to look at where what that takes is not known, or not
        installed."""
        try:
            return recipe.find(part, here, seeds, watch)
        except (UsageError, CannotCut) as error:
            hint = f" ({error.hint})" if error.hint else ""
            self._warn(f"old files are not looked through: {error}{hint}")
        seeds.forgo()
        try:
            return recipe.find(part, here, seeds, watch)
        except UsageError:
            return recipe.find(part, (), seeds, watch)

    def _copy(self, part: SownPart, seeds: Seeds, one: Copy, watch: Watch) -> bool:
        """Whether it is there now."""
        if one.seed == IN_PLACE:
            return True

        def work(seed: LocalFile) -> bool:
            part.copy(seed, one.at, one.range, watch)
            self.held += len(one.range)
            return True

        with told(str(part.path.with_name(part.names.part))):
            return seeds.using(one.seed, work, instead=False)

    def _paths(self) -> list[Path]:
        """FILE as it is, unless it is to be forgotten, and the seeds."""
        file, kept = self._target.path, not self._target.options.file.restart
        own = [file] if kept and file.is_file() and not file.is_symlink() else []
        return [*own, *(seed for seed in self._seeds if seed != file)]

    def _warn(self, text: str) -> None:
        if self._tell is not None:
            self._tell(Warned(str(self._target.path), text))
