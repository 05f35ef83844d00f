"""Embedders trained from nothing on few people, beside eigenfaces and the built-in embedder.

    facetrove embed LIST.csv lfw.dataset      # a photo list with the columns path and person
    python -m benchmarks.embedders lfw.dataset [--arms ARM...] [--work FOLDER] [--threads 1]

People are parted as `facetrove train embedder` parts them: a fifth is held out and searched, one
photo enrolled; a tenth of the others says when to stop, and chooses the peer's components. An arm
is `base` (the dataset's own embedder), `eigenfaces`, a number of people to learn from, `all` of
them, or a training where 40% of the labels of those learnt from and stopped by are wrong:
`wrong-naive`, `wrong-sub-centres` (three a person) and `wrong-doubted` (labels that the dataset's
own embeddings contradict are not learnt from). Ratios have an interval from a paired bootstrap over
people.

Every row is printed as soon as it is known. Its embeddings are kept in --work, where a training
that was killed goes on with the epoch it was in.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from beam_jobs.crops import cut_missing_crops
from benchmarks.heads import with_wrong
from benchmarks.measure import print_header
from faces.core.vectors import unit_length
from faces.dataset.store import Dataset
from faces.models.grey import grey_products
from facetrove.evaluation.metrics import Bootstrap
from facetrove.training.embedder_options import EmbedderOptions
from facetrove.training.faces import Take
from facetrove.training.identification import NUM_SPLITS, Identification, identify_people
from facetrove.training.label_support import label_support
from facetrove.training.labels import LabelledDataset, read_labelled
from facetrove.training.parts import Parts, training_key, with_crops

HELD_OUT, SEED = 0.2, 0
WRONG_SHARE = 0.4

NUM_COMPONENTS = (50, 75, 100, 125, 150, 200, 300)
"""Numbers of eigenfaces, of which the people that stop the trainings choose the best."""

PEER, NAIVE = "eigenfaces", "wrong-naive"
ARMS = ("base", PEER, "175", "350", "all", NAIVE, "wrong-sub-centres", "wrong-doubted")

Vectors = NDArray[np.float32]
People = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Material:
    """The faces of all arms.

    Attributes:
        faces: the labelled faces of people with several photos.
        take: returns crops.
        parts: who is learnt from, stops and is held out.
        work: where embeddings and checkpoints are kept.
        epochs: maximum number of epochs; None: the default.
    """

    faces: LabelledDataset
    take: Take
    parts: Parts
    work: Path
    epochs: int | None

    def searched(self, vectors: Vectors, positions: NDArray[np.int64]) -> Identification:
        """Search for the people at some positions, whose (n, d) embeddings are given."""
        people = self.faces.people[positions]
        return identify_people(unit_length(vectors), people, splits=NUM_SPLITS, seed=SEED)


def grey_pixels(take: Take, positions: NDArray[np.int64], *, even: bool) -> Vectors:
    """Return (n, 12544) grey crops of full size; if `even`, each of mean 0 and deviation 1."""
    rows, columns = grey_products(112)
    crops = take(positions)
    pixels = np.stack(
        [rows @ crop.reshape(112, 336).astype(np.float32) @ columns for crop in crops]
    )
    pixels = pixels.reshape(len(crops), -1)
    if even:
        pixels -= pixels.mean(axis=1, keepdims=True)
        pixels /= pixels.std(axis=1, keepdims=True)
    return np.asarray(pixels)


def eigenfaces(material: Material) -> tuple[Vectors, str]:
    """Return the eigenface embeddings of the people held out, and which were chosen.

    Turk, Pentland, "Eigenfaces for Recognition", 1991; also whitened, and by cosines.
    """
    tried = [choice for even in (False, True) for choice in _eigenfaces(material, even=even)]
    _, said, vectors = max(tried, key=lambda choice: choice[0])
    return vectors, said


def _eigenfaces(material: Material, *, even: bool) -> Iterator[tuple[float, str, Vectors]]:
    """Yield rank-1 of those who stop, name and embeddings of those held out, by the choice."""
    parts = material.parts
    learn, stop, held_out = (
        grey_pixels(material.take, some, even=even)
        for some in (parts.learn, parts.stop, parts.held_out)
    )
    mean = learn.mean(axis=0)
    learn -= mean
    products = learn @ learn.T  # of faces, which are fewer than pixels
    largest = len(learn) - max(NUM_COMPONENTS), len(learn) - 1
    values, vectors = eigh(products, subset_by_index=largest)
    values, vectors = values[::-1], vectors[:, ::-1]
    faces = learn.T @ vectors / np.sqrt(values)
    for whitened in (True, False):
        scale = np.sqrt(values / len(learn)) if whitened else np.ones(len(values))
        projection = (faces / scale).astype(np.float32)
        for count in NUM_COMPONENTS:
            found = material.searched((stop - mean) @ projection[:, :count], parts.stop)
            name = f"{count} components{', whitened' * whitened}{', even crops' * even}"
            yield (
                float(found.rank_one()[0]),
                name,
                np.asarray((held_out - mean) @ projection[:, :count]),
            )


def trained(material: Material, arm: str) -> tuple[Vectors, str]:
    """Train the network of an arm, and return its embeddings of the people held out."""
    from facetrove.training.networks.embedders import EmbedderFaces, embeddings, fit_embedder
    from facetrove.training.networks.loop import Checkpoint

    options = EmbedderOptions(sub_centres=3 if arm == "wrong-sub-centres" else 1)
    faces, parts = material.faces, material.parts
    learn, stop, labels = parts.learn, parts.stop, faces.people
    if arm.isdecimal():
        drawn = np.random.default_rng(SEED).permutation(np.unique(labels[learn]))[: int(arm)]
        learn = learn[np.isin(labels[learn], drawn)]
    elif arm.startswith("wrong"):
        labels = labels.copy()
        for part in (learn, stop):
            labels[part] = with_wrong(labels[part], WRONG_SHARE, np.random.default_rng(SEED))
    if arm == "wrong-doubted":
        known = parts.known
        vectors = faces.dataset.embeddings()[faces.rows[known]]
        trusted = known[label_support(vectors, labels[known], seed=SEED).trusted(None)]
        learn, stop = np.intersect1d(learn, trusted), np.intersect1d(stop, trusted)
    key = training_key(
        faces,
        Parts(learn, stop, parts.held_out),
        asdict(options) | {"arm": arm, "epochs": material.epochs},
    )
    network, history = fit_embedder(
        EmbedderFaces(material.take, labels, learn, stop),
        options,
        seed=SEED,
        epochs=material.epochs,
        checkpoint=Checkpoint(material.work / f"{arm}-{material.epochs}.checkpoint", key),
    )
    num_people = len(np.unique(labels[learn]))
    said = f"{len(learn):,} faces of {num_people:,} people, epoch {history.best} of "
    said += str(len(history.curve))
    said += "".join(f", {row['loss']:.2f}/{row['rank_one']:.3f}" for row in history.curve)
    return embeddings(network, material.take, parts.held_out), said


def answered(material: Material, arm: str) -> tuple[Vectors, str, float]:
    """Return an arm's embeddings of the people held out, what is to say, and processor seconds."""
    is_trained = arm not in ("base", PEER)
    path = material.work / (f"{arm}-{material.epochs}.npz" if is_trained else f"{arm}.npz")
    if not path.exists():
        began = time.process_time()
        if arm == "base":
            rows = material.faces.rows[material.parts.held_out]
            vectors, said = (
                material.faces.dataset.embeddings()[rows],
                material.faces.dataset.contract.embedder,
            )
        else:
            vectors, said = eigenfaces(material) if arm == PEER else trained(material, arm)
        np.savez(path, vectors=vectors, said=said, seconds=time.process_time() - began)
    with np.load(path) as stored:
        return stored["vectors"], str(stored["said"]), float(stored["seconds"])


