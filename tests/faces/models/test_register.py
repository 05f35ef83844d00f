"""Whose networks are run: the user's, and what nobody can have exchanged in the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from beam_jobs.options import default_models
from faces.core.contract import ModelContract
from faces.core.errors import ModelUnavailableError
from faces.core.hashing import sha256_of
from faces.core.machine import cache_dir, config_dir
from faces.models.choice import ModelChoice
from faces.models.custom_models import read_model, registered_models
from faces.models.embedder import EmbedderSpec
from faces.models.preparation import prepare
from faces.models.register import register
from faces.models.registry import find_embedder, load_pipeline, load_pipeline_for
from faces.models.sface import SFACE, SFACE_INT8
from faces.models.weights import NetworkSource, prepared_path, weights_dir
from faces.models.yunet_network import YUNET
from tests.support.custom_networks import write_model, write_network
from tests.support.permissions import obey_permissions, permissions_are_obeyed

BUILT_IN = (YUNET, SFACE.source, SFACE_INT8.source)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the cache's folder with the built-in networks, prepared."""
    for source in BUILT_IN:
        prepare(source)
    copy = tmp_path_factory.mktemp("prepared") / "weights"
    # Other processes prepare networks at the same time, in files that are gone when they are done.
    unfinished = shutil.ignore_patterns("tmp*")
    return shutil.copytree(cache_dir() / "weights", copy, ignore=unfinished)


@pytest.fixture(autouse=True)
def own_weights(prepared: Path, own_folders: Path) -> None:
    """Give each test files of networks that it may exchange: links to copies of the cache's."""
    (own_folders / "weights").unlink()
    shutil.copytree(prepared, own_folders / "weights", copy_function=os.link)


def custom(folder: Path, *, name: str = "mine", seed: int = 0) -> EmbedderSpec:
    """Register a custom model, and return what it is loaded from."""
    folder.mkdir(exist_ok=True)
    return read_model(write_model(folder, f'name = "{name}"\n', seed=seed)).spec()


def digest_of(name: str, digest: str | None = None) -> str:
    """Return the digest of the embedder that is found by a name and, perhaps, a digest."""
    found = find_embedder(name, digest)
    assert isinstance(found, EmbedderSpec)
    return found.digest


def contract_asking_for(embedder: str, digest: str) -> ModelContract:
    """Return the contract of an index whose writer asks for an embedder."""
    built_in = load_pipeline(threads=1).contract
    return replace(built_in, embedder=embedder, embedder_digest=digest, dimension=16)


def exchange(path: Path, *, with_record: bool = True) -> bytes:
    """Exchange the weights of a prepared network, and its record, as others in the cache could."""
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda entry: np.prod(entry.dims))
    values = numpy_helper.to_array(largest)
    largest.CopyFrom(
        numpy_helper.from_array((values[::-1] * 1.5).astype(values.dtype), largest.name)
    )
    path.unlink()
    path.write_bytes(model.SerializeToString())
    if with_record:
        record = path.with_suffix(".json")
        changed = {**json.loads(record.read_text()), "sha256": sha256_of(path)}
        record.unlink()
        record.write_text(json.dumps(changed, indent=2))
    return path.read_bytes()


@pytest.mark.parametrize("source", BUILT_IN, ids=lambda source: source.name)
def test_a_prepared_network_that_was_exchanged_with_its_record_is_made_anew(
    source: NetworkSource,
) -> None:
    path = prepare(source).path
    ours = path.read_bytes()
    assert exchange(path) != ours
    assert prepare(source).path.read_bytes() == ours


@pytest.mark.parametrize("source", BUILT_IN, ids=lambda source: source.name)
def test_the_program_knows_the_digest_of_each_built_in_network(source: NetworkSource) -> None:
    """A change of preparation, or of onnx, that writes other files needs other digests."""
    path = prepare(source).path
    path.unlink()
    assert source.rewrite is not None
    assert sha256_of(prepare(source).path) == source.rewrite.result
    assert not list(config_dir().iterdir())  # so nothing has to be registered


def test_a_built_in_network_that_another_onnx_wrote_is_registered() -> None:
    source = replace(YUNET, rewrite=replace(YUNET.rewrite, result="ab" * 32))
    inode = prepare(source).path.stat().st_ino
    assert len(list((config_dir() / "networks").iterdir())) == 1
    assert prepare(source).path.stat().st_ino == inode  # not made again
    exchange(prepare(source).path)
    assert sha256_of(prepare(source).path) == YUNET.rewrite.result


def test_a_custom_network_that_was_exchanged_with_its_record_is_made_anew(tmp_path: Path) -> None:
    source = custom(tmp_path).source
    path = prepare(source).path
    ours, inode = path.read_bytes(), path.stat().st_ino
    assert prepare(source).path.stat().st_ino == inode  # not made again
    assert exchange(path) != ours
    assert prepare(source).path.read_bytes() == ours
    other = prepare(custom(tmp_path / "other", name="other", seed=1).source).path
    for suffix in (".onnx", ".json"):  # a network that is registered, but as another one
        shutil.copy(other.with_suffix(suffix), path.with_suffix(suffix))
    assert prepare(source).path.read_bytes() == ours
    for suffix in (".onnx", ".json"):
        path.with_suffix(suffix).unlink()
        path.with_suffix(suffix).symlink_to(other.with_suffix(suffix))
    assert prepare(source).path.read_bytes() == ours
    assert other.read_bytes() != ours  # the link was replaced, not written through


