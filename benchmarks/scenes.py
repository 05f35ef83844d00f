"""Compose 12-megapixel photos with known boxes of all faces, from small photos of one face each.

    python -m benchmarks.scenes LFW_PHOTOS OUT --kind groups|portraits [--count 50]
        [--faces-per-size 4]

- *groups*: 4000x3000 pixels, with equally many faces of each of `FACE_WIDTHS`, without overlap;
- *portraits*: one photo enlarged to 3464x3464 pixels.

LFW_PHOTOS holds photos in folders named after the person, as Labeled Faces in the Wild does. A
photo is used only if OpenCV's own YuNet detects exactly one face in it, counting faces of low
score. Of that photo only the part around the face is used, so that a scene has no face without a
known box. The width of a face is that of YuNet's box. Sensor noise makes the files as large, and as
slow to decode, as those of a camera. Scenes are determined by the seed and do not depend on
facetrove's own detector: scene n is the same however many are made, in any version of facetrove.

OUT/truths.parquet has a row per face: photo (file name), box (x, y, width, height in pixels of
the scene), face_width (one of `FACE_WIDTHS`; in portraits the resulting width), source (path below
LFW_PHOTOS) and person.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from faces.core.machine import cache_dir
from faces.models.downloads import fetch
from faces.models.weights import YUNET_FILE

Pixels = NDArray[np.uint8]
"""(height, width, 3) RGB."""

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

GROUP_SIZE = (4000, 3000)
"""Width and height of group photos in pixels."""

PORTRAIT_SIZE = (3464, 3464)
"""Width and height of portraits in pixels."""

FACE_WIDTHS = (20, 40, 80, 160)
"""Widths of the faces in group photos, in pixels."""

JPEG_QUALITY = 90
"""JPEG quality of the scenes."""

SURE_SCORE, UNSURE_SCORE = 0.8, 0.4
"""Minimum score of a photo's only face for the photo to be used, and minimum score for a detection
to count as a face at all."""

TILE_MARGIN = 0.4
"""Margin around the face's box in a tile, on every side, relative to the box: 1.8 boxes in all."""

FEATHER = 0.3
"""Width over which a tile fades into the background, relative to the face's width; it is less than
the margin."""

NOISE = 5.5
"""Standard deviation of the sensor noise in grey levels, equal in all channels. With it, files have
some 3 MB."""

STRIP_ROWS = 500
"""Number of rows that noise is added to at a time, which bounds the memory."""

