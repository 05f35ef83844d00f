"""Running the shards of a plan on a Beam runner, until every one of them is committed.

A shard of photos is one Beam element. The worker that gets it decodes, detects, embeds and
commits the shard's part of the dataset itself, so nothing heavy flows through Beam. The photos
of the shards stand in a work file in the dataset's folder, a record batch each, and so does
what the dataset knows of their copies; the Beam element names the batch.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics

from beam_jobs.in_hand import InHand, Suspects, photo_keys
from beam_jobs.local_runner import WorkerLostError
from beam_jobs.plan import Plan
from beam_jobs.runner import run_pipeline, runs_elsewhere
from beam_jobs.shard import Outcome, embed_shard
from faces.core.contract import require_same_contract
from faces.core.errors import FaceTroveError
from faces.core.files import PRIVATE, atomic_write
from faces.core.machine import available_threads
from faces.core.settings import PhotoLimits
from faces.dataset.reembedding import FaceSource
from faces.dataset.schema import PhotoStatus, face_schema
from faces.dataset.store import DatasetWriter
from faces.models.choice import ModelChoice
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.photos.rejection import RejectReason

LEAST_SHARD_PHOTOS, MOST_SHARD_PHOTOS = 4, 128
"""Photos in a shard: what a killed job may have to do again, per worker. Some seconds' work."""

SHARDS_PER_WORKER = 16
"""In a small collection shards are smaller, so that stopping early loses little."""

MOST_LOSSES = 10
"""Workers lost one after the other, no shard being committed between: the run gives up."""

MOST_UNEXPLAINED_LOSSES = 3
"""The same, when they had no photo in hand: something is wrong with the machine."""

WORK_DIR = "work"
"""Folder in the dataset's for what only a run needs."""

_log = logging.getLogger(__name__)


class Shard(NamedTuple):
    """Rows `start` to `stop` of a plan; `careful`: one photo at a time."""

    part: str
    start: int
    stop: int
    careful: bool = False


class Workers(NamedTuple):
    """Processes on this machine, and cores that each may use; None: its share."""

    processes: int
    threads: int | None = None


Element = tuple[str, str, int, bool]
"""Part to write, work file, batch in it, careful: plain values, which Beam encodes without
pickle."""


class ShardRun:
    """One run of the job: its plan, and the right to write the dataset.

    Args:
        writer: of the dataset.
        plan: what to do.
        models: detector and embedder.
        workers: how many there are, and what each may use.
        runner_args: Beam's own flags; with `--runner`, the work is done there.
    """

    def __init__(
        self,
        writer: DatasetWriter,
        plan: Plan,
        models: ModelChoice,
        workers: Workers,
        runner_args: Sequence[str],
    ) -> None:
        self._writer = writer
        self._plan = plan
        self._models = models
        self._workers = workers
        self._runner_args = runner_args
        self._elsewhere = runs_elsewhere(runner_args)
        self._work_dir = writer.dataset.path / WORK_DIR
        self._suspects = Suspects(self._work_dir)
        self._parts_named = 0

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
            self._prepare_source()
            self._embed_shards(forgive=forgive)
        shutil.rmtree(self._work_dir, ignore_errors=True)

    def _prepare_source(self) -> None:
        if self._plan.source is not None:
            source, to_do = self._plan.source.prepared(self._plan.to_do, self._work_dir)
            self._plan = replace(self._plan, source=source, to_do=to_do)

    def _embed_shards(self, *, forgive: bool) -> None:
        self._suspects.collect()
        if forgive:
            self._suspects.forgive()
        shards = self._with_suspects_apart(self._cut_into_shards())
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
                if losses >= MOST_LOSSES or unexplained >= MOST_UNEXPLAINED_LOSSES:
                    raise FaceTroveError(f"{error}, {losses} times; {_CONTINUE}") from error
                _log.warning("%s; starting workers again", error)
                left = [shard for shard in shards if shard.part not in committed]
                shards = self._with_suspects_apart(left)

    def drop(self, uris: pa.Array) -> None:
        """Hide these photos and their faces."""
        gone = Outcome(None, None, None, 0, PhotoStatus.GONE.value, None, False)
        self._commit_without_faces(pa.table({"uri": uris}), gone)

    def _cut_into_shards(self) -> list[Shard]:
        """Cut the plan into shards; possible copies of one photo stay together, if not too many."""
        group = self._plan.group
        even = -(-len(group) // (self._workers.processes * SHARDS_PER_WORKER))
        size = min(MOST_SHARD_PHOTOS, max(LEAST_SHARD_PHOTOS, even))
        shards = []
        start = 0
        while start < len(group):
            stop = min(start + size, len(group))
            while stop < min(len(group), start + 2 * size) and group[stop] == group[stop - 1]:
                stop += 1
            shards.append(Shard(self._new_part_name(), start, stop))
            start = stop
        return shards

    def _photos_of(self, shard: Shard) -> pa.Table:
        return self._plan.to_do.slice(shard.start, shard.stop - shard.start)

    def _new_part_name(self) -> str:
        self._parts_named += 1
        return self._writer.part_name(self._parts_named - 1)

    def _with_suspects_apart(self, shards: Sequence[Shard]) -> list[Shard]:
        """Give each suspect, and what may be its copies, a shard of their own, done last.

        Suspects that workers died on too often get their rows.
        """
        given_up = self._suspects.given_up()
        apart: list[Shard] = []
        others: list[Shard] = []
        for shard in shards:
            keys = photo_keys(self._photos_of(shard))
            group = self._plan.group[shard.start : shard.stop].tolist()
            suspected = {group[row] for row, key in enumerate(keys) if key in self._suspects}
            if not suspected:
                others.append(shard)
                continue

            kinds = [
                ("given up", 0)
                if key in given_up
                else ("apart", member)
                if member in suspected
                else ("others", 0)
                for key, member in zip(keys, group, strict=True)
            ]
            for (name, _), members in groupby(range(len(keys)), kinds.__getitem__):
                rows = [shard.start + row for row in members]
                if name == "given up":
                    self._give_up(rows)
                    continue
                careful = name == "apart"
                cut = Shard(self._new_part_name(), rows[0], rows[-1] + 1, careful)
                (apart if careful else others).append(cut)
        return [*others, *apart]

    def _give_up(self, rows: list[int]) -> None:
        photos = self._plan.to_do.take(rows)
        self._commit_without_faces(photos, Outcome.rejected(RejectReason.CRASHED))

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
        self._writer.write_part(self._new_part_name(), photos, faces, {})

    def _run(self, shards: Sequence[Shard]) -> None:
        """Run shards on the runner that the arguments name, else on processes here."""
        shared = 1 if self._elsewhere else max(1, available_threads() // self._workers.processes)
        threads = self._workers.threads or shared
        embed = EmbedShard(self._writer, self._plan.source, self._models, threads)
        try:
            work = self._write_work(shards)
        except OSError as error:  # a full disk
            raise FaceTroveError(f"the job failed ({error}); {_CONTINUE}") from error
        elements = [
            (shard.part, work, number, shard.careful) for number, shard in enumerate(shards)
        ]
        run_pipeline(
            partial(_add_steps, elements=elements, embed=embed),
            workers=min(self._workers.processes, len(shards)),
            runner_args=self._runner_args,
            remedy=_CONTINUE,
        )

    def _write_work(self, shards: Sequence[Shard]) -> str:
        """Write a work file of photos and one of contents known, a batch for every shard."""
        work = str(self._work_dir / shards[0].part)
        to_do, known = self._plan.to_do, self._plan.known
        _write_batches(f"{work}.photos", to_do.schema, map(self._photos_of, shards))
        known_sizes = known["num_bytes"].to_numpy()  # ascending
        sizes = to_do["num_bytes"].to_numpy()

        def known_of(shard: Shard) -> pa.Table:
            wanted = np.unique(sizes[shard.start : shard.stop])
            first = np.searchsorted(known_sizes, wanted)
            last = np.searchsorted(known_sizes, wanted, side="right")
            rows = [np.arange(*span) for span in zip(first, last, strict=True)]
            return known.take(np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int64))

        _write_batches(f"{work}.known", known.schema, map(known_of, shards))
        return work


def _write_batches(path: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        atomic_write(Path(path)) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema, options=options) as writer,
    ):
        for table in tables:
            writer.write_batch(_as_batch(table))


