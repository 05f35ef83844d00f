"""Embedding in the process of a test, with detectors that are changed on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from beam_jobs.job import needs_salted_ids
from beam_jobs.plan import make_plan
from beam_jobs.shard import embed_shard
from faces.dataset.earlier_faces import EarlierFaces
from faces.dataset.following import FollowedDeletions
from faces.dataset.header import DatasetSettings
from faces.dataset.layout import WORK_DIR
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.face import Detection
from faces.models.pipeline import FaceDetector, FacePipeline
from faces.photos.decoding import Photo
from faces.photos.listing import list_photos

Change = Callable[[list[Detection]], list[Detection]]


class ChangedDetector:
    """A detector of another name whose detections are those of another detector, changed."""

    def __init__(self, detector: FaceDetector, change: Change, name: str) -> None:
        self._detector = detector
        self._change = change
        self.name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        return [self._change(found) for found in self._detector.detect(photos)]


def changed(pipeline: FacePipeline, change: Change, name: str = "changed") -> FacePipeline:
    """Return a pipeline with another detector; see `ChangedDetector`."""
    return FacePipeline(ChangedDetector(pipeline.detector, change, name), pipeline.embedder)


def moved(found: Detection, x: float, y: float) -> Detection:
    """Return a detection that was moved by shares of its width and height."""
    step = np.array([x, y], np.float32) * found.box[2:]
    box = np.concatenate([found.box[:2] + step, found.box[2:]])
    return replace(found, box=box, landmarks=found.landmarks + step)


def embed_here(
    photos: Path, dataset: Path, pipeline: FacePipeline, follows: Path | None = None
) -> None:
    """Embed photos as the job does, in one shard and in this process.

    Args:
        photos: folder of the photos.
        dataset: folder of the dataset, created or continued.
        pipeline: detector and embedder.
        follows: folder of another dataset, whose face_ids and deletions are followed.
    """
    before = Dataset.open(dataset) if dataset.exists() else None
    source = None if follows is None else Dataset.open(follows)
    followed = None if source is None else FollowedDeletions.of(source.path, before)
    if before is not None and followed is not None:
        followed.apply_to(before)
    settings = DatasetSettings(pipeline.contract, pipeline.selection)
    settings = replace(settings, salted_ids=needs_salted_ids(settings, source))
    with DatasetWriter.open(dataset, settings) as writer:
        if followed is not None:
            followed.withhold_from(dataset)
        plan = make_plan(list_photos([photos]), before, [])
        if not len(plan.to_do):
            return
        folder = writer.dataset.folder
        folder.make_folder(WORK_DIR)
        earlier = EarlierFaces.prepared(
            folder.folder(WORK_DIR), writer.dataset, plan.earlier, source
        )
        schema = writer.dataset.photo_schema
        result = embed_shard(pipeline, plan.to_do, schema, stored=plan.stored)
        writer.write_part(
            writer.part_name(0),
            result.photos,
            result.faces,
            result.seconds,
            thumbnails=result.thumbnails,
            earlier=earlier,
        )
        folder.remove_folder(WORK_DIR)


@contextmanager
def embedded_meanwhile(photo: Path, content: bytes, embed: Callable[[], None]) -> Iterator[None]:
    """Embed a photo changed, before the block, and changed back, after it.

    Args:
        photo: path of the photo.
        content: what the photo is changed to.
        embed: embeds the folder of the photo.
    """
    before = photo.read_bytes()
    photo.write_bytes(content)
    embed()
    yield
    photo.write_bytes(before)
    embed()


def boxes_by_id(dataset: Path) -> dict[str, list[float]]:
    """Return the box of every face that readers of a dataset see, by face_id."""
    rows = Dataset.open(dataset).faces(["face_id", "box"]).to_arrow().to_pylist()
    assert len({row["face_id"] for row in rows}) == len(rows)
    return {row["face_id"]: row["box"] for row in rows}
