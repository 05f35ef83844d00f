"""Grouping faces by person: facetrove's groups beside other methods on the same graph.

    python -m benchmarks.people_groups generated 100000 --faces-per-person 10
    python -m benchmarks.people_groups labelled lfw.index --people folder --face central
    python -m benchmarks.people_groups precision 100000 --faces-per-person 10
    python -m benchmarks.people_groups write FOLDER 1000000 --new 10000
    python -m benchmarks.people_groups index FOLDER
    python -m benchmarks.people_groups new FOLDER

The other methods (`benchmarks/group_peers.py`) get the setting that suits them best for these very
labels, which nobody knows beforehand; facetrove has its defaults.

`write` makes a generated gallery as an index in a folder, and a second version with new faces
beside it; `index` groups the first as `indexer.face_groups.group_index` does, with the time of each
step and the memory, and keeps the groups; `new` has the new faces join these.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.galleries import face_ids, generate_faces, write_gallery_dataset
from benchmarks.group_peers import Graph, Groups, peers
from benchmarks.measure import print_header
from faces.core.progress import Progress
from faces.models.registry import load_pipeline
from facetrove.evaluation.labels import FaceChoice, labelled_faces
from facetrove.evaluation.people import agreement_of
from indexer.build import build_index
from indexer.face_groups import IndexFaces, group_index, group_new_faces
from indexer.group_decisions import DecidedFaces, Decisions
from indexer.group_rules import Constraints
from indexer.grouping import group_faces
from indexer.inverted_lists import InvertedLists
from indexer.knn import PAIRS_RECALL, PROBES_AT_ONCE
from indexer.model_variances import (
    FaceQualities,
    means_by_quality,
    min_gain,
    min_similarity,
    scatter_ratios,
    variances_of,
)
from indexer.options import Recipe
from indexer.recipes import add, train
from indexer.snapshot import Snapshot

PRECISION = 0.99
"""The precision that facetrove promises by default."""

PRECISIONS = (0.99, 0.999)
"""Precisions whose promise is measured."""

K = 50
"""Neighbours of each face in the graph."""

PEOPLE_FILE, COUNT_FILE, GROUPS_FILE = "people.npy", "count.npy", "groups.parquet"
"""Files that `write` and `index` write: number of each face's person, number of faces without the
new ones, and the groups."""


def generated(count: int, faces_per_person: float, seed: int) -> Graph:
    """Return a generated gallery with its graph."""
    batches = list(generate_faces(count, seed=seed, faces_per_person=faces_per_person))
    vectors = np.concatenate([faces for faces, _ in batches])
    began, cpu = time.perf_counter(), time.process_time()
    contract = load_pipeline(threads=1).contract
    smallest = min_similarity(contract, count)
    codes = train(Recipe(f"IVF{1 << int(np.log2(4 * count**0.5))},SQ8"), vectors, device="cpu")
    for _ in add(codes, vectors):
        pass
    lists = InvertedLists(vectors, codes, None)
    nprobe = lists.lists_to_probe(K, target_recall=PAIRS_RECALL, threshold=smallest, either=True)
    keys, similarities = [], []
    for start in range(0, count, PROBES_AT_ONCE):
        probes = vectors[start : start + PROBES_AT_ONCE]
        near = lists.above(probes, K + 1, nprobe=nprobe, min_similarity=smallest)
        assert near is not None
        here, rows = near.probes.astype(np.int64) + start, near.rows
        others = here != rows
        keys.append((np.minimum(here, rows) * count + np.maximum(here, rows))[others])
        similarities.append(near.similarities[others])
    each, first = np.unique(np.concatenate(keys), return_index=True)
    pairs = np.stack(np.divmod(each, count), axis=1)
    print(
        f"graph of {len(pairs):,} pairs from {smallest:.3f}, {nprobe} of {lists.nlist} lists "
        f"probed, with training: {time.perf_counter() - began:.0f} s, "
        f"{time.process_time() - cpu:.0f} s CPU"
    )
    ratios = scatter_ratios(contract, usual_faces(count))
    variances = variances_of(contract, ratios, means_by_quality(ratios, vectors))
    people = np.concatenate([people for _, people in batches])
    least = min_gain(contract, PRECISION, num_faces=count)
    return Graph(vectors, pairs, np.concatenate(similarities)[first], people, variances, least)


def usual_faces(count: int) -> FaceQualities:
    """Return what is known of how good generated faces are: nothing."""
    nothing = np.full(count, np.nan)
    return FaceQualities(nothing, nothing, nothing)


def promised(count: int, faces_per_person: float, seeds: int) -> None:
    """Tell the precision and recall of generated galleries beside the promised precision."""
    contract = load_pipeline(threads=1).contract
    for seed in range(seeds):
        graph = generated(count, faces_per_person, seed)
        for precision in PRECISIONS:
            smallest = min_gain(contract, precision, num_faces=count)
            groups = group_faces(graph.vectors, graph.pairs, graph.variances, min_gain=smallest)
            found = agreement_of(groups, graph.people)
            print(
                f"seed {seed}, promised {precision}: pairwise precision "
                f"{found.pairwise_precision:.5f}, recall {found.pairwise_recall:.4f}; BCubed "
                f"precision {found.bcubed_precision:.5f}, recall {found.bcubed_recall:.4f}",
                flush=True,
            )


def labelled(index: Path, people: str | None, face: FaceChoice) -> Graph:
    """Return the faces of an index with their graph and labels."""
    version = Snapshot.open(index, "cpu")
    known = labelled_faces(index, version, people=people, face=face)
    faces = IndexFaces.of(version, PRECISION)
    every = np.arange(len(faces.live))
    similar = faces.similar()
    of_face = np.full(len(known.table), -1)
    of_face[known.index_rows] = known.people
    constraints = DecidedFaces(Decisions(), faces.face_ids, faces.photo_ids).constraints
    return Graph(
        version.embeddings(faces.live),
        similar.pairs,
        similar.similarities,
        of_face[faces.live],
        faces.variances(every),
        faces.min_gain,
        constraints.photos,
    )


def ours(graph: Graph) -> Groups:
    """Group by default settings."""
    constraints = Constraints(photos=graph.photos)
    return group_faces(
        graph.vectors,
        graph.pairs,
        graph.variances,
        min_gain=graph.min_gain,
        constraints=constraints,
    )


def write(folder: Path, count: int, num_new: int, faces_per_person: float) -> None:
    """Write a generated gallery, and one with new faces, as indexes, and who the faces are."""
    folder.mkdir()
    people = np.concatenate(
        [people for _, people in generate_faces(count + num_new, faces_per_person=faces_per_person)]
    )
    np.save(folder / PEOPLE_FILE, people)
    np.save(folder / COUNT_FILE, np.array(count))
    dataset, index = folder / "faces.dataset", folder / "faces.index"
    for first, last in ((0, count), (count, count + num_new)):
        began, cpu = time.perf_counter(), time.process_time()
        write_gallery_dataset(
            dataset,
            last - first,
            first=first,
            faces_per_part=5_000,
            faces_per_person=faces_per_person,
            equal_quality=True,
        )
        build_index(dataset, index)
        if first == 0:
            shutil.copytree(index, folder / "before.index")
        print(
            f"{last:,} faces written and indexed: {time.perf_counter() - began:.0f} s, "
            f"{time.process_time() - cpu:.0f} s CPU",
            flush=True,
        )


def grouping(folder: Path, precision: float, *, only_new: bool) -> None:
    """Group a gallery that `write` wrote, or its new faces, and tell time, memory and figures."""
    began, cpu = time.perf_counter(), time.process_time()

    def tell(what: str) -> None:
        print(
            f"{what:40}{time.perf_counter() - began:8.1f} s {time.process_time() - cpu:8.1f} s CPU "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:6.2f} GB",
            flush=True,
        )

    def on_progress(progress: Progress) -> None:
        tell(f"before {progress.step}")

    index = folder / ("faces.index" if only_new else "before.index")
    if only_new:
        previous = pq.read_table(folder / GROUPS_FILE)
        groups = group_new_faces(index, previous, precision=precision, on_progress=on_progress)
    else:
        groups = group_index(index, precision=precision, on_progress=on_progress)
    tell("done")
    if not only_new:
        pq.write_table(groups, folder / GROUPS_FILE)
    people = np.load(folder / PEOPLE_FILE)
    known = pa.array(face_ids(np.arange(len(people))))
    numbers = pc.index_in(groups["face_id"].combine_chunks(), value_set=known).to_numpy()
    found = agreement_of(groups["group"].to_numpy(), people[numbers])
    print(f"BCubed {found.bcubed_precision:.4f} {found.bcubed_recall:.4f} F {found.bcubed_f:.4f}")
    print(
        f"pairwise {found.pairwise_precision:.4f} {found.pairwise_recall:.4f} "
        f"F {found.pairwise_f:.4f}"
    )
    if only_new:
        same = previous.join(groups, "face_id", right_suffix="_after")
        moved = pc.sum(pc.not_equal(same["group"], same["group_after"])).as_py()
        print(f"{moved:,} faces that were grouped before are in another group")
        new = numbers >= int(np.load(folder / COUNT_FILE))
        counts = np.unique(groups["group"].to_numpy(), return_inverse=True, return_counts=True)
        alone = counts[2][counts[1]][new] == 1
        print(f"{new.sum():,} new faces, of which {alone.sum():,} are alone")


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    subparser = commands.add_parser("generated")
    subparser.add_argument("count", type=int, help="number of faces")
    subparser.add_argument("--faces-per-person", type=float, default=10)
    subparser.add_argument("--seed", type=int, default=0)
    subparser = commands.add_parser("labelled")
    subparser.add_argument("index", type=Path, help="index of labelled photos")
    subparser.add_argument("--people", help="column of labels, or folder")
    subparser.add_argument("--face", choices=["largest", "central", "only"], default="largest")
    subparser = commands.add_parser("precision")
    subparser.add_argument("count", type=int, help="number of faces")
    subparser.add_argument("--faces-per-person", type=float, default=10)
    subparser.add_argument("--seeds", type=int, default=10)
    subparser = commands.add_parser("write")
    subparser.add_argument("folder", type=Path, help="new folder for datasets and indexes")
    subparser.add_argument("count", type=int, help="number of faces")
    subparser.add_argument("--new", type=int, default=10_000, help="number of new faces")
    subparser.add_argument("--faces-per-person", type=float, default=5)
    for name in ("index", "new"):
        subparser = commands.add_parser(name)
        subparser.add_argument("folder", type=Path, help="folder that `write` made")
        subparser.add_argument("--precision", type=float, default=PRECISION)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    print_header()
    if options.command == "write":
        write(options.folder, options.count, options.new, options.faces_per_person)
        return
    if options.command in {"index", "new"}:
        grouping(options.folder, options.precision, only_new=options.command == "new")
        return
    if options.command == "precision":
        promised(options.count, options.faces_per_person, options.seeds)
        return
    if options.command == "generated":
        graph = generated(options.count, options.faces_per_person, options.seed)
    else:
        graph = labelled(options.index, options.people, options.face)
    known = graph.people >= 0
    print(f"{len(known):,} faces, {known.sum():,} labelled, {graph.people.max() + 1:,} people\n")
    print(f"{'method':60}{'BCubed F':>9}{'pairwise F':>12}{'CPU s':>8}")

    def tell(name: str, groups: Groups, seconds: float) -> None:
        found = agreement_of(groups[known], graph.people[known])
        print(f"{name:60}{found.bcubed_f:9.4f}{found.pairwise_f:12.4f}{seconds:8.1f}", flush=True)

    began = time.process_time()
    groups = ours(graph)
    tell("facetrove, by default", groups, time.process_time() - began)
    for name, method, settings in peers(graph):
        tried = []
        for setting in settings:
            began = time.process_time()
            groups = method(graph, setting)
            seconds = time.process_time() - began
            found = agreement_of(groups[known], graph.people[known])
            tried.append((found.bcubed_f + found.pairwise_f, setting, groups, seconds))
        _, setting, groups, seconds = max(tried, key=lambda one: one[0])
        tell(f"{name}, best setting {setting:g}", groups, seconds)


if __name__ == "__main__":
    main()
