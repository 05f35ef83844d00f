"""Indexes at scale: building, recall, speed, memory, lifecycle, and other engines.

    python -m benchmarks.index_speed compare [COUNT] --work FOLDER
    python -m benchmarks.index_speed recipes [COUNT] --work FOLDER [--graph] [--plot FILE.png]
    python -m benchmarks.index_speed peers [COUNT] --work FOLDER [--engines NAME ...]
    python -m benchmarks.index_speed lifecycle [COUNT] --work FOLDER
    python -m benchmarks.index_speed growth [COUNT ...] --work FOLDER [--plot FILE.png]
    python -m benchmarks.index_speed large [COUNT] --work FOLDER [--keep]

compare     facetrove's index against FAISS's exact search
recipes     several recipes, each at several search settings
peers       other engines, at settings that reach a recall
lifecycle   opening the index, adding faces, deleting faces, filtered searches
growth      facetrove's index at several sizes
large       facetrove's index at 10,000,000 faces

Galleries are made in the work folder and reused. Every measurement runs in a process of its own
with one thread per core. The probes are other faces of people of whom most are enrolled. Recall is
relative to exact search. Matches are those of the exact ten nearest faces that reach the operating
threshold.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import charts, index_lifecycle
from benchmarks.apart import Memory, ProcessError, apart
from benchmarks.index_engines import (
    Built,
    Effort,
    ExactFaiss,
    Facetrove,
    Searched,
    Speed,
    build_apart,
    measure_speed,
    search_apart,
)
from benchmarks.index_galleries import Gallery, K, Recall, Vectors
from benchmarks.index_peers import ENGINES, require_engines
from benchmarks.measure import print_header, print_table
from indexer.codes import search_rows
from indexer.manifest import read_current
from indexer.options import EXACT, Recipe
from indexer.recipes import add, train, unwrapped

LARGE_PART_FACES = 6000
"""Number of faces in a part of the dataset of `large`, which would have very many parts of 150."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, command, count in (
        ("compare", _compare, 1_000_000),
        ("recipes", _recipes, 1_000_000),
        ("peers", _peers, 1_000_000),
        ("lifecycle", _lifecycle, 1_000_000),
        ("growth", _growth, None),
        ("large", _large, 10_000_000),
    ):
        subparser = commands.add_parser(name)
        subparser.set_defaults(command=command)
        if count is not None:
            subparser.add_argument(
                "count", type=int, nargs="?", default=count, help="number of faces"
            )
        else:
            sizes = [250_000, 500_000, 1_000_000, 2_000_000]
            subparser.add_argument(
                "counts", type=int, nargs="*", default=sizes, help="numbers of faces"
            )
        subparser.add_argument("--work", type=Path, required=True, help="folder of galleries")
        subparser.add_argument("--probes", type=int, default=2000, help="number of probes")
        subparser.add_argument("--repeats", type=int, default=5, help="number of timed batches")
        subparser.add_argument(
            "--singles", type=int, default=1000, help="number of probes searched for one by one"
        )
        if name in {"recipes", "growth"}:
            subparser.add_argument("--plot", type=Path, help="PNG file for a chart")
        if name == "recipes":
            subparser.add_argument("--graph", action="store_true", help="add HNSW, which is slow")
        if name == "peers":
            names = list(ENGINES)
            subparser.add_argument(
                "--engines", nargs="+", choices=names, default=names, help="only these"
            )
            subparser.add_argument(
                "--target", type=float, default=0.999, help="recall of matches to reach"
            )
        if name == "lifecycle":
            sizes = [10_000, 100_000]
            subparser.add_argument(
                "--added", type=int, nargs="+", default=sizes, help="numbers of faces to add"
            )
        if name == "large":
            subparser.add_argument(
                "--keep", action="store_true", help="do not delete the gallery afterwards"
            )
    options = parser.parse_args()
    print_header()
    try:
        options.command(options)
    except ProcessError as error:
        sys.exit(str(error))


