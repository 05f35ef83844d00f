"""How many edited copies of photos are kept away whose faces were deleted, and how many others.

    python -m benchmarks.kept_away LFW_FOLDER [--deleted 1000] [--seed 0]

The faces of some photos are deleted, drawn at random. Then edited copies of these are embedded, and
all the other photos as they are, with the code of the embed job (`faces.dataset.withholding`) and
the built-in detector. A photo counts as kept away if one of its faces is.

A neighbour of a burst is a copy of the photo that is shifted in a random direction by a share of
its width, what is missing mirrored, with noise added.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measure import print_header
from faces.dataset.deleted_pictures import (
    add_deleted_pictures,
    as_pictures,
    read_deleted_pictures,
)
from faces.dataset.deletion_records import DeletionRequest
from faces.dataset.deletion_steps import seal, withhold
from faces.dataset.deletions import read_deletions
from faces.dataset.earlier_faces import AssignedIds
from faces.dataset.picture_hash import MIN_BITS, hash_pictures, num_compared, unpack_hashes
from faces.dataset.schema import PHOTO_SCHEMA, PhotoStatus, faces_table
from faces.dataset.withholding import withhold_deleted
from faces.models.choice import ModelChoice
from faces.models.face import FaceQuality
from faces.models.registry import load_pipeline
from faces.photos.decoding import Image, Photo
from faces.photos.thumbnails import thumbnail

Boxes = NDArray[np.float32]
Detector = Callable[[Sequence[Image]], list[Boxes]]

BATCH = 16
"""Number of photos that are detected at once."""

_QUALITY = {field.name: 0.5 for field in fields(FaceQuality)}


@dataclass(frozen=True)
class Pictures:
    """Photos with their faces.

    Attributes:
        names: the photos' names, which stand in for their photo_ids.
        boxes: for each photo the (f, 4) boxes of its faces in pixels.
        sizes: (n, 2) widths and heights.
        thumbnails: for each photo its thumbnail.
    """

    names: list[str]
    boxes: list[Boxes]
    sizes: NDArray[np.float32]
    thumbnails: list[NDArray[np.uint8]]

    def taken(self, rows: Sequence[int]) -> Pictures:
        """Return some of the photos by their numbers."""
        return Pictures(
            [self.names[row] for row in rows],
            [self.boxes[row] for row in rows],
            self.sizes[list(rows)],
            [self.thumbnails[row] for row in rows],
        )

    def hashes(self) -> list[bytes]:
        """Return the hashes of the photos without their faces."""
        relative = [b / np.tile(s, 2) for b, s in zip(self.boxes, self.sizes, strict=True)]
        return hash_pictures(self.thumbnails, relative)

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Return the photos and their faces as the tables of a part."""
        photos = [
            {
                **dict.fromkeys(("num_bytes", "mtime_ns"), 1),
                **dict.fromkeys(("uri", "photo_id"), name),
                "width": int(width),
                "height": int(height),
                "num_faces": len(boxes),
                "status": (PhotoStatus.EMBEDDED if len(boxes) else PhotoStatus.NO_FACE).value,
                "is_copy": False,
            }
            for name, boxes, (width, height) in zip(self.names, self.boxes, self.sizes, strict=True)
        ]
        faces = [
            {
                "face_id": f"{name} {number}",
                "photo_id": name,
                "uri": name,
                "box": box.tolist(),
                "landmarks": [0.0] * 10,
                "score": 1.0,
                "embedding_norm": 1.0,
                **_QUALITY,
            }
            for name, boxes in zip(self.names, self.boxes, strict=True)
            for number, box in enumerate(boxes)
        ]
        embeddings = np.zeros((len(faces), 1), np.float32)
        return pa.Table.from_pylist(photos, PHOTO_SCHEMA), faces_table(faces, embeddings, 1)


def pictures(names: Sequence[str], images: Iterator[Image], detect: Detector) -> Pictures:
    """Detect the faces of photos."""
    boxes: list[Boxes] = []
    sizes, small, batch = [], [], []
    for image in images:
        sizes.append(image.shape[1::-1])
        small.append(thumbnail(image))
        batch.append(image)
        if len(batch) == BATCH:
            boxes += detect(batch)
            batch = []
    boxes += detect(batch)
    return Pictures(list(names), boxes, np.array(sizes, np.float32), small)


def jpeg(image: Image, quality: int = 90) -> Image:
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(stream).convert("RGB"))


