"""Embeddings that other programs kept: deepface's datastores, lists of face_recognition encodings.

deepface's are `ds_model_..._detector_....npz`, .feather or .parquet, as `DeepFace.find` leaves them
in a folder of photos. Encodings come as JSON, Parquet or arrays of an .npz, an object or row for
each face: `path`, `encoding` (128 numbers) and `location` (top, right, bottom, left, as
face_recognition gives it).
Pickles are programs and are never read.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.parquet as pq

from faces.core.arrow_files import write_arrow
from faces.core.contract import MAX_DIMENSION
from faces.core.errors import ContractMismatchError, WrongUsageError, first_line
from faces.core.vectors import unit_length
from faces.dataset.reembedding import GivenPhoto, GivenPhotos
from faces.dataset.schema import column_of, matrix_of
from faces.models.choice import (
    DEEPFACE,
    DEEPFACE_ALIGNMENT,
    FACE_RECOGNITION_ALIGNMENT,
    ModelChoice,
)
from faces.models.deepface_weights import DETECTORS, RECOGNISERS
from faces.models.face import Detection, GivenFace
from faces.models.pipeline import FacePipeline, overlaps
from faces.photos.decoding import decode_photo
from faces.photos.folders import look_at
from faces.photos.listed import LISTING_SCHEMA, PhotoListing
from faces.photos.reading import read_photo
from faces.photos.rejection import PhotoRejectedError
from faces.photos.uris import photo_path, photo_uri

SUFFIXES = (".npz", ".feather", ".parquet", ".json")
_PICKLES = (".pkl", ".pickle", ".dat", ".p")

_DEEPFACE_NAME = re.compile(
    r"ds_model_(?P<model>.+)_detector_(?P<detector>.+)_(?P<aligned>aligned|unaligned)"
    r"_normalization_(?P<normalization>.+)_expand_(?P<expand>\d+)"
)
_DEEPFACE_BOX = ("target_x", "target_y", "target_w", "target_h")
_ENCODING_SIZE = 128

MAX_TRIED, ENOUGH_COMPARED = 64, 8
"""Photos that are embedded again to compare, at most, and faces that suffice."""

SAME_BOX = 0.7
"""Boxes that overlap so much (intersection over union) are of one face."""

LARGEST = 1e15
"""Numbers of a store are below, and an embedding's largest above one part of it: the squares of
thousands of them can be added in float32, which ends at 1e38."""

MIN_AGREEMENT = 0.99
"""Similarity of a stored embedding and the same face's of now."""


@dataclass(frozen=True, eq=False)
class StoredFaces:
    """The faces of a store: a `faces.dataset.reembedding.FaceSource`.

    Attributes:
        path: of the store.
        models: what made it.
        rows: `uri` of the photo; `box` as of `Detection.box`; `embedding`, of any length
            where there is a face; `has_face`: a row without is a photo in which none was found.
    """

    path: Path
    models: ModelChoice
    rows: pa.Table

    def listing(self) -> PhotoListing:
        """The photos of the store, as they are now.

        Raises:
            WrongUsageError: none of them is there.
        """
        uris = pc.unique(self.rows["uri"]).sort().to_pylist()
        files = [look_at(str(photo_path(uri))) for uri in uris]
        if max(file.num_bytes for file in files) < 0:
            raise WrongUsageError(
                f"none of the photos that {self.path} names is there, as {uris[0]}; name the "
                "folder that its names start from with --base"
            )
        columns = dict(zip(LISTING_SCHEMA.names, zip(*files, strict=True), strict=True))
        photos = pa.table(columns, schema=LISTING_SCHEMA)
        return PhotoListing(photos, (), pa.array(np.arange(len(photos))))

    def prepared(self, to_do: pa.Table, work_dir: Path) -> tuple[_MappedFaces, pa.Table]:
        """See `FaceSource`: a file that workers map instead of reading the store each."""
        path = work_dir / "known-faces.arrow"
        write_arrow(path, self.rows)
        return _MappedFaces(path), to_do

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """See `FaceSource`."""
        return _given_photos(self.rows, to_do)


@dataclass(frozen=True)
class _MappedFaces:
    """The faces of a store in a file of rows."""

    path: Path

    def prepared(self, to_do: pa.Table, work_dir: Path) -> tuple[_MappedFaces, pa.Table]:
        """See `FaceSource`."""
        return self, to_do

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """See `FaceSource`."""
        with pa.memory_map(str(self.path)) as file:
            return _given_photos(pa.ipc.open_file(file).read_all(), to_do)


