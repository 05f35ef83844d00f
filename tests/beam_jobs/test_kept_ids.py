"""A face keeps its face_id when something else detects it; deletions and decisions follow it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from faces.dataset.face_ids import first_face_id
from faces.dataset.letting_in import allow_faces
from faces.dataset.store import Dataset
from faces.models.face import Detection
from faces.models.pipeline import FacePipeline
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.purge import purge
from indexer.undo import undo
from tests.support.embedding_here import boxes_by_id, changed, embed_here, embedded_meanwhile, moved

SIDES = ("biden.jpg", "grace_hopper.jpg", "obama2.jpg")


@pytest.fixture
def photos(tmp_path: Path, demo_photos: Path) -> Path:
    """A folder with one photo of three people side by side."""
    folder = tmp_path / "photos"
    folder.mkdir()
    group = PIL.Image.new("RGB", (400 * len(SIDES), 500))
    for number, name in enumerate(SIDES):
        with PIL.Image.open(demo_photos / name) as photo:
            group.paste(photo.convert("RGB").resize((400, 500)), (400 * number, 0))
    group.save(folder / "group.jpg", quality=95)
    return folder


@pytest.fixture
def old(tmp_path: Path, photos: Path, pipeline: FacePipeline) -> Path:
    """The dataset that the built-in detector makes of the photo."""
    embed_here(photos, tmp_path / "old.dataset", pipeline)
    assert len(boxes_by_id(tmp_path / "old.dataset")) == 3
    return tmp_path / "old.dataset"


def backwards_with_one_more(found: list[Detection]) -> list[Detection]:
    """Detect a face that was not found before, first; and the others last to first, moved."""
    return [moved(found[0], 0, 1.5), *(moved(face, 0.1, -0.1) for face in reversed(found))]


@pytest.fixture
def other(pipeline: FacePipeline) -> FacePipeline:
    return changed(pipeline, backwards_with_one_more)


@pytest.fixture
def another_photo(demo_photos: Path) -> bytes:
    """The content of another photo."""
    return (demo_photos / "obama3.jpg").read_bytes()


def at(dataset: Path, column: int) -> str:
    """Return the face_id of the face in a side of the group, from 0; the upper one of two."""
    boxes = boxes_by_id(dataset)
    there = (face_id for face_id, box in boxes.items() if box[0] // 400 == column)
    return min(there, key=lambda face_id: boxes[face_id][1])


def let_in_again(edited: Path, dataset: Path, pipeline: FacePipeline) -> str:
    """Purge a face of the group, and let it in again in an edited copy; return its face_id there.

    Args:
        edited: path of the copy, in the folder of the group.
        dataset: folder of the dataset.
        pipeline: detector and embedder of the dataset.
    """
    photos = edited.parent
    delete_faces(dataset, [], faces=at(dataset, 0))
    purge(dataset, [])
    with PIL.Image.open(photos / "group.jpg") as photo:
        photo.save(edited, quality=80)
    embed_here(photos, dataset, pipeline)
    before = boxes_by_id(dataset).keys()
    allow_faces(dataset, photos=edited)
    embed_here(photos, dataset, pipeline)
    (again,) = boxes_by_id(dataset).keys() - before
    return again


def test_faces_keep_their_ids_and_new_ones_get_ids_of_their_own(
    tmp_path: Path, photos: Path, old: Path, other: FacePipeline
) -> None:
    before = boxes_by_id(old)
    for name in ("new.dataset", "again.dataset"):
        embed_here(photos, tmp_path / name, other, follows=old)
    after = boxes_by_id(tmp_path / "new.dataset")
    assert len(after) == 4
    assert before.keys() < after.keys()
    for face_id, box in before.items():
        assert after[face_id] == pytest.approx(
            [box[0] + 0.1 * box[2], box[1] - 0.1 * box[3], box[2], box[3]], abs=0.1
        )
    assert boxes_by_id(tmp_path / "again.dataset") == after


def test_without_the_old_dataset_ids_are_those_of_every_release(
    tmp_path: Path, photos: Path, old: Path, pipeline: FacePipeline
) -> None:
    embed_here(photos, tmp_path / "anew.dataset", pipeline)
    assert boxes_by_id(tmp_path / "anew.dataset") == boxes_by_id(old)


def test_a_photo_at_another_place_keeps_its_ids(
    tmp_path: Path, photos: Path, old: Path, other: FacePipeline
) -> None:
    """The photo is looked up by its content."""
    photos.rename(tmp_path / "elsewhere")
    embed_here(tmp_path / "elsewhere", tmp_path / "new.dataset", other, follows=old)
    assert boxes_by_id(old).keys() < boxes_by_id(tmp_path / "new.dataset").keys()


def test_a_deletion_follows_the_face_and_so_does_its_undo(
    tmp_path: Path, photos: Path, old: Path, other: FacePipeline
) -> None:
    """The detector's numbers would withhold another face."""
    new, ids = tmp_path / "new.dataset", boxes_by_id(old).keys()
    gone = at(old, 0)
    deletion = delete_faces(old, [], faces=gone).deletion_id
    assert deletion is not None
    embed_here(photos, new, other, follows=old)
    assert boxes_by_id(new).keys() & ids == ids - {gone}
    assert len(boxes_by_id(new)) == 3
    undo(old, deletion)
    embed_here(photos, new, other, follows=old)
    assert boxes_by_id(new).keys() > ids
    delete_faces(old, [], faces=gone)
    embed_here(photos, new, other, follows=old)
    assert boxes_by_id(new).keys() & ids == ids - {gone}


