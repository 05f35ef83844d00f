"""Checking that imported embeddings are those that a model of this program makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

from faces.core.errors import ContractMismatchError, WrongUsageError
from faces.core.vectors import unit_length
from faces.dataset.importers import ImportedFaces
from faces.models.face import GivenFace, intersection_over_union
from faces.models.pipeline import FacePipeline
from faces.photos.limited import decode_limited, read_limited
from faces.photos.listed import PhotoListing
from faces.photos.rejection import PhotoRejectedError

MAX_CHECKED_PHOTOS, ENOUGH_CHECKED_FACES = 64, 8
"""`require_agreement` embeds at most so many photos, and stops after so many compared faces."""

MIN_OVERLAP = 0.7
"""Least intersection over union of two boxes of the same face."""

MIN_AGREEMENT = 0.99
"""Least median similarity of the file's embeddings and those that the model makes of the faces."""


def require_agreement(
    imported: ImportedFaces, listing: PhotoListing, pipeline: FacePipeline
) -> None:
    """Embed some imported faces again, and require that their embeddings are as in the file.

    Raises:
        ContractMismatchError: the model makes other embeddings, or of another dimension.
        WrongUsageError: at most half of the faces were detected again, or no photo can be read.
    """
    made, dimension = pipeline.contract.dimension, imported.rows["embedding"].type.list_size
    has_faces = pc.any(imported.rows["has_face"]).as_py()
    if has_faces and dimension != made:
        raise ContractMismatchError(
            f"{imported.path} has embeddings of dimension {dimension} and "
            f"{imported.models.embedder} makes {made}: it was made by another model"
        )
    compared: list[float] = []
    num_tried = 0
    photos = listing.photos.filter(pc.greater_equal(listing.photos["num_bytes"], 0))
    for start in range(0, min(len(photos), MAX_CHECKED_PHOTOS), 8):
        block = photos.slice(start, 8)
        given = imported.given_photos(block)
        for uri in block["uri"].to_pylist():
            similarities = _similarities(given[uri].faces, uri, pipeline)
            if similarities is not None:
                compared += similarities
                num_tried += len(given[uri].faces)
        if len(compared) >= ENOUGH_CHECKED_FACES:
            break
    if has_faces and len(compared) <= num_tried / 2:
        raise WrongUsageError(
            f"{len(compared)} of {num_tried} faces of {imported.path} are detected at their boxes, "
            "too few to tell whether its embeddings are this model's; check that --base names the "
            "folder of the same photos, and that boxes are in pixels of the upright photos"
        )
    if compared and np.median(compared) < MIN_AGREEMENT:
        raise ContractMismatchError(
            f"the embeddings of {imported.path} are not those that {imported.models.embedder} "
            f"makes here (median similarity {np.median(compared):.3f} instead of 1): it was made "
            "by other weights, another version or other settings; embed the photos again"
        )


def _similarities(
    given: Sequence[GivenFace], uri: str, pipeline: FacePipeline
) -> list[float] | None:
    """Return the similarities of given embeddings to those of the faces detected at their boxes.

    Given faces that are not detected again have none. None: the photo cannot be read.
    """
    try:
        photo = decode_limited(read_limited(uri)) if given else None
    except PhotoRejectedError:
        return None
    (found,) = pipeline.find_faces([photo]) if photo else [[]]
    boxes = np.array([face.detection.box for face in found]).reshape(-1, 4)
    similarities = []
    for face in given:
        same = np.flatnonzero(intersection_over_union(boxes, face.detection.box) >= MIN_OVERLAP)
        if len(same) and face.embedding is not None:
            (imported,) = unit_length(face.embedding[np.newaxis])
            similarities.append(max(float(imported @ found[i].embedding) for i in same))
    return similarities