def _given_photos(rows: pa.Table, to_do: pa.Table) -> GivenPhotos:
    rows = rows.filter(pc.is_in(rows["uri"], value_set=to_do["uri"].combine_chunks()))
    found: defaultdict[str, list[GivenFace]] = defaultdict(list)
    unknown = np.full((5, 2), np.nan, np.float32)
    boxes, embeddings = matrix_of(rows["box"]), matrix_of(rows["embedding"])
    for uri, box, embedding, face in zip(
        rows["uri"].to_pylist(), boxes, embeddings, rows["has_face"].to_pylist(), strict=True
    ):
        faces = found[uri]
        if face:  # the program kept no score, but it had found a face
            faces.append(GivenFace(Detection(box, unknown, 1.0), embedding=embedding))
    return {uri: GivenPhoto(faces) for uri, faces in found.items()}


def read_store(path: str | Path, base: str | Path) -> StoredFaces:
    """Read what another program kept.

    Args:
        path: the file.
        base: folder that relative names of photos start from.

    Raises:
        WrongUsageError: it is no such file, or was made in a way that is not known here.
    """
    path, base = Path(path), Path(base)
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise WrongUsageError(
            f"{path} is a pickle, and reading one runs whatever program is in it; convert it where "
            "it comes from, see docs/models.md"
        )
    if suffix not in SUFFIXES:
        raise WrongUsageError(f"{path} is no store; known are files in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise WrongUsageError(f"there is no file {path}")
    try:
        return _read(path, base, _READERS[suffix](path))
    except _UNREADABLE as error:
        pickled = "it holds objects that only pickle could read"
        problem = pickled if "allow_pickle" in str(error) else first_line(error)
        raise WrongUsageError(
            f"{path} cannot be read ({problem}); write it again as docs/models.md says"
        ) from error


def _read(path: Path, base: Path, columns: dict[str, Any]) -> StoredFaces:
    if {"identity", "embedding", *_DEEPFACE_BOX} <= columns.keys():
        models, rows = _deepface_models(path), _deepface_rows(columns)
    elif {"path", "encoding", "location"} <= columns.keys():
        models = ModelChoice(
            f"{DEEPFACE}dlib", f"{DEEPFACE}Dlib", alignment=FACE_RECOGNITION_ALIGNMENT
        )
        rows = _encoding_rows(columns)
    else:
        raise WrongUsageError(
            f"{path} is neither a datastore of deepface nor a list of face_recognition encodings "
            f"with path, encoding and location; it has {', '.join(map(str, columns)) or 'nothing'}"
        )
    return _checked(path, base, models, rows)


def _read_npz(path: Path) -> dict[str, Any]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        columns: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    for name, values in columns.items():
        if name not in ("embedding", "encoding", "location"):
            columns[name] = values.tolist()
    if "has_embedding" in columns:
        faces = zip(columns["embedding"], columns["has_embedding"], strict=True)
        columns["embedding"] = [vector if face else None for vector, face in faces]
    return columns


def _read_json(path: Path) -> dict[str, Any]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it should be a list of objects, one for each face")
    names = {name for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}


def _read_feather(path: Path) -> dict[str, Any]:
    return _columns(pyarrow.feather.read_table(path))


def _read_parquet(path: Path) -> dict[str, Any]:
    return _columns(pq.read_table(path))


def _columns(table: pa.Table) -> dict[str, Any]:
    return {name: table[name].to_pylist() for name in table.column_names}


_UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, RecursionError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, pa.ArrowException),
)

_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".npz": _read_npz,
    ".json": _read_json,
    ".feather": _read_feather,
    ".parquet": _read_parquet,
}


def _deepface_models(path: Path) -> ModelChoice:
    """The models that a datastore's name speaks of."""
    said = _DEEPFACE_NAME.fullmatch(path.stem)
    if said is None:
        raise WrongUsageError(
            f"{path} has lost the name by which deepface says what made it "
            "(ds_model_..._detector_...); give it back that name"
        )
    embedders = {name.replace("-", "").lower(): name for name in RECOGNISERS}
    embedder, detector = embedders.get(said["model"]), said["detector"]
    if embedder is None or detector not in DETECTORS:
        raise WrongUsageError(f"{path} was made by a model of deepface that is not known here")
    if (said["aligned"], said["normalization"], said["expand"]) != ("aligned", "base", "0"):
        raise WrongUsageError(
            f"{path} was made without alignment, by another normalization or of expanded boxes, "
            "which facetrove does not do; embed the photos again"
        )
    return ModelChoice(DEEPFACE + detector, DEEPFACE + embedder, alignment=DEEPFACE_ALIGNMENT)


_Rows = list[tuple[str, "list[float] | None", "list[float] | None"]]
"""Photo, box and embedding of each row; None: no face."""


def _deepface_rows(columns: dict[str, Any]) -> _Rows:
    boxes = zip(*(columns[name] for name in _DEEPFACE_BOX), strict=True)
    return [
        (name, list(box) if vector is not None else None, vector)
        for name, box, vector in zip(columns["identity"], boxes, columns["embedding"], strict=True)
    ]