def _gallery(options: argparse.Namespace, count: int, faces_per_part: int = 150) -> Gallery:
    """Make a gallery, and describe it."""
    gallery = Gallery(options.work, count, options.probes, faces_per_part)
    gallery.make()
    matches = int((gallery.truth.similarities >= gallery.threshold).sum())
    print(f"{count:,} faces; {options.probes:,} probes, whose ten nearest faces have {matches:,}")
    print(f"matches (similarity of {gallery.threshold:.3f} or more)\n", flush=True)
    return gallery


def _effort(options: argparse.Namespace) -> Effort:
    return Effort(options.repeats, options.singles)


def _built_index(gallery: Gallery) -> Built:
    """Build facetrove's index, replacing an earlier one."""
    shutil.rmtree(gallery.index, ignore_errors=True)
    return build_apart(Facetrove(), gallery, gallery.index)


def _require_index(gallery: Gallery) -> None:
    """Build facetrove's index, unless there is one."""
    if not (gallery.index / "CURRENT").exists():
        _built_index(gallery)


def _compare(options: argparse.Namespace) -> None:
    """Compare facetrove's index with FAISS's exact search."""
    gallery = _gallery(options, options.count)
    built = _built_index(gallery)
    _print_recipe(gallery)
    _print_built(built, gallery.count)
    gallery.make_vectors()
    effort = _effort(options)
    ours = search_apart(Facetrove(), gallery, gallery.index, effort)
    exact = search_apart(ExactFaiss(), gallery, gallery.index, effort)
    _print_comparison(ours, exact)


def _print_recipe(gallery: Gallery) -> None:
    for entry in read_current(gallery.index).segments:
        recipe = entry.recipe
        print(f"recipe {recipe.factory}: {recipe.reason}")
        if recipe.nprobe is not None:
            print(f"nprobe {recipe.nprobe}, {recipe.candidates} candidates per match")
        print()


def _print_built(built: Built, count: int) -> None:
    rows = [[step.name, f"{step.seconds:.1f}", _mb(step.peak_bytes)] for step in built.steps]
    rows.append(["all", f"{built.seconds:.1f}", _mb(built.memory.peak_bytes)])
    print_table(["building", "seconds", "peak MB"], rows)
    files = ", ".join(
        f"{name} {_mb(size)}" for name, size in built.files.items() if size >= 1_000_000
    )
    ratio = built.memory.peak_bytes / built.num_bytes
    print(
        f"index: {_mb(built.num_bytes)} MB, {built.num_bytes / count:.0f} bytes per face ({files})"
    )
    print(
        f"peak memory: {ratio:.2f} of the index's size; private {_mb(built.memory.private_bytes)} "
        f"MB; at the start {_mb(built.memory.start_bytes)} MB\n",
        flush=True,
    )


def _print_comparison(ours: Searched, exact: Searched) -> None:
    pairs = [
        ("recall@1", ours.recall.at_1, exact.recall.at_1),
        ("recall@10", ours.recall.at_10, exact.recall.at_10),
        ("recall of matches", ours.recall.of_matches, exact.recall.of_matches),
    ]
    rows = [[name, f"{mine:.4f}", f"{its:.4f}", ""] for name, mine, its in pairs]
    for name, mine, its in (
        ("probes/s", ours.speed.probes_per_second, exact.speed.probes_per_second),
        ("latency p50 ms", ours.speed.latency_ms_p50, exact.speed.latency_ms_p50),
        ("latency p99 ms", ours.speed.latency_ms_p99, exact.speed.latency_ms_p99),
    ):
        ratio = mine / its if name == "probes/s" else its / mine
        rows.append([name, f"{mine:,.2f}", f"{its:,.2f}", f"{ratio:.1f} times"])
    for name, of in (("peak MB", _peak), ("private MB", _private)):
        rows.append([name, _mb(of(ours.memory)), _mb(of(exact.memory)), ""])
    print_table(["searching", "facetrove", "FAISS exact", "better by"], rows)


def _peak(memory: Memory) -> int:
    return memory.peak_bytes


def _private(memory: Memory) -> int:
    return memory.private_bytes


@dataclass(frozen=True)
class _Point:
    """A recipe with a search setting, and its measured recall and speed."""

    recipe: Recipe
    recall: Recall
    speed: Speed


