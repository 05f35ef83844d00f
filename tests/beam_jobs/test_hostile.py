"""The embed job on a folder of hostile files: each file has one row, and the row is true."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from faces.dataset.schema import PhotoStatus
from faces.dataset.store import Dataset
from faces.photos.uris import photo_path
from tests.support.command import facetrove_command, run_facetrove
from tests.support.hostile_photos import LOCKED, LOSSLESS, HostileFile, make_hostile_folder, unlock
from tests.support.permissions import obey_permissions, permissions_are_obeyed

Row = dict[str, Any]

MAX_SHIFT = 0.01
"""Largest shift of a side of a box for a lossy format, as a share of the photo's longer side: the
detector's boxes shift as much when the same photo is moved by one pixel."""

FLOAT = ("--embedder", "sface")
"""Options for the float embedder: 8-bit arithmetic changes similarities by some thousandths."""


@dataclass(frozen=True)
class HostileRun:
    """The dataset that the command made of the hostile folder.

    Attributes:
        files: files in the folder.
        finished: the finished command.
        rows: rows of the dataset's photos, by the file's path below the folder.
        faces: rows of the dataset's faces, by photo_id.
        clean_faces: rows of faces of the same pictures in clean files, by `digest`.
    """

    files: list[HostileFile]
    finished: subprocess.CompletedProcess[str]
    rows: dict[str, list[Row]]
    faces: dict[str, list[Row]]
    clean_faces: dict[str, list[Row]]

    def files_and_rows(self) -> Iterator[tuple[HostileFile, Row]]:
        """Each file that has exactly one row, with the row."""
        for file in self.files:
            if len(self.rows.get(file.name, [])) == 1:
                yield file, self.rows[file.name][0]


@pytest.mark.slow
@pytest.mark.lasting
def test_hostile_files_have_one_true_row_each_and_good_photos_lose_nothing(
    tmp_path: Path, demo_photos: Path
) -> None:
    """One test, because making and embedding the folder takes long."""
    folder = tmp_path / "photos"
    with (
        PIL.Image.open(demo_photos / "grace_hopper.jpg") as portrait,
        PIL.Image.open(demo_photos / "biden.jpg") as stranger,
    ):
        files = make_hostile_folder(folder, portrait.convert("RGB"), stranger.convert("RGB"))
    try:
        obeyed = permissions_are_obeyed(folder / LOCKED / "photo.jpg")
        run = embed_hostile(folder, tmp_path / "dataset", files, tmp_path / "clean")
    finally:
        unlock(folder)
    assert len({file.name for file in files}) == len(files) >= 300
    wrong = [
        *wrong_outcomes(run, locked=False),
        *(wrong_outcomes(run, locked=True) if obeyed else []),
        *wrong_rows(run),
        *wrong_faces(run),
        *wrong_output(run),
    ]
    assert not wrong, "\n".join(wrong)
    if not obeyed:
        pytest.skip("all is well, but this user may read files whatever their permissions say")


