"""Galleries of any size with generated embeddings that are as hard to search as real ones.

    python -m benchmarks.galleries estimate LFW_FOLDER [--dataset FOLDER]
    python -m benchmarks.galleries compare LFW_FOLDER [--dataset FOLDER] [--plot FILE.png]
    python -m benchmarks.galleries thresholds
    python -m benchmarks.galleries write DATASET COUNT

Each person has an *identity* vector. It is the sum of the mean of all identities, one of some
hundred vectors that a group of look-alikes shares, and a random vector of the person. Each photo
adds *scatter*, a random vector that is small in a good photo and large in a poor one, and the sum
is scaled to unit length. `FaceModel` holds the moments and quantiles of these distributions,
estimated on Labeled Faces in the Wild (`benchmarks/gallery_estimation.py`).

Faces are generated in *blocks* of `BLOCK_FACES`. A block is determined by the seed and its number,
so every gallery is the beginning of any larger one, and any range of faces can be generated alone.
All faces of a person are in one block, in random order among those of thousands of other people.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measure import print_header
from faces.dataset.header import DatasetSettings
from faces.dataset.schema import ADDED_COLUMNS, PHOTO_SCHEMA, PhotoStatus, face_schema
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.registry import load_pipeline

STATISTICS_PATH = Path(__file__).with_name("gallery_statistics.npz")
"""File of the default `FaceModel`."""

DIMENSION = 128
"""Number of dimensions of the embeddings, as the default model has."""

BLOCK_FACES = 50_400
"""Number of faces in a block. It is divisible by 1 to 10, so that with `spread` 0 everyone can have
that many faces."""

MAX_FACES_PER_PERSON = 1_000
"""Maximum number of faces per person, and maximum of its mean."""

SCALE_PROBABILITIES = (
    *(0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5),
    *(0.65, 0.8, 0.9, 0.97, 0.99, 0.997, 1.0),
)
"""Probabilities of `FaceModel.scale_quantiles`, between which the quantiles are linear."""

DECADES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Shares of non-mated pairs at whose similarities real and generated faces are compared."""

MATED_PROBABILITIES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Probabilities at which quantiles of mated similarities are compared."""

NEAREST_PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Probabilities at which quantiles of similarities to the nearest stranger are compared."""

DEFAULT_FACES_PER_PERSON = 5.0
"""Default mean number of faces per person."""

DEFAULT_SPREAD = 1.0
"""Default standard deviation of the natural logarithm of the number of faces per person."""

_COMPARED_FACES = 10_080
"""Number of gallery faces that are compared with the probes at once."""

_STRANGER_SEED = 1 << 40
"""Offset added to a gallery's seed to generate probes whose people are not in the gallery."""


