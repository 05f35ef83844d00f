"""`compare`: how similar two photos' faces are, and whether they are one person's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from faces.core.errors import FaceTroveError, WrongUsageError
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from facetrove.comparison import FAR, compare
from indexer.model_rates import verification_threshold


@pytest.fixture
def two_people(tmp_path: Path, demo_photos: Path, probe_photo: Path) -> Path:
    """Make a photo with a large face of the probe's person and a smaller one of an astronaut."""
    photo = PIL.Image.new("RGB", (1200, 900))
    with PIL.Image.open(probe_photo) as president:
        photo.paste(president.convert("RGB").resize((700, 875)), (0, 0))
    with PIL.Image.open(demo_photos / "eileen_collins.png") as astronaut:
        photo.paste(astronaut.convert("RGB").resize((400, 400)), (750, 0))
    photo.save(tmp_path / "two.png")
    return tmp_path / "two.png"


def test_photos_of_one_person_are_accepted_and_of_two_people_rejected(
    demo_photos: Path, probe_photo: Path
) -> None:
    same = compare(probe_photo, demo_photos / "obama2.jpg")
    other = compare(str(probe_photo), str(demo_photos / "biden.jpg"))
    assert same.decision is True and other.decision is False
    assert same.similarity > 0.7 and other.similarity < 0.1
    assert same.far == other.far == FAR == 0.001
    threshold = same.threshold
    assert threshold is not None and other.similarity < threshold < same.similarity
    assert threshold == verification_threshold("sface-int8", 0.001)
    assert "0.1%" in same.reason and "Labeled Faces in the Wild" in same.reason


def test_a_comparison_is_shown_in_one_line(demo_photos: Path, probe_photo: Path) -> None:
    same = compare(probe_photo, demo_photos / "obama2.jpg")
    assert repr(same) == (
        f"<comparison: similarity {same.similarity:.3f}, same person (threshold "
        f"{same.threshold:.3f}, FAR 0.001)>"
    )
    models = ModelChoice(alignment="deepface")
    undecided = compare(probe_photo, demo_photos / "obama2.jpg", models=models)
    assert repr(undecided).endswith(", not decided (no threshold, FAR 0.001)>")


def test_a_photo_compared_with_itself_has_similarity_one(probe_photo: Path) -> None:
    comparison = compare(probe_photo, probe_photo)
    assert 0.9999 < comparison.similarity <= 1.0
    assert comparison.faces[0] == comparison.faces[1]


def test_the_largest_face_is_compared_unless_another_is_named(
    two_people: Path, demo_photos: Path, probe_photo: Path
) -> None:
    astronaut = demo_photos / "eileen_collins.png"
    largest = compare(two_people, probe_photo)
    assert largest.decision is True
    assert [(face.number, face.num_faces) for face in largest.faces] == [(1, 2), (1, 1)]
    assert compare(two_people, astronaut).decision is False
    second = compare(two_people, astronaut, face=(2, 1))
    assert second.decision is True
    assert second.faces[0].box.x > 700
    with pytest.raises(WrongUsageError, match="has 1 face, so there is no face number 2"):
        compare(two_people, astronaut, face=2)


def test_a_photo_without_a_face_is_an_error_that_names_it(
    demo_photos: Path, probe_photo: Path
) -> None:
    with pytest.raises(FaceTroveError, match=r"no face was found in .*coffee\.png"):
        compare(probe_photo, demo_photos / "coffee.png")


def test_there_is_no_decision_with_another_alignment_than_the_model_s(
    demo_photos: Path, probe_photo: Path
) -> None:
    models = ModelChoice(alignment="deepface")
    comparison = compare(probe_photo, demo_photos / "obama2.jpg", models=models)
    assert comparison.decision is None and comparison.threshold is None
    assert "own alignment" in comparison.reason


def test_thresholds_exist_only_for_measured_models_and_rates() -> None:
    assert verification_threshold("deepface:ArcFace", 0.001) is None
    assert verification_threshold("sface", 1e-12) is None
    assert verification_threshold("sface", 0.999) is None
    strict, mild = (verification_threshold("sface", far) for far in (1e-4, 1e-2))
    assert strict is not None and mild is not None and strict > mild


@pytest.mark.slow
def test_the_threshold_keeps_its_false_accept_rate_on_lfw(lfw_dataset: Path) -> None:
    """The rate is measured on all pairs of photos of different people, with one face in each."""
    faces = Dataset.open(lfw_dataset).faces(["uri", "photo_id", "embedding"]).to_arrow()
    photos, counts = np.unique(faces["photo_id"].to_numpy(), return_counts=True)
    faces = faces.filter(pc.is_in(faces["photo_id"], value_set=pa.array(photos[counts == 1])))
    people = np.array([Path(uri).parent.name for uri in faces["uri"].to_pylist()])
    embeddings = embedding_matrix(faces)
    threshold = verification_threshold("sface-int8", FAR)
    assert threshold is not None
    others = people[:, np.newaxis] != people
    accepted = (embeddings @ embeddings.T >= threshold)[others]
    assert len(people) > 3000
    assert 0.7 * FAR < accepted.mean() < 1.4 * FAR
