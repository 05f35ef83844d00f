"""Photos per second of facetrove, face_recognition and deepface on the same photos.

    make bench PHOTOS=folder-of-photos
    python -m benchmarks.embed_throughput LFW_PHOTOS --groups 100 --portraits 100 --limit

Every program runs as a command, as its users run it, on all cores: facetrove with one worker
process per core, face_recognition with `--cpus` set to the number of cores (HOG detector), and
deepface in one process whose ONNX Runtime and OpenCV use all cores, with the same YuNet and SFace
networks as facetrove.

Each program is timed on a few photos and on all of them. The difference gives its photos/s and the
processor time per photo without start-up; the rest is start-up time. Rounds of the programs are
interleaved, so that a change of the machine's speed affects all of them. A program that detects
fewer faces has less to embed, so the table has the number of faces.

`--groups` and `--portraits` repeat this on 12-megapixel photos made from the same folder (see
`benchmarks.scenes`). `--limit` also measures the cost of decoding and of the networks' arithmetic
alone (see `benchmarks.limit`). `--workers-scaling` also compares facetrove on one core with one
worker and on all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.limit import Limit, LimitBench
from benchmarks.measure import CORES, Cost, print_header, timed_command
from benchmarks.peers import (
    deepface_command,
    deepface_environment,
    face_recognition_command,
    require_peers,
)
from benchmarks.scenes import make_group_scenes, make_portraits
from faces.models.choice import BUILT_IN_EMBEDDERS, ModelChoice
from faces.models.registry import load_pipeline

FEW, FEW_SCENES = 12 * CORES, 4 * CORES
"""Numbers of photos and of scenes in the short run: multiples of the number of workers, so that all
workers have equally much to do."""

OUR_EMBEDDERS = {"facetrove float": "sface", "facetrove int8": "sface-int8"}
"""Embedders that facetrove is measured with, by the name in the tables."""


@dataclass(frozen=True)
class Run:
    """One run of a program: its cost, and the number of faces that it embedded."""

    cost: Cost
    num_faces: int


def facetrove(
    photos: Path, work_dir: Path, embedder: str = "sface", cores: int | None = None
) -> Run:
    """Embed a folder of photos with `facetrove embed`, on all cores or on some."""
    dataset = tempfile.mkdtemp(dir=work_dir)
    program = str(Path(sys.executable).with_name("facetrove"))
    command = [program, "embed", str(photos), dataset, "--embedder", embedder, "--json"]
    cost = timed_command(command, cores=cores)
    return Run(cost, json.loads(cost.output)["total"]["num_faces"])


def face_recognition(photos: Path, work_dir: Path) -> Run:
    """Embed a folder of photos with face_recognition's command."""
    cost = timed_command(face_recognition_command(photos, work_dir))
    return Run(cost, cost.output.count("unknown_person"))  # it prints a line per face


def deepface(photos: Path, work_dir: Path) -> Run:
    """Embed a folder of photos with deepface."""
    cost = timed_command(deepface_command(photos), deepface_environment(work_dir))
    return Run(cost, int(cost.output.split()[-1]))


Program = Callable[[Path, Path], Run]
"""A function that embeds a folder of photos without subfolders. Its second argument is a folder for
temporary files."""

OURS: dict[str, Program] = {
    name: partial(facetrove, embedder=embedder) for name, embedder in OUR_EMBEDDERS.items()
}
PEERS: dict[str, Program] = {"face_recognition": face_recognition, "deepface": deepface}
ONE_CORE: dict[str, Program] = {
    f"{name}, 1 core": partial(facetrove, embedder=embedder, cores=1)
    for name, embedder in OUR_EMBEDDERS.items()
}


@dataclass(frozen=True)
class PhotoSet:
    """A set of photos: all of them for the long run, and a few of them for the short run."""

    name: str
    many: Path
    num_many: int
    few: Path
    num_few: int


@dataclass(frozen=True)
class Speed:
    """The speed of a program on a set of photos.

    Attributes:
        photos_per_second: throughput without start-up.
        cpu_ms: processor time per photo in milliseconds, without start-up.
        startup_seconds: start-up time.
        num_faces: number of faces embedded from all photos.
    """

    photos_per_second: float
    cpu_ms: float
    startup_seconds: float
    num_faces: float


def measure_speed(run: Program, photos: PhotoSet, work_dir: Path) -> Speed:
    """Run a program on a few photos and on all, and separate start-up from throughput."""
    short, long = run(photos.few, work_dir), run(photos.many, work_dir)
    difference = photos.num_many - photos.num_few
    per_photo = (long.cost.seconds - short.cost.seconds) / difference
    return Speed(
        photos_per_second=1 / per_photo,
        cpu_ms=(long.cost.cpu_seconds - short.cost.cpu_seconds) * 1000 / difference,
        startup_seconds=short.cost.seconds - photos.num_few * per_photo,
        num_faces=long.num_faces,
    )


Figures = TypeVar("Figures", Speed, Limit)


