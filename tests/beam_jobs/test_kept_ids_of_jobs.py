"""Jobs that detect the faces of a dataset anew keep face_ids, columns and deletions."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_jobs.embed_photos import embed_photos
from beam_jobs.options import EmbedOptions
from beam_jobs.reembed import plan_reembedding, reembed
from faces.core.settings import FaceSelection
from faces.dataset.face_ids import MIN_OVERLAP
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from faces.models.face import intersection_over_union
from facetrove.demo_photos import fetch_demo_photos
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.undo import undo
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.command import ONE_WORKER, facetrove_command, run_facetrove
from tests.support.deepface_home import make_deepface_home
from tests.support.embedding_here import boxes_by_id
from tests.support.jobs import wait_for_parts

MORE = EmbedOptions(selection=FaceSelection(min_score=0.2))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """The dataset of the demo's photos, with a column. Tests must not change it."""
    folder = tmp_path_factory.mktemp("old")
    rows = [f"{path},{path.stem}" for path in sorted(demo_photos.iterdir())]
    (folder / "list.csv").write_text("\n".join(["path,person", *rows]) + "\n")
    embed_photos(folder / "list.csv", folder / "old.dataset", workers=1)
    return folder / "old.dataset"


@pytest.fixture
def own_old(tmp_path: Path, old: Path) -> Path:
    """A copy of the dataset, to change it."""
    return Path(shutil.copytree(old, tmp_path / "own-old.dataset"))


def require_ids_kept(old: Path, new: Path) -> int:
    """Check that all ids of faces that overlap are kept, and no others; return their number."""
    before, after = boxes_by_id(old), boxes_by_id(new)
    photo_of = {}
    for dataset in (old, new):
        rows = Dataset.open(dataset).faces(["face_id", "photo_id"]).to_arrow().to_pylist()
        photo_of |= {row["face_id"]: row["photo_id"] for row in rows}
    for face_id, box in after.items():
        others = {f: b for f, b in before.items() if photo_of[f] == photo_of[face_id]}
        overlap = intersection_over_union(
            np.array(list(others.values()), np.float32).reshape(-1, 4), np.array(box, np.float32)
        )
        partners = [f for f, share in zip(others, overlap, strict=True) if share >= MIN_OVERLAP]
        assert (face_id in before) == bool(partners)
        assert not partners or face_id in partners
    return len(before.keys() & after.keys())


@pytest.mark.lasting
@pytest.mark.slow
def test_more_faces_by_a_lower_score(own_old: Path, tmp_path: Path) -> None:
    """Their columns, a deletion and its undo, and an index follow the ids that were kept."""
    new, index = tmp_path / "new.dataset", tmp_path / "faces.index"
    gone, *_ = boxes_by_id(own_old)
    deletion = delete_faces(own_old, [], faces=gone).deletion_id
    assert deletion is not None
    summary = reembed(own_old, new, options=MORE, workers=1)
    assert summary.detected
    assert summary.total.num_photos == 9
    assert gone not in boxes_by_id(new)
    assert len(boxes_by_id(new)) > len(boxes_by_id(own_old)) == 6
    build_index(new, index)
    undo(own_old, deletion)
    # Options and models are the new dataset's own from now on.
    assert reembed(own_old, new, workers=1).done.num_photos == 0
    assert require_ids_kept(own_old, new) == 7
    build_index(new, index)
    assert verify_index(index, new).problems == ()
    portrait = fetch_demo_photos()[1]
    (probe,) = FaceSearcher.open(index).search(portrait, k=3)
    assert {match.face_id for match in probe.matches} <= boxes_by_id(own_old).keys()
    people = Dataset.open(new).faces(["face_id", "person", "uri"]).to_arrow().to_pylist()
    assert all(row["person"] == Path(row["uri"]).stem for row in people)


@pytest.mark.lasting
@pytest.mark.slow
def test_fewer_faces_by_their_size_and_back_again(old: Path, tmp_path: Path) -> None:
    fewer, back = tmp_path / "fewer.dataset", tmp_path / "back.dataset"
    large = EmbedOptions(selection=FaceSelection(min_face=150))
    found = plan_reembedding(old, fewer, options=large)
    assert (found.num_photos, found.num_new) == (9, 9)
    reembed(old, fewer, options=large, workers=1)
    num_large = require_ids_kept(old, fewer)
    assert 0 < num_large < 7
    reembed(fewer, back, options=EmbedOptions(selection=FaceSelection()), workers=1)
    assert require_ids_kept(fewer, back) == num_large
    assert len(boxes_by_id(back)) == 7


