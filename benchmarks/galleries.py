"""Galleries of generated faces that are as hard to search as real ones, of any size.

    python -m benchmarks.galleries estimate LFW_FOLDER [--dataset FOLDER]
    python -m benchmarks.galleries compare LFW_FOLDER [--dataset FOLDER] [--plot FILE.png]
    python -m benchmarks.galleries thresholds
    python -m benchmarks.galleries write DATASET COUNT

A person has an *identity*, a vector: the mean of all faces, a share of one of some hundred
directions that look-alikes have in common, and a part of their own. Each of their photos adds
*scatter*, small in a good photo and large in a poor one, and the sum is brought to unit length.
`FaceModel` holds the moments and quantiles of that, estimated on photos of Labeled Faces in the
Wild (`benchmarks/gallery_estimation.py`).

Faces stand in *blocks* of `BLOCK_FACES`, and everything in a block follows from the seed and the
block's number, so that a gallery is the beginning of a larger one and any stretch of it can be
made by itself. A person's faces all lie in one block, in random order among those of thousands of
others.
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
from faces.dataset.schema import PHOTO_SCHEMA, PhotoStatus, face_schema
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.registry import load_pipeline

STATISTICS_PATH = Path(__file__).with_name("gallery_statistics.npz")

DIMENSION = 128

BLOCK_FACES = 50_400
"""Divisible by 1 to 10, so that so many faces per person come out even."""

MAX_FACES_PER_PERSON = 1_000

SCALE_PROBABILITIES = (
    *(0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5),
    *(0.65, 0.8, 0.9, 0.97, 0.99, 0.997, 1.0),
)
"""Where `FaceModel.scale_quantiles` lie; linear between them."""

DECADES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Shares of non-mated pairs at which similarities are compared."""

MATED_PROBABILITIES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

NEAREST_PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

DEFAULT_FACES_PER_PERSON = 5.0

DEFAULT_SPREAD = 1.0

_COMPARED_FACES = 10_080

_STRANGER_SEED = 1 << 40
"""Added to a seed for probes whose people are not in the gallery."""


@dataclass(frozen=True)
class FaceModel:
    """What faces are drawn from, and what it was estimated on.

    Attributes:
        mean: (128,) of all identities.
        identity_root: (128, 128) float32, symmetric root of the covariance of identities.
        scatter_root: (128, 128) float32, the same of a person's faces about their identity.
        num_lookalikes: directions that people who look alike have in common.
        lookalike_share: of the variance of identities that lies between these directions.
        person_spread: standard deviation of the natural logarithm of a person's scatter.
        scale_quantiles: of the natural logarithm of a face's scatter, at `SCALE_PROBABILITIES`.
        survival_thresholds: (m,) similarities, ascending.
        survival_log10: (m,) of the share of generated non-mated pairs above them.
        survival_pairs: generated pairs that were counted for it.
        contract: of the embeddings it was estimated on, in words.
        real_mated: similarities of mated pairs of LFW at `MATED_PROBABILITIES`.
        real_decades: similarities that the share `DECADES` of its non-mated pairs exceeds.
        real_nearest: similarities to the nearest stranger at `NEAREST_PROBABILITIES`.
        real_faces_per_person: how many people of LFW have 0, 1, 2, ... photos there.
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
        """Read a file that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def save(self, path: Path = STATISTICS_PATH) -> None:
        """Write it."""
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})


@cache
def default_model() -> FaceModel:
    """The model that comes with the benchmarks."""
    return FaceModel.load()


