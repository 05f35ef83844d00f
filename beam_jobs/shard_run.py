"""Running the shards of a plan on a Beam runner, until every one of them is committed.

A shard of photos is one Beam element. The worker that gets it decodes, detects, embeds and
commits the shard's part of the dataset itself, so nothing heavy flows through Beam.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import apache_beam as beam
import pyarrow as pa

from beam_jobs.in_flight import PoisonRecord
from beam_jobs.plan import Plan
from beam_jobs.runners.local import WorkerLostError
from beam_jobs.runners.select import Workers, run_pipeline
from beam_jobs.shard import Outcome
from beam_jobs.shards import Shard, cut_into_shards, with_suspects_apart
from beam_jobs.transforms import EmbedShards
from beam_jobs.work_files import write_work
from faces.core.errors import FaceTroveError
from faces.core.files import PRIVATE
from faces.dataset.layout import WORK_DIR
from faces.dataset.reembedding import FaceSource
from faces.dataset.schema import PhotoStatus, face_schema
from faces.dataset.writing import DatasetWriter
from faces.models.choice import ModelChoice
from faces.photos.rejection import RejectReason

MAX_LOSSES = 10
"""Workers lost one after the other, no shard being committed between: the run gives up."""

MAX_UNEXPLAINED_LOSSES = 3
"""The same, when they had no photo in hand: something is wrong with the machine."""

_CONTINUE = "finished shards are kept, run the same command again to continue"

_log = logging.getLogger(__name__)


class ShardRun:
    """One run of the job: its plan, and the right to write the dataset.

    Args:
        writer: of the dataset.
        plan: what to do.
        models: detector and embedder.
        workers: how many there are, and what each may use.
        source: what knows the photos' faces; None: they are to be found.
    """

    def __init__(
        self,
        writer: DatasetWriter,
        plan: Plan,
        models: ModelChoice,
        workers: Workers,
        source: FaceSource | None = None,
    ) -> None:
        self._writer = writer
        self._plan = plan
        self._models = models
        self._workers = workers
        self._source = source
        self._work_dir = writer.dataset.path / WORK_DIR
        self._suspects = PoisonRecord(self._work_dir)
        self._part_names = map(writer.part_name, count())

    def embed_all(self, *, forgive: bool = False) -> None:
        """Embed every photo of the plan.

        When a worker is lost, what it had in hand is taken out of its shard and tried alone; a
        photo on which workers die again and again becomes a rejected one.

        Args:
            forgive: try photos again on which workers died in earlier runs.

        Raises:
            FaceTroveError: the job failed; what was committed stays.
        """
        if len(self._plan.to_do):
            self._work_dir.mkdir(exist_ok=True, mode=PRIVATE)
            if self._source is not None:
                self._source, to_do = self._source.prepared(self._plan.to_do, self._work_dir)
                self._plan = replace(self._plan, to_do=to_do)
            self._suspects.collect()
            if forgive:
                self._suspects.forgive()
            self._embed_shards()
        shutil.rmtree(self._work_dir, ignore_errors=True)

    def drop(self, uris: pa.Array) -> None:
        """Hide these photos and their faces."""
        gone = Outcome(None, None, None, 0, PhotoStatus.GONE.value, None, False)
        self._commit_without_faces(pa.table({"uri": uris}), gone)

    def _embed_shards(self) -> None:
        shards = self._without_hopeless(
            cut_into_shards(self._plan, self._part_names, processes=self._workers.processes)
        )
        losses = unexplained = num_committed = 0
        while shards:
            try:
                self._run(shards)
                break
            except WorkerLostError as error:
                explained = self._suspects.collect()
                committed = self._writer.committed_parts()
                if len(committed) > num_committed:
                    losses = unexplained = 0
                num_committed = len(committed)
                losses += 1
                unexplained += not explained
                if losses >= MAX_LOSSES or unexplained >= MAX_UNEXPLAINED_LOSSES:
                    raise FaceTroveError(f"{error}, {losses} times; {_CONTINUE}") from error
                _log.warning("%s; starting workers again", error)
                left = [shard for shard in shards if shard.part not in committed]
                shards = self._without_hopeless(left)

    def _without_hopeless(self, shards: Sequence[Shard]) -> list[Shard]:
        """Shards with suspects apart; photos that workers died on too often get their rows."""
        shards, quarantined = with_suspects_apart(
            shards, self._plan, self._suspects, self._part_names
        )
        if quarantined:
            crashed = Outcome.rejected(RejectReason.CRASHED)
            self._commit_without_faces(self._plan.to_do.take(quarantined), crashed)
        return shards

    def _commit_without_faces(self, known: pa.Table, outcome: Outcome) -> None:
        """Commit a part of photos that all end in the same way."""
        schema = self._writer.dataset.photo_schema
        values = {"num_bytes": -1, "mtime_ns": -1, **outcome._asdict()}
        columns = [
            known[field.name].cast(field.type)
            if field.name in known.column_names
            else pa.repeat(pa.scalar(values.get(field.name), field.type), len(known))
            for field in schema
        ]
        faces = face_schema(self._writer.dataset.contract.dimension).empty_table()
        photos = pa.table(columns, schema=schema)
        self._writer.write_part(next(self._part_names), photos, faces, {})

    def _run(self, shards: Sequence[Shard]) -> None:
        """Run shards on the runner that the arguments name, else on processes here."""
        try:
            work = write_work(self._work_dir, self._plan, shards)
        except OSError as error:  # a full disk
            raise FaceTroveError(f"the job failed ({error}); {_CONTINUE}") from error
        embed = EmbedShards(
            self._writer, self._models, threads=self._workers.threads_each, source=self._source
        )
        steps = "List shards" >> beam.Create(work) | "Embed shards" >> embed
        run_pipeline(
            lambda pipeline: pipeline | steps,
            workers=self._workers.at_most(len(shards)),
            remedy=_CONTINUE,
        )
