"""Re-embedding the faces of a dataset with another model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.embed_photos import embed_photos
from beam_jobs.reembed import plan_reembedding, reembed
from faces.core.errors import WrongUsageError
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.purge import purge
from indexer.undo import undo
from indexer.verify import verify_index

FLOAT = ModelChoice(embedder="sface")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """A folder with photos and the dataset that the default model makes of them."""
    folder = tmp_path_factory.mktemp("begun")
    shutil.copytree(demo_photos, folder / "photos")
    embed_photos(folder / "photos", folder / "first", workers=1)
    shutil.copytree(folder, folder / "as-made")
    return folder


@pytest.fixture
def photos(begun: Path) -> Path:
    """The photos, restored after the previous test at the same paths."""
    return restored(begun, "photos")


@pytest.fixture
def first(begun: Path) -> Path:
    """The dataset of the photos, restored after the previous test."""
    return restored(begun, "first")


def restored(begun: Path, name: str) -> Path:
    shutil.rmtree(begun / name)
    shutil.copytree(begun / "as-made" / name, begun / name)
    return begun / name


def faces_of(dataset: Path) -> dict[str, tuple[str, list[float], np.ndarray]]:
    """Photo, box and embedding by face_id."""
    found = {}
    for table in Dataset.open(dataset).faces():
        for row, embedding in zip(table.to_pylist(), embedding_matrix(table), strict=True):
            found[row["face_id"]] = (row["uri"], row["box"], embedding)
    return found


@pytest.mark.lasting
@pytest.mark.slow
def test_re_embedding_gives_the_same_as_embedding_the_photos(
    photos: Path, first: Path, tmp_path: Path
) -> None:
    summary = reembed(first, tmp_path / "again", models=FLOAT, workers=1)
    embed_photos(photos, tmp_path / "anew", models=FLOAT, workers=1)
    again, anew = faces_of(tmp_path / "again"), faces_of(tmp_path / "anew")
    assert again.keys() == anew.keys() == faces_of(first).keys()
    for face_id, (uri, box, embedding) in again.items():
        assert (uri, box) == anew[face_id][:2]
        assert float(embedding @ anew[face_id][2]) > 0.9999
    counts = Dataset.open(tmp_path / "again").counts()
    assert counts == Dataset.open(tmp_path / "anew").counts()
    assert summary.done.num_faces == 7
    # Afterwards nothing is new, neither from the dataset nor from the photos.
    assert reembed(first, tmp_path / "again", workers=1).done.num_photos == 0
    assert embed_photos(photos, tmp_path / "again", workers=1).done.num_photos == 0


@pytest.mark.slow
def test_faces_are_not_detected_again(first: Path, tmp_path: Path) -> None:
    """The boxes in the source are moved; a detector would put them back."""
    moved = 0
    for path in (first / "faces").glob("*.parquet"):
        table = pq.read_table(path)
        boxes = np.array(table["box"].to_pylist(), np.float32).reshape(-1, 4) + 1.5
        column = pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4)
        position = table.schema.get_field_index("box")
        pq.write_table(table.set_column(position, table.schema.field(position), column), path)
        moved += len(table)
    reembed(first, tmp_path / "again", models=FLOAT, workers=1)
    before, after = faces_of(first), faces_of(tmp_path / "again")
    assert moved == len(after) == 7
    assert all(after[face_id][1] == before[face_id][1] for face_id in before)


@pytest.mark.slow
def test_faces_are_detected_anew_in_a_changed_photo(
    photos: Path, first: Path, tmp_path: Path
) -> None:
    """Given faces belong to a content, not to a path."""
    shutil.copy(photos / "obama2.jpg", photos / "biden.jpg")
    reembed(first, tmp_path / "again", models=FLOAT, workers=1)
    of_biden = [
        (face_id, embedding)
        for face_id, (uri, _, embedding) in faces_of(tmp_path / "again").items()
        if uri.endswith("biden.jpg")
    ]
    of_obama = [e for uri, _, e in faces_of(tmp_path / "again").values() if "obama2" in uri]
    assert len(of_biden) + len(of_obama) == 1  # one content at two paths
    old = {face_id for face_id, (uri, *_) in faces_of(first).items() if uri.endswith("biden.jpg")}
    assert not old & faces_of(tmp_path / "again").keys()


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("purged", [False, True], ids=["deleted", "purged"])
def test_deleted_faces_stay_deleted(
    photos: Path, first: Path, tmp_path: Path, purged: bool
) -> None:
    gone = next(f for f, (uri, *_) in faces_of(first).items() if uri.endswith("biden.jpg"))
    delete_faces(first, [], f"face_id = '{gone}'")
    if purged:
        purge(first, [])
    reembed(first, tmp_path / "again", models=FLOAT, workers=1)
    assert len(faces_of(tmp_path / "again")) == 6
    assert gone not in faces_of(tmp_path / "again")
    # The face does not come back when its photo is embedded into the new dataset either.
    (photos / "biden.jpg").touch()
    embed_photos(photos, tmp_path / "again", workers=1)
    assert gone not in faces_of(tmp_path / "again")
    assert len(faces_of(tmp_path / "again")) == 6


@pytest.mark.lasting
@pytest.mark.slow
def test_faces_deleted_later_are_deleted_from_the_second_dataset_too(
    photos: Path, first: Path, tmp_path: Path
) -> None:
    again, index = tmp_path / "again", tmp_path / "index"
    reembed(first, again, models=FLOAT, workers=1)
    build_index(again, index)
    gone = next(f for f, (uri, *_) in faces_of(first).items() if uri.endswith("biden.jpg"))
    # A photo list with a new column adds rows of copies, which must not keep the face.
    (photos / "list.csv").write_text(
        "path,album\n" + "".join(f"{p.name},x\n" for p in some(photos))
    )
    embed_photos(photos / "list.csv", first, workers=1)
    delete_faces(first, [], f"face_id = '{gone}'")
    reembed(first, again, workers=1)
    assert gone not in faces_of(again)
    assert Dataset.open(again).counts().num_faces == len(faces_of(again)) == 6
    build_index(again, index)
    assert verify_index(index, again).problems == ()
    assert len(purge(again, [index]).deleted_face_digests) == 1  # it raises if it finds the face


@pytest.mark.slow
@pytest.mark.usefixtures("photos")
def test_faces_taken_back_are_in_the_second_dataset_again(first: Path, tmp_path: Path) -> None:
    again, index = tmp_path / "again", tmp_path / "index"
    gone = next(f for f, (uri, *_) in faces_of(first).items() if uri.endswith("biden.jpg"))
    deletion_id = delete_faces(first, [], f"face_id = '{gone}'").deletion_id
    assert deletion_id is not None
    reembed(first, again, models=FLOAT, workers=1)
    assert gone not in faces_of(again)
    build_index(again, index)
    undo(first, deletion_id)
    reembed(first, again, workers=1)
    assert gone in faces_of(again)
    build_index(again, index)
    assert verify_index(index, again).problems == ()
    assert len(faces_of(again)) == len(faces_of(first))


@pytest.mark.lasting
@pytest.mark.slow
def test_faces_whose_part_was_lost_are_detected_again(
    photos: Path, first: Path, tmp_path: Path
) -> None:
    for path in (first / "faces").glob("*.parquet"):
        path.unlink()
    for path in (first / "photos").glob("*.parquet"):
        path.unlink()  # as the error of the lost part advises, but for one photo's copy
    embed_photos(photos, first, workers=1)
    shutil.copy(photos / "biden.jpg", photos / "copy.jpg")
    embed_photos(photos, first, workers=1)
    owner = max((first / "photos").glob("*.parquet"))
    (owner_of_faces,) = [
        path
        for path in (first / "faces").glob("*.parquet")
        if any(uri.endswith("biden.jpg") for uri in pq.read_table(path)["uri"].to_pylist())
    ]
    assert owner.name != owner_of_faces.name
    owner_of_faces.unlink()
    (first / "photos" / owner_of_faces.name).unlink()
    reembed(first, tmp_path / "again", models=FLOAT, workers=1)
    found = [uri for uri, *_ in faces_of(tmp_path / "again").values()]
    assert any(uri.endswith("copy.jpg") for uri in found)


def some(photos: Path) -> list[Path]:
    return sorted(photos.glob("*.jpg"))


def test_wrong_uses_say_what_to_do(photos: Path, first: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUsageError, match="cannot be embedded into itself"):
        reembed(first, first, models=FLOAT)
    with pytest.raises(WrongUsageError, match="name it alone"):
        embed_photos([first, photos], tmp_path / "again", models=FLOAT)


def test_a_dry_run_counts_the_photos(first: Path, tmp_path: Path) -> None:
    found = plan_reembedding(first, tmp_path / "again")
    assert (found.num_photos, found.num_new) == (9, 9)
    assert not (tmp_path / "again").exists()
