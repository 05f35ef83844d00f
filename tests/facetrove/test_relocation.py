"""Photos that have moved: rows, labels, copies, deletions and indexes follow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

import facetrove as ft
from tests.support.command import ONE_WORKER, require_message, run_facetrove


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """A folder with photos, a list, an archive, a dataset and an index of them.

    One photo is a copy of another that does not move, one cannot be read, one has a name that is
    not valid Unicode.
    """
    folder = tmp_path_factory.mktemp("library")
    (folder / "old" / "deep").mkdir(parents=True)
    (folder / "old2").mkdir()
    for name in ("biden.jpg", "obama2.jpg"):
        shutil.copy2(demo_photos / name, folder / "old" / "deep" / name)
    shutil.copy2(demo_photos / "biden.jpg", folder / "old2" / "copy.jpg")
    shutil.copy2(demo_photos / "grace_hopper.jpg", bytes(folder / "old") + b"/caf\xe9.jpg")
    (folder / "old" / "broken.jpg").write_text("text")
    with tarfile.open(folder / "old" / "a.tar", "w", dereference=True) as archive:
        archive.add(demo_photos / "obama3.jpg", "x/obama3.jpg")
    (folder / "people.csv").write_text(
        "path,person\nold/deep/biden.jpg,Joe\nold/deep/obama2.jpg,Barack\nold2/copy.jpg,\n"
    )
    sources = [folder / "old", folder / "old2", folder / "old/a.tar", folder / "people.csv"]
    finished = run_facetrove("embed", *sources, folder / "d", *ONE_WORKER)
    assert finished.returncode == 0, finished.stderr
    ft.build_index(folder / "d", folder / "i")
    return folder


@pytest.fixture
def library(embedded: Path, tmp_path: Path) -> Path:
    """A dataset and an index of their own to change."""
    shutil.copytree(embedded / "d", tmp_path / "d")
    shutil.copytree(embedded / "i", tmp_path / "i")
    return tmp_path


def rows_of(dataset: Path, old: Path, new: Path) -> list[dict[str, Any]]:
    """Return what a dataset says of its photos, with one place for another, but not of parts."""
    photos = ft.open_dataset(dataset).photos().sort_by("uri")
    rows = photos.drop_columns(["part", "faces_part", "is_copy", "picture_hash"]).to_pylist()
    for row in rows:
        row["uri"] = moved(row["uri"], old, new)
    return sorted(rows, key=lambda row: str(row["uri"]))


def moved(uri: str, old: Path, new: Path) -> str:
    return uri.replace(f"{old}/", f"{new}/") if f"{old}/" in uri else uri


def faces_in(index: Path) -> dict[str, tuple[str, list[str], str | None]]:
    """Return uri, other uris and person of every face of an index, by face_id."""
    searcher = ft.open_index(index)
    probes = ft.open_dataset(index.parent / "d").embeddings()[:1]
    (matches,) = searcher.search_embeddings(probes, min_similarity=-1)
    return {m.face_id: (m.uri, list(m.also_at), m.metadata.get("person")) for m in matches}


@pytest.mark.slow
def test_everything_of_the_photos_follows_and_no_photo_is_read(
    embedded: Path, library: Path
) -> None:
    """The photos are at neither place that is named, so nothing could read them."""
    old, new = embedded / "old", library / "new"
    before, indexed = rows_of(embedded / "d", old, new), faces_in(library / "i")
    relocation = ft.relocate(library / "d", old, new, indexes=library / "i")
    assert (relocation.num_photos, relocation.num_known) == (5, 0)
    assert (relocation.num_looked_for, relocation.num_found) == (5, 0)
    assert rows_of(library / "d", old, new) == before
    after = faces_in(library / "i")
    expected = {}
    for face_id, (uri, also_at, person) in indexed.items():
        first, *others = sorted(moved(each, old, new) for each in (uri, *also_at))
        expected[face_id] = (first, others, person)
    assert after == expected
    assert any("/caf%E9.jpg" in uri for uri, _, _ in after.values())
    assert any(uri.startswith("tar://x/obama3.jpg::") for uri, _, _ in after.values())
    assert ft.verify_index(library / "i", library / "d").problems == ()
    again = ft.relocate(library / "d", old, new, indexes=[library / "i"])
    assert (again.num_photos, again.num_there_already) == (0, 5)
    assert faces_in(library / "i") == after


def test_the_next_run_finds_the_moved_photos_unchanged(embedded: Path, library: Path) -> None:
    shutil.copytree(embedded / "old", library / "new")
    ft.relocate(library / "d", embedded / "old", library / "new")
    for sources in ([library / "new"], [library / "new", library / "new" / "a.tar"]):
        found = ft.plan_embedding(sources, library / "d")
        assert (found.num_new, found.num_changed, found.num_vanished) == (0, 0, 0)
        assert found.num_unchanged == len(sources) + 3


def test_photos_embedded_at_the_new_place_before_have_the_labels_of_both(
    embedded: Path, library: Path
) -> None:
    new = library / "new"
    shutil.copytree(embedded / "old" / "deep", new / "deep")
    (new / "deep" / "obama2.jpg").write_bytes((embedded / "old/deep/biden.jpg").read_bytes())
    (library / "list.csv").write_text("path,person\nnew/deep/obama2.jpg,Somebody\n")
    finished = run_facetrove("embed", new, library / "list.csv", library / "d", *ONE_WORKER)
    assert finished.returncode == 0, finished.stderr
    relocation = ft.relocate(library / "d", embedded / "old", new)
    assert (relocation.num_photos, relocation.num_known) == (5, 2)
    photos = ft.open_dataset(library / "d").photos(["person"]).to_pylist()
    by_uri = {row["uri"]: row for row in photos}
    assert not any(f"{embedded}/old/" in uri for uri in by_uri)
    biden, other = by_uri[f"{new}/deep/biden.jpg"], by_uri[f"{new}/deep/obama2.jpg"]
    assert biden["person"] == "Joe"
    assert other["person"] == "Somebody"
    assert other["photo_id"] == biden["photo_id"]  # what was read there holds


def test_deletions_follow_and_a_purge_leaves_nothing_of_the_old_place(
    embedded: Path, library: Path
) -> None:
    old, new = embedded / "old", library / "new"
    ft.delete_faces(library / "d", library / "i", where="person = 'Barack'")
    ft.relocate(library / "d", old, new, indexes=library / "i")
    assert "Barack" not in {person for _, _, person in faces_in(library / "i").values()}
    nothing = ft.plan_deletion(library / "d", library / "i", where=f"contains(uri, '{old}/')")
    assert nothing.num_faces == 0
    there = ft.plan_deletion(library / "d", library / "i", where=f"contains(uri, '{new}/')")
    assert there.num_faces >= 2
    indexed = faces_in(library / "i")
    ft.purge(library / "d", library / "i")
    assert faces_in(library / "i") == indexed
    ft.build_index(library / "d", library / "i", rebuild=True)
    assert faces_in(library / "i") == indexed
    parts = b"".join(path.read_bytes() for path in (library / "d").rglob("*.parquet"))
    assert len(ft.open_dataset(library / "d").photos()) == 5
    assert bytes(old / "deep") not in parts


def test_a_relocation_that_is_stopped_anywhere_is_finished_by_the_same_call(
    embedded: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = embedded / "old", library / "new"
    shutil.copytree(library, library / "whole")
    ft.relocate(library / "whole" / "d", old, new)
    ft.build_index(library / "whole" / "d", library / "whole" / "i")
    rows, indexed = rows_of(library / "whole/d", old, new), faces_in(library / "whole/i")
    shutil.rmtree(library / "whole")
    shutil.rmtree(library / "d")
    shutil.rmtree(library / "i")
    rename, num_stops, is_done = os.rename, 0, False
    while not is_done:
        shutil.copytree(embedded / "d", library / "d")
        shutil.copytree(embedded / "i", library / "i")
        left = num_stops

        def stopping(*names: str, **folders: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            rename(*names, **folders)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", stopping)
            try:
                ft.relocate(library / "d", old, new, indexes=[])
                is_done = True
            except KeyboardInterrupt:
                is_done = False
        assert len(ft.open_dataset(library / "d").photos()) == len(rows)
        ft.relocate(library / "d", old, new)
        ft.build_index(library / "d", library / "i")
        assert rows_of(library / "d", old, new) == rows
        assert faces_in(library / "i") == indexed
        shutil.rmtree(library / "d")
        shutil.rmtree(library / "i")
        num_stops += 1
    assert num_stops > 3


def test_the_command_says_how_many_rows_move(embedded: Path, library: Path) -> None:
    old, new = embedded / "old", library / "new"
    names = (library / "d", old, new)
    preview = run_facetrove("relocate", *names, "--dry-run")
    assert preview.stdout.splitlines() == [
        f"would relocate 5 photos from {old} to {new}",
        "  of 5 photos looked for at the new place, 0 are there now: check it, and that its disk "
        "is there",
    ]
    document = json.loads(run_facetrove("relocate", *names, "--dry-run", "--json").stdout)
    assert (document["num_photos"], document["dry_run"]) == (5, True)
    shutil.copytree(old, new)
    finished = run_facetrove("relocate", *names, library / "i")
    assert finished.stdout.splitlines() == [
        f"relocated 5 photos from {old} to {new}",
        f"{library}/i is up to date",
    ]
    again = run_facetrove("relocate", *names, library / "i")
    assert again.returncode == 0
    assert again.stdout.splitlines()[:2] == [
        f"relocated 0 photos from {old} to {new}",
        "  5 photos already at the new place",
    ]


def test_a_relocation_that_cannot_be_is_refused(embedded: Path, library: Path) -> None:
    old = embedded / "old"
    for arguments, says in (
        ((library / "d", "/nowhere", "/no/where"), ["has no photo in /nowhere, nor in /no/where"]),
        ((library / "d", old, old / "inside"), ["lies in", "a name that does not exist first"]),
        ((library / "d", old, old), ["lies in"]),
        ((library / "d", "/", "/x"), ["holds everything"]),
        ((library / "d", old, "/new", library / "d"), ["is a dataset"]),
        ((library / "x", old, "/new"), ["does not exist"]),
    ):
        require_message("relocate", *arguments, exit_code=2, says=says)


@pytest.mark.slow
def test_an_index_of_another_dataset_is_refused(
    embedded: Path, library: Path, demo_dataset: Path
) -> None:
    arguments = ("relocate", library / "d", embedded / "old", "/new")
    ft.build_index(demo_dataset, library / "other")
    says = [f"was built from {demo_dataset}", "leave it out"]
    require_message(*arguments, library / "other", exit_code=2, says=says)
    assert ft.plan_relocation(*arguments[1:]).num_photos == 5


@pytest.mark.slow
def test_what_moved_up_out_of_a_folder_of_the_same_name_is_right(
    tmp_path: Path, demo_photos: Path
) -> None:
    """A new uri of one photo may be the old uri of another one."""
    (tmp_path / "p" / "p").mkdir(parents=True)
    shutil.copy2(demo_photos / "biden.jpg", tmp_path / "p" / "p" / "x.jpg")
    (tmp_path / "p" / "p" / "p").mkdir()
    shutil.copy2(demo_photos / "obama2.jpg", tmp_path / "p" / "p" / "p" / "x.jpg")
    run_facetrove("embed", tmp_path / "p", tmp_path / "d", *ONE_WORKER)
    before = ft.open_dataset(tmp_path / "d").photos().sort_by("uri")["photo_id"].to_pylist()
    ft.relocate(tmp_path / "d", tmp_path / "p" / "p", tmp_path / "p")
    after = ft.open_dataset(tmp_path / "d").photos().sort_by("uri")
    assert after["uri"].to_pylist() == [f"{tmp_path}/p/p/x.jpg", f"{tmp_path}/p/x.jpg"]
    assert after["photo_id"].to_pylist() == before


def test_relocating_needs_no_process_and_no_network(embedded: Path, library: Path) -> None:
    script = (
        "import sys, facetrove as ft\n"
        "ft.relocate(sys.argv[1], sys.argv[2], '/new')\n"
        "assert not {'apache_beam', 'onnxruntime', 'openvino', 'cv2'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-c", script, library / "d", embedded / "old"]
    subprocess.run(command, check=True, timeout=60)
