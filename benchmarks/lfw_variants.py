"""Identification error rates of variants of the pipeline with the same networks, and cost, on LFW.

    python -m benchmarks.lfw_variants LFW_FOLDER [--embedder sface-int8] [--only WORDS]

Each variant embeds the central face of every photo on one core. For rank-1, one photo of every
person is enrolled and all others are searched for; for FNIR, half of the people are not enrolled.
The table has means over twenty splits, which are the same for all variants, and the mean difference
from the variant `as it is` with its standard deviation over the splits. *Rotated*: all photos are
rotated by up to 30 degrees.

Four wrong labels are corrected first; see `benchmarks/gallery_estimation.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery_estimation import MISLABELLED, SAME_PERSON
from benchmarks.measure import print_header
from faces.core.vectors import unit_length
from faces.models import yunet_outputs
from faces.models.alignment import ARCFACE_112
from faces.models.choice import BUILT_IN_EMBEDDERS, ModelChoice
from faces.models.embedder import NetworkEmbedder
from faces.models.face import Face
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.models.sface import MEAN_VECTOR
from faces.models.yunet import YuNetDetector
from faces.photos.decoding import Image, decode_photo
from facetrove.evaluation.labels import CENTRE_REACH
from facetrove.evaluation.metrics import miss_rate, threshold_at
from facetrove.evaluation.protocol import keep_out, split_faces

NUM_SPLITS = 20
"""Number of random splits."""

NUM_HALVES = 4
"""Number of random halvings of the people, for the mean vector of the other half."""

ROTATED_DEGREES = 30.0
"""Maximum angle by which photos are rotated."""

BATCH = 32
"""Number of photos given to the pipeline at once."""

FITTED = ((38.44, 52.68), (75.06, 52.58), (57.08, 73.16), (41.24, 89.32), (72.61, 89.63))
"""A crop template with YuNet's mean landmarks in ArcFace's crops, as x, y in pixels."""

ENROLLED, MIN_PHOTOS = 3, 4
"""Number of photos enrolled per person where several are, and minimum number of a person's photos
for that."""


@dataclass(frozen=True)
class Found:
    """The n central faces of LFW's photos, as a variant detects and embeds them.

    Attributes:
        vectors: (n, d) embeddings of unit length.
        people: (n,) number of each face's person.
        norms: (n,) length of the network's vectors before they were scaled to 1.
        scores, sharpness: (n,) quality measures of the faces.
        milliseconds: processor time per photo without decoding.
    """

    vectors: NDArray[np.float32]
    people: NDArray[np.int64]
    norms: NDArray[np.float64]
    scores: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    milliseconds: float


@contextmanager
def changed(target: object, **values: Any) -> Iterator[None]:
    """Set attributes to other values while the context is open."""
    before = {name: getattr(target, name) for name in values}
    for name, value in values.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)


@contextmanager
def landmarks_of_the_best_cell() -> Iterator[None]:
    """Take landmarks as OpenCV does: no mean over grid cells, no second pass over tilted faces."""
    with changed(yunet_outputs, MIN_LANDMARK_SCORE=2.0), changed(YuNetDetector, refined_from=360.0):
        yield


def embed(paths: list[Path], pipeline: FacePipeline, *, rotated: bool = False) -> Found:
    """Embed the central face of each photo, of rotated photos if `rotated`."""
    rng = np.random.default_rng(0)
    kept: list[tuple[str, Face]] = []
    seconds = 0.0
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        images = [decode_photo(path.read_bytes()).image for path in batch]
        if rotated:
            images = [
                _rotated(image, rng.uniform(-ROTATED_DEGREES, ROTATED_DEGREES)) for image in images
            ]
        began = time.process_time()
        found = pipeline.find_faces(images)
        seconds += time.process_time() - began
        for path, image, faces in zip(batch, images, found, strict=True):
            name = path.stem
            nearest = min(faces, key=lambda face: _off_centre(face, image), default=None)
            if nearest and _off_centre(nearest, image) <= CENTRE_REACH and name not in MISLABELLED:
                kept.append((name.rpartition("_")[0], nearest))
    names = [SAME_PERSON.get(name, name) for name, _ in kept]
    _, people = np.unique(names, return_inverse=True)
    return Found(
        np.stack([face.embedding for _, face in kept]),
        people.astype(np.int64),
        np.array([face.embedding_norm for _, face in kept]),
        np.array([face.detection.score for _, face in kept]),
        np.array([face.quality.sharpness for _, face in kept]),
        1000 * seconds / len(paths),
    )


def _off_centre(face: Face, image: Image) -> float:
    """Compute the distance of a face's centre from the image's, relative to width and height."""
    box = face.detection.box
    height, width = image.shape[:2]
    offset = ((box[0] + box[2] / 2) / width - 0.5, (box[1] + box[3] / 2) / height - 0.5)
    return float(np.hypot(*offset))


def _rotated(image: Image, degrees: float) -> Image:
    """Rotate an image about its centre."""
    height, width = image.shape[:2]
    rotation = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, rotation, (width, height)), np.uint8)


def measure(found: Found) -> NDArray[np.float64]:
    """Compute rank-1, FNIR at an FPIR of 0.01, and FNIR at an FPIR of 0.1 of each split.

    Returns:
        (splits, 3) rates.
    """
    rows = []
    for split in range(NUM_SPLITS):
        rng = np.random.default_rng([0, split])
        enrolled, probes = split_faces(found.people, 1, rng)
        similarities = found.vectors[probes] @ found.vectors[enrolled].T
        nearest = found.people[enrolled][similarities.argmax(axis=1)]
        num_strangers = int(found.people.max()) // 2
        gallery, mated, strangers = keep_out(found.people, enrolled, probes, num_strangers, rng)
        others = found.vectors[strangers] @ found.vectors[gallery].T
        own = gallery[np.searchsorted(found.people[gallery], found.people[mated])]
        right = np.einsum("nd,nd->n", found.vectors[mated], found.vectors[own])
        rows.append(
            [float((nearest == found.people[probes]).mean())]
            + [float(miss_rate(right, threshold_at(others.max(axis=1), f))[0]) for f in (0.01, 0.1)]
        )
    return np.array(rows)


class WithoutMeanVector:
    """An embedder that does not subtract the mean vector, as the published network."""

    def __init__(self, embedder: NetworkEmbedder) -> None:
        self._embedder = embedder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed(self, crops: NDArray[Any]) -> NDArray[np.float32]:
        """Embed (n, height, width, 3) crops; see `FaceEmbedder.embed`."""
        return self._embedder.embed(crops) + np.float32(MEAN_VECTOR)


def zoomed(factor: float) -> object:
    """Return ArcFace's crop template with the face larger by a factor."""
    points = (np.array(ARCFACE_112.points) - 56) * factor + 56
    return replace(ARCFACE_112, points=tuple(map(tuple, points.tolist())))