def test_a_purged_face_stays_away_and_no_other_face_gets_its_id(
    tmp_path: Path, photos: Path, old: Path, other: FacePipeline
) -> None:
    new, ids = tmp_path / "new.dataset", boxes_by_id(old).keys()
    gone = at(old, 2)
    delete_faces(old, [], faces=gone)
    purge(old, [])
    embed_here(photos, new, other, follows=old)
    assert len(boxes_by_id(new)) == 3
    assert boxes_by_id(new).keys() & ids == ids - {gone}
    (kept,) = Dataset.open(new).kept_away().to_pylist()
    assert kept["certainty"] == "same_bytes"
    purge(new, [])  # it raises if it finds the face


def test_a_face_that_was_let_in_stays_in(
    tmp_path: Path, photos: Path, old: Path, pipeline: FacePipeline, other: FacePipeline
) -> None:
    """In the dataset itself, and in one that follows, with the id that it had."""
    ids, gone = boxes_by_id(old).keys(), at(old, 0)
    delete_faces(old, [], faces=gone)
    purge(old, [])
    (photos / "group.jpg").rename(photos / "moved.jpg")
    with PIL.Image.open(photos / "moved.jpg") as photo:
        photo.save(photos / "edited.jpg", quality=80)
    embed_here(photos, old, pipeline)
    assert len(Dataset.open(old).kept_away()) == 1  # of the edited copy
    allow_faces(old, photos=photos / "edited.jpg")
    followers = [tmp_path / "before.dataset", tmp_path / "after.dataset"]
    embed_here(photos, followers[0], other, follows=old)
    embed_here(photos, old, pipeline)
    embed_here(photos, followers[1], other, follows=old)
    for new in followers:
        assert len(boxes_by_id(new)) == 3 + 4  # of the photo one is away, of the copy none
        assert boxes_by_id(new).keys() & ids == ids - {gone}
    # Before the face was embedded in the old dataset, it was known by its digest alone.
    assert boxes_by_id(followers[0]).keys() == boxes_by_id(followers[1]).keys()


def test_deleted_again_a_face_that_was_let_in_leaves_the_dataset_that_follows(
    tmp_path: Path, photos: Path, old: Path, pipeline: FacePipeline, other: FacePipeline
) -> None:
    new, edited = tmp_path / "new.dataset", photos / "edited.jpg"
    again = let_in_again(edited, old, pipeline)
    embed_here(photos, new, other, follows=old)
    assert again in boxes_by_id(new)
    delete_faces(old, [], faces=again)
    purge(old, [])
    embed_here(photos, new, other, follows=old)
    assert again not in boxes_by_id(new)
    group = (photos / "group.jpg").read_bytes()
    with embedded_meanwhile(edited, group, lambda: embed_here(photos, new, other, follows=old)):
        pass
    assert again not in boxes_by_id(new)


