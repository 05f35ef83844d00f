"""Archives and lists that would never end, or fill the memory, are refused within their limits."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faces.core.errors import CorruptFileError, FaceTroveError, WrongUsageError
from faces.core.progress import Progress
from faces.core.settings import PhotoLimits, SourceLimits
from faces.photos.archives import open_archive
from faces.photos.limited import ReadingRules, read_limited
from faces.photos.listing import list_photos
from faces.photos.rejection import PhotoRejectedError, RejectReason
from tests.support.photo_files import write_tar

BLOCK = tarfile.BLOCKSIZE


def tar_header(name: str, **changes: object) -> bytes:
    info = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def with_size(header: bytes, size: int) -> bytes:
    """Return a header with another size, in base 256, which may be negative."""
    changed = bytearray(header)
    changed[124:136] = size.to_bytes(12, "big", signed=True)
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def pax(**records: str) -> bytes:
    """Return a pax header and its records."""
    content = b""
    for key, value in records.items():
        record = f" {key}={value}\n".encode()
        length = len(record) + 2
        content += str(length if len(str(length)) == 2 else length + 1).encode() + record
    head = tar_header("pax", type=tarfile.XHDTYPE, size=len(content))
    return head + content + bytes(-len(content) % BLOCK)


ENDLESS = {
    "a negative size": tar_header("a.jpg") + with_size(tar_header("b.jpg"), -BLOCK),
    "a negative size of pax": tar_header("a.jpg") + pax(size="-1024") + tar_header("b.jpg"),
    "a negative extension": tar_header("a.jpg")
    + with_size(tar_header("x", type=tarfile.GNUTYPE_LONGNAME), -2 * BLOCK),
    "a sparse map without an end": tar_header("a.jpg")
    + pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    + tar_header("b.jpg", size=BLOCK)
    + b"9" * BLOCK,
    "extensions of extensions": tar_header("x", type=tarfile.GNUTYPE_LONGNAME, size=3) * 900,
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_tar_without_an_end_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(ENDLESS[kind] + bytes(2 * BLOCK))
    start = time.process_time()
    limits = SourceLimits(list_timeout=5)
    try:
        list_photos([path], limits=limits)
    except FaceTroveError as error:
        assert "list-timeout" not in str(error)
    assert time.process_time() - start < 5


def test_a_tar_of_long_headers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    long_name = "x" * 50_000 + ".jpg"
    write_tar(path, {long_name: b"1"})
    assert len(list_photos([path]).photos) == 1
    with pytest.raises(CorruptFileError, match="extension headers of over 40,000 bytes"):
        list_photos([path], limits=SourceLimits(max_header=40_000))
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"a": "b" * 50_000}) as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(CorruptFileError, match="--max-header"):
        list_photos([path], limits=SourceLimits(max_header=40_000))


def test_archives_of_many_members_are_refused(tmp_path: Path) -> None:
    members = {f"{number}.jpg": b"1" for number in range(11)}
    tar = write_tar(tmp_path / "a.tar", members)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in members:
            archive.writestr(name, b"1")
    for path in (tar, tmp_path / "a.zip"):
        assert len(list_photos([path], limits=SourceLimits(max_entries=11)).photos) == 11
        with pytest.raises(CorruptFileError, match="over 10 members"):
            list_photos([path], limits=SourceLimits(max_entries=10))


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_a_tar_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, ending: str
) -> None:
    pack = {"gz": zlib_gzip, "bz2": bz2.compress, "xz": lzma.compress}[ending]
    path = tmp_path / f"a.tar.{ending}"
    content = tar_header("a.jpg", size=3 << 30) + bytes(8 << 20)
    path.write_bytes(pack(content))
    with pytest.raises(CorruptFileError, match=r"over 2,000,000 bytes \(--max-unpacked\)"):
        list_photos([path], limits=SourceLimits(max_unpacked=2_000_000))


def zlib_gzip(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def test_a_tar_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.bz2"
    block = bz2.compress(bytes(900_000 * 64))
    with path.open("wb") as file:
        file.write(bz2.compress(tar_header("a.jpg", size=40 << 30)))
        for _ in range(20):
            file.write(block)
    with pytest.raises(CorruptFileError, match=r"over 200 times its size \(--max-ratio\)"):
        list_photos([path])


def zip_of(content: bytes, method: int, *, says: int) -> bytes:
    """Return a zip with one member that says another size than its content has."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a.jpg", content)
    packed = bytearray(file.getvalue())
    central = packed.rindex(b"PK\1\2")
    struct.pack_into("<I", packed, 22, says)
    struct.pack_into("<I", packed, central + 24, says)
    return bytes(packed)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_is_unpacked_no_further_than_its_size(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    content = bytes(20_000_000)
    path.write_bytes(zip_of(content, method, says=1000))
    archive = open_archive(path.open("rb"), "zip", name="a.zip")
    if method == zipfile.ZIP_DEFLATED:
        with pytest.raises(zipfile.BadZipFile):
            archive.read("a.jpg", 1001)
    else:
        assert len(archive.read("a.jpg", 1001)) == 1001
    rules = ReadingRules(PhotoLimits(max_bytes=2_000, max_memory=10_000_000))
    with pytest.raises(PhotoRejectedError) as caught:
        read_limited(f"zip://a.jpg::{path}", rules)
    assert caught.value.reason is RejectReason.READ_ERROR
    path.write_bytes(zip_of(content, method, says=len(content)))
    assert len(read_limited(f"zip://a.jpg::{path}")) == len(content)


def test_a_member_that_is_altered_is_not_read(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        content = bytearray(zip_of(b"12345" * 100, method, says=500))
        central = content.rindex(b"PK\1\2")
        struct.pack_into("<I", content, central + 16, 1)  # another checksum
        struct.pack_into("<I", content, 14, 1)
        (tmp_path / f"{method}.zip").write_bytes(content)
        with pytest.raises(PhotoRejectedError, match="CRC"):
            read_limited(f"zip://a.jpg::{tmp_path}/{method}.zip")


def test_a_member_with_a_huge_dictionary_takes_no_memory(tmp_path: Path) -> None:
    content = bytearray(zip_of(b"12345" * 100, zipfile.ZIP_LZMA, says=500))
    start = content.index(b"a.jpg") + 5 + 4
    content[start + 1 : start + 5] = b"\xff\xff\xff\xff"
    (tmp_path / "a.zip").write_bytes(content)
    limits = PhotoLimits(max_memory=100_000_000, max_bytes=10_000)
    with pytest.raises(PhotoRejectedError) as caught:
        read_limited(f"zip://a.jpg::{tmp_path}/a.zip", ReadingRules(limits))
    assert caught.value.reason is RejectReason.OUT_OF_MEMORY


def test_a_parquet_list_of_very_many_rows_is_refused(tmp_path: Path) -> None:
    names = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), 2_000_000), ["a"])
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"uri": names}), path, store_schema=False)
    assert path.stat().st_size < 100_000
    with pytest.raises(WrongUsageError, match=r"over 1,000,000 photos \(--max-entries\)"):
        list_photos([path], limits=SourceLimits(max_entries=1_000_000))


