"""Importers of other programs' embeddings: deepface's datastores and face_recognition's encodings.

A datastore is a file `ds_model_..._detector_....npz`, .feather or .parquet, which `DeepFace.find`
writes into a folder of photos. Encodings are read from JSON, Parquet or the arrays of an .npz, with
an object or row for each face: `path`, `encoding` (128 dimensions) and `location` (top, right,
bottom, left in pixels, as face_recognition gives it). Pickles are programs and are never read.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.parquet as pq

from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.contract import MAX_DIMENSION
from faces.core.errors import WrongUsageError, first_line
from faces.core.storage import Folder
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
from faces.photos.folders import stat_photo
from faces.photos.listed import LISTING_SCHEMA, PhotoListing
from faces.photos.uris import photo_path, photo_uri

SUFFIXES = (".npz", ".feather", ".parquet", ".json")
"""Suffixes of the files that can be imported."""

_WORK_FILE = "known-faces.arrow"
"""Name of the file in a job's work folder that workers read the faces from."""

_PICKLE_SUFFIXES = (".pkl", ".pickle", ".dat", ".p")

_DEEPFACE_NAME = re.compile(
    r"ds_model_(?P<model>.+)_detector_(?P<detector>.+)_(?P<aligned>aligned|unaligned)"
    r"_normalization_(?P<normalization>.+)_expand_(?P<expand>\d+)"
)
_DEEPFACE_BOX = ("target_x", "target_y", "target_w", "target_h")
_ENCODING_DIMENSION = 128

MAX_VALUE = 1e15
"""Bound of absolute values in a file; an embedding's largest is above 1 / `MAX_VALUE` too. So the
sum of the squares of thousands of values fits into float32, whose largest value is 3e38."""


@dataclass(frozen=True, eq=False)
class ImportedFaces:
    """A `faces.dataset.reembedding.FaceSource` of the faces in another program's file.

    Attributes:
        path: path of the file.
        models: models that made the embeddings.
        rows: table with the photo's `uri`; `box` as in `Detection.box`; `embedding`, of any length
            above 0; `has_face`, false in the row of a photo in which no face was found.
    """

    path: Path
    models: ModelChoice
    rows: pa.Table

    def listing(self) -> PhotoListing:
        """List the photos that the file names, as they are on disk now.

        Raises:
            WrongUsageError: none of the photos exists.
        """
        uris = pc.unique(self.rows["uri"]).sort().to_pylist()
        files = [stat_photo(str(photo_path(uri))) for uri in uris]
        if max(file.num_bytes for file in files) < 0:
            raise WrongUsageError(
                f"none of the photos that {self.path} names is there, for example {uris[0]}; "
                "give the folder that its relative paths start from with --base"
            )
        columns = dict(zip(LISTING_SCHEMA.names, zip(*files, strict=True), strict=True))
        photos = pa.table(columns, schema=LISTING_SCHEMA)
        return PhotoListing(photos, (), pa.array(np.arange(len(photos))))

    def prepared(self, to_do: pa.Table, work: Folder) -> tuple[_MappedFaces, pa.Table]:
        """Write a file that workers memory-map; see `FaceSource.prepared`."""
        write_arrow(work, _WORK_FILE, self.rows)
        return _MappedFaces(work), to_do

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """Return the given faces of photos to do; see `FaceSource.given_photos`."""
        return _given_photos(self.rows, to_do)


@dataclass(frozen=True)
class _MappedFaces:
    """A `FaceSource` of `ImportedFaces.rows` in an Arrow file of a job's work folder."""

    work: Folder

    def prepared(self, to_do: pa.Table, work: Folder) -> tuple[_MappedFaces, pa.Table]:
        """Return this source and the photos unchanged; see `FaceSource.prepared`."""
        return self, to_do

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """Read the given faces of photos to do; see `FaceSource.given_photos`."""
        return _given_photos(read_arrow(self.work.mapped(_WORK_FILE)), to_do)


def _given_photos(rows: pa.Table, to_do: pa.Table) -> GivenPhotos:
    rows = rows.filter(pc.is_in(rows["uri"], value_set=to_do["uri"].combine_chunks()))
    found: defaultdict[str, list[GivenFace]] = defaultdict(list)
    no_landmarks = np.full((5, 2), np.nan, np.float32)
    boxes, embeddings = matrix_of(rows["box"]), matrix_of(rows["embedding"])
    for uri, box, embedding, has_face in zip(
        rows["uri"].to_pylist(), boxes, embeddings, rows["has_face"].to_pylist(), strict=True
    ):
        faces = found[uri]
        if has_face:  # the file has no score, but the program detected the face
            faces.append(GivenFace(Detection(box, no_landmarks, 1.0), embedding=embedding))
    return {uri: GivenPhoto(faces) for uri, faces in found.items()}


