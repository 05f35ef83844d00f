"""Embedding one shard: photos in, the two tables of a dataset part out, without Beam."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from beam_jobs.in_flight import InFlight, photo_keys
from beam_jobs.photo_columns import is_news, taken_columns
from faces.core.errors import ModelUnavailableError
from faces.core.time_limit import OutOfTimeError, sharing_time, time_limited
from faces.dataset.face_ids import first_face_id
from faces.dataset.picture_hash import hash_pictures
from faces.dataset.reembedding import GivenPhotos
from faces.dataset.schema import PhotoStatus, faces_table
from faces.models.face import Detection, Face, GivenFace
from faces.models.pipeline import FacePipeline, StageSeconds
from faces.photos.decoding import Photo
from faces.photos.limited import ReadingRules, decode_limited, read_limited
from faces.photos.metadata import TAKEN
from faces.photos.rejection import PhotoRejectedError, RejectReason
from faces.photos.taken import exif_taken
from faces.photos.thumbnails import Thumbnail, thumbnail

BATCH_PHOTOS = 32
BATCH_PIXELS = 16_000_000
"""Bounds of a batch of photos that are decoded and embedded at once, to limit memory. Three bytes
of a file count as a pixel, and a photo beyond the bound is a batch of its own."""

BLANK = np.full((64, 64, 3), 255, dtype=np.uint8)
"""A white image, to test whether the detector works at all."""

PATTERN = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
PATTERN_FACE = GivenFace(
    Detection(
        np.array([40, 30, 80, 100], np.float32),
        np.array([(62, 70), (98, 70), (80, 88), (65, 110), (95, 110)], np.float32),
        1.0,
    )
)
"""A given face in the image `PATTERN`, to test whether aligning and embedding work at all."""

_log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """The outcome of a photo: the columns of its row that embedding determines."""

    photo_id: str | None
    width: int | None
    height: int | None
    num_faces: int
    status: str
    reason: str | None
    is_copy: bool
    picture_hash: bytes | None = None
    partly_read: str | None = None

    @classmethod
    def rejected(cls, reason: RejectReason, photo_id: str | None = None) -> Outcome:
        """Return the outcome of a rejected photo."""
        return cls(photo_id, None, None, 0, PhotoStatus.REJECTED.value, reason.value, False)


@dataclass(frozen=True)
class ShardResult:
    """The photos and faces of an embedded shard.

    Attributes:
        photos: a row of the dataset's `photo_schema` for each photo, in the order of the photos. A
            photo rejected for a transient reason has no row if the dataset has a result for it, or
            the same reason.
        faces: rows of `face_schema`.
        seconds: seconds by stage: read, decode, detect, align, embed.
        thumbnails: small images of the photos in which faces were detected now, by photo_id, to
            recognise those from which faces were deleted.
    """

    photos: pa.Table
    faces: pa.Table
    seconds: Mapping[str, float]
    thumbnails: Mapping[str, Thumbnail]

    def joined(self, other: ShardResult) -> ShardResult:
        """Return this result with that of the shard's other photos."""
        return ShardResult(
            pa.concat_tables([self.photos, other.photos]),
            pa.concat_tables([self.faces, other.faces]),
            dict(Counter(self.seconds) + Counter(other.seconds)),
            {**self.thumbnails, **other.thumbnails},
        )


class _Decoded(NamedTuple):
    """A decoded photo, its content's photo_id, and its row in the shard."""

    row: int
    uri: str
    photo_id: str
    photo: Photo


def embed_shard(
    pipeline: FacePipeline,
    to_do: pa.Table,
    schema: pa.Schema,
    *,
    stored: pa.Table | None = None,
    rules: ReadingRules = ReadingRules(),
    given_photos: GivenPhotos | None = None,
    in_flight: InFlight | None = None,
    careful: bool = False,
) -> ShardResult:
    """Read, decode, detect, align and embed the photos of a shard.

    Args:
        pipeline: detector and embedder.
        to_do: photos to embed, see `Plan.to_do`; the column result_before may be missing.
        schema: the dataset's `photo_schema`.
        stored: contents whose faces the dataset has already, see `Plan.stored`.
        rules: limits on photos and archives, and the addresses that may be read; a photo beyond a
            limit is rejected.
        given_photos: photos whose faces are given, so that none are detected.
        in_flight: the worker's marker of in-flight photos.
        careful: whether to embed one photo at a time, so that a photo that kills the process is
            identified.

    Raises:
        ModelUnavailableError: something that the models need is missing.
        Exception: whatever the networks raise, if they fail on a test image too.
    """
    batch_photos = BATCH_PHOTOS if not careful else 1
    shard = _Shard(pipeline, rules, given_photos or {}, in_flight, batch_photos)
    outcomes = shard.run(to_do["uri"].to_pylist(), photo_keys(to_do), stored)
    columns = {name: to_do[name] for name in to_do.column_names}
    for name, values in zip(Outcome._fields, zip(*outcomes, strict=True), strict=True):
        columns[name] = pa.array(values, schema.field(name).type)
    columns["kept_away"] = pa.nulls(len(to_do), schema.field("kept_away").type)
    columns.setdefault("mount", pa.nulls(len(to_do), pa.string()))
    columns |= taken_columns(shard.taken, columns.get(TAKEN), schema)
    photos = pa.table({name: columns[name] for name in schema.names}).cast(schema)
    if "result_before" in to_do.column_names:
        photos = photos.filter(is_news(photos["reason"], to_do["result_before"]))
    dimension = pipeline.contract.dimension
    embeddings = [embedding for _, embedding in shard.faces]
    matrix = np.stack(embeddings) if embeddings else np.empty((0, dimension), dtype=np.float32)
    faces = faces_table([row for row, _ in shard.faces], matrix, dimension)
    return ShardResult(photos, faces, dict(shard.seconds), shard.detected_now())


