"""Embedding photos as Beam transforms: one for any pipeline, and one that writes a dataset."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from beam_jobs.head_shard import apply_head, has_stored_result
from beam_jobs.in_flight import InFlight
from beam_jobs.shard import BATCH_PHOTOS, ShardResult, embed_shard
from beam_jobs.work_files import ShardWork, read_work
from faces.core.contract import ModelContract, require_same_contract
from faces.core.errors import WrongUsageError
from faces.core.settings import Access, FaceSelection, PhotoLimits, SourceLimits
from faces.dataset.earlier_faces import EarlierFaces
from faces.dataset.layout import WORK_DIR
from faces.dataset.reembedding import FaceSource, StoredFaces
from faces.dataset.schema import PHOTO_SCHEMA, PhotoStatus
from faces.dataset.writing import DatasetWriter
from faces.models.choice import ModelChoice
from faces.models.heads import head_of
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.photos.limited import ReadingRules
from faces.photos.opencv import cv2
from faces.photos.uris import photo_uri

METRICS = "facetrove"
"""Namespace of all Beam counters."""


def _load_on_worker(
    models: ModelChoice,
    contract: ModelContract,
    *,
    selection: FaceSelection,
    threads: int,
    contract_owner: str,
) -> _Networks:
    """Load the networks in a worker process.

    Args:
        models: detector and embedder.
        contract: contract that the loaded models must have.
        selection: which of the detected faces are kept.
        threads: number of processor cores that the networks use.
        contract_owner: what the contract belongs to, for the error message.

    Raises:
        ContractMismatchError: the loaded models have another contract.
    """
    pipeline = load_pipeline(models, selection=selection, threads=threads)
    # A model file may have changed since the run began, or be another one on this machine.
    require_same_contract(
        pipeline.contract,
        contract,
        ours_name="a worker's model",
        theirs_name=contract_owner,
        remedy="put the model's files back as they were when the run began",
    )
    return _Networks(pipeline)


class EmbedShards(beam.PTransform):  # type: ignore[misc]  # Beam's classes are untyped
    """Embed shards of photos, and commit the part of each shard to a dataset.

    Takes a PCollection of `ShardWork` and returns a PCollection of str, the names of the committed
    parts. An element that is tried again replaces its part.

    Args:
        writer: the run's right to add parts to the dataset.
        models: detector and embedder.
        threads: number of processor cores that each worker uses.
        rules: limits on photos and archives, and the addresses that may be read.
        source: source of given faces; None: faces are detected.
        earlier: the earlier faces, whose face_ids are kept; None: no ids are kept.
    """

    def __init__(
        self,
        writer: DatasetWriter,
        models: ModelChoice,
        *,
        threads: int,
        rules: ReadingRules,
        source: FaceSource | None = None,
        earlier: EarlierFaces | None = None,
    ) -> None:
        super().__init__()
        self._embed = _EmbedShard(
            writer, models, threads=threads, rules=rules, source=source, earlier=earlier
        )

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Apply the transform to a PCollection of `ShardWork`."""
        return (
            shards
            | "Spread over workers" >> beam.Reshuffle()
            | "Embed and commit" >> beam.ParDo(self._embed).with_output_types(str)
        )


class _Networks:
    """The networks of a worker process, with a lock: a pipeline serves one thread at a time."""

    def __init__(self, pipeline: FacePipeline) -> None:
        self.pipeline = pipeline
        self.lock = threading.Lock()