def test_a_face_beside_a_deleted_one_is_not_taken_for_it(
    tmp_path: Path, photos: Path, pipeline: FacePipeline
) -> None:
    """Two faces overlap; one is deleted, and another detector finds the other one alone."""
    old, new = tmp_path / "old.dataset", tmp_path / "new.dataset"

    def both(found: list[Detection]) -> list[Detection]:
        return [found[0], moved(found[0], 0.3, 0)]

    embed_here(photos, old, changed(pipeline, both, "both"))
    boxes = boxes_by_id(old)
    left, right = sorted(boxes, key=lambda face_id: boxes[face_id][0])
    delete_faces(old, [], faces=left)
    purge(old, [])
    alone = changed(pipeline, lambda found: [moved(found[0], 0.25, 0)], "alone")
    embed_here(photos, new, alone, follows=old)
    assert list(boxes_by_id(new)) == [right]
    assert len(Dataset.open(new).kept_away()) == 0


def test_a_face_within_a_deleted_one_is_not_taken_for_it(
    tmp_path: Path, photos: Path, pipeline: FacePipeline
) -> None:
    """A small new face has the deleted face's centre, but another one overlaps that by half."""
    old, new = tmp_path / "old.dataset", tmp_path / "new.dataset"

    def with_one_within(found: list[Detection]) -> list[Detection]:
        x, y, width, height = found[0].box.tolist()
        box = np.array([x + width / 4, y + height / 4, width / 2, height / 2], np.float32)
        return [moved(found[0], 0.15, 0), replace(found[0], box=box)]

    embed_here(photos, old, changed(pipeline, lambda found: found[:2], "two"))
    (gone,) = (f for f in boxes_by_id(old) if f == first_face_id(photo_id_of(old), 0))
    delete_faces(old, [], faces=gone)
    purge(old, [])
    embed_here(photos, new, changed(pipeline, with_one_within, "one within"), follows=old)
    ((face_id, box),) = boxes_by_id(new).items()
    assert face_id not in boxes_by_id(old)
    assert box[2] < 100
    assert len(Dataset.open(new).kept_away()) == 1


def test_a_face_deleted_from_the_dataset_that_follows_is_not_let_in_by_the_other(
    tmp_path: Path, photos: Path, old: Path, pipeline: FacePipeline, another_photo: bytes
) -> None:
    """What was decided about the dataset itself holds."""
    new, edited = tmp_path / "new.dataset", photos / "edited.jpg"
    again = let_in_again(edited, old, pipeline)
    embed_here(photos, new, pipeline, follows=old)
    delete_faces(new, [], faces=again)
    purge(new, [])
    with embedded_meanwhile(
        edited, another_photo, lambda: embed_here(photos, new, pipeline, follows=old)
    ):
        pass
    assert again in boxes_by_id(old)
    assert again not in boxes_by_id(new)


def test_a_photo_that_was_changed_and_changed_back_has_its_ids_again(
    tmp_path: Path, photos: Path, old: Path, other: FacePipeline, another_photo: bytes
) -> None:
    """The dataset itself knows the superseded faces; the old one is not named any more."""
    new, group = tmp_path / "new.dataset", photos / "group.jpg"
    embed_here(photos, new, other, follows=old)
    ids = boxes_by_id(new).keys()
    with embedded_meanwhile(group, another_photo, lambda: embed_here(photos, new, other)):
        assert not boxes_by_id(new).keys() & ids
    assert boxes_by_id(new).keys() == ids


def test_an_id_of_superseded_faces_is_never_given_to_another_face(
    tmp_path: Path, photos: Path, old: Path, other: FacePipeline, another_photo: bytes
) -> None:
    """A purge has forgotten them, so the faces get new ids; none gets that of another face."""
    new, group = tmp_path / "new.dataset", photos / "group.jpg"
    embed_here(photos, new, other, follows=old)
    before = boxes_by_id(new)
    with embedded_meanwhile(group, another_photo, lambda: embed_here(photos, new, other)):
        purge(new, [])
    after = boxes_by_id(new)
    assert len(after) == 4
    assert all(before[face_id] == after[face_id] for face_id in before.keys() & after.keys())


