"""How many faces are found in 12-megapixel group photos, by the size of the face.

    python -m benchmarks.scene_accuracy LFW_PHOTOS [--count 50] [--embedder NAME] [--peers]

The photos are made from LFW_PHOTOS (see `benchmarks.scenes`), so every face in them is known;
they go through the real embed job. A found box and a true one that overlap by 0.4 or more
(intersection over union), best first, are one face; a found box that is left is a false face.
IoU is the median over the faces found. A false face is counted with the nearest of the sizes,
however much larger it is.

Similarity is that of a face's embedding to the same face's in the photo it was taken from, which
goes through the same job: the median over the faces found, and the share at or above
`SAME_PERSON`. It tells what the size of a face costs, and nothing of other photos of the person.

`--peers` adds deepface's YuNet, by its default (`align=True`, as `represent` finds faces) and
without the border that aligning adds, and face_recognition's HOG, as its library is used and as
its command does (photos shrunk to 1600 pixels).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.lfw_accuracy import central_faces
from benchmarks.measure import CORES, print_header
from benchmarks.peers import (
    FACE_RECOGNITION_SIDE,
    deepface_boxes,
    deepface_environment,
    face_recognition_boxes,
    require_peers,
)
from benchmarks.scenes import FACE_WIDTHS, Box, TrueFace, make_group_scenes
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice

SAME_OVERLAP = 0.4
"""Intersection over union from which a found box is a true face."""

SAME_PERSON = 0.35
"""The similarity at which `benchmarks.lfw_accuracy` tells people apart best."""


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A box in a scene and, where the program embeds, its embedding."""

    box: Box
    embedding: NDArray[np.float32] | None = None


Found = Mapping[str, Sequence[FoundFace]]
"""What a program found, by the photo's file name."""


def find_by_job(photos: Path, dataset_dir: Path, models: ModelChoice) -> Found:
    """The faces of the embed job's dataset."""
    from beam_jobs.embed_photos import embed_photos  # the peers' processes need no Beam

    embed_photos(photos, dataset_dir, models=models)
    found = defaultdict(list)
    for table in Dataset.open(dataset_dir).faces(["uri", "box", "embedding"]):
        rows = zip(
            table["uri"].to_pylist(), table["box"].to_pylist(), embedding_matrix(table), strict=True
        )
        for uri, box, embedding in rows:
            found[Path(uri).name].append(FoundFace(tuple(box), embedding))
    return found


def find_by_peer(photos: Path, find: Callable[[Path], list[Box]]) -> Found:
    """The faces that a function finds in each photo, on all cores."""
    paths = sorted(photos.glob("*.jpg"))
    with get_context("spawn").Pool(CORES) as pool:
        boxes = pool.map(find, paths, chunksize=1)
    return {
        path.name: [FoundFace(box) for box in found]
        for path, found in zip(paths, boxes, strict=True)
    }


def peers(photos: Path) -> dict[str, Found]:
    return {
        "deepface": find_by_peer(photos, partial(deepface_boxes, align=True)),
        "deepface unaligned": find_by_peer(photos, partial(deepface_boxes, align=False)),
        "face_recognition": find_by_peer(photos, face_recognition_boxes),
        "  its command": find_by_peer(
            photos, partial(face_recognition_boxes, max_side=FACE_RECOGNITION_SIDE)
        ),
    }


def source_embeddings(
    lfw_photos: Path, truths: Sequence[TrueFace], work_dir: Path, models: ModelChoice
) -> dict[str, NDArray[np.float32]]:
    """The embedding of each source photo's central face, by the photo's name."""
    from beam_jobs.embed_photos import embed_photos

    linked = work_dir / "sources"
    linked.mkdir()
    for source in {truth.source for truth in truths}:
        (linked / Path(source).name).symlink_to((lfw_photos / source).resolve())
    embed_photos(linked, work_dir / "sources.dataset", models=models)
    return central_faces(Dataset.open(work_dir / "sources.dataset"))


