"""A head on a dataset's embeddings: no photo is read; faces, ids and deletions are kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_jobs.embed_photos import embed_photos
from beam_jobs.options import EmbedOptions
from beam_jobs.reembed import reembed
from faces.core.machine import cache_dir
from faces.core.settings import FaceSelection
from faces.dataset.schema import PhotoStatus, embedding_matrix
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.purge import purge
from indexer.undo import undo
from search.searcher import FaceSearcher
from tests.support.custom_networks import head_weights, write_head


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep heads of one name apart in tests that run side by side."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "weights").symlink_to(cache_dir() / "weights")
    monkeypatch.setenv("FACETROVE_CACHE", str(cache))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """A folder with photos, copies and a photo without a face, and their dataset."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(demo_photos, folder / "photos")
    shutil.copy(folder / "photos" / "biden.jpg", folder / "photos" / "z-copy.jpg")
    (folder / "photos" / "broken.jpg").write_bytes(b"no photo")
    rows = [f"{path.name},{path.stem}" for path in sorted((folder / "photos").glob("*.jpg"))]
    (folder / "photos" / "list.csv").write_text("\n".join(["path,person", *rows]) + "\n")
    embed_photos(folder / "photos" / "list.csv", folder / "first", workers=1)
    shutil.copytree(folder, folder / "as-made")
    return folder


@pytest.fixture
def first(made: Path) -> Iterator[Path]:
    """The dataset, whose photos are away."""
    shutil.rmtree(made / "first")
    shutil.copytree(made / "as-made" / "first", made / "first")
    (made / "photos").rename(made / "away")
    yield made / "first"
    (made / "away").rename(made / "photos")


def choice(folder: Path) -> ModelChoice:
    return ModelChoice(embedder=str(write_head(folder)))


def rows_of(dataset: Path) -> dict[str, dict[str, object]]:
    found = {}
    for table in Dataset.open(dataset).faces():
        for row, embedding in zip(table.to_pylist(), embedding_matrix(table), strict=True):
            found[row["face_id"]] = {**row, "embedding": embedding}
    return found


def photos_of(dataset: Path) -> list[dict[str, object]]:
    table = Dataset.open(dataset).photos()
    return table.drop_columns(["part"] if "part" in table.column_names else []).to_pylist()


def test_no_photo_is_read_and_all_but_the_embeddings_stays(first: Path, tmp_path: Path) -> None:
    summary = reembed(first, tmp_path / "better", models=choice(tmp_path), workers=1)
    before, after = rows_of(first), rows_of(tmp_path / "better")
    assert len(before) >= 6 and list(after) == list(before)
    for face_id, row in after.items():
        expected = before[face_id]["embedding"] @ head_weights(tmp_path)
        assert np.allclose(row.pop("embedding"), expected / np.linalg.norm(expected), atol=1e-5)
        assert row == {k: v for k, v in before[face_id].items() if k != "embedding"}
    ignored = {"faces_part"}
    for now, then in zip(photos_of(tmp_path / "better"), photos_of(first), strict=True):
        assert {k: v for k, v in now.items() if k not in ignored} == {
            k: v for k, v in then.items() if k not in ignored
        }
    counts = Dataset.open(tmp_path / "better").counts()
    assert counts == Dataset.open(first).counts()
    assert summary.done.num_faces == len(before)
    assert not summary.detected
    assert Dataset.open(tmp_path / "better").contract.dimension == 32
    again = reembed(first, tmp_path / "better", workers=1)
    assert again.done.num_photos == 0


def test_a_photo_searched_for_goes_through_base_and_head(
    made: Path, first: Path, tmp_path: Path
) -> None:
    reembed(first, tmp_path / "better", models=choice(tmp_path), workers=1)
    build_index(tmp_path / "better", tmp_path / "index")
    [probe] = FaceSearcher.open(tmp_path / "index").search(made / "away" / "biden.jpg", face=1)
    best = probe.matches[0]
    assert best.similarity > 0.999 and "biden.jpg" in best.uri + str(best.also_at)


@pytest.mark.lasting
@pytest.mark.slow
def test_photos_as_the_source_give_the_same(made: Path, tmp_path: Path) -> None:
    models = choice(tmp_path)
    embed_photos(made / "photos" / "list.csv", tmp_path / "photos", models=models, workers=1)
    reembed(made / "first", tmp_path / "stored", models=models, workers=1)
    by_photos, stored = rows_of(tmp_path / "photos"), rows_of(tmp_path / "stored")
    assert by_photos.keys() == stored.keys()
    for face_id, row in by_photos.items():
        assert row["embedding"] @ stored[face_id]["embedding"] > 0.9999
        assert row["embedding_norm"] == pytest.approx(stored[face_id]["embedding_norm"], rel=1e-4)
    contracts = {Dataset.open(tmp_path / name).contract for name in ("photos", "stored")}
    assert len(contracts) == 1


@pytest.mark.parametrize("purged", [False, True], ids=["deleted", "purged"])
def test_deleted_faces_stay_deleted(first: Path, tmp_path: Path, purged: bool) -> None:
    gone = next(f for f, row in rows_of(first).items() if "obama" in str(row["uri"]))
    deletion = delete_faces(first, [], f"face_id = '{gone}'").deletion_id
    if purged:
        purge(first, [])
    reembed(first, tmp_path / "better", models=choice(tmp_path), workers=1)
    assert rows_of(tmp_path / "better").keys() == rows_of(first).keys()
    assert gone not in rows_of(tmp_path / "better")
    if not purged:  # it is withheld in both, and seen again in both
        undo(first, deletion, [])
        reembed(first, tmp_path / "better", workers=1)
        assert gone in rows_of(tmp_path / "better")


def test_faces_deleted_later_leave_the_second_dataset(first: Path, tmp_path: Path) -> None:
    reembed(first, tmp_path / "better", models=choice(tmp_path), workers=1)
    gone = next(iter(rows_of(first)))
    delete_faces(first, [], f"face_id = '{gone}'")
    reembed(first, tmp_path / "better", workers=1)
    assert gone not in rows_of(tmp_path / "better")


def test_only_photos_whose_part_is_lost_are_read(made: Path, first: Path, tmp_path: Path) -> None:
    """The photos are away, so those of the lost part are rejected, and the others stay."""
    part = max(
        (first / "faces").glob("*.parquet"), key=lambda path: pq.read_metadata(path).num_rows
    )
    lost = set(pq.read_table(part)["face_id"].to_pylist())
    part.unlink()
    reembed(first, tmp_path / "better", models=choice(tmp_path), workers=1)
    photos = photos_of(tmp_path / "better")
    assert rows_of(tmp_path / "better").keys() == rows_of(made / "as-made" / "first").keys() - lost
    assert PhotoStatus.REJECTED.value in {photo["status"] for photo in photos}


def test_another_selection_detects_anew(first: Path, tmp_path: Path) -> None:
    options = EmbedOptions(selection=FaceSelection(min_face=100))
    reembed(first, tmp_path / "b", models=choice(tmp_path), options=options, workers=1)
    assert not rows_of(tmp_path / "b")  # the photos are away, and would have to be read
