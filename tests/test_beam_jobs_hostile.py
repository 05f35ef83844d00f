"""The embed job on a folder of hostile files: each has one row, and the row tells the truth."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from faces.dataset import Dataset, PhotoStatus
from faces.photos import photo_path
from tests.conftest import facetrove_command, run_facetrove
from tests.hostile_photos import (
    LOCKED,
    LOSSLESS,
    HostileFile,
    make_hostile_folder,
    unlock,
)

# One process makes and embeds the folder, for all the tests here.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hostile")]

Row = dict[str, Any]

MOST_SHIFT = 0.01
"""How far a side of a box may be off where a format is lossy, as a share of the photo's longer
side: so much the detector itself is when the same photo is moved by one pixel."""

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
"""linux/prctl.h, linux/capability.h: what lets root read files that forbid it."""


@dataclass(frozen=True)
class HostileRun:
    """What the command made of the hostile folder.

    Attributes:
        folder: the hostile one.
        files: what is in it.
        finished: the command.
        rows: of the dataset's photos, by their name below the folder.
        faces: of the dataset, by photo_id.
        clean_faces: of the same pictures as clean files, by `digest`.
    """

    # Not in messages of failed tests: they would be megabytes long.
    folder: Path = field(repr=False)
    files: list[HostileFile] = field(repr=False)
    finished: subprocess.CompletedProcess[str] = field(repr=False)
    rows: dict[str, list[Row]] = field(repr=False)
    faces: dict[str, list[Row]] = field(repr=False)
    clean_faces: dict[str, list[Row]] = field(repr=False)

    def files_and_rows(self) -> Iterator[tuple[HostileFile, Row]]:
        """Of the files with a row each; what others lack is the business of one test."""
        for file in self.files:
            if len(self.rows.get(file.name, [])) == 1:
                yield file, self.rows[file.name][0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Iterator[HostileRun]:
    base = tmp_path_factory.mktemp("hostile")
    folder = base / "photos"
    with (
        PIL.Image.open(demo_photos / "grace_hopper.jpg") as portrait,
        PIL.Image.open(demo_photos / "biden.jpg") as stranger,
    ):
        files = make_hostile_folder(folder, portrait.convert("RGB"), stranger.convert("RGB"))
    try:
        finished = subprocess.run(
            facetrove_command("embed", folder, base / "dataset", "--json"),
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=obey_permissions,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        rows: dict[str, list[Row]] = {}
        for row in Dataset.open(base / "dataset").photos().to_pylist():
            rows.setdefault(str(photo_path(row["uri"]).relative_to(folder)), []).append(row)
        faces, clean = faces_by_photo(base / "dataset"), embed_clean(base / "clean", files)
        yield HostileRun(folder, files, finished, rows, faces, clean)
    finally:
        unlock(folder)


def obey_permissions() -> None:
    """Called in a child process: even root is then held to the permissions of files."""
    if os.geteuid() == 0 and sys.platform == "linux":
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def embed_clean(base: Path, files: list[HostileFile]) -> dict[str, list[Row]]:
    """The faces of the pictures that good files show, each picture alone in a plain PNG."""
    (base / "photos").mkdir(parents=True)
    for file in files:
        if file.shows is not None:
            file.shows.save(base / "photos" / f"{digest(file.shows)}.png", compress_level=1)
    finished = run_facetrove("embed", base / "photos", base / "dataset")
    assert finished.returncode == 0, finished.stderr
    faces = faces_by_photo(base / "dataset")
    photos = Dataset.open(base / "dataset").photos().to_pylist()
    return {Path(row["uri"]).stem: faces.get(row["photo_id"], []) for row in photos}


def digest(picture: PIL.Image.Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


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
    """A line for each file that did not end as it must."""
    files = {file.name: file.outcomes for file in run.files if is_locked(file.name) == locked}
    names = files.keys() | {name for name in run.rows if is_locked(name) == locked}
    found = {name: outcomes(run.rows.get(name, [])) for name in names}
    return [
        f"{name!r}: {found[name]}, expected one of {sorted(files.get(name, ()))}"
        for name in sorted(names)
        if len(found[name]) != 1 or found[name][0] not in files.get(name, ())
    ]


def test_every_hostile_file_has_one_row_that_says_how_it_ended(run: HostileRun) -> None:
    assert len({file.name for file in run.files}) == len(run.files) >= 300
    wrong = wrong_outcomes(run, locked=False)
    assert not wrong, "\n".join(wrong)


def test_what_may_not_be_read_is_a_read_error(run: HostileRun) -> None:
    probe = subprocess.run(
        [sys.executable, "-c", "import sys; open(sys.argv[1])", run.folder / LOCKED / "photo.jpg"],
        preexec_fn=obey_permissions,
        capture_output=True,
        check=False,
    )
    if probe.returncode == 0:
        pytest.skip("this user may read everything, whatever the permissions of a file say")
    wrong = wrong_outcomes(run, locked=True)
    assert not wrong, "\n".join(wrong)


def test_the_command_answers_with_one_document_and_no_noise(run: HostileRun) -> None:
    assert run.finished.stderr == ""
    report = json.loads(run.finished.stdout)
    assert report["total"]["num_photos"] == sum(map(len, run.rows.values()))


def test_rows_tell_of_their_own_file(run: HostileRun) -> None:
    for file, row in run.files_and_rows():
        if file.content is not None:
            assert row["photo_id"] == hashlib.sha256(file.content).hexdigest(), file.name
        num_faces = len(run.faces.get(row["photo_id"], []))
        assert row["num_faces"] == num_faces, file.name
        assert (num_faces > 0) == (row["status"] == PhotoStatus.EMBEDDED.value), file.name


def test_copies_and_links_are_one_photo(run: HostileRun) -> None:
    names = [name for name in run.rows if name.startswith("copies/") or name == "no files/link.jpg"]
    assert len(names) == 6
    assert len({run.rows[name][0]["photo_id"] for name in names}) == 1


def test_good_photos_give_the_faces_of_clean_ones(run: HostileRun) -> None:
    assert all(run.clean_faces.values())
    wrong = []
    for file, row in run.files_and_rows():
        if file.shows is not None and row["status"] == PhotoStatus.EMBEDDED.value:
            assert (row["width"], row["height"]) == file.shows.size, file.name
            faces = run.faces[row["photo_id"]]
            difference = compare(faces, run.clean_faces[digest(file.shows)])
            most_shift = (
                1 if file.least_similarity >= LOSSLESS else MOST_SHIFT * max(file.shows.size)
            )
            if not difference.is_within(file.least_similarity, most_shift):
                wrong.append(f"{file.name!r}: {difference}")
    assert not wrong, "\n".join(wrong)


@dataclass(frozen=True)
class Difference:
    """Between faces of one picture in two files.

    Attributes:
        num_faces: in either.
        similarity: the least, of each face to the nearest.
        shift: the most that a side of a box is off, in pixels.
    """

    num_faces: tuple[int, int]
    similarity: float
    shift: float

    def is_within(self, least_similarity: float, most_shift: float) -> bool:
        same_faces = self.num_faces[0] == self.num_faces[1]
        return same_faces and self.similarity >= least_similarity and self.shift <= most_shift


def compare(faces: list[Row], clean: list[Row]) -> Difference:
    ours, theirs = (np.array([face["embedding"] for face in some]) for some in (faces, clean))
    similarities = ours @ theirs.T
    nearest = [clean[place]["box"] for place in similarities.argmax(axis=1)]
    shifts = [
        np.subtract(face["box"], box).tolist() for face, box in zip(faces, nearest, strict=True)
    ]
    return Difference(
        (len(faces), len(clean)),
        float(similarities.max(axis=1).min()),
        float(np.abs(shifts).max()),
    )
