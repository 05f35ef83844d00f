"""Upgraded datasets of real photos: what is read anew, and what is kept when they are embedded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import PIL.Image
import pytest

from beam_jobs.reembed import reembed
from faces.core.errors import OlderFormatError
from faces.dataset.deletions import face_digest
from faces.dataset.face_ids import first_face_id, later_face_id
from faces.dataset.layout import DELETED_PICTURES_FILE
from faces.dataset.picture_hash import unpack_hashes
from faces.dataset.picture_reading import _DeletedFaces
from faces.dataset.schema import ADDED_COLUMNS
from faces.dataset.store import Dataset
from faces.dataset.upgrade import DatasetUpgrade
from faces.models.pipeline import FacePipeline
from facetrove.upgrading import upgrade
from indexer.delete import delete_faces
from indexer.purge import purge
from tests.support.command import run_facetrove
from tests.support.embedding_here import boxes_by_id, embed_here
from tests.support.parts import without_columns


def as_format_2(dataset: Path, preprocessing: int) -> None:
    """Make a dataset as the program wrote it when it had format 2."""
    without_columns(dataset / "faces", "embedding_norm")
    without_columns(dataset / "photos", *ADDED_COLUMNS)
    header = json.loads((dataset / "dataset.json").read_text())
    del header["salted_ids"]
    del header["limits"]["photo_timeout"]
    header["format_version"] = 2
    header["contract"]["preprocessing_version"] = preprocessing
    (dataset / "dataset.json").write_text(json.dumps(header))


def hashes_of(dataset: Path) -> dict[str, bytes]:
    """Return the picture hashes of a dataset's photos by photo_id."""
    rows = Dataset.open(dataset).photos(["picture_hash"]).select(["photo_id", "picture_hash"])
    return {r["photo_id"]: r["picture_hash"] for r in rows.to_pylist() if r["picture_hash"]}


def agreement(one: bytes, other: bytes) -> float:
    """Return the share of equal signs among the pairs of cells that two hashes both compare."""
    signs = unpack_hashes([one, other])
    both = (signs != 0).all(axis=0)
    return float((signs[0, both] == signs[1, both]).mean())


@pytest.fixture
def photos(tmp_path: Path, demo_photos: Path) -> Path:
    return Path(shutil.copytree(demo_photos, tmp_path / "photos"))


@pytest.fixture
def dataset(tmp_path: Path, photos: Path, pipeline: FacePipeline) -> Path:
    embed_here(photos, tmp_path / "faces.dataset", pipeline)
    return tmp_path / "faces.dataset"


@pytest.mark.slow
def test_an_upgraded_dataset_is_embedded_anew_with_its_ids_and_deletions(
    dataset: Path, tmp_path: Path
) -> None:
    new, (purged, withheld, *_) = tmp_path / "new.dataset", boxes_by_id(dataset)
    delete_faces(dataset, [], faces=purged)
    purge(dataset, [])
    delete_faces(dataset, [], faces=withheld)
    ids = boxes_by_id(dataset).keys()
    as_format_2(dataset, preprocessing=2)
    with pytest.raises(OlderFormatError, match="facetrove upgrade"):
        reembed(dataset, new, workers=1)
    result = upgrade(dataset)
    assert isinstance(result, DatasetUpgrade)
    assert (result.is_current, result.num_deleted) == (False, 2)
    reembed(dataset, new, workers=1)
    assert boxes_by_id(new).keys() == ids
    assert Dataset.open(new).contract.preprocessing_version == 3


def test_a_deleted_face_of_any_way_of_detecting_is_known_to_have_no_place() -> None:
    for face_id in (first_face_id("photo", 999), later_face_id("photo", 3, "this way")):
        deleted = _DeletedFaces({}, frozenset({face_digest(face_id)}), "this way")
        assert deleted.is_unplaced("photo") and not deleted.is_unplaced("another")


def test_an_upgraded_dataset_of_the_same_preprocessing_goes_on(
    dataset: Path, photos: Path, pipeline: FacePipeline
) -> None:
    ids = boxes_by_id(dataset).keys()
    as_format_2(dataset, preprocessing=3)
    upgrade(dataset)
    shutil.copy(photos / "biden.jpg", photos / "another-copy.jpg")
    embed_here(photos, dataset, pipeline)
    assert boxes_by_id(dataset).keys() == ids
    assert Dataset.open(dataset).counts().num_copies == 1


def test_photos_are_read_on_request_so_that_edited_copies_are_recognised(
    dataset: Path, photos: Path, pipeline: FacePipeline
) -> None:
    before = hashes_of(dataset)
    without_columns(dataset / "photos", *ADDED_COLUMNS)
    result = upgrade(dataset)
    assert isinstance(result, DatasetUpgrade)
    assert (result.num_hashed, result.num_without_hash, result.has_changed) == (0, 7, False)
    gone = (photos / "obama3.jpg").read_bytes()
    (photos / "obama3.jpg").unlink()
    result = upgrade(dataset, read_photos=True)
    assert isinstance(result, DatasetUpgrade)
    assert (result.num_hashed, result.num_without_hash) == (6, 1)
    (photos / "obama3.jpg").write_bytes(gone)
    said = run_facetrove("upgrade", dataset, "--read-photos").stdout
    assert "read 1 photo to recognise edited copies" in said
    after = hashes_of(dataset)
    assert after.keys() == before.keys()
    assert min(agreement(before[photo_id], after[photo_id]) for photo_id in before) > 0.97

    with PIL.Image.open(photos / "biden.jpg") as photo:
        photo.convert("RGB").save(photos / "edited.jpg", quality=60)
    (photos / "biden.jpg").unlink()
    deleted = delete_faces(dataset, [], photos=photos / "biden.jpg")
    assert deleted.num_recognisable == 1
    embed_here(photos, dataset, pipeline)
    (kept,) = Dataset.open(dataset).kept_away().to_pylist()
    assert kept["certainty"] == "same_picture"


@pytest.mark.parametrize("is_placed", [True, False])
def test_a_hash_that_is_made_later_has_nothing_of_a_deleted_face(
    photos: Path, tmp_path: Path, pipeline: FacePipeline, is_placed: bool
) -> None:
    """Cells of the deleted face are left out; if nobody knows where it was, there is no hash."""
    dataset, group = tmp_path / "group.dataset", tmp_path / "group"
    group.mkdir()
    both = PIL.Image.new("RGB", (1000, 600))
    for number, name in enumerate(("biden.jpg", "grace_hopper.jpg")):
        with PIL.Image.open(photos / name) as photo:
            both.paste(photo.convert("RGB").resize((400, 500)), (500 * number + 50, 50))
    both.save(group / "both.png")
    embed_here(group, dataset, pipeline)
    (before,) = hashes_of(dataset).values()
    gone, _ = boxes_by_id(dataset)
    delete_faces(dataset, [], faces=gone)
    purge(dataset, [])
    without_columns(dataset / "photos", *ADDED_COLUMNS)
    if not is_placed:
        (dataset / DELETED_PICTURES_FILE).unlink()
    upgrade(dataset, read_photos=True)
    if not is_placed:
        assert hashes_of(dataset) == {}
        return
    (after,) = hashes_of(dataset).values()
    assert after == before
