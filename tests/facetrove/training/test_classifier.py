"""`facetrove train classifier`, from photos to the files that it writes."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beam_jobs.crops import cut_missing_crops
from faces.core.errors import ContractMismatchError, WrongUsageError
from faces.dataset.cropping import FACE_COLUMNS
from faces.dataset.store import Dataset
from faces.models.classifier import FaceClassifier
from faces.models.classifier_file import ClassifierFile
from faces.models.engines import OnnxRuntimeNetwork
from facetrove.training.card import digests_for_card, read_card, write_card
from facetrove.training.classifier import train_classifier
from facetrove.training.classifier_options import ClassifierOptions
from facetrove.training.options import TrainingOptions
from indexer.delete import delete_faces
from tests.support.command import facetrove_command, run_facetrove
from tests.support.training import CARD, drawn_dataset, needs_keras, write_classifier

OPTIONS = ClassifierOptions(architecture="article", augment=False, min_class=4, batch_size=16)
TRAINING = TrainingOptions(epochs=6, threads=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety photos of thirty people, of which 3 are of a class that is too small."""
    labels = ["up", "down", "down"] * 29 + ["rare"] * 3
    people = [f"p{number % 30}" for number in range(90)]
    return drawn_dataset(tmp_path_factory.mktemp("drawn"), labels, people, wrong=[4, 9])


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep crops in a folder of this module's."""
    folder = tmp_path_factory.getbasetemp() / "crops-of-classifiers"
    monkeypatch.setattr("faces.dataset.crop_cache.cache_dir", lambda: folder)


@needs_keras
@pytest.mark.lasting
def test_a_classifier_learns_what_can_be_seen_and_writes_what_describes_it(
    dataset: Path, tmp_path: Path
) -> None:
    model = tmp_path / "mood.toml"
    trained = train_classifier(
        dataset, model, label="camera", options=OPTIONS, training=TRAINING, list_doubtful=True
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mood.card.toml",
        "mood.html",
        "mood.onnx",
        "mood.toml",
    ]
    assert trained.figures.mean_recall > 0.8
    card = read_card(model)
    assert card == trained.card and card.kind == "classifier"
    assert card.left_out == {"rare": 3} and card.classes == {"down": 58, "up": 29}
    assert card.num_faces + card.num_held_out_faces == 87 == card.num_digests
    assert card.per_class["up"]["recall"] > 0.7
    assert [row["epoch"] for row in card.curve] == list(range(1, len(card.curve) + 1))
    page = (tmp_path / "mood.html").read_text()
    assert "mean recall" in page and "rare (3)" in page and "<script" not in page
    described = ClassifierFile.read(model)
    assert described.classes == ("down", "up") and described.label == "camera"
    network = OnnxRuntimeNetwork(described.network_path(model), threads=1)
    given = network.run(np.zeros((3, 112, 112, 3), np.float32))["output"]
    assert given.shape == (3, 2) and np.allclose(given.sum(axis=1), 1, atol=1e-5)
    names = {Path(one.uri).name for one in trained.doubtful[:2]}
    assert names == {"0004.png", "0009.png"}
    assert all(one.margin < 0 and one.label != one.suggested for one in trained.doubtful)


@needs_keras
@pytest.mark.slow
@pytest.mark.lasting
def test_a_last_layer_on_published_features_learns_and_sees_mirrored_faces_alike(
    dataset: Path, tmp_path: Path
) -> None:
    options = ClassifierOptions(architecture="fer", min_class=4, batch_size=32)
    training = TrainingOptions(threads=1)
    model = tmp_path / "mood.toml"
    trained = train_classifier(
        dataset, model, label="camera", options=options, training=training, list_doubtful=True
    )
    assert trained.figures.mean_recall > 0.8
    assert trained.card.options["strength"] == 0.3
    opened = Dataset.open(dataset)
    crops = cut_missing_crops(opened, opened.faces(FACE_COLUMNS).to_arrow()).take(np.arange(20))
    classifier = FaceClassifier(model, threads=1)
    classes, scores = classifier.classify(crops)
    mirrored, their_scores = classifier.classify(np.ascontiguousarray(crops[:, :, ::-1]))
    assert classes == mirrored and np.allclose(scores, their_scores, atol=1e-5)
    assert set(classes) == {"down", "up"}