def _encoding_rows(columns: dict[str, Any]) -> _Rows:
    rows: _Rows = []
    for name, vector, location in zip(
        columns["path"], columns["encoding"], columns["location"], strict=True
    ):
        if not isinstance(vector, list | np.ndarray) or len(vector) != _ENCODING_SIZE:
            raise ValueError(f"an encoding of face_recognition has {_ENCODING_SIZE} numbers")
        top, right, bottom, left = (float(value) for value in location)
        rows.append((name, [left, top, right - left, bottom - top], list(vector)))
    return rows


def _checked(path: Path, base: Path, models: ModelChoice, rows: _Rows) -> StoredFaces:
    if not rows:
        raise WrongUsageError(f"{path} holds nothing")
    dimension = next((len(vector) for _, _, vector in rows if vector is not None), 1)
    boxes = np.zeros((len(rows), 4), np.float32)
    embeddings = np.zeros((len(rows), dimension), np.float32)
    has_face = np.zeros(len(rows), bool)
    uris = []
    for number, (name, box, vector) in enumerate(rows):
        if not isinstance(name, str) or not name:
            raise WrongUsageError(f"{path}, row {number}: it names no photo")
        uris.append(photo_uri(os.path.abspath(base / name)))
        if vector is None or box is None:
            continue
        values = np.asarray(vector, np.float64)
        if values.shape != (dimension,) or not np.isfinite(values).all() or not values.any():
            raise WrongUsageError(
                f"{path}, row {number}: its embedding is not {dimension} finite numbers, not all 0"
            )
        if not np.isfinite(box).all() or min(box[2:]) <= 0:
            raise WrongUsageError(f"{path}, row {number}: its box has no extent")
        largest = np.abs(values).max()
        if not (np.abs(box).max() < LARGEST and 1 / LARGEST < largest < LARGEST):
            raise WrongUsageError(f"{path}, row {number}: its numbers are too large or too small")
        boxes[number], embeddings[number], has_face[number] = box, values, True
    if not 2 <= dimension <= MAX_DIMENSION and has_face.any():
        raise WrongUsageError(f"{path}: embeddings of {dimension} numbers cannot be")
    columns = {
        "uri": pa.array(uris, pa.string()),
        "box": column_of(boxes),
        "embedding": column_of(embeddings),
        "has_face": pa.array(has_face),
    }
    return StoredFaces(path, models, pa.table(columns))


def require_agreement(stored: StoredFaces, listing: PhotoListing, pipeline: FacePipeline) -> None:
    """Embed some faces of a store anew, and compare.

    Raises:
        ContractMismatchError: the model here makes other embeddings, or another number of numbers.
        WrongUsageError: no photo of the store can be read, so nobody knows.
    """
    made, dimension = pipeline.contract.dimension, stored.rows["embedding"].type.list_size
    has_faces = pc.any(stored.rows["has_face"]).as_py()
    if has_faces and dimension != made:
        raise ContractMismatchError(
            f"{stored.path} has embeddings of {dimension} numbers and "
            f"{stored.models.embedder} makes {made}: it was made by another model"
        )
    compared: list[float] = []
    num_tried = 0
    photos = listing.photos.filter(pc.greater_equal(listing.photos["num_bytes"], 0))
    for start in range(0, min(len(photos), MAX_TRIED), 8):
        block = photos.slice(start, 8)
        known = stored.given_photos(block)
        for uri in block["uri"].to_pylist():
            similarities = _similarities(known[uri].faces, uri, pipeline)
            if similarities is not None:
                compared += similarities
                num_tried += len(known[uri].faces)
        if len(compared) >= ENOUGH_COMPARED:
            break
    if has_faces and len(compared) <= num_tried / 2:
        raise WrongUsageError(
            f"of {num_tried} faces of {stored.path} {len(compared)} are found in their places, "
            "so it cannot be seen whether its embeddings are this model's; see that --base names "
            "the folder of the very photos, and that boxes are those of upright photos"
        )
    if compared and np.median(compared) < MIN_AGREEMENT:
        raise ContractMismatchError(
            f"the embeddings of {stored.path} are not those that {stored.models.embedder} makes "
            f"here (similarity {np.median(compared):.3f} instead of 1): it was made by other "
            "weights, another version or other settings; embed the photos again"
        )


def _similarities(
    known: Sequence[GivenFace], uri: str, pipeline: FacePipeline
) -> list[float] | None:
    """Of the embeddings of known faces of a photo and those made of it now; None: no photo."""
    try:
        photo = decode_photo(read_photo(uri)) if known else None
    except PhotoRejectedError:
        return None
    (found,) = pipeline.find_faces([photo]) if photo else [[]]
    boxes = np.array([face.detection.box for face in found]).reshape(-1, 4)
    similarities = []
    for face in known:
        same = np.flatnonzero(overlaps(boxes, face.detection.box) >= SAME_BOX)
        if len(same) and face.embedding is not None:
            (stored,) = unit_length(face.embedding[np.newaxis])
            similarities.append(max(float(stored @ found[i].embedding) for i in same))
    return similarities
