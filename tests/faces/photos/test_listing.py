from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.settings import Access
from faces.dataset.header import DatasetSettings
from faces.dataset.schema import face_schema
from faces.dataset.writing import DatasetWriter
from faces.photos.listed import LISTING_SCHEMA, PhotoListing
from faces.photos.listing import list_photos
from faces.photos.metadata import RESERVED_COLUMNS, column_key
from faces.photos.names import PHOTO_SUFFIXES
from faces.photos.reading import read_photo
from faces.photos.rejection import RejectReason
from faces.photos.uris import photo_path, photo_uri
from tests.support.command import ROOT
from tests.support.permissions import obey_permissions, permissions_are_obeyed
from tests.support.photo_files import reason_for, write_tar


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def uris(listing: PhotoListing) -> list[str]:
    found: list[str] = listing.photos["uri"].to_pylist()
    return found


def names(listing: PhotoListing, folder: Path) -> list[str]:
    return [str(photo_path(uri).relative_to(folder)) for uri in uris(listing)]


def covered(listing: PhotoListing, *asked: str) -> list[bool]:
    answer: list[bool] = listing.covers(pa.array(asked, pa.string())).to_pylist()
    return answer


def rows(listing: PhotoListing) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in listing.photos.to_pylist()]


@pytest.fixture
def memory() -> Iterator[Callable[[Mapping[str, bytes]], None]]:
    filesystem = fsspec.filesystem("memory")

    def fill(files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            filesystem.pipe_file(name, content)

    yield fill
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


# Folders


def test_photos_are_found_by_their_ending_below_a_folder(tmp_path: Path) -> None:
    taken = {f"sub/deep/{ending[1:]}{ending}": b"12345" for ending in PHOTO_SUFFIXES}
    taken |= {"b.JPG": b"12345", "a.jpeg": b"12345", "folder.jpg/c.png": b"12345"}
    skipped = ("notes.txt", "jpg", "x.jpg.part", ".hidden.jpg", ".jpg", ".thumbs/d.jpg")
    write(tmp_path, taken | dict.fromkeys(skipped, b"12345"))
    listing = list_photos([tmp_path])
    assert names(listing, tmp_path) == sorted(taken)
    assert listing.photos.schema.equals(LISTING_SCHEMA)
    assert set(listing.photos["num_bytes"].to_pylist()) == {5}
    row = names(listing, tmp_path).index("a.jpeg")
    assert listing.photos["mtime_ns"][row].as_py() == (tmp_path / "a.jpeg").stat().st_mtime_ns
    assert listing.reading_order.to_pylist() == list(range(len(taken)))


def test_photos_are_sorted_by_the_bytes_of_their_uri(tmp_path: Path) -> None:
    write(
        tmp_path, dict.fromkeys(("Z.jpg", "a.jpg", "é.jpg", "a/z.jpg", "a-b/c.jpg", "😀.jpg"), b"")
    )
    found = uris(list_photos([tmp_path]))
    assert len(found) == 6
    assert found == sorted(found, key=str.encode)


def test_listing_more_photos_than_a_chunk_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faces.photos.photo_tables._CHUNK_ROWS", 3)
    write(tmp_path, {f"{number}.jpg": bytes(number) for number in range(7)})
    assert list_photos([tmp_path]).photos["num_bytes"].to_pylist() == list(range(7))


@pytest.mark.parametrize(
    "name", [b"plain.jpg", "Zürich 写真.jpg".encode(), b"line\nbreak.jpg", b"latin-\xe9\xff%.jpg"]
)
def test_every_name_survives_the_way_to_a_uri_and_back(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(b"in-\xfe-\n") / "sub"
    folder.mkdir(parents=True)
    for path in (tmp_path / os.fsdecode(name), folder / os.fsdecode(name)):
        path.write_bytes(b"content")
        listing = list_photos([path.parent])
        (uri,) = [uri for uri in uris(listing) if photo_path(uri) == path]
        assert uri == photo_uri(path)
        assert read_photo(uri) == b"content"
        path.unlink()
        assert covered(listing, uri, photo_uri(path.with_name("other.jpg"))) == [True, True]
        assert covered(list_photos_of_one(tmp_path / "elsewhere"), uri) == [False]


def list_photos_of_one(folder: Path) -> PhotoListing:
    return list_photos([write(folder, {"one.jpg": b""})])


def test_a_name_that_a_list_writes_with_composed_letters_means_the_file_with_decomposed_ones(
    tmp_path: Path,
) -> None:
    composed, decomposed = "M\u00fcnster", "Mu\u0308nster"
    (tmp_path / decomposed).mkdir()
    photo = tmp_path / decomposed / f"{decomposed}.jpg"
    photo.write_bytes(b"x")
    (tmp_path / "people.csv").write_text(f"path,person\n{composed}/{composed}.jpg,Ann\n")
    listing = list_photos([tmp_path / "people.csv", tmp_path / decomposed])
    assert listing.photos.select(["uri", "num_bytes", "person"]).to_pylist() == [
        {"uri": str(photo), "num_bytes": 1, "person": "Ann"}
    ]
    assert len(list_photos([tmp_path / composed / f"{composed}.jpg"]).photos) == 1
    # Two files that are equal after NFC are two photos: none of them is meant.
    both = tmp_path / "both"
    both.mkdir()
    for name in (f"{decomposed}.jpg", f"{composed}.jpg"):
        (both / name).write_bytes(name.encode())
    (both / "list.txt").write_text(f"{composed}.jpg\n")
    assert listing_uris(both / "list.txt") == [str(both / f"{composed}.jpg")]


def listing_uris(source: Path) -> list[str]:
    return list(list_photos([source]).photos["uri"].to_pylist())


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"x.jpg": b"123"})
    folder = write(tmp_path / "photos", {"a.jpg": b"1"})
    (folder / "link.jpg").symlink_to(outside / "x.jpg")
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "round").symlink_to(folder)
    (folder / "out").symlink_to(outside)
    (folder / "out.jpg").symlink_to(outside)
    listing = list_photos([folder])
    assert names(listing, folder) == ["a.jpg", "gone.jpg", "link.jpg", "loop.jpg"]
    assert listing.photos["num_bytes"].to_pylist() == [1, -1, 3, -1]
    assert listing.photos["mtime_ns"].to_pylist()[1::2] == [-1, -1]
    assert reason_for(uris(listing)[1]) is RejectReason.READ_ERROR
    # Photos behind a link to a folder were not listed, so they have not vanished.
    assert covered(listing, f"{folder}/out/x.jpg", f"{folder}/outer/x.jpg") == [False, True]
    assert names(list_photos([folder / "out"]), folder) == ["out/x.jpg"]  # a named link is followed


