"""Detection and identification of faces that are turned in their photo, by the angle.

    python -m benchmarks.turned_faces LFW_PHOTOS [--people 300] [--step 30]

One photo of each of `--people` people is enrolled upright; another of each is turned by every angle
and searched for. *Found*: share of the probes whose central face is detected. *False*: detected
faces, per hundred photos, at places where the upright photo shows no face of even a low score.
*Rank-1* and *FNIR* count a probe that is not found as missed; the FNIR's threshold is that at which
one of a hundred upright photos of other people finds a match. *Similarity* is the median with the
embedding of the same photo upright.

*Beside an upright face*: two photos side by side, one of them turned. A face is *found* if its
embedding is one person's with that of the upright photo (`SAME_PERSON`), and *wrong* if a face is
detected there with another embedding.

*Cost* is the processor time of the detector per photo, upright and without a face, with the search
for turned faces and without it. Photos without a face are put together from the edges of others.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from benchmarks.lfw_variants import changed
from benchmarks.measure import print_header, print_table
from faces.models import yunet
from faces.models.face import Face
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.models.yunet import YuNetDetector
from faces.photos.decoding import Image, Photo, decode_photo
from facetrove.evaluation.metrics import miss_rate, threshold_at

FPIR = 0.01
"""False-positive rate at which the FNIR is measured."""

SAME_PERSON = 0.6
"""Minimum similarity of a turned face with itself upright; other people's lie below 0.4."""

UNSURE_SCORE = 0.3
"""Minimum score of a face in the upright photo for a detection at its place not to be false."""

BATCH = 16
"""Number of photos given to the pipeline at once."""

NUM_BESIDE, BESIDE_ANGLES = 100, (45, 90, 135, 180, 270)
"""Number of pairs of photos side by side, and the angles of the turned one."""

NUM_TIMED, ROUNDS = 160, 5
"""Number of photos that are timed, and of rounds, of which the fastest of each batch counts."""


def turned(image: Image, degrees: float) -> Image:
    """Turn a photo anticlockwise, with room for its corners."""
    photo = PIL.Image.fromarray(image)
    return np.asarray(photo.rotate(degrees, PIL.Image.Resampling.BICUBIC, expand=True))


def find(pipeline: FacePipeline, images: Sequence[Image]) -> list[list[Face]]:
    """Find the faces of many photos."""
    found = []
    for start in range(0, len(images), BATCH):
        found += pipeline.find_faces(images[start : start + BATCH])
    return found