def draw_faces(
    model: FaceModel, people: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw one face for every entry.

    Args:
        model: what to draw from.
        people: (n,) whose face it is, people numbered from 0.
        rng: source of chance.

    Returns:
        (n, 128) float32 of unit length.
    """
    num_people = int(people.max()) + 1
    share = float(model.lookalike_share)
    centres = _lookalike_centres(int(model.num_lookalikes))
    own = rng.standard_normal((num_people, DIMENSION), dtype=np.float32)
    own *= np.float32((1 - share) ** 0.5)
    own += np.float32(share**0.5) * centres[rng.integers(len(centres), size=num_people)]
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
def _lookalike_centres(count: int) -> NDArray[np.float32]:
    """(count, 128) vectors with exactly the moments of standard normal numbers.

    Drawn once for all galleries, which so are of one population; not estimated on anybody.
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
    """Faces number `first` to `first + count` of an endless gallery.

    The same seed, faces per person and spread give the same faces, whatever the batches.

    Args:
        count: how many.
        seed: another one gives other people of the same population.
        first: number of the first.
        faces_per_person: their mean, from 1 to 1,000.
        spread: standard deviation of the natural logarithm of the faces per person, which are
            log-normal; 0 for equally many, if they divide `BLOCK_FACES`.
        batch_size: faces in a batch; the last may have fewer.
        model: the default one if None.

    Yields:
        (m, 128) float32 embeddings of unit length, and (m,) int64 numbers of their people, who
        are numbered from 0 without gaps.
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
    """One block's embeddings and people."""
    rng = np.random.Generator(np.random.SFC64([seed, number]))
    counts = _faces_per_person(rng, *per_person)
    people = np.repeat(np.arange(len(counts)), counts)
    rng.shuffle(people)
    return draw_faces(model, people, rng), people + number * len(counts)


def _faces_per_person(rng: np.random.Generator, mean: float, spread: float) -> NDArray[np.int64]:
    """How many faces each person of a block has: log-normal, at least 1, `BLOCK_FACES` in all."""
    if not 1 <= mean <= MAX_FACES_PER_PERSON:
        raise ValueError(f"faces_per_person is {mean}; expected 1 to {MAX_FACES_PER_PERSON}")
    num_people = round(BLOCK_FACES / mean)
    sizes = np.exp(spread * rng.standard_normal(num_people))
    # Everyone has one face; the rest is dealt out by size, fractions by chance.
    sizes = np.minimum(sizes / sizes.mean() * mean, MAX_FACES_PER_PERSON)
    extra = np.maximum(sizes - 1, 0)
    extra *= (BLOCK_FACES - num_people) / max(extra.sum(), 1e-9)
    ends = np.floor(np.cumsum(extra) + rng.random()).astype(np.int64)
    counts = 1 + np.diff(ends, prepend=0)
    counts[0] += BLOCK_FACES - counts.sum()
    return counts


def threshold_for(num_faces: int, *, fpir: float = 0.01, model: FaceModel | None = None) -> float:
    """The threshold at which a search finds a stranger in a gallery with a given probability.

    Args:
        num_faces: in the gallery.
        fpir: share of searches for people who are not there that find somebody, at most 0.1:
            taken as `num_faces` times the share of non-mated pairs above the threshold.
        model: the default one if None.

    Returns:
        The similarity, linear in the logarithm of the share between the model's figures.

    Raises:
        ValueError: so few pairs lie above it that the model's figures do not reach there.
    """
    model = model or default_model()
    wanted = np.log10(fpir / num_faces)
    known = model.survival_log10
    if not known[-1] <= wanted <= known[0]:
        raise ValueError(
            f"a share of {10**wanted:.1e} is outside the {10.0 ** known[-1]:.1e} to "
            f"{10.0 ** known[0]:.1e} that were counted"
        )
    return float(np.interp(-wanted, -known, model.survival_thresholds))


def non_mated_survival(similarity: float, *, model: FaceModel | None = None) -> float:
    """Share of generated non-mated pairs above a similarity, within what was counted."""
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
    """Similarities of probes to faces of a gallery in which their people are not.

    Args:
        num_probes: of so many people.
        num_faces: of the gallery.
        seed: of the gallery; another one for the probes follows from it.
        first: as of `generate_faces`.
        model: the default one if None.

    Yields:
        (num_probes, m) float32, gallery faces in order.
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
"""Columns of a gallery dataset's photos: whose the first face is, one of 100 albums, the day."""

NEW_PHOTO_PROBABILITY = 0.7
"""That a face is the first of its photo: 1.4 faces a photo."""

NUM_ALBUMS = 100

FIRST_DAY, NUM_DAYS = np.datetime64("2005-01-01"), 7300

_WRITTEN_FACES = 48_000


def write_gallery_dataset(
    path: Path,
    count: int,
    *,
    faces_per_part: int = 150,
    first: int = 0,
    seed: int = 0,
    faces_per_person: float = DEFAULT_FACES_PER_PERSON,
    spread: float = DEFAULT_SPREAD,
) -> None:
    """Write generated faces into a new dataset of the default model, or add them to one.

    Faces stand in the order of `generate_faces`, one or two on most photos; `face_ids` tells
    which is which. Two runs whose faces do not overlap add up.

    Args:
        path: of the dataset.
        count: of faces.
        faces_per_part: 150 is what the embed job makes.
        first: number of the first face.
        seed, faces_per_person, spread: as of `generate_faces`.
    """
    contract = load_pipeline(threads=1).contract
    if contract.dimension != DIMENSION:
        raise ValueError(f"{contract} does not have the gallery's {DIMENSION} numbers")
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
            shard = _write_parts(writer, shard, (numbers, people, embeddings), faces_per_part, seed)
            first += len(people)
        writer.finish(None)


def face_ids(numbers: Sequence[int] | NDArray[np.int64], *, seed: int = 0) -> list[str]:
    """The face_id in a gallery dataset of faces by their place in `generate_faces`."""
    return [_digest("face", number, seed)[:32] for number in numbers]


def _digest(kind: str, number: int, seed: int) -> str:
    return hashlib.sha256(f"{kind}\0{number}\0{seed}".encode()).hexdigest()


def _write_parts(
    writer: DatasetWriter,
    shard: int,
    batch: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    faces_per_part: int,
    seed: int,
) -> int:
    """Write faces (numbers, people, embeddings) as parts; number of the shard after them."""
    numbers, people, embeddings = batch
    begins = _chance(numbers, seed, "photo") < NEW_PHOTO_PROBABILITY
    begins[::faces_per_part] = True  # a photo lies in one part
    firsts = np.flatnonzero(begins)
    num_faces = np.diff(firsts, append=len(numbers))
    photos = _photo_rows(numbers[firsts], people[firsts], num_faces, seed)
    faces = _face_rows(numbers, photos.take(np.cumsum(begins) - 1), embeddings, seed)
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
    """Photos, named after the number of their first face."""
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
        "person": [f"person-{person:06d}" for person in people.tolist()],
        "album": [f"album-{album:02d}" for album in albums.tolist()],
        "taken": pa.array(days.astype("datetime64[D]")),
    }
    return pa.table(columns, schema=pa.schema([*PHOTO_SCHEMA, *GALLERY_METADATA]))


