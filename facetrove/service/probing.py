"""Photos that were sent in, and their faces: decoded apart, then found and embedded in batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from faces.core.limited import LimitedWorker
from faces.core.settings import PhotoLimits
from faces.models.face import Face
from faces.models.pipeline import FacePipeline
from faces.photos.decoding import Photo
from faces.photos.limited import decode_limited, new_decoder
from faces.photos.rejection import LIMIT_REASONS, PhotoRejectedError, RejectReason
from facetrove.service.batching import Batcher
from facetrove.service.gallery import Gallery
from facetrove.service.metrics import Metrics
from facetrove.service.options import ServiceLimits
from facetrove.service.refusals import RefusedError, too_large

NUM_DECODERS = 2
"""Number of photos that are decoded at a time, so that one that takes its five seconds does not
keep all others waiting."""

MAX_BATCH = 8
"""Maximum number of photos whose faces are found together: more would only make the first of them
wait for the last."""

MAX_QUEUED = 64
"""Maximum number of photos that wait for the networks."""


@dataclass(frozen=True)
class ProbePhoto:
    """A photo that was sent in, and its faces.

    Attributes:
        width, height: size of the upright photo in pixels.
        faces: the faces, in the detector's order.
    """

    width: int
    height: int
    faces: Sequence[Face]


class Decoders:
    """Threads that decode photos, each by a process of its own under limits.

    Args:
        limits: limits on each photo.
    """

    def __init__(self, limits: PhotoLimits) -> None:
        self._limits = limits
        self._mine = threading.local()
        self._all: list[LimitedWorker] = []
        self._threads = ThreadPoolExecutor(NUM_DECODERS, "decoding")

    def decode(self, content: bytes, *, pipeline: FacePipeline | None = None) -> Photo:
        """Decode a photo in this thread, which must be one of these.

        Args:
            content: content of the photo file.
            pipeline: networks that the photo is for, which may do with less of its detail; None:
                it is decoded in full.

        Raises:
            PhotoRejectedError: it cannot be decoded, or is over a limit.
        """
        if not hasattr(self._mine, "decoder"):
            self._mine.decoder = new_decoder()
            self._all.append(self._mine.decoder)
        if len(content) > self._limits.max_bytes:
            raise PhotoRejectedError(
                RejectReason.TOO_LARGE, f"it has more than {self._limits.max_bytes:,} bytes"
            )
        # Always apart: a decoder that crashes must not end the server.
        reduction_for = (lambda _: 1) if pipeline is None else pipeline.detector.reduction_for
        return decode_limited(
            content,
            limits=self._limits,
            reduction_for=reduction_for,
            apart=True,
            decoder=self._mine.decoder,
        )

    async def run(self, work: partial[Photo]) -> Photo:
        """Run a function that decodes in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @property
    def threads(self) -> ThreadPoolExecutor:
        """The threads in which `decode` may be called."""
        return self._threads

    def close(self) -> None:
        """End the threads and the processes."""
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._all:
            decoder.close()


class FaceFinder:
    """Finds and embeds the faces of photos that are sent in.

    Args:
        gallery: the gallery, whose networks do it.
        decoders: what decodes photos.
        limits: limits on requests.
        metrics: measures.
    """

    def __init__(
        self, gallery: Gallery, decoders: Decoders, limits: ServiceLimits, metrics: Metrics
    ) -> None:
        self._gallery = gallery
        self._decoders = decoders
        self._limits = limits
        self._networks: Batcher[tuple[FacePipeline, Photo], list[Face]] = Batcher(
            "photos",
            _find_in_batch,
            max_batch=MAX_BATCH,
            max_queued=MAX_QUEUED,
            metrics=metrics,
        )

    async def find(self, contents: Sequence[bytes]) -> list[ProbePhoto]:
        """Find and embed the faces of photos.

        Args:
            contents: contents of the photo files.

        Returns:
            The photos with their faces, in the order of the contents.

        Raises:
            RefusedError: a photo cannot be used, or is over a limit.
            ContractMismatchError, ModelUnavailableError: see `Gallery.pipeline`.
        """
        pipeline = await asyncio.to_thread(self._gallery.pipeline)
        found = await asyncio.gather(
            *(self._find_one(content, pipeline) for content in contents), return_exceptions=True
        )
        photos = []
        for number, one in enumerate(found, start=1):
            if isinstance(one, PhotoRejectedError):
                raise unusable_photo(one, number) from one
            if isinstance(one, BaseException):
                raise one
            photos.append(one)
        for number, photo in enumerate(photos, start=1):
            if len(photo.faces) > self._limits.max_faces:
                raise too_large(
                    "max_faces",
                    f"photo {number} shows more than {self._limits.max_faces} faces; send a part "
                    "of it",
                )
        return photos

    async def _find_one(self, content: bytes, pipeline: FacePipeline) -> ProbePhoto:
        photo = await self._decoders.run(partial(self._decoders.decode, content, pipeline=pipeline))
        faces = await self._networks.submit((pipeline, photo))
        return ProbePhoto(photo.width, photo.height, faces)

    def close(self) -> None:
        """End the threads."""
        self._networks.close()


def unusable_photo(error: PhotoRejectedError, number: int) -> RefusedError:
    """Return the refusal of a photo, by its number among the photos of the request."""
    message = f"photo {number} cannot be used ({error})"
    if error.reason in LIMIT_REASONS:
        return too_large("photo_limits", f"{message}; send a smaller one")
    return RefusedError(422, "unusable_photo", f"{message}; send a whole JPEG, PNG or HEIC file")


def _find_in_batch(
    batch: Sequence[tuple[FacePipeline, Photo]],
) -> Sequence[list[Face] | BaseException]:
    """Find the faces of a batch of photos; where that fails, photo by photo."""
    pipelines = {id(pipeline): pipeline for pipeline, _ in batch}
    if len(pipelines) == 1:
        (pipeline,) = pipelines.values()
        try:
            return pipeline.find_faces([photo for _, photo in batch])
        except Exception as error:
            if len(batch) == 1:
                return [error]
    return [result for one in batch for result in _find_in_batch([one])]
