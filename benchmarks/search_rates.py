"""How often searches for strangers find a match, by similarity and size of the gallery, on LFW.

    python -m benchmarks.search_rates LFW_FOLDER [--embedder NAME] [--work FOLDER]

LFW_FOLDER holds `photos/<Name>/<Name>_NNNN.jpg` (Labeled Faces in the Wild). The central face of
each photo is used, with the labels corrected by `benchmarks.gallery_estimation`. Printed are

- the constants of `indexer/model_rates.py`, with 95% intervals of a bootstrap over people;
- the FPIR at thresholds from one half of the people, in galleries of the other half, with a mean
  vector of the first half too, so that nothing comes from the people who are searched for;
- the error rates of probes that are the mean of 1, 2, 3 and 5 photos of a person.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from beam_jobs.embed_photos import embed_photos
from benchmarks.gallery_estimation import MISLABELLED, SAME_PERSON
from benchmarks.measure import print_header
from faces.core.kinds import is_dataset
from faces.core.vectors import unit_length
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from faces.models.sface import MEAN_VECTOR
from facetrove.evaluation.labels import choose_faces

SHARES = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Shares of non-mated pairs whose similarities are printed."""

SIZES = (10, 100, 1_000)
"""Numbers of people in the galleries that are searched."""

RATES = (0.1, 0.01)
"""FPIRs at which thresholds are set."""

HALVINGS = 20
"""Number of random divisions of the people into two halves."""

GALLERIES = 20
"""Number of random galleries of each size in each half."""

RESAMPLES = 200
"""Number of bootstrap resamples."""

PROBE_PHOTOS = (1, 2, 3, 5)
"""Numbers of photos in a probe."""

ROUNDS = 100
"""Number of random choices of enrolled photos, probe photos and strangers for joint probes."""

BINS = np.linspace(-1, 1, 4_001)
"""Edges of the bins of histograms of similarities."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw", type=Path, help="folder of LFW's photos")
    parser.add_argument("--embedder", default=ModelChoice.embedder, help="a built-in embedder")
    parser.add_argument("--detector", default=ModelChoice.detector, help="a built-in detector")
    parser.add_argument("--work", type=Path, help="folder that keeps the dataset")
    options = parser.parse_args()
    print_header()
    with tempfile.TemporaryDirectory() as scratch:
        dataset = (
            options.work or Path(scratch)
        ) / f"lfw-{options.detector}-{options.embedder}.dataset"
        if not is_dataset(dataset):
            dataset.parent.mkdir(parents=True, exist_ok=True)
            models = ModelChoice(options.detector, options.embedder)
            embed_photos(options.lfw / "photos", dataset, models=models)
        published, people = published_vectors(Dataset.open(dataset))
    faces = unit_length(published - np.array(MEAN_VECTOR, np.float32))
    print(f"{len(faces)} photos of {people.max() + 1} people, {options.embedder}\n")
    for lines in (share_lines(faces, people), half_lines(published, people)):
        print(*lines, sep="\n", end="\n\n")
    print(*joint_lines(faces, people), sep="\n")


def published_vectors(dataset: Dataset) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read SFace's vectors of LFW's central faces as published, before the mean is subtracted.

    Returns:
        (n, 128) vectors of any length, and (n,) number of each face's person.
    """
    photos = dataset.photos(["width", "height"])
    columns = ["photo_id", "uri", "box", "embedding", "embedding_norm"]
    table = pa.concat_tables(dataset.faces(columns))
    table = table.take(pa.array(choose_faces(table, "central", photos)))
    names = [Path(uri).stem for uri in table["uri"].to_pylist()]
    kept = np.array([name not in MISLABELLED for name in names])
    people = [name.rpartition("_")[0] for name in names]
    people = [SAME_PERSON.get(name, name) for name in people]
    norms = table["embedding_norm"].to_numpy()[:, None].astype(np.float32)
    vectors = embedding_matrix(table) * norms + np.array(MEAN_VECTOR, np.float32)
    _, numbers = np.unique(np.array(people)[kept], return_inverse=True)
    return vectors[kept], numbers.astype(np.int64)