def _face_rows(
    numbers: NDArray[np.int64], photos: pa.Table, embeddings: NDArray[np.float32], seed: int
) -> pa.Table:
    """Faces with the row of each one's photo."""
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


def _lists(values: NDArray[np.floating]) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _chance(numbers: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.float64]:
    """Uniform numbers from 0 to 1 that follow from a face's number alone (SplitMix64)."""
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
        subparser.add_argument("--dataset", type=Path, help="keep the dataset here, or use it")
    subparser.add_argument("--galleries", type=int, default=10, help="generated for comparison")
    subparser.add_argument("--plot", type=Path, help="picture of both histograms")
    subparser = commands.add_parser("thresholds")
    subparser.set_defaults(command=_thresholds)
    subparser.add_argument("--probes", type=int, default=3000)
    subparser.add_argument("--sizes", type=int, nargs="+", default=[10**5, 10**6, 10**7])
    subparser.add_argument("--save", action="store_true", help="into the statistics file")
    subparser = commands.add_parser("write")
    subparser.set_defaults(command=_write)
    subparser.add_argument("dataset", type=Path)
    subparser.add_argument("count", type=int)
    subparser.add_argument("--first", type=int, default=0)
    subparser.add_argument("--seed", type=int, default=0)
    subparser.add_argument("--faces-per-part", type=int, default=150)
    options = parser.parse_args()
    print_header()
    options.command(options)


def _estimate(options: argparse.Namespace) -> None:
    from benchmarks import gallery_estimation

    with _lfw_dataset(options) as dataset:
        faces, people = gallery_estimation.real_faces(dataset)
        gallery_estimation.estimate(faces, people, str(dataset.contract)).save()
    print(f"{STATISTICS_PATH} is made; `thresholds --save` adds the shares of strangers")


def _compare(options: argparse.Namespace) -> None:
    from benchmarks import gallery_estimation

    model = default_model()
    print(f"estimated with {model.contract}")
    with _lfw_dataset(options) as dataset:
        print(f"compared with  {dataset.contract}")
        faces, people = gallery_estimation.real_faces(dataset)
    print(f"{len(faces)} real faces of {people.max() + 1} people; ", end="")
    print(f"{options.galleries} generated galleries with as many of everyone\n")
    real = gallery_estimation.measure(faces, people)
    generated = list(gallery_estimation.galleries_like(model, people, options.galleries))
    print("\n".join(gallery_estimation.comparison_lines(real, generated)))
    if options.plot:
        picture = gallery_estimation.draw_histograms(real, sum(generated[1:], generated[0]))
        cv2.imwrite(str(options.plot), picture)


@contextmanager
def _lfw_dataset(options: argparse.Namespace) -> Iterator[Dataset]:
    """LFW's photos, embedded by the default models."""
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
    print(f"{int(model.survival_pairs):.1e} pairs of strangers in {seconds:.0f} s\n")
    print("faces in gallery   threshold for FPIR 0.01   99% of probes' nearest are under")
    for size, nearest in strangers.nearest.items():
        try:
            threshold = f"{threshold_for(size, model=model):.3f}"
        except ValueError:
            threshold = "too rare"
        print(f"{size:16,}{threshold:>26}{np.quantile(nearest, 0.99):33.3f}")
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
