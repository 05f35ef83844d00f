"""Heads on frozen embeddings: identification of people unseen, with and without wrong labels.

    facetrove embed LFW_FOLDER lfw.dataset
    python -m benchmarks.heads DATASET [--part compare|noise|curve|shares|generated]...

Five folds by person: each fold is searched with a head that was learnt from the other four, and
the searches of all folds are pooled; one face of each person is enrolled, and half of the people
are strangers. Ratios of FNIR to that without a head have an interval from a paired bootstrap over
people. Wrong labels are drawn at random: the labels of that share of the training faces are
exchanged with those of other faces; people who are searched for keep theirs.

The learning curve learns from some of the people alone. Its last part continues it on generated
faces (`benchmarks/galleries.py`), of which there are as many as one likes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.galleries import default_model, draw_faces
from benchmarks.gallery_estimation import real_faces
from benchmarks.measure import print_header
from faces.core.vectors import unit_length
from faces.dataset.store import Dataset
from facetrove.evaluation.metrics import Bootstrap
from facetrove.training.head_weights import HeadWeights
from facetrove.training.identification import Identification, identify_people
from facetrove.training.label_support import label_support
from facetrove.training.splits import folds_by_person
from facetrove.training.strength import Head, Learn, choose_strength
from facetrove.training.whitening import learn_whitening, scatter_within, whitening

FOLDS, SPLITS = 5, 10
FPIR = 0.01
WRONG_SHARE = 0.4
"""Share of the labels that are wrong in the part `noise`."""

CURVE_PEOPLE = (200, 400, 800, None)
"""Numbers of people to learn from; None: all of the training folds."""

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Shares of the covariance in the mixture that `PRIOR_FACES` was chosen from."""

GENERATED_PEOPLE = (400, 1743, 7_000, 28_000, 112_000)
GENERATED_FACES = 2.31
"""Mean number of faces of a generated person, as in LFW's development split."""

GENERATED_TESTED = 2_000
"""Number of generated people in each gallery that is searched."""

Faces = NDArray[np.float32]
People = NDArray[np.int64]
Fit = Callable[[Faces, People, int], Head]
"""A function from faces, people and seed to a head."""


def no_head(_faces: Faces, _people: People, _seed: int) -> Head:
    return lambda embeddings: embeddings


def full(learn: Learn, faces: Faces, people: People, _seed: int, *, cleaned: bool = False) -> Head:
    """Learn a head of full strength, which is not chosen; if `cleaned`, from supported faces."""
    if cleaned:
        kept = label_support(faces, people, seed=0).is_supported
        faces, people = faces[kept], people[kept]
    return learn(faces, people)(1.0)


def chosen(learn: Learn, faces: Faces, people: People, seed: int) -> Head:
    """Learn a head as `facetrove train head` does."""
    support = label_support(faces, people, seed=seed)
    trusted = support.trusted(None)
    choice = choose_strength(learn, faces, people, seed=seed, trusted=trusted)
    doubtful = f"{support.doubtful_share:.1%}"
    print(f"<!-- strength {choice.strength}, doubtful labels {doubtful} -->", flush=True)
    return learn(faces[trusted], people[trusted])(choice.strength)


def margin(layers: int) -> Learn:
    from facetrove.training.networks.margin_head import learn_margin

    return partial(learn_margin, layers=layers, threads=2)


def with_wrong(people: People, share: float, rng: np.random.Generator) -> People:
    """Exchange the labels of a share of the faces with those of other faces."""
    labels = people.copy()
    wrong = rng.permutation(len(people))[: round(share * len(people))]
    labels[wrong] = people[rng.permutation(len(people))[: len(wrong)]]
    return labels


def searched(
    faces: Faces, people: People, fit: Fit, *, wrong: float = 0.0, num_people: int | None = None
) -> Identification:
    """Search each fold with a head that was learnt from the others, and pool the searches."""
    folds = folds_by_person(people, np.zeros_like(people), FOLDS, seed=0)
    parts = []
    for fold in range(FOLDS):
        rng = np.random.default_rng(fold)
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if num_people is not None:
            drawn = rng.permutation(np.unique(people[inside]))[:num_people]
            inside = inside[np.isin(people[inside], drawn)]
        labels = with_wrong(people[inside], wrong, rng)
        head = fit(faces[inside], labels, fold)
        vectors = unit_length(head(faces[outside]))
        parts.append(identify_people(vectors, people[outside], splits=SPLITS, seed=0))
    return Identification.joined(parts)


@dataclass(frozen=True, eq=False)
class Rates:
    """FNIR, mean FNIR and rank-1, each with its bootstrap replicates."""

    fnir: tuple[float, NDArray[np.floating]]
    mean_fnir: tuple[float, NDArray[np.floating]]
    rank_one: tuple[float, NDArray[np.floating]]

    @classmethod
    def of(cls, found: Identification, bootstrap: Bootstrap) -> Rates:
        """Compute the rates of searches."""
        return cls(
            (float(found.fnir(FPIR)[0]), found.fnir(FPIR, bootstrap)),
            (float(found.mean_fnir()[0]), found.mean_fnir(bootstrap)),
            (float(found.rank_one()[0]), found.rank_one(bootstrap)),
        )