@pytest.mark.slow
def test_a_dataset_of_another_preprocessing_is_detected_anew(own_old: Path, tmp_path: Path) -> None:
    header = own_old / "dataset.json"
    before = '"preprocessing_version": 3'
    assert before in header.read_text()
    header.write_text(header.read_text().replace(before, '"preprocessing_version": 2'))
    assert reembed(own_old, tmp_path / "new.dataset", workers=1).detected
    assert require_ids_kept(own_old, tmp_path / "new.dataset") == 7
    assert Dataset.open(tmp_path / "new.dataset").contract.preprocessing_version == 3


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.parametrize("detector", ["dlib", "yunet"])
def test_detectors_of_deepface_keep_the_ids(
    own_old: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, detector: str
) -> None:
    pytest.importorskip("deepface", reason="deepface is not installed: pip install -e '.[dev]'")
    pytest.importorskip("dlib", reason="dlib is not installed: pip install -e '.[dev]'")
    new, gone = tmp_path / "new.dataset", max(boxes_by_id(own_old))
    delete_faces(own_old, [], faces=gone)
    with make_deepface_home(tmp_path_factory):
        models = ModelChoice(detector=f"deepface:{detector}")
        reembed(own_old, new, models=models, workers=1)
        assert require_ids_kept(own_old, new) >= 5
        assert gone not in boxes_by_id(new)
        assert len(boxes_by_id(new)) <= 6


@pytest.mark.lasting
@pytest.mark.slow
def test_the_commands_say_what_is_kept_and_how_to_change_a_detector(
    own_old: Path, demo_photos: Path, tmp_path: Path
) -> None:
    refused = run_facetrove("embed", demo_photos, own_old, "--min-score", "0.2")
    assert refused.returncode == 2
    assert f"`facetrove embed {own_old} NEW` with these limits" in refused.stderr
    new = tmp_path / "new.dataset"
    done = run_facetrove("embed", own_old, new, "--min-score", "0.2", *ONE_WORKER)
    assert f"detected anew; those that {own_old} has keep their face_ids" in done.stdout
    assert require_ids_kept(own_old, new) == 7
    assert run_facetrove("index", own_old, tmp_path / "faces.index").returncode == 0
    other = run_facetrove("embed", own_old, tmp_path / "float.dataset", "--embedder", "sface")
    assert "detected anew" not in other.stdout


@pytest.mark.lasting
@pytest.mark.slow
def test_a_run_that_was_killed_gives_the_ids_that_an_undisturbed_one_gives(
    small_collection: Path, tmp_path: Path
) -> None:
    old, undisturbed, killed = (tmp_path / name for name in ("old", "undisturbed", "killed"))
    assert run_facetrove("embed", small_collection, old, "--min-score", "0.9").returncode == 0
    gone = sorted(boxes_by_id(old))[:20]
    delete_faces(old, [], faces=gone)
    options = ("--min-score", "0.2")
    assert run_facetrove("embed", old, undisturbed, *options).returncode == 0
    with subprocess.Popen(
        facetrove_command("embed", old, killed, *options), stdout=subprocess.DEVNULL
    ) as driver:
        wait_for_parts(killed, 3, process=driver)
        os.kill(driver.pid, signal.SIGKILL)
    assert not list((killed / "runs").iterdir())
    assert run_facetrove("embed", old, killed).returncode == 0
    rounded = [
        {face_id: [round(value) for value in box] for face_id, box in boxes_by_id(new).items()}
        for new in (undisturbed, killed)
    ]
    assert rounded[0] == rounded[1]
    assert not rounded[0].keys() & set(gone)
    assert len(rounded[0]) > require_ids_kept(old, killed) == len(boxes_by_id(old))
    stored = [path for path in (killed / "faces").iterdir() if len(pq.read_table(path))]
    assert len(stored) > 3