class _Shard:
    """A shard that is being embedded: its settings, and the faces and outcomes so far."""

    def __init__(
        self,
        pipeline: FacePipeline,
        rules: ReadingRules,
        given_photos: GivenPhotos,
        in_flight: InFlight | None,
        batch_photos: int,
    ) -> None:
        self.pipeline = pipeline
        self.rules = rules
        self.given_photos = given_photos
        self.in_flight = in_flight
        self.batch_photos = batch_photos
        self.faces: list[tuple[dict[str, Any], Any]] = []
        self._pictures: dict[str, _Picture] = {}  # by photo_id
        self.seconds = pipeline.seconds = StageSeconds()
        self.taken: dict[int, datetime | None] = {}  # by row, what the photo's EXIF says
        self._outcomes: dict[int, Outcome] = {}
        self._first_rows: dict[str, int] = {}  # by photo_id, the first row with the content
        self._copies: dict[int, int] = {}  # by row of a copy, the row of its original

    def run(
        self, uris: Sequence[str], keys: Sequence[str], stored: pa.Table | None
    ) -> list[Outcome]:
        """Embed all photos into `faces`, and return the outcome of each photo."""
        for batch in self._batches(uris, keys, _stored_outcomes(stored)):
            self._mark_in_flight(keys[photo.row] for photo in batch)
            for photo, found in self._find_faces(batch):
                if isinstance(found, RejectReason):
                    self._outcomes[photo.row] = Outcome.rejected(found, photo.photo_id)
                    continue
                self._outcomes[photo.row] = _outcome(photo, len(found))
                if found:
                    with self.seconds.spent_on("align"):
                        self._pictures[photo.photo_id] = _picture(photo.photo, found)
                for number, face in enumerate(found):
                    face_id = face.face_id or first_face_id(photo.photo_id, number)
                    self.faces.append((_face_row(photo, face_id, face), face.embedding))
        with self.seconds.spent_on("align"):
            self._hash_pictures()
        for row, original in self._copies.items():
            outcome = self._outcomes[original]
            has_faces = outcome.status == PhotoStatus.EMBEDDED.value
            self._outcomes[row] = outcome._replace(is_copy=has_faces)
        return [self._outcomes[row] for row in range(len(uris))]

    def _hash_pictures(self) -> None:
        """Add the hashes of the photos with faces to their outcomes."""
        pictures = list(self._pictures.values())
        hashes = hash_pictures([p.thumbnail for p in pictures], [p.boxes for p in pictures])
        for photo_id, picture_hash in zip(self._pictures, hashes, strict=True):
            row = self._first_rows[photo_id]
            self._outcomes[row] = self._outcomes[row]._replace(picture_hash=picture_hash)

    def detected_now(self) -> dict[str, Thumbnail]:
        """Return the thumbnails of the photos whose faces have got new face_ids."""
        return {
            photo_id: picture.thumbnail
            for photo_id, picture in self._pictures.items()
            if picture.detected_now
        }

    def _mark_in_flight(self, keys: Iterable[str]) -> None:
        if self.in_flight is not None:
            self.in_flight.take(keys)

    def _batches(
        self, uris: Sequence[str], keys: Sequence[str], by_content: Mapping[str, Outcome]
    ) -> Iterator[list[_Decoded]]:
        """Yield batches of decoded photos, and set the outcome of photos that need no network."""
        batch: list[_Decoded] = []
        num_pixels = 0
        for row, uri in enumerate(uris):
            self._mark_in_flight([keys[row]])
            photo_id = self.taken[row] = None
            try:
                with self.seconds.spent_on("read"):
                    content = read_limited(uri, self.rules)
                    photo_id = hashlib.sha256(content).hexdigest()
                    self.taken[row] = exif_taken(content)
                if photo_id in by_content:
                    self._outcomes[row] = by_content[photo_id]
                    continue
                if self._first_rows.setdefault(photo_id, row) != row:
                    self._copies[row] = self._first_rows[photo_id]
                    continue
                with self.seconds.spent_on("decode"):
                    photo = decode_limited(
                        content,
                        limits=self.rules.limits,
                        reduction_for=self._reduction_for(uri, photo_id),
                        apart=self.batch_photos == 1,  # where a worker may have died on it
                    )
            except PhotoRejectedError as error:
                self._outcomes[row] = Outcome.rejected(error.reason, photo_id)
                continue
            except MemoryError:  # transient: there may be enough next time
                self._outcomes[row] = Outcome.rejected(RejectReason.NOT_PROCESSED, photo_id)
                continue
            size = photo.image.size // 3 + len(content) // 3  # kept to decode again in more detail
            if batch and num_pixels + size > BATCH_PIXELS:
                yield batch
                batch, num_pixels = [], 0
            batch.append(_Decoded(row, uri, photo_id, photo))
            num_pixels += size
            if len(batch) >= self.batch_photos:
                yield batch
                batch, num_pixels = [], 0
        if batch:
            yield batch

    def _reduction_for(self, uri: str, photo_id: str) -> Callable[[int], int]:
        """Return how far to reduce a photo of a given longer side, in pixels, when it is decoded.

        With given faces it is no further than for detection, so that the crops are the same.
        """
        given = self._given_faces(uri, photo_id)
        as_detected = self.pipeline.detector.reduction_for
        if given is None:
            return as_detected
        return lambda longer_side: min(as_detected(longer_side), self.pipeline.reduction_for(given))

    def _given_faces(self, uri: str, photo_id: str) -> Sequence[GivenFace] | None:
        given = self.given_photos.get(uri)
        return given.faces if given and given.photo_id in (None, photo_id) else None

    def _find_faces(
        self, batch: Sequence[_Decoded]
    ) -> list[tuple[_Decoded, list[Face] | RejectReason]]:
        """Return the faces of each photo, or the reason of its rejection.

        A photo of very many faces is embedded alone, and rejected if it takes too long.

        Raises:
            ModelUnavailableError: something that the models need is missing.
            Exception: the networks fail on a test image too, so the photo is not the cause.
        """
        try:
            with self._limited_time(batch):
                found = self.pipeline.find_faces(
                    [decoded.photo for decoded in batch],
                    [self._given_faces(decoded.uri, decoded.photo_id) for decoded in batch],
                )
            return list(zip(batch, found, strict=True))
        except ModelUnavailableError:
            raise
        except OutOfTimeError:
            return [(batch[0], RejectReason.OUT_OF_TIME)]
        except Exception as error:
            if len(batch) > 1:
                return [pair for decoded in batch for pair in self._find_faces([decoded])]
            if isinstance(error, PhotoRejectedError):
                return [(batch[0], error.reason)]
            self.pipeline.find_faces([BLANK])  # raises if the networks are at fault
            self.pipeline.find_faces([PATTERN], [[PATTERN_FACE]])
            _log.warning("the networks fail on a photo, which is rejected", exc_info=True)
            return [(batch[0], RejectReason.NOT_PROCESSED)]

    @contextmanager
    def _limited_time(self, batch: Sequence[_Decoded]) -> Iterator[None]:
        """Limit the time of a photo that is alone; else the number of faces of each photo."""
        if len(batch) > 1:
            with sharing_time():
                yield
        else:
            with time_limited(self.rules.limits.photo_timeout - batch[0].photo.seconds):
                yield