class _EmbedShard(beam.DoFn):  # type: ignore[misc]
    """The step of `EmbedShards` that embeds one shard and commits its part."""

    def __init__(
        self,
        writer: DatasetWriter,
        models: ModelChoice,
        *,
        threads: int,
        rules: ReadingRules,
        source: FaceSource | None,
        earlier: EarlierFaces | None,
    ) -> None:
        self._writer = writer
        self._models = models
        self._threads = threads
        self._source = source
        self._earlier = earlier
        self._rules = rules
        self._shared = Shared()
        self._networks: _Networks | None = None
        self._photos = Metrics.counter(METRICS, "photos")
        self._faces = Metrics.counter(METRICS, "faces")

    def setup(self) -> None:
        """Load the networks, once per worker process."""
        cv2.setNumThreads(self._threads)  # no other program shares this process
        self._networks = self._shared.acquire(self._load)

    def _load(self) -> _Networks:
        dataset = self._writer.dataset
        return _load_on_worker(
            self._models,
            dataset.contract,
            selection=dataset.selection,
            threads=self._threads,
            contract_owner=f"dataset {dataset.path}",
        )

    def process(self, element: ShardWork) -> Iterator[str]:
        """Embed one shard and commit its part."""
        assert self._networks is not None, "Beam calls setup first"
        with self._networks.lock:
            yield from self._embed(self._networks.pipeline, element)

    def _embed(self, pipeline: FacePipeline, element: ShardWork) -> Iterator[str]:
        part, work, number, careful = element
        dataset = self._writer.dataset
        work_folder = dataset.folder.folder(WORK_DIR)
        in_flight = InFlight(work_folder, part)
        try:
            photos, stored = read_work(work_folder, work, number)
            result = self._result(pipeline, photos, stored, in_flight, careful=careful)
            if len(result.photos):
                self._writer.write_part(
                    part,
                    result.photos,
                    result.faces,
                    result.seconds,
                    thumbnails=result.thumbnails,
                    earlier=self._earlier,
                )
        finally:  # an error is not the death of a worker
            in_flight.done()
        self._photos.inc(len(result.photos))
        self._faces.inc(len(result.faces))
        if len(result.photos):
            yield part

    def _result(
        self,
        pipeline: FacePipeline,
        photos: pa.Table,
        stored: pa.Table,
        in_flight: InFlight,
        *,
        careful: bool,
    ) -> ShardResult:
        """Embed a shard; where a head takes stored embeddings, without reading their photos."""
        dataset, source, head = self._writer.dataset, self._source, head_of(pipeline)
        applied = None
        if isinstance(source, StoredFaces) and head is not None:
            known = has_stored_result(photos)
            applied = apply_head(
                head, source, photos.filter(known), dataset.photo_schema, stored=stored
            )
            photos = photos.filter(pc.invert(known))
            if not len(photos):
                return applied
        result = embed_shard(
            pipeline,
            photos,
            dataset.photo_schema,
            stored=stored,
            rules=self._rules,
            given_photos=source.given_photos(photos) if source else None,
            in_flight=in_flight,
            careful=careful,
        )
        return result if applied is None else applied.joined(result)


class EmbeddedPhotos(NamedTuple):
    """The outputs of `EmbedPhotos`. Each photo has rows in exactly one of the three.

    All rows are dicts of plain values, which Beam encodes without pickle.

    Attributes:
        faces: PCollection with a row for each face, which has the columns of
            `faces.dataset.schema.face_schema`: face_id; photo_id; uri; box (x, y, width, height in
            pixels of the upright photo); landmarks (x, y of five points in pixels); score, [0, 1];
            the fields of `faces.models.face.FaceQuality`; embedding_norm, the embedding's length
            before it was scaled; and embedding, a list of d floats of unit length.
        without_faces: PCollection with a row for each photo in which no face was found: uri,
            photo_id, width and height in pixels.
        rejected: PCollection with a row for each rejected photo: uri; photo_id, None where the
            photo could not be read; and reason, a value of `faces.photos.rejection.RejectReason`.
    """

    faces: beam.PCollection
    without_faces: beam.PCollection
    rejected: beam.PCollection