def _recipes(options: argparse.Namespace) -> None:
    """Measure several recipes, each at several search settings."""
    gallery = _gallery(options, options.count)
    gallery.make_vectors()
    ivf = f"IVF{1 << round(np.log2(4 * gallery.count**0.5))}"
    factories = [EXACT, f"{ivf},PQ64x4fs", f"{ivf},PQ32x4fs", f"{ivf},SQ8"]
    if options.graph:
        factories.append("HNSW32,SQ8")
    rows, lines = [], []
    for factory in factories:
        (seconds, points), memory = apart(_curve, gallery, factory, _effort(options))
        built = f"{seconds:.0f}"
        for point in points:
            recipe, recall, speed = point.recipe, point.recall, point.speed
            setting = recipe.nprobe or recipe.ef_search or ""
            rows.append(
                [
                    factory,
                    built,
                    str(setting),
                    str(recipe.candidates),
                    f"{recall.at_10:.4f}",
                    f"{recall.of_matches:.4f}",
                    f"{speed.probes_per_second:,.0f}",
                    f"{speed.latency_ms_p50:.2f}",
                    f"{speed.latency_ms_p99:.2f}",
                    _mb(memory.private_bytes),
                ]
            )
            built = ""
        for candidates in sorted({point.recipe.candidates for point in points}):
            chosen = [point for point in points if point.recipe.candidates == candidates]
            lines.append(
                charts.Line(
                    f"{factory} x{candidates}",
                    [(p.recall.of_matches, p.speed.probes_per_second) for p in chosen],
                )
            )
    titles = ["recipe", "build s", "effort", "candidates", "recall@10", "recall of matches"]
    print_table([*titles, "probes/s", "p50 ms", "p99 ms", "private MB"], rows)
    if options.plot:
        speeds = [speed for line in lines for _, speed in line.points]
        picture = charts.draw(
            f"{gallery.count:,} faces",
            charts.recall_axis("recall of matches"),
            charts.logarithmic("probes/s", speeds),
            lines,
        )
        charts.save(options.plot, picture)


def _curve(gallery: Gallery, factory: str, effort: Effort) -> tuple[float, list[_Point]]:
    """Build an index by a recipe in memory, and measure it at search settings of growing effort."""
    vectors = np.load(gallery.vectors_path, mmap_mode="r")
    vectors = np.asarray(vectors)
    probes = gallery.truth.probes
    began = time.perf_counter()
    codes = None
    if factory != EXACT:
        codes = train(Recipe(factory), vectors, device="cpu")
        for _ in add(codes, vectors):
            pass
    seconds = time.perf_counter() - began
    if codes is None:
        settings = [Recipe()]
        effort = replace(effort, repeats=min(effort.repeats, 3), num_singles=100)
    elif hasattr(unwrapped(codes), "nprobe"):
        efforts = (4, 16, 64, 128, 256, 512, 1024)
        settings = [
            Recipe(factory, nprobe=nprobe, candidates=candidates)
            for candidates in ((4,) if factory.endswith("SQ8") else (4, 16))
            for nprobe in efforts
        ]
    else:
        settings = [
            Recipe(factory, ef_search=ef, candidates=2) for ef in (32, 64, 128, 256, 512, 1024)
        ]
    points = []
    for recipe in [replace(setting, exact_share=0.0) for setting in settings]:

        def search(some: Vectors, recipe: Recipe = recipe) -> object:
            return search_rows(vectors, codes, recipe, some, k=K)

        _, rows = search_rows(vectors, codes, recipe, probes, k=K)
        recall = gallery.recall(rows)
        points.append(_Point(recipe, recall, measure_speed(search, probes, effort)))
    return seconds, points


