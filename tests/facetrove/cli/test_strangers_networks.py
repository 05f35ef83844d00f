"""Datasets and indexes of strangers ask for networks; commands run the user's own alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from faces.core.machine import cache_dir, config_dir
from faces.models.custom_models import read_model
from tests.support.command import ONE_WORKER, require_message, run_facetrove
from tests.support.custom_networks import write_model
from tests.support.manifests import rewrite_manifest

pytestmark = pytest.mark.usefixtures("own_folders")


def asking_for(embedder: str, digest: str, index: Path) -> None:
    """Have the manifest of an index ask for an embedder, as whoever made the index could."""
    asked = {"embedder": embedder, "embedder_digest": digest}
    rewrite_manifest(index, lambda document: document["contract"].update(asked))


def test_searching_an_index_neither_runs_nor_registers_the_network_beside_it(
    tmp_path: Path, demo_index: Path, probe_photo: Path
) -> None:
    users = read_model(write_model(tmp_path, 'name = "mine"\n'))
    index = tmp_path / "index"
    shutil.copytree(demo_index, index)
    evil = write_model(index, 'name = "mine"\n', seed=1)
    asking_for(str(evil), users.digest, index)
    files = [*cache_dir().rglob("*"), *config_dir().rglob("*")]
    require_message(
        *("search", index, probe_photo),
        exit_code=1,
        says=["you have not registered a model", str(evil), "facetrove models MODEL.toml"],
    )
    assert [*cache_dir().rglob("*"), *config_dir().rglob("*")] == files
    shown = json.loads(run_facetrove("models", "mine", "--json").stdout)
    assert shown["digest"] == users.digest


def test_embedding_into_a_dataset_neither_runs_nor_registers_the_network_that_it_names(
    tmp_path: Path, demo_dataset: Path, demo_photos: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(demo_dataset, dataset)
    evil = write_model(dataset, seed=1)
    header = json.loads((dataset / "dataset.json").read_text())
    header["contract"]["embedder"] = str(evil)
    (dataset / "dataset.json").write_text(json.dumps(header))
    require_message(
        *("embed", demo_photos, dataset, *ONE_WORKER),
        exit_code=1,
        says=["you have not registered a model", str(evil)],
    )
    assert not (cache_dir() / "models").exists()


def test_an_index_of_a_network_of_deepface_that_is_not_here_says_which_command_fetches_it(
    tmp_path: Path, demo_index: Path, probe_photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    index = tmp_path / "index"
    shutil.copytree(demo_index, index)
    asking_for("deepface:ArcFace", "ab" * 32, index)
    require_message(
        *("search", index, probe_photo),
        exit_code=1,
        says=["is not on this machine", "run `facetrove models deepface:ArcFace`"],
    )


def test_a_model_is_registered_by_the_command_that_names_it(tmp_path: Path) -> None:
    path = write_model(tmp_path, 'name = "mine"\n')
    missing = run_facetrove("models", "mine")
    assert missing.returncode == 2
    assert "no embedder is called 'mine'" in missing.stderr
    assert run_facetrove("models", path).returncode == 0
    path.unlink()
    (tmp_path / "net.onnx").unlink()
    assert run_facetrove("models", "mine").returncode == 0