def overlaps(found: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) and (m, 4) boxes to their (n, m) intersections over unions."""
    start = np.maximum(found[:, None, :2], true[None, :, :2])
    end = np.minimum((found[:, :2] + found[:, 2:])[:, None], (true[:, :2] + true[:, 2:])[None])
    common = (end - start).clip(0).prod(axis=2)
    areas = found[:, 2:].prod(axis=1)[:, None] + true[:, 2:].prod(axis=1)[None]
    return np.asarray(common / (areas - common))


def match(found: Sequence[FoundFace], true: Sequence[TrueFace]) -> list[tuple[int, int, float]]:
    """Pairs of a found and a true face and their overlap; each is in one pair, best pairs first."""
    if not found or not true:
        return []
    shares = overlaps(
        np.array([face.box for face in found], dtype=np.float64),
        np.array([face.box for face in true], dtype=np.float64),
    )
    pairs = []
    while shares.max() >= SAME_OVERLAP:
        row, column = np.unravel_index(int(shares.argmax()), shares.shape)
        pairs.append((int(row), int(column), float(shares[row, column])))
        shares[row], shares[:, column] = 0, 0
    return pairs


def nearest_width(width: float) -> int:
    """The one of `FACE_WIDTHS` that a width is nearest to, by ratio."""
    return min(FACE_WIDTHS, key=lambda known: abs(np.log(max(width, 1) / known)))


@dataclass
class Tally:
    """What became of the faces of one width."""

    num_true: int = 0
    num_false: int = 0
    overlaps: list[float] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)


def tally(
    found: Found, truths: Sequence[TrueFace], sources: Mapping[str, NDArray[np.float32]]
) -> dict[int, Tally]:
    """Count by width, for one program.

    Args:
        found: what it found.
        truths: all true faces.
        sources: as of `source_embeddings`.
    """
    tallies = {width: Tally() for width in FACE_WIDTHS}
    by_photo: dict[str, list[TrueFace]] = defaultdict(list)
    for truth in truths:
        by_photo[truth.photo].append(truth)
        tallies[truth.face_width].num_true += 1
    for photo, true in by_photo.items():
        faces = found.get(photo, [])
        pairs = match(faces, true)
        for row, column, overlap in pairs:
            entry = tallies[true[column].face_width]
            entry.overlaps.append(overlap)
            source = sources.get(Path(true[column].source).stem)
            embedding = faces[row].embedding
            if embedding is not None and source is not None:
                entry.similarities.append(float(embedding @ source))
        matched = {row for row, _, _ in pairs}
        for row, face in enumerate(faces):
            tallies[nearest_width(face.box[2])].num_false += row not in matched
    return tallies


def print_tallies(program: str, tallies: Mapping[int, Tally], num_photos: int) -> None:
    """A line for each width."""
    for width, entry in tallies.items():
        similarities = np.array(entry.similarities)
        columns = [
            f"{program if width == FACE_WIDTHS[0] else '':20}{width:>6}",
            f"{len(entry.overlaps) / entry.num_true:>9.1%}{entry.num_false / num_photos:>13.2f}",
            f"{f'{np.median(entry.overlaps):.2f}' if entry.overlaps else '-':>7}",
        ]
        if len(similarities):
            same = (similarities >= SAME_PERSON).mean()
            columns.append(f"{np.median(similarities):>12.3f}{same:>13.1%}")
        print("".join(columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw_photos", type=Path)
    parser.add_argument("--count", type=int, default=50, help="group photos to make")
    parser.add_argument("--faces-per-size", type=int, default=4, help="of each width, in a photo")
    parser.add_argument("--embedder", default=ModelChoice.embedder)
    parser.add_argument("--peers", action="store_true", help="deepface and face_recognition too")
    options = parser.parse_args()
    print_header()
    if options.peers:
        require_peers()
    models = ModelChoice(embedder=options.embedder)
    with tempfile.TemporaryDirectory() as name:
        work_dir = Path(name)
        photos = work_dir / "photos"
        truths = make_group_scenes(
            options.lfw_photos, photos, count=options.count, faces_per_size=options.faces_per_size
        )
        sources = source_embeddings(options.lfw_photos, truths, work_dir, models)
        results = {"facetrove": find_by_job(photos, work_dir / "scenes.dataset", models)}
        if options.peers:
            os.environ.update(deepface_environment(work_dir))
            results |= peers(photos)
        print(f"{options.count} photos, {len(truths)} faces, {options.embedder}")
        print(
            f"{'program':20}{'width':>6}{'found':>9}{'false/photo':>13}{'IoU':>7}"
            f"{'similarity':>12}{'same person':>13}"
        )
        for program, found in results.items():
            print_tallies(program, tally(found, truths, sources), options.count)


if __name__ == "__main__":
    main()
