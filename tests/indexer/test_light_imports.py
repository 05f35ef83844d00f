"""Modules that only read the formats of an index load no search library."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "indexer.layout",
        "indexer.options",
        "indexer.thresholds",
        "indexer.manifest",
        "indexer.vectors",
        "indexer.faces_file",
        "indexer.segment_files",
        "indexer.changes",
    ],
)
def test_reading_the_formats_of_an_index_loads_no_search_library(module: str) -> None:
    script = (
        f"import sys, {module}; "
        "print([name for name in ('faiss', 'duckdb', 'cv2', 'scipy') if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