@needs_keras
@pytest.mark.slow
@pytest.mark.lasting
def test_the_same_seed_gives_the_same_file_also_after_a_kill(dataset: Path, tmp_path: Path) -> None:
    options = ClassifierOptions(architecture="small", min_class=4, batch_size=32)
    script = (
        "import sys; from pathlib import Path; import faces.dataset.crop_cache as c;"
        f"c.cache_dir = lambda: Path({str(tmp_path / 'cache')!r});"
        "from facetrove.training.classifier import train_classifier as t;"
        "from facetrove.training.classifier_options import ClassifierOptions as O;"
        "from facetrove.training.options import TrainingOptions as T;"
        f"t({str(dataset)!r}, sys.argv[1], label='camera', options={options!r}".replace(
            "ClassifierOptions(", "O("
        )
        + ", training=T(epochs=3, threads=1))"
    )

    def start(model: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", f"if __name__ == '__main__': {script}", str(model)]
        return subprocess.Popen(command)

    assert start(tmp_path / "a.toml").wait(600) == 0
    killed, checkpoint = start(tmp_path / "b.toml"), tmp_path / "b.checkpoint"
    deadline = time.monotonic() + 600
    while not checkpoint.exists() and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL and checkpoint.exists()
    assert not (tmp_path / "b.toml").exists()
    assert start(tmp_path / "b.toml").wait(600) == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert read_card(tmp_path / "a.toml").curve == read_card(tmp_path / "b.toml").curve
    assert not checkpoint.exists()


@needs_keras
@pytest.mark.lasting
def test_the_command_prints_figures_by_class_and_lists_doubtful_labels(
    dataset: Path, tmp_path: Path
) -> None:
    command = facetrove_command("train", "classifier", dataset, tmp_path / "mood.toml")
    options = ("--label", "camera", "--min-class", "4", "--architecture", "article", "--no-augment")
    more = ("--epochs", "2", "--threads", "1", "--doubtful", tmp_path / "doubtful.csv")
    done = subprocess.run(
        [*map(str, (*command, *options, *more))],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env={**os.environ, "FACETROVE_CACHE": str(tmp_path / "cache")},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "left out, with 3 photos: rare" in done.stdout
    assert "people held out: accuracy" in done.stdout and "recall" in done.stdout
    with (tmp_path / "doubtful.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["photo", "label", "suggested", "margin", "face_id"]


def test_without_keras_nothing_is_read(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facetrove.training.requirements.find_spec", lambda _: None)
    with pytest.raises(WrongUsageError, match="training needs keras"):
        train_classifier(tmp_path / "nothing", tmp_path / "m.toml", label="camera")


def test_models_says_what_a_classifier_is_and_how_many_of_its_faces_were_deleted(
    dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(dataset, tmp_path / "d")
    opened = Dataset.open(tmp_path / "d")
    path = write_classifier(tmp_path, opened.contract)
    ids = opened.faces(["face_id"]).to_arrow()["face_id"]
    write_card(path, replace(CARD, face_digests=digests_for_card(ids)))
    delete_faces(opened.path, [], faces=[ids[0].as_py(), ids[1].as_py()])
    done = run_facetrove("models", path, "--dataset", opened.path)
    assert done.returncode == 0, done.stderr
    assert "mood (classifier), ready" in done.stdout and "down, up" in done.stdout
    assert "trained on  90 faces, 2 of them deleted since" in done.stdout
    without = run_facetrove("models", "--dataset", opened.path)
    assert without.returncode == 2 and "name its file" in without.stderr


@needs_keras
def test_too_little_memory_is_told_before_crops_are_cut(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facetrove.training.requirements.available_memory", lambda: 1e9)
    with pytest.raises(WrongUsageError, match="87 faces needs"):
        train_classifier(dataset, tmp_path / "m.toml", label="camera", options=OPTIONS)


def described(folder: Path, **changes: object) -> Path:
    (folder / "m.onnx").write_bytes(b"network")
    fields = {
        "kind": "classifier",
        "name": "m",
        "network": "m.onnx",
        "network_sha256": "0" * 64,
        "label": "mood",
        "classes": ["a", "b"],
        "detector": "yunet",
        "detector_digest": "aa",
        "alignment": "arcface-112",
    } | changes
    lines = [f"{name} = {value!r}\n" for name, value in fields.items()]
    (folder / "m.toml").write_text("".join(lines))
    return folder / "m.toml"


def test_files_that_describe_no_classifier_are_refused(tmp_path: Path, dataset: Path) -> None:
    for wrong in ({"strength": 1.5}, {"architecture": "other"}, {"batch_size": 0}):
        with pytest.raises(WrongUsageError, match=next(iter(wrong))):
            ClassifierOptions(**wrong)  # type: ignore[arg-type]
    for changes in (
        {"kind": "embedder"},
        {"classes": ["one"]},
        {"network": "../m.onnx"},
        {"alignment": "other"},
        {"network_sha256": "short"},
    ):
        with pytest.raises(WrongUsageError, match=r"m\.toml"):
            ClassifierFile.read(described(tmp_path, **changes))
    path = described(tmp_path)
    found = ClassifierFile.read(path)
    with pytest.raises(WrongUsageError, match="is missing, or not the network"):
        found.network_path(path)
    with pytest.raises(ContractMismatchError, match="were found by finder"):
        found.require_same_faces(Dataset.open(dataset).contract, "dataset d")
    assert tomllib.loads(path.read_text())["label"] == "mood"