def centre(box: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the centre (x, y) of a box."""
    return np.asarray(box[:2] + box[2:] / 2, dtype=np.float64)


def central(faces: Sequence[Face], image: Image) -> Face | None:
    """Return the face in the middle fifth of a photo of one person."""
    middle = np.array(image.shape[1::-1]) / 2
    nearest = min(faces, key=lambda f: np.hypot(*(centre(f.box) - middle)), default=None)
    near = nearest is not None and np.hypot(*(centre(nearest.box) - middle)) < 50
    return nearest if near else None


def num_false(faces: Sequence[Face], shown: Sequence[Face], to_turned: NDArray[np.float64]) -> int:
    """Count detections at places where the upright photo shows no face.

    Args:
        faces: the faces of the turned photo.
        shown: all that may be faces in the upright photo.
        to_turned: (2, 3) matrix from pixels of the upright photo to those of the turned one.
    """
    places = [
        (to_turned[:, :2] @ centre(f.box) + to_turned[:, 2], min(f.box[2:]) / 2) for f in shown
    ]
    return sum(
        all(np.hypot(*(centre(face.box) - place)) > reach for place, reach in places)
        for face in faces
    )


def rotation(image: Image, degrees: float, size: Sequence[int]) -> NDArray[np.float64]:
    """Compute the (2, 3) matrix from pixels of a photo to those of it turned, of (h, w) size."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += (size[1] - width) / 2, (size[0] - height) / 2
    return np.asarray(matrix)


def by_angle(
    pipeline: FacePipeline, people: Sequence[Sequence[Image]], strangers: Sequence[Image], step: int
) -> None:
    """Print the table of rates by the angle."""
    gallery = np.zeros((len(people), pipeline.embedder.dimension), np.float32)
    enrolled = [photos[0] for photos in people]
    for row, faces in enumerate(find(pipeline, enrolled)):
        if face := central(faces, enrolled[row]):
            gallery[row] = face.embedding
    others = [
        central(faces, i) for faces, i in zip(find(pipeline, strangers), strangers, strict=True)
    ]
    top = np.array([(gallery @ face.embedding).max() for face in others if face])
    threshold = threshold_at(top, FPIR)
    probes = [photos[1] for photos in people]
    upright = [central(faces, i) for faces, i in zip(find(pipeline, probes), probes, strict=True)]
    lenient = FacePipeline(YuNetDetector(threads=1, min_score=UNSURE_SCORE), pipeline.embedder)
    shown = find(lenient, probes)
    rows = []
    for degrees in range(0, 360, step):
        images = [turned(image, degrees) for image in probes]
        found = find(pipeline, images)
        own, first, alike, false = np.full(len(probes), -1.0), 0, [], 0
        num_found = 0
        for row, (faces, image) in enumerate(zip(found, images, strict=True)):
            matrix = rotation(probes[row], degrees, image.shape)
            false += num_false(faces, shown[row], matrix)
            face, same = central(faces, image), upright[row]
            if face is None:
                continue
            num_found += 1
            similarities = gallery @ face.embedding
            first += int(similarities.argmax()) == row
            own[row] = similarities[row]
            if same is not None:
                alike.append(float(face.embedding @ same.embedding))
        missed = float(miss_rate(own, threshold)[0])
        rates = [num_found / len(probes), first / len(probes), missed, float(np.median(alike))]
        cells = [f"{rate:.3f}" for rate in rates]
        rows.append([str(degrees), *cells, f"{100 * false / len(probes):.1f}"])
    print_table(["degrees", "found", "rank-1", "FNIR", "similarity", "false/100"], rows)


def beside(pipeline: FacePipeline, images: Sequence[Image]) -> None:
    """Print how many turned faces are found beside an upright one."""
    alone = [central(faces, i) for faces, i in zip(find(pipeline, images), images, strict=True)]
    rows = []
    for degrees in BESIDE_ANGLES:
        num_pairs, num_found, num_wrong = 0, 0, 0
        pairs = list(zip(images, images[1:], alone[1:], strict=False))[:NUM_BESIDE]
        joined = []
        for first, second, _ in pairs:
            height, width = second.shape[:2]
            askew = cv2.warpAffine(second, rotation(second, degrees, second.shape), (width, height))
            joined.append(np.hstack([first[:height], np.asarray(askew, np.uint8)]))
        for (first, second, face), faces in zip(pairs, find(pipeline, joined), strict=True):
            if face is None:
                continue
            middle = (first.shape[1] + second.shape[1] / 2, second.shape[0] / 2)
            there = [f for f in faces if np.hypot(*(centre(f.box) - middle)) < 50]
            right = any(f.embedding @ face.embedding >= SAME_PERSON for f in there)
            num_pairs, num_found = num_pairs + 1, num_found + right
            num_wrong += bool(there) and not right
        rows.append([str(degrees), f"{num_found / num_pairs:.2f}", f"{num_wrong / num_pairs:.2f}"])
    print_table(["degrees", "found", "wrong"], rows)


def without_face(images: Sequence[Image], detector: YuNetDetector) -> Iterator[Image]:
    """Yield photos that are put together from the edges of four others, if they show no face."""
    for start in range(0, len(images) - 3, 4):
        a, b, c, d = (image[:250] for image in images[start : start + 4])
        if any(image.shape != (250, 250, 3) for image in (a, b, c, d)):
            continue
        strips = [a[:, :63], b[:, -63:], c[:, :63], d[:, -61:]]
        joined = np.ascontiguousarray(np.hstack(strips))
        quarters = [Photo(np.ascontiguousarray(np.rot90(joined, k))) for k in range(4)]
        if not any(detector.detect(quarters)):
            yield joined


def cost(detector: YuNetDetector, images: Sequence[Image]) -> float:
    """Return the processor time of detection per photo, in milliseconds."""
    seconds = 0.0
    for start in range(0, len(images), BATCH):
        photos = [Photo(image) for image in images[start : start + BATCH]]
        times = []
        for _ in range(ROUNDS):
            began = time.process_time()
            detector.detect(photos)
            times.append(time.process_time() - began)
        seconds += min(times)
    return 1000 * seconds / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw_photos", type=Path, help="folder of LFW's photos")
    parser.add_argument("--people", type=int, default=300, help="number of people enrolled")
    parser.add_argument("--step", type=int, default=30, help="step of the angles in degrees")
    options = parser.parse_args()
    print_header()
    cv2.setNumThreads(1)
    photos = defaultdict(list)
    for path in sorted(options.lfw_photos.rglob("*.jpg")):
        photos[path.parent.name].append(path)
    names = [sorted(photos)[n] for n in np.random.default_rng(1).permutation(len(photos))]
    several = [photos[name][:2] for name in names if len(photos[name]) > 1][: options.people]
    single = [photos[name][0] for name in names if len(photos[name]) == 1]
    people = [[decode_photo(path.read_bytes()).image for path in paths] for paths in several]
    strangers = [decode_photo(p.read_bytes()).image for p in single[: 2 * options.people]]
    pipeline = load_pipeline(threads=1)
    print(f"{len(people)} people enrolled upright, one other photo of each turned anticlockwise")
    by_angle(pipeline, people, strangers, options.step)
    print("\nbeside an upright face")
    beside(pipeline, strangers)
    detector = YuNetDetector(threads=1)
    faceless = list(islice(without_face(strangers, detector), NUM_TIMED))
    print("\ndetector, CPU ms/photo")
    rows = []
    for name, images in (("upright", strangers[:NUM_TIMED]), ("without a face", faceless)):
        whole = cost(detector, images)
        with changed(yunet, find_turned=lambda *_: None):
            plain = cost(detector, images)
        rows.append([name, str(len(images)), f"{whole:.2f}", f"{plain:.2f}"])
    print_table(["photos", "number", "as it is", "no turned faces"], rows)


if __name__ == "__main__":
    main()