def _peers(options: argparse.Namespace) -> None:
    """Measure facetrove and other engines, each at the settings that reach the target recall."""
    require_engines(options.engines)
    gallery = _gallery(options, options.count)
    gallery.make_vectors()
    effort = replace(_effort(options), target=options.target)
    rows = []
    for name in options.engines:
        engine = ENGINES[name]
        folder = gallery.path / f"peer-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            built = build_apart(engine, gallery, folder)
            searched = search_apart(engine, gallery, folder, effort)
        except ProcessError as error:  # go on with the other engines
            print(f"({engine.name}: {error})", flush=True)
            continue
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        rows.append(_peer_row(engine.name, built, searched, effort.target))
        print(f"({', '.join(rows[-1])})", flush=True)
    exact = search_apart(ExactFaiss(), gallery, gallery.path, effort)
    nothing = Built((), Memory(0, 0, 0), {})
    rows.append(_peer_row("FAISS exact", nothing, exact, effort.target))
    print()
    titles = ["engine", "build s", "peak MB", "private", "disk MB", "search MB", "private"]
    titles += ["setting", "recall of matches", "recall@10", "probes/s", "p50 ms", "p99 ms"]
    print_table(titles, rows)
    print(f"* no setting that was tried reaches a recall of matches of {effort.target}")


def _peer_row(name: str, built: Built, searched: Searched, target: float) -> list[str]:
    mark = "" if searched.recall.of_matches >= target else "*"
    building = ["", "", "", ""]
    if built.steps:
        memory = built.memory
        building = [f"{built.seconds:.1f}", _mb(memory.peak_bytes), _mb(memory.private_bytes)]
        building.append(_mb(built.num_bytes))
    return [
        name,
        *building,
        _mb(searched.memory.peak_bytes),
        _mb(searched.memory.private_bytes),
        searched.setting,
        f"{searched.recall.of_matches:.4f}{mark}",
        f"{searched.recall.at_10:.4f}",
        f"{searched.speed.probes_per_second:,.0f}",
        f"{searched.speed.latency_ms_p50:.2f}",
        f"{searched.speed.latency_ms_p99:.2f}",
    ]


def _lifecycle(options: argparse.Namespace) -> None:
    """Measure opening the index, adding faces, deleting faces, and filtered searches."""
    gallery = _gallery(options, options.count)
    _require_index(gallery)
    effort = _effort(options)
    _print_opening(gallery, options.repeats)
    rows = []
    for num_faces in options.added:
        added = index_lifecycle.adding(gallery, num_faces, effort)
        rows.append(
            [
                f"{num_faces:,} faces",
                f"{added.built.seconds:.2f}",
                f"{added.built.num_bytes / 1e6:.1f}",
                f"{added.built.num_bytes / num_faces:.0f}",
                _mb(added.built.memory.peak_bytes),
                f"{added.speed.probes_per_second:,.0f}",
                f"{added.speed.latency_ms_p50:.2f}",
            ]
        )
        for step in added.built.steps:
            rows.append([f"  {step.name[:40]}", f"{step.seconds:.2f}", "", "", "", "", ""])
    titles = ["adding", "seconds", "MB written", "bytes/face", "peak MB"]
    print_table([*titles, "then probes/s", "p50 ms"], rows)
    print()
    deletions = index_lifecycle.deleting(gallery)
    print_table(
        ["deleting", "faces", "not found after s", "removed after s", "fresh process s"],
        [
            [
                deletion.what,
                str(deletion.num_faces),
                f"{deletion.unfound_seconds:.2f}",
                f"{deletion.done_seconds:.2f}",
                f"{deletion.fresh_seconds:.2f}",
            ]
            for deletion in deletions
        ],
    )
    print()
    rows = [
        [
            filtered.name,
            f"{filtered.num_selected:,}",
            f"{filtered.num_selected / gallery.count:.2%}",
            f"{filtered.recall.at_10:.4f}",
            f"{filtered.recall.of_matches:.4f}",
            f"{filtered.speed.probes_per_second:,.0f}",
            f"{filtered.speed.latency_ms_p50:.2f}",
            f"{filtered.speed.latency_ms_p99:.2f}",
            f"{filtered.first_ms:.1f}",
        ]
        for filtered in index_lifecycle.filtering(gallery, effort)
    ]
    titles = ["filter", "selected", "share", "recall@10", "recall of matches", "probes/s", "p50 ms"]
    print_table([*titles, "p99 ms", "first ms"], rows)