def share_lines(faces: NDArray[np.float32], people: NDArray[np.int64]) -> Iterator[str]:
    """Yield the similarities that shares of the non-mated pairs reach, with their intervals."""
    num_people = int(people.max()) + 1
    rng = np.random.default_rng(0)
    resampled = [
        np.bincount(rng.integers(0, num_people, num_people), minlength=num_people)
        for _ in range(RESAMPLES)
    ]
    weights = np.array([np.ones(num_people), *resampled])[:, people]
    histograms = np.zeros((len(weights), len(BINS) - 1))
    for row, (face, person) in enumerate(zip(faces, people, strict=True)):
        bins = np.digitize(faces[row + 1 :] @ face, BINS) - 1
        differ = people[row + 1 :] != person
        for number in np.flatnonzero(weights[:, row]):
            counted = weights[number, row] * weights[number, row + 1 :][differ]
            histograms[number] += np.bincount(bins[differ], counted, histograms.shape[1])
    survival = histograms[:, ::-1].cumsum(axis=1)[:, ::-1] / histograms.sum(axis=1)[:, None]
    yield "share of pairs   log10   similarity   95% interval"
    for share in SHARES:
        logs = np.log(np.maximum(survival, 1e-12))
        found = [np.interp(-np.log(share), -one, BINS[:-1]) for one in logs]
        low, high = np.quantile(found[1:], [0.025, 0.975])
        yield (f"{share:14.0e} {np.log10(share):7.4f} {found[0]:12.3f}   {low:.3f} to {high:.3f}")


def half_lines(published: NDArray[np.float32], people: NDArray[np.int64]) -> Iterator[str]:
    """Yield the FPIR on held-out people of thresholds that come from the other half."""
    num_people = int(people.max()) + 1
    rng = np.random.default_rng(0)
    found: dict[tuple[str, float], list[float]] = {}
    for _ in range(HALVINGS):
        is_fitted = np.isin(people, rng.permutation(num_people)[: num_people // 2])
        means = _means_of_people(published[is_fitted], people[is_fitted])
        faces = unit_length(published - means.mean(axis=0))
        shares = _non_mated(faces[is_fitted], people[is_fitted])
        held_out, owners = faces[~is_fitted], people[~is_fitted]
        for size in SIZES:
            rates = np.mean(
                [_rates(held_out, owners, shares, size, rng) for _ in range(GALLERIES)], axis=0
            )
            for fpir, rate in zip(RATES, rates, strict=True):
                found.setdefault((f"{size:,} people, one photo each", fpir), []).append(rate)
        rates = np.mean([_rates_of_photos(held_out, owners, shares, rng) for _ in range(5)], axis=0)
        for fpir, rate in zip(RATES, rates, strict=True):
            found.setdefault(("half of the people, all photos", fpir), []).append(rate)
    yield f"FPIR measured / asked for, {HALVINGS} halvings (range)"
    for (gallery, fpir), values in found.items():
        ratios = np.array(values) / fpir
        yield (
            f"{gallery:32} FPIR {fpir:<5g} {ratios.mean():5.2f} ({ratios.min():.2f} to "
            f"{ratios.max():.2f})"
        )


def _means_of_people(
    vectors: NDArray[np.float32], people: NDArray[np.int64]
) -> NDArray[np.float32]:
    _, numbers, counts = np.unique(people, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), vectors.shape[1]), np.float32)
    np.add.at(sums, numbers, vectors)
    return sums / counts[:, None].astype(np.float32)


