"""The embed job as Beam transforms: one for anybody's pipeline, one that fills a dataset."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import cv2
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from beam_jobs.in_flight import InFlight, in_flight_file
from beam_jobs.shard import BATCH_PHOTOS, embed_shard
from beam_jobs.work_files import ShardWork, read_work
from faces.core.contract import ModelContract, require_same_contract
from faces.core.errors import WrongUsageError
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.layout import WORK_DIR
from faces.dataset.reembedding import FaceSource
from faces.dataset.schema import PHOTO_SCHEMA, PhotoStatus
from faces.dataset.writing import DatasetWriter
from faces.models.choice import ModelChoice
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.photos.uris import photo_uri

METRICS = "facetrove"
"""Namespace of all counters."""


def _load_on_worker(
    models: ModelChoice,
    contract: ModelContract,
    *,
    selection: FaceSelection,
    threads: int,
    contract_owner: str,
) -> FacePipeline:
    """Load the networks of a worker.

    Raises:
        ContractMismatchError: they are not those of the driver.
    """
    pipeline = load_pipeline(models, selection=selection, threads=threads)
    # A file of the models may have changed meanwhile, or be another here.
    require_same_contract(
        pipeline.contract,
        contract,
        ours_name="a worker's model",
        theirs_name=contract_owner,
        remedy="put the model's files back as they were when the run began",
    )
    return pipeline


class EmbedShards(beam.PTransform):  # type: ignore[misc]  # Beam's classes are untyped
    """Embed shards of photos, and commit each one's part of a dataset.

    Takes a PCollection of `ShardWork` and gives one of str, the names of the parts committed. An
    element that is tried again replaces its part.

    Args:
        writer: the run's right to add parts.
        models: detector and embedder.
        threads: processor cores that a worker uses.
        source: what knows the photos' faces; None: they are to be found.
    """

    def __init__(
        self,
        writer: DatasetWriter,
        models: ModelChoice,
        *,
        threads: int,
        source: FaceSource | None = None,
    ) -> None:
        super().__init__()
        self._embed = _EmbedShard(writer, models, threads, source)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """See `PTransform`."""
        return (
            shards
            | "Spread over workers" >> beam.Reshuffle()
            | "Embed and commit" >> beam.ParDo(self._embed).with_output_types(str)
        )


class _EmbedShard(beam.DoFn):  # type: ignore[misc]
    def __init__(
        self, writer: DatasetWriter, models: ModelChoice, threads: int, source: FaceSource | None
    ) -> None:
        self._writer = writer
        self._models = models
        self._threads = threads
        self._source = source
        self._pipeline: FacePipeline | None = None
        self._photos = Metrics.counter(METRICS, "photos")
        self._faces = Metrics.counter(METRICS, "faces")

    def setup(self) -> None:
        """Load the networks, once per worker process."""
        cv2.setNumThreads(self._threads)  # this process is ours, or a worker of Beam's
        dataset = self._writer.dataset
        self._pipeline = _load_on_worker(
            self._models,
            dataset.contract,
            selection=dataset.selection,
            threads=self._threads,
            contract_owner=f"dataset {dataset.path}",
        )

    def process(self, element: ShardWork) -> Iterator[str]:
        """Embed one shard and commit its part."""
        assert self._pipeline is not None, "Beam calls setup first"
        part, work, number, careful = element
        dataset = self._writer.dataset
        in_flight = InFlight(in_flight_file(dataset.path / WORK_DIR, part))
        try:
            photos, known = read_work(work, number)
            result = embed_shard(
                self._pipeline,
                photos,
                dataset.photo_schema,
                known=known,
                limits=dataset.limits or PhotoLimits(),
                given_photos=self._source.given_photos(photos) if self._source else None,
                in_flight=in_flight,
                careful=careful,
            )
            if len(result.photos):
                self._writer.write_part(part, result.photos, result.faces, result.seconds)
        finally:  # an error is no death
            in_flight.done()
        self._photos.inc(len(result.photos))
        self._faces.inc(len(result.faces))
        if len(result.photos):
            yield part


class EmbeddedPhotos(NamedTuple):
    """What `EmbedPhotos` gives: each photo is in one of the three, with as many faces as it has.

    All rows are dicts of plain values, which Beam encodes without pickle.

    Attributes:
        faces: a row for each face, with the columns of `faces.dataset.schema.face_schema`: uri,
            photo_id, face_id, box (x, y, width, height), landmarks (x, y five times), score, the
            measures of quality, embedding_norm, and embedding, a list of d float of unit length.
        without_faces: a row for each photo in which no face was found: uri, photo_id, width and
            height in pixels.
        rejected: a row for each photo that has no result: uri, photo_id, which is None where the
            photo could not be read, and reason, a `faces.photos.rejection.RejectReason`.
    """

    faces: beam.PCollection
    without_faces: beam.PCollection
    rejected: beam.PCollection


class EmbedPhotos(beam.PTransform):  # type: ignore[misc]
    """Find and embed the faces of photos, in anybody's pipeline.

    Takes a PCollection of str, paths or URLs of photos as `faces.photos.reading.read_photo` reads
    them, and gives `EmbeddedPhotos`. Give absolute paths: a relative one starts from the worker's
    current folder. The uri of a row is the photo's absolute path, or its URL. A photo with the
    content of another has the same photo_id and face_ids.

    The embeddings are those that `beam_jobs.embed_photos` writes into a dataset. That job finds
    out too which photo it was that killed a worker; this transform does not.

    The counters photos, faces, without_faces and rejected are in the namespace "facetrove".

    Args:
        models: detector and embedder.
        selection: which faces are kept.
        limits: limits of the photos tried.
        batch_photos: number of photos that are embedded together, 1 or more.
        threads: processor cores that a worker uses.

    Attributes:
        contract: what makes the embeddings; those of different contracts cannot be compared.

    Raises:
        WrongUsageError: there is no model of that name, or it cannot be used so.
        ModelUnavailableError: its weights cannot be had.
    """

    def __init__(
        self,
        *,
        models: ModelChoice = ModelChoice(),
        selection: FaceSelection = FaceSelection(),
        limits: PhotoLimits = PhotoLimits(),
        batch_photos: int = BATCH_PHOTOS,
        threads: int = 1,
    ) -> None:
        super().__init__()
        models = models.absolute()  # workers may have another current folder
        # Here before any worker: it fetches and prepares the weights, and tells the contract.
        self.contract = load_pipeline(models, threads=1).contract
        self._batch_photos = batch_photos
        self._embed = _EmbedBatch(models, self.contract, selection, limits, threads)

    def expand(self, uris: beam.PCollection) -> EmbeddedPhotos:
        """See `PTransform`.

        Raises:
            WrongUsageError: the runner would lose photos without a word.
        """
        if type(uris.pipeline.runner).__name__ == "DaskRunner":  # 2.77; see beam.BatchElements
            raise WrongUsageError(
                "Beam's DaskRunner drops what a step gives at the end of a bundle, and so the last "
                "photos of each; run EmbedPhotos on another runner"
            )
        outputs = (
            uris
            | "Batch photos"
            >> beam.BatchElements(
                min_batch_size=self._batch_photos, max_batch_size=self._batch_photos
            )
            | "Find and embed faces"
            >> beam.ParDo(self._embed).with_outputs(_WITHOUT_FACES, _REJECTED, main="faces")
        )
        return EmbeddedPhotos(outputs.faces, outputs[_WITHOUT_FACES], outputs[_REJECTED])


_WITHOUT_FACES, _REJECTED = "without_faces", "rejected"


class _Networks:
    """The networks of a worker process. Its threads take turns: a pipeline is not for two."""

    def __init__(self, pipeline: FacePipeline) -> None:
        self.pipeline = pipeline
        self.turn = threading.Lock()


class _EmbedBatch(beam.DoFn):  # type: ignore[misc]
    def __init__(
        self,
        models: ModelChoice,
        contract: ModelContract,
        selection: FaceSelection,
        limits: PhotoLimits,
        threads: int,
    ) -> None:
        self._models = models
        self._contract = contract
        self._selection = selection
        self._limits = limits
        self._threads = threads
        self._shared = Shared()
        self._networks: _Networks | None = None
        names = ("photos", "faces", _WITHOUT_FACES, _REJECTED)
        self._counters = {name: Metrics.counter(METRICS, name) for name in names}

    def setup(self) -> None:
        """Load the networks, once per worker process."""
        self._networks = self._shared.acquire(self._load)

    def _load(self) -> _Networks:
        return _Networks(
            _load_on_worker(
                self._models,
                self._contract,
                selection=self._selection,
                threads=self._threads,
                contract_owner="the driver",
            )
        )

    def process(self, uris: Sequence[str]) -> Iterator[Any]:
        """The rows of a batch of photos."""
        assert self._networks is not None, "Beam calls setup first"
        unknown = [-1] * len(uris)
        to_do = {"uri": list(map(photo_uri, uris)), "num_bytes": unknown, "mtime_ns": unknown}
        with self._networks.turn:
            result = embed_shard(
                self._networks.pipeline, pa.table(to_do), PHOTO_SCHEMA, limits=self._limits
            )
        faces_of = defaultdict(list)
        for face in result.faces.to_pylist():
            faces_of[face["photo_id"]].append(face)
        for photo in result.photos.to_pylist():
            self._counters["photos"].inc()
            if photo["status"] == PhotoStatus.REJECTED.value:
                yield self._tagged(_REJECTED, photo, ("uri", "photo_id", "reason"))
            elif not photo["num_faces"]:
                yield self._tagged(_WITHOUT_FACES, photo, ("uri", "photo_id", "width", "height"))
            for face in faces_of[photo["photo_id"]]:
                self._counters["faces"].inc()
                yield {**face, "uri": photo["uri"]}

    def _tagged(
        self, output: str, photo: dict[str, Any], columns: Sequence[str]
    ) -> beam.pvalue.TaggedOutput:
        self._counters[output].inc()
        return beam.pvalue.TaggedOutput(output, {name: photo[name] for name in columns})
