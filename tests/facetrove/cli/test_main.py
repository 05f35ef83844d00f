"""The command line as a user meets it: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import PIL.Image
import pytest

from faces.models.registry import load_pipeline
from facetrove.cli.main import cli
from tests.support.command import facetrove_command, require_message, run_facetrove
from tests.support.parts import write


def all_commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    """The names of every command, those of groups too."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from all_commands(command, *before, name)
        else:
            yield (*before, name)


@pytest.mark.parametrize("names", all_commands(cli), ids=" ".join)
def test_every_command_has_help_with_an_example_and_json(names: tuple[str, ...]) -> None:
    finished = run_facetrove(*names, "--help")
    assert finished.returncode == 0
    assert "Example" in finished.stdout
    assert f"  facetrove {' '.join(names)} " in finished.stdout
    assert "--json" in finished.stdout
    command: click.Command = cli
    for name in names:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help


def test_help_names_every_command_whole() -> None:
    finished = run_facetrove("--help")
    for name in cli.commands:
        assert f"\n  {name} " in finished.stdout
    assert "..." not in finished.stdout.split("Commands:")[1]  # no cut sentence
    assert run_facetrove("--version").stdout.startswith("facetrove 0.")


def without_times(output: str) -> list[str]:
    """Lines of a summary, less what it says about speed."""
    return [re.sub(r" in [\d,]+ s \([\d.,]+ photos/s\)$", "", line) for line in output.splitlines()]


@pytest.mark.slow
def test_the_three_actions_from_photos_to_answer(
    tmp_path: Path, demo_photos: Path, probe_photo: Path
) -> None:
    dataset, index, sheet = tmp_path / "d", tmp_path / "i", tmp_path / "sheet.jpg"
    embedded = run_facetrove("embed", demo_photos, dataset)
    assert (embedded.returncode, embedded.stderr) == (0, "")  # quiet when piped
    assert without_times(embedded.stdout) == [
        "embedded 7 faces of 9 photos",
        "  2 photos without a face",
        f"{dataset} holds 7 faces of 9 photos",
    ]
    again = json.loads(run_facetrove("embed", demo_photos, dataset, "--json").stdout)
    assert (again["found"]["num_photos"], again["found"]["num_unchanged"]) == (9, 9)
    assert again["total"]["by_status"] == {"embedded": 7, "no_face": 2}
    assert "nothing is new" in run_facetrove("embed", demo_photos, dataset).stdout
    indexed = run_facetrove("index", dataset, index)
    assert (indexed.returncode, indexed.stderr) == (0, "")
    assert f"{index} holds 7 faces" in indexed.stdout
    manifest = json.loads(run_facetrove("index", dataset, index, "--json").stdout)
    assert (manifest["num_faces"], manifest["version"]) == (7, 1)
    found = run_facetrove("search", index, probe_photo, "-k", "4", "--sheet", sheet)
    assert (found.returncode, found.stderr) == (0, "")
    rows = [line.split() for line in found.stdout.splitlines()[2:6]]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert all("obama" in row[-1] for row in rows)
    assert f"contact sheet: {sheet}" in found.stdout
    with PIL.Image.open(sheet) as picture:
        assert picture.width > 500
    answer = json.loads(run_facetrove("search", index, probe_photo, "-k", "2", "--json").stdout)
    (probe,) = answer["probes"]
    assert [match["rank"] for match in probe["matches"]] == [1, 2]
    assert probe["matches"][0].keys() >= {"similarity", "uri", "box", "face_id", "person"}
    assert probe["box"].keys() == {"x", "y", "width", "height"}


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


@pytest.mark.slow
def test_a_missing_or_empty_folder(tmp_path: Path) -> None:
    nowhere, empty = tmp_path / "nowhere", tmp_path / "empty"
    empty.mkdir()
    require_message(
        *("embed", nowhere, tmp_path / "d"), exit_code=2, says=[str(nowhere), "does not exist"]
    )
    require_message(*("embed", empty, tmp_path / "d"), exit_code=2, says=["no photos under"])
    assert not (tmp_path / "d").exists()
    require_message(
        *("index", nowhere, tmp_path / "i"), exit_code=2, says=[str(nowhere), "facetrove embed"]
    )
    require_message(
        *("search", nowhere, "x.jpg"), exit_code=2, says=[str(nowhere), "facetrove index"]
    )


