"""The command line as a user meets it: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import click
import PIL.Image
import pytest

from faces.models import load_pipeline
from facetrove.main import cli
from tests.conftest import facetrove_command, run_facetrove
from tests.test_faces_dataset import write


def require_message(
    *arguments: str | Path, exit_code: int, says: list[str], json_too: bool = True
) -> None:
    """The command ends with one line that holds every phrase, and no traceback."""
    for extra in ([], ["--json"]) if json_too else ([],):
        finished = run_facetrove(*arguments, *extra)
        assert finished.returncode == exit_code, finished.stderr
        assert finished.stdout == ""
        lines = finished.stderr.strip().splitlines()
        assert len(lines) == 1, finished.stderr
        assert lines[0].startswith("facetrove: error: ")
        for phrase in says:
            assert phrase in lines[0]


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_an_example_and_json(name: str) -> None:
    finished = run_facetrove(name, "--help")
    assert finished.returncode == 0
    assert "Example" in finished.stdout
    assert f"  facetrove {name} " in finished.stdout
    assert "--json" in finished.stdout
    for option in cli.commands[name].params:
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
        *("embed", demo_photos, tmp_path / "d"),
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
    (vectors,) = index.glob("segments/*/vectors.faiss")
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
