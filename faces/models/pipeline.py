"""The face pipeline: a detector and an embedder that turn photos into embedded faces."""

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
from faces.core.time_limit import Pace, require_few
from faces.core.vectors import unit_length
from faces.models.alignment import ARCFACE_112, Alignment, Crop
from faces.models.face import Detection, Face, FaceQuality, GivenFace
from faces.models.quality import face_qualities
from faces.photos.decoding import REDUCTIONS, Image, Photo, as_photo

BLOCK_CROPS = 256
"""Maximum number of crops in memory at once, since a photo may have thousands of faces."""

MAX_ENLARGED = 1.1
"""Maximum scale from a reduced photo to a crop, in crop pixels per pixel. A larger scale would blur
the crop, so the photo is then decoded again with more detail."""


class FaceDetector(Protocol):
    """A face detector.

    Attributes:
        name: the detector's name in the model contract.
        weights_digest: hexadecimal sha256 in the model contract.
        runs_on: the engine and device that the detector runs on, in words.
    """

    name: str
    weights_digest: str
    runs_on: str

    def reduction_for(self, longer_side: int) -> int:
        """Return how far a photo may be reduced (1, 2, 4 or 8) without faces being missed.

        Args:
            longer_side: longer side of the whole photo in pixels.
        """
        ...

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """Detect the faces of each photo.

        Args:
            photos: photos of any sizes; many in one call are faster than one by one.

        Returns:
            The detections of each photo, highest score first, in pixels of the whole photo.
        """
        ...


class FaceEmbedder(Protocol):
    """A face embedder.

    Attributes:
        name: the embedder's name in the model contract.
        weights_digest: hexadecimal sha256 in the model contract.
        runs_on: the engine and device that the embedder runs on, in words.
        dimension: number of dimensions of an embedding.
        alignment: the alignment that crops are made with.
    """

    name: str
    weights_digest: str
    runs_on: str
    dimension: int
    alignment: Alignment

    def embed(self, crops: Crop) -> NDArray[np.float32]:
        """Embed aligned crops.

        Args:
            crops: (n, height, width, 3) RGB, 0 to 255.

        Returns:
            (n, dimension) float32 vectors, finite and of any length.
        """
        ...


