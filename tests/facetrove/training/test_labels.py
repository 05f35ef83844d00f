"""Which faces are trained on, which are held out, and what is refused before an hour of work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import WrongUsageError
from faces.dataset.store import Dataset
from facetrove.training.labels import read_labelled
from facetrove.training.options import TrainingOptions, require_model_path
from facetrove.training.splits import folds_by_person, held_out_by_person
from tests.support.labelled_faces import people_around, write_labelled


def dataset_of(folder: Path, people: list[str], cameras: list[str] | None = None) -> Dataset:
    vectors, _ = people_around(len(people), 1, spread=1)
    return Dataset.open(write_labelled(folder / "d", vectors, people, cameras=cameras))


def test_people_are_the_classes_where_no_label_is_named(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, ["a", "b", "a", "", "c", "b"])
    found = read_labelled(dataset, label=None, people=None, min_class=2)
    assert found.names == ("a", "b") and found.left_out == {"c": 1}
    assert found.num_unlabelled == 1 and len(found) == 4
    uris = found.table["uri"].to_pylist()
    assert [uri.split("/")[2] for uri in uris] == [found.names[n] for n in found.classes]
    assert np.array_equal(found.people, found.classes)


def test_rows_are_those_of_the_datasets_embeddings(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, ["a", "b", "a", "c", "b"])
    found = read_labelled(dataset, label=None, people=None, min_class=2)
    ids = dataset.faces(["face_id"]).to_arrow()["face_id"].to_pylist()
    assert [ids[row] for row in found.rows] == found.table["face_id"].to_pylist()


def test_a_label_counts_for_the_largest_face_or_the_central_one(tmp_path: Path) -> None:
    vectors, _ = people_around(6, 1, spread=1)
    path = write_labelled(tmp_path / "d", vectors, list("aabbab"), off_centre=[0])
    for face, count in (("largest", 6), ("central", 5)):
        found = read_labelled(Dataset.open(path), label=None, people=None, face=face)  # type: ignore[arg-type]
        assert len(found) == count


def test_small_classes_are_left_out_and_named(tmp_path: Path) -> None:
    cameras = ["x"] * 6 + ["y"] * 5 + ["z"]
    dataset = dataset_of(tmp_path, list("abcdefabcdef"), cameras)
    found = read_labelled(dataset, label="camera", people=None, min_class=3)
    assert found.names == ("x", "y") and found.left_out == {"z": 1} and len(found) == 11


REFUSED = {
    "one person": (list("aaaa"), list("xyxy"), "camera", "one person"),
    "no labels": (list("abab"), ["", "", "", ""], "camera", "no photo with both"),
    "a value for each photo": (list("abcd"), list("wxyz"), "camera", "4 values for 4 labelled"),
    "no such column": (list("abab"), None, "mood", "no column 'mood'"),
    "one class": (list("abab"), list("xxxx"), "camera", "expected at least 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_labels_that_nothing_can_be_learnt_from_are_refused(tmp_path: Path, case: str) -> None:
    people, cameras, label, problem = REFUSED[case]
    with pytest.raises(WrongUsageError, match=problem) as caught:
        read_labelled(dataset_of(tmp_path, people, cameras), label=label, people=None)
    assert "\n" not in str(caught.value)


def test_a_column_of_file_names_of_5000_photos_is_refused(tmp_path: Path) -> None:
    people = [f"p{number % 50}" for number in range(5000)]
    dataset = dataset_of(tmp_path, people, [f"{number:04d}.jpg" for number in range(5000)])
    with pytest.raises(WrongUsageError, match="5,000 values for 5,000 labelled photos"):
        read_labelled(dataset, label="camera", people=None)


def test_nobody_is_in_two_folds_and_every_fold_has_its_share_of_a_rare_class() -> None:
    rng = np.random.default_rng(0)
    people = rng.integers(0, 300, 2000)
    classes = np.where(rng.random(2000) < 0.03, 1, 0)
    folds = folds_by_person(people, classes, 5, seed=0)
    for person in np.unique(people):
        assert len(np.unique(folds[people == person])) == 1
    rare = np.bincount(folds[classes == 1], minlength=5)
    assert rare.max() - rare.min() <= 2
    assert np.ptp(np.bincount(folds)) < 40


def test_a_split_depends_on_the_seed_alone() -> None:
    people = np.arange(100) // 2
    classes = np.zeros(100, np.int64)
    first, again, other = (held_out_by_person(people, classes, 0.2, seed=s) for s in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert 15 <= first.sum() <= 25


def test_options_out_of_range_and_names_of_no_toml_file_are_refused(tmp_path: Path) -> None:
    for wrong in ({"seed": -1}, {"epochs": 0}, {"held_out": 0.9}):
        with pytest.raises(WrongUsageError, match=next(iter(wrong))):
            TrainingOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(WrongUsageError, match=r"does not end in \.toml"):
        require_model_path(tmp_path / "model.onnx")
    with pytest.raises(WrongUsageError, match="make it first"):
        require_model_path(tmp_path / "nowhere" / "model.toml")
