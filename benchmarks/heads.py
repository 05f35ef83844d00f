"""Heads on frozen embeddings: identification of people unseen, with and without wrong labels.

    facetrove embed LFW_FOLDER lfw.dataset
    python -m benchmarks.heads DATASET [--part compare|noise|curve|generated]...

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
from facetrove.training.heads import STRENGTHS
from facetrove.training.identification import Identification, identify_people
from facetrove.training.label_support import label_support
from facetrove.training.splits import folds_by_person
from facetrove.training.strength import Head, Learn, choose_strength
from facetrove.training.whitening import learn_whitening

FOLDS, SPLITS = 5, 20
FPIR = 0.01
WRONG_SHARE = 0.4
"""Share of the labels that are wrong in the part `noise`."""

FIXED = 0.5
"""Strength of heads that is not chosen, as one would who does not measure on people held out."""

CURVE_PEOPLE = (200, 400, 800, None)
"""Numbers of people to learn from; None: all of the training folds."""

CURVE_STRENGTHS = (0.1, 0.3, 0.5, 0.7)

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


def fixed(
    learn: Learn, strength: float, faces: Faces, people: People, _seed: int, *, cleaned: bool
) -> Head:
    """Learn a head of a strength that is not chosen; from supported faces alone if `cleaned`."""
    if cleaned:
        kept = label_support(faces, people, seed=0).is_supported
        faces, people = faces[kept], people[kept]
    return learn(faces, people)(strength)


def chosen(learn: Learn, faces: Faces, people: People, seed: int) -> Head:
    """Learn a head as `facetrove train head` does."""
    support = label_support(faces, people, seed=seed)
    if not support.are_trusted:
        faces, people = faces[support.is_supported], people[support.is_supported]
    choice = choose_strength(learn, faces, people, STRENGTHS, seed=seed)
    print(f"    chosen: {choice.strength} (doubtful labels {support.doubtful_share:.1%})")
    return learn(faces, people)(choice.strength)


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


def row(name: str, found: Identification, base: Identification, bootstrap: Bootstrap) -> str:
    """Return a row of the table: rates, and their ratio or difference to those without a head."""
    fnir, before = found.fnir(FPIR, bootstrap), base.fnir(FPIR, bootstrap)
    mean, mean_before = found.mean_fnir(bootstrap), base.mean_fnir(bootstrap)
    first = found.rank_one(bootstrap) - base.rank_one(bootstrap)
    ratios = [
        (found.fnir(FPIR)[0] / base.fnir(FPIR)[0], fnir / before),
        (found.mean_fnir()[0] / base.mean_fnir()[0], mean / mean_before),
    ]
    cells = [f"{value:.3f} ({_interval(replicates, '.3f')})" for value, replicates in ratios]
    gain = found.rank_one()[0] - base.rank_one()[0]
    return (
        f"| {name} | {found.fnir(FPIR)[0]:.4f} | {' | '.join(cells)} | "
        f"{found.rank_one()[0]:.4f} | {gain:+.4f} ({_interval(first, '+.4f')}) |"
    )


def _interval(replicates: NDArray[np.floating], format_spec: str) -> str:
    low, high = np.quantile(replicates, [0.025, 0.975])
    return f"{low:{format_spec}} to {high:{format_spec}}"


def compare(faces: Faces, people: People) -> Iterator[tuple[str, Identification]]:
    """Yield the searches with each kind of head, labels right."""
    yield "whitening, chosen", searched(faces, people, partial(chosen, learn_whitening))
    name = f"whitening, {FIXED}"
    fit = partial(fixed, learn_whitening, FIXED, cleaned=False)
    yield name, searched(faces, people, fit)
    for layers in (1, 2):
        fit = partial(fixed, margin(layers), 1.0, cleaned=False)
        yield f"margin, layers {layers}, 1.0", searched(faces, people, fit)


def noise(faces: Faces, people: People) -> Iterator[tuple[str, Identification]]:
    """Yield the searches with each kind of head where a share of the labels is wrong."""
    search = partial(searched, faces, people, wrong=WRONG_SHARE)
    yield "wrong labels: whitening, chosen", search(partial(chosen, learn_whitening))
    for learn, name, strength in (
        (learn_whitening, "whitening", FIXED),
        (margin(1), "margin, layers 1", 1.0),
        (margin(2), "margin, layers 2", 1.0),
    ):
        for cleaned in (False, True):
            how = "from supported labels" if cleaned else "naive"
            fit = partial(fixed, learn, strength, cleaned=cleaned)
            yield f"wrong labels: {name}, {strength}, {how}", search(fit)


def curve(faces: Faces, people: People) -> Iterator[tuple[str, Identification]]:
    """Yield the searches with whitening that was learnt from some of the people."""
    for strength in CURVE_STRENGTHS:
        for count in CURVE_PEOPLE:
            fit = partial(fixed, learn_whitening, strength, cleaned=False)
            found = searched(faces, people, fit, num_people=count)
            number = count or round(len(np.unique(people)) * (FOLDS - 1) / FOLDS)
            yield f"whitening, {strength}, {number:,} people", found


def generated(rng: np.random.Generator) -> None:
    """Print the learning curve on generated faces."""
    tested = _generated_people(GENERATED_TESTED, rng)
    probes = draw_faces(default_model(), tested, rng)
    base = identify_people(probes, tested, splits=SPLITS, seed=0)
    bootstrap = Bootstrap.of(GENERATED_TESTED, seed=0)
    print(row("generated: no head", base, base, bootstrap))
    for count in GENERATED_PEOPLE:
        people = _generated_people(count, rng)
        of_strength = learn_whitening(draw_faces(default_model(), people, rng), people)
        for strength in CURVE_STRENGTHS:
            vectors = unit_length(of_strength(strength)(probes))
            found = identify_people(vectors, tested, splits=SPLITS, seed=0)
            name = f"generated: whitening, {strength}, {count:,} people"
            print(row(name, found, base, bootstrap), flush=True)


def _generated_people(count: int, rng: np.random.Generator) -> People:
    """Return the person of each face: a geometric number of faces for each of `count` people."""
    return np.repeat(np.arange(count), rng.geometric(1 / GENERATED_FACES, count))


PARTS = {"compare": compare, "noise": noise, "curve": curve}


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
    base = searched(faces, people, no_head)
    print(row("none", base, base, bootstrap), flush=True)
    for part in parts:
        began = time.process_time()
        if part == "generated":
            generated(np.random.default_rng(0))
            continue
        for name, found in PARTS[part](faces, people):
            seconds = time.process_time() - began
            print(row(name, found, base, bootstrap), f"<!-- {seconds:.0f} s -->", flush=True)
            began = time.process_time()


if __name__ == "__main__":
    main()