def test_an_unreadable_subfolder_is_listed_without_size(tmp_path: Path) -> None:
    """The listing runs in a process without root's rights, since root may read everything."""
    folder = write(tmp_path / "photos", {"a.jpg": b"1", "shut/b.jpg": b"1", "dark/c.jpg": b"123"})
    (folder / "shut").chmod(0o000)
    (folder / "dark").chmod(0o444)  # its entries can be listed, but not opened
    script = f"""
import json
import pyarrow as pa
from faces.photos.listing import list_photos
from faces.core.errors import WrongUsageError
listing = list_photos([{str(folder)!r}])
asked = [{f"{folder}/shut/b.jpg"!r}, {f"{folder}/shutter/b.jpg"!r}, {f"{folder}/shut"!r}]
try:
    list_photos([{f"{folder}/shut"!r}])
except WrongUsageError as error:
    message = str(error)
answers = listing.covers(pa.array(asked)).to_pylist()
print(json.dumps([listing.photos.to_pylist(), answers, message]))
"""
    obeyed = permissions_are_obeyed(folder / "shut" / "b.jpg")
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=obey_permissions,
        check=False,
    )
    (folder / "shut").chmod(0o755)
    if not obeyed:
        pytest.skip("this user may read files whatever their permissions say")
    assert finished.returncode == 0, finished.stderr
    found, answers, message = json.loads(finished.stdout)
    sizes = {Path(row["uri"]).relative_to(folder).as_posix(): row["num_bytes"] for row in found}
    assert sizes == {"a.jpg": 1, "shut": -1, "dark/c.jpg": -1}
    assert answers == [False, True, True]
    assert message.startswith(f"{folder}/shut cannot be read (Permission denied); make it readable")
    # Once the folder is readable, its own row is covered, so it vanishes from a dataset.
    later = list_photos([folder])
    assert names(later, folder) == ["a.jpg", "dark/c.jpg", "shut/b.jpg"]
    assert covered(later, f"{folder}/shut", f"{folder}/deleted-meanwhile") == [True, True]
    (folder / "dark").chmod(0o755)  # so that it can be removed


def test_a_subfolder_removed_while_it_is_listed_holds_no_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.jpg": b"1", "sub/b.jpg": b"2"})
    scandir = os.scandir

    def remove_then_look(path: Any) -> Any:
        if path == f"{tmp_path}/sub" and Path(path).exists():
            Path(path, "b.jpg").unlink()
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr("faces.photos.folders.os.scandir", remove_then_look)
    listing = list_photos([tmp_path])
    assert names(listing, tmp_path) == ["a.jpg"]
    assert covered(listing, f"{tmp_path}/sub/b.jpg") == [True]


def test_a_folder_covers_what_it_would_have_listed(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", {"a.jpg": b"", "note.xyz": b"", "sub/b.jpg": b""})
    listing = list_photos([folder])
    held = [f"{folder}/a.jpg", f"{folder}/gone.JPG", f"{folder}/sub/deeper/gone.png"]
    free = [
        *(f"{folder}/.hidden.jpg", f"{folder}/.thumbs/x.jpg", f"{folder}/note.xyz"),
        *(f"{folder}-2/x.jpg", f"{tmp_path}/x.jpg", "s3://b/x.jpg", f"tar://x.jpg::{folder}/x.tar"),
    ]
    assert covered(listing, *held) == [True] * len(held)
    assert covered(listing, *free) == [False] * len(free)
    chunked = pa.chunked_array([[held[0]], [free[0], held[1]]])
    assert listing.covers(chunked).to_pylist() == [True, False, True]
    inside = list_photos([write(tmp_path / ".dot", {"a.jpg": b""})])
    assert covered(inside, f"{tmp_path}/.dot/b.jpg") == [True]


def test_a_file_named_by_itself_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    write(tmp_path, {"photo": b"123", "b.jpg": b""})
    listing = list_photos([tmp_path / "photo"])
    status = (tmp_path / "photo").stat()
    assert rows(listing) == [(str(tmp_path / "photo"), 3, status.st_mtime_ns)]
    assert covered(listing, f"{tmp_path}/photo", f"{tmp_path}/b.jpg") == [True, False]
    assert rows(list_photos([photo_uri(tmp_path / "photo")])) == rows(listing)


def test_a_missing_or_empty_source_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WrongUsageError, match=r"nowhere does not exist; name a folder, an archive"):
        list_photos([tmp_path / "nowhere"])
    with pytest.raises(WrongUsageError, match=r"no photos under .* looked for files ending in"):
        list_photos([tmp_path])
    with pytest.raises(WrongUsageError, match="no source of photos was named; name a folder"):
        list_photos([])


# Patterns


def test_a_pattern_takes_matching_photos_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path,
        dict.fromkeys(
            ("a1.jpg", "a2.png", "a3.txt", "b.jpg", "a/x.jpg", "a/y/z.jpg", ".a.jpg", "c/d/e.jpg"),
            b"1",
        ),
    )
    monkeypatch.chdir(tmp_path)
    assert names(list_photos(["a*"]), tmp_path) == ["a/x.jpg", "a/y/z.jpg", "a1.jpg", "a2.png"]
    assert names(list_photos([tmp_path / "a?.jpg"]), tmp_path) == ["a1.jpg"]
    assert names(list_photos(["**/[xe].jpg"]), tmp_path) == ["a/x.jpg", "c/d/e.jpg"]
    everything = list_photos(["**"])
    assert names(everything, tmp_path) == names(list_photos([tmp_path]), tmp_path)
    assert covered(everything, f"{tmp_path}/a1.jpg", f"{tmp_path}/a9.jpg") == [True, False]
    for pattern in ("q*", "*.txt"):
        with pytest.raises(WrongUsageError, match="matches no photo, no archive and no folder"):
            list_photos([pattern])


