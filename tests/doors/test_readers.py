"""Libraries that read files read remote ones: archives, columns, images. None of them knows rdl."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pandas
import pyarrow
import pytest
from pyarrow import parquet
from pycdlib import PyCdlib

import rdl
from tests.scenarios.coded import KiB, MiB
from tests.scenarios.reader import resting
from tests.support.folders import Folder

COLUMNS = [f"c{number}" for number in range(50)]
ROWS = 140_000
"""Of 8 bytes: a column's chunk has more than a MiB."""


def data_of(number: int, size: int = 20_000) -> bytes:
    return random.Random(number).randbytes(size)


@pytest.mark.parametrize("buffering", [0, 64 * KiB])
@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_zip_is_listed_and_one_member_read(folder: Folder, method: int, buffering: int) -> None:
    with ZipFile(folder.root / "a.zip", "w", method) as archive:
        for number in range(500):
            archive.writestr(f"folder/{number}", data_of(number))
    with rdl.open(f"{folder.url}/a.zip", buffering=buffering) as file, ZipFile(file) as archive:
        assert archive.namelist() == [f"folder/{number}" for number in range(500)]
        assert len(folder.log) == 1
        assert archive.read("folder/250") == data_of(250)
    assert len(folder.log) == 2
    assert folder.sent <= 512 * KiB


def test_nothing_is_asked_for_after_a_member(folder: Folder) -> None:
    """A long read after a short one is no sign that its reader goes on."""
    (folder.root / "f").write_bytes(bytes(4 * MiB))
    with rdl.open(f"{folder.url}/f") as file:
        file.seek(MiB)
        assert len(file.read(64)) == 64
        assert len(file.read(120 * KiB)) == 120 * KiB
        assert resting(lambda: len(folder.log)) == 1


@pytest.mark.parametrize("kind", ["", "gz", "xz"])
def test_a_tar_is_listed_and_one_member_read(folder: Folder, kind: str) -> None:
    size = 100 * KiB if kind else MiB
    with tarfile.open(folder.root / "a.tar", f"w:{kind}") as archive:
        for number in range(8):
            member = tarfile.TarInfo(f"folder/{number}")
            member.size = size
            archive.addfile(member, io.BytesIO(data_of(number, size)))
    remote = rdl.open(f"{folder.url}/a.tar")
    with remote as file, tarfile.open(fileobj=file) as archive:
        assert archive.getnames() == [f"folder/{number}" for number in range(8)]
        before = folder.sent
        member_file = archive.extractfile("folder/3")
        assert member_file is not None
        assert member_file.read() == data_of(3, size)
    if not kind:
        assert before <= 8 * 256 * KiB
        assert folder.sent <= before + 1.5 * MiB


@pytest.fixture(scope="module")
def table() -> pyarrow.Table:
    numbers = random.Random(2)
    one = pyarrow.array([numbers.random() for _ in range(ROWS)])
    return pyarrow.table(dict.fromkeys(COLUMNS, one))


@pytest.fixture
def url(folder: Folder, table: pyarrow.Table) -> str:
    path = folder.root / "a.parquet"
    parquet.write_table(table, path, row_group_size=ROWS, use_dictionary=False, compression="none")
    return f"{folder.url}/a.parquet"


def needed(folder: Folder, name: str) -> int:
    """Bytes of the footer and of that column."""
    about = parquet.read_metadata(folder.root / "a.parquet")
    column = about.row_group(0).column(COLUMNS.index(name))
    assert column.total_compressed_size >= MiB
    return int(column.total_compressed_size + about.serialized_size)


def test_a_column_of_a_parquet_file(folder: Folder, url: str, table: pyarrow.Table) -> None:
    with rdl.open(url) as file:
        assert parquet.read_table(file, columns=["c20"]) == table.select(["c20"])
        assert folder.sent <= 1.3 * needed(folder, "c20")
        asked = len(folder.log)
        assert parquet.read_table(file, columns=["c20"]) == table.select(["c20"])
        assert len(folder.log) == asked <= 4
        assert len(parquet.ParquetFile(file).schema_arrow.names) == 50
        assert len(folder.log) == asked


def test_columns_by_pandas(folder: Folder, url: str, table: pyarrow.Table) -> None:
    with rdl.open(url) as file:
        frame = pandas.read_parquet(file, columns=["c7"])
    assert frame.equals(table.select(["c7"]).to_pandas())
    assert folder.sent <= 1.3 * needed(folder, "c7")


def test_columns_by_pandas_and_a_url(folder: Folder, url: str, table: pyarrow.Table) -> None:
    frame = pandas.read_parquet(f"rdl+{url}", columns=["c7"])
    assert frame.equals(table.select(["c7"]).to_pandas())
    assert folder.sent <= 1.3 * needed(folder, "c7")


def test_a_csv_by_pandas_and_a_url(folder: Folder, tmp_path: Path) -> None:
    frame = pandas.DataFrame({"a": range(9000), "b": ["text"] * 9000})
    frame.to_csv(folder.root / "a.csv", index=False)
    options = {"cache": str(tmp_path / "cache")}
    for _ in range(2):
        folder.log.clear()
        found = pandas.read_csv(f"rdl+{folder.url}/a.csv", storage_options=options)
        assert found.equals(frame)
    assert folder.sent <= 64 * KiB
    with pytest.raises(FileNotFoundError):
        pandas.read_csv(f"rdl+{folder.url}/b.csv")


def test_a_file_of_an_iso_image(folder: Folder) -> None:
    image = PyCdlib()
    image.new(joliet=3)
    for number in range(8):
        data = data_of(number, MiB)
        image.add_fp(io.BytesIO(data), MiB, f"/F{number}.;1", joliet_path=f"/file {number}")
    image.write(str(folder.root / "a.iso"))
    image.close()
    with rdl.open(f"{folder.url}/a.iso") as file:
        remote, into = PyCdlib(), io.BytesIO()
        remote.open_fp(file)
        names = [child.file_identifier() for child in remote.list_children(joliet_path="/")]
        assert len(names) == 10
        before = folder.sent
        remote.get_file_from_iso_fp(into, joliet_path="/file 5")
        remote.close()
    assert into.getvalue() == data_of(5, MiB)
    assert before <= MiB
    assert folder.sent <= before + 3 * MiB  # it reads in a row: as much is fetched ahead