def test_a_list_that_takes_too_much_memory_or_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    names = pa.DictionaryArray.from_arrays(
        pa.repeat(pa.scalar(0, pa.int32()), 100_000), ["x" * 10_000]
    )
    pq.write_table(pa.table({"uri": names}), path, store_schema=False)
    with pytest.raises(WrongUsageError, match=r"over 300,000,000 bytes to read \(--list-memory\)"):
        list_photos([path], limits=SourceLimits(list_memory=300_000_000))
    (tmp_path / "list.txt").write_text("a.jpg\n" * 1_000_000)
    with pytest.raises(WrongUsageError, match=r"over 0.1 seconds to read \(--list-timeout\)"):
        list_photos([tmp_path / "list.txt"], limits=SourceLimits(list_timeout=0.1))
    with pytest.raises(WrongUsageError, match="over 10 photos"):
        list_photos([tmp_path / "list.txt"], limits=SourceLimits(max_entries=10))


def test_listing_reports_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faces.photos.limited_listing.REPORT_SECONDS", 0.0)
    write_tar(tmp_path / "a.tar", {f"{number}.jpg": b"" for number in range(3000)})
    (tmp_path / "list.txt").write_text("".join(f"{n}.jpg\n" for n in range(70_000)))
    reports: list[Progress] = []
    list_photos([tmp_path / "a.tar", tmp_path / "list.txt"], on_progress=reports.append)
    assert {report.step for report in reports} == {"listing"}
    assert [report.done for report in reports] == [1000, 2000, 3000, 3000 + 65_536]


def test_an_archive_stays_open_when_a_photo_ends_the_decoder(tmp_path: Path) -> None:
    from faces.photos.limited import _reader, decode_limited  # noqa: PLC0415
    from tests.support.costly_files import bmp_of_far_jumps  # noqa: PLC0415

    path = write_tar(tmp_path / "a.tar", {f"{n}.bmp": bmp_of_far_jumps(3) for n in range(3)})
    read_limited(f"tar://0.bmp::{path}")
    started = _reader.num_started
    for number in range(3):
        content = read_limited(f"tar://{number}.bmp::{path}")
        with pytest.raises(PhotoRejectedError):
            decode_limited(content)
    assert _reader.num_started == started
