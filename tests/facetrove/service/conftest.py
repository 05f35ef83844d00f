"""A service of a small index, which tests must not change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from search.searcher import FaceSearcher
from tests.support.browser import open_browser
from tests.support.service import serving, small_index
from tests.support.small_collections import Collection


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def small(folder: Path) -> tuple[Collection, Path]:
    return small_index(folder)


@pytest.fixture(scope="module")
def searcher(small: tuple[Collection, Path]) -> FaceSearcher:
    return FaceSearcher.open(small[1])


@pytest.fixture(scope="module")
def client(small: tuple[Collection, Path]) -> Iterator[httpx.Client]:
    with serving(small[1]) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips the test where there is none."""
    with open_browser() as browser:
        yield browser
