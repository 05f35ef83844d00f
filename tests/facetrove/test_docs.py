"""The pages: their lines are short, their links lead somewhere, and `make docs` builds them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import facetrove as ft
from facetrove import beam
from tests.support.command import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

LINKED = [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "benchmarks" / "README.md"]
"""Pages whose links are followed."""

MAX_LINE = 120
"""Characters in a line of a page, tables included."""

MAX_IMAGE_BYTES = 150_000
"""Bytes of a picture in the pages."""

LINK = re.compile(r"\]\(([^)\s]+)\)")


def by_path(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_lines_are_short(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), start=1)
    assert [number for number, line in lines if len(line) > MAX_LINE] == []


@pytest.mark.parametrize("page", LINKED, ids=by_path)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for link in LINK.findall(without_code(page.read_text())):
        url = urlsplit(link)
        if url.scheme:
            continue
        target = (page.parent / url.path).resolve() if url.path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if url.fragment and target.suffix == ".md":
            assert url.fragment in anchors(target), link


@pytest.mark.parametrize("page", LINKED, ids=by_path)
def test_a_page_has_no_two_headings_with_one_anchor(page: Path) -> None:
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    assert [heading for heading, count in Counter(headings).items() if count > 1] == []


def test_pictures_are_small_and_shown_somewhere() -> None:
    text = "".join(page.read_text() for page in PAGES)
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size <= MAX_IMAGE_BYTES, picture
        assert f"images/{picture.name}" in text, picture


def test_the_reference_has_every_public_name_once() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    named = re.findall(r"^::: facetrove\.(\S+)$", text, re.MULTILINE)
    public = [name for name in ft.__all__ if name != "__version__"]
    transforms = [f"beam.{name}" for name in beam.__all__]
    assert sorted(named) == sorted([*public, *transforms, "demo_photos.fetch_demo_photos"])


def test_the_glossary_explains_each_word_in_a_sentence_or_two() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    entries = re.findall(r"^### (.+)\n\n((?:.+\n)+)", text, re.MULTILINE)
    assert len(entries) >= 60
    for word, explanation in entries:
        sentences = re.findall(r"[.)](?=\s)", explanation)
        assert 1 <= len(sentences) <= 5, word
        assert explanation.rstrip().endswith((".", ")")), word


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pages, as `make docs` builds them."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    built = subprocess.run(
        [*command, "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    return folder


@pytest.mark.lasting
@pytest.mark.slow
def test_the_pages_load_nothing_from_the_network(site: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//")
    pages = {page.name: page.read_text() for page in site.glob("*.html")}
    assert {"index.html", "faces-index.html", "api.html", "walkthrough.html"} <= pages.keys()
    for name, text in pages.items():
        assert not loaded.search(text), name


@pytest.mark.slow
def test_the_reference_shows_each_public_name_with_its_signature(site: Path) -> None:
    text = (site / "api.html").read_text()
    for name in ft.__all__:
        assert name == "__version__" or f'id="facetrove.{name}"' in text, name
    plain = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", text))
    assert re.search(r"open_index\( ?index: str \| Path", plain)


@pytest.mark.slow
def test_the_reference_links_to_the_glossary(site: Path) -> None:
    linked = set(re.findall(r'href="glossary\.html#([^"]+)"', (site / "api.html").read_text()))
    assert {"face", "embedding", "fpir", "probe", "candidate-list"} <= linked
    glossary = (site / "glossary.html").read_text()
    assert all(f'id="{word}"' in glossary for word in linked)
