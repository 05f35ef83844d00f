"""The notebook of the documentation runs in a real Jupyter kernel, as a user would run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.command import ROOT
from tests.support.notebooks import cell_with, code_cells, text_of

NOTEBOOK = ROOT / "docs" / "walkthrough.ipynb"

TIMEOUT_SECONDS = 300
"""For each cell; the first embeds photos, which takes seconds where the networks are prepared."""

LAST_CELL = """
import sys
print([name for name in sys.modules if name.startswith("apache_beam.dataframe")])
import pandas
print(pandas.DataFrame({"number": [1, 2]})["number"].sum())
"""
"""What a user may do afterwards: their pandas is as it was, and Beam's own is not loaded."""


def read_notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Any:
    """The notebook after all its cells, and one more, were run in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = read_notebook()
    notebook.cells.append(nbformat.v4.new_code_cell(LAST_CELL))
    temporary = folder / "temporary"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # Nothing of the user's own Jupyter is read or written.
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        patch.setenv("TMPDIR", str(temporary))
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute()
    notebook.metadata["left_in_temporary_folder"] = [
        path.name for path in temporary.glob("beam-pipeline-temp*")
    ]
    return notebook


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in code_cells(read_notebook()):
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.slow
def test_the_notebook_embeds_the_demo_s_photos(executed: Any) -> None:
    assert len(text_of(cell_with(executed, "fetch_demo_photos()")).splitlines()) == 9
    assert "num_photos=9, num_faces=7" in text_of(cell_with(executed, "ft.embed_photos"))


@pytest.mark.slow
def test_the_notebook_shows_the_dataset_as_a_table(executed: Any) -> None:
    header, *rows = text_of(cell_with(executed, "dataset.faces()")).splitlines()
    assert header.split() == ["photo", "face_size", "sharpness", "yaw", "score"]
    assert len(rows) == 7


@pytest.mark.slow
def test_the_notebook_finds_the_president_s_portraits_first(executed: Any) -> None:
    assert "7 faces" in text_of(cell_with(executed, "ft.build_index"))
    _, *rows = text_of(cell_with(executed, "probes = index.search")).splitlines()
    photos = [row.split()[-1] for row in rows]
    assert len(photos) == 7
    assert all(name.startswith("obama") for name in photos[:4])
    assert not any(name.startswith("obama") for name in photos[4:])


@pytest.mark.slow
def test_the_notebook_shows_a_contact_sheet(executed: Any) -> None:
    (shown,) = cell_with(executed, "ft.write_contact_sheet").outputs
    assert {"image/png", "image/jpeg"} & shown["data"].keys()


@pytest.mark.slow
def test_the_notebook_compares_photos(executed: Any) -> None:
    assert "same person" in text_of(cell_with(executed, "comparison ="))
    assert "different people" in text_of(cell_with(executed, '"biden.jpg"'))


@pytest.mark.slow
def test_a_job_in_a_notebook_leaves_pandas_and_the_temporary_folder_alone(executed: Any) -> None:
    assert text_of(executed.cells[-1]).split("\n")[:2] == ["[]", "3"]
    assert executed.metadata["left_in_temporary_folder"] == []