def test_an_exchanged_network_is_refused_where_its_original_is_gone(tmp_path: Path) -> None:
    source = custom(tmp_path).source
    path = prepare(source).path
    (tmp_path / "net.onnx").unlink()
    assert prepare(source).path == path
    exchange(path)
    with pytest.raises(ModelUnavailableError, match=r"net\.onnx, is missing or has changed"):
        prepare(source)


@pytest.mark.parametrize("place", ["absolute", "relative", "linked"])
def test_a_file_that_a_contract_names_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    users = custom(tmp_path / "user")
    evil = tmp_path / "index"
    evil.mkdir()
    path = write_model(evil, 'name = "mine"\n', seed=1)
    if place == "linked":
        path = evil / "mine"
        path.symlink_to("my_net.toml")
    name = os.path.relpath(path) if place == "relative" else str(path)
    before = [*cache_dir().rglob("*"), *config_dir().rglob("*")]
    for digest in (users.digest, "ab" * 32, ""):
        contract = contract_asking_for(name, digest)
        with pytest.raises(ModelUnavailableError, match="you have not registered a model"):
            load_pipeline_for(contract, contract_owner="index")
    assert [*cache_dir().rglob("*"), *config_dir().rglob("*")] == before
    assert digest_of("mine") == users.digest


def test_a_contract_gets_the_network_of_its_digest_alone(tmp_path: Path) -> None:
    first, second = custom(tmp_path / "a"), custom(tmp_path / "b", seed=1)
    for spec in (first, second):
        contract = contract_asking_for("mine", spec.digest)
        choice = ModelChoice.of_contract(contract)
        assert digest_of(choice.embedder, choice.embedder_digest) == spec.digest
    with pytest.raises(ModelUnavailableError, match="with digest abababababab"):
        load_pipeline_for(contract_asking_for("mine", "ab" * 32), contract_owner="index")
    assert digest_of("mine") == second.digest
    assert custom(tmp_path / "a").digest == first.digest
    assert digest_of("mine") == first.digest  # the one that was registered last


def test_a_model_that_somebody_puts_into_the_cache_is_not_the_users(tmp_path: Path) -> None:
    users = custom(tmp_path / "user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACETROVE_CONFIG", str(tmp_path / "others"))
        others = custom(tmp_path / "evil", seed=1)
        elsewhere = custom(tmp_path / "evil", name="elsewhere", seed=1)
    assert [model.name for model in registered_models()] == ["mine"]
    assert digest_of("mine") == users.digest
    for spec in (others, elsewhere):
        contract = contract_asking_for(spec.name, spec.digest)
        with pytest.raises(ModelUnavailableError, match="you have not registered a model"):
            load_pipeline_for(contract, contract_owner="index")
    (stored,) = (cache_dir() / "models").glob(f"mine-{users.digest[:12]}.json")
    document = json.loads(stored.read_text())
    stored.write_text(json.dumps({**document, "network": str(tmp_path / "evil" / "net.onnx")}))
    assert not registered_models()


def test_a_model_of_an_older_version_is_registered_when_the_user_names_it(tmp_path: Path) -> None:
    spec = custom(tmp_path / "user")
    shutil.rmtree(config_dir() / "networks")
    contract = contract_asking_for("mine", spec.digest)
    with pytest.raises(ModelUnavailableError, match="you have not registered a model 'mine'"):
        load_pipeline_for(contract, contract_owner="index")
    assert digest_of("mine") == digest_of("mine", spec.digest) == spec.digest
    shutil.rmtree(config_dir() / "networks")
    other = custom(tmp_path / "index", seed=1)  # as searching a stranger's index left it
    assert other.digest != spec.digest
    shutil.rmtree(config_dir() / "networks")
    with pytest.raises(ModelUnavailableError, match="2 models called 'mine' lie in"):
        find_embedder("mine")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", "../mine"), ("width", 0), ("height", "112"), ("dimension", 10**9)),
        *(("mean", [0.0, 0.0]), ("points", [[1.0, 2.0]]), ("bgr", 1), ("unknown", 1)),
    ],
)
def test_a_file_of_the_cache_that_describes_no_model_is_passed_over(
    tmp_path: Path, field: str, value: object
) -> None:
    custom(tmp_path / "user")
    (path,) = (cache_dir() / "models").iterdir()
    assert [model.name for model in registered_models()] == ["mine"]
    content = json.dumps({**json.loads(path.read_text()), field: value}).encode()
    path.write_bytes(content)
    register(content, path.name)  # nor is it a model if it is vouched for
    assert registered_models() == []


