"""Photos per second: facetrove, face_recognition and deepface on the same photos.

    make bench PHOTOS=folder-of-photos

Every program runs as its users run it, as a command, on all cores: facetrove with a worker
process per core, face_recognition with `--cpus` of as many (HOG detector), deepface in one
process whose ONNX Runtime and OpenCV use all cores, with the same YuNet and SFace networks.

Each is timed on a few photos and on all: the difference gives its steady speed, and what is
left is its start-up. Rounds are interleaved, so that a machine that slows down slows all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import CORES, print_header, timed_command
from faces.fetch import fetch
from faces.models import EMBEDDERS, ModelChoice, load_pipeline
from faces.sface import SFACE
from faces.weights import YUNET_FILE, prepare

FEW = 20
"""Photos in the short run: enough for every worker to have something to do."""


def facetrove(photos: Path, work_dir: Path, embedder: str = "sface") -> float:
    dataset = tempfile.mkdtemp(dir=work_dir)
    command = [_script("facetrove"), "embed", str(photos), dataset, "--embedder", embedder]
    return timed_command(command)


def face_recognition(photos: Path, work_dir: Path) -> float:
    nobody = work_dir / "nobody-known"
    nobody.mkdir(exist_ok=True)
    command = [_script("face_recognition"), "--cpus", str(CORES), str(nobody), str(photos)]
    return timed_command(command)


def deepface(photos: Path, work_dir: Path) -> float:
    weights_dir = work_dir / ".deepface" / "weights"
    if not weights_dir.is_dir():
        weights_dir.mkdir(parents=True)
        (yunet,) = fetch([YUNET_FILE], work_dir / "weights")
        (weights_dir / "face_detection_yunet_2023mar.onnx").symlink_to(yunet)
        # deepface cannot run the published file of SFace, which lists its weights as inputs.
        sface = prepare(SFACE).path
        (weights_dir / "face_recognition_sface_2021dec.onnx").symlink_to(sface)
    command = [sys.executable, "-m", "benchmarks.deepface_represent", str(photos)]
    return timed_command(command, {"DEEPFACE_HOME": str(work_dir)})


PROGRAMS: dict[str, Callable[[Path, Path], float]] = {
    "facetrove": facetrove,
    "facetrove int8": partial(facetrove, embedder="sface-int8"),
    "face_recognition": face_recognition,
    "deepface": deepface,
}


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def link_photos(folder: Path, count: int, into: Path) -> Path:
    """A flat folder with links to `count` photos spread evenly over those found in `folder`."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
    if len(found) < count:
        sys.exit(f"{folder} holds {len(found)} photos, {count} are wanted")
    into.mkdir()
    for number in range(count):
        path = found[number * len(found) // count]
        (into / f"{number:05d}{path.suffix.lower()}").symlink_to(path.resolve())
    return into


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of photos, searched recursively")
    parser.add_argument("--count", type=int, default=500, help="photos to embed")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print_header()
    for embedder in EMBEDDERS:  # fetched and prepared before anything is timed
        load_pipeline(ModelChoice(embedder=embedder))
    with tempfile.TemporaryDirectory() as name:
        work_dir = Path(name)
        many = link_photos(options.photos, options.count, work_dir / "many")
        few = link_photos(options.photos, FEW, work_dir / "few")
        steady: dict[str, list[float]] = {program: [] for program in PROGRAMS}
        startup: dict[str, list[float]] = {program: [] for program in PROGRAMS}
        for _ in range(options.repeats):
            for program, run in PROGRAMS.items():
                short, long = run(few, work_dir), run(many, work_dir)
                per_photo = (long - short) / (options.count - FEW)
                steady[program].append(1 / per_photo)
                startup[program].append(short - FEW * per_photo)
        print(f"{options.count} photos, median of {options.repeats} rounds")
        print(
            f"{'program':18}{'photos/s':>10}{'start-up s':>12}{'facetrove is':>15}{'int8 is':>15}"
        )
        median = {program: statistics.median(speeds) for program, speeds in steady.items()}
        for program, speed in median.items():
            ratios = [
                "" if program.startswith("facetrove") else f"{median[ours] / speed:.1f} times"
                for ours in ("facetrove", "facetrove int8")
            ]
            start = statistics.median(startup[program])
            print(f"{program:18}{speed:10.1f}{start:12.1f}{ratios[0]:>15}{ratios[1]:>15}")


if __name__ == "__main__":
    if "OMP_NUM_THREADS" in os.environ:
        sys.exit("unset OMP_NUM_THREADS: it would hold some programs back and not others")
    main()
