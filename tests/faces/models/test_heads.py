"""Heads: small networks on the embeddings of another embedder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import FaceTroveError, ModelUnavailableError, WrongUsageError
from faces.core.machine import cache_dir
from faces.models.catalog import check_model
from faces.models.choice import ModelChoice
from faces.models.heads import HeadEmbedder, read_head
from faces.models.pipeline import FaceEmbedder
from faces.models.registry import find_embedder, load_embedder, load_pipeline
from tests.support.custom_networks import head_weights, write_head, write_model


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache")
    (cache / "weights").symlink_to(cache_dir() / "weights")
    monkeypatch.setenv("FACETROVE_CACHE", str(cache))


def crops(count: int = 5) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


def loaded(name: str | Path) -> FaceEmbedder:
    return load_embedder(ModelChoice(embedder=str(name)), threads=1)


def test_a_head_is_applied_to_its_bases_unit_embeddings_and_keeps_their_lengths(
    tmp_path: Path,
) -> None:
    head = loaded(write_head(tmp_path))
    vectors = loaded("sface-int8").embed(crops())
    norms = np.linalg.norm(vectors, axis=1)
    expected = (vectors / norms[:, None]) @ head_weights(tmp_path)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = head.embed(crops())
    assert found.shape == (5, 32) and head.dimension == 32
    assert np.allclose(np.linalg.norm(found, axis=1), norms, rtol=1e-5)
    assert np.allclose(found / norms[:, None], expected, atol=1e-5)
    assert head.alignment.name == "arcface-112"
    assert head.embed(crops(0)).shape == (0, 32)


def test_a_head_is_found_by_name_and_digest_without_its_files(tmp_path: Path) -> None:
    # A head of its own: another process's tests may prepare an equal one in the same cache again.
    digest = read_head(write_head(tmp_path, seed=58)).digest
    expected = loaded("my_head").embed(crops())
    (tmp_path / "my_head.toml").unlink()
    (tmp_path / "head.onnx").unlink()
    choice = ModelChoice(embedder="my_head", embedder_digest=digest)
    assert np.array_equal(load_embedder(choice, threads=1).embed(crops()), expected)
    with pytest.raises(ModelUnavailableError, match="you have not registered a model 'my_head'"):
        find_embedder("my_head", "0" * 64)


def test_what_changes_embeddings_changes_the_digest(tmp_path: Path) -> None:
    first = read_head(write_head(tmp_path)).digest
    assert read_head(write_head(tmp_path, 'licence = "MIT"\norigin = "here"\n')).digest == first
    others = [
        read_head(write_head(tmp_path, seed=1)).digest,
        read_head(write_head(tmp_path, base="sface")).digest,
        read_head(write_head(tmp_path, 'base_alignment = "deepface"\n')).digest,
        read_head(write_head(tmp_path, 'name = "another"\n')).digest,
    ]
    assert len({first, *others}) == 5


def test_a_head_on_another_alignment_crops_by_it(tmp_path: Path) -> None:
    path = write_head(tmp_path, 'base_alignment = "deepface"\n')
    assert load_pipeline(ModelChoice(embedder=str(path)), threads=1).contract.alignment == (
        "deepface"
    )
    with pytest.raises(FaceTroveError, match=r"was made for .*deepface crops.*arcface-112 crops"):
        load_pipeline(ModelChoice(embedder=str(path), alignment="five-point"), threads=1)


def test_a_custom_model_may_be_the_base(tmp_path: Path) -> None:
    write_model(tmp_path)
    path = write_head(tmp_path, base="my_net.toml", dimensions=(16, 8))
    head = loaded(path)
    base = loaded(tmp_path / "my_net.toml")
    vectors = base.embed(crops())
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert isinstance(head, HeadEmbedder)
    assert np.allclose(
        head.embed(crops()) / np.linalg.norm(vectors, axis=1, keepdims=True),
        head.apply(unit.astype(np.float32)),
        atol=1e-5,
    )
    # The digest is that of the base as it is now; another base of the same name is another.
    named = write_head(
        tmp_path, f'base_digest = "{base.weights_digest}"\n', base="my_net", dimensions=(16, 8)
    )
    before = read_head(named).digest
    write_model(tmp_path, seed=3)
    loaded(tmp_path / "my_net.toml")
    assert read_head(named).digest == before


def test_a_batch_size_of_one_becomes_dynamic(tmp_path: Path) -> None:
    expected = loaded(write_head(tmp_path)).embed(crops())
    fixed = tmp_path / "fixed"
    fixed.mkdir()
    assert np.allclose(loaded(write_head(fixed, batch=1)).embed(crops()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {"dimensions": (64, 32)}, "has one input, (n, 128)|(n, 128), and has embeddings"),
        ("", {"base": "nobody"}, "no embedder that a head can be on is called 'nobody'"),
        ('base_digest = "abc"\n', {}, "base_digest: the head was made for sface-int8 with"),
        ('base_alignment = "odd"\n', {}, "base_alignment: sface-int8 has no alignment 'odd'"),
        ('colour = "rgb"\n', {}, "colour: there is no such key; the keys are base, base_digest"),
        ('output = "other"\n', {}, "the graph has no output 'other'"),
        ("", {"dimensions": (128, 1)}, "output is not an embedding"),
        ('name = "sface"\n', {}, "'sface' is built in"),
        ('name = "../x"\n', {}, "'../x' is not a letter or digit"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, text: str, options: dict[str, object], message: str
) -> None:
    path = write_head(tmp_path, text, **options)  # type: ignore[arg-type]
    with pytest.raises(WrongUsageError, match="|".join(map(re.escape, message.split("|")))) as told:
        find_embedder(str(path))
    assert "\n" not in str(told.value)
    assert not list((cache_dir() / "heads").glob("*"))


def test_a_head_is_no_base_of_another(tmp_path: Path) -> None:
    read_head(write_head(tmp_path, 'name = "first"\n'))
    with pytest.raises(WrongUsageError, match="no embedder that a head can be on"):
        read_head(write_head(tmp_path, base="first"))


def test_a_network_for_crops_is_no_head(tmp_path: Path) -> None:
    write_model(tmp_path)
    path = tmp_path / "my_head.toml"
    path.write_text('base = "sface-int8"\nnetwork = "net.onnx"\n')
    with pytest.raises(WrongUsageError, match=re.escape("crops [1, 3, 112, 112]")):
        read_head(path)


def test_the_models_table_has_heads(tmp_path: Path) -> None:
    card, found = check_model(str(write_head(tmp_path, 'licence = "MIT"\n')))
    assert (card.name, card.dimension, card.licence) == ("my_head", 32, "MIT")
    assert card.input == "sface-int8's embeddings"
    assert found["alignment"] == "arcface-112"
    assert "sface-int8 on" in found["runs on"]


def test_a_head_in_the_cache_that_nobody_registered_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = read_head(write_head(tmp_path)).digest
    monkeypatch.setenv("FACETROVE_CONFIG", str(tmp_path / "nothing"))
    with pytest.raises(ModelUnavailableError, match="you have not registered"):
        find_embedder("my_head", digest)