def held_out_mean_vector(found: Found) -> None:
    """Measure half of the people without mean vector, with the one in use, and with that of others.

    The last shows whether a mean vector helps people whom it was not computed from: it is the mean
    of the other half of the people.
    """
    published = found.vectors * found.norms[:, None] + np.array(MEAN_VECTOR)
    results: dict[str, list[NDArray[np.float64]]] = {}
    for seed in range(NUM_HALVES):
        in_other_half = np.random.default_rng([2, seed]).random(found.people.max() + 1) < 0.5
        others = in_other_half[found.people]
        people, rows = np.unique(found.people[others], return_inverse=True)
        sums = np.zeros((len(people), published.shape[1]))
        np.add.at(sums, rows, published[others])
        means = sums / np.bincount(rows)[:, None]
        _, renumbered = np.unique(found.people[~others], return_inverse=True)
        for name, mean_vector in (
            ("no mean vector", np.zeros(1)),
            ("the mean vector in use", np.array(MEAN_VECTOR)),
            ("mean vector of the other half", means.mean(axis=0)),
        ):
            vectors = unit_length(published[~others] - mean_vector)
            half = replace(found, vectors=vectors, people=renumbered.astype(np.int64))
            results.setdefault(name, []).append(measure(half).mean(axis=0))
    print(f"\nrandom halves of the people, means over {NUM_HALVES} halves")
    for name, rows in results.items():
        rank, low, high = np.mean(rows, axis=0)
        print(f"{name:34s} rank-1 {rank:.4f}  FNIR at 0.01 {low:.4f}  at 0.1 {high:.4f}")


