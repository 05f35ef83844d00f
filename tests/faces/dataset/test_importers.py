"""Importing datastores that deepface itself wrote, and encodings that dlib made."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.embed_photos import embed_photos
from beam_jobs.import_faces import import_faces
from faces.core.errors import ContractMismatchError, WrongUsageError
from faces.core.vectors import unit_length
from faces.dataset.importers import read_embeddings_file
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.photos.decoding import decode_photo
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.purge import purge
from indexer.verify import verify_index
from tests.support.command import ONE_WORKER, run_facetrove
from tests.support.deepface_home import make_deepface_home

pytest.importorskip("deepface", reason="deepface is not installed: pip install -e '.[dev]'")
dlib = pytest.importorskip("dlib", reason="dlib is not installed: pip install -e '.[dev]'")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with make_deepface_home(tmp_path_factory) as home:
        yield home


def embeddings_by_uri(dataset: Path, *, as_made: bool = False) -> dict[str, list[np.ndarray]]:
    """The embeddings of each photo's faces, of unit length or as long as the model made them."""
    found: dict[str, list[np.ndarray]] = {}
    for table in Dataset.open(dataset).faces():
        norms = table["embedding_norm"].to_numpy() if as_made else np.ones(len(table), np.float32)
        vectors = embedding_matrix(table) * norms[:, np.newaxis]
        for uri, vector in zip(table["uri"].to_pylist(), vectors, strict=True):
            found.setdefault(uri, []).append(vector)
    return found


