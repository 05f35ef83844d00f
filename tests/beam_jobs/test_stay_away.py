"""Deleted faces stay away when edited copies of their photos are embedded, and the right ones."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from faces.core.errors import WrongUsageError
from faces.dataset.following import FollowedDeletions
from faces.dataset.header import DatasetSettings
from faces.dataset.letting_in import allow_faces
from faces.dataset.schema import ADDED_COLUMNS
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.face import Detection
from faces.models.pipeline import FacePipeline
from indexer.delete import DeletionResult, delete_faces
from indexer.purge import purge
from indexer.undo import undo
from tests.support.command import ONE_WORKER, run_facetrove
from tests.support.embedding_here import changed, embed_here
from tests.support.parts import without_columns

Picture = PIL.Image.Image


def jpeg(image: Picture, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def commented(image: Picture) -> bytes:
    content, comment = jpeg(image), b"rated 5"
    marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big")
    return content[:2] + marker + comment + content[2:]


def cropped(image: Picture) -> bytes:
    x, y = round(image.width * 0.05), round(image.height * 0.05)
    return jpeg(image.crop((x, y, image.width - x, image.height - y)))


def exposed(stops: float) -> Callable[[Picture], bytes]:
    """Return an edit that changes the exposure: light times 2 ** stops, with sRGB's curve."""

    def edit(image: Picture) -> bytes:
        coded = np.asarray(image, np.float64) / 255
        light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
        light = np.clip(light * 2**stops, 0, 1)
        coded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        return jpeg(PIL.Image.fromarray(np.round(coded * 255).astype(np.uint8)))

    return edit