def _print_opening(gallery: Gallery, repeats: int) -> None:
    """Measure opening the index, with cold and warm page cache, and print the medians."""
    rows = []
    for name, cold in (("cold", True), ("warm", False)):
        found = [index_lifecycle.opening(gallery, cold=cold) for _ in range(repeats)]
        columns = [
            [getattr(opening, attribute) for opening, _ in found]
            for attribute in ("import_seconds", "open_seconds", "answer_seconds")
        ]
        both = [opening.open_seconds + opening.answer_seconds for opening, _ in found]
        medians = [f"{float(np.median(values)):.2f}" for values in [*columns, both]]
        rows.append([name, *medians, _mb(max(memory.peak_bytes for _, memory in found))])
    print_table(["opening", "imports s", "open s", "first answer s", "both s", "peak MB"], rows)
    print(flush=True)


def _growth(options: argparse.Namespace) -> None:
    """Measure building and searching facetrove's index at several sizes."""
    rows, lines = [], {}
    for count in options.counts:
        gallery = _gallery(options, count)
        built = _built_index(gallery)
        ours = search_apart(Facetrove(), gallery, gallery.index, _effort(options))
        recipe = read_current(gallery.index).segments[0].recipe
        rows.append(
            [
                f"{count:,}",
                recipe.factory,
                f"{built.seconds:.1f}",
                _mb(built.memory.peak_bytes),
                _mb(built.memory.private_bytes),
                _mb(built.num_bytes),
                f"{built.memory.peak_bytes / built.num_bytes:.2f}",
                f"{ours.recall.of_matches:.4f}",
                f"{ours.speed.probes_per_second:,.0f}",
                f"{ours.speed.latency_ms_p50:.2f}",
                f"{ours.speed.latency_ms_p99:.2f}",
            ]
        )
        for name, value in (
            ("seconds to build", built.seconds),
            ("peak memory, MB", built.memory.peak_bytes / 1e6),
            ("index, MB", built.num_bytes / 1e6),
            ("probes/s", ours.speed.probes_per_second),
        ):
            lines.setdefault(name, []).append((float(count), value))
    titles = ["faces", "recipe", "build s", "peak MB", "private", "disk MB", "peak/disk"]
    print_table([*titles, "recall of matches", "probes/s", "p50 ms", "p99 ms"], rows)
    if options.plot:
        values = [value for points in lines.values() for _, value in points]
        picture = charts.draw(
            "growth",
            charts.logarithmic("faces", options.counts),
            charts.logarithmic("seconds, MB, probes/s", values),
            [charts.Line(name, points) for name, points in lines.items()],
        )
        charts.save(options.plot, picture)


def _large(options: argparse.Namespace) -> None:
    """Measure building and searching facetrove's index of a very large gallery."""
    gallery = _gallery(options, options.count, LARGE_PART_FACES)
    built = _built_index(gallery)
    _print_recipe(gallery)
    _print_built(built, gallery.count)
    ours = search_apart(Facetrove(), gallery, gallery.index, _effort(options))
    exact = gallery.truth.probes_per_second
    rows = [
        ["open after build s", f"{ours.open_seconds:.2f}"],
        ["recall@1", f"{ours.recall.at_1:.4f}"],
        ["recall@10", f"{ours.recall.at_10:.4f}"],
        ["recall of matches", f"{ours.recall.of_matches:.4f}"],
        ["probes/s", f"{ours.speed.probes_per_second:,.0f}"],
        ["exact FAISS, probes/s", f"{exact:,.1f}"],
        ["speed-up", f"{ours.speed.probes_per_second / exact:,.1f}"],
        ["latency p50 ms", f"{ours.speed.latency_ms_p50:.2f}"],
        ["latency p99 ms", f"{ours.speed.latency_ms_p99:.2f}"],
        ["peak MB", _mb(ours.memory.peak_bytes)],
        ["private MB", _mb(ours.memory.private_bytes)],
    ]
    print_table(["searching", ""], rows)
    print(flush=True)
    _print_opening(gallery, min(options.repeats, 3))
    if not options.keep:
        gallery.remove()


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f}"


if __name__ == "__main__":
    main()