def scaled(image: Image, seed: int) -> Image:
    half = (image.shape[1] // 2, image.shape[0] // 2)
    return jpeg(np.asarray(PIL.Image.fromarray(image).resize(half, PIL.Image.Resampling.LANCZOS)))


def cropped(*sides: float) -> Callable[[Image, int], Image]:
    """Return an edit that cuts shares off the left, top, right and bottom."""

    def edit(image: Image, seed: int) -> Image:
        height, width = image.shape[:2]
        left, top, right, bottom = sides
        rows = slice(round(top * height), height - round(bottom * height))
        columns = slice(round(left * width), width - round(right * width))
        return jpeg(np.ascontiguousarray(image[rows, columns]))

    return edit


def cropped_at_random(image: Image, seed: int) -> Image:
    return cropped(*np.random.default_rng(seed).uniform(0, 0.1, 4))(image, seed)


def exposed(stops: float) -> Callable[[Image, int], Image]:
    """Return an edit that changes the exposure: linear light times 2 ** stops, sRGB's curve."""

    def edit(image: Image, seed: int) -> Image:
        coded = image.astype(np.float32) / 255
        light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
        light = np.clip(light * 2**stops, 0, 1)
        coded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        return jpeg((coded * 255 + 0.5).astype(np.uint8))

    return edit


def neighbour(shift: float, noise: float) -> Callable[[Image, int], Image]:
    """Return an edit that shifts a photo by a share of its width and adds noise of grey levels."""

    def edit(image: Image, seed: int) -> Image:
        draw = np.random.default_rng(seed)
        height, width = image.shape[:2]
        angle = draw.uniform(0, 2 * np.pi)
        x, y = shift * width * np.cos(angle), shift * width * np.sin(angle)
        matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
        moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        noisy = moved + draw.normal(0, noise, image.shape)
        return jpeg(np.clip(noisy, 0, 255).astype(np.uint8))

    return edit


EDITS: dict[str, Callable[[Image, int], Image]] = {
    "the comment changed": lambda image, _: image,
    "compressed again, quality 50": lambda image, _: jpeg(image, 50),
    "scaled to half": scaled,
    "cropped by 5% of each side": cropped(0.05, 0.05, 0.05, 0.05),
    "one stop brighter": exposed(1),
    "one stop darker": exposed(-1),
    "cropped by 5% of one side": cropped(0.05, 0, 0, 0),
    "cropped by 0 to 10% of each side": cropped_at_random,
    "burst: shifted by 2%, noise 4": neighbour(0.02, 4),
    "burst: shifted by 4%, noise 6": neighbour(0.04, 6),
    "burst: shifted by 8%, noise 8": neighbour(0.08, 8),
}


def dlib_detector() -> Detector | None:
    """Return dlib's HOG detector, whose boxes are tighter; None where it is not installed."""
    try:
        import dlib
    except ImportError:
        return None
    find = dlib.get_frontal_face_detector()

    def detect(images: Sequence[Image]) -> list[Boxes]:
        return [
            np.array(
                [[r.left(), r.top(), r.width(), r.height()] for r in find(image, 1)], np.float32
            ).reshape(-1, 4)
            for image in images
        ]

    return detect


def delete(dataset_dir: Path, deleted: Pictures) -> None:
    """Delete all faces of photos, as `facetrove delete` does."""
    photos, faces = deleted.tables()
    row = {name: number for number, name in enumerate(deleted.names)}
    of_face = [row[name] for name in faces["photo_id"].to_pylist()]
    hashes = deleted.hashes()
    faces = faces.append_column("width", photos["width"].take(of_face))
    faces = faces.append_column("height", photos["height"].take(of_face))
    faces = faces.append_column("picture_hash", pa.array([hashes[n] for n in of_face]))
    add_deleted_pictures(dataset_dir, as_pictures(faces))
    face_ids = faces["face_id"].to_pylist()
    withhold(dataset_dir, dict.fromkeys(face_ids), [], DeletionRequest.of(face_ids, [], None))
    seal(dataset_dir)


def embed_again(dataset_dir: Path, again: Pictures, suffix: str = "") -> dict[str, set[str]]:
    """Return the names of the photos of which a face is kept away, by certainty.

    Args:
        dataset_dir: folder with the deletions.
        again: the photos, which get other names and so other contents and face_ids.
        suffix: what makes the names others.
    """
    names = [name + suffix for name in again.names]
    again = Pictures(names, again.boxes, again.sizes, again.thumbnails)
    small = dict(zip(names, again.thumbnails, strict=True))
    photos, faces = again.tables()
    deletions = read_deletions(dataset_dir)
    pictures = read_deleted_pictures(dataset_dir, deletions)
    photos, _ = withhold_deleted(photos, AssignedIds(faces), deletions, pictures, small)
    found: dict[str, set[str]] = {"same_picture": set(), "uncertain": set()}
    for name, kept in zip(names, photos["kept_away"].to_pylist(), strict=True):
        for face in kept or ():
            found[face["certainty"]].add(name)
    found["uncertain"] -= found["same_picture"]
    return found


def show(what: str, found: dict[str, set[str]], count: int) -> None:
    sure, unsure = (len(found[certainty]) for certainty in ("same_picture", "uncertain"))
    print(
        f"{what:34s} {(sure + unsure) / count:9.2%} {sure / count:9.2%} {unsure / count:10.2%} "
        f"{count:7d}"
    )


def show_cost(everything: Pictures, images: Sequence[Image], dataset_dir: Path) -> None:
    """Print the processor time per photo of hashing, and of comparing with the deleted ones."""
    start = time.process_time()
    small = [thumbnail(image) for image in images]
    hash_pictures(small, [np.zeros((1, 4), np.float32)] * len(small))
    hashing = (time.process_time() - start) / len(images)
    some = everything.taken(range(500))
    photos, faces = some.tables()
    small_ones = dict(zip(some.names, some.thumbnails, strict=True))
    start = time.process_time()
    deletions = read_deletions(dataset_dir)
    pictures = read_deleted_pictures(dataset_dir, deletions)
    withhold_deleted(photos, AssignedIds(faces), deletions, pictures, small_ones)
    comparing = (time.process_time() - start) / 500
    print(f"\nhashing {hashing * 1e3:.3f} ms a photo, comparing {comparing * 1e3:.3f} ms a photo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("--deleted", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print_header()
    cv2.setNumThreads(1)
    detector = load_pipeline(ModelChoice(), threads=1).detector

    def detect(images: Sequence[Image]) -> list[Boxes]:
        found = detector.detect([Photo(image) for image in images])
        return [np.array([f.box for f in of], np.float32).reshape(-1, 4) for of in found]

    paths = sorted(args.lfw.rglob("*.jpg"))
    names = [str(path.relative_to(args.lfw)) for path in paths]
    images = [np.asarray(PIL.Image.open(path).convert("RGB")) for path in paths]
    everything = pictures(names, iter(images), detect)
    with_faces = [row for row, boxes in enumerate(everything.boxes) if len(boxes)]
    drawn = np.random.default_rng(args.seed).permutation(with_faces)[: args.deleted].tolist()
    deleted = everything.taken(drawn)
    others = everything.taken(sorted(set(with_faces) - set(drawn)))
    bits = num_compared(unpack_hashes(deleted.hashes()))
    print(f"{len(drawn)} photos whose faces are deleted, {len(others.names)} others with faces")
    print(
        f"compared pairs of cells: median {np.median(bits):.0f}, least {bits.min()}; "
        f"{(bits < MIN_BITS).sum()} photos with fewer than {MIN_BITS}"
    )
    print(f"\n{'change':34s} {'kept away':>9s} {'sure':>9s} {'uncertain':>10s} {'photos':>7s}")
    with tempfile.TemporaryDirectory() as folder:
        dataset_dir = Path(folder)
        delete(dataset_dir, deleted)
        for what, edit in EDITS.items():
            edited = (edit(images[row], row) for row in drawn)
            again = pictures(deleted.names, edited, detect)
            seen = again.taken([row for row, boxes in enumerate(again.boxes) if len(boxes)])
            show(what, embed_again(dataset_dir, seen, what), len(seen.names))
        other_detector = dlib_detector()
        if other_detector is not None:
            again = pictures(deleted.names, (images[row] for row in drawn), other_detector)
            seen = again.taken([row for row, boxes in enumerate(again.boxes) if len(boxes)])
            show(
                "another detector (dlib's HOG)",
                embed_again(dataset_dir, seen, "h"),
                len(seen.names),
            )
        found = embed_again(dataset_dir, others)
        show("other photos, by mistake", found, len(others.names))
        for certainty, wrong in found.items():
            print(f"  {certainty}: {', '.join(sorted(wrong)) or 'none'}")
        show_cost(everything, images, dataset_dir)


if __name__ == "__main__":
    main()