EDITS: dict[str, Callable[[Picture], bytes]] = {
    "compressed": lambda image: jpeg(image, 50),
    "halved": lambda image: jpeg(image.resize((image.width // 2, image.height // 2), 3), 80),
    "commented": commented,
    "cropped": cropped,
    "brighter": exposed(1),
    "darker": exposed(-1),
}


Embed = Callable[..., set[str]]


@pytest.fixture
def embed(pipeline: FacePipeline) -> Embed:
    """A function that embeds photos as a worker does, and returns the names with faces."""

    def run(photos: Path, dataset: Path, pipeline: FacePipeline = pipeline) -> set[str]:
        embed_here(photos, dataset, pipeline)
        return names_with_faces(dataset)

    return run


def names_with_faces(dataset: Path) -> set[str]:
    uris = Dataset.open(dataset).faces(["uri"]).to_arrow()["uri"].to_pylist()
    return {Path(uri).name for uri in uris}


def delete(dataset: Path, photo: Path) -> DeletionResult:
    deleted = delete_faces(dataset, [], photos=photo)
    purge(dataset, [])
    return deleted


def tighter(found: Detection) -> Detection:
    x, y, width, height = found.box.tolist()
    box = (x + 0.1 * width, y + 0.2 * height, 0.8 * width, 0.7 * height)
    return replace(found, box=np.array(box, np.float32))


def in_the_corner(found: Detection) -> Detection:
    box, landmarks = found.box / 4, found.landmarks / 4
    return replace(found, box=box - [*box[:2], 0, 0], landmarks=landmarks - box[:2])


def tighter_and_in_the_corner(detections: list[Detection]) -> list[Detection]:
    """Draw tighter boxes, and find a small face in the corner before each of them."""
    return [face for found in detections for face in (in_the_corner(found), tighter(found))]


@pytest.fixture
def photo(tmp_path: Path, demo_photos: Path) -> Path:
    """A folder with one photo, whose face is going to be deleted."""
    path = tmp_path / "photos" / "obama2.jpg"
    path.parent.mkdir()
    path.write_bytes((demo_photos / "obama2.jpg").read_bytes())
    return path


@pytest.fixture
def edited(tmp_path: Path, photo: Path, demo_photos: Path) -> Path:
    """A folder with edited copies of the photo, and with photos of the same and other people."""
    folder = tmp_path / "edited"
    folder.mkdir()
    image = PIL.Image.open(photo).convert("RGB")
    for name, edit in EDITS.items():
        (folder / f"{name}.jpg").write_bytes(edit(image))
    for other in ("obama3.jpg", "biden.jpg"):
        (folder / other).write_bytes((demo_photos / other).read_bytes())
    return folder


@pytest.mark.parametrize(
    "is_old", [False, True], ids=["new dataset", "dataset of an older version"]
)
def test_a_deleted_face_stays_away_in_edited_copies(
    tmp_path: Path, photo: Path, edited: Path, embed: Embed, is_old: bool
) -> None:
    dataset = tmp_path / "faces.dataset"
    embed(photo, dataset)
    if is_old:
        without_columns(dataset / "photos", *ADDED_COLUMNS)
    assert delete(dataset, photo).num_recognisable == 1

    assert embed(edited, dataset) == {"obama3.jpg", "biden.jpg"}
    counts = Dataset.open(dataset).counts()
    assert (counts.num_kept_away, counts.num_uncertain) == (len(EDITS), 0)
    kept = Dataset.open(dataset).kept_away()
    assert {Path(uri).stem for uri in kept["uri"].to_pylist()} == set(EDITS)
    assert set(kept["certainty"].to_pylist()) == {"same_picture"}


def test_a_face_that_was_kept_away_is_let_in_and_deleted_again(
    tmp_path: Path, photo: Path, edited: Path, embed: Embed
) -> None:
    dataset = tmp_path / "faces.dataset"
    embed(photo, dataset)
    delete(dataset, photo)
    embed(edited, dataset)

    assert len(allow_faces(dataset, photos=edited / "cropped.jpg")) == 1
    assert embed(edited, dataset) == {"obama3.jpg", "biden.jpg", "cropped.jpg"}
    assert Dataset.open(dataset).counts().num_kept_away == len(EDITS) - 1
    purge(dataset, [])  # which finds no trace of a deleted face
    delete(dataset, edited / "cropped.jpg")
    assert embed(edited, dataset) == {"obama3.jpg", "biden.jpg"}


def test_edited_copies_come_with_the_next_run_after_the_deletion_was_taken_back(
    tmp_path: Path, photo: Path, edited: Path, embed: Embed
) -> None:
    dataset = tmp_path / "faces.dataset"
    embed(photo, dataset)
    deletion_id = delete_faces(dataset, [], photos=photo).deletion_id
    assert embed(edited, dataset) == {"obama3.jpg", "biden.jpg"}
    assert Dataset.open(dataset).counts().num_kept_away == len(EDITS)
    assert deletion_id is not None
    undo(dataset, deletion_id)
    assert names_with_faces(dataset) == {photo.name, "obama3.jpg", "biden.jpg"}
    everything = {path.name for path in edited.iterdir()}
    assert embed(edited, dataset) == {photo.name, *everything}
    assert Dataset.open(dataset).counts().num_kept_away == 0


def test_the_very_photo_of_a_deleted_face_is_let_in(
    tmp_path: Path, photo: Path, embed: Embed
) -> None:
    dataset = tmp_path / "faces.dataset"
    embed(photo, dataset)
    delete(dataset, photo)
    assert embed(photo, dataset) == set()
    (kept,) = Dataset.open(dataset).kept_away().to_pylist()
    assert kept["certainty"] == "same_bytes"
    assert allow_faces(dataset, faces=kept["digest"][:16]) == [kept["digest"]]
    assert embed(photo, dataset) == {photo.name}
    purge(dataset, [])
    assert names_with_faces(dataset) == {photo.name}


def test_of_two_people_in_a_photo_only_the_deleted_one_stays_away(
    tmp_path: Path, demo_photos: Path, embed: Embed
) -> None:
    names = ("biden.jpg", "grace_hopper.jpg")
    sides = [PIL.Image.open(demo_photos / name).convert("RGB").resize((400, 500)) for name in names]
    both = PIL.Image.new("RGB", (800, 500))
    for number, side in enumerate(sides):
        both.paste(side, (400 * number, 0))
    photos, dataset = tmp_path / "photos", tmp_path / "faces.dataset"
    photos.mkdir()
    (photos / "both.jpg").write_bytes(jpeg(both))
    embed(photos, dataset)
    faces = Dataset.open(dataset).faces(["face_id", "box"]).to_arrow().to_pylist()
    left, right = sorted(faces, key=lambda face: float(face["box"][0]))
    delete_faces(dataset, [], faces=left["face_id"])

    (photos / "cropped.jpg").write_bytes(cropped(both))
    embed(photos, dataset)
    table = Dataset.open(dataset).faces(["uri", "box"]).to_arrow()
    assert sorted(Path(uri).name for uri in table["uri"].to_pylist()) == ["both.jpg", "cropped.jpg"]
    for box in table["box"].to_pylist():
        assert box[0] == pytest.approx(right["box"][0], abs=60)
    assert Dataset.open(dataset).counts().num_kept_away == 1

    allow_faces(dataset, photos=photos / "cropped.jpg")
    embed(photos, dataset)
    uris = Dataset.open(dataset).faces(["uri"]).to_arrow()["uri"].to_pylist()
    assert sorted(Path(uri).name for uri in uris) == ["both.jpg", "cropped.jpg", "cropped.jpg"]


def test_deletions_of_another_dataset_are_followed(
    tmp_path: Path, photo: Path, edited: Path, embed: Embed, pipeline: FacePipeline
) -> None:
    old, new = tmp_path / "old.dataset", tmp_path / "new.dataset"
    embed(photo, old)
    delete(old, photo)
    with DatasetWriter.open(new, DatasetSettings(pipeline.contract)):
        FollowedDeletions.of(old, None).withhold_from(new)
    assert embed(edited, new) == {"obama3.jpg", "biden.jpg"}
    assert Dataset.open(new).counts().num_kept_away == len(EDITS)


def test_a_face_stays_away_where_another_detector_finds_it(
    tmp_path: Path, photo: Path, edited: Path, embed: Embed, pipeline: FacePipeline
) -> None:
    """Its box is another, and so are the face_ids: a further face comes before it."""
    dataset = tmp_path / "faces.dataset"
    embed(photo, dataset)
    delete(dataset, photo)
    other = changed(pipeline, tighter_and_in_the_corner, pipeline.detector.name)
    for photos in (photo, edited):
        embed(photos, dataset, other)
    kept = Dataset.open(dataset).kept_away()
    assert {Path(uri).stem for uri in kept["uri"].to_pylist()} == {"obama2", *EDITS}
    # Of the very file every face is kept away, of the edited copies only the deleted one.
    assert len(kept) == len(EDITS) + 2


@pytest.mark.lasting
@pytest.mark.slow
def test_the_command_keeps_edited_copies_away_and_says_so(
    tmp_path: Path, photo: Path, edited: Path
) -> None:
    dataset = tmp_path / "faces.dataset"
    assert run_facetrove("embed", photo, dataset, *ONE_WORKER).returncode == 0
    deleted = run_facetrove("delete", dataset, "--photo", photo, "--yes")
    assert "edited copies" not in deleted.stdout
    report = tmp_path / "purge.json"
    assert "kept, so that" in run_facetrove("purge", dataset, "--report", report).stdout
    assert len(json.loads(report.read_text())["kept"]) == 2

    again = run_facetrove("embed", edited, dataset, *ONE_WORKER)
    assert f"{len(EDITS)} faces kept away, because they were deleted before" in again.stdout
    info = run_facetrove("info", dataset).stdout
    assert f"{len(EDITS)} faces kept away, because they were deleted before" in info
    listed = run_facetrove("info", dataset, "--kept-away").stdout.splitlines()
    assert len(listed) == len(EDITS)
    certainty, digest, _, uri = listed[0].split("\t")
    assert certainty == "same_picture"
    document = json.loads(run_facetrove("info", dataset, "--kept-away", "--json").stdout)
    assert document["kept_away"][0]["digest"].startswith(digest)

    allowed = run_facetrove("allow", dataset, "--face", digest)
    assert allowed.stdout.startswith(f"{dataset} lets in 1 face again\n")
    embed_again = run_facetrove("embed", edited, dataset, *ONE_WORKER)
    assert "embedded 1 face of 1 photo" in embed_again.stdout
    assert names_with_faces(dataset) == {"obama3.jpg", "biden.jpg", Path(uri).name}

    new = tmp_path / "new.dataset"
    follow = ("--deletions-of", dataset, "--embedder", "sface", *ONE_WORKER)
    assert run_facetrove("embed", photo, edited, new, *follow).returncode == 0
    assert names_with_faces(new) == {"obama3.jpg", "biden.jpg", Path(uri).name}


def test_letting_in_says_what_it_does_not_know(tmp_path: Path, photo: Path, embed: Embed) -> None:
    dataset = tmp_path / "faces.dataset"
    embed(photo, dataset)
    with pytest.raises(WrongUsageError, match="no faces are named"):
        allow_faces(dataset)
    with pytest.raises(WrongUsageError, match="is too short"):
        allow_faces(dataset, faces="0123")
    with pytest.raises(WrongUsageError, match="was kept away; `facetrove info"):
        allow_faces(dataset, photos=photo)