def test_a_dataset_of_another_model(tmp_path: Path, demo_photos: Path) -> None:
    other = replace(load_pipeline().contract, embedder="facenet")
    write(tmp_path / "d", other, {"a": 1})
    require_message(
        *("embed", demo_photos, tmp_path / "d", "--embedder", "sface"),
        exit_code=1,
        says=["yunet+sface", "yunet+facenet", "name a new dataset"],
    )


def test_a_dataset_for_an_index_and_the_other_way_round(
    demo_dataset: Path, demo_index: Path, tmp_path: Path, demo_photos: Path
) -> None:
    require_message(
        *("search", demo_dataset, "x.jpg"), exit_code=2, says=["is a dataset; build its index"]
    )
    require_message(
        *("index", demo_index, tmp_path / "i"), exit_code=2, says=["is an index; name the dataset"]
    )
    require_message(
        *("search", demo_index, tmp_path / "nope.jpg"), exit_code=2, says=["does not exist"]
    )


def test_a_truncated_index_file(tmp_path: Path, demo_index: Path, probe_photo: Path) -> None:
    index = tmp_path / "i"
    shutil.copytree(demo_index, index)
    (vectors,) = index.glob("segments/*/vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:1000])
    require_message(
        *("search", index, probe_photo),
        exit_code=1,
        says=[str(vectors), "1000 bytes instead of", "build the index again"],
    )


def test_a_photo_with_no_face_and_k_larger_than_the_gallery(
    demo_index: Path, demo_photos: Path, tmp_path: Path
) -> None:
    coffee = demo_photos / "coffee.png"
    require_message(
        *("search", demo_index, coffee, "-k", "3"), exit_code=1, says=["no face was found", "try"]
    )
    require_message(
        *("search", demo_index, demo_photos / "biden.jpg", "-k", "11"),
        exit_code=2,
        says=["k is 11", "holds 7 faces", "ask for 1 to 7"],
    )
    require_message(
        *("search", demo_index, demo_photos / "biden.jpg", "--sheet", tmp_path / "sheet.doc"),
        exit_code=2,
        says=["sheet.doc", ".jpg"],
    )


def test_a_small_gallery_needs_no_k_and_a_reader_may_leave_early(
    demo_index: Path, probe_photo: Path
) -> None:
    answer = json.loads(run_facetrove("search", demo_index, probe_photo, "--json").stdout)
    assert len(answer["probes"][0]["matches"]) == 7
    reader, writer = os.pipe()
    os.close(reader)
    command = facetrove_command("search", demo_index, probe_photo, "--json")
    finished = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (finished.returncode, finished.stderr) == (1, b"")


def test_a_model_that_is_not_there(tmp_path: Path, demo_photos: Path) -> None:
    require_message(
        *("embed", demo_photos, tmp_path / "d", "--embedder", "facenet"),
        exit_code=2,
        says=["no embedder is called 'facenet'", "sface"],
    )


def test_a_folder_that_cannot_be_written(tmp_path: Path, demo_photos: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    require_message(
        *("embed", demo_photos, tmp_path / "file" / "d"), exit_code=1, says=[str(tmp_path / "file")]
    )


def test_unknown_options_and_missing_arguments_end_with_2() -> None:
    for arguments in (["embed"], ["embed", "--frobnicate", "a", "b"], ["nonsense"]):
        finished = run_facetrove(*arguments)
        assert finished.returncode == 2
        assert "Error: " in finished.stderr
        assert "Traceback" not in finished.stderr


def test_a_dry_run_says_what_there_is_to_do_and_does_nothing(
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
    }
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


@pytest.mark.slow
def test_photos_lists_and_archives_in_one_run_and_what_info_says_of_it(
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
        "  1 photo whose content was known already",
        "  1 photo rejected: damaged",
        f"{dataset} holds 1 face of 4 photos",
    ]
    lines = run_facetrove("info", dataset).stdout.splitlines()
    assert lines[0] == f"{dataset} holds 1 face of 4 photos"
    assert "made by yunet and sface-int8 (128 numbers a face, arcface-112 crops)" in lines
    assert "faces kept: min_face 50" in lines
    assert "columns of photo lists: person (string)" in lines
    assert any(line.startswith("1 run finished; the last began ") for line in lines)
    assert run_facetrove("info", dataset, "--rejected").stdout == f"damaged\t{photos}/bad.jpg\n"
    report = json.loads(run_facetrove("info", dataset, "--json").stdout)
    assert (report["num_photos"], report["num_faces"], report["num_copies"]) == (4, 1, 1)
    assert report["runs"][0]["stage_seconds"]["embed"] > 0
    (rejected,) = json.loads(run_facetrove("info", dataset, "--rejected", "--json").stdout)[
        "rejected"
    ]
    assert rejected == {"reason": "damaged", "uri": f"{photos}/bad.jpg"}
    require_message(
        *("embed", photos, dataset, "--min-face", "80"),
        exit_code=2,
        says=["other limits for faces"],
    )


@pytest.mark.slow
def test_an_index_forgets_what_was_dropped(tmp_path: Path, demo_photos: Path) -> None:
    photos, dataset, index = tmp_path / "photos", tmp_path / "d", tmp_path / "i"
    photos.mkdir()
    for name in ("biden.jpg", "obama2.jpg", "obama3.jpg"):
        shutil.copy(demo_photos / name, photos)
    run_facetrove("embed", photos, dataset)
    assert f"{index} holds 3 faces (version 1" in run_facetrove("index", dataset, index).stdout
    (photos / "obama2.jpg").unlink()
    run_facetrove("embed", photos, dataset, "--drop-vanished")
    assert f"{index} holds 2 faces (version 2" in run_facetrove("index", dataset, index).stdout
    # New rows without a face change nothing that is found.
    (photos / "none.jpg").write_text("text")
    run_facetrove("embed", photos, dataset)
    assert f"{index} holds 2 faces (version" in run_facetrove("index", dataset, index).stdout


@pytest.mark.slow
def test_a_missing_disk_drops_nothing(tmp_path: Path, demo_photos: Path) -> None:
    disk, dataset = tmp_path / "disk", tmp_path / "d"
    shutil.copytree(demo_photos, disk / "inner")
    run_facetrove("embed", disk, demo_photos, dataset)
    shutil.rmtree(disk / "inner")
    require_message(
        *("embed", disk, demo_photos, dataset, "--drop-vanished"),
        exit_code=2,
        says=[f"no photos under {disk}"],
    )
    (disk / "inner").mkdir()
    shutil.copy(demo_photos / "biden.jpg", disk)
    finished = run_facetrove("embed", disk, demo_photos, dataset, "--drop-vanished")
    assert "dropped" not in finished.stdout
    assert f"{dataset} holds 7 faces of 19 photos" in finished.stdout


@pytest.mark.slow
def test_what_was_too_large_is_tried_again_when_the_limit_is_another(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos, dataset = demo_photos / "biden.jpg", tmp_path / "d"
    run_facetrove("embed", photos, dataset, "--max-pixels", "1000")
    assert run_facetrove("info", dataset, "--rejected").stdout.startswith("too_large")
    again = run_facetrove("embed", photos, dataset, "--max-pixels", "1000")
    assert "nothing is new" in again.stdout
    header = json.loads((dataset / "dataset.json").read_text())
    header["limits"] = None  # as a run with other limits leaves it that was stopped
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


@pytest.mark.slow
def test_nothing_in_a_file_drives_the_terminal(tmp_path: Path, demo_photos: Path) -> None:
    (tmp_path / "list.csv").write_text("path,al\x1b[31mbum\n" + f"{demo_photos}/biden.jpg,x\n")
    run_facetrove("embed", tmp_path / "list.csv", tmp_path / "d")
    header = json.loads((tmp_path / "d" / "dataset.json").read_text())
    header["contract"]["embedder"] = "a\x1b[31mb"
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(header))
    (run,) = (tmp_path / "d" / "runs").iterdir()
    run.write_text('{"started": "\\u001b[31m", "done": {}}')
    shown = run_facetrove("info", tmp_path / "d")
    assert shown.returncode == 0
    assert "al\\x1b[31mbum" in shown.stdout
    finished = run_facetrove("embed", demo_photos, tmp_path / "d")
    for text in (shown.stdout, finished.stdout, finished.stderr):
        assert "\x1b" not in text


@pytest.mark.slow
def test_vanished_photos_stay_until_they_are_dropped(tmp_path: Path, demo_photos: Path) -> None:
    photos, dataset, index = tmp_path / "photos", tmp_path / "d", tmp_path / "i"
    shutil.copytree(demo_photos, photos)
    shutil.copy(photos / "biden.jpg", photos / "zz-copy.jpg")
    run_facetrove("embed", photos, dataset)
    (photos / "biden.jpg").unlink()
    (photos / "obama2.jpg").unlink()
    finished = run_facetrove("embed", photos, dataset)
    assert "2 photos of the dataset no longer where they were" in finished.stdout
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


@pytest.fixture
def family(tmp_path: Path, demo_photos: Path) -> tuple[Path, Path]:
    """Dataset and index of the demo's photos, with a list that says who is in them."""
    rows = [f"{path},{path.stem.split('_')[0].rstrip('23')}" for path in demo_photos.iterdir()]
    (tmp_path / "people.csv").write_text("\n".join(["path,person", *rows]))
    dataset, index = tmp_path / "d", tmp_path / "i"
    assert run_facetrove("embed", tmp_path / "people.csv", dataset).returncode == 0
    assert run_facetrove("index", dataset, index).returncode == 0
    return dataset, index


@pytest.mark.slow
def test_deleting_and_purging_a_person(
    family: tuple[Path, Path], probe_photo: Path, tmp_path: Path
) -> None:
    dataset, index = family
    where = ("--where", "person = 'obama'")
    asked = run_facetrove("delete", dataset, index, *where)  # nobody is there to say yes
    assert (asked.returncode, "where nobody can answer, give --yes" in asked.stderr) == (2, True)
    tried = run_facetrove("delete", dataset, index, *where, "--dry-run")
    assert tried.stdout == f"would delete 4 faces of {dataset}\n"
    deleted = run_facetrove("delete", dataset, index, *where, "--yes")
    assert deleted.stdout.splitlines()[:2] == [
        f"deleted 4 faces of {dataset}",
        f"  {index} held 4 of them and finds them no more",
    ]
    found = json.loads(run_facetrove("search", index, probe_photo, "--json").stdout)
    people = {match["person"] for match in found["probes"][0]["matches"]}
    assert people == {"biden", "eileen", "grace"}
    assert "4 photos whose faces were deleted" in run_facetrove("info", dataset).stdout
    purged = run_facetrove("purge", dataset, index, "--report", tmp_path / "report.json")
    assert purged.returncode == 0, purged.stderr
    assert "4 faces deleted so far" in purged.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["deleted_face_digests"]) == 4
    assert "obama" not in json.dumps({**report, "dataset": "", "indexes": []})
    verified = run_facetrove("verify", index, dataset)
    assert f"is whole, and agrees with {dataset}" in verified.stdout
    require_message("delete", dataset, exit_code=2, says=["--face, --photo or --where"])


@pytest.mark.slow
def test_asking_for_more_than_the_nearest(family: tuple[Path, Path], probe_photo: Path) -> None:
    _, index = family
    plain = run_facetrove("search", index, probe_photo, "--one-per", "person").stdout
    rows = [line.split() for line in plain.splitlines()[2:]]
    assert rows[0][4] == "obama"  # and strangers in whatever order
    assert sorted(row[4] for row in rows) == ["biden", "eileen", "grace", "obama"]
    above = run_facetrove("search", index, probe_photo, "--min-similarity", "0.5").stdout
    assert len(above.splitlines()) == 2 + 4
    document = json.loads(
        run_facetrove("search", index, probe_photo, "--json", "--where", "person = 'biden'").stdout
    )
    (match,) = document["probes"][0]["matches"]
    more = json.loads(run_facetrove("search", index, "--face", match["face_id"], "--json").stdout)
    assert len(more["matches"]) == 6
    assert match["face_id"] not in {other["face_id"] for other in more["matches"]}
    require_message("search", index, exit_code=2, says=["name a photo, or a face"])
    require_message(
        *("search", index, probe_photo, "--where", "name = 'x'"),
        exit_code=2,
        says=["name = 'x'", "over the columns", "person"],
    )


def test_what_an_index_is_and_whether_it_is_whole(demo_index: Path, tmp_path: Path) -> None:
    index = tmp_path / "i"
    shutil.copytree(demo_index, index)
    assert "nothing is missed" in run_facetrove("info", index).stdout
    assert "is whole: 3 files" in run_facetrove("verify", index).stdout
    assert "holds 7 faces" in run_facetrove("compact", index).stdout
    (faces,) = index.glob("segments/*/faces.arrow")
    whole = faces.read_bytes()
    faces.write_bytes(whole[:-8] + bytes(8))
    damaged = run_facetrove("verify", index)
    assert damaged.returncode == 1
    assert str(faces) in damaged.stdout
    assert "--rebuild" in damaged.stdout


@pytest.mark.parametrize(
    ("size", "says"), [("4", "4 bytes"), ("lots", "not a size"), ("1.5.5GB", "not a size")]
)
def test_memory_is_a_size(demo_dataset: Path, tmp_path: Path, size: str, says: str) -> None:
    finished = run_facetrove("index", demo_dataset, tmp_path / "i", "--memory", size)
    assert finished.returncode == 2
    assert says in finished.stderr
