"""Photos in, faces with unit embeddings out: a detector and an embedder joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, islice
from time import perf_counter
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from faces.core.contract import ModelContract
from faces.core.settings import FaceSelection
from faces.core.vectors import unit_length
from faces.models.alignment import ARCFACE_112, Alignment, Crop
from faces.models.face import Detection, Face, FaceQuality, GivenFace
from faces.models.quality import face_qualities
from faces.photos.decoding import REDUCTIONS, Image, Photo, as_photo

BLOCK_CROPS = 256
"""Crops held at once; a mosaic may have thousands of faces."""

MAX_ENLARGED = 1.1
"""Crops are not enlarged further than this out of a reduced photo: it is decoded again."""


class FaceDetector(Protocol):
    """Finds faces. Photos of one call may differ in size; speed comes from many at once."""

    name: str
    weights_digest: str
    runs_on: str

    def reduction_for(self, longer_side: int) -> int:
        """How far a photo may be reduced (1, 2, 4 or 8) before faces are missed for it.

        Args:
            longer_side: of the whole photo, in pixels.
        """
        ...

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """The faces of each photo, best score first, in pixels of the whole photo."""
        ...


class FaceEmbedder(Protocol):
    """Turns aligned crops into vectors."""

    name: str
    weights_digest: str
    runs_on: str
    dimension: int
    alignment: Alignment

    def embed(self, crops: Crop) -> NDArray[np.float32]:
        """(n, height, width, 3) RGB crops to (n, dimension) float32, finite, of any length."""
        ...


class FacePipeline:
    """A detector and an embedder as one thing that jobs and searchers hold.

    Attributes:
        seconds: how long each stage has taken so far: decode (again, in more detail), detect,
            align (and measure), embed.
    """

    def __init__(
        self,
        detector: FaceDetector,
        embedder: FaceEmbedder,
        selection: FaceSelection = FaceSelection(),
    ) -> None:
        self.detector = detector
        self.embedder = embedder
        self.selection = selection
        self.seconds = StageSeconds()

    @property
    def contract(self) -> ModelContract:
        """What its embeddings are made by."""
        return ModelContract(
            detector=self.detector.name,
            detector_digest=self.detector.weights_digest,
            alignment=self.embedder.alignment.name,
            embedder=self.embedder.name,
            embedder_digest=self.embedder.weights_digest,
            dimension=self.embedder.dimension,
        )

    @property
    def runs_on(self) -> dict[str, str]:
        """By the names of its models, the engine and device that each runs on."""
        return {model.name: model.runs_on for model in (self.detector, self.embedder)}

    def find_faces(
        self,
        images: Sequence[Photo | Image],
        known: Sequence[Sequence[GivenFace] | None] | None = None,
    ) -> list[list[Face]]:
        """The faces of each photo, in the order of the detector; no face gives [].

        Boxes and landmarks are in pixels of the whole photo, however far it was reduced.

        Args:
            images: photos.
            known: for each of them its faces, or None where they are to be found.
        """
        photos = [as_photo(image) for image in images]
        known = known or [None] * len(photos)
        with self.seconds.spent_on("detect"):
            unknown = [photo for photo, faces in zip(photos, known, strict=True) if faces is None]
            detected = iter(self.detector.detect(unknown) if unknown else [])
        found = [
            self._selected(list(map(GivenFace, next(detected))) if faces is None else list(faces))
            for faces in known
        ]
        crops = (
            crop
            for photo, per_photo in zip(photos, found, strict=True)
            for crop in self._crops(photo, per_photo)
        )
        faces: list[Face | None] = []
        while block := list(islice(crops, BLOCK_CROPS)):
            faces += self._embedded(block)
        remaining = iter(faces)
        return [
            [face for face in islice(remaining, len(per_photo)) if face is not None]
            for per_photo in found
        ]

    def reduction_for(self, faces: Sequence[GivenFace]) -> int:
        """How far a photo may be reduced (1, 2, 4 or 8) for crops of these faces."""
        needed = (
            self._alignment_of(face).pixels_needed(face.detection.box, face.detection.landmarks)
            for face in faces
        )
        detail = max(needed, default=0.0)
        return next((r for r in REDUCTIONS if detail * r <= MAX_ENLARGED), 1)

    def _alignment_of(self, face: GivenFace) -> Alignment:
        """What is embedded already is only measured."""
        return self.embedder.alignment if face.embedding is None else ARCFACE_112

    def _embedded(self, crops: Sequence[_Crops]) -> list[Face | None]:
        """A face for each of its crops; None where it is not sharp enough."""
        with self.seconds.spent_on("align"):
            qualities = _qualities(crops)
        sharp = [quality.sharpness >= self.selection.min_sharpness for quality in qualities]
        with self.seconds.spent_on("embed"):
            kept = list(compress(crops, sharp))
            made = iter(
                self._embed([crop.embedded for crop in kept if crop.face.embedding is None])
            )
            vectors = np.array(
                [
                    next(made) if crop.face.embedding is None else crop.face.embedding
                    for crop in kept
                ],
                dtype=np.float32,
            ).reshape(len(kept), self.embedder.dimension)
            embeddings, norms = unit_length(vectors), np.linalg.norm(vectors, axis=1).tolist()
        rows = zip(kept, embeddings, norms, compress(qualities, sharp), strict=True)
        faces = (
            Face(crop.face.detection, embedding, norm, quality, crop.face.face_id)
            for crop, embedding, norm, quality in rows
        )
        return [next(faces) if keep else None for keep in sharp]

    def _selected(self, faces: list[GivenFace]) -> list[GivenFace]:
        if self.selection.min_face is not None:
            faces = [f for f in faces if min(f.detection.box[2:]) >= self.selection.min_face]
        if self.selection.max_faces is not None:
            by_size = sorted(faces, key=lambda f: -float(np.prod(f.detection.box[2:])))
            largest = by_size[: self.selection.max_faces]
            faces = [face for face in faces if face in largest]
        return faces

    def _crops(self, photo: Photo, faces: Sequence[GivenFace]) -> Iterator[_Crops]:
        """The aligned faces of one photo, decoded in more detail where a face needs it."""
        if faces and photo.reduction > 1:
            with self.seconds.spent_on("decode"):
                photo = photo.finer(self.reduction_for(faces))
        scale = np.float32(photo.reduction)
        for face in faces:
            with self.seconds.spent_on("align"):
                box, landmarks = face.detection.box / scale, face.detection.landmarks / scale
                alignment = self._alignment_of(face)
                embedded = alignment.crop(photo.image, box, landmarks)
                measured = (
                    np.asarray(embedded, np.uint8)
                    if alignment == ARCFACE_112
                    else ARCFACE_112.crop(photo.image, box, landmarks)
                )
            yield _Crops(face, embedded, measured)

    def _embed(self, crops: list[Crop]) -> NDArray[np.float32]:
        if not crops:
            return np.empty((0, self.embedder.dimension), dtype=np.float32)
        return self.embedder.embed(cast(Crop, np.stack(crops)))


class _Crops(NamedTuple):
    face: GivenFace
    embedded: Crop
    measured: Image  # as `faces.models.quality` wants it


class StageSeconds(Counter[str]):
    """Seconds by the name of a stage."""

    @contextmanager
    def spent_on(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes."""
        start = perf_counter()
        try:
            yield
        finally:
            self[stage] += perf_counter() - start  # type: ignore[assignment]


def _qualities(crops: Sequence[_Crops]) -> list[FaceQuality]:
    if not crops:
        return []
    columns = face_qualities(
        np.stack([crop.face.detection.box for crop in crops]),
        np.stack([crop.face.detection.landmarks for crop in crops]),
        np.stack([crop.measured for crop in crops]),
    )
    names, rows = list(columns), zip(*(values.tolist() for values in columns.values()), strict=True)
    return [FaceQuality(**dict(zip(names, row, strict=True))) for row in rows]


def overlaps(boxes: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) intersection over union of (n, 4) boxes with one more."""
    corners = np.maximum(boxes[:, :2], box[:2])
    ends = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    shared = np.prod(np.clip(ends - corners, 0, None), axis=1)
    together = np.prod(boxes[:, 2:], axis=1) + np.prod(box[2:]) - shared
    return np.asarray(shared / together)