def test_an_existing_file_that_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    write(tmp_path, {"[ab].jpg": b"1", "a.jpg": b"22"})
    assert names(list_photos([tmp_path / "[ab].jpg"]), tmp_path) == ["[ab].jpg"]


# Archives

ARCHIVE_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2"} | {
    ".tar.xz": "w:xz"
}


@pytest.mark.parametrize("ending", [*ARCHIVE_MODES, ".zip", ".TAR", ".Zip"])
def test_members_of_archives_are_photos(tmp_path: Path, ending: str) -> None:
    members = {
        **{"b.jpg": b"bb", "./a.JPG": b"a", "sub/a::b c%41.png": b"ccc", "/abs/d.jpg": b"dddd"},
        **{"../up/e.jpg": b"eeeee", "line\nbreak é.jpg": b"f"},
    }
    skipped = {"notes.txt": b"x", "sub/.h.jpg": b"x", ".t/x.jpg": b"x", "__MACOSX/._a.jpg": b"x"}
    path = tmp_path / f"archive{ending}"
    if ending.lower() == ".zip":
        write_zip(path, members | skipped)
        scheme = "zip"
    else:
        write_tar(path, members | skipped, ARCHIVE_MODES.get(ending, "w"))
        scheme = "tar"
    os.utime(path, ns=(5, 1_234_567_890_123_456_789))
    listing = list_photos([path])
    expected = {f"{scheme}://{name}::{path}": content for name, content in members.items()}
    assert uris(listing) == sorted(expected, key=str.encode)
    assert {uri: read_photo(uri) for uri in uris(listing)} == expected
    assert {row[0]: row[1] for row in rows(listing)} == {u: len(c) for u, c in expected.items()}
    assert set(listing.photos["mtime_ns"].to_pylist()) == {1_234_567_890_123_456_789}
    # The reading order is the archive's own.
    in_order = listing.photos["uri"].take(listing.reading_order).to_pylist()
    assert in_order == list(expected)
    held = [f"{scheme}://gone.jpg::{path}", f"{scheme}://./x/gone.png::{path}"]
    free = [
        *(f"{scheme}://gone.jpg::{path}x", f"{scheme}://.x.jpg::{path}", f"{path}/gone.jpg"),
        *(f"{scheme}://gone.txt::{path}", str(path)),
    ]
    assert covered(listing, *held, *free) == [True] * len(held) + [False] * len(free)


def test_only_regular_members_of_a_tar_are_photos(tmp_path: Path) -> None:
    path = tmp_path / "odd.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            *(("folder.jpg", tarfile.DIRTYPE), ("link.jpg", tarfile.SYMTYPE)),
            *(("hard.jpg", tarfile.LNKTYPE), ("pipe.jpg", tarfile.FIFOTYPE)),
            ("device.jpg", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "real.jpg"
            tar.addfile(info)
        for content in (b"older", b"newest!"):  # the last member of a name counts
            info = tarfile.TarInfo("real.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    listing = list_photos([path])
    assert [row[:2] for row in rows(listing)] == [(f"tar://real.jpg::{path}", 7)]
    assert read_photo(uris(listing)[0]) == b"newest!"


def test_only_regular_members_of_a_zip_are_photos(tmp_path: Path) -> None:
    path = tmp_path / "odd.zip"
    link = zipfile.ZipInfo("link.jpg")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("folder.jpg/", b"")
        archive.writestr(link, b"target")
        archive.writestr("real.jpg", b"older")
        archive.writestr("real.jpg", b"newest!")
    listing = list_photos([path])
    assert [row[:2] for row in rows(listing)] == [(f"zip://real.jpg::{path}", 7)]
    assert read_photo(uris(listing)[0]) == b"newest!"


def test_members_whose_names_are_not_unicode_are_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"latin-\xe9")
    folder.mkdir()
    name = os.fsdecode(b"sub::x/photo-\xff%\n.jpg")
    for path in (tmp_path / "plain.tar", folder / "odd.tar.gz"):
        mode = "w" if path.suffix == ".tar" else "w:gz"
        write_tar(path, {name: b"content", "fine.jpg": b"fine"}, mode)
        listing = list_photos([path])
        assert sorted(map(read_photo, uris(listing))) == [b"content", b"fine"]
        for uri in uris(listing):
            uri.encode()
        assert sum(uri.startswith("escaped:tar%3A//") for uri in uris(listing)) == (
            1 if path.suffix == ".tar" else 2
        )
        gone = [photo_uri(f"tar://{gone}::{path}") for gone in ("gone.jpg", f"gone-{name}")]
        hidden = photo_uri(f"tar://sub/.{name}::{path}")
        assert covered(listing, *gone, hidden) == [True, True, False]
        # An escaped uri names the photo as a source, too.
        assert rows(list_photos([uris(listing)[0]])) == rows(listing)[:1]


def test_a_folder_or_one_member_of_an_archive_can_be_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"x/1.jpg": b"1", "x/y/2.jpg": b"", "xy/3.jpg": b""})
    assert len(uris(list_photos([f"tar://::{path}"]))) == 3
    part = list_photos([f"tar://x::{path}"])
    assert uris(part) == [f"tar://x/1.jpg::{path}", f"tar://x/y/2.jpg::{path}"]
    asked = [f"tar://x/9.jpg::{path}", f"tar://xy/9.jpg::{path}"]
    assert covered(part, *asked) == [True, False]
    assert uris(list_photos([f"tar://x/1.jpg::{path}"])) == [f"tar://x/1.jpg::{path}"]
    with pytest.raises(WrongUsageError, match=r"no photo, and no folder with photos, called z; "):
        list_photos([f"tar://z::{path}"])