@pytest.fixture(scope="module")
def deepface_store(demo_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos in which DeepFace.find was used, in all its formats."""
    deepface = pytest.importorskip("deepface.DeepFace")  # takes seconds to load
    folder = tmp_path_factory.mktemp("photos")
    for path in demo_photos.glob("*.jpg"):
        (folder / path.name).write_bytes(path.read_bytes())
    for kind in ("npz", "feather", "parquet"):
        deepface.find(
            str(folder / "biden.jpg"),
            str(folder),
            model_name="SFace",
            detector_backend="yunet",
            enforce_detection=False,
            datastore_format=kind,
            silent=True,
            return_type="dict",
        )
    return folder


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npz", "feather", "parquet"])
def test_a_datastore_of_deepface_is_imported_and_searched(
    deepface_store: Path, tmp_path: Path, kind: str
) -> None:
    (store,) = deepface_store.glob(f"ds_model_sface_detector_yunet_*.{kind}")
    dataset, index = tmp_path / "d", tmp_path / "i"
    imported = run_facetrove("import", store, dataset, *ONE_WORKER)
    assert imported.returncode == 0, imported.stderr
    contract = Dataset.open(dataset).contract
    assert (contract.detector, contract.embedder) == ("deepface:yunet", "deepface:SFace")
    assert contract.alignment == "deepface"
    imported_faces = read_embeddings_file(store, Path())
    found = embeddings_by_uri(dataset)
    rows = imported_faces.rows.to_pylist()
    assert sum(map(len, found.values())) == sum(row["has_face"] for row in rows) >= 5
    as_stored = embeddings_by_uri(dataset, as_made=True)
    for row in rows:
        if row["has_face"]:
            uri, vector = row["uri"], np.array(row["embedding"], np.float32)
            (unit,) = unit_length(vector[None])
            assert max(float(unit @ other) for other in found[uri]) > 0.999999
            assert min(np.abs(vector - other).max() for other in as_stored[uri]) < 1e-4
    if kind != "npz":
        return
    assert "nothing is new" in run_facetrove("import", store, dataset, *ONE_WORKER).stdout
    # The dataset can be used like any other: an index, a search by a photo, more photos.
    assert run_facetrove("index", dataset, index).returncode == 0
    probe = deepface_store / "biden.jpg"
    answer = json.loads(run_facetrove("search", index, probe, "--json").stdout)
    assert answer["probes"][0]["matches"][0]["similarity"] > 0.9999
    assert run_facetrove("embed", deepface_store, dataset, *ONE_WORKER).returncode == 0


@pytest.mark.lasting
@pytest.mark.slow
def test_deleted_faces_of_an_import_stay_deleted_although_their_numbers_differ(
    deepface_store: Path, tmp_path: Path
) -> None:
    """Faces that are detected again are numbered by score, not by the rows of the datastore."""
    (store,) = deepface_store.glob("*.npz")
    dataset, index = tmp_path / "d", tmp_path / "i"
    import_faces(store, dataset, workers=1)
    build_index(dataset, index)
    assert verify_index(index, dataset).problems == ()  # though landmarks are NaN
    of_biden = "uri LIKE '%biden.jpg'"
    assert delete_faces(dataset, [index], of_biden).num_faces >= 1
    purge(dataset, [index])
    embed_photos(deepface_store, dataset, workers=1)
    photos = Dataset.open(dataset).photos(["num_faces"])
    row = next(r for r in photos.to_pylist() if r["uri"].endswith("biden.jpg"))
    assert (row["status"], row["num_faces"]) == ("deleted", 0)
    assert not any(uri.endswith("biden.jpg") for uri in embeddings_by_uri(dataset))


@pytest.mark.lasting
@pytest.mark.slow
def test_qualities_are_measured_although_landmarks_are_missing(
    deepface_store: Path, tmp_path: Path
) -> None:
    (store,) = deepface_store.glob("*.npz")
    import_faces(store, tmp_path / "d", workers=1)
    table = pa.concat_tables(Dataset.open(tmp_path / "d").faces())
    assert min(table["sharpness"].to_pylist()) > 0
    assert min(table["face_size"].to_pylist()) > 20
    assert np.isnan(table["landmarks"].to_pylist()).all()


@pytest.fixture(scope="module")
def small_photos(demo_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of at most 500 pixels a side, because dlib takes seconds for larger ones."""
    folder = tmp_path_factory.mktemp("small")
    for path in demo_photos.glob("*.jpg"):
        with PIL.Image.open(path) as photo:
            photo.thumbnail((500, 500))
            photo.convert("RGB").save(folder / path.name, quality=95)
    return folder


@pytest.fixture(scope="module")
def encodings(small_photos: Path, home: Path) -> list[dict[str, object]]:
    """Encodings as face_recognition makes them: by dlib's detector, five landmarks and network."""
    weights = home / ".deepface" / "weights"
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(weights / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(
        str(weights / "dlib_face_recognition_resnet_model_v1.dat")
    )
    found = []
    for path in sorted(small_photos.glob("*.jpg")):
        image = decode_photo(path.read_bytes()).image
        for box in detector(image, 1):
            vector = network.compute_face_descriptor(image, predictor(image, box), 1)
            location = [box.top(), box.right(), box.bottom(), box.left()]
            found.append({"path": path.name, "encoding": list(vector), "location": location})
    assert len(found) >= 4
    return found


@pytest.mark.slow
@pytest.mark.lasting
def test_encodings_of_face_recognition_are_imported_and_agree(
    encodings: list[dict[str, object]], small_photos: Path, tmp_path: Path
) -> None:
    store = tmp_path / "encodings.json"
    store.write_text(json.dumps(encodings))
    pq.write_table(pa.Table.from_pylist(encodings), tmp_path / "encodings.parquet")
    arrays = {name: np.array([row[name] for row in encodings]) for name in encodings[0]}
    np.savez(tmp_path / "encodings.npz", **arrays)
    for number, path in enumerate(sorted(tmp_path.glob("encodings.*"))):
        import_faces(path, tmp_path / f"d{number}", base=small_photos, workers=1)
        dataset = Dataset.open(tmp_path / f"d{number}")
        assert dataset.contract.alignment == "face_recognition"
        assert dataset.counts().num_faces == len(encodings)
    # The embeddings that facetrove makes with the same models agree.
    copied = tmp_path / "copied"
    copied.mkdir()
    for row in encodings:
        name = str(row["path"])
        (copied / name).write_bytes((small_photos / name).read_bytes())
    again = tmp_path / "again"
    options = ("--detector", "deepface:dlib", "--embedder", "deepface:Dlib")
    done = run_facetrove(
        "embed", copied, again, *options, "--alignment", "face_recognition", *ONE_WORKER
    )
    assert done.returncode == 0, done.stderr
    found = embeddings_by_uri(again)
    for row in encodings:
        vector = np.array(row["encoding"]) / np.linalg.norm(row["encoding"])  # type: ignore[arg-type]
        ours = found[str(copied / str(row["path"]))]
        assert max(float(vector @ other) for other in ours) > 0.98  # boxes differ by a border


@pytest.mark.lasting
@pytest.mark.slow
def test_embeddings_of_other_weights_are_refused(
    encodings: list[dict[str, object]], small_photos: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    store = tmp_path / "encodings.json"
    store.write_text(
        json.dumps([{**row, "encoding": rng.normal(size=128).tolist()} for row in encodings])
    )
    with pytest.raises(ContractMismatchError, match="made by other weights"):
        import_faces(store, tmp_path / "d", base=small_photos)
    assert not (tmp_path / "d").exists()
    store.write_text(json.dumps([{**row, "encoding": [1.0] * 64} for row in encodings]))
    with pytest.raises(WrongUsageError, match="face_recognition's encodings have 128 dimensions"):
        import_faces(store, tmp_path / "d", base=small_photos)
    store.write_text(json.dumps(encodings))
    with pytest.raises(WrongUsageError, match=r"none of the photos .* is there, .* --base"):
        import_faces(store, tmp_path / "d", base=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.pkl", pickle.dumps([1]), "is a pickle, and reading one runs whatever program is in it"),
        ("x.npz", b"no archive", "x.npz cannot be read"),
        ("x.json", b"{}", "it should be a list of objects"),
        ("x.json", b"[", "x.json cannot be read"),
        ("x.json", b"[]", "has nothing"),
        ("x.json", b'[{"path": "a.jpg"}]', "it has path"),
        ("x.parquet", b"PAR1", "x.parquet cannot be read"),
        ("x.csv", b"a,b", r"cannot be imported; name a file that ends in \.npz"),
        ("x.npz", b"PK\x03\x04" + b"\0" * 200, "x.npz cannot be read"),
        ("x.json", b"[" * 100_000, "x.json cannot be read"),
    ],
)
def test_files_that_cannot_be_imported_are_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongUsageError, match=message):
        read_embeddings_file(tmp_path / name, tmp_path)


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "exploded",))  # type: ignore[return-value]

    np.savez(tmp_path / "x.npz", path=np.array([Bomb()], dtype=object))
    with pytest.raises(WrongUsageError, match="objects that only pickle could read"):
        read_embeddings_file(tmp_path / "x.npz", tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_impossible_rows_are_named(encodings: list[dict[str, object]], tmp_path: Path) -> None:
    store = tmp_path / "x.json"
    for change, message in (
        ({"encoding": [0.0] * 128}, r"row 1 \(from 0\): its embedding must have 128 finite"),
        ({"encoding": [1.0] * 127}, "face_recognition's encodings have 128 dimensions"),
        ({"encoding": [1e-30] * 128}, r"row 1 \(from 0\): its values are too large or too small"),
        ({"encoding": [1e30] * 128}, r"row 1 \(from 0\): its values are too large or too small"),
        ({"location": [0, 0, 0, 0]}, r"row 1 \(from 0\): its box has no extent"),
        ({"path": ""}, r"row 1 \(from 0\): it names no photo"),
    ):
        rows = [encodings[0], {**encodings[1], **change}]
        store.write_text(json.dumps(rows))
        with pytest.raises(WrongUsageError, match=message):
            read_embeddings_file(store, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("renamed", "has lost the name"),
        ("ds_model_unknown_detector_yunet_aligned_normalization_base_expand_0", "lacks one"),
        (
            "ds_model_sface_detector_yunet_unaligned_normalization_base_expand_0",
            "unaligned, base and 0",
        ),
        (
            "ds_model_sface_detector_yunet_aligned_normalization_Facenet_expand_0",
            "aligned, Facenet and 0",
        ),
    ],
)
def test_a_datastore_of_other_models_or_settings_is_refused(
    deepface_store: Path, tmp_path: Path, name: str, message: str
) -> None:
    (store,) = deepface_store.glob("*.npz")
    (tmp_path / f"{name}.npz").write_bytes(store.read_bytes())
    with pytest.raises(WrongUsageError, match=message):
        read_embeddings_file(tmp_path / f"{name}.npz", tmp_path)


def test_the_oldest_lists_of_deepface_say_that_photos_are_embedded_anew(tmp_path: Path) -> None:
    path = tmp_path / "representations_sface.json"
    path.write_text('[["/photos/1.jpg", [0.1, 0.2]]]')
    with pytest.raises(WrongUsageError, match="embed the photos anew with `facetrove embed`"):
        read_embeddings_file(path, tmp_path)
