"""What of an earlier run is continued, and of whom it is from then on."""

from __future__ import annotations

from pathlib import Path

from xxhash import xxh3_64_intdigest

from rdl.core.byterange import Extent
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.landing import Landing
from rdl.options import Digest, Options, TransferOptions
from rdl.storage.part_file import PartStore


def test_what_another_url_continues_is_not_the_firsts_any_more(tmp_path: Path) -> None:
    path, data = tmp_path / "f", b"from a"
    store = PartStore(path)
    store.open()
    store.begin(Header("http://a/f", Representation(9, '"1"'), 1 << 18))
    store.write_at(0, memoryview(data))
    store.record([Extent(0, len(data), xxh3_64_intdigest(data))])
    store.close()
    decided = Options(transfer=TransferOptions(digests=(Digest("sha256", "0" * 64),)))
    for url, etag in (("http://a/f", '"1"'), ("http://b/f", None)):
        store = PartStore(path)
        continued = Landing(path, url, decided).open(store, None)
        store.close()
        saved = store.open()
        store.close()
        assert continued is not None
        assert saved is not None
        assert (continued.representation.etag, saved.header.representation.etag) == ('"1"', etag)
        assert len(saved.extents) == 1
