"""Custom models: a worked example, the checks of the TOML file, and models kept in the cache."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import ModelUnavailableError, WrongUsageError
from faces.core.machine import cache_dir
from faces.models.choice import ModelChoice
from faces.models.custom_models import read_model, registered_models
from faces.models.embedder import NetworkEmbedder
from faces.models.engines import OnnxRuntimeNetwork
from faces.models.pipeline import FacePipeline
from faces.models.register import register
from faces.models.registry import find_embedder, load_embedder, load_pipeline, load_pipeline_for
from faces.photos.decoding import decode_photo
from facetrove.evaluation.pair_lists import read_pairs
from tests.support.command import ONE_WORKER, ROOT, run_facetrove
from tests.support.custom_networks import write_model, write_network

pytestmark = pytest.mark.usefixtures("own_folders")


def embedder_of(path: Path) -> NetworkEmbedder:
    embedder = load_embedder(ModelChoice(embedder=str(path)), threads=1)
    assert isinstance(embedder, NetworkEmbedder)
    return embedder


def crops(count: int = 5, size: tuple[int, int] = (112, 112)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def by_hand(network: Path, batch: np.ndarray) -> np.ndarray:
    """Embed one input after the other by ONNX Runtime alone."""
    rows = [
        OnnxRuntimeNetwork(network, threads=1).run(row[None].astype(np.float32))["embedding"]
        for row in batch
    ]
    return np.concatenate(rows)


def test_settings_of_the_input_are_followed(tmp_path: Path) -> None:
    path = write_model(
        tmp_path,
        'colour = "bgr"\nrange = [-1, 1]\nmean = [0.1, 0.2, 0.3]\nstd = [0.5, 0.6, 0.7]\n',
    )
    images = crops()
    planes = images[..., ::-1].transpose(0, 3, 1, 2) / 127.5 - 1
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7])
    expected = (planes - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    found = embedder_of(path).embed(images)
    assert np.allclose(found, by_hand(tmp_path / "net.onnx", expected), rtol=1e-4, atol=1e-3)
    text = path.read_text()
    for line in text.splitlines()[1:]:  # each setting matters
        path.write_text(text.replace(line, ""))
        assert np.abs(embedder_of(path).embed(images) - found).max() > 1e-3 * np.abs(found).max()


def test_the_older_key_of_std_makes_the_same_model(tmp_path: Path) -> None:
    path = write_model(tmp_path, "std = [0.5, 0.6, 0.7]\n")
    model = read_model(path)
    path.write_text(path.read_text().replace("std", "deviation"))
    assert read_model(path) == model
    fields = {name: value for name, value in vars(model).items() if name != "std"}
    del fields["network"], fields["licence"], fields["origin"]
    as_first_stored = json.dumps({**fields, "deviation": model.std}, sort_keys=True)
    assert model.digest == hashlib.sha256(as_first_stored.encode()).hexdigest()
    [remembered] = (cache_dir() / "models").glob(f"{model.cache_name}.json")
    content = remembered.read_bytes().replace(b'"std"', b'"deviation"')
    remembered.write_bytes(content)
    assert not registered_models()
    register(content, "as an older version stored it")
    assert registered_models() == [model]


def test_channels_last_flips_and_other_sizes(tmp_path: Path) -> None:
    size = (96, 80)
    points = "[[24, 40], [56, 40], [40, 56], [28, 72], [52, 72]]"
    path = write_model(
        tmp_path,
        f"flip_averaging = true\nalignment = {points}\n",
        channels_last=True,
        size=size,
        batch="n",
    )
    embedder = embedder_of(path)
    assert (embedder.alignment.width, embedder.alignment.height) == (80, 96)
    assert embedder.alignment.name == "five-points"
    images = crops(size=size)
    network = OnnxRuntimeNetwork(tmp_path / "net.onnx", threads=1)

    def run(image: np.ndarray) -> np.ndarray:
        return network.run(np.ascontiguousarray(image[None], np.float32))["embedding"][0]

    expected = np.stack([run(image) + run(image[:, ::-1]) for image in images])
    assert np.allclose(embedder.embed(images), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("first_only", [False, True], ids=["dynamic", "fixed"])
def test_a_batch_size_of_one_becomes_dynamic_only_where_outputs_stay_the_same(
    tmp_path: Path, first_only: bool
) -> None:
    path = write_model(tmp_path, first_only=first_only)
    embedder = embedder_of(path)
    assert embedder.prepared.one_at_a_time is first_only
    images = crops()
    expected = by_hand(tmp_path / "net.onnx", images.transpose(0, 3, 1, 2))
    assert np.allclose(embedder.embed(images), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "network", "message"),
    [
        ("colour = 'grey'", {}, 'colour: it must be "rgb" or "bgr", not \'grey\''),
        ("range = [1, 0]", {}, "range: the second number must be larger than the first, not"),
        ("mean = 0.5", {}, "mean: it must be 3 numbers"),
        ("mean = [nan, 0, 0]", {}, "mean: it must be 3 numbers"),
        ("std = [1, 0, 1]", {}, "std: all three numbers must be over 0, not .1.0, 0.0, 1.0."),
        ("alignment = 'eyes'", {}, 'alignment: it must be "arcface" or five points'),
        ("alignment = [[1, 2]]", {}, 'alignment: it must be "arcface" or five points'),
        ("input_size = [160, 160]", {}, "input_size: .* is not the graph's, which is .112, 112."),
        ("", {"size": (96, 80)}, 'alignment: "arcface" is for square crops, not 80x96'),
        ("", {"size": ("h", "w")}, "input_size: the graph takes any size"),
        ("output = 'fc1'", {}, "the graph has no output 'fc1'; it has embedding"),
        ("", {"outputs": ("one", "two")}, "output: name the one of the graph's outputs"),
        ("flip_averaging = 'yes'", {}, "flip_averaging: it must be true or false"),
        ("flips = true", {}, "flips: there is no such key; the keys are name, network, colour"),
        ("name = 'sface'", {}, "name: 'sface' is built in"),
        ("name = '../sface'", {}, "name: '../sface' is not a letter or digit, then at most 63"),
        ("name = ", {}, "my_net.toml is not a valid TOML file"),
        ("name = 'net.toml'", {}, "ends in .toml, like the name of a file"),
        ("name = 'yunet'", {}, "name: 'yunet' is built in"),
        ("", {"batch": 4}, "has batch size 4 or an input that is not float32"),
        ("", {"channels": 1}, "it should have one input, .n, 3, height, width."),
    ],
)
def test_an_invalid_toml_file_is_refused_with_the_key_and_what_is_wrong(
    tmp_path: Path, text: str, network: dict[str, object], message: str
) -> None:
    with pytest.raises(WrongUsageError, match=message):
        find_embedder(str(write_model(tmp_path, text, **network)))


def test_a_file_that_is_not_a_network_is_refused_by_name(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    whole = (tmp_path / "net.onnx").read_bytes()
    for content, message in (
        (b"", "net.onnx"),
        (b"no network at all", "net.onnx is not an ONNX file"),
        (whole[: len(whole) // 2], "net.onnx"),
    ):
        (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(WrongUsageError, match=message):
            find_embedder(str(path))
    (tmp_path / "net.onnx").unlink()
    with pytest.raises(WrongUsageError, match="network: there is no file"):
        find_embedder(str(path))
    with pytest.raises(WrongUsageError, match=r"there is no model file .*other.toml"):
        find_embedder(str(tmp_path / "other.toml"))


def test_a_model_is_kept_in_the_cache_with_its_network(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    choice = ModelChoice(embedder=str(path))
    contract = load_pipeline(choice, threads=1).contract
    expected = embedder_of(path).embed(crops())
    path.unlink()
    (tmp_path / "net.onnx").unlink()
    again = load_pipeline_for(contract, contract_owner="index")
    assert again.contract == contract
    assert np.array_equal(again.embedder.embed(crops()), expected)


def test_another_network_by_the_same_name_is_another_model(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    first = load_pipeline(ModelChoice(embedder=str(path)), threads=1).contract
    write_network(tmp_path / "net.onnx", seed=1)
    second = load_pipeline(ModelChoice(embedder=str(path)), threads=1).contract
    assert first.embedder == second.embedder == "my_net"
    assert first.embedder_digest != second.embedder_digest
    for contract in (first, second):
        assert load_pipeline_for(contract, contract_owner="index").contract == contract
    shutil.rmtree(cache_dir() / "models")
    with pytest.raises(ModelUnavailableError, match=r"not registered a model 'my_net'.*\.toml"):
        load_pipeline_for(first, contract_owner="index")


@pytest.mark.slow
def test_an_index_of_a_custom_model_is_searched_without_naming_it(
    tmp_path: Path, demo_photos: Path
) -> None:
    dataset, index, path = tmp_path / "d", tmp_path / "i", write_model(tmp_path)
    embedded = run_facetrove("embed", demo_photos, dataset, "--embedder", path, *ONE_WORKER)
    assert embedded.returncode == 0, embedded.stderr
    assert run_facetrove("index", dataset, index).returncode == 0
    found = run_facetrove("search", index, demo_photos / "biden.jpg", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["probes"][0]["matches"][0]["similarity"] > 0.999
    shown = run_facetrove("models", path)
    assert shown.stdout.startswith("model       my_net (embedder), ready")
    assert "16 dimensions" in shown.stdout
    listed = json.loads(run_facetrove("models", "--json").stdout)["models"]
    assert {"my_net", "yunet"} <= {card["name"] for card in listed if card["here"]}


@pytest.mark.slow
@pytest.mark.lasting
def test_mobilefacenet_tells_people_apart_on_lfw(lfw: Path, tmp_path: Path) -> None:
    """Run the worked example of docs/models.md on pairs of the development split."""
    network = lfw.parent.parent / "models" / "mobilefacenet.onnx"
    if not network.is_file():
        pytest.skip(f"{network} is not there")
    text = (ROOT / "examples" / "mobilefacenet.toml").read_text()
    path = tmp_path / "mobilefacenet.toml"
    path.write_text(text.replace('"mobilefacenet.onnx"', json.dumps(str(network))))
    pipeline = load_pipeline(ModelChoice(embedder=str(path)), threads=1)
    embedder = pipeline.embedder
    assert isinstance(embedder, NetworkEmbedder)
    assert not embedder.prepared.one_at_a_time  # although its graph says batch 1
    listed = read_pairs(lfw / "pairsDevTrain.txt")
    pairs, same = listed.photos[::4], listed.mated[::4]
    embeddings = central_embeddings(pipeline, lfw, {name for pair in pairs for name in pair})
    similarities = np.array([embeddings[one] @ embeddings[other] for one, other in pairs])
    accuracies = [((similarities >= t) == same).mean() for t in np.arange(0, 1, 0.005)]
    assert max(accuracies) >= 0.98


def central_embeddings(pipeline: FacePipeline, lfw: Path, names: set[str]) -> dict[str, np.ndarray]:
    """Embed the face nearest to the centre of each photo; returns embeddings by photo name."""
    found = {}
    paths = {path.stem: path for path in lfw.glob("photos/*/*.jpg")}
    ordered = sorted(names)
    for start in range(0, len(ordered), 64):
        block = ordered[start : start + 64]
        images = [decode_photo(paths[name].read_bytes()).image for name in block]
        for name, image, faces in zip(block, images, pipeline.find_faces(images), strict=True):
            middle = np.array(image.shape[1::-1]) / 2
            central = min(
                faces,
                key=lambda face: np.linalg.norm(
                    face.detection.box[:2] + face.detection.box[2:] / 2 - middle
                ),
            )
            found[name] = central.embedding
    return found