@pytest.mark.parametrize(
    ("field", "value"), [("milliseconds", {"onnxruntime": -1}), ("engine", 1), ("unknown", 1)]
)
def test_a_record_of_a_prepared_network_that_is_none_is_made_anew(
    field: str, value: object
) -> None:
    path = prepared_path(YUNET.name).with_suffix(".json")
    record = json.loads(path.read_text())
    changed = json.dumps({**record, field: value})
    path.unlink()  # the cache's file is a link
    path.write_text(changed)
    prepare(YUNET)
    assert json.loads(path.read_text()).keys() == record.keys()
    assert json.loads(path.read_text())["sha256"] == record["sha256"]


def test_nothing_is_downloaded_for_a_dataset_or_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    built_in = load_pipeline(threads=1).contract
    for changes in (
        {"embedder": "deepface:ArcFace"},
        {"embedder": "deepface:Dlib", "alignment": "face_recognition"},
        {"detector": "deepface:retinaface"},
        {"detector": "deepface:yolov8n"},
    ):
        name = next(iter(changes.values()))
        with pytest.raises(ModelUnavailableError, match=rf"run `facetrove models {name}`"):
            load_pipeline_for(replace(built_in, **changes), contract_owner="index")
    assert not (tmp_path / ".deepface").exists()


def test_weights_that_the_user_has_fetched_are_used_for_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    weights = tmp_path / ".deepface" / "weights"
    weights.mkdir(parents=True)
    write_network(weights / "openface_weights.onnx", channels_last=True, size=(96, 96))
    digest = sha256_of(weights / "openface_weights.onnx")
    contract = contract_asking_for("deepface:OpenFace", digest)
    choice = replace(ModelChoice.of_contract(contract), alignment="openface")
    assert choice.asked_by_file == {"yunet", "deepface:OpenFace"}
    assert load_pipeline(choice, threads=1).contract.embedder_digest == digest


def test_what_the_user_names_may_be_downloaded(demo_dataset: Path, tmp_path: Path) -> None:
    choice = default_models(demo_dataset)
    assert choice.asked_by_file == {"yunet", "sface-int8"}
    named = choice.with_changes(detector="yunet", embedder="deepface:ArcFace", alignment=None)
    assert "deepface:ArcFace" not in named.asked_by_file
    assert "yunet" not in named.asked_by_file
    assert default_models(tmp_path / "new", source=demo_dataset).asked_by_file == {"yunet"}


def test_a_register_that_every_user_may_write_in_is_refused(tmp_path: Path) -> None:
    spec = custom(tmp_path / "user")
    (config_dir() / "networks").chmod(0o777)
    for act in (lambda: find_embedder("mine"), lambda: prepare(spec.source)):
        with pytest.raises(ModelUnavailableError, match=r"every user may write in .*chmod go-w"):
            act()
    prepare(YUNET)  # the program knows it


def test_a_cache_that_every_user_may_write_in_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache_dir().chmod(0o1777)
    weights_dir()
    weights_dir()
    assert [record.message for record in caplog.records] == [
        f"every user may write in {cache_dir()}, where networks lie; run `chmod go-w {cache_dir()}`"
    ]


def run_without_rights(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code that has to obey the permissions of files."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, preexec_fn=obey_permissions, capture_output=True, text=True, check=False
    )


@pytest.fixture
def read_only() -> Callable[[Path], None]:
    """Return a function that takes the right to write in a folder and its folders away."""

    def take(folder: Path) -> None:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o500)

    return take


def test_prepared_networks_are_used_where_nothing_can_be_written(
    tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    custom(tmp_path / "user")
    for path in (cache_dir() / "weights").glob("*.lock"):
        path.unlink()
    before = sorted(cache_dir().rglob("*"))
    read_only(cache_dir())
    read_only(config_dir())
    finished = run_without_rights(
        "from faces.models.registry import load_pipeline; from faces.models.choice import "
        "ModelChoice; load_pipeline(); load_pipeline(ModelChoice(embedder='mine'))"
    )
    assert finished.returncode == 0, finished.stderr
    assert sorted(cache_dir().rglob("*")) == before  # no lock either


def test_what_has_to_be_prepared_is_named_where_it_cannot_be_written(
    tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    unreadable = tmp_path / "unreadable"
    unreadable.touch(0o000)
    if not permissions_are_obeyed(unreadable):
        pytest.skip("permissions are not obeyed here")
    custom(tmp_path / "user")
    for path in (cache_dir() / "weights").glob("yunet.*"):
        path.unlink()
    read_only(cache_dir())
    finished = run_without_rights("from faces.models.registry import load_pipeline as l; l()")
    assert f"the network yunet has to be prepared in {weights_dir()}, which" in finished.stderr
    config_dir().joinpath("networks").chmod(0o500)
    toml = write_model(tmp_path / "user", 'name = "new"\n', seed=2)
    cache_dir().joinpath("weights").chmod(0o700)
    finished = run_without_rights(
        f"from faces.models.registry import find_embedder as find; find({str(toml)!r})"
    )
    assert "cannot register" in finished.stderr
    assert "FACETROVE_CONFIG" in finished.stderr