class FacePipeline:
    """A detector and an embedder, joined to turn photos into embedded faces.

    Args:
        detector: finds the faces.
        embedder: embeds the faces' crops.
        selection: which of the detected faces are kept.

    Attributes:
        seconds: time in seconds that each stage has taken so far: "detect"; "decode" (again, with
            more detail); "align", which includes the quality measures; "embed".
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
        """The contract of the embeddings that the pipeline makes."""
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
        """The engine and device that each model runs on, by the model's name."""
        return {model.name: model.runs_on for model in (self.detector, self.embedder)}

    def find_faces(
        self,
        images: Sequence[Photo | Image],
        given: Sequence[Sequence[GivenFace] | None] | None = None,
    ) -> list[list[Face]]:
        """Detect, align, measure and embed the faces of photos.

        Args:
            images: photos, decoded.
            given: for each photo its faces if they were detected earlier, or None to detect them
                now; None: detect the faces of all photos.

        Returns:
            The selected faces of each photo, in the detector's order; [] for a photo without any.
            Boxes and landmarks are in pixels of the whole photo, also where the photo was reduced.
            A given face that has an embedding keeps it, scaled to unit length.

        Raises:
            WrongUsageError: an image is not a (height, width, 3) uint8 array.
            OutOfTimeError, TooManyFacesError: see `faces.core.time_limit`.
            PhotoRejectedError: a reduced photo cannot be decoded again with more detail.
            ValueError: a vector is zero or not finite, so it cannot be scaled to unit length.
        """
        photos = [as_photo(image) for image in images]
        given = given or [None] * len(photos)
        with self.seconds.spent_on("detect"):
            to_detect = [photo for photo, faces in zip(photos, given, strict=True) if faces is None]
            detected = iter(self.detector.detect(to_detect) if to_detect else [])
        found = [
            self._selected(list(map(GivenFace, next(detected))) if faces is None else list(faces))
            for faces in given
        ]
        for per_photo in found:
            require_few(len(per_photo))
        crops = (
            crop
            for photo, per_photo in zip(photos, found, strict=True)
            for crop in self._crops(photo, per_photo)
        )
        faces: list[Face | None] = []
        pace = Pace(sum(map(len, found)))
        while block := list(islice(crops, BLOCK_CROPS)):
            pace.require_time(len(faces))
            faces += self._embedded(block)
        remaining = iter(faces)
        return [
            [face for face in islice(remaining, len(per_photo)) if face is not None]
            for per_photo in found
        ]

    def reduction_for(self, faces: Sequence[GivenFace]) -> int:
        """Return the largest reduction (1, 2, 4 or 8) of a photo for crops of full detail.

        Args:
            faces: faces of the photo, in pixels of the whole photo.
        """
        needed = (
            self._alignment_of(face).pixels_needed(face.detection.box, face.detection.landmarks)
            for face in faces
        )
        detail = max(needed, default=0.0)
        return next((r for r in REDUCTIONS if detail * r <= MAX_ENLARGED), 1)

    def _alignment_of(self, face: GivenFace) -> Alignment:
        """Return the embedder's alignment, or ArcFace's for a face that is embedded already.

        A face that is embedded already is cropped only for its quality measures.
        """
        return self.embedder.alignment if face.embedding is None else ARCFACE_112

    def _embedded(self, crops: Sequence[_Crops]) -> list[Face | None]:
        """Measure and embed a block of crops.

        Returns:
            The face of each crop; None for a face under the selection's minimum sharpness.
        """
        with self.seconds.spent_on("align"):
            qualities = _qualities(crops)
        sharp = [quality.sharpness >= self.selection.min_sharpness for quality in qualities]
        with self.seconds.spent_on("embed"):
            kept = list(compress(crops, sharp))
            new = iter(self._embed([crop.to_embed for crop in kept if crop.face.embedding is None]))
            vectors = np.array(
                [
                    next(new) if crop.face.embedding is None else crop.face.embedding
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
        """Align the faces of one photo, which is decoded again where a face needs more detail."""
        if faces and photo.reduction > 1:
            with self.seconds.spent_on("decode"):
                photo = photo.finer(self.reduction_for(faces))
        scale = np.float32(photo.reduction)
        for face in faces:
            with self.seconds.spent_on("align"):
                box, landmarks = face.detection.box / scale, face.detection.landmarks / scale
                alignment = self._alignment_of(face)
                to_embed = alignment.crop(photo.image, box, landmarks)
                to_measure = (
                    np.asarray(to_embed, np.uint8)
                    if alignment == ARCFACE_112
                    else ARCFACE_112.crop(photo.image, box, landmarks)
                )
            yield _Crops(face, to_embed, to_measure)

    def _embed(self, crops: list[Crop]) -> NDArray[np.float32]:
        if not crops:
            return np.empty((0, self.embedder.dimension), dtype=np.float32)
        return self.embedder.embed(cast(Crop, np.stack(crops)))


class _Crops(NamedTuple):
    """The two crops of a face.

    Attributes:
        face: the face.
        to_embed: the crop for the embedder.
        to_measure: (112, 112, 3) uint8 crop for `faces.models.quality`.
    """

    face: GivenFace
    to_embed: Crop
    to_measure: Image


class StageSeconds(Counter[str]):
    """Time in seconds spent on each stage, by the stage's name."""

    @contextmanager
    def spent_on(self, stage: str) -> Iterator[None]:
        """Add the time that the `with` block takes to a stage."""
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
        np.stack([crop.to_measure for crop in crops]),
    )
    names, rows = list(columns), zip(*(values.tolist() for values in columns.values()), strict=True)
    return [FaceQuality(**dict(zip(names, row, strict=True))) for row in rows]