def _as_batch(table: pa.Table) -> pa.RecordBatch:
    table = table.combine_chunks()
    columns = [
        column.chunk(0) if column.num_chunks else pa.array([], column.type)
        for column in table.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _read_batch(path: str, number: int) -> pa.Table:
    with pa.memory_map(path) as file:
        return pa.Table.from_batches([pa.ipc.open_file(file).get_batch(number)])


_CONTINUE = "finished shards are kept, run the same command again to continue"


def _add_steps(pipeline: beam.Pipeline, *, elements: Sequence[Element], embed: EmbedShard) -> None:
    (
        pipeline
        | "List shards" >> beam.Create(elements)
        | "Spread over workers" >> beam.Reshuffle()
        | "Embed and commit" >> beam.ParDo(embed)
    )


class EmbedShard(beam.DoFn):  # type: ignore[misc]  # Beam's classes are untyped
    """Embeds shards and commits each one's part of the dataset."""

    def __init__(
        self, writer: DatasetWriter, source: FaceSource | None, models: ModelChoice, threads: int
    ) -> None:
        self._writer = writer
        self._source = source
        self._models = models
        self._threads = threads
        self._pipeline: FacePipeline | None = None
        self._photos = Metrics.counter("facetrove", "photos")
        self._faces = Metrics.counter("facetrove", "faces")

    def setup(self) -> None:
        """Load the networks, once per worker process."""
        import cv2

        cv2.setNumThreads(self._threads)
        selection = self._writer.dataset.selection
        self._pipeline = load_pipeline(self._models, selection=selection, threads=self._threads)
        # A file of the models may have changed meanwhile, or be another here.
        require_same_contract(
            self._pipeline.contract,
            self._writer.dataset.contract,
            ours_name="a worker's model",
            theirs_name=f"dataset {self._writer.dataset.path}",
            remedy="put the model's files back as they were when the run began",
        )

    def process(self, element: Element) -> None:
        """Embed one shard and commit its part."""
        assert self._pipeline is not None, "Beam calls setup first"
        part, work, number, careful = element
        dataset = self._writer.dataset
        in_hand = InHand(dataset.path / WORK_DIR / "in-hand" / part)
        try:
            photos = _read_batch(f"{work}.photos", number)
            result = embed_shard(
                self._pipeline,
                photos,
                dataset.photo_schema,
                known=_read_batch(f"{work}.known", number),
                limits=dataset.limits or PhotoLimits(),
                known_photos=self._source.known_photos(photos) if self._source else None,
                in_hand=in_hand,
                careful=careful,
            )
            if len(result.photos):
                self._writer.write_part(part, result.photos, result.faces, result.seconds)
        finally:  # an error is no death
            in_hand.done()
        self._photos.inc(len(result.photos))
        self._faces.inc(len(result.faces))
