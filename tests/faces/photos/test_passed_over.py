"""What a listing leaves out of folders, archives and stores, and how it is counted."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from faces.core.errors import WrongUsageError
from faces.photos.listing import list_photos
from faces.photos.passed_over import EXCLUDED_FOLDERS, Exclusion, PassedOver, counts_of
from faces.photos.uris import photo_uri
from tests.support.photo_files import write_tar


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def listed(*sources: str | Path, exclude: tuple[str, ...] = ()) -> list[str]:
    photos = list_photos(sources, exclude=exclude).photos
    return [os.path.relpath(uri, sources[0]) for uri in photos["uri"].to_pylist()]


def test_every_file_that_is_passed_over_is_counted_by_its_kind_and_ending(tmp_path: Path) -> None:
    touch(
        tmp_path / "photos",
        *("a.jpg", "b.NEF", "sub/c.nef", "d", "e.tar.GZ", "f.zip", "g.2019-01 backup", ".h.jpg"),
        *(".i/x.jpg", ".j.txt", "k.HIF", "l.Mpo", "m.jpg_large", "sub/n.MP4"),
    )
    (tmp_path / "photos" / "o").symlink_to(tmp_path)
    listing = list_photos([tmp_path / "photos"])
    assert len(listing.photos) == 4
    assert counts_of(listing.passed_over) == {
        "archive": {".tar.gz": 1, ".zip": 1},
        "hidden": {"folders": 1, "photos": 1},
        "link": {"folders": 1},
        "other_ending": {"": 2, ".mp4": 1, ".nef": 2},
    }


def named(*sources: str | Path, exclude: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    """Return kind, label and uri of everything that a listing passes over, sorted."""
    rows = list_photos(sources, exclude=exclude).passed_over.to_pylist()
    return sorted((row["kind"], row["label"], row["uri"]) for row in rows)


def test_everything_that_is_passed_over_in_a_folder_is_named(tmp_path: Path) -> None:
    folder = touch(
        tmp_path / "f",
        *("a.jpg", "b.NEF", "sub/c", "sub/s.jpg", "e.tar.GZ", ".h.jpg", ".i/x.jpg", ".j.txt"),
        *("@eaDir/a.jpg/B.jpg", "@eaDir/n.txt", "small_1.jpg", "M\u00fcll/d.nef"),
    )
    (folder / "o").symlink_to(tmp_path)
    odd = os.fsdecode(b"\xff.mp4")
    (folder / odd).touch()
    expected = [
        ("archive", ".tar.gz", f"{folder}/e.tar.GZ"),
        ("excluded", "@eaDir", f"{folder}/@eaDir/a.jpg/B.jpg"),
        ("excluded", "small_*", f"{folder}/small_1.jpg"),
        ("hidden", "folders", f"{folder}/.i"),
        ("hidden", "photos", f"{folder}/.h.jpg"),
        ("link", "folders", f"{folder}/o"),
        ("other_ending", "", f"{folder}/sub/c"),
        ("other_ending", ".mp4", photo_uri(folder / odd)),
        ("other_ending", ".nef", f"{folder}/M\u00fcll/d.nef"),
        ("other_ending", ".nef", f"{folder}/b.NEF"),
    ]
    assert named(folder, exclude=("small_*",)) == expected
    assert named(folder, folder / "sub", folder / "a.jpg", exclude=("small_*",)) == expected
    in_pattern = named(f"{folder}/[!e]*", exclude=("small_*",))
    assert {uri for _, _, uri in in_pattern} >= {f"{folder}/sub/c", f"{folder}/b.NEF"}
    assert ("excluded", "small_*", f"{folder}/small_1.jpg") in in_pattern
    assert ("excluded", "@eaDir", f"{folder}/@eaDir/a.jpg/B.jpg") in in_pattern


def test_everything_that_is_passed_over_in_an_archive_or_a_store_is_named(tmp_path: Path) -> None:
    names = ("a.jpg", "s/b.nef", ".c.jpg", "@eaDir/d.jpg", "e.zip")
    path = write_tar(tmp_path / "a.tar", dict.fromkeys(names, b"x"))
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("l.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(link)
    kinds = [
        ("archive", ".zip", "e.zip"),
        ("excluded", "@eaDir", "@eaDir/d.jpg"),
        ("hidden", "photos", ".c.jpg"),
        ("other_ending", ".nef", "s/b.nef"),
    ]
    in_archive = [*kinds[:3], ("link", "photos", "l.jpg"), kinds[3]]
    assert named(path) == [(kind, what, f"tar://{n}::{path}") for kind, what, n in in_archive]
    store = fsspec.filesystem("memory")
    for name in names:
        store.pipe_file(f"/named/{name}", b"x")
    in_store = [(kind, what, f"memory:///named/{name}") for kind, what, name in kinds]
    assert named("memory://named") == in_store
    path.write_bytes(path.read_bytes()[:1024])
    assert named(path) == [("archive_end", "end mark missing", str(path))]


def test_a_pattern_that_excluded_no_photo_is_not_mentioned(tmp_path: Path) -> None:
    folder = touch(tmp_path, "@eaDir/notes.txt", "#recycle/a.jpg")
    with pytest.raises(WrongUsageError, match=r"excluded is what is in #recycle$"):
        list_photos([folder])


def test_what_is_named_as_a_source_is_not_passed_over(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a.jpg", "#recycle/deep/b.jpg", ".c/d.jpg", "e.txt")
    write_tar(tmp_path / "f.tar", {"g.jpg": b"x"})
    (tmp_path / "e.txt").write_text("a.jpg\n")
    sources = [folder, *(folder / name for name in ("#recycle", ".c", "e.txt", "f.tar"))]
    listing = list_photos(sources)
    assert len(listing.photos) == 4
    assert counts_of(listing.passed_over) == {}


def test_many_different_endings_are_counted_together_beyond_a_hundred() -> None:
    passed_over = PassedOver()
    for number in range(1000):
        passed_over.lists(f"a.x{number}")
    counts = counts_of(passed_over.table())["other_ending"]
    assert len(counts) == 101
    assert counts["others"] == 900


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ((), {"1.jpg", "1_small.jpg", "2019/raw/2.jpg", "raw/3.jpg", "2020/4.jpg", "Raw"}),
        (("raw",), {"1.jpg", "1_small.jpg", "2020/4.jpg"}),
        (("2019/raw",), {"1.jpg", "1_small.jpg", "raw/3.jpg", "2020/4.jpg", "Raw"}),
        (("/raw",), {"1.jpg", "1_small.jpg", "2019/raw/2.jpg", "2020/4.jpg"}),
        (("*/raw/",), {"1.jpg", "1_small.jpg", "raw/3.jpg", "2020/4.jpg", "Raw"}),
        (("**/RAW",), {"1.jpg", "1_small.jpg", "2020/4.jpg"}),
        (("*_SMALL.*", "20??"), {"1.jpg", "raw/3.jpg", "Raw"}),
    ],
)
def test_patterns_exclude_names_anywhere_and_paths_from_the_source_on(
    tmp_path: Path, patterns: tuple[str, ...], left: set[str]
) -> None:
    names = ("1.jpg", "1_small.jpg", "2019/raw/2.jpg", "raw/3.jpg", "2020/4.jpg")
    folder = touch(tmp_path / "photos", *names)
    expected = sorted(left - {"Raw"})
    assert listed(folder, exclude=patterns) == expected
    archive = write_tar(tmp_path / "a.tar", dict.fromkeys(names, b"x"))
    members = list_photos([archive], exclude=patterns).photos["uri"].to_pylist()
    assert members == [f"tar://{name}::{archive}" for name in expected]
    excluded = counts_of(list_photos([folder], exclude=patterns).passed_over).get("excluded", {})
    assert sum(excluded.values()) == len(names) - len(expected)
    store = fsspec.filesystem("memory")
    for name in names:
        store.pipe_file(f"/excluded/{name}", b"x")
    objects = list_photos(["memory://excluded"], exclude=patterns).photos["uri"].to_pylist()
    assert objects == [f"memory:///excluded/{name}" for name in expected]


def test_thumbnails_and_bins_are_excluded_unless_they_are_named(tmp_path: Path) -> None:
    folder = touch(
        tmp_path,
        *("a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "sub/@EADIR/b.jpg", "#recycle/c.jpg"),
        *("$Recycle.Bin/S-1/d.jpg", "Pictures.photoslibrary/resources/derivatives/1/e.jpeg"),
        *("Pictures.photoslibrary/originals/1/f.jpeg", "appdata_oc1/preview/g.jpg", "#recycle.jpg"),
    )
    listing = list_photos([folder])
    assert listed(folder) == [
        "#recycle.jpg",
        "Pictures.photoslibrary/originals/1/f.jpeg",
        "a.jpg",
    ]
    assert counts_of(listing.passed_over) == {
        "excluded": {
            "#recycle": 1,
            "$RECYCLE.BIN": 1,
            "**/appdata_*/preview": 1,
            "**/resources/derivatives": 1,
            "@eaDir": 2,
        }
    }
    assert listed(folder / "#recycle") == ["c.jpg"]
    assert [Path(uri).name for uri in list_photos([f"{folder}/*"]).photos["uri"].to_pylist()] == [
        "#recycle.jpg",
        "f.jpeg",
        "a.jpg",
    ]


def test_the_folders_that_are_excluded_by_default_are_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "embed.md").read_text()
    for pattern in EXCLUDED_FOLDERS:
        assert f"`{pattern}`" in text, pattern


def test_an_empty_pattern_is_refused(tmp_path: Path) -> None:
    for pattern in ("", "/"):
        with pytest.raises(WrongUsageError, match="a pattern to exclude is empty"):
            list_photos([touch(tmp_path, "a.jpg")], exclude=(pattern,))


def test_photos_excluded_now_are_told_apart_from_those_that_vanished(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a.jpg", "@eaDir/b.jpg")
    listing = list_photos([folder])
    uris = pa.array([f"{folder}/{name}" for name in ("@eaDir/b.jpg", "c.jpg", "a.jpg")])
    assert listing.covers(uris).to_pylist() == [True, True, True]
    assert listing.excludes(uris).to_pylist() == [True, False, False]


@pytest.mark.parametrize("marker", [".keep", "notes.txt", "@eaDir/x.jpg", "deep/er/.stfolder"])
def test_nothing_is_concluded_about_a_folder_without_photos(tmp_path: Path, marker: str) -> None:
    folder = touch(tmp_path, "2019/a.jpg", f"2020/{marker}", "2021/deep/b.jpg", "2021/c/.x")
    listing = list_photos([folder])
    gone = [f"{folder}/{name}" for name in ("2020/deep/er/x.jpg", "2021/c/y.jpg", "2021/z.jpg")]
    asked = pa.array([*gone, f"{folder}/2018/q.jpg"])
    assert listing.covers(asked).to_pylist() == [False, False, True, True]
    assert listing.skipped_folders(asked) == {f"{folder}/2020": 1, f"{folder}/2021/c": 1}


def test_nothing_is_concluded_about_a_remote_folder_without_photos() -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/mounts/2019/a.jpg", b"x")
    store.pipe_file("/mounts/2020/.keep", b"x")
    listing = list_photos(["memory://mounts"])
    gone = pa.array([f"memory:///mounts/{name}.jpg" for name in ("2020/b", "2019/c", "2018/d")])
    assert listing.covers(gone).to_pylist() == [False, True, True]


def test_archives_in_a_folder_are_named_where_there_is_no_photo(tmp_path: Path) -> None:
    touch(tmp_path / "one", "1.tar")
    touch(tmp_path / "two", "1.zip", "2.zip", "a.nef")
    touch(tmp_path / "none", "a.nef", "b.nef", "c")
    with pytest.raises(WrongUsageError, match=r"but 1 archive: name it, or .*one/\*\.tar'"):
        list_photos([tmp_path / "one"])
    with pytest.raises(WrongUsageError, match=r"but 2 archives: name them, or .*two/\*\.zip'"):
        list_photos([tmp_path / "two"])
    with pytest.raises(WrongUsageError, match=r"with other endings: 1 \(none\), 2 \.nef"):
        list_photos([tmp_path / "none"])


def test_a_pattern_takes_the_archives_that_it_matches(tmp_path: Path) -> None:
    for number in (1, 2):
        write_tar(tmp_path / f"{number}.tar", {f"{number}.jpg": b"x", "notes.txt": b"x"})
    listing = list_photos([f"{tmp_path}/*.tar"])
    assert listing.photos["uri"].to_pylist() == [
        f"tar://{number}.jpg::{tmp_path}/{number}.tar" for number in (1, 2)
    ]
    assert counts_of(listing.passed_over) == {"other_ending": {".txt": 2}}
    assert listing.roots == ()


def test_tars_written_one_behind_the_other_are_read_to_the_end(tmp_path: Path) -> None:
    parts = [write_tar(tmp_path / f"{n}.tar", {f"{n}.jpg": b"x"}).read_bytes() for n in range(3)]
    (tmp_path / "all.tar").write_bytes(b"".join(parts))
    listing = list_photos([tmp_path / "all.tar"])
    assert listing.photos["uri"].to_pylist() == [
        f"tar://{number}.jpg::{tmp_path}/all.tar" for number in range(3)
    ]
    assert counts_of(listing.passed_over) == {}
    (tmp_path / "rest.tar").write_bytes(parts[0] + b"something else" * 100)
    listing = list_photos([tmp_path / "rest.tar"])
    assert len(listing.photos) == 1
    assert counts_of(listing.passed_over) == {
        "archive_end": {"followed by bytes that are no member": 1}
    }


def test_a_tar_without_an_end_mark_is_read_and_its_missing_photos_have_not_vanished(
    tmp_path: Path,
) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "2.jpg": b"x"})
    path.write_bytes(path.read_bytes()[:1024])
    listing = list_photos([path])
    assert listing.photos["uri"].to_pylist() == [f"tar://1.jpg::{path}"]
    assert counts_of(listing.passed_over) == {"archive_end": {"end mark missing": 1}}
    assert listing.covers(pa.array([f"tar://2.jpg::{path}"])).to_pylist() == [False]


def test_links_to_photos_in_archives_are_counted(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"a.jpg": b"x"})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for kind, name in ((tarfile.LNKTYPE, "b.jpg"), (tarfile.SYMTYPE, "c.jpg")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "a.jpg"
            tar.addfile(link)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", b"x")
        link_info = zipfile.ZipInfo("b.jpg")
        link_info.external_attr = 0o120777 << 16
        archive.writestr(link_info, "a.jpg")
    for name, count in (("a.tar", 2), ("a.zip", 1)):
        listing = list_photos([tmp_path / name])
        assert len(listing.photos) == 1
        assert counts_of(listing.passed_over) == {"link": {"photos": count}}
    touch(tmp_path / "folder", ".x")
    (tmp_path / "folder" / "link").symlink_to(tmp_path)
    with pytest.raises(WrongUsageError, match="1 link is not followed"):
        list_photos([tmp_path / "folder"])


def test_a_default_exclusion_finds_folders_and_no_files() -> None:
    passed_over = PassedOver(Exclusion())
    assert passed_over.pattern_of("@eaDir/") == "@eaDir"
    assert passed_over.pattern_of("a/trashbox/b/") == "trashbox"
    assert passed_over.pattern_of("trashbox") is None
    assert passed_over.pattern_of("my@eaDir/") is None
