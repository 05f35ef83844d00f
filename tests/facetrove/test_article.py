"""The notebook about the article's network runs in a real Jupyter kernel, and says what is so."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.command import ROOT
from tests.support.notebooks import cell_with, code_cells, text_of
from tests.support.training import needs_keras

NOTEBOOK = ROOT / "docs" / "article.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook after all its cells were run, in an empty folder and with an empty home."""
    folder = tmp_path_factory.mktemp("article")
    home = folder / "home"
    home.mkdir()
    (folder / "here").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        for name in ("KERAS_HOME", "MPLCONFIGDIR", "HOME"):
            patch.setenv(name, str(home / name.lower()))
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder / "here")}},
        )
        client.execute()
    assert list((folder / "here").iterdir()) == []
    return notebook


def numbers_of(notebook: Any, code: str) -> list[float]:
    return [float(n) for n in re.findall(r"\d+\.\d+|\d+e-\d+", text_of(cell_with(notebook, code)))]


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in code_cells(nbformat.read(NOTEBOOK, as_version=4)):
        assert cell.outputs == [] and cell.execution_count is None


@needs_keras
@pytest.mark.lasting
def test_the_notebook_computes_what_it_says(executed: Any) -> None:
    assert text_of(cell_with(executed, "model.count_params()")) == "693962"
    for code in ("by_keras", "by_moving"):
        (difference,) = numbers_of(executed, code)
        assert difference < 1e-5
    (accuracy,) = numbers_of(executed, "model.compile(optimizer")
    assert accuracy > 0.8
    of_many, of_few = numbers_of(executed, "kept =")
    assert of_few < of_many - 0.1
    plain, augmented = numbers_of(executed, "augmented = trained")
    assert augmented > plain + 0.05
    pictures = [o for cell in code_cells(executed) for o in cell.outputs if "data" in o]
    assert sum("image/png" in picture["data"] for picture in pictures) == 4