def several_enrolled(found: Found) -> None:
    """Measure people with four or more photos with one or three enrolled, by several rules."""
    counts = np.bincount(found.people)
    eligible = np.flatnonzero(counts >= MIN_PHOTOS)
    results: dict[str, list[list[float]]] = {}
    for split in range(NUM_SPLITS):
        rng = np.random.default_rng([1, split])
        strangers = np.isin(found.people, rng.permutation(eligible)[: len(eligible) // 2])
        for name, similarities, own, probes in _rules(found, eligible, rng):
            right = similarities[np.arange(len(probes)), own]
            mated = ~strangers[probes]
            columns = np.flatnonzero(~np.isin(eligible, found.people[strangers]))
            top = similarities[~mated][:, columns].max(axis=1)
            results.setdefault(name, []).append(
                [float((similarities.argmax(axis=1) == own).mean())]
                + [float(miss_rate(right[mated], threshold_at(top, f))[0]) for f in (0.01, 0.1)]
            )
    print(
        f"\n{len(eligible)} people with {MIN_PHOTOS} or more photos, means over {NUM_SPLITS} splits"
    )
    for name, rows in results.items():
        rank, low, high = np.mean(rows, axis=0)
        print(f"{name:34s} rank-1 {rank:.4f}  FNIR at 0.01 {low:.4f}  at 0.1 {high:.4f}")


def _rules(
    found: Found, eligible: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]]:
    """Enrol photos of each person at random, and compare the probes with people by several rules.

    Yields:
        A rule's name, (p, people) similarities, (p,) column of the probe's person, and (p,) rows of
        the probes.
    """
    rows = rng.permutation(np.flatnonzero(np.isin(found.people, eligible)))
    rows = rows[np.argsort(found.people[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(found.people[rows], prepend=-1))
    enrolled = rows[starts[:, None] + np.arange(ENROLLED)]  # (people, 3)
    probes = np.setdiff1d(rows, enrolled)
    own = np.searchsorted(eligible, found.people[probes])
    vectors = found.vectors[enrolled]
    each = np.einsum("pd,gkd->pgk", found.vectors[probes], vectors)
    yield "one photo", each[:, :, 0], own, probes
    yield "three, the most similar", each.max(axis=2), own, probes
    for name, weights in (
        ("three, mean embedding", np.ones_like(found.scores)),
        ("three, mean weighted by score^4", found.scores**4),
        ("three, mean weighted by sharpness", found.sharpness),
        ("three, mean weighted by norm", found.norms),
    ):
        mean = unit_length((weights[enrolled][:, :, None] * vectors).sum(axis=1))
        yield name, found.vectors[probes] @ mean.T, own, probes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw", type=Path, help="folder of LFW's photos")
    parser.add_argument(
        "--embedder",
        choices=BUILT_IN_EMBEDDERS,
        default=ModelChoice.embedder,
        help="name of an embedder",
    )
    parser.add_argument("--only", help="measure only variants with these words in their names")
    options = parser.parse_args()
    print_header()
    paths = sorted(options.lfw.glob("photos/*/*.jpg"))
    pipeline = load_pipeline(ModelChoice(embedder=options.embedder), threads=1)
    best = load_pipeline(ModelChoice.of_quality("best"), threads=1)
    embedder = pipeline.embedder
    assert isinstance(embedder, NetworkEmbedder)
    variants: dict[str, Callable[[], Any]] = {
        "as it is": lambda: changed(pipeline),
        "without mean vector": lambda: changed(pipeline, embedder=WithoutMeanVector(embedder)),
        "landmarks of the best cell": landmarks_of_the_best_cell,
        "no second pass": lambda: changed(YuNetDetector, refined_from=360.0),
        "second pass on every face": lambda: changed(pipeline, detector=best.detector),
        "mirrored crop averaged": lambda: changed(pipeline, embedder=best.embedder),
        "both: --quality best": lambda: changed(
            pipeline, detector=best.detector, embedder=best.embedder
        ),
        "template fitted to YuNet": lambda: changed(
            embedder, alignment=replace(ARCFACE_112, points=FITTED)
        ),
        "crop 5% wider": lambda: changed(embedder, alignment=zoomed(0.95)),
        "crop 5% narrower": lambda: changed(embedder, alignment=zoomed(1.05)),
    }
    heads = ("rank-1", "difference", "FNIR 0.01", "difference", "FNIR 0.1", "difference")
    print(f"{'':42s}" + "".join(f"{head:>18s}" for head in heads) + f"{'ms/photo':>10s}")
    for rotated in (False, True):
        reference = None
        for name, change in variants.items():
            if rotated and not name.endswith(
                ("cell", "is", "vector", "pass", "every face", "best")
            ):
                continue
            if options.only and name != "as it is" and options.only not in name:
                continue
            with change():
                found = embed(paths, pipeline, rotated=rotated)
            rates = measure(found)
            reference = rates if reference is None else reference
            difference = 100 * (rates - reference)
            cells = [
                f"{100 * mean:17.2f}%{d:+10.2f} +- {std:.2f}"
                for mean, d, std in zip(
                    rates.mean(axis=0), difference.mean(axis=0), difference.std(axis=0), strict=True
                )
            ]
            label = f"{name}{', rotated' if rotated else ''}"
            print(f"{label:42s}{''.join(cells)}{found.milliseconds:10.2f}", flush=True)
            if name == "as it is" and not rotated:
                upright = found
    held_out_mean_vector(upright)
    several_enrolled(upright)


if __name__ == "__main__":
    main()
