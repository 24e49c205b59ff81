"""A server whose versions are made of chunks that they share, and files here that hold some."""

from __future__ import annotations

from array import array
from hashlib import sha256
from pathlib import Path
from random import Random

from msgspec import Struct

from rdl.core.blockmap import block_size_for
from rdl.core.blocks import Repeats
from rdl.core.byterange import ByteRange, joined
from rdl.core.chunks import Chunks
from rdl.core.delta import IN_PLACE, Copy, Place, Sown, fewer, planned, repeats_in
from rdl.core.index_json import Header
from rdl.core.published import Published
from rdl.core.representation import Representation
from rdl.engine.seeding import Wanted, in_place
from rdl.errors import LocalFileError, TargetExists
from rdl.options import Digest
from rdl.storage.disk import as_ours
from rdl.storage.local_file import LocalFile
from rdl.storage.sown_part import SownPart
from tests.engine.simulated import URL
from tests.engine.world import TARGET, Version, World

SIZES = [1, 60, 1000, 4095, 4096, 9000, 9000, 30_000, 70_000]


class Manifest(Struct):
    """What a run knows of a version. `checked`: its digests prove the chunks; `decides`: the user
    vouches for it; `whole`: it has a digest of all of it."""

    version: Version
    chunks: Chunks
    checked: bool
    decides: bool
    whole: bool

    @property
    def digests(self) -> tuple[Digest, ...]:
        """As rdl.sync passes them on."""
        hex = sha256(self.version.content).hexdigest()
        one = Digest("sha256", hex) if self.decides else Published("sha256", hex, "manifest")
        return (one,) if self.whole else ()


class DeltaWorld(World):
    """World whose versions are lists of chunks; some stand several times."""

    def __init__(self, seed: int) -> None:
        self.cut: dict[int, list[bytes]] = {}
        """The chunks of each version, by its number."""
        self.fate = Random(f"deltas of {seed}")
        super().__init__(seed)
        self.changes = self.fate.choice([0.0, 0.02, 0.1])
        self.vouched = self.fate.random() < 0.2
        """Each run has a manifest that decides, so mirrors may be as they like."""
        if self.vouched:
            self.framing = "length"  # else it never says how long the file is
            self.mirrors += ["wrong"] * self.fate.choice([0, 1])
        else:
            self.mirrors = [kind for kind in self.mirrors if kind in ("honest", "gone")]
            self.mirrors += ["liar"] * self.fate.choice([0, 1])

    def _version(self) -> Version:
        number = len(getattr(self, "versions", ())) + 1
        parts = self._edited(self.cut[number - 1]) if number > 1 else self._fresh()
        return self._made(number, parts, number)

    def _made(self, number: int, parts: list[bytes], tag: int) -> Version:
        self.cut[number] = parts
        return Version(number, b"".join(parts), tag)

    def _fresh(self) -> list[bytes]:
        fate = self.fate
        pool = [fate.randbytes(fate.choice(SIZES)) for _ in range(3)]
        again = fate.choice([0.0, 0.3, 0.6, 0.8])
        count = fate.choice([0, 1, 2, 5, 5, 20, 20, 60])
        return [
            fate.choice(pool) if fate.random() < again else fate.randbytes(fate.choice(SIZES))
            for _ in range(count)
        ]

    def _edited(self, parts: list[bytes]) -> list[bytes]:
        """Another version: of the same length, or not."""
        change = self._other if self.fate.random() < 0.75 else self._longer
        made = list[bytes]()
        for part in parts:
            made += change(part, made)
        return made

    def _other(self, part: bytes, before: list[bytes]) -> list[bytes]:
        kind = self.fate.choice(["same", "same", "same", "same", "other", "other", "again"])
        likes = [one for one in before if len(one) == len(part)] or [part]
        kinds = {"same": part, "other": self.fate.randbytes(len(part)), "again": likes[0]}
        return [kinds[kind]]

    def _longer(self, part: bytes, before: list[bytes]) -> list[bytes]:
        fate = self.fate
        kind = fate.choice(["same", "same", "same", "other", "gone", "more", "again"])
        return {
            "same": [part],
            "other": [fate.randbytes(len(part))],
            "gone": [],
            "more": [part, fate.randbytes(500)],
            "again": [part, fate.choice([part, *before])],
        }[kind]

    def change_unseen(self) -> None:
        old = self.versions[-1]
        parts = [self.fate.randbytes(len(part)) for part in self.cut[old.number]]
        self.versions.append(self._made(old.number + 1, parts, old.tag))
        self.say(f"server: version {old.number + 1} with the tag of {old.tag}")

    def manifest(self) -> Manifest:
        """Of the newest version, or of another one."""
        fate = self.fate
        stale = not self.calm and fate.random() < 0.25
        version = fate.choice(self.versions) if stale else self.versions[-1]
        parts, width = self.cut[version.number], fate.choice([6, 16, 32])
        stops, at, digests = array("Q"), 0, bytearray()
        for part in parts:
            at += len(part)
            stops.append(at)
            digests += sha256(part).digest()[:width]
        chunks = Chunks("sha256", width, stops, bytes(digests))
        whole = fate.random() < 0.8
        checked = not whole or fate.random() < 0.9
        decides = self.vouched or fate.random() < 0.4
        return Manifest(version, chunks, checked, decides, whole)

    def seeds(self) -> list[tuple[Path, list[bytes]]]:
        """Files that hold chunks of some versions, and the file itself."""
        fate, found = self.fate, list[tuple[Path, list[bytes]]]()
        for version in self.versions:
            if version.content and self.disk.read(TARGET) == version.content:
                found.append((TARGET, self.cut[version.number]))
                break
        for number in range(fate.choice([0, 1, 1, 2, 3])):
            share, parts = fate.choice([0.2, 0.7, 1.0]), list[bytes]()
            for part in self.cut[fate.choice(self.versions).number]:
                if fate.random() < share:
                    parts.append(part)
                elif fate.random() < 0.5:
                    parts.append(fate.randbytes(fate.choice([1, 4096, 5000])))
            if fate.random() < 0.2:
                fate.shuffle(parts)
            path = Path(f"/seeds/{number}")
            self.disk.write(path, b"".join(parts))
            found.append((path, parts))
        return found