BACKGROUND_SIZE = (12, 9)
"""Numbers of spots of colour in a background, across and down."""

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("photo", pa.string(), nullable=False),
        pa.field("box", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("face_width", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("person", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class TrueFace:
    """A face in a scene, a row of truths.parquet."""

    photo: str
    box: Box
    face_width: int
    source: str
    person: str


@dataclass(frozen=True, eq=False)
class Source:
    """A photo of one face, and the face's box."""

    path: Path
    image: Pixels
    box: Box


def make_group_scenes(
    sources: Path, out: Path, *, count: int, faces_per_size: int = 4, seed: int = 1
) -> list[TrueFace]:
    """Write group photos and their truths.parquet into a new or empty folder.

    Args:
        sources: folder of photos in folders named after the person.
        out: folder to write to; it is made if it does not exist.
        count: number of photos.
        faces_per_size: number of faces of each of `FACE_WIDTHS` in a photo.
        seed: seed of the choice of photos, positions and noise.

    Returns:
        The faces, in the order of the photos.
    """
    num_faces = faces_per_size * len(FACE_WIDTHS)

    def compose(number: int, chosen: list[Source]) -> tuple[Pixels, list[tuple[Box, int]]]:
        return _group_scene(chosen, np.random.default_rng([seed, number]))

    return _make_photos(
        sources, out, count=count, faces_per_photo=num_faces, seed=seed, compose=compose
    )


def make_portraits(sources: Path, out: Path, *, count: int, seed: int = 1) -> list[TrueFace]:
    """Write portraits and their truths.parquet; for the arguments see `make_group_scenes`."""

    def compose(number: int, chosen: list[Source]) -> tuple[Pixels, list[tuple[Box, int]]]:
        return _portrait(chosen[0], np.random.default_rng([seed, number]))

    return _make_photos(sources, out, count=count, faces_per_photo=1, seed=seed, compose=compose)


def read_truths(folder: Path) -> list[TrueFace]:
    """Read the faces of scenes that were made earlier."""
    rows = pq.read_table(folder / "truths.parquet", schema=TRUTH_SCHEMA).to_pylist()
    return [TrueFace(**{**row, "box": tuple(row["box"])}) for row in rows]


Compose = Callable[[int, list[Source]], tuple[Pixels, list[tuple[Box, int]]]]
"""A function of a scene's number and sources that returns its pixels and, for each source, the
face's box and width."""


def _make_photos(
    folder: Path, out: Path, *, count: int, faces_per_photo: int, seed: int, compose: Compose
) -> list[TrueFace]:
    """Compose photos of a kind, and write them with their truths.parquet."""
    out.mkdir(parents=True, exist_ok=True)
    sources = list(islice(single_faces(folder, seed), count * faces_per_photo))
    if len(sources) < count * faces_per_photo:
        raise SystemExit(
            f"{folder} holds {len(sources)} photos of exactly one face, expected "
            f"{count * faces_per_photo}; ask for fewer photos or faces"
        )

    def make(number: int) -> list[TrueFace]:
        chosen = sources[number * faces_per_photo :][:faces_per_photo]
        pixels, faces = compose(number, chosen)
        name = f"{number:05d}.jpg"
        PIL.Image.fromarray(pixels).save(out / name, quality=JPEG_QUALITY)
        return [
            TrueFace(
                name, box, width, str(source.path.relative_to(folder)), source.path.parent.name
            )
            for source, (box, width) in zip(chosen, faces, strict=True)
        ]

    with ThreadPool() as threads:  # NumPy, OpenCV and Pillow release the GIL
        truths = [truth for photo in threads.map(make, range(count)) for truth in photo]
    table = pa.Table.from_pylist([asdict(truth) for truth in truths], schema=TRUTH_SCHEMA)
    pq.write_table(table, out / "truths.parquet")
    return truths


def single_faces(folder: Path, seed: int) -> Iterator[Source]:
    """Yield a folder's photos with exactly one face, of high score and not cut off, at random."""
    (weights,) = fetch([YUNET_FILE], cache_dir() / "weights")
    # OpenCV warns of a setting that is not used here.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    detector = cv2.FaceDetectorYN.create(str(weights), "", (0, 0), UNSURE_SCORE)
    paths = sorted(folder.rglob("*.jpg"))
    for number in np.random.default_rng(seed).permutation(len(paths)):
        with PIL.Image.open(paths[number]) as photo:
            image = np.asarray(photo.convert("RGB"))
        height, width = image.shape[:2]
        detector.setInputSize((width, height))
        _, faces = detector.detect(np.ascontiguousarray(image[..., ::-1]))
        if faces is None or len(faces) != 1 or faces[0, 14] < SURE_SCORE:
            continue
        x, y, box_width, box_height = map(float, faces[0, :4])
        margin = FEATHER * box_width
        if (
            min(x, y) >= margin
            and x + box_width + margin <= width
            and y + box_height + margin <= height
        ):
            yield Source(paths[number], image, (x, y, box_width, box_height))


def _group_scene(
    sources: list[Source], random: np.random.Generator
) -> tuple[Pixels, list[tuple[Box, int]]]:
    """Compose a group photo with each face at a random position in a random cell of a grid."""
    width, height = GROUP_SIZE
    scene = _background(sources, random)
    columns = int(np.ceil(np.sqrt(len(sources) * width / height)))
    rows = -(-len(sources) // columns)
    cell_width, cell_height = width // columns, height // rows
    faces = []
    cells = random.permutation(columns * rows)
    for number, source in enumerate(sources):
        face_width = FACE_WIDTHS[number % len(FACE_WIDTHS)]
        tile, (x, y, box_width, box_height) = tile_of(source, face_width)
        tile_height, tile_width = tile.shape[:2]
        if tile_width > cell_width or tile_height > cell_height:
            raise SystemExit(
                f"{len(sources)} faces do not fit into a photo; ask for fewer faces per size"
            )
        row, column = divmod(int(cells[number]), columns)
        left = column * cell_width + int(random.integers(cell_width - tile_width + 1))
        top = row * cell_height + int(random.integers(cell_height - tile_height + 1))
        _blend(scene[top : top + tile_height, left : left + tile_width], tile, FEATHER * face_width)
        faces.append(((left + x, top + y, box_width, box_height), face_width))
    return with_noise(scene, random), faces


def _portrait(source: Source, random: np.random.Generator) -> tuple[Pixels, list[tuple[Box, int]]]:
    """Enlarge a photo to a portrait."""
    height, width = source.image.shape[:2]
    photo = cv2.resize(source.image, PORTRAIT_SIZE, interpolation=cv2.INTER_CUBIC)
    across, down = PORTRAIT_SIZE[0] / width, PORTRAIT_SIZE[1] / height
    x, y, box_width, box_height = source.box
    box = (x * across, y * down, box_width * across, box_height * down)
    return with_noise(photo, random), [(box, round(box[2]))]


def _background(sources: list[Source], random: np.random.Generator) -> Pixels:
    """Paint soft clouds in the photos' colours, shuffled so that they do not look like faces."""
    across, down = BACKGROUND_SIZE
    shrunk = [cv2.resize(source.image, (3, 3), interpolation=cv2.INTER_AREA) for source in sources]
    colours = np.concatenate(shrunk).reshape(-1, 3)
    spots = random.choice(colours, across * down).reshape(down, across, 3)
    clouds = cv2.resize(spots, GROUP_SIZE, interpolation=cv2.INTER_CUBIC)
    return np.asarray(clouds, dtype=np.uint8)


def tile_of(source: Source, face_width: float, margin: float = TILE_MARGIN) -> tuple[Pixels, Box]:
    """Cut out the part of a photo around its face, scaled so that the face has a width.

    Args:
        source: the photo.
        face_width: width of the face in the tile, in pixels.
        margin: margin around the face's box, on every side, relative to the box.

    Returns:
        The tile, and the face's box in pixels of the tile.
    """
    height, width = source.image.shape[:2]
    x, y, box_width, box_height = source.box
    left = max(0, round(x - margin * box_width))
    top = max(0, round(y - margin * box_height))
    right = min(width, round(x + (1 + margin) * box_width))
    bottom = min(height, round(y + (1 + margin) * box_height))
    scale = face_width / box_width
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.resize(source.image[top:bottom, left:right], size, interpolation=way)
    across, down = size[0] / (right - left), size[1] / (bottom - top)
    box = ((x - left) * across, (y - top) * down, box_width * across, box_height * down)
    return np.asarray(tile, dtype=np.uint8), box


def _blend(scene: Pixels, tile: Pixels, feather: float) -> None:
    """Blend a tile into a part of a scene of the same size, over `feather` pixels at its edges."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in tile.shape[:2])
    ramp = np.minimum(np.minimum.outer(rows, columns) / feather, 1.0)[..., None]
    share = ramp * ramp * (3 - 2 * ramp)  # smooth at both ends
    scene[:] = np.round(share * tile + (1 - share) * scene).astype(np.uint8)


def with_noise(photo: Pixels, random: np.random.Generator) -> Pixels:
    """Add sensor noise to a photo, in place, a strip at a time."""
    for top in range(0, len(photo), STRIP_ROWS):
        strip = photo[top : top + STRIP_ROWS]
        noise = random.standard_normal(strip.shape[:2], dtype=np.float32) * NOISE
        strip[:] = (np.round(noise).astype(np.int16)[..., None] + strip).clip(0, 255)
    return photo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw_photos", type=Path, help="folder of LFW's photos")
    parser.add_argument("out", type=Path, help="new folder for the photos and truths.parquet")
    parser.add_argument(
        "--kind", choices=("groups", "portraits"), default="groups", help="kind of photos"
    )
    parser.add_argument("--count", type=int, default=50, help="number of photos to make")
    parser.add_argument(
        "--faces-per-size",
        type=int,
        default=4,
        help="number of faces of each width in a group photo",
    )
    options = parser.parse_args()
    if options.kind == "groups":
        truths = make_group_scenes(
            options.lfw_photos,
            options.out,
            count=options.count,
            faces_per_size=options.faces_per_size,
        )
    else:
        truths = make_portraits(options.lfw_photos, options.out, count=options.count)
    sizes = [path.stat().st_size / 1e6 for path in options.out.glob("*.jpg")]
    print(f"{options.count} photos with {len(truths)} faces in {options.out}")
    print(f"{min(sizes):.1f} to {max(sizes):.1f} MB per photo, {np.mean(sizes):.1f} on average")


if __name__ == "__main__":
    main()