@dataclass(frozen=True)
class FaceModel:
    """The distribution that faces are drawn from, with figures of the faces it was estimated on.

    Attributes:
        mean: (128,) mean of the identities.
        identity_root: (128, 128) float32, symmetric root of the covariance of the identities.
        scatter_root: (128, 128) float32, symmetric root of the covariance of scatter.
        num_lookalikes: number of vectors that look-alikes share.
        lookalike_share: share of the variance of the identities that is between these vectors.
        person_spread: standard deviation between people of the natural logarithm of the size of
            scatter.
        scale_quantiles: quantiles of the natural logarithm of the size of a face's scatter, at
            `SCALE_PROBABILITIES`.
        survival_thresholds: (m,) similarities, ascending.
        survival_log10: (m,) log10 of the share of generated non-mated pairs above each of these.
        survival_pairs: number of generated pairs that were counted for these shares.
        contract: the model contract of the real embeddings, as text.
        real_mated: similarities of LFW's mated pairs at `MATED_PROBABILITIES`.
        real_decades: similarities that shares `DECADES` of LFW's non-mated pairs exceed.
        real_nearest: similarities of LFW's faces to their nearest stranger, at
            `NEAREST_PROBABILITIES`.
        real_faces_per_person: numbers of people of LFW with 0, 1, 2, ... faces.
    """

    mean: NDArray[np.float32]
    identity_root: NDArray[np.float32]
    scatter_root: NDArray[np.float32]
    num_lookalikes: NDArray[np.int64]
    lookalike_share: NDArray[np.float32]
    person_spread: NDArray[np.float32]
    scale_quantiles: NDArray[np.float32]
    survival_thresholds: NDArray[np.float32]
    survival_log10: NDArray[np.float32]
    survival_pairs: NDArray[np.int64]
    contract: NDArray[np.str_]
    real_mated: NDArray[np.float32]
    real_decades: NDArray[np.float32]
    real_nearest: NDArray[np.float32]
    real_faces_per_person: NDArray[np.int64]

    @classmethod
    def load(cls, path: Path = STATISTICS_PATH) -> FaceModel:
        """Read a model from a file that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def save(self, path: Path = STATISTICS_PATH) -> None:
        """Write the model to a file."""
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})


@cache
def default_model() -> FaceModel:
    """Return the model that comes with the benchmarks."""
    return FaceModel.load()


def draw_faces(
    model: FaceModel, people: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw one face for each entry of a list of people.

    Args:
        model: the distribution to draw from.
        people: (n,) number of each face's person, from 0.
        rng: random generator.

    Returns:
        (n, 128) float32 embeddings of unit length.
    """
    num_people = int(people.max()) + 1
    share = float(model.lookalike_share)
    lookalikes = _lookalike_vectors(int(model.num_lookalikes))
    own = rng.standard_normal((num_people, DIMENSION), dtype=np.float32)
    own *= np.float32((1 - share) ** 0.5)
    own += np.float32(share**0.5) * lookalikes[rng.integers(len(lookalikes), size=num_people)]
    identities = own @ model.identity_root + model.mean
    scales = np.interp(rng.random(len(people)), SCALE_PROBABILITIES, model.scale_quantiles)
    scales += (rng.standard_normal(num_people) * float(model.person_spread))[people]
    faces = rng.standard_normal((len(people), DIMENSION), dtype=np.float32)
    faces = faces @ model.scatter_root
    faces *= np.exp(scales).astype(np.float32)[:, None]
    faces += identities[people]
    faces /= np.sqrt(np.einsum("ij,ij->i", faces, faces))[:, None]
    return faces


@cache
def _lookalike_vectors(count: int) -> NDArray[np.float32]:
    """Draw (count, 128) vectors whose mean and covariance are exactly standard normal.

    They are the same for all galleries, whose people so belong to one population. They are random,
    and not estimated on anybody.
    """
    drawn = np.random.Generator(np.random.SFC64(count)).standard_normal((count, DIMENSION))
    drawn -= drawn.mean(axis=0)
    left, _, right = np.linalg.svd(drawn, full_matrices=False)
    return (left @ right * count**0.5).astype(np.float32)


