"""`facetrove embed`: what it prints, its exit codes, and what it leaves in the dataset."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest

from faces.models.registry import load_pipeline
from tests.support.command import (
    ONE_WORKER,
    require_message,
    run_facetrove,
    without_times,
)
from tests.support.parts import write


@pytest.mark.slow
def test_rejected_photos_are_counted_and_do_not_fail_the_job(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(demo_photos / "biden.jpg", photos)
    (photos / "empty.jpg").touch()
    (photos / "text.jpg").write_text("text")
    finished = run_facetrove("embed", photos, tmp_path / "d")
    assert finished.returncode == 0
    assert without_times(finished.stdout)[:3] == [
        "embedded 1 face of 3 photos",
        "  1 photo rejected: empty_file",
        "  1 photo rejected: unsupported_format",
    ]


def test_embedding_into_a_dataset_of_another_model_is_refused(
    tmp_path: Path, demo_photos: Path
) -> None:
    other = replace(load_pipeline().contract, embedder="facenet")
    write(tmp_path / "d", other, {"a": 1})
    require_message(
        *("embed", demo_photos, tmp_path / "d", "--embedder", "sface"),
        exit_code=1,
        says=["yunet+sface", "yunet+facenet", "embed it into a new dataset", "facetrove embed "],
    )


def test_an_embedder_that_does_not_exist_is_refused_with_the_names_there_are(
    tmp_path: Path, demo_photos: Path
) -> None:
    require_message(
        *("embed", demo_photos, tmp_path / "d", "--embedder", "facenet"),
        exit_code=2,
        says=["no embedder is called 'facenet'", "sface"],
    )


def test_a_dataset_folder_that_cannot_be_made_is_named(tmp_path: Path, demo_photos: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    require_message(
        *("embed", demo_photos, tmp_path / "file" / "d"), exit_code=1, says=[str(tmp_path / "file")]
    )


def test_a_dry_run_counts_new_photos_and_changes_nothing(
    tmp_path: Path, demo_photos: Path, demo_dataset: Path
) -> None:
    finished = run_facetrove("embed", "--dry-run", demo_photos, tmp_path / "d")
    assert finished.stdout.splitlines() == ["9 photos found", "  9 new"]
    assert not (tmp_path / "d").exists()
    dataset = tmp_path / "copy"
    shutil.copytree(demo_dataset, dataset)
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    finished = run_facetrove("embed", "--dry-run", demo_photos, dataset, "--json")
    assert json.loads(finished.stdout) == {
        "num_photos": 9,
        "num_new": 0,
        "num_changed": 0,
        "num_retried": 0,
        "num_unchanged": 9,
        "num_out_of_reach": 0,
        "num_vanished": 0,
        "num_excluded": 0,
        "num_below_gone": 0,
        "num_kept": {},
        "passed_over": {},
        "num_gone": 0,
        "open_dates": [],
    }
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


@pytest.mark.slow
def test_info_describes_a_run_over_folders_photo_lists_and_archives(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos, dataset = tmp_path / "photos", tmp_path / "d"
    photos.mkdir()
    shutil.copy(demo_photos / "biden.jpg", photos / "joe.jpg")
    (photos / "people.csv").write_text("path,person\njoe.jpg,Joe\n")
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with tarfile.open(tmp_path / "more.tar", "w", dereference=True) as archive:
        archive.add(demo_photos / "biden.jpg", "same.jpg")
        archive.add(demo_photos / "coffee.png", "coffee.png")
    sources = (photos, photos / "people.csv", tmp_path / "more.tar")
    finished = run_facetrove("embed", *sources, dataset, "--min-face", "50")
    assert without_times(finished.stdout) == [
        "embedded 1 face of 4 photos",
        "  1 photo without a face",
        "  1 photo with the same content as another, not embedded again",
        "  1 photo rejected: corrupt",
        f"{dataset} holds 1 face of 4 photos",
    ]
    lines = run_facetrove("info", dataset).stdout.splitlines()
    assert lines[0] == f"{dataset} holds 1 face of 4 photos"
    assert "made by yunet and sface-int8 (128 dimensions, arcface-112 crops)" in lines
    assert "faces kept: min_face 50" in lines
    assert any("person (string)" in line for line in lines)
    assert any(line.startswith("1 run finished; the last began ") for line in lines)
    assert run_facetrove("info", dataset, "--rejected").stdout == f"corrupt\t{photos}/bad.jpg\n"
    report = json.loads(run_facetrove("info", dataset, "--json").stdout)
    assert (report["num_photos"], report["num_faces"], report["num_copies"]) == (4, 1, 1)
    assert report["runs"][0]["stage_seconds"]["embed"] > 0
    (rejected,) = json.loads(run_facetrove("info", dataset, "--rejected", "--json").stdout)[
        "rejected"
    ]
    assert rejected == {"reason": "corrupt", "uri": f"{photos}/bad.jpg"}
    require_message(
        *("embed", photos, dataset, "--min-face", "80"),
        exit_code=2,
        says=["other limits for faces"],
    )


@pytest.mark.lasting
@pytest.mark.slow
def test_a_missing_disk_leaves_all_photos_in_the_dataset(tmp_path: Path, demo_photos: Path) -> None:
    disk, dataset = tmp_path / "disk", tmp_path / "d"
    shutil.copytree(demo_photos, disk / "inner")
    run_facetrove("embed", disk, demo_photos, dataset, *ONE_WORKER)
    shutil.rmtree(disk / "inner")
    require_message(
        *("embed", disk, demo_photos, dataset, "--drop-vanished"),
        exit_code=2,
        says=[f"no photos under {disk}"],
    )
    (disk / "inner").mkdir()
    shutil.copy(demo_photos / "biden.jpg", disk)
    finished = run_facetrove("embed", disk, demo_photos, dataset, "--drop-vanished", *ONE_WORKER)
    assert "dropped" not in finished.stdout
    assert f"{dataset} holds 7 faces of 19 photos" in finished.stdout


@pytest.mark.slow
def test_photos_rejected_as_too_large_are_tried_again_when_the_limit_changes(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos, dataset = demo_photos / "biden.jpg", tmp_path / "d"
    run_facetrove("embed", photos, dataset, "--max-pixels", "1000")
    assert run_facetrove("info", dataset, "--rejected").stdout.startswith("too_large")
    again = run_facetrove("embed", photos, dataset, "--max-pixels", "1000")
    assert "nothing is new" in again.stdout
    header = json.loads((dataset / "dataset.json").read_text())
    header["limits"] = None  # as a stopped run with other limits leaves it
    (dataset / "dataset.json").write_text(json.dumps(header))
    assert (
        "1 photo rejected" in run_facetrove("embed", photos, dataset, "--max-pixels", "1000").stdout
    )
    assert "embedded 1 face of 1 photo" in run_facetrove("embed", photos, dataset).stdout


@pytest.mark.slow
def test_a_run_counts_the_faces_it_embedded_itself(tmp_path: Path, demo_photos: Path) -> None:
    photos, dataset = tmp_path / "biden.jpg", tmp_path / "d"
    shutil.copy(demo_photos / "biden.jpg", photos)
    run_facetrove("embed", photos, dataset, "--embedder", "sface")
    os.utime(photos, ns=(1, 1))
    finished = run_facetrove("embed", photos, dataset)  # keeps to the dataset's own embedder
    assert without_times(finished.stdout)[0] == "embedded 0 faces of 1 photo"


@pytest.mark.lasting
@pytest.mark.slow
def test_vanished_photos_stay_until_they_are_dropped(tmp_path: Path, demo_photos: Path) -> None:
    photos, dataset, index = tmp_path / "photos", tmp_path / "d", tmp_path / "i"
    shutil.copytree(demo_photos, photos)
    shutil.copy(photos / "biden.jpg", photos / "zz-copy.jpg")
    run_facetrove("embed", photos, dataset)
    (photos / "biden.jpg").unlink()
    (photos / "obama2.jpg").unlink()
    finished = run_facetrove("embed", photos, dataset)
    assert "2 photos of the dataset vanished: not found any more" in finished.stdout
    assert f"{dataset} holds 7 faces of 10 photos" in finished.stdout
    finished = run_facetrove("embed", photos, dataset, "--drop-vanished")
    assert "dropped 2 photos that vanished" in finished.stdout
    assert f"{dataset} holds 6 faces of 8 photos" in finished.stdout  # Biden is in the copy still
    assert "nothing is new" in run_facetrove("embed", photos, dataset).stdout
    run_facetrove("index", dataset, index)
    found = json.loads(
        run_facetrove("search", index, photos / "zz-copy.jpg", "-k", "6", "--json").stdout
    )
    matches = found["probes"][0]["matches"]
    assert (matches[0]["uri"], matches[0]["also_at"]) == (str(photos / "zz-copy.jpg"), [])
    assert not any("obama2" in match["uri"] for match in matches)
    shutil.copy(demo_photos / "obama2.jpg", photos)
    assert "holds 7 faces of 9 photos" in run_facetrove("embed", photos, dataset).stdout


@pytest.mark.slow
def test_what_is_passed_over_is_counted_in_the_summary_and_by_info(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos, dataset = tmp_path / "photos", tmp_path / "d"
    (photos / "@eaDir").mkdir(parents=True)
    shutil.copy(demo_photos / "biden.jpg", photos)
    shutil.copy(demo_photos / "biden.jpg", photos / "small_1.jpg")
    shutil.copy(demo_photos / "coffee.png", photos / "@eaDir")
    for name in ("1.nef", "2.NEF", "film.mp4", "old.zip", ".b.jpg"):
        (photos / name).touch()
    said = [
        "  3 files passed over, with other endings than photos: .nef 2, .mp4 1",
        "  1 archive in folders passed over (name them to take their photos): .zip 1",
        "  2 photos excluded: @eaDir 1, small_* 1",
        "  1 name that begin with a dot passed over: photos 1",
    ]
    finished = run_facetrove("embed", photos, dataset, "--exclude", "small_*", *ONE_WORKER)
    assert without_times(finished.stdout)[1:-1] == said
    assert finished.stdout.splitlines()[-1].endswith("holds 1 face of 1 photo")
    info = run_facetrove("info", dataset).stdout.splitlines()
    assert info[-4:] == said
    document = json.loads(run_facetrove("info", dataset, "--json").stdout)
    assert (
        document["passed_over"]
        == document["runs"][-1]["found"]["passed_over"]
        == {
            "archive": {".zip": 1},
            "excluded": {"@eaDir": 1, "small_*": 1},
            "hidden": {"photos": 1},
            "other_ending": {".mp4": 1, ".nef": 2},
        }
    )
    names = ["archive\t.zip\told.zip", "excluded\t@eaDir\t@eaDir/coffee.png"]
    names += ["excluded\tsmall_*\tsmall_1.jpg", "hidden\tphotos\t.b.jpg"]
    names += [f"other_ending\t{name}" for name in (".mp4\tfilm.mp4", ".nef\t1.nef", ".nef\t2.NEF")]
    asked = ("info", dataset, "--list", "passed-over")
    rows = [dict(zip(("kind", "label", "uri"), line.split("\t"), strict=True)) for line in names]
    rows = [{**row, "uri": f"{photos}/{row['uri']}"} for row in rows]
    listed = ["\t".join(row.values()) for row in rows]
    assert run_facetrove(*asked).stdout.splitlines() == listed
    assert json.loads(run_facetrove(*asked, "--json").stdout) == {
        "dataset": str(dataset),
        "passed_over": rows,
    }
    assert run_facetrove(*asked, "--csv").stdout.splitlines()[:2] == [
        "kind,label,uri",
        f"archive,.zip,{photos}/old.zip",
    ]
    # A run that finds nothing new replaces the names, and info counts what they name.
    (photos / "old.zip").unlink()
    again = run_facetrove("embed", photos, dataset, "--exclude", "small_*", *ONE_WORKER).stdout
    assert "nothing is new" in again
    assert run_facetrove("info", dataset).stdout.splitlines()[-3:] == [said[0], *said[2:]]
    assert run_facetrove(*asked).stdout.splitlines() == listed[1:]


@pytest.mark.slow
def test_photos_that_are_excluded_now_are_dropped_on_request(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos, dataset = tmp_path / "photos", tmp_path / "d"
    shutil.copytree(demo_photos, photos)
    run_facetrove("embed", photos, dataset, *ONE_WORKER)
    options = ("embed", photos, dataset, "--exclude", "obama*")
    assert "4 photos of the dataset would be passed over now" in run_facetrove(*options).stdout
    finished = run_facetrove(*options, "--drop-vanished")
    assert "dropped 4 photos that vanished" in finished.stdout
    assert finished.stdout.splitlines()[-1].endswith("of 5 photos")


@pytest.mark.slow
def test_a_folder_without_photos_keeps_its_rows_until_they_are_to_be_dropped(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos, dataset = tmp_path / "nas", tmp_path / "d"
    shutil.copytree(demo_photos, photos / "2019")
    (photos / "2020").mkdir()
    (photos / "2019" / "biden.jpg").rename(photos / "2020" / "biden.jpg")
    run_facetrove("embed", photos, dataset, *ONE_WORKER)
    (photos / "2020" / "biden.jpg").rename(tmp_path / "biden.jpg")
    (photos / "2020" / ".not-mounted").touch()
    finished = run_facetrove("embed", photos, dataset, "--drop-vanished")
    assert finished.returncode == 0
    assert f"1 photo below {photos}/2020, where no photo is now, kept" in finished.stdout
    assert finished.stdout.splitlines()[-1].endswith("of 9 photos")
    assert f"(`facetrove drop {dataset} --below {photos}/2020` removes them)" in finished.stdout
    kept = run_facetrove("embed", photos, dataset, "--drop-below", photos / "2019")
    assert kept.stdout.splitlines()[-1].endswith("of 9 photos")
    # `embed --drop-below` is the earlier name of `drop --below`.
    again = shutil.copytree(dataset, tmp_path / "again")
    dropped = run_facetrove("embed", photos, dataset, "--drop-below", photos / "2020")
    assert "dropped 1 photo" in dropped.stdout
    assert dropped.stdout.splitlines()[-1].endswith("of 8 photos")
    dropped = run_facetrove("drop", again, "--below", photos / "2020", "--yes")
    assert "dropped 1 photo" in dropped.stdout


@pytest.mark.slow
@pytest.mark.parametrize("date", [15_031_526_400, -15_000_000_000])
def test_a_photo_of_any_date_is_embedded_and_unchanged_in_the_next_run(
    tmp_path: Path, demo_photos: Path, date: int
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(demo_photos / "biden.jpg", photos)
    with tarfile.open(tmp_path / "a.tar", "w", dereference=True) as archive:
        archive.add(demo_photos / "coffee.png", "coffee.png")
    (tmp_path / "list.txt").write_text("photos/biden.jpg\n")
    for path in (photos / "biden.jpg", tmp_path / "a.tar"):
        os.utime(path, (date, date))
        if path.stat().st_mtime != date:
            pytest.skip("the file system has no such dates")
    sources = (photos, tmp_path / "a.tar", tmp_path / "list.txt", f"{photos}/*")
    finished = run_facetrove("embed", *sources, tmp_path / "d", *ONE_WORKER)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1].endswith("holds 1 face of 2 photos")
    again = run_facetrove("embed", *sources, tmp_path / "d", "--dry-run")
    assert again.stdout.splitlines() == ["2 photos found", "  2 already in the dataset"]


@pytest.mark.slow
def test_photos_that_are_read_in_part_are_counted(tmp_path: Path, demo_photos: Path) -> None:
    photos, dataset = tmp_path / "photos", tmp_path / "d"
    photos.mkdir()
    content = (demo_photos / "biden.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(content[:-2])
    (photos / "copy.jpg").write_bytes(content[:-2])
    with PIL.Image.open(demo_photos / "obama2.jpg") as picture:
        blank = PIL.Image.new("RGB", (400, 300), "white")
        blank.save(photos / "album.tif", save_all=True, append_images=[picture.convert("RGB")])
    finished = run_facetrove("embed", photos, dataset, *ONE_WORKER)
    said = [
        "  1 photo with further pages or frames, of which only the first is looked at",
        "  2 photos whose files end early, so that the end of the picture may be missing",
    ]
    assert finished.stdout.splitlines()[3:-1] == said
    (photos / "third.jpg").write_bytes(content[:-2])  # a copy of what is in the dataset
    said[1] = said[1].replace("2", "3")
    run_facetrove("embed", photos, dataset, *ONE_WORKER)
    assert run_facetrove("info", dataset).stdout.splitlines()[3:5] == said
    document = json.loads(run_facetrove("info", dataset, "--json").stdout)
    assert document["by_partly_read"] == {"cut_short": 3, "further_pages": 1}


def test_a_column_of_open_dates_is_warned_of_until_its_order_is_said(
    tmp_path: Path, demo_photos: Path
) -> None:
    people = tmp_path / "people.csv"
    people.write_text(f"path,Date\n{demo_photos / 'biden.jpg'},03.04.1996\n")
    warning = f"warning: {people}: Date stays text"
    finished = run_facetrove("embed", people, tmp_path / "d", "--dry-run")
    assert finished.returncode == 0 and warning in finished.stdout
    assert "--date-order day or --date-order month" in finished.stdout
    as_json = run_facetrove("embed", people, tmp_path / "d", "--dry-run", "--json")
    assert json.loads(as_json.stdout)["open_dates"] == [f"{people}: Date"]
    said = run_facetrove("embed", people, tmp_path / "d", "--dry-run", "--date-order", "day")
    assert said.returncode == 0 and "warning" not in said.stdout