def _non_mated(faces: NDArray[np.float32], people: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the similarities of all non-mated pairs, ascending."""
    first, second = np.triu_indices(len(faces), 1)
    similarities = (faces @ faces.T)[first, second]
    return np.sort(similarities[people[first] != people[second]])


def _threshold(similarities: NDArray[np.float32], fpir: float, num_faces: int) -> float:
    """Return the threshold at an FPIR by the formula of `indexer/model_rates.py`.

    Args:
        similarities: the similarities of non-mated pairs, ascending.
        fpir: share of searches for strangers that may return a match.
        num_faces: number of faces in the gallery.
    """
    share = -np.expm1(np.log1p(-fpir) / num_faces)
    return float(similarities[round((1 - share) * (len(similarities) - 1))])


def _one_photo_each(people: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose one photo of each person, in random order of people."""
    order = rng.permutation(len(people))
    return rng.permutation(order[np.unique(people[order], return_index=True)[1]])


def _rates(
    faces: NDArray[np.float32],
    people: NDArray[np.int64],
    similarities: NDArray[np.float32],
    size: int,
    rng: np.random.Generator,
) -> list[float]:
    photos = _one_photo_each(people, rng)
    nearest = (faces[photos[size:]] @ faces[photos[:size]].T).max(axis=1)
    return [float((nearest >= _threshold(similarities, fpir, size)).mean()) for fpir in RATES]


def _rates_of_photos(
    faces: NDArray[np.float32],
    people: NDArray[np.int64],
    similarities: NDArray[np.float32],
    rng: np.random.Generator,
) -> list[float]:
    """Search all photos of half of the people for one photo of each other person."""
    photos = _one_photo_each(people, rng)
    probes = photos[len(photos) // 2 :]
    gallery = np.flatnonzero(~np.isin(people, people[probes]))
    nearest = (faces[probes] @ faces[gallery].T).max(axis=1)
    size = len(gallery)
    return [float((nearest >= _threshold(similarities, fpir, size)).mean()) for fpir in RATES]


def joint_lines(faces: NDArray[np.float32], people: NDArray[np.int64]) -> Iterator[str]:
    """Yield the error rates of probes of several photos, with intervals over people.

    The people with six photos or more are the probes: half of them enrolled with one photo, among
    all people with fewer photos, and half strangers.
    """
    counts = np.bincount(people)
    enough = np.flatnonzero(counts > max(PROBE_PHOTOS))
    rng = np.random.default_rng(0)
    rows = [_joint_round(faces, people, enough, rng) for _ in range(ROUNDS)]
    columns = zip(*rows, strict=True)
    owners, is_mated, best, wrong = (np.concatenate(part, axis=-1) for part in columns)
    yield (
        f"{len(enough)} people with {max(PROBE_PHOTOS) + 1} photos or more, half of them enrolled; "
        f"{len(counts) - len(enough) + len(enough) // 2:,} people enrolled, one photo each; "
        f"{ROUNDS} rounds"
    )
    yield "photos  rank-1                   at the threshold of one photo for FPIR 0.01, 0.1"
    resamples = [np.bincount(rng.integers(0, len(enough), len(enough))) for _ in range(RESAMPLES)]
    person_weights = np.array([np.pad(one, (0, len(enough) - len(one))) for one in resamples])
    weights = person_weights[:, np.searchsorted(enough, owners)]
    for number, count in enumerate(PROBE_PHOTOS):
        right = best[number] > wrong[number]
        shown = [_with_interval(right, weights, is_mated)]
        for fpir in (0.01, 0.1):
            threshold = np.quantile(wrong[0], 1 - fpir)
            fpirs = _with_interval(wrong[number] >= threshold, weights, np.ones_like(is_mated))
            misses = _with_interval(best[number] < threshold, weights, is_mated)
            own = np.quantile(wrong[number], 1 - fpir)
            at_own = _with_interval(best[number] < own, weights, is_mated)
            shown.append(f"FPIR {fpirs}, FNIR {misses}; at its own {own:.3f} FNIR {at_own}")
        yield f"{count:6}  " + "   ".join(shown)


def _joint_round(
    faces: NDArray[np.float32],
    people: NDArray[np.int64],
    enough: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """Search once for each person of `enough` with 1, 2, 3 and 5 photos.

    Returns:
        (m,) people; (m,) bool: whether they are enrolled; (4, m) similarity to their enrolled photo
        and (4, m) highest similarity to another person's.
    """
    shuffled = rng.permutation(enough)
    mated = np.isin(enough, shuffled[: len(enough) // 2])
    photos = [rng.permutation(np.flatnonzero(people == person)) for person in enough]
    others = _one_photo_each(people, rng)
    others = others[~np.isin(people[others], enough)]
    enrolled = np.array([own[0] for own in photos])
    best, wrong = [], []
    for count in PROBE_PHOTOS:
        probes = unit_length(np.stack([faces[own[1 : 1 + count]].mean(axis=0) for own in photos]))
        among_mated = probes @ faces[enrolled[mated]].T
        own = enough[:, None] == enough[mated][None, :]
        best.append(np.where(own, among_mated, -1).max(axis=1))
        strangers = np.where(own, -1, among_mated).max(axis=1)
        wrong.append(np.maximum(strangers, (probes @ faces[others].T).max(axis=1)))
    return enough, mated, np.array(best), np.array(wrong)


def _with_interval(
    happened: NDArray[np.bool_], weights: NDArray[np.int64], counted: NDArray[np.bool_]
) -> str:
    """Show the share of counted searches where something happened, with its 95% interval."""
    happened, weights = happened[counted], weights[:, counted]
    drawn = (weights @ happened) / weights.sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{happened.mean():.4f} ({low:.4f} to {high:.4f})"


if __name__ == "__main__":
    main()