def generate_faces(
    count: int,
    *,
    seed: int = 0,
    first: int = 0,
    faces_per_person: float = DEFAULT_FACES_PER_PERSON,
    spread: float = DEFAULT_SPREAD,
    batch_size: int = BLOCK_FACES,
    model: FaceModel | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Generate the faces number `first` to `first + count` of an endless gallery.

    The same seed, faces per person and spread give the same faces, whatever the batch size.

    Args:
        count: number of faces.
        seed: another seed gives other people of the same population.
        first: number of the first face, from 0.
        faces_per_person: mean number of faces per person, from 1 to 1,000.
        spread: standard deviation of the natural logarithm of the number of faces per person, which
            is log-normal. With 0, everyone has equally many if their number divides `BLOCK_FACES`.
        batch_size: number of faces in a batch; the last batch may have fewer.
        model: the distribution of faces; by default the one that comes with the benchmarks.

    Yields:
        (m, 128) float32 embeddings of unit length, and (m,) int64 number of each face's person;
        people are numbered from 0 without gaps.
    """
    model = model or default_model()
    held: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    num_held = 0
    for number in range(first // BLOCK_FACES, -(-(first + count) // BLOCK_FACES)):
        start = number * BLOCK_FACES
        faces, people = _block(model, number, seed, (faces_per_person, spread))
        wanted = slice(max(first - start, 0), min(first + count - start, BLOCK_FACES))
        held.append((faces[wanted], people[wanted]))
        num_held += len(held[-1][0])
        if num_held >= batch_size:
            faces, people = _joined(held)
            whole = num_held - num_held % batch_size
            for at in range(0, whole, batch_size):
                yield faces[at : at + batch_size], people[at : at + batch_size]
            held, num_held = [(faces[whole:], people[whole:])], num_held - whole
    if num_held:
        yield _joined(held)


def _joined(
    batches: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if len(batches) == 1:
        return batches[0]
    faces, people = zip(*batches, strict=True)
    return np.concatenate(faces), np.concatenate(people)


def _block(
    model: FaceModel, number: int, seed: int, per_person: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Generate the embeddings and people of one block."""
    rng = np.random.Generator(np.random.SFC64([seed, number]))
    counts = _faces_per_person(rng, *per_person)
    people = np.repeat(np.arange(len(counts)), counts)
    rng.shuffle(people)
    return draw_faces(model, people, rng), people + number * len(counts)


def _faces_per_person(rng: np.random.Generator, mean: float, spread: float) -> NDArray[np.int64]:
    """Draw the number of faces of each person in a block, 1 or more, `BLOCK_FACES` in all."""
    if not 1 <= mean <= MAX_FACES_PER_PERSON:
        raise ValueError(f"faces_per_person is {mean}; expected 1 to {MAX_FACES_PER_PERSON}")
    num_people = round(BLOCK_FACES / mean)
    sizes = np.exp(spread * rng.standard_normal(num_people))
    # Everyone gets one face. The other faces are shared out in proportion, rounded at random.
    sizes = np.minimum(sizes / sizes.mean() * mean, MAX_FACES_PER_PERSON)
    extra = np.maximum(sizes - 1, 0)
    extra *= (BLOCK_FACES - num_people) / max(extra.sum(), 1e-9)
    ends = np.floor(np.cumsum(extra) + rng.random()).astype(np.int64)
    counts = 1 + np.diff(ends, prepend=0)
    counts[0] += BLOCK_FACES - counts.sum()
    return counts


def threshold_for(num_faces: int, *, fpir: float = 0.01, model: FaceModel | None = None) -> float:
    """Compute the threshold of a generated gallery at an FPIR.

    Args:
        num_faces: number of faces in the gallery.
        fpir: share of the searches for people who are not in the gallery that return somebody, at
            most 0.1. It is taken as `num_faces` times the share of non-mated pairs above the
            threshold.
        model: the distribution of faces; by default the one that comes with the benchmarks.

    Returns:
        The similarity, interpolated linearly in the logarithm of the share.

    Raises:
        ValueError: the share of pairs is outside the range that the model has figures for.
    """
    model = model or default_model()
    wanted = np.log10(fpir / num_faces)
    counted = model.survival_log10
    if not counted[-1] <= wanted <= counted[0]:
        raise ValueError(
            f"FPIR {fpir:g} in a gallery of {num_faces} faces takes a share of {10**wanted:.1e} of "
            f"non-mated pairs, outside the range from {10.0 ** counted[-1]:.1e} to "
            f"{10.0 ** counted[0]:.1e} that was counted"
        )
    return float(np.interp(-wanted, -counted, model.survival_thresholds))


def non_mated_survival(similarity: float, *, model: FaceModel | None = None) -> float:
    """Return the share of generated non-mated pairs above a similarity, as it was counted."""
    model = model or default_model()
    return float(10 ** np.interp(similarity, model.survival_thresholds, model.survival_log10))


def stranger_batches(
    num_probes: int,
    num_faces: int,
    *,
    seed: int = 0,
    first: int = 0,
    model: FaceModel | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Compare non-mated probes with the faces of a gallery, batch by batch.

    Args:
        num_probes: number of probes, each of another person, none of whom is in the gallery.
        num_faces: number of gallery faces to compare with.
        seed: seed of the gallery, from which that of the probes follows.
        first: number of the first gallery face, from 0.
        model: the distribution of faces; by default the one that comes with the benchmarks.

    Yields:
        (num_probes, m) float32 similarities to the next m gallery faces.
    """
    ((probes, _),) = generate_faces(
        num_probes,
        seed=seed + _STRANGER_SEED,
        faces_per_person=1,
        batch_size=num_probes,
        model=model,
    )
    for faces, _ in generate_faces(
        num_faces, seed=seed, first=first, batch_size=_COMPARED_FACES, model=model
    ):
        yield probes @ faces.T


GALLERY_METADATA = pa.schema(
    [("person", pa.string()), ("album", pa.string()), ("taken", pa.date32())]
)
"""Metadata columns of a gallery dataset's photos: the person of the photo's first face, one of 100
albums, and the day."""

NEW_PHOTO_PROBABILITY = 0.7
"""Probability that a face is the first of its photo, which makes 1.4 faces per photo."""

NUM_ALBUMS = 100
"""Number of different albums."""

FIRST_DAY, NUM_DAYS = np.datetime64("2005-01-01"), 7300
"""First day, and number of days, on which photos are taken."""

EQUAL_QUALITY = {"score": 0.93, "face_size": 100.0, "embedding_norm": 1.0}
"""The quality of all faces of a dataset with equal quality: LFW's; the norm says nothing."""

_WRITTEN_FACES = 48_000
"""Number of faces that are generated at once while a dataset is written."""


def write_gallery_dataset(
    path: Path,
    count: int,
    *,
    faces_per_part: int = 150,
    first: int = 0,
    seed: int = 0,
    faces_per_person: float = DEFAULT_FACES_PER_PERSON,
    spread: float = DEFAULT_SPREAD,
    equal_quality: bool = False,
) -> None:
    """Write generated faces into a dataset with the contract of the default models.

    The dataset is new, or faces are added to it. Faces are in the order of `generate_faces`, one or
    two on most photos; `face_ids` returns their ids.

    Args:
        path: the dataset's folder.
        count: number of faces.
        faces_per_part: number of faces in a part; the embed job's parts have about 150.
        first: number of the first face, from 0.
        seed, faces_per_person, spread: see `generate_faces`.
        equal_quality: whether all faces have the same score, size and norm of the embedding. These
            are random otherwise, and have nothing to do with the embeddings.
    """
    contract = load_pipeline(threads=1).contract
    if contract.dimension != DIMENSION:
        raise ValueError(
            f"the default models have embeddings of dimension {contract.dimension}, expected "
            f"{DIMENSION}, the dimension of generated embeddings"
        )
    batches = generate_faces(
        count,
        seed=seed,
        first=first,
        faces_per_person=faces_per_person,
        spread=spread,
        batch_size=max(_WRITTEN_FACES // faces_per_part, 1) * faces_per_part,
    )
    with DatasetWriter.open(path, DatasetSettings(contract, metadata=GALLERY_METADATA)) as writer:
        shard = 0
        for embeddings, people in batches:
            numbers = np.arange(first, first + len(people))
            batch = numbers, people, embeddings
            shard = _write_parts(
                writer, shard, batch, faces_per_part, seed, equal_quality=equal_quality
            )
            first += len(people)
        writer.finish(None)


def face_ids(numbers: Sequence[int] | NDArray[np.int64], *, seed: int = 0) -> list[str]:
    """Return the face_ids, in a gallery dataset, of faces by their numbers in `generate_faces`."""
    return [_digest("face", number, seed)[:32] for number in numbers]


def _digest(kind: str, number: int, seed: int) -> str:
    return hashlib.sha256(f"{kind}\0{number}\0{seed}".encode()).hexdigest()


def _write_parts(
    writer: DatasetWriter,
    shard: int,
    batch: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    faces_per_part: int,
    seed: int,
    *,
    equal_quality: bool,
) -> int:
    """Write faces (their numbers, people and embeddings) as parts.

    Returns:
        The number of the next shard.
    """
    numbers, people, embeddings = batch
    begins = _chance(numbers, seed, "photo") < NEW_PHOTO_PROBABILITY
    begins[::faces_per_part] = True  # all faces of a photo are in one part
    firsts = np.flatnonzero(begins)
    num_faces = np.diff(firsts, append=len(numbers))
    photos = _photo_rows(numbers[firsts], people[firsts], num_faces, seed)
    faces = _face_rows(numbers, photos.take(np.cumsum(begins) - 1), embeddings, seed)
    if equal_quality:
        for name, value in EQUAL_QUALITY.items():
            place = faces.schema.get_field_index(name)
            values = pa.repeat(pa.scalar(value, pa.float32()), len(faces))
            faces = faces.set_column(place, faces.schema.field(name), values)
    for start in range(0, len(numbers), faces_per_part):
        rows = np.searchsorted(firsts, (start, start + faces_per_part))
        writer.write_part(
            writer.part_name(shard),
            photos.slice(rows[0], rows[1] - rows[0]),
            faces.slice(start, faces_per_part),
            {},
        )
        shard += 1
    return shard


def _photo_rows(
    numbers: NDArray[np.int64],
    people: NDArray[np.int64],
    num_faces: NDArray[np.int64],
    seed: int,
) -> pa.Table:
    """Make the rows of photos, which are named after the number of their first face."""
    days = FIRST_DAY + (_chance(numbers, seed, "day") * NUM_DAYS).astype(np.int64)
    months = np.datetime_as_string(days, unit="M")
    upright = _chance(numbers, seed, "upright") < 0.4
    albums = (_chance(numbers, seed, "album") * NUM_ALBUMS).astype(np.int64)
    columns = {
        "uri": [
            f"/archive/{month[:4]}/{month[5:]}/photo-{number:08d}.jpg"
            for month, number in zip(months, numbers.tolist(), strict=True)
        ],
        "num_bytes": 1_500_000 + (_chance(numbers, seed, "bytes") * 4e6).astype(np.int64),
        "mtime_ns": days.astype("datetime64[ns]").astype(np.int64),
        "photo_id": [_digest("photo", number, seed) for number in numbers.tolist()],
        "width": np.where(upright, 3000, 4000).astype(np.int32),
        "height": np.where(upright, 4000, 3000).astype(np.int32),
        "num_faces": num_faces.astype(np.int32),
        "status": pa.repeat(pa.scalar(PhotoStatus.EMBEDDED.value), len(numbers)),
        "reason": pa.nulls(len(numbers), pa.string()),
        "is_copy": np.zeros(len(numbers), dtype=bool),
        **{name: pa.nulls(len(numbers), PHOTO_SCHEMA.field(name).type) for name in ADDED_COLUMNS},
        "person": [f"person-{person:06d}" for person in people.tolist()],
        "album": [f"album-{album:02d}" for album in albums.tolist()],
        "taken": pa.array(days.astype("datetime64[D]")),
    }
    return pa.table(columns, schema=pa.schema([*PHOTO_SCHEMA, *GALLERY_METADATA]))


def _face_rows(
    numbers: NDArray[np.int64], photos: pa.Table, embeddings: NDArray[np.float32], seed: int
) -> pa.Table:
    """Make the rows of faces, given each face's row of `photos`."""
    size = 60 + 400 * _chance(numbers, seed, "size") ** 3
    left = _chance(numbers, seed, "left") * (photos["width"].to_numpy() - size)
    top = _chance(numbers, seed, "top") * (photos["height"].to_numpy() - 1.3 * size)
    box = np.stack([left, top, size, 1.3 * size], axis=1)
    landmarks = box[:, None, :2] + _LANDMARKS * size[:, None, None]
    columns = {
        "face_id": face_ids(numbers.tolist(), seed=seed),
        "photo_id": photos["photo_id"],
        "uri": photos["uri"],
        "box": _lists(box),
        "landmarks": _lists(landmarks.reshape(-1, 10)),
        "score": 0.7 + 0.25 * _chance(numbers, seed, "score"),
        "face_size": size,
        "sharpness": 0.02 + 0.3 * _chance(numbers, seed, "sharpness"),
        "brightness": 0.2 + 0.6 * _chance(numbers, seed, "brightness"),
        "yaw": 60 * _chance(numbers, seed, "yaw") - 30,
        "pitch": 20 * _chance(numbers, seed, "pitch") - 10,
        "roll": 10 * _chance(numbers, seed, "roll") - 5,
        "embedding_norm": 6 + 6 * _chance(numbers, seed, "embedding_norm"),
        "embedding": _lists(embeddings),
    }
    schema = face_schema(DIMENSION)
    arrays = {
        name: values.astype(np.float32) if isinstance(values, np.ndarray) else values
        for name, values in columns.items()
    }
    return pa.table(arrays, schema=schema)


_LANDMARKS = np.array([(0.3, 0.5), (0.7, 0.5), (0.5, 0.75), (0.33, 0.95), (0.67, 0.95)])
"""Positions of the landmarks, relative to the box's corner, in widths of the box."""


def _lists(values: NDArray[np.floating]) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _chance(numbers: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.float64]:
    """Return uniform random numbers in [0, 1) that depend on a face's number only (SplitMix64)."""
    salt = int.from_bytes(hashlib.sha256(f"{purpose}\0{seed}".encode()).digest()[:8], "little")
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, command in (("estimate", _estimate), ("compare", _compare)):
        subparser = commands.add_parser(name)
        subparser.set_defaults(command=command)
        subparser.add_argument("photos", type=Path, help="LFW's photos/<Name>/<Name>_NNNN.jpg")
        subparser.add_argument("--dataset", type=Path, help="folder of LFW's dataset, made if new")
    subparser.add_argument("--galleries", type=int, default=10, help="number of generated ones")
    subparser.add_argument("--plot", type=Path, help="PNG file for the histograms")
    subparser = commands.add_parser("thresholds")
    subparser.set_defaults(command=_thresholds)
    subparser.add_argument("--probes", type=int, default=3000, help="number of non-mated probes")
    subparser.add_argument(
        "--sizes", type=int, nargs="+", default=[10**5, 10**6, 10**7], help="faces per gallery"
    )
    subparser.add_argument("--save", action="store_true", help="write to the statistics file")
    subparser = commands.add_parser("write")
    subparser.set_defaults(command=_write)
    subparser.add_argument("dataset", type=Path, help="folder of the dataset, new or to add to")
    subparser.add_argument("count", type=int, help="number of faces")
    subparser.add_argument("--first", type=int, default=0, help="number of the first face")
    subparser.add_argument("--seed", type=int, default=0, help="seed of the gallery")
    subparser.add_argument("--faces-per-part", type=int, default=150, help="faces in a part")
    options = parser.parse_args()
    print_header()
    options.command(options)


def _estimate(options: argparse.Namespace) -> None:
    from benchmarks import gallery_estimation

    with _lfw_dataset(options) as dataset:
        faces, people = gallery_estimation.real_faces(dataset)
        gallery_estimation.estimate(faces, people, str(dataset.contract)).save()
    print(f"wrote {STATISTICS_PATH}; run `thresholds --save` to add the non-mated similarities")


def _compare(options: argparse.Namespace) -> None:
    from benchmarks import gallery_estimation

    model = default_model()
    print(f"estimated with {model.contract}")
    with _lfw_dataset(options) as dataset:
        print(f"compared with  {dataset.contract}")
        faces, people = gallery_estimation.real_faces(dataset)
    print(f"{len(faces)} real faces of {people.max() + 1} people; ", end="")
    print(f"{options.galleries} generated galleries with as many faces of each person\n")
    real = gallery_estimation.measure(faces, people)
    generated = list(gallery_estimation.galleries_like(model, people, options.galleries))
    print("\n".join(gallery_estimation.comparison_lines(real, generated)))
    if options.plot:
        picture = gallery_estimation.draw_histograms(real, sum(generated[1:], generated[0]))
        cv2.imwrite(str(options.plot), picture)


@contextmanager
def _lfw_dataset(options: argparse.Namespace) -> Iterator[Dataset]:
    """Embed LFW's photos with the default models, unless the dataset exists."""
    from beam_jobs.embed_photos import embed_photos

    with tempfile.TemporaryDirectory() as scratch:
        path = options.dataset or Path(scratch) / "lfw.dataset"
        embed_photos(options.photos, path)
        yield Dataset.open(path)


def _thresholds(options: argparse.Namespace) -> None:
    from benchmarks import gallery_estimation

    model = default_model()
    start = time.perf_counter()
    strangers = gallery_estimation.count_strangers(
        model, num_probes=options.probes, gallery_sizes=options.sizes
    )
    model = gallery_estimation.with_survival(model, strangers.histogram)
    seconds = time.perf_counter() - start
    print(f"{int(model.survival_pairs):.1e} non-mated pairs in {seconds:.0f} s\n")
    print("faces in gallery   FPIR 0.01 by all pairs   FPIR 0.01 by each probe's nearest face")
    for size, nearest in strangers.nearest.items():
        try:
            threshold = f"{threshold_for(size, model=model):.3f}"
        except ValueError:
            threshold = "too few pairs"
        print(f"{size:16,}{threshold:>25}{np.quantile(nearest, 0.99):41.3f}")
    if options.save:
        model.save()


def _write(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    write_gallery_dataset(
        options.dataset,
        options.count,
        faces_per_part=options.faces_per_part,
        first=options.first,
        seed=options.seed,
    )
    seconds = time.perf_counter() - start
    print(f"{options.count} faces in {seconds:.1f} s, {options.count / seconds:.0f} faces/s")


if __name__ == "__main__":
    main()
