"""Running the shards of a plan on a Beam runner until all of them are committed.

A shard of photos is one Beam element. The worker that gets it decodes, detects, embeds and
commits the shard's part of the dataset itself, so no images or embeddings flow through Beam.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count

import apache_beam as beam
import pyarrow as pa

from beam_jobs.in_flight import PoisonRecord
from beam_jobs.options import EmbedOptions
from beam_jobs.plan import Plan
from beam_jobs.runners.local import WorkerLostError
from beam_jobs.runners.select import Workers, run_pipeline
from beam_jobs.shard import Outcome
from beam_jobs.shards import Shard, cut_into_shards, isolate_suspects
from beam_jobs.transforms import EmbedShards
from beam_jobs.work_files import write_work
from faces.core.errors import FaceTroveError
from faces.dataset.earlier_faces import EarlierFaces
from faces.dataset.layout import WORK_DIR
from faces.dataset.reembedding import FaceSource
from faces.dataset.schema import gone_rows
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.choice import ModelChoice
from faces.photos.limited import ReadingRules
from faces.photos.rejection import RejectReason

MAX_LOSSES = 10
"""A run fails after so many lost workers in a row, without a part committed in between."""

MAX_UNEXPLAINED_LOSSES = 3
"""A run fails after so many lost workers without in-flight photos, without a part committed in
between: the likely cause is the machine, not a photo."""

_CONTINUE = "finished shards are kept, run the same command again to continue"

_log = logging.getLogger(__name__)


class ShardRun:
    """One run of a job, which embeds the photos of a plan into a dataset.

    Args:
        writer: the run's right to add parts to the dataset.
        plan: the plan of the run.
        models: detector and embedder.
        workers: number of workers, their threads, and Beam's flags.
        source: source of given faces; None: faces are detected.
        follows: another dataset, whose faces keep their face_ids; None: only the dataset's own.
        options: the options of the run, of which those about reading are used here.
    """

    def __init__(
        self,
        writer: DatasetWriter,
        plan: Plan,
        models: ModelChoice,
        workers: Workers,
        source: FaceSource | None = None,
        *,
        follows: Dataset | None = None,
        options: EmbedOptions = EmbedOptions(),
    ) -> None:
        self._writer = writer
        self._plan = plan
        self._models = models
        self._workers = workers
        self._source = source
        self._follows = follows
        self._earlier: EarlierFaces | None = None
        self._options = options
        self._work = writer.dataset.folder.folder(WORK_DIR)
        self._poison_record = PoisonRecord(self._work)
        self._part_names = map(writer.part_name, count())

    def embed_all(self, *, retry_quarantined: bool = False) -> None:
        """Embed every photo of the plan.

        When a worker is lost, its in-flight photos get shards of their own, and each is tried
        alone. A photo on which workers died too often is quarantined: its row says crashed.

        Args:
            retry_quarantined: whether to clear the poison record of earlier runs first.

        Raises:
            FaceTroveError: the job failed; committed parts are kept.
        """
        if len(self._plan.to_do):
            self._writer.dataset.folder.make_folder(WORK_DIR)
            if self._source is not None:
                self._source, to_do = self._source.prepared(self._plan.to_do, self._work)
                self._plan = replace(self._plan, to_do=to_do)
            self._earlier = EarlierFaces.prepared(
                self._work, self._writer.dataset, self._plan.earlier, self._follows
            )
            self._poison_record.collect()
            if retry_quarantined:
                self._poison_record.clear()
            self._embed_shards()
        with suppress(OSError):  # the next run removes what is left
            self._writer.dataset.folder.remove_folder(WORK_DIR)

    def drop(self, uris: pa.Array) -> None:
        """Hide photos and their faces, by committing rows that say that the photos are gone."""
        gone = gone_rows(uris, self._writer.dataset.photo_schema)
        self._writer.write_photos(next(self._part_names), gone)

    def _embed_shards(self) -> None:
        shards = self._isolate_suspects(
            cut_into_shards(self._plan, self._part_names, processes=self._workers.processes)
        )
        losses = unexplained = num_committed = 0
        while shards:
            try:
                self._run(shards)
                break
            except WorkerLostError as error:
                explained = self._poison_record.collect()
                committed = self._writer.committed_parts()
                if len(committed) > num_committed:
                    losses = unexplained = 0
                num_committed = len(committed)
                losses += 1
                unexplained += not explained
                if losses >= MAX_LOSSES or unexplained >= MAX_UNEXPLAINED_LOSSES:
                    raise FaceTroveError(f"{error}, {losses} times; {_CONTINUE}") from error
                _log.warning("%s; starting workers again", error)
                remaining = [shard for shard in shards if shard.part not in committed]
                shards = self._isolate_suspects(remaining)

    def _isolate_suspects(self, shards: Sequence[Shard]) -> list[Shard]:
        """Return the shards with suspects isolated, and commit rows of quarantined photos."""
        shards, quarantined = isolate_suspects(
            shards, self._plan, self._poison_record, self._part_names
        )
        if quarantined:
            self._commit_crashed(self._plan.to_do.take(quarantined))
        return shards

    def _commit_crashed(self, photos: pa.Table) -> None:
        """Commit rows that say that photos are quarantined; `photos` are rows of `Plan.to_do`."""
        schema = self._writer.dataset.photo_schema
        values = Outcome.rejected(RejectReason.CRASHED)._asdict()
        columns = [
            photos[field.name].cast(field.type)
            if field.name in photos.column_names
            else pa.repeat(pa.scalar(values.get(field.name), field.type), len(photos))
            for field in schema
        ]
        self._writer.write_photos(next(self._part_names), pa.table(columns, schema=schema))

    def _run(self, shards: Sequence[Shard]) -> None:
        """Run shards on the runner that Beam's flags name, or on processes of this machine."""
        try:
            work = write_work(self._work, self._plan, shards)
        except OSError as error:  # a full disk
            raise FaceTroveError(f"the job failed ({error}); {_CONTINUE}") from error
        options = self._options
        embed = EmbedShards(
            self._writer,
            self._models,
            threads=self._workers.threads_each,
            source=self._source,
            earlier=self._earlier,
            rules=ReadingRules(options.limits, options.source_limits, options.access),
        )
        steps = "List shards" >> beam.Create(work) | "Embed shards" >> embed
        run_pipeline(
            lambda pipeline: pipeline | steps,
            workers=self._workers.at_most(len(shards)),
            remedy=_CONTINUE,
        )