def median_of(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each field over the rounds."""
    kind = type(rounds[0])
    names = [field.name for field in fields(kind)]
    return kind(**{name: median(getattr(one, name) for one in rounds) for name in names})


def print_speeds(speeds: Mapping[str, Speed]) -> None:
    """Print the speeds, and how many times as fast facetrove is as each other program."""
    ours = [speeds[name].photos_per_second for name in OURS]
    print(
        f"{'program':18}{'photos/s':>10}{'CPU ms/photo':>14}{'start-up s':>12}{'faces':>8}"
        f"{'float speed-up':>16}{'int8 speed-up':>15}"
    )
    for program, speed in speeds.items():
        ratios = ["", ""]
        # A program that found no face had nothing to embed, and is no fair comparison.
        if program not in OURS and speed.num_faces:
            ratios = [f"{own / speed.photos_per_second:.1f} times" for own in ours]
        print(
            f"{program:18}{speed.photos_per_second:10.1f}{speed.cpu_ms:14.1f}"
            f"{speed.startup_seconds:12.1f}{speed.num_faces:8.0f}{ratios[0]:>16}{ratios[1]:>15}"
        )


def print_limits(limits: Mapping[str, Limit], speeds: Mapping[str, Speed]) -> None:
    """Print the least processor time per photo, beside that of one worker and of the whole job."""
    print(
        f"\n{'CPU ms/photo':18}{'decode':>10}{'detector':>10}{'embedder':>10}{'limit':>10}"
        f"{'worker':>10}{'job':>10}{'job/limit':>11}"
    )
    for program, limit in limits.items():
        job = speeds[program].cpu_ms
        print(
            f"{program:18}{limit.decode:10.2f}{limit.detect:10.2f}{limit.embed:10.2f}"
            f"{limit.total:10.2f}{limit.steps:10.2f}{job:10.2f}{job / limit.total:11.2f}"
        )


def print_scaling(speeds: Mapping[str, Speed]) -> None:
    """Print facetrove's throughput on one core and on all cores."""
    print(f"\n{'photos/s':18}{'1 core':>10}{f'{CORES} cores':>10}{'speed-up':>10}")
    for program in OURS:
        alone = speeds[f"{program}, 1 core"].photos_per_second
        together = speeds[program].photos_per_second
        print(f"{program:18}{alone:10.1f}{together:10.1f}{together / alone:10.2f}")


def bench(photos: PhotoSet, options: argparse.Namespace, work_dir: Path) -> None:
    """Measure what the options ask for on one set of photos, and print it."""
    compared = OURS | ({} if options.no_peers else PEERS)
    programs = compared | (ONE_CORE if options.workers_scaling else {})
    limits = {
        name: LimitBench(photos.many, embedder)
        for name, embedder in OUR_EMBEDDERS.items()
        if options.limit
    }
    speeds: dict[str, list[Speed]] = {program: [] for program in programs}
    limit_rounds: dict[str, list[Limit]] = {program: [] for program in limits}
    for _ in range(options.repeats):
        for program, run in programs.items():
            speeds[program].append(measure_speed(run, photos, work_dir))
        for program, limit in limits.items():
            limit_rounds[program].append(limit.measure())
    medians = {program: median_of(rounds) for program, rounds in speeds.items()}
    print(f"{photos.name}: {photos.num_many} photos, median of {options.repeats} rounds")
    print_speeds({program: medians[program] for program in compared})
    if limits:
        print_limits({name: median_of(rounds) for name, rounds in limit_rounds.items()}, medians)
        for program, limit in limits.items():
            print(f"most frequent batches of {program}: {limit.batches()}")
    if options.workers_scaling:
        print_scaling(medians)
    print(flush=True)


def link_photos(folder: Path, count: int, into: Path) -> Path:
    """Make a folder with links to `count` photos spread evenly over those found in `folder`."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
    if len(found) < count:
        sys.exit(f"{folder} holds {len(found)} photos, expected at least {count}")
    into.mkdir()
    for number in range(count):
        path = found[number * len(found) // count]
        (into / f"{number:05d}{path.suffix.lower()}").symlink_to(path.resolve())
    return into


def photo_sets(options: argparse.Namespace, work_dir: Path) -> Iterator[PhotoSet]:
    """Yield the sets of photos that the options ask for, each made when it is needed."""
    if options.count:
        many = link_photos(options.photos, options.count, work_dir / "many")
        few = link_photos(options.photos, FEW, work_dir / "few")
        yield PhotoSet("photos as they are", many, options.count, few, FEW)
    for name, make, count in (
        ("groups", make_group_scenes, options.groups),
        ("portraits", make_portraits, options.portraits),
    ):
        if count:
            made = work_dir / f"made-{name}"
            make(options.photos, made, count=count)
            many = link_photos(made, count, work_dir / name)  # leaves out truths.parquet
            few = link_photos(made, FEW_SCENES, work_dir / f"few-{name}")
            yield PhotoSet(f"12-megapixel {name}", many, count, few, FEW_SCENES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of photos, searched recursively")
    parser.add_argument(
        "--count", type=int, default=500, help="number of photos to embed as they are, 0 for none"
    )
    parser.add_argument(
        "--groups", type=int, default=0, help="number of 12-megapixel group photos to embed"
    )
    parser.add_argument(
        "--portraits", type=int, default=0, help="number of 12-megapixel portraits to embed"
    )
    parser.add_argument("--repeats", type=int, default=5, help="number of rounds")
    parser.add_argument(
        "--limit", action="store_true", help="measure decoding and the networks alone too"
    )
    parser.add_argument(
        "--workers-scaling", action="store_true", help="run facetrove on one core too"
    )
    parser.add_argument("--no-peers", action="store_true", help="run facetrove only")
    options = parser.parse_args()
    print_header()
    if not options.no_peers:
        require_peers()
    for embedder in BUILT_IN_EMBEDDERS:  # fetched and prepared before anything is timed
        load_pipeline(ModelChoice(embedder=embedder))
    with tempfile.TemporaryDirectory() as name:
        work_dir = Path(name)
        for photos in photo_sets(options, work_dir):
            bench(photos, options, work_dir)


if __name__ == "__main__":
    if "OMP_NUM_THREADS" in os.environ:
        sys.exit("OMP_NUM_THREADS limits the threads of only some of the programs; unset it")
    main()