class Sower:
    """Puts what local files hold into the part file, as rdl.syncing does."""

    def __init__(self, world: DeltaWorld, manifest: Manifest) -> None:
        self._world, self._manifest, self._fate = world, manifest, world.fate
        self._lies = world.fate.choice([0.0, 0.0, 0.1, 0.5])

    def __call__(self, part: SownPart, here: tuple[ByteRange, ...]) -> Sown:
        manifest, seeds = self._manifest, self._world.seeds()
        chunks = manifest.chunks
        wanted = Wanted(chunks)
        in_place(part, wanted, here, lambda count: None)
        for number, (_, parts) in enumerate(seeds):
            at = 0
            for data in parts:
                digest = sha256(data).digest()[: chunks.width]
                wanted.at(digest, len(data), Place(number, at))
                at += len(data)
        repeats = repeats_in(chunks, wanted.found) if manifest.checked else Repeats()
        delta = planned(chunks, wanted.found, repeats, self._fate.choice([1, 1024, 20_000]))
        said = chunks if manifest.checked else None
        self._world.say(f"here {here} of {wanted.found} sown {delta}")
        if not delta.copies:
            return Sown((), delta.repeats, said, not manifest.decides)
        size, most = chunks.span.stop, self._fate.choice([1, 2, 4096])
        kept = fewer(delta.kept(), most)
        part.sow(Header(URL, Representation(size), block_size_for(size), None, kept))
        part.reserve(size)
        done = [one.range for one in delta.copies if self._copy(part, seeds, one)]
        return Sown(tuple(joined(done)), delta.repeats, said, not manifest.decides)

    def _copy(self, part: SownPart, seeds: list[tuple[Path, list[bytes]]], one: Copy) -> bool:
        if one.seed == IN_PLACE:
            return True
        path = seeds[one.seed][0]
        if path != TARGET and self._fate.random() < self._lies:
            self._lie(path, one)
        try:
            with LocalFile(path, disk=self._world.disk) as seed:
                part.copy(seed, one.at, one.range)
        except OSError as error:
            raise as_ours(error, "part file") from error
        except (LocalFileError, TargetExists) as error:
            self._world.say(f"a seed is left out: {error}")
            return False
        return True

    def _lie(self, path: Path, one: Copy) -> None:
        """The file is changed after it was looked at, or cut."""
        data = bytearray(self._world.disk.read(path) or b"")
        self._world.say(f"{path} is changed")
        if self._fate.random() < 0.2:
            del data[self._fate.randrange(len(data) + 1) :]
        else:
            data[one.at : one.at + 20] = self._fate.randbytes(len(data[one.at : one.at + 20]))
        self._world.disk.write(path, bytes(data))