def _stored_outcomes(stored: pa.Table | None) -> dict[str, Outcome]:
    """Return the outcomes of contents in the dataset by photo_id; those with faces are copies."""
    if stored is None:
        return {}
    embedded = PhotoStatus.EMBEDDED.value
    return {
        row["photo_id"]: Outcome(**row, reason=None, is_copy=row["status"] == embedded)
        for row in stored.drop_columns(["num_bytes"]).to_pylist()
    }


def _outcome(decoded: _Decoded, num_faces: int) -> Outcome:
    return Outcome(
        decoded.photo_id,
        decoded.photo.width,
        decoded.photo.height,
        num_faces,
        (PhotoStatus.EMBEDDED if num_faces else PhotoStatus.NO_FACE).value,
        None,
        False,
        partly_read=",".join(decoded.photo.partly_read) or None,
    )


class _Picture(NamedTuple):
    """What is needed of a photo with faces to recognise edited copies of it.

    Attributes:
        thumbnail: (64, 64) grey image.
        boxes: (f, 4) the faces' boxes as shares of the photo's width and height.
        detected_now: whether its faces have no face_ids yet.
    """

    thumbnail: Thumbnail
    boxes: NDArray[np.float32]
    detected_now: bool


def _picture(photo: Photo, faces: Sequence[Face]) -> _Picture:
    size = np.array([photo.width, photo.height] * 2, np.float32)
    boxes = np.stack([face.detection.box for face in faces]) / size
    return _Picture(thumbnail(photo.image), boxes, all(face.face_id is None for face in faces))


def _face_row(decoded: _Decoded, face_id: str, face: Face) -> dict[str, Any]:
    """Return all columns of a face except the embedding."""
    return {
        "face_id": face_id,
        "photo_id": decoded.photo_id,
        "uri": decoded.uri,
        "box": face.detection.box.tolist(),
        "landmarks": face.detection.landmarks.reshape(-1).tolist(),
        "score": face.detection.score,
        **asdict(face.quality),
        "embedding_norm": face.embedding_norm,
    }
