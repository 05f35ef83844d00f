"""Time of embedding good photos among hostile ones, beside that of the good ones alone.

    python -m benchmarks.hostile_photos LFW_PHOTOS --good 10000 --hostile 1000

A tenth of the hostile photos take Pillow a minute of processor time each, another tenth makes it
ask for gigabytes; they may cost what `--photo-timeout` allows, one second more, and no other photo.
The others are altered or cut photos, photos of wrong formats and small files that declare large
pictures. Good photos beyond those of the folder are the same ones, compressed once more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import PIL.Image

import facetrove as ft
from benchmarks.measure import Cost, print_header, print_table, timed_command
from tests.support.costly_files import (
    bmp_of_far_jumps,
    gif_of_comments,
    png,
    png_chunk,
    slow_gif,
    tiff_of_one_value_many_times,
)

QUALITIES = (75, 85, 90, 95)
"""JPEG qualities of the good photos that are made of others."""


def make_good(folder: Path, photos: Path, count: int) -> None:
    """Link or compress anew the photos of a folder, until there are `count` different ones."""
    sources = sorted(photos.rglob("*.jpg"))
    folder.mkdir()
    for number, source in enumerate(islice(cycle(sources), count)):
        path = folder / f"{number:06d}.jpg"
        if number < len(sources):
            path.symlink_to(source.resolve())
        else:
            with PIL.Image.open(source) as photo:
                photo.save(path, quality=QUALITIES[number // len(sources) % len(QUALITIES)])


def hostile_contents(photo: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield endings and contents of hostile files without end; no two have the same content.

    Args:
        photo: a good JPEG, of which damaged ones are made.
        seed: seed of the random damage.
    """
    draws = np.random.default_rng(seed)
    slow = slow_gif()
    number = 0
    while True:
        number += 1
        tail = number.to_bytes(8, "big")
        yield ".gif", slow + tail
        yield ".bmp", bmp_of_far_jumps(3) + tail
        yield ".gif", gif_of_comments(1_000_000) + tail
        yield ".tif", tiff_of_one_value_many_times(10_000, 100_000) + tail
        yield ".png", png(before_pixels=png_chunk(b"tEXt", b"Comment\0" + tail * 100_000))
        yield ".jpg", photo[: int(draws.integers(1, len(photo)))] + tail
        altered = bytearray(photo)
        for at in draws.integers(0, len(photo), 20).tolist():
            altered[at] ^= int(draws.integers(1, 256))
        yield ".jpg", bytes(altered) + tail
        yield ".heic", photo[:2_000] + tail
        yield ".jpg", draws.bytes(9_999)
        yield ".png", png(60_000, 1)[:60] + tail


def make_hostile(folder: Path, photo: Path, count: int) -> None:
    """Write hostile files whose names lie between those of the good ones."""
    folder.mkdir()
    contents = hostile_contents(photo.read_bytes(), seed=0)
    for number, (ending, content) in enumerate(islice(contents, count)):
        (folder / f"{number:06d}{ending}").write_bytes(content)


def embed(dataset: Path, options: list[str], *folders: Path) -> Cost:
    """Embed folders by the command."""
    program = Path(sys.executable).with_name("facetrove")
    names = [str(folder) for folder in (*folders, dataset)]
    return timed_command([str(program), "embed", *names, *options, "--json"])


def face_ids(dataset: Path, folder: Path) -> set[str]:
    """Return the ids of the faces of one folder's photos."""
    faces = ft.open_dataset(dataset).faces().to_pandas()
    return set(faces["face_id"][faces["uri"].str.startswith(f"{folder}/")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of good photos")
    parser.add_argument("--good", type=int, default=10_000, help="number of good photos")
    parser.add_argument("--hostile", type=int, default=1_000, help="number of hostile photos")
    parser.add_argument("--photo-timeout", type=float, default=2.0, help="seconds for a photo")
    options = parser.parse_args()
    print_header()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as work:
        good, hostile = Path(work, "good"), Path(work, "hostile")
        make_good(good, options.photos, options.good)
        make_hostile(hostile, next(good.iterdir()), options.hostile)
        embed_options = ["--photo-timeout", str(options.photo_timeout)]
        alone = embed(Path(work, "alone.dataset"), embed_options, good)
        among = embed(Path(work, "among.dataset"), embed_options, good, hostile)
        expected = face_ids(Path(work, "alone.dataset"), good)
        lost = expected - face_ids(Path(work, "among.dataset"), good)
        reasons = Counter(json.loads(among.output)["done"]["by_reason"])
    print_table(
        ("photos", "seconds", "CPU seconds"),
        [
            (f"{options.good} good", f"{alone.seconds:.0f}", f"{alone.cpu_seconds:.0f}"),
            (
                f"{options.good} good, {options.hostile} hostile",
                f"{among.seconds:.0f}",
                f"{among.cpu_seconds:.0f}",
            ),
        ],
    )
    print(f"\nfaces of the good photos: {len(expected)}, lost among hostile ones: {len(lost)}")
    print(", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))


if __name__ == "__main__":
    main()