def row(name: str, found: Rates, base: Rates) -> str:
    """Return a row of the table: rates, and their ratio or difference to those without a head."""
    pairs = ((found.fnir, base.fnir), (found.mean_fnir, base.mean_fnir))
    cells = [f"{a / b:.3f} ({_interval(x / y, '.3f')})" for (a, x), (b, y) in pairs]
    gain, first = (a - b for a, b in zip(found.rank_one, base.rank_one, strict=True))
    return (
        f"| {name} | {found.fnir[0]:.4f} | {' | '.join(cells)} | {found.rank_one[0]:.4f} | "
        f"{gain:+.4f} ({_interval(first, '+.4f')}) |"
    )


def _interval(replicates: NDArray[np.floating], format_spec: str) -> str:
    low, high = np.quantile(replicates, [0.025, 0.975])
    return f"{low:{format_spec}} to {high:{format_spec}}"


def compare(faces: Faces, people: People) -> Iterator[tuple[str, Identification]]:
    """Yield the searches with each kind of head, labels right."""
    yield "whitening", searched(faces, people, partial(chosen, learn_whitening))
    for layers in (1, 2):
        name = f"margin, layers {layers}, full strength"
        yield name, searched(faces, people, partial(full, margin(layers)))


def shares(faces: Faces, people: People) -> Iterator[tuple[str, Identification]]:
    """Yield the searches with whitening by given shares of the covariance."""

    def fit(share: float, faces: Faces, people: People, _seed: int) -> Head:
        return HeadWeights(whitening(scatter_within(faces, people)[0], share))

    for share in SHARES:
        yield f"whitening, share {share}", searched(faces, people, partial(fit, share))


def noise(faces: Faces, people: People) -> Iterator[tuple[str, Identification]]:
    """Yield the searches with each kind of head where a share of the labels is wrong."""
    search = partial(searched, faces, people, wrong=WRONG_SHARE)
    yield "wrong labels: whitening", search(partial(chosen, learn_whitening))
    for learn, name in ((learn_whitening, "whitening"), (margin(1), "margin, layers 1")):
        for cleaned in (False, True):
            how = "from supported labels" if cleaned else "naive"
            fit = partial(full, learn, cleaned=cleaned)
            yield f"wrong labels: {name}, full strength, {how}", search(fit)


def curve(faces: Faces, people: People) -> Iterator[tuple[str, Identification]]:
    """Yield the searches with whitening that was learnt from some of the people."""
    for count in CURVE_PEOPLE:
        fit = partial(full, learn_whitening)
        found = searched(faces, people, fit, num_people=count)
        number = count or round(len(np.unique(people)) * (FOLDS - 1) / FOLDS)
        yield f"whitening, full strength, {number:,} people", found


def generated(rng: np.random.Generator) -> None:
    """Print the learning curve on generated faces."""
    tested = _generated_people(GENERATED_TESTED, rng)
    probes = draw_faces(default_model(), tested, rng)
    bootstrap = Bootstrap.of(GENERATED_TESTED, seed=0)
    base = Rates.of(identify_people(probes, tested, splits=SPLITS, seed=0), bootstrap)
    print(row("generated: none", base, base))
    for count in GENERATED_PEOPLE:
        people = _generated_people(count, rng)
        head = learn_whitening(draw_faces(default_model(), people, rng), people)(1.0)
        vectors = unit_length(head(probes))
        found = Rates.of(identify_people(vectors, tested, splits=SPLITS, seed=0), bootstrap)
        print(row(f"generated: whitening, {count:,} people", found, base), flush=True)


def _generated_people(count: int, rng: np.random.Generator) -> People:
    """Return the person of each face: a geometric number of faces for each of `count` people."""
    return np.repeat(np.arange(count), rng.geometric(1 / GENERATED_FACES, count))


PARTS = {"compare": compare, "noise": noise, "curve": curve, "shares": shares}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--part", action="append", choices=[*PARTS, "generated"])
    arguments = parser.parse_args(argv)
    parts = arguments.part or [*PARTS, "generated"]
    print_header()
    faces, people = real_faces(Dataset.open(arguments.dataset))
    people = people.astype(np.int64)
    several = (np.bincount(people) > 1).sum()
    print(f"{len(faces):,} faces of {people.max() + 1:,} people, {several:,} with several faces\n")
    bootstrap = Bootstrap.of(int(people.max()) + 1, seed=0)
    print("| head | FNIR at FPIR 0.01 | ratio | ratio of the mean FNIR | rank-1 | difference |")
    print("|---|---|---|---|---|---|")
    base = Rates.of(searched(faces, people, no_head), bootstrap)
    print(row("none", base, base), flush=True)
    for part in parts:
        began = time.process_time()
        if part == "generated":
            generated(np.random.default_rng(0))
            continue
        for name, found in PARTS[part](faces, people):
            seconds = time.process_time() - began
            line = row(name, Rates.of(found, bootstrap), base)
            print(line, f"<!-- {seconds:.0f} s of a processor -->", flush=True)
            began = time.process_time()


if __name__ == "__main__":
    main()
