"""The parsers of what strangers wrote, as the fuzzer runs them."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import tempfile
import zipfile
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from faces.core.channel import Channel, ChannelClosedError
from faces.core.errors import FaceTroveError
from faces.core.settings import Access, SourceLimits
from faces.photos import access, headers
from faces.photos.archives import open_archive, split_member_url
from faces.photos.lists import read_photo_list
from faces.photos.uris import escape_url, photo_name, photo_path, photo_uri, unescape_url
from tests.fuzz.engine import Harness
from tests.support.costly_files import gif_of_comments, png, png_chunk, tiff

LIMITS = SourceLimits(max_entries=1000, max_unpacked=50_000_000, max_header=4096)


def _jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (24, 24), "grey").save(file, "JPEG", exif=exif, **options)
    return file.getvalue()


_EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def _read_header(content: bytes) -> None:
    plain = headers.is_plain_jpeg(content, max_pixels=10**7, seconds=30)
    assert not plain or content.startswith(b"\xff\xd8\xff")
    headers.require_bounded_header(content)
    headers.require_bounded_directory(content)


def _read_orientation(content: bytes) -> None:
    for orientation in (headers.exif_orientation(content), headers.xmp_orientation(content)):
        assert orientation is None or 0 <= orientation < 2**32


def _tar(mode: str = "w", kind: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=kind) as tar:  # type: ignore[call-overload]
        for name in ("a.jpg", "b/" + "c" * 120 + ".jpg", "ü.png"):
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"12345"))
    return file.getvalue()


def _with_checksums(content: bytes) -> bytes:
    """Return a tar whose headers have right checksums."""
    changed = bytearray(content)
    for start in range(0, len(changed) - 511, 512):
        if changed[start + 257 : start + 262] == b"ustar":
            changed[start + 148 : start + 156] = b" " * 8
            total = sum(changed[start : start + 512])
            changed[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(changed)


def _zip(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a.jpg", b"12345" * 10)
        archive.writestr("b/c.png", b"")
    return file.getvalue()


def _read_archive(scheme: str, content: bytes) -> None:
    archive = open_archive(io.BytesIO(content), scheme, LIMITS, name="a")
    for number, (name, size) in enumerate(archive.members()):
        assert size >= 0
        if number < 10:
            try:
                read = archive.read(name, 10_000)
            except Exception:  # a corrupt member; reading.py catches it too
                continue
            assert len(read) <= 10_000


_LIST = Path(tempfile.gettempdir()) / f"facetrove-fuzz-{os.getpid()}"


def _read_list(ending: str, content: bytes) -> None:
    path = _LIST.with_suffix(ending)
    path.write_bytes(content)
    try:
        table = read_photo_list(path, limits=LIMITS, access=Access(("ftp",)))
    finally:
        path.unlink()
    assert len(table) <= LIMITS.max_entries
    for uri in table["uri"].to_pylist():
        assert not access.has_credentials(unescape_url(uri))


def _parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"uri": ["a.jpg", "b.jpg"], "n": [1, None]}), file)
    return file.getvalue()


def _read_address(content: bytes) -> None:
    text = os.fsdecode(content.replace(b"\0", b""))  # as the system gives names
    member = split_member_url(text)
    assert member is None or str(member) == text
    assert unescape_url(escape_url(text)) == text
    photo_name(photo_uri(text) if text else "a")
    if "://" not in text:
        photo_path(text)
    shown = access.redacted(text)
    assert not access.has_credentials(shown), shown
    access.is_public(text)
    access.require_allowed(text, Access())


def _read_message(content: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(content[:100_000])
        theirs.close()
        Channel(ours).receive()


HARNESSES = {
    harness.name: harness
    for harness in (
        Harness(
            "headers",
            [
                *(_jpeg(), _jpeg(progressive=True), tiff({256: (4, 1, 64), 700: (7, 90, 38)})),
                *(png(), png(before_pixels=png_chunk(b"eXIf", _EXIF)), gif_of_comments(2)),
            ],
            _read_header,
            (headers.TooMuchInHeaderError,),
            ("faces.photos.headers",),
            (b"\xff\xda", b"\xff\xe1\0\x08Exif", b"\xff\xe2\0\x08MPF\0", b"\xff\xc2", b"eXIf"),
        ),
        Harness(
            "orientation",
            [_EXIF, b"Exif\0\0" + _EXIF, b'<x tiff:Orientation="6"/>'],
            _read_orientation,
            (),
            ("faces.photos.headers",),
            (b"\x12\x01", b"MM\0*", b"tiff:Orientation>"),
        ),
        Harness(
            "tar",
            [_tar(), _tar(kind=tarfile.PAX_FORMAT), _tar("w:gz"), _tar("w:xz")],
            lambda content: _read_archive("tar", content),
            (FaceTroveError,),
            ("faces.photos.tar_photos",),
            (b"17 GNU.sparse.major=1\n", b"12 size=-512\n", b"\x80" + b"\xff" * 11, b"L", b"2"),
            _with_checksums,
        ),
        Harness(
            "zip",
            [_zip(method) for method in (0, 8, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)],
            lambda content: _read_archive("zip", content),
            (FaceTroveError,),
            ("faces.photos.zip_photos",),
            (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6"),
        ),
        Harness(
            "csv",
            [
                b"uri,n\na.jpg,1\nb.jpg,\n",
                b"path,d\na,2020-01-02\n",
                b"uri\nftp://b/a.jpg\n",
                b"uri,b\na,x\n",
            ],
            lambda content: _read_list(".csv", content),
            (FaceTroveError,),
            ("faces.photos.lists", "faces.photos.access"),
            (b"uri", b"://", b"tar://a::", b"https://u:p@h/", b"ftp://", b'"', b"true", b"1.5"),
        ),
        Harness(
            "text",
            [b"a.jpg\nb.jpg\r\n", b"\xef\xbb\xbfs3://b/a.jpg\nfile:///a%20b.jpg\n"],
            lambda content: _read_list(".txt", content),
            (FaceTroveError,),
            ("faces.photos.lists", "faces.photos.access", "faces.photos.uris"),
            (b"://", b"tar://a::", b"https://u:p@h/", b"ftp://", b"escaped:", b"file://", b"%00"),
        ),
        Harness(
            "parquet",
            [_parquet()],
            lambda content: _read_list(".parquet", content),
            (FaceTroveError, MemoryError),
            ("faces.photos.lists",),
            (b"PAR1", b"uri"),
        ),
        Harness(
            "address",
            [b"https://h/a.jpg?x=1", b"tar://a.jpg::s3://b/a.tar", b"ftp://u:p@h/", b"10.0.0.1"],
            _read_address,
            (FaceTroveError,),
            ("faces.photos.access", "faces.photos.uris", "faces.photos.archives"),
            (b"://", b"::", b"@", b"?token=", b"#", b"[", b"]", b"%40", b"az://", b"zip://"),
        ),
        Harness(
            "message",
            [b"\x02\0\0\0\x03\0\0\0\0\0\0\0\0{}abc", b'\x07\0\0\0\0\0\0\0\0\0\0\0\0{"a":1}'],
            _read_message,
            (ChannelClosedError,),
            ("faces.core.channel",),
            (b"{", b"[1]", b"\xff\xff\xff\xff"),
        ),
    )
}
"""All harnesses by name."""