def test_an_archive_with_two_colons_in_its_path_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a::b.tar", {"x.jpg": b"1"})
    with pytest.raises(WrongUsageError, match=r"has '::' in its path.*; rename or move it"):
        list_photos([path])


def noise(count: int) -> dict[str, bytes]:
    """Return files of incompressible bytes, so that a cut anywhere hits their content."""
    draw = random.Random(7)
    return {f"{number}.jpg": draw.randbytes(3_000) for number in range(count)}


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip"])
@pytest.mark.parametrize("share", [0.0, 0.31, 0.7, 0.99])
def test_a_truncated_archive_is_refused_by_name(tmp_path: Path, ending: str, share: float) -> None:
    path = tmp_path / f"cut{ending}"
    if ending == ".zip":
        write_zip(path, noise(50))
    else:
        write_tar(path, noise(50), ARCHIVE_MODES[ending])
    content = path.read_bytes()
    if ending == ".tar":
        content = content[: 50 * (512 + 3_072)]  # without the end mark and its padding
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        CorruptFileError, match=r"cut\.\S+ is corrupt or not a \w+ archive \(.+\)"
    ) as e:
        list_photos([path])
    assert str(e.value).endswith("; copy it again or create it again")
    assert "\n" not in str(e.value)


def test_a_tar_with_a_corrupt_header_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "header.tar", noise(4))
    content = bytearray(path.read_bytes())
    content[2 * (512 + 3_072) + 20] ^= 1  # in the third header
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"header\.tar is corrupt"):
        list_photos([path])


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_compressed_tar_with_an_altered_byte_is_refused(tmp_path: Path, ending: str) -> None:
    path = write_tar(tmp_path / f"altered{ending}", noise(20), ARCHIVE_MODES[ending])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"altered\.\S+ is corrupt"):
        list_photos([path])


def test_a_tar_gz_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "altered.tar.gz", noise(4), "w:gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"altered\.tar\.gz is corrupt .*CRC"):
        list_photos([path])


def test_a_file_that_is_not_an_archive_is_refused(tmp_path: Path) -> None:
    for ending in (".tar", ".tgz", ".zip"):
        path = write(tmp_path, {f"text{ending}": b"no archive " * 500}) / f"text{ending}"
        with pytest.raises(CorruptFileError, match=r"text\.\w+ is corrupt or not a"):
            list_photos([path])


