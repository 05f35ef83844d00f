"""Whatever is changed in a stored file, with digests signed anew, is refused or answered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faces.dataset.header import DatasetSettings
from faces.dataset.writing import DatasetWriter
from indexer.build import build_index
from indexer.delete import delete_faces
from tests.support.command import ROOT, require_message
from tests.support.manifests import manifest_in_force, sign_current
from tests.support.small_collections import CONTRACT, METADATA, Collection, many_photos

EXAMPLES = int(os.environ.get("FACETROVE_EXAMPLES", "25"))
"""Number of changes of each kind; `make fuzz` tries many more."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and an index of two segments, one approximate, with deleted rows."""
    folder = tmp_path_factory.mktemp("stored") / "whole"
    collection = Collection(folder / "dataset")
    collection.embed(many_photos(60, faces=1))
    build_index(folder / "dataset", folder / "index", recipe="IVF4,SQ8", target_recall=0.5)
    collection.embed(many_photos(10, first=500, faces=1))
    build_index(folder / "dataset", folder / "index")
    delete_faces(folder / "dataset", folder / "index", "person = 'person 3'")
    settings = DatasetSettings(CONTRACT, metadata=METADATA)
    with DatasetWriter.open(folder / "dataset", settings) as writer:
        done = {"num_photos": 1, "num_faces": 1}
        seconds = {"read": 1.0}
        writer.finish({"started": "now", "seconds": 1.5, "stage_seconds": seconds, "done": done})
    return folder


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and an index of format 2."""
    folder = tmp_path_factory.mktemp("stored") / "older"
    released = Path(__file__).parents[1] / "formats" / "format-2"
    for kind in ("dataset", "index"):
        shutil.copytree(released / f"faces.{kind}", folder / kind)
    return folder


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "json", "values", "older", "stores"])
def test_whatever_is_changed_is_refused_or_answered(whole: Path, older: Path, kind: str) -> None:
    seed = os.environ.get("FACETROVE_SEED", "1")
    finished = subprocess.run(
        [
            *(sys.executable, "-X", "faulthandler", "-m", "tests.support.changed_files"),
            *(str(older if kind == "older" else whole), str(EXAMPLES), seed, kind),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60 + 2 * EXAMPLES,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    outcomes = json.loads(finished.stdout.splitlines()[-1])
    assert outcomes["errors"] > EXAMPLES / 8
    assert outcomes["answers"] > EXAMPLES / 8


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("index/CURRENT", b"x", "CURRENT is corrupt"),
        ("dataset/dataset.json", b'{"format_version": NaN}', "dataset.json cannot be read"),
        ("dataset/deletions.parquet", b"PAR1PAR1", "deletions.parquet is corrupt"),
    ],
)
def test_the_command_line_tells_it_in_one_line(
    whole: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "changed"))
    (folder / name).write_bytes(content)
    asked = folder / name.partition("/")[0]
    require_message("info", asked, exit_code=1, says=[says])


def test_a_signed_manifest_of_another_type_is_told_in_one_line(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "changed"))
    index = folder / "index"
    path = manifest_in_force(index)
    document = json.loads(path.read_text())
    document["segments"][0]["recipe"]["candidates"] = "x"
    path.write_text(json.dumps(document))
    sign_current(index)
    for command in (("info", index), ("verify", index), ("search", index, path)):
        require_message(*command, exit_code=1, says=[path.name, "segments[0].recipe.candidates"])
