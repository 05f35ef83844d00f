"""The commands about indexes, from `index` to `purge` and `held`: output and exit codes."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from indexer.blas import choose_kernels
from tests.support.command import (
    ONE_WORKER,
    require_message,
    rows_of_matches,
    run_facetrove,
)


@pytest.mark.slow
def test_a_truncated_file_of_an_index_is_named(
    tmp_path: Path, demo_index: Path, probe_photo: Path
) -> None:
    index = tmp_path / "i"
    shutil.copytree(demo_index, index)
    (vectors,) = index.glob("segments/*/vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:1000])
    require_message(
        *("search", index, probe_photo),
        exit_code=1,
        says=[str(vectors), "1000 bytes instead of", "build the index again"],
    )


@pytest.mark.lasting
@pytest.mark.slow
def test_a_photo_without_a_face_or_too_large_a_k_or_a_bad_sheet_name_is_refused(
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


@pytest.mark.lasting
@pytest.mark.slow
def test_an_updated_index_leaves_out_dropped_photos(tmp_path: Path, demo_photos: Path) -> None:
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


@pytest.fixture(scope="module")
def family_as_made(
    tmp_path_factory: pytest.TempPathFactory, demo_photos: Path
) -> tuple[Path, Path]:
    """Make a dataset and an index of the demo's photos, with a column `person`."""
    folder = tmp_path_factory.mktemp("family")
    rows = [f"{path},{path.stem.split('_')[0].rstrip('23')}" for path in demo_photos.iterdir()]
    (folder / "people.csv").write_text("\n".join(["path,person", *rows]))
    dataset, index = folder / "d", folder / "i"
    assert run_facetrove("embed", folder / "people.csv", dataset, *ONE_WORKER).returncode == 0
    assert run_facetrove("index", dataset, index).returncode == 0
    return dataset, index


