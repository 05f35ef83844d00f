"""The examples of docs/export.md run, and find what the index finds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import facetrove as ft
from tests.support.command import ROOT
from tests.support.databases import NEEDED, database
from tests.support.people import group

TITLES = {"lancedb": "LanceDB", "postgresql": "PostgreSQL", "milvus": "Milvus", "qdrant": "Qdrant"}


def example_of(title: str) -> str:
    """Return the code of docs/export.md that follows a line with a title, and makes the probe."""
    page = (ROOT / "docs" / "export.md").read_text().partition("## Searching from the database")[2]
    probe = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    found = re.findall(rf"^{title}[^\n]*:\n\n```python\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    return f"{probe}{found[0]}"


@pytest.fixture
def folder(
    tmp_path: Path, demo_dataset: Path, probe_photo: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with me.jpg and faces.index, which is the current one."""
    shutil.copytree(demo_dataset, tmp_path / "d")
    shutil.copy(probe_photo, tmp_path / "me.jpg")
    monkeypatch.chdir(tmp_path)
    faces = ft.open_dataset("d").faces(["face_id"]).to_arrow()["face_id"].to_pylist()
    group(tmp_path / "d", dict.fromkeys(faces, 1))  # so that there is a column `person`
    ft.build_index("d", "faces.index")
    return tmp_path


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Local mode performs exact")  # of Qdrant, which compares all
@pytest.mark.parametrize("kind", NEEDED)
def test_an_example_finds_the_best_match_of_the_index(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database(kind, folder) as db:
        ft.export_index("faces.index", db.address)
        code = (
            example_of(TITLES[kind]).replace("faces.db", "m.db").replace("faces.qdrant", "qdrant")
        )
        code = code.replace("postgresql://host/db", db.address)
        exec(compile(code, "docs/export.md", "exec"), {})
    probes = ft.open_index("faces.index").search("me.jpg", k=1, where="sharpness > 0.3", face=1)
    best = probes[0].matches[0]
    similarity, uri, _ = capsys.readouterr().out.splitlines()[0].split(" ", 2)
    assert uri == best.uri
    assert float(similarity) == pytest.approx(best.similarity, abs=1e-3)