def read_embeddings_file(path: str | Path, base: str | Path) -> ImportedFaces:
    """Read faces and embeddings from a file that another program wrote.

    Args:
        path: path of the file, whose name ends in one of `SUFFIXES`.
        base: folder that relative paths of photos start from.

    Raises:
        WrongUsageError: the file is missing, is of another kind, has impossible values, or was made
            by models or settings that facetrove does not have.
    """
    path, base = Path(path), Path(base)
    suffix = path.suffix.lower()
    if suffix in _PICKLE_SUFFIXES:
        raise WrongUsageError(
            f"{path} is a pickle, and reading one runs whatever program is in it; convert it with "
            "the program that wrote it, see docs/models.md"
        )
    if suffix not in SUFFIXES:
        raise WrongUsageError(
            f"{path} cannot be imported; name a file that ends in {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise WrongUsageError(f"there is no file {path}; name the file that has the embeddings")
    try:
        return _read(path, base, _READERS[suffix](path))
    except _UNREADABLE as error:
        pickled = "it holds objects that only pickle could read"
        problem = pickled if "allow_pickle" in str(error) else first_line(error)
        raise WrongUsageError(
            f"{path} cannot be read ({problem}); write it again as docs/models.md says"
        ) from error


def _read(path: Path, base: Path, columns: dict[str, Any]) -> ImportedFaces:
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
    return _validated(path, base, models, rows)


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
    if isinstance(rows, list) and rows and all(isinstance(row, list) for row in rows):
        raise WrongUsageError(
            f"{path} is a list of lists, as the oldest versions of deepface kept paths and vectors "
            "without the places of the faces; it cannot be imported: embed the photos anew with "
            "`facetrove embed`"
        )
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it should be a list of objects, one for each face")
    names = {name for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}


def _read_feather(path: Path) -> dict[str, Any]:
    return _columns(pyarrow.feather.read_table(path, memory_map=False))


def _read_parquet(path: Path) -> dict[str, Any]:
    # read_table would add columns for folders with names such as year=2020.
    with pq.ParquetFile(path) as file:
        return _columns(file.read())


def _columns(table: pa.Table) -> dict[str, Any]:
    table.validate(full=True)  # an offset out of range would read foreign memory
    return {name: table[name].to_pylist() for name in table.column_names}


_UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, RecursionError, NotImplementedError),
    OverflowError,
    *(zipfile.BadZipFile, zlib.error, pa.ArrowException),
)
"""Errors that the readers raise on corrupt files and on files of another kind."""

_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".npz": _read_npz,
    ".json": _read_json,
    ".feather": _read_feather,
    ".parquet": _read_parquet,
}


def _deepface_models(path: Path) -> ModelChoice:
    """Return the models that the name of a deepface datastore names."""
    named = _DEEPFACE_NAME.fullmatch(path.stem)
    if named is None:
        raise WrongUsageError(
            f"{path} has lost the name by which deepface says what made it "
            "(ds_model_..._detector_...); rename it back"
        )
    embedders = {name.replace("-", "").lower(): name for name in RECOGNISERS}
    embedder, detector = embedders.get(named["model"]), named["detector"]
    if embedder is None or detector not in DETECTORS:
        raise WrongUsageError(
            f"{path} was made by deepface's {named['model']} and detector {detector}; facetrove "
            "lacks one of them; embed the photos again"
        )
    if (named["aligned"], named["normalization"], named["expand"]) != ("aligned", "base", "0"):
        raise WrongUsageError(
            f"{path} was made by deepface with align, normalization and expand_percentage "
            f"{named['aligned']}, {named['normalization']} and {named['expand']}; facetrove only "
            "embeds with aligned, base and 0; run `facetrove embed` on the photos instead"
        )
    return ModelChoice(DEEPFACE + detector, DEEPFACE + embedder, alignment=DEEPFACE_ALIGNMENT)


_Rows = list[tuple[str, "list[float] | None", "list[float] | None"]]
"""Path of the photo, box and embedding of each row; None: no face was found in the photo."""


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
        if not isinstance(vector, list | np.ndarray) or len(vector) != _ENCODING_DIMENSION:
            raise ValueError(f"face_recognition's encodings have {_ENCODING_DIMENSION} dimensions")
        top, right, bottom, left = (float(value) for value in location)
        rows.append((name, [left, top, right - left, bottom - top], list(vector)))
    return rows


def _validated(path: Path, base: Path, models: ModelChoice, rows: _Rows) -> ImportedFaces:
    if not rows:
        raise WrongUsageError(f"{path} has no rows; name a file with embeddings")
    dimension = next((len(vector) for _, _, vector in rows if vector is not None), 1)
    boxes = np.zeros((len(rows), 4), np.float32)
    embeddings = np.zeros((len(rows), dimension), np.float32)
    has_face = np.zeros(len(rows), bool)
    uris = []
    for number, (name, box, vector) in enumerate(rows):
        if not isinstance(name, str) or not name:
            raise WrongUsageError(f"{path}, row {number} (from 0): it names no photo")
        uris.append(photo_uri(os.path.abspath(base / name)))
        if vector is None or box is None:
            continue
        values = np.asarray(vector, np.float64)
        if values.shape != (dimension,) or not np.isfinite(values).all() or not values.any():
            raise WrongUsageError(
                f"{path}, row {number} (from 0): its embedding must have {dimension} finite "
                "values that are not all 0; correct or remove the row"
            )
        if not np.isfinite(box).all() or min(box[2:]) <= 0:
            raise WrongUsageError(f"{path}, row {number} (from 0): its box has no extent")
        largest = np.abs(values).max()
        if not (np.abs(box).max() < MAX_VALUE and 1 / MAX_VALUE < largest < MAX_VALUE):
            raise WrongUsageError(
                f"{path}, row {number} (from 0): its values are too large or too small"
            )
        boxes[number], embeddings[number], has_face[number] = box, values, True
    if not 2 <= dimension <= MAX_DIMENSION and has_face.any():
        raise WrongUsageError(
            f"{path}: embeddings have {dimension} dimensions, expected 2 to {MAX_DIMENSION}"
        )
    columns = {
        "uri": pa.array(uris, pa.string()),
        "box": column_of(boxes),
        "embedding": column_of(embeddings),
        "has_face": pa.array(has_face),
    }
    return ImportedFaces(path, models, pa.table(columns))