def test_members_replaced_later_are_read_at_their_last_position(tmp_path: Path) -> None:
    path, other = tmp_path / "a.tar", tmp_path / "a.zip"
    with (
        tarfile.open(path, "w") as tar,
        zipfile.ZipFile(other, "w") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        for name in ("a.jpg", "c.jpg", "b.jpg", "a.jpg"):
            tar.addfile(tarfile.TarInfo(name))
            archive.writestr(name, b"")
    for listing in (list_photos([path]), list_photos([other])):
        in_order = listing.photos["uri"].take(listing.reading_order).to_pylist()
        assert [uri[6:11] for uri in in_order] == ["c.jpg", "b.jpg", "a.jpg"]


def test_archives_are_read_one_after_the_other(tmp_path: Path) -> None:
    """Sorted by uri, the members of the two archives would alternate."""
    first = write_tar(tmp_path / "1.tar", {"c.jpg": b"", "a.jpg": b""})
    second = write_tar(tmp_path / "2.tar", {"b.jpg": b"", "a.jpg": b""})
    write(tmp_path / "folder", {"z.jpg": b"", "a.jpg": b""})
    listing = list_photos([second, tmp_path / "folder", first, second])
    assert listing.photos["uri"].take(listing.reading_order).to_pylist() == [
        *(f"{tmp_path}/folder/a.jpg", f"{tmp_path}/folder/z.jpg"),
        *(f"tar://c.jpg::{first}", f"tar://a.jpg::{first}"),
        *(f"tar://b.jpg::{second}", f"tar://a.jpg::{second}"),
    ]


# Photo lists


def test_a_text_list_names_photos_one_a_line(tmp_path: Path) -> None:
    write(tmp_path, {"lists/a.jpg": b"1", "b.dat": b"22", "lists/sub/c.jpg": b""})
    odd = tmp_path / os.fsdecode(b"lists/latin-\xe9.jpg")
    odd.write_bytes(b"333")
    lines = [
        *(b"\xef\xbb\xbfa.jpg\r", b"", b"  \r", b"../b.dat", b"sub", b"gone.jpg"),
        *(b"memory://x/y", b"latin-\xe9.jpg", b"a.jpg", str(tmp_path / "b.dat").encode()),
    ]
    (tmp_path / "lists/these.TXT").write_bytes(b"\n".join(lines))
    listing = list_photos([tmp_path / "lists/these.TXT"], access=Access(("memory",)))
    sizes = {row[0]: row[1] for row in rows(listing)}
    folder = tmp_path / "lists"
    assert sizes == {
        **{f"{folder}/a.jpg": 1, f"{tmp_path}/b.dat": 2, photo_uri(odd): 3, "memory://x/y": -1},
        **{f"{folder}/gone.jpg": -1, f"{folder}/sub": (folder / "sub").stat().st_size},
    }
    assert reason_for(f"{folder}/sub") is RejectReason.READ_ERROR
    assert covered(listing, f"{folder}/gone.jpg", f"{folder}/other.jpg") == [True, False]


def test_a_csv_adds_typed_metadata_to_photos(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(
        b"\xef\xbb\xbfname,path,age,code,tall,member,born,note,huge,fine,off\r\n"
        b'"Ann ""A"" B",a.jpg,31,007,1.5,true,1990-02-28,"two\nlines",9223372036854775808,1,\r\n'
        b"J\xc3\xbcrg,b.jpg,-4,12,2,FALSE,2000-01-01,,1,123456789012345678,\r\n"
        b",c.jpg,,,,,,,,1.5,\r\n"
    )
    table = list_photos([path]).photos
    assert table["uri"].to_pylist() == [f"{tmp_path}/{name}.jpg" for name in "abc"]
    found = {field.name: (str(field.type), table[field.name].to_pylist()) for field in table.schema}
    assert list(found) == [
        *("uri", "num_bytes", "mtime_ns", "name", "age", "code", "tall", "member", "born"),
        *("note", "huge", "fine", "off"),
    ]
    assert found["name"] == ("string", ['Ann "A" B', "Jürg", None])
    assert found["age"] == ("int64", [31, -4, None])
    assert found["code"] == ("string", ["007", "12", None])
    assert found["tall"] == ("double", [1.5, 2.0, None])
    assert found["member"] == ("bool", [True, False, None])
    assert found["born"] == ("date32[day]", [date(1990, 2, 28), date(2000, 1, 1), None])
    assert found["note"] == ("string", ["two\nlines", None, None])
    assert found["huge"] == ("string", ["9223372036854775808", "1", None])  # beyond 64 bits
    assert found["fine"] == ("string", ["1", "123456789012345678", "1.5"])  # no float64
    assert found["off"] == ("string", [None] * 3)


def test_lines_within_values_do_not_end_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value may span the blocks in which a CSV is parsed."""
    monkeypatch.setattr("faces.photos.lists._BLOCK_BYTES", 100)
    notes = [f"{'x' * number}\n\r\n{number}" for number in range(30)]
    lines = ["uri,note", *(f'{number:02d}.jpg,"{note}"' for number, note in enumerate(notes))]
    (tmp_path / "a.csv").write_bytes("\n".join(lines).encode())
    assert list_photos([tmp_path / "a.csv"]).photos["note"].to_pylist() == notes


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["0", "-1", "9223372036854775807"], "int64"),
        (["1", "-0"], "double"),
        (["1", "1e5"], "string"),
        (["1", " 2"], "string"),
        (["1.", "2"], "string"),
        (["+1", "2"], "string"),
        (["nan", "1.5"], "string"),
        (["01.5", "1.5"], "string"),
        (["true", "yes"], "string"),
        (["true", "1"], "string"),
        (["2023-02-29", "2024-02-29"], "string"),  # no such day
        (["2024-2-29", "2024-02-28"], "string"),
    ],
)
def test_a_csv_column_gets_the_narrowest_type_that_fits_all_its_values(
    tmp_path: Path, values: list[str], kind: str
) -> None:
    lines = ["uri,x", *(f"{number}.jpg,{value}" for number, value in enumerate(values))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    column = list_photos([tmp_path / "a.csv"]).photos["x"]
    assert str(column.type) == kind
    if kind == "string":
        assert column.to_pylist() == values


DAYS = [date(1996, 3, 19), date(1996, 4, 3)]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (["19.03.1996", "3.4.1996"], "date32[day]"),
        (["19/03/1996", "03/04/1996"], "date32[day]"),
        (["03/19/1996", "4/3/1996"], "date32[day]"),
        (["19-3-1996", "03-04-1996"], "date32[day]"),
        (["1996/3/19", "1996/04/03"], "date32[day]"),
        (["1996:03:19", "1996:04:03"], "date32[day]"),
        (["1996-03-19", "1996-04-03"], "date32[day]"),
        (["19.03.1996 00:00", "03.04.1996"], "timestamp[us]"),
        (["1996-03-19", "1996-04-03 00:00"], "timestamp[us]"),
        (["19.03.1996", "03-04-1996"], "string"),
        (["19.03.1996", "03.19.1996"], "string"),
        (["19.03/1996", "03.04.1996"], "string"),
        (["31.02.1996", "03.04.1996"], "string"),
        (["19.03.96", "03.04.96"], "string"),
        (["1996-03-19", "03.04.1996"], "string"),
    ],
)
def test_dates_are_written_as_a_whole_column_agrees(
    tmp_path: Path, written: list[str], kind: str
) -> None:
    rows = [written[0], "", written[1]]
    lines = ["uri,Date", *(f"{number}.jpg,{value}" for number, value in enumerate(rows))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    listing = list_photos([tmp_path / "a.csv"])
    column = listing.photos["Date"]
    assert (str(column.type), listing.open_dates) == (kind, ())
    expected = [*written] if kind == "string" else [DAYS[0], DAYS[1]]
    if kind == "timestamp[us]":
        expected = [datetime(day.year, day.month, day.day) for day in DAYS]
    assert column.to_pylist() == [expected[0], None, expected[1]]


def test_dates_that_may_begin_with_day_or_month_stay_text_until_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("uri,Date,Sure\na.jpg,03.04.1996,2020-01-02\nb.jpg,12.12.1996,\n")
    listing = list_photos([path])
    assert listing.photos["Date"].to_pylist() == ["03.04.1996", "12.12.1996"]
    assert listing.open_dates == (f"{path}: Date",)
    for order, first in (("day", date(1996, 4, 3)), ("month", date(1996, 3, 4))):
        said = list_photos([path], date_order=order)
        assert said.open_dates == ()
        assert said.photos["Date"].to_pylist() == [first, date(1996, 12, 12)]
    path.write_text("uri,Date\na.jpg,19.04.1996\n")
    for order in ("day", "month"):  # what the list says itself counts
        assert list_photos([path], date_order=order).photos["Date"][0].as_py().month == 4


def test_times_of_a_csv_are_timestamps_in_utc(tmp_path: Path) -> None:
    values = {
        "1985-06-30 14:05": datetime(1985, 6, 30, 14, 5),
        "1985-06-30T14:05:07": datetime(1985, 6, 30, 14, 5, 7),
        "1985-06-30T14:05:07.25": datetime(1985, 6, 30, 14, 5, 7, 250_000),
        "1985-06-30T14:05:07.123456789Z": datetime(1985, 6, 30, 14, 5, 7, 123_456),
        "1985-06-30 14:05+02:00": datetime(1985, 6, 30, 12, 5),
        "1985-06-30 23:05:00-0330": datetime(1985, 7, 1, 2, 35),
        "1985-06-30": datetime(1985, 6, 30),
    }
    lines = ["uri,taken", *(f"{number}.jpg,{text}" for number, text in enumerate(values))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    column = list_photos([tmp_path / "a.csv"]).photos["taken"]
    assert str(column.type) == "timestamp[us]"
    assert column.to_pylist() == [*values.values()]
    (tmp_path / "a.csv").write_text("\n".join([*lines, "z.jpg,1985-06-30 24:05"]))
    assert str(list_photos([tmp_path / "a.csv"]).photos["taken"].type) == "string"


def test_upper_and_lower_case_of_a_columns_name_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Path,PERSON, Album\na.jpg,Ann,Rome\n")
    (tmp_path / "b.csv").write_text("URI,person,album\na.jpg,Ann,\nb.jpg,Ben,Oslo\n")
    photos = list_photos([tmp_path / "a.csv", tmp_path / "b.csv"]).photos
    assert photos.column_names[3:] == ["person", "Album"]
    assert photos["person"].to_pylist() == ["Ann", "Ben"]
    assert photos["Album"].to_pylist() == ["Rome", "Oslo"]
    renamed = list_photos([tmp_path / "a.csv"], {"album": "Place"}).photos
    assert renamed.column_names[3:] == ["person", "Place"]
    assert [column_key(name) for name in ("STRASSE", "Cafe\u0301")] == ["strasse", "caf\xe9"]


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    numbers = pa.array([1.5, float("nan"), float("inf"), None], pa.float32())
    uris = [f"{number}.jpg" for number in range(4)]
    pq.write_table(pa.table({"uri": uris, "rating": numbers}), tmp_path / "a.parquet")
    column = list_photos([tmp_path / "a.parquet"]).photos["rating"]
    assert column.to_pylist() == [1.5, None, None, None]


def test_a_list_may_be_tab_separated(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("uri\tname\na.jpg\tBond, James\n")
    assert list_photos([tmp_path / "a.tsv"]).photos["name"].to_pylist() == ["Bond, James"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"uri,path\na,b\n", "has both a column `uri` and a column `path`"),
        (b"photo,n\na,b\n", r"exactly one column must be called `uri` or `path` \(it has photo, n"),
        (b"uri,score\na,1\n", "column 'score', a name that is reserved .* score=list_score"),
        (b"uri,facetrove_row\na,1\n", "facetrove_row', a name that is reserved"),
        (b"uri,photo_person\na,1\n", "photo_person', a name that is reserved"),
        (b"uri,n,n\na,1,2\n", "two columns called 'n'; rename one"),
        (b"uri,N,n\na,1,2\n", "a column 'N' and a column 'n', and upper and lower case make no"),
        (b"uri,Person,person \na,1,2\n", "two columns called 'person'; rename one"),
        (b"URI,Path\na,b\n", "has both a column `uri` and a column `path`"),
        (b"uri,Score\na,1\n", "column 'Score', a name that is reserved"),
        (b"uri,\na,1\n", "a column without a name"),
        (b"uri,n\na,1\n,2\n", "row 2 names no photo"),
        (b"uri,n\na\n", "not a valid CSV file .*Expected 2 columns, got 1"),
        (b'uri,n\na,"open\nb,2\n', "an unclosed quotation mark; close or remove it"),
        (b"", "not a valid CSV file"),
        ("uri,n\nä,é\n".encode("latin-1"), "is not UTF-8; save it"),
        ("uri,ä\na,b\n".encode("latin-1"), "is not UTF-8; save it"),
        ("uri,n\na,b\n".encode("utf-16"), r"is not UTF-8 .*; save it"),
        (b"uri,n\na,1\na,2\n", r"/a is named with different values of 'n'"),
        (b"uri,n\na,1\na,\n", r"/a is named with different values of 'n'"),
        (b"uri\ns3://bucket/a.jpg\n", "run `pip install s3fs`"),
        (b"uri\ntar://a.jpg::gs://bucket/a.tar\n", "run `pip install gcsfs`"),
        (b"uri\nnosuch://bucket/a.jpg\n", "nosuch://, which is not allowed.*--allow-scheme nosuch"),
        (b"uri,n\n", "no photos under"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(WrongUsageError, match=says) as caught:
        list_photos([tmp_path / "list.csv"])
    assert "list.csv" in str(caught.value) or "://" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_list_in_utf_16_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("a.jpg\n".encode("utf-16"))
    with pytest.raises(WrongUsageError, match="not plain text"):
        list_photos([tmp_path / "list.txt"])


def test_the_column_names_of_datasets_are_reserved(tmp_path: Path) -> None:
    contract = ModelContract("a", "b", "c", "d", "e", dimension=8)
    with DatasetWriter.open(tmp_path / "d", DatasetSettings(contract)) as writer:
        photos = writer.dataset.photos()
    ours = {*photos.column_names, *face_schema(8).names, "also_at", "result_before"}
    assert ours <= RESERVED_COLUMNS


def test_columns_of_lists_get_other_names_when_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,score,taken\na.jpg,7,2020-01-01\n")
    pq.write_table(pa.table({"uri": ["b.jpg"], "score": [8]}), tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text("c.jpg\n")
    lists = [tmp_path / name for name in ("a.csv", "b.parquet", "c.txt")]
    photos = list_photos(lists, {"file": "uri", "score": "grade"}).photos
    assert photos["grade"].to_pylist() == [7, 8, None]
    assert photos["taken"].to_pylist() == [date(2020, 1, 1), None, None]
    for renamed, says in (
        ({"file": "uri", "score": "box"}, "column 'box', a name that is reserved"),
        ({"file": "uri", "score": "taken"}, "two columns called 'taken'"),
        ({"file": "uri", "score": "grade", "scor": "points"}, "no photo list has a column 'scor'"),
    ):
        with pytest.raises(WrongUsageError, match=says):
            list_photos(lists, renamed)


def test_columns_of_a_parquet_list_keep_their_types(tmp_path: Path) -> None:
    moment = datetime(2020, 5, 17, 12, 30, 15, 123456, tzinfo=UTC)
    write_list = {
        "uri": pa.array(["a.jpg", "b.jpg"], pa.large_string()),
        "small": pa.array([1, None], pa.uint8()),
        "half": pa.array([1.5, None], pa.float32()),
        "word": pa.array(["x", None]).dictionary_encode(),
        "flag": pa.array([True, None]),
        "day": pa.array([date(2020, 1, 1), None]),
        "when": pa.array([moment, None], pa.timestamp("ns", "Europe/Zurich")),
        "exact": pa.array([1_500, None], pa.timestamp("ns")),
        "nothing": pa.nulls(2),
    }
    folder = tmp_path / "year=2020"  # must not become a column
    folder.mkdir()
    pq.write_table(pa.table(write_list), folder / "list.parquet")
    table = list_photos([folder / "list.parquet"]).photos
    assert {field.name: str(field.type) for field in list(table.schema)[3:]} == {
        **{"small": "int64", "half": "double", "word": "string", "flag": "bool"},
        **{
            "day": "date32[day]",
            "when": "timestamp[us]",
            "exact": "timestamp[us]",
            "nothing": "string",
        },
    }
    first = table.to_pylist()[0]
    assert first["uri"] == f"{folder}/a.jpg"
    assert [first[name] for name in ("small", "half", "word", "flag", "day", "when")] == [
        *(1, 1.5, "x", True, date(2020, 1, 1), moment.replace(tzinfo=None))
    ]
    assert first["exact"] == datetime(1970, 1, 1, 0, 0, 0, 1)
    assert set(table.to_pylist()[1].values()) == {f"{folder}/b.jpg", -1, None}


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([b"x"]), "column 'x' is of type binary, which metadata cannot have"),
        (pa.array([[1]]), "column 'x' is of type list<element: int64>, which metadata cannot have"),
        (pa.array([2**63], pa.uint64()), "column 'x' does not fit int64"),
    ],
)
def test_a_parquet_column_of_an_unsupported_type_is_named(
    tmp_path: Path, column: pa.Array, says: str
) -> None:
    pq.write_table(pa.table({"uri": ["a"], "x": column}), tmp_path / "list.parquet")
    with pytest.raises(WrongUsageError, match=says):
        list_photos([tmp_path / "list.parquet"])


def test_a_corrupt_parquet_list_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"uri": ["a"]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match=r"list\.parquet is corrupt or not a Parquet file"):
        list_photos([path])


# Several sources


def test_sources_are_joined_and_keep_their_metadata(tmp_path: Path) -> None:
    write(tmp_path, {"photos/a.jpg": b"1", "photos/b.jpg": b"22", "photos/c.jpg": b"333"})
    (tmp_path / "who.csv").write_text(
        "path,who,none\nphotos/a.jpg,Ann,\nphotos/b.jpg,,\nphotos/b.jpg,,\n"
    )
    (tmp_path / "when.csv").write_text(
        "path,year,who,none\nphotos/a.jpg,1999,Ann,5\nelsewhere.jpg,2001,Eve,\nphotos/b.jpg,,Bob,\n"
    )
    sources = [tmp_path / "photos", tmp_path / "who.csv", tmp_path / "when.csv"]
    listing = list_photos(sources)
    found = [
        (Path(row.pop("uri")).name, row.pop("num_bytes"), row.pop("mtime_ns") > 0, row)
        for row in listing.photos.to_pylist()
    ]
    assert found == [
        ("elsewhere.jpg", -1, False, {"who": "Eve", "none": None, "year": 2001}),
        ("a.jpg", 1, True, {"who": "Ann", "none": 5, "year": 1999}),
        ("b.jpg", 2, True, {"who": "Bob", "none": None, "year": None}),
        ("c.jpg", 3, True, {"who": None, "none": None, "year": None}),
    ]
    assert listing.photos.schema.field("uri").nullable is False
    assert listing.photos.equals(
        list_photos(sources[::-1]).photos.select(listing.photos.column_names)
    )
    assert covered(listing, f"{tmp_path}/photos/x.jpg", f"{tmp_path}/x.jpg") == [True, False]


@pytest.mark.parametrize(
    "values", ["text,two", "1,2", "1.5,2", "true,false", "2020-01-01,2020-01-02"]
)
def test_lists_that_contradict_each_other_are_refused(tmp_path: Path, values: str) -> None:
    first, second = values.split(",")
    same = tmp_path / "same.csv"
    same.write_text(f"uri,x\na.jpg,{first}\na.jpg,{first}\nb.jpg,{second}\n")
    other = tmp_path / "other.csv"
    other.write_text(f"uri,x\na.jpg,{second}\nc.jpg,{first}\n")
    assert len(list_photos([same, same]).photos) == 2
    with pytest.raises(WrongUsageError, match=r"a\.jpg is named with different values of 'x'"):
        list_photos([same, other])


def test_lists_whose_columns_differ_in_type_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("uri,x\na.jpg,1\n")
    (tmp_path / "2.csv").write_text("uri,x\nb.jpg,one\n")
    with pytest.raises(
        WrongUsageError, match=r"column 'x' is int64 in \S*1\.csv but string in \S*2\.csv; use one"
    ):
        list_photos([tmp_path / "1.csv", tmp_path / "2.csv"])


# URLs


def test_a_remote_folder_is_listed(memory: Callable[[Mapping[str, bytes]], None]) -> None:
    memory({"/b/x/1.jpg": b"1", "/b/x/y/a::2.PNG": b"22", "/b/x/n.txt": b"", "/b/x/.h/3.jpg": b""})
    memory({"/b/xx/4.jpg": b"", "/b/x/.5.jpg": b""})
    listing = list_photos(["memory://b/x"])
    assert [row[:2] for row in rows(listing)] == [
        *(("memory:///b/x/1.jpg", 1), ("memory:///b/x/y/a::2.PNG", 2))
    ]
    assert [read_photo(uri) for uri in uris(listing)] == [b"1", b"22"]
    seconds = datetime.now(UTC).timestamp()
    assert all(abs(row[2] / 1e9 - seconds) < 100 for row in rows(listing))
    asked = ["memory:///b/x/gone.jpg", "memory:///b/xx/gone.jpg", "memory:///b/x/.g.jpg"]
    assert covered(listing, *asked, "memory:///b/x/gone.txt") == [True, False, False, False]
    everything = list_photos(["memory://"])
    assert "memory:///b/xx/4.jpg" in uris(everything)
    assert covered(everything, "memory:///gone.jpg", "/gone.jpg") == [True, False]


def test_one_remote_object_is_a_photo(memory: Callable[[Mapping[str, bytes]], None]) -> None:
    memory({"/b/photo": b"123"})
    listing = list_photos(["memory://b/photo"])
    assert [row[:2] for row in rows(listing)] == [("memory:///b/photo", 3)]
    assert covered(listing, "memory:///b/photo", "memory:///b/photo/x.jpg") == [True, False]
    with pytest.raises(WrongUsageError, match="memory://b/gone does not exist"):
        list_photos(["memory://b/gone"])


def test_a_remote_archive_is_listed(
    tmp_path: Path, memory: Callable[[Mapping[str, bytes]], None]
) -> None:
    memory({"/b/a.tgz": write_tar(tmp_path / "a.tgz", {"x.jpg": b"xx"}, "w:gz").read_bytes()})
    memory({"/b/a.zip": write_zip(tmp_path / "a.zip", {"x.jpg": b"yyy"}).read_bytes()})
    listing = list_photos(["memory://b/a.tgz", "zip://::memory://b/a.zip"])
    assert uris(listing) == ["tar://x.jpg::memory:///b/a.tgz", "zip://x.jpg::memory://b/a.zip"]
    assert [read_photo(uri) for uri in uris(listing)] == [b"xx", b"yyy"]
    assert min(listing.photos["mtime_ns"].to_pylist()) > 0


def test_a_remote_photo_list_is_refused(memory: Callable[[Mapping[str, bytes]], None]) -> None:
    memory({"/b/list.csv": b"uri\na.jpg\n"})
    with pytest.raises(WrongUsageError, match="remote photo list; copy it to this machine"):
        list_photos(["memory://b/list.csv"])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://bucket/folder", "run `pip install s3fs`"),
        ("gs://bucket/folder", "run `pip install gcsfs`"),
        ("tar://::s3://bucket/a.tar", "run `pip install s3fs`"),
        ("smb://server/folder", "run `pip install smbprotocol`"),
        ("nosuch://x/y", "begins with nosuch://, which is not supported"),
        ("tar://x.jpg", "names no archive; write tar://MEMBER::/PATH/OF/ARCHIVE"),
    ],
)
def test_a_url_that_cannot_be_opened_says_what_to_do(url: str, says: str) -> None:
    with pytest.raises(WrongUsageError, match=says):
        list_photos([url])


class StrangeFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A filesystem with an unreadable subfolder, and modification times in many formats."""

    protocol = "strange"
    times: tuple[dict[str, Any], ...] = (
        {"mtime": 12},
        {"mtime": 12.5},
        {"LastModified": datetime(1970, 1, 1, 0, 0, 12, 7, tzinfo=UTC)},
        {"last_modified": datetime(1970, 1, 1, 0, 0, 12)},
        {"updated": "1970-01-01T01:00:12.500+01:00"},
        {"updated": "1970-01-01T00:00:12Z"},
        {"created": "yesterday"},
        {"created": None},
    )

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[dict[str, Any]]:
        if path == "folder/shut":
            raise PermissionError(13, "Permission denied")
        if path in ("folder", "hidden"):
            shut = "folder/shut" if path == "folder" else "hidden/.shut"
            photo = {"name": f"{path}/a.jpg", "type": "file", "size": 1}
            return [photo, *({"name": f, "type": "directory", "size": 0} for f in (path, shut))]
        if path == "links":
            link = {"name": "links/round", "type": "directory", "size": 0, "islink": True}
            return [link, {"name": "links/a.jpg", "type": "file", "size": 1}]
        assert path == "times"
        return [
            {"name": f"times/{number}.jpg", "type": "file", "size": None, **changed}
            for number, changed in enumerate(self.times)
        ]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "type": "directory", "size": 0}


@pytest.fixture
def strange() -> None:
    fsspec.register_implementation("strange", StrangeFileSystem, clobber=True)


@pytest.mark.usefixtures("strange")
def test_times_of_objects_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    listing = list_photos(["strange://times"])
    second = 10**9
    assert listing.photos["mtime_ns"].to_pylist() == [
        *(12 * second, 25 * second // 2, 12 * second + 7000, 12 * second),
        *(25 * second // 2, 12 * second, -1, -1),
    ]
    assert set(listing.photos["num_bytes"].to_pylist()) == {-1}
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("strange")
def test_a_remote_folder_that_cannot_be_read_completely_is_refused() -> None:
    with pytest.raises(WrongUsageError, match=r"cannot be listed \(Permission denied\); check"):
        list_photos(["strange://folder"])
    for readable in ("hidden", "links"):
        assert uris(list_photos([f"strange://{readable}"])) == [f"strange://{readable}/a.jpg"]


def test_a_url_of_a_local_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUsageError, match="name its path, /"):
        list_photos([f"local://{tmp_path}"])


def test_a_url_with_a_host_that_the_uris_of_photos_lack_is_refused() -> None:
    class Hosted(StrangeFileSystem):
        protocol = "hosted"

        @staticmethod
        def _get_kwargs_from_urls(path: str) -> dict[str, str]:
            return {"host": path.removeprefix("hosted://").partition("/")[0]}

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path.removeprefix("hosted://").partition("/")[2] if "://" in path else path

    fsspec.register_implementation("hosted", Hosted, clobber=True)
    with pytest.raises(
        WrongUsageError, match=r"parts, such as a host.* that the hosted:// URLs of"
    ):
        list_photos(["hosted://me@server/times"])