def row(name: str, found: Identification, bases: Sequence[Identification | None]) -> str:
    """Return a row: rank-1, its ratio to that of each base, and FNIR at two FPIRs."""
    bootstrap = Bootstrap.of(int(found.first_people.max()) + 1, seed=SEED)
    cells = [f"{found.rank_one()[0]:.4f} ({_interval(found.rank_one(bootstrap))})"]
    for base in bases:
        if base is None:
            cells.append("")
            continue
        ratios = found.rank_one(bootstrap) / base.rank_one(bootstrap)
        ratio = float(found.rank_one()[0] / base.rank_one()[0])
        cells.append(f"{ratio:.2f} ({_interval(ratios, '.2f')})")
    for fpir in (0.1, 0.01):
        misses = _interval(found.fnir(fpir, bootstrap))
        cells.append(f"{found.fnir(fpir)[0]:.4f} ({misses})")
    return f"| {name} | {' | '.join(cells)} |"


def _interval(replicates: NDArray[np.floating], format_spec: str = ".4f") -> str:
    low, high = np.quantile(replicates, [0.025, 0.975])
    return f"{low:{format_spec}} to {high:{format_spec}}"


def read_material(asked: argparse.Namespace) -> Material:
    """Read the dataset's labelled faces, cut their crops, and part the people."""
    faces = read_labelled(
        Dataset.open(asked.dataset), label=None, people=asked.people, face=asked.face, min_class=2
    )
    crops = cut_missing_crops(faces.dataset, faces.table, workers=asked.threads)
    faces, crops, _ = with_crops(faces, crops)
    asked.work.mkdir(exist_ok=True)
    parts = Parts.of(faces, HELD_OUT, SEED)
    return Material(faces, crops.take, parts, asked.work, asked.epochs)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table of the arms that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--people", default="person")
    parser.add_argument("--face", default="central")
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--epochs", type=int, help="0: linear discriminants alone")
    parser.add_argument("--work", type=Path, default=Path("embedders-work"))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(argv)
    if unknown := [arm for arm in asked.arms if arm not in ARMS and not arm.isdecimal()]:
        parser.error(f"there is no arm {unknown[0]}; give some of {', '.join(ARMS)}, or a number")
    print_header()
    from facetrove.training.networks.keras_library import make_deterministic

    material = read_material(asked)
    held_out = material.parts.held_out
    people = len(np.unique(material.faces.people[held_out]))
    print(f"searched: {len(held_out):,} faces of {people:,} people\n")
    print("| arm | rank-1 | ratio to eigenfaces | ratio to naive | FNIR at FPIR 0.1 | at 0.01 |")
    print("|---|---|---|---|---|---|", flush=True)
    found: dict[str, Identification] = {}
    for arm in asked.arms:
        make_deterministic(SEED, threads=asked.threads)
        vectors, said, seconds = answered(material, arm)
        found[arm] = material.searched(vectors, held_out)
        naive = found.get(NAIVE) if arm.startswith("wrong") and arm != NAIVE else None
        line = row(arm, found[arm], [found.get(PEER) if arm != PEER else None, naive])
        print(f"{line} <!-- {said}, {seconds:.0f} s of a processor -->", flush=True)


if __name__ == "__main__":
    main()