def test_a_newer_detector_of_the_same_contract_keeps_ids_in_the_dataset_itself(
    photos: Path, old: Path, pipeline: FacePipeline, another_photo: bytes
) -> None:
    """Nothing names an old dataset here: the dataset has the earlier faces in its own parts."""
    newer = changed(pipeline, backwards_with_one_more, pipeline.detector.name)
    ids, gone, group = boxes_by_id(old).keys(), at(old, 1), photos / "group.jpg"
    delete_faces(old, [], faces=gone)
    with embedded_meanwhile(group, another_photo, lambda: embed_here(photos, old, newer)):
        pass
    assert boxes_by_id(old).keys() & ids == ids - {gone}
    assert len(boxes_by_id(old)) == 3


def test_an_index_follows_a_deletion_by_the_kept_id(
    tmp_path: Path, photos: Path, old: Path, other: FacePipeline
) -> None:
    new, index = tmp_path / "new.dataset", tmp_path / "faces.index"
    embed_here(photos, new, other, follows=old)
    assert build_index(new, index).num_faces == 4
    delete_faces(old, [], faces=at(old, 1))
    embed_here(photos, new, other, follows=old)
    assert build_index(new, index).num_faces == 3


def faces_by_side(dataset: Path) -> dict[int, str]:
    """Return the face_id of the face in each side of the group, from 0; the upper one of two."""
    sides = {int(box[0] // 400) for box in boxes_by_id(dataset).values()}
    return {side: at(dataset, side) for side in sides}


def test_a_dataset_that_was_begun_alone_follows_deletions_by_the_place_of_the_faces(
    tmp_path: Path, photos: Path, old: Path, other: FacePipeline
) -> None:
    """Its detector numbers the faces otherwise, so a face_id is another face's there."""
    new = tmp_path / "new.dataset"
    embed_here(photos, new, other)
    sides, of_new = faces_by_side(old), faces_by_side(new)
    everything = boxes_by_id(new).keys()
    assert sides[0] in everything
    assert sides[0] != of_new[0]

    deletion = delete_faces(old, [], faces=sides[0]).deletion_id
    assert deletion is not None
    embed_here(photos, new, other, follows=old)
    assert boxes_by_id(new).keys() == everything - {of_new[0]}
    undo(old, deletion)
    embed_here(photos, new, other, follows=old)
    assert boxes_by_id(new).keys() == everything
    delete_faces(old, [], faces=sides[0])
    purge(old, [])
    for _ in range(2):
        embed_here(photos, new, other, follows=old)
        assert boxes_by_id(new).keys() == everything - {of_new[0]}
    purge(new, [])  # it raises if it finds the face
    embed_here(photos, new, other, follows=old)
    assert boxes_by_id(new).keys() == everything - {of_new[0]}


def test_a_face_is_not_deleted_for_another_one_that_had_its_id(
    tmp_path: Path, photos: Path, old: Path, pipeline: FacePipeline
) -> None:
    """The new dataset does not have the deleted face, which is kept away from edited copies."""
    new = tmp_path / "new.dataset"
    (side, gone), *_ = [
        (side, face_id)
        for side, face_id in faces_by_side(old).items()
        if face_id == first_face_id(photo_id_of(old), 0)
    ]

    def others(found: list[Detection]) -> list[Detection]:
        return [face for face in found if face.box[0] // 400 != side]

    embed_here(photos, new, changed(pipeline, others, "same"))
    ids = boxes_by_id(new).keys()
    assert gone in ids  # it is the number of another face there
    delete_faces(old, [], faces=gone)
    embed_here(photos, new, changed(pipeline, others, "same"), follows=old)
    assert boxes_by_id(new).keys() == ids
    with PIL.Image.open(photos / "group.jpg") as photo:
        photo.save(photos / "edited.jpg", quality=80)
    embed_here(photos, new, changed(pipeline, list, "same"), follows=old)
    assert len(Dataset.open(new).kept_away()) == 1
    assert len(boxes_by_id(new)) == 2 + 2


def photo_id_of(dataset: Path) -> str:
    (photo_id,) = Dataset.open(dataset).photos()["photo_id"].to_pylist()
    return str(photo_id)