def embed_hostile(folder: Path, dataset: Path, files: list[HostileFile], clean: Path) -> HostileRun:
    finished = subprocess.run(
        facetrove_command("embed", folder, dataset, "--json", *FLOAT),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=obey_permissions,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    rows: dict[str, list[Row]] = {}
    for row in Dataset.open(dataset).photos().to_pylist():
        rows.setdefault(str(photo_path(row["uri"]).relative_to(folder)), []).append(row)
    return HostileRun(files, finished, rows, faces_by_photo(dataset), embed_clean(clean, files))


def embed_clean(base: Path, files: list[HostileFile]) -> dict[str, list[Row]]:
    """The faces of the pictures that good files show, each picture alone in a plain PNG."""
    (base / "photos").mkdir(parents=True)
    for file in files:
        if file.shows is not None:
            file.shows.save(base / "photos" / f"{digest(file.shows)}.png", compress_level=1)
    finished = run_facetrove("embed", base / "photos", base / "dataset", *FLOAT)
    assert finished.returncode == 0, finished.stderr
    faces = faces_by_photo(base / "dataset")
    photos = Dataset.open(base / "dataset").photos().to_pylist()
    return {Path(row["uri"]).stem: faces.get(row["photo_id"], []) for row in photos}


def digest(picture: PIL.Image.Image | None) -> str:
    return sha256(b"" if picture is None else picture.tobytes())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def faces_by_photo(dataset: Path) -> dict[str, list[Row]]:
    faces: dict[str, list[Row]] = {}
    for table in Dataset.open(dataset).faces():
        for face in table.to_pylist():
            faces.setdefault(face["photo_id"], []).append(face)
    return faces


def outcomes(rows: list[Row]) -> list[str]:
    rejected = PhotoStatus.REJECTED.value
    return [row["reason"] if row["status"] == rejected else row["status"] for row in rows]


def is_locked(name: str) -> bool:
    return name.startswith(f"{LOCKED}/")


def wrong_outcomes(run: HostileRun, *, locked: bool) -> list[str]:
    """A line for each file whose outcome is not an expected one."""
    files = {file.name: file.outcomes for file in run.files if is_locked(file.name) == locked}
    names = files.keys() | {name for name in run.rows if is_locked(name) == locked}
    found = {name: outcomes(run.rows.get(name, [])) for name in names}
    return [
        f"{name!r}: {found[name]}, expected one of {sorted(files.get(name, ()))}"
        for name in sorted(names)
        if len(found[name]) != 1 or found[name][0] not in files.get(name, ())
    ]


def wrong_rows(run: HostileRun) -> list[str]:
    """A line for each row that does not describe its own file and faces."""
    wrong = []
    for file, row in run.files_and_rows():
        if file.content is not None and row["photo_id"] != sha256(file.content):
            wrong.append(f"{file.name!r}: photo_id of another content")
        num_faces = len(run.faces.get(row["photo_id"], []))
        is_embedded = row["status"] == PhotoStatus.EMBEDDED.value
        if row["num_faces"] != num_faces or is_embedded != (num_faces > 0):
            wrong.append(f"{file.name!r}: {row['status']}, {row['num_faces']} faces of {num_faces}")
        if file.shows is not None and is_embedded and photo_size(row) != file.shows.size:
            wrong.append(f"{file.name!r}: {photo_size(row)} pixels of {file.shows.size}")
    names = [name for name in run.rows if name.startswith("copies/")] + ["no files/link.jpg"]
    photo_ids = {row["photo_id"] for name in names for row in run.rows.get(name, [])}
    if len(names) != 6 or len(photo_ids) != 1:
        wrong.append(f"{names} are {len(photo_ids)} contents, expected six names of one")
    return wrong


def wrong_faces(run: HostileRun) -> list[str]:
    """A line for each good photo whose faces are not those of the same picture in a clean file."""
    wrong = [f"no face in clean {name}" for name, faces in run.clean_faces.items() if not faces]
    for file, row in run.files_and_rows():
        faces, clean = run.faces.get(row["photo_id"]), run.clean_faces.get(digest(file.shows))
        if faces and clean and file.shows is not None:
            difference = compare(faces, clean)
            lossless = file.min_similarity >= LOSSLESS
            max_shift = 1 if lossless else MAX_SHIFT * max(file.shows.size)
            if not difference.is_within(file.min_similarity, max_shift):
                wrong.append(f"{file.name!r}: {difference}")
    return wrong


def wrong_output(run: HostileRun) -> list[str]:
    """A line if the command prints more than one JSON document, or another count than it stored."""
    wrong = [f"noise: {line}" for line in run.finished.stderr.splitlines()]
    num_photos = json.loads(run.finished.stdout)["total"]["num_photos"]
    num_rows = sum(map(len, run.rows.values()))
    return wrong if num_photos == num_rows else [*wrong, f"says {num_photos}, stored {num_rows}"]


def photo_size(row: Row) -> tuple[int, int]:
    return row["width"], row["height"]


@dataclass(frozen=True)
class Difference:
    """The difference between the faces of one picture in two files.

    Attributes:
        num_faces: number of faces in each file.
        similarity: smallest similarity of a face to its nearest face in the other file.
        shift: largest shift of a side of a box, in pixels.
    """

    num_faces: tuple[int, int]
    similarity: float
    shift: float

    def is_within(self, min_similarity: float, max_shift: float) -> bool:
        same_faces = self.num_faces[0] == self.num_faces[1]
        return same_faces and self.similarity >= min_similarity and self.shift <= max_shift


def compare(faces: list[Row], clean: list[Row]) -> Difference:
    ours, theirs = (np.array([face["embedding"] for face in some]) for some in (faces, clean))
    similarities = ours @ theirs.T
    nearest = [clean[row]["box"] for row in similarities.argmax(axis=1)]
    shifts = [
        np.subtract(face["box"], box).tolist() for face, box in zip(faces, nearest, strict=True)
    ]
    return Difference(
        (len(faces), len(clean)),
        float(similarities.max(axis=1).min()),
        float(np.abs(shifts).max()),
    )
