"""Detection rate in 12-megapixel group photos, by the width of the face.

    python -m benchmarks.scene_accuracy LFW_PHOTOS [--count 50] [--embedder NAME] [--peers]

The photos are composed from LFW_PHOTOS (see `benchmarks.scenes`), so the boxes of all faces in them
are known; they go through the real embed job. A detected box and a true box with an intersection
over union (IoU) of 0.4 or more are one face; pairs are matched in descending order of IoU. A
detected box that is not matched is a false detection, and is counted with the nearest of the
widths, however much larger it is. The IoU in the table is the median over detected faces.

Similarity compares a face's embedding with that of the same face in the photo it was taken from,
which goes through the same job: the median over detected faces, and the share at or above
`SAME_PERSON`. It shows the effect of the face's size, and nothing about other photos of the person.

`--peers` adds deepface's YuNet, with alignment (its default) and without, which avoids the border
that alignment adds; and face_recognition's HOG detector, as in its library and as in its command,
which shrinks photos to 1600 pixels.
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
"""Minimum intersection over union of a detected box and a true box that are one face."""

SAME_PERSON = 0.35
"""The similarity threshold of highest accuracy in `benchmarks.lfw_accuracy`."""


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face that a program detected: its box, and its embedding if the program makes one."""

    box: Box
    embedding: NDArray[np.float32] | None = None


Found = Mapping[str, Sequence[FoundFace]]
"""The faces that a program detected, by the photo's file name."""


def find_by_job(photos: Path, dataset_dir: Path, models: ModelChoice) -> Found:
    """Run the embed job, and read the faces of its dataset."""
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
    """Detect the faces of each photo with a function, on all cores."""
    paths = sorted(photos.glob("*.jpg"))
    with get_context("spawn").Pool(CORES) as pool:
        boxes = pool.map(find, paths, chunksize=1)
    return {
        path.name: [FoundFace(box) for box in found]
        for path, found in zip(paths, boxes, strict=True)
    }


def peers(photos: Path) -> dict[str, Found]:
    """Detect the faces of each photo with the other programs."""
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
    """Embed the source photos, and return the central face's embedding by the photo's name."""
    from beam_jobs.embed_photos import embed_photos

    linked = work_dir / "sources"
    linked.mkdir()
    for source in {truth.source for truth in truths}:
        (linked / Path(source).name).symlink_to((lfw_photos / source).resolve())
    embed_photos(linked, work_dir / "sources.dataset", models=models)
    return central_faces(Dataset.open(work_dir / "sources.dataset"))


def intersection_over_union(
    found: NDArray[np.float64], true: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the (n, m) intersections over union of (n, 4) and (m, 4) boxes."""
    start = np.maximum(found[:, None, :2], true[None, :, :2])
    end = np.minimum((found[:, :2] + found[:, 2:])[:, None], (true[:, :2] + true[:, 2:])[None])
    common = (end - start).clip(0).prod(axis=2)
    areas = found[:, 2:].prod(axis=1)[:, None] + true[:, 2:].prod(axis=1)[None]
    return np.asarray(common / (areas - common))


def match(found: Sequence[FoundFace], true: Sequence[TrueFace]) -> list[tuple[int, int, float]]:
    """Match detected and true faces, each at most once, in descending order of overlap.

    Returns:
        For each pair, the number of the detected face, that of the true face, and their
        intersection over union.
    """
    if not found or not true:
        return []
    shares = intersection_over_union(
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
    """Return the one of `FACE_WIDTHS` whose ratio to a width is nearest to 1."""
    return min(FACE_WIDTHS, key=lambda other: abs(np.log(max(width, 1) / other)))


@dataclass
class Tally:
    """The detection results for faces of one width.

    Attributes:
        num_true: number of true faces.
        num_false: number of false detections.
        overlaps: intersection over union of each detected true face.
        similarities: similarity of each of these faces to the face in its source photo.
    """

    num_true: int = 0
    num_false: int = 0
    overlaps: list[float] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)


def tally(
    found: Found, truths: Sequence[TrueFace], sources: Mapping[str, NDArray[np.float32]]
) -> dict[int, Tally]:
    """Count one program's detections by the width of the face.

    Args:
        found: the faces that the program detected.
        truths: all true faces.
        sources: embeddings of the source photos; see `source_embeddings`.
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
    """Print a row for each width."""
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
    parser.add_argument("lfw_photos", type=Path, help="folder of LFW's photos")
    parser.add_argument("--count", type=int, default=50, help="number of group photos to make")
    parser.add_argument(
        "--faces-per-size", type=int, default=4, help="number of faces of each width in a photo"
    )
    parser.add_argument("--embedder", default=ModelChoice.embedder, help="name of an embedder")
    parser.add_argument(
        "--peers", action="store_true", help="run deepface and face_recognition too"
    )
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