class EmbedPhotos(beam.PTransform):  # type: ignore[misc]
    """Detect and embed the faces of photos, in any Beam pipeline.

    Takes a PCollection of str, the paths or URLs of photos, and returns `EmbeddedPhotos`. Paths
    should be absolute: a relative path starts from the worker's current folder. The uri of a row is
    the photo's absolute path or its URL. Photos with the same content have the same photo_id and
    face_ids.

    The embeddings are the same as those that `embed_photos` writes to a dataset. Unlike that job,
    this transform does not identify a photo that kills its worker.

    The Beam counters photos, faces, without_faces and rejected have the namespace "facetrove".

    Args:
        models: detector and embedder.
        selection: which of the detected faces are kept.
        limits: limits on photos; a photo beyond one is rejected.
        source_limits: limits on the archives that photos are in.
        access: addresses that may be read.
        batch_photos: number of photos that are embedded together, 1 or more.
        threads: number of processor cores that each worker uses, 1 or more.

    Attributes:
        contract: the models and preprocessing that make the embeddings. Embeddings of different
            contracts cannot be compared.

    Raises:
        WrongUsageError: there is no model of a given name, or the two models cannot be combined.
        ModelUnavailableError: the weights of a model cannot be had.
    """

    def __init__(
        self,
        *,
        models: ModelChoice = ModelChoice(),
        selection: FaceSelection = FaceSelection(),
        limits: PhotoLimits = PhotoLimits(),
        source_limits: SourceLimits = SourceLimits(),
        access: Access = Access(),
        batch_photos: int = BATCH_PHOTOS,
        threads: int = 1,
    ) -> None:
        super().__init__()
        models = models.absolute()  # workers may have another current folder
        # Loading here, before any worker does, fetches and prepares the weights once.
        self.contract = load_pipeline(models, threads=1).contract
        self._batch_photos = batch_photos
        rules = ReadingRules(limits, source_limits, access)
        self._embed = _EmbedBatch(models, self.contract, selection, rules, threads)

    def expand(self, uris: beam.PCollection) -> EmbeddedPhotos:
        """Apply the transform to photos.

        Args:
            uris: PCollection of str, the paths or URLs of photos.

        Raises:
            WrongUsageError: the pipeline's runner would lose photos silently.
        """
        if type(uris.pipeline.runner).__name__ == "DaskRunner":  # 2.77; see beam.BatchElements
            raise WrongUsageError(
                "Beam's DaskRunner drops what a step outputs at the end of a bundle, and so the "
                "last photos of each bundle; run EmbedPhotos on another runner"
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


class _EmbedBatch(beam.DoFn):  # type: ignore[misc]
    """The step of `EmbedPhotos` that embeds one batch of photos."""

    def __init__(
        self,
        models: ModelChoice,
        contract: ModelContract,
        selection: FaceSelection,
        rules: ReadingRules,
        threads: int,
    ) -> None:
        self._models = models
        self._contract = contract
        self._selection = selection
        self._rules = rules
        self._threads = threads
        self._shared = Shared()
        self._networks: _Networks | None = None
        names = ("photos", "faces", _WITHOUT_FACES, _REJECTED)
        self._counters = {name: Metrics.counter(METRICS, name) for name in names}

    def setup(self) -> None:
        """Load the networks, once per worker process."""
        self._networks = self._shared.acquire(self._load)

    def _load(self) -> _Networks:
        return _load_on_worker(
            self._models,
            self._contract,
            selection=self._selection,
            threads=self._threads,
            contract_owner="the driver",
        )

    def process(self, uris: Sequence[str]) -> Iterator[Any]:
        """Embed a batch of photos, and yield rows for the three outputs."""
        assert self._networks is not None, "Beam calls setup first"
        unknown = [-1] * len(uris)
        to_do = {"uri": list(map(photo_uri, uris)), "num_bytes": unknown, "mtime_ns": unknown}
        with self._networks.lock:
            result = embed_shard(
                self._networks.pipeline,
                pa.table(to_do),
                PHOTO_SCHEMA,
                rules=self._rules,
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