@pytest.fixture
def family(family_as_made: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copy that dataset and index, for a test that changes them."""
    dataset, index = (shutil.copytree(path, tmp_path / path.name) for path in family_as_made)
    return dataset, index


@pytest.mark.slow
def test_a_person_is_deleted_and_purged(
    family: tuple[Path, Path], probe_photo: Path, tmp_path: Path
) -> None:
    dataset, index = family
    where = ("--where", "person = 'obama'")
    asked = run_facetrove("delete", dataset, index, *where)  # stdin is no terminal
    assert (asked.returncode, "give --yes to delete without confirmation" in asked.stderr) == (
        2,
        True,
    )
    tried = run_facetrove("delete", dataset, index, *where, "--dry-run")
    assert tried.stdout == f"would delete 4 faces of {dataset}\n"
    deleted = run_facetrove("delete", dataset, index, *where, "--yes")
    assert deleted.stdout.splitlines()[:2] == [
        f"deleted 4 faces of {dataset}",
        f"  {index} held 4 of them and no longer finds them",
    ]
    found = json.loads(run_facetrove("search", index, probe_photo, "--json").stdout)
    people = {match["person"] for match in found["probes"][0]["matches"]}
    assert people == {"biden", "eileen", "grace"}
    assert "4 photos whose faces were deleted" in run_facetrove("info", dataset).stdout
    (deletion,) = json.loads(run_facetrove("undo", dataset, "--json").stdout)["deletions"]
    listed = run_facetrove("undo", dataset).stdout.splitlines()[1]
    assert listed.startswith(deletion["deletion_id"]) and listed.endswith(f'"{where[1]}"')
    restored = run_facetrove("undo", dataset, deletion["deletion_id"], index)
    assert restored.stdout.splitlines()[:2] == [
        "took back the deletion of 4 faces",
        f"  {index} finds them again",
    ]
    assert run_facetrove("undo", dataset).stdout == f"nothing can be taken back in {dataset}\n"
    assert "whose faces were deleted" not in run_facetrove("info", dataset).stdout
    require_message(
        *("delete", dataset, index, "--yes", "--where", "person = 'nobody'"),
        exit_code=1,
        says=["no face of", "nothing was deleted"],
    )
    assert run_facetrove("delete", dataset, index, *where, "--yes").returncode == 0
    purged = run_facetrove(
        *("purge", dataset, index, "--name", "obama", "--report", tmp_path / "report.json")
    )
    assert purged.returncode == 0, purged.stderr
    assert "4 faces purged so far" in purged.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["deleted_face_digests"]) == 4
    assert "obama" not in json.dumps({**report, "dataset": "", "indexes": []})
    verified = run_facetrove("verify", index, dataset)
    assert f"is intact, and agrees with {dataset}" in verified.stdout
    require_message("delete", dataset, exit_code=2, says=["--face, --photo, --where or --like"])


@pytest.mark.lasting
@pytest.mark.slow
def test_a_portrait_finds_what_is_held_and_what_to_delete(
    family: tuple[Path, Path], probe_photo: Path, demo_photos: Path, tmp_path: Path
) -> None:
    dataset, index = family
    like = (dataset, index, "--like", probe_photo)
    report, sheet = tmp_path / "held.json", tmp_path / "held.jpg"
    held = run_facetrove(
        *("held", *like, "--min-similarity", "0.4", "--report", report, "--sheet", sheet)
    )
    assert held.returncode == 0, held.stderr
    assert f"{dataset} holds 4 faces with a similarity of 0.400 or more" in held.stdout
    assert sheet.stat().st_size > 10_000
    answer = json.loads(report.read_text())
    assert {face["person"] for face in answer["faces"]} == {"obama"}
    assert not any("facetrove" in name for face in answer["faces"] for name in face)
    assert all(face["box"] and not face["deleted_but_not_purged"] for face in answer["faces"])
    require_message("held", *like, exit_code=2, says=["--fpir", "--min-similarity"])
    by_rate = json.loads(run_facetrove("held", *like, "--fpir", "0.01", "--json").stdout)
    assert (by_rate["fpir"], by_rate["num_faces"]) == (0.01, 4)
    require_message(
        *("held", dataset, "--like", probe_photo, "--fpir", "0.01"),
        exit_code=2,
        says=["name an index", "--min-similarity"],
    )
    require_message(
        *("held", dataset, "--min-similarity", "0.4", "--like", demo_photos / "coffee.png"),
        exit_code=2,
        says=["shows 0 faces", "one person"],
    )
    deleted = run_facetrove(
        *("delete", *like, "--min-similarity", "0.4", "--yes", "--sheet", sheet)
    )
    assert f"deleted 4 faces of {dataset}" in deleted.stdout, deleted.stderr
    again = run_facetrove("delete", *like, "--min-similarity", "0.4", "--yes")
    assert (again.returncode, "were deleted before" in again.stdout) == (0, True)
    withheld = json.loads(run_facetrove("held", *like, "--min-similarity", "0.4", "--json").stdout)[
        "faces"
    ]
    assert [face["deleted_but_not_purged"] for face in withheld] == [True] * 4
    run_facetrove("purge", dataset, index)
    none = run_facetrove("delete", *like, "--min-similarity", "0.4", "--yes")
    assert (none.returncode, "nothing was deleted" in none.stderr) == (1, True)
    require_message(
        *("delete", dataset, "--yes", "--fpir", "0.01", "--face", "x"),
        exit_code=2,
        says=["--fpir goes with --like"],
    )


@pytest.mark.lasting
@pytest.mark.slow
def test_people_with_numbers_for_names_are_held_too(
    tmp_path: Path, demo_photos: Path, probe_photo: Path
) -> None:
    rows = [f"{path},{len(path.stem)}" for path in demo_photos.iterdir()]
    (tmp_path / "people.csv").write_text("\n".join(["path,person", *rows]))
    dataset = tmp_path / "d"
    assert run_facetrove("embed", tmp_path / "people.csv", dataset, *ONE_WORKER).returncode == 0
    held = run_facetrove("held", dataset, "--like", probe_photo, "--min-similarity", "0.4")
    assert held.returncode == 0, held.stderr
    assert "(person 6)" in held.stdout  # obama2 and obama3


@pytest.mark.lasting
@pytest.mark.slow
def test_search_takes_filters_a_minimum_similarity_one_per_person_and_a_face(
    family: tuple[Path, Path], probe_photo: Path
) -> None:
    _, index = family
    plain = run_facetrove("search", index, probe_photo, "--one-per", "person").stdout
    people = [row.split()[-2] for row in rows_of_matches(plain)]
    assert people[0] == "obama"  # strangers follow in any order
    assert sorted(people) == ["biden", "eileen", "grace", "obama"]
    above = run_facetrove("search", index, probe_photo, "--min-similarity", "0.5").stdout
    assert len(rows_of_matches(above)) == 4
    document = json.loads(
        run_facetrove("search", index, probe_photo, "--json", "--where", "person = 'biden'").stdout
    )
    (match,) = document["probes"][0]["matches"]
    more = json.loads(run_facetrove("search", index, "--face", match["face_id"], "--json").stdout)
    assert len(more["matches"]) == 6
    assert match["face_id"] not in {other["face_id"] for other in more["matches"]}
    require_message("search", index, exit_code=2, says=["either a photo to search for, or a face"])
    require_message(
        *("search", index, probe_photo, "--where", "name = 'x'"),
        exit_code=2,
        says=["name = 'x'", "over the columns", "person"],
    )


def test_info_describes_an_index_and_verify_names_its_corrupt_file(
    demo_index: Path, tmp_path: Path
) -> None:
    index = tmp_path / "i"
    shutil.copytree(demo_index, index)
    assert "search is exact" in run_facetrove("info", index).stdout
    described = json.loads(run_facetrove("info", index, "--json").stdout)
    assert described["faiss_blas"] == asdict(choose_kernels())
    assert "is intact: 3 files" in run_facetrove("verify", index).stdout
    assert "holds 7 faces" in run_facetrove("compact", index).stdout
    (faces,) = index.glob("segments/*/faces.arrow")
    content = faces.read_bytes()
    faces.write_bytes(content[:-8] + bytes(8))
    corrupt = run_facetrove("verify", index)
    assert corrupt.returncode == 1
    assert str(faces) in corrupt.stdout
    assert "--rebuild" in corrupt.stdout


@pytest.mark.parametrize(
    ("size", "says"), [("4", "4 bytes"), ("lots", "not a size"), ("1.5.5GB", "not a size")]
)
def test_memory_is_given_in_bytes_with_a_unit(
    demo_dataset: Path, tmp_path: Path, size: str, says: str
) -> None:
    finished = run_facetrove("index", demo_dataset, tmp_path / "i", "--memory", size)
    assert finished.returncode == 2
    assert says in finished.stderr


@pytest.mark.slow
def test_a_search_says_how_many_searches_for_strangers_find_as_much(
    demo_index: Path, probe_photo: Path
) -> None:
    """The demo's index is too small to calibrate, so the models' figure is used and said to be."""
    assert run_facetrove("calibrate", demo_index).returncode == 2
    found = run_facetrove("search", demo_index, probe_photo)
    meaning, figure, advice, _, header, *rows = found.stdout.splitlines()
    assert meaning.startswith("strangers: how many searches for people who are not in the index")
    assert figure.startswith("  the figure of sface-int8 for 7 faces, measured on press photos")
    assert figure.endswith("not on this index") and "`facetrove calibrate`" in advice
    assert "strangers" in header
    assert ["at most 1 in 1,000" in row for row in rows] == [True] * 4 + [False] * 3
    assert "in 100" in rows[4] or "1 in " in rows[4]
    limited = run_facetrove("search", demo_index, probe_photo, "--fpir", "0.05")
    assert limited.returncode == 0, limited.stderr
    assert "5% of searches for people who are not in the index return one" in limited.stdout
    assert "not on this index" in limited.stdout
    assert len([row for row in limited.stdout.splitlines() if "obama" in row]) == 1 + 4
    refused = run_facetrove("search", demo_index, probe_photo, "--fpir", "0.0001")
    assert refused.returncode == 2 and "support rates from 0.001 to 1" in refused.stderr
    document = json.loads(run_facetrove("search", demo_index, probe_photo, "--json").stdout)
    assert document["fpir_basis"] == "model" and "not on this index" in document["fpir_explanation"]
    match = document["probes"][0]["matches"][0]
    assert (match["fpir"], match["fpir_basis"]) == (0.001, "model")


@pytest.mark.slow
def test_photos_are_searched_for_together_and_one_face_of_a_photo(
    demo_index: Path, probe_photo: Path, demo_photos: Path
) -> None:
    together = ("search", demo_index, probe_photo, demo_photos / "obama2.jpg", "--together")
    found = run_facetrove(*together, "-k", "2")
    assert found.returncode == 0, found.stderr
    assert "the probe is the mean of 2 faces; the two least alike" in found.stdout
    assert "about 2 times as often" in found.stdout
    document = json.loads(run_facetrove(*together, "--probe-face", "1", "--json").stdout)
    assert len(document["faces"]) == len(document["photos"]) == 2
    assert document["matches"][0]["similarity"] > 0.9
    chosen = run_facetrove("search", demo_index, probe_photo, "--probe-face", "1", "-k", "1")
    assert "face 1 of 1 in obama.jpg" in chosen.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.jpg", "b.jpg"], ["2 photos are given", "add --together"]),
        (["a.jpg", "--probe-face", "1", "--probe-face", "2"], ["given 2 times for one photo"]),
        (["--face", "0c5f", "--together"], ["--together and --probe-face are about the faces"]),
        (["a.jpg", "b.jpg", "--together", "--sheet", "s.jpg"], ["--sheet shows", "one photo"]),
        (["--together"], ["either a photo to search for, or a face"]),
    ],
)
def test_probes_that_contradict_each_other_are_refused(
    demo_index: Path, arguments: list[str], says: list[str]
) -> None:
    require_message("search", demo_index, *arguments, exit_code=2, says=says)
