"""Detection rate by the width of the face and the size of the photo, from 12 pixels to close-ups.

    python -m benchmarks.face_sizes LFW_PHOTOS [--faces 40] [--min-face 12]

Photos with known boxes of all faces are composed as in `benchmarks.scenes`: faces of LFW photos,
scaled to a width, on soft clouds of colour, with sensor noise. Faces of each width in `FACE_WIDTHS`
that fits are put into photos of each longer side in `PHOTO_SIDES`; a *close-up* is the face's box
with a quarter of it on every side, and nothing else. Photos of the largest side hold fewer faces,
since they take seconds each. The photos go to the detector of the default pipeline as they are.

A detected box is a true face if their intersection over union is `SAME_OVERLAP` or more. *False*
counts the other boxes; *lost from default* counts the faces that are found with the default
`--min-face` but not with the one given.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import print_header, print_table
from benchmarks.scenes import FEATHER, Box, Pixels, Source, single_faces, tile_of, with_noise
from faces.models.face import intersection_over_union
from faces.models.yunet import YuNetDetector
from faces.photos.decoding import Photo

PHOTO_SIDES = (100, 250, 640, 1500, 4000, 12000)
"""Longer sides of the photos in pixels; the shorter side is three quarters of it."""

FACE_WIDTHS = (12, 16, 24, 48, 96, 200, 400, 800, 1600, 3200)
"""Widths of the faces in pixels."""

CLOSE_UP_MARGIN = 0.25
"""Margin around a face's box in a close-up, relative to the box."""

SAME_OVERLAP = 0.4
"""Minimum intersection over union of a detected box and a true one."""

LARGE_SIDE, MAX_LARGE_FACES = 8000, 6
"""Longer side in pixels of photos from which on fewer faces of each width are used, and their
number."""

NUM_SOURCES = 200
"""Number of different faces."""


@dataclass(eq=False)
class Scene:
    """A photo, and the boxes of its faces with their widths in pixels; 0 for a close-up."""

    image: Pixels
    boxes: list[Box] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)


@dataclass
class Count:
    """How many faces there are, are found, and are lost although a larger `min_face` finds them."""

    true: int = 0
    found: int = 0
    lost: int = 0


def close_ups(sources: Sequence[Source], side: int, count: int) -> Iterator[Scene]:
    """Yield photos that one face fills."""
    for source in sources[:count]:
        part, box = tile_of(source, side, CLOSE_UP_MARGIN)
        factor = side / max(part.shape[:2])
        size = (round(part.shape[1] * factor), round(part.shape[0] * factor))
        image = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        x, y, width, height = (value * factor for value in box)
        yield Scene(np.asarray(image, np.uint8), [(x, y, width, height)], [0])


def scenes(
    sources: Sequence[Source], side: int, count: int, random: np.random.Generator
) -> Iterator[Scene]:
    """Yield photos with `count` faces of each width that fits, largest first, in rows."""
    height = round(0.75 * side)
    endless = cycle(sources)
    wanted = [width for width in reversed(FACE_WIDTHS) for _ in range(count)]
    scene, left, top, row_height = None, 0, 0, 0
    for width in wanted:
        part, (x, y, box_width, box_height) = tile_of(next(endless), width)
        down, across = part.shape[:2]
        if across > side or down > height:
            continue
        if left + across > side:
            left, top, row_height = 0, top + row_height, 0
        if scene is None or top + down > height:
            if scene is not None:
                with_noise(scene.image, random)
                yield scene
            scene, left, top, row_height = Scene(background(sources, side, random)), 0, 0, 0
        blend(scene.image[top : top + down, left : left + across], part, FEATHER * width)
        scene.boxes.append((left + x, top + y, box_width, box_height))
        scene.widths.append(width)
        left, row_height = left + across, max(row_height, down)
    if scene is not None:
        with_noise(scene.image, random)
        yield scene


def background(sources: Sequence[Source], side: int, random: np.random.Generator) -> Pixels:
    """Paint soft clouds of the photos' colours, without anything that looks like a face.

    The measured photos have these clouds and edges, which are not quite those of `scenes`.
    """
    colours = np.concatenate([source.image[::50, ::50].reshape(-1, 3) for source in sources[:20]])
    spots = random.choice(colours, 12 * 9).reshape(9, 12, 3)
    clouds = cv2.resize(spots, (side, round(0.75 * side)), interpolation=cv2.INTER_CUBIC)
    return np.asarray(clouds, np.uint8)


def blend(scene: Pixels, part: Pixels, feather: float) -> None:
    """Blend a part into an area of the same size, in place, over `feather` pixels at its edges."""
    ramps = [
        np.minimum((np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5) / feather, 1)
        for n in part.shape[:2]
    ]
    share = np.minimum.outer(*ramps)[..., None].astype(np.float32)
    scene[:] = np.round(share * part + (1 - share) * scene).astype(np.uint8)


def found_in(scene: Scene, detector: YuNetDetector) -> tuple[list[bool], int]:
    """Return whether each face of a scene is found, and how many detected boxes are no face."""
    detected = detector.detect([Photo(scene.image)])[0]
    boxes = np.array([d.box for d in detected], np.float32).reshape(-1, 4)
    overlaps = [
        intersection_over_union(boxes, np.array(box, np.float32)) >= SAME_OVERLAP
        for box in scene.boxes
    ]
    is_true = np.any(overlaps, axis=0) if len(boxes) else np.empty(0, dtype=bool)
    return [bool(overlap.any()) for overlap in overlaps], int((~is_true).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw_photos", type=Path, help="folder of LFW's photos")
    parser.add_argument("--faces", type=int, default=40, help="number of faces of each width")
    parser.add_argument("--min-face", type=int, default=12, help="the detector's min_face")
    parser.add_argument(
        "--sides", type=int, nargs="+", default=PHOTO_SIDES, help="longer sides of the photos"
    )
    options = parser.parse_args()
    print_header()
    sources = list(islice(single_faces(options.lfw_photos, 1), NUM_SOURCES))
    fine = YuNetDetector(threads=1, min_face=options.min_face)
    usual = YuNetDetector(threads=1)
    rows, last = [], []
    for side in options.sides:
        count = min(options.faces, MAX_LARGE_FACES) if side >= LARGE_SIDE else options.faces
        random = np.random.default_rng([1, side])
        counts = {width: Count() for width in (*FACE_WIDTHS, 0)}
        num_photos, num_false, num_usual_false, seconds = 0, 0, 0, 0.0
        for photos in (scenes(sources, side, count, random), close_ups(sources, side, count)):
            for scene in photos:
                start = time.process_time()
                found, false = found_in(scene, fine)
                seconds += time.process_time() - start
                before, usual_false = found_in(scene, usual)
                for width, now, then in zip(scene.widths, found, before, strict=True):
                    counts[width].true += 1
                    counts[width].found += now
                    counts[width].lost += then and not now
                num_photos += 1
                num_false += false
                num_usual_false += usual_false
        shares = [f"{c.found / c.true:.2f}" if c.true else "-" for c in counts.values()]
        rows.append([str(side), *shares])
        last.append(
            [
                str(side),
                str(num_photos),
                str(num_false),
                str(num_usual_false),
                str(sum(c.lost for c in counts.values())),
                f"{seconds / num_photos:.2f}",
            ]
        )
    print(f"share of faces found, min_face {options.min_face}, by width in pixels")
    print_table(["photo", *map(str, FACE_WIDTHS), "close-up"], rows)
    print()
    print_table(
        ["photo", "photos", "false", "false by default", "lost from default", "CPU s/photo"], last
    )


if __name__ == "__main__":
    main()
