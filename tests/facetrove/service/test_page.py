"""The page as people meet it: in a browser, with keys of each scope, by keyboard, on a phone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from facetrove.service.keys import SCOPES, Scope, add_key
from search.results import Match
from search.searcher import FaceSearcher
from tests.support.browser import Watched, serious_findings, watched
from tests.support.service import serving

pytestmark = pytest.mark.slow

MAX_FIRST_VIEW_BYTES = 200_000

PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}


@dataclass(frozen=True)
class Served:
    """A service of the demo's photos, and the keys that it takes."""

    address: str
    keys: dict[Scope, str]


@contextmanager
def serving_copy(folder: Path, dataset: Path, index: Path) -> Iterator[Served]:
    """Serve a copy of a dataset and its index, with a key of each scope."""
    shutil.copytree(dataset, folder / "faces.dataset")
    shutil.copytree(index, folder / "faces.index")
    keys = {scope: add_key(folder / "keys.toml", scope, [scope]) for scope in SCOPES}
    # Whoever decides looks at faces first.
    keys["curate"] = add_key(folder / "keys.toml", "curator", ["search", "curate"])
    options = {
        "dataset": folder / "faces.dataset",
        "uploads": folder / "uploads",
        "keys": folder / "keys.toml",
    }
    with serving(folder / "faces.index", **options) as client:
        yield Served(str(client.base_url), keys)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, demo_dataset: Path, demo_index: Path
) -> Iterator[Served]:
    """A service that tests leave as it is."""
    with serving_copy(tmp_path_factory.mktemp("page"), demo_dataset, demo_index) as served:
        yield served


@pytest.fixture(scope="module")
def changing(
    tmp_path_factory: pytest.TempPathFactory, demo_dataset: Path, demo_index: Path
) -> Iterator[Served]:
    """A service that tests change, and leave as they found it but for photos that are added."""
    with serving_copy(tmp_path_factory.mktemp("changing"), demo_dataset, demo_index) as served:
        yield served


@pytest.fixture
def visit(browser: Any, served: Served, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page that is not open yet, with the options of the test's parameter."""
    with watched(browser, served.address, **getattr(request, "param", {})) as visit:
        yield visit


@pytest.fixture
def change(browser: Any, changing: Served) -> Iterator[Watched]:
    """A page of the service that tests may change."""
    with watched(browser, changing.address) as visit:
        yield visit


@pytest.fixture(scope="module")
def expected(demo_index: Path, probe_photo: Path) -> list[Match]:
    """What the index itself answers. Its third digit goes by the engine that is fastest here."""
    return list(FaceSearcher.open(demo_index).search(probe_photo)[0].matches)


def search_for(page: Any, photo: Path) -> list[str]:
    """Search for a photo, and return the texts of the matches."""
    page.locator(".drop input[type=file]").set_input_files(photo)
    page.locator(".matches .card").first.wait_for()
    return [text.replace("\n", " ") for text in page.locator(".matches .card").all_inner_texts()]


def test_a_photo_finds_its_person_and_says_how_often_strangers_match(
    visit: Watched, served: Served, probe_photo: Path, expected: list[Match]
) -> None:
    page = visit.open(key=served.keys["search"])
    cards = search_for(page, probe_photo)
    assert [card.startswith("obama") for card in cards] == [True] * 4 + [False] * 3
    best, fifth = expected[0], expected[4]
    assert 0.9 < best.similarity < 0.92
    assert (
        f"similarity {best.similarity:.3f} at most 1 in 1,000 searches for strangers finds a match"
        in cards[0]
    )
    assert fifth.strangers is not None and 80 <= int(fifth.strangers.split()[0]) < 90
    assert f"{fifth.strangers} searches for strangers find a match this similar" in cards[4]
    loaded = "() => document.querySelectorAll('.card img[src^=blob]').length >= 4"
    page.wait_for_function(loaded)
    page.get_by_label("Show").select_option("0.01")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 4")
    page.locator(".box").click()
    page.get_by_text("Pick a face in the photo.").wait_for()


def test_filters_are_made_of_the_columns_there_are(visit: Watched, served: Served) -> None:
    page = visit.open(key=served.keys["search"])
    page.get_by_role("button", name="Add a condition").click()
    page.get_by_label("Column").select_option("uri")
    page.get_by_label("Comparison").select_option("contains")
    page.get_by_label("Value").fill("BIDEN's")
    page.keyboard.press("Enter")
    page.get_by_text("No face fits.").wait_for()
    page.get_by_label("Value").fill("Biden")
    page.keyboard.press("Enter")
    page.get_by_text("1 face fits").wait_for()
    assert page.locator(".card").inner_text() == "biden.jpg"


def test_a_photo_is_shown_large_with_its_faces(
    visit: Watched, served: Served, probe_photo: Path
) -> None:
    page = visit.open(key=served.keys["search"])
    search_for(page, probe_photo)
    page.locator(".card").first.click()
    page.get_by_role("heading", name="obama_partial_face.jpg").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    frame, box = (page.locator(one).bounding_box() for one in (".frame.large", ".frame.large .box"))
    assert frame["height"] > 400
    # The face is at 0, 87 and has 193 x 330 of the photo's 480 x 1137 pixels or so.
    assert box["x"] - frame["x"] < 0.1 * frame["width"]
    assert 0.2 < box["height"] / frame["height"] < 0.5
    page.get_by_role("button", name="Find similar").click()
    page.locator(".matches .card").first.wait_for()
    assert "obama" in page.locator(".matches .card").first.inner_text()


def test_the_camera_takes_a_photo(visit: Watched, served: Served) -> None:
    page = visit.open(key=served.keys["search"])
    page.get_by_role("button", name="Use the camera").click()
    page.wait_for_function("() => document.querySelector('video')?.videoWidth > 0")
    page.get_by_role("button", name="Take the photo").click()
    page.get_by_text("No face was found in this photo.").first.wait_for()
    assert page.locator("video").count() == 0


def test_a_key_is_asked_for_once_and_kept_in_no_cookie_and_no_address(
    visit: Watched, served: Served
) -> None:
    page = visit.page
    page.goto("/")
    page.get_by_label("Key").fill("ft_nonsense")
    page.keyboard.press("Enter")
    page.get_by_text("The server does not know this key.").wait_for()
    visit.open(key=served.keys["search"])
    page.reload()
    page.get_by_role("heading", name="Who is this?").wait_for()
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0
    assert all(served.keys["search"] not in url for url in visit.requests)
    page.get_by_role("button", name="Forget key").click()
    page.get_by_label("Key").wait_for()


PARTS: dict[Scope, tuple[list[str], list[str]]] = {
    "search": (["Search", "People", "Collection"], ["Jobs", "What was left out"]),
    "curate": (["Search", "People", "Collection"], ["Jobs", "What was left out", "Deletions"]),
    "enrol": (["Collection"], ["Add photos", "Jobs"]),
    "admin": (
        ["Search", "People", "Collection"],
        ["Add photos", "Jobs", "What was left out", "How often strangers match", "Deletions"],
    ),
}
"""Tabs, and sections of the collection, that a key of each scope shows."""


@pytest.mark.parametrize("scope", SCOPES)
def test_the_page_shows_what_the_key_allows(visit: Watched, served: Served, scope: Scope) -> None:
    page = visit.open("collection", key=served.keys[scope])
    tabs, sections = PARTS[scope]
    assert page.locator("nav a").all_inner_texts() == tabs
    assert set(sections) <= set(page.locator("main h2").all_inner_texts())
    may = {"Add photos": scope in ("enrol", "admin"), "Deletions": scope in ("curate", "admin")}
    for heading, allowed in may.items():
        assert page.get_by_role("heading", name=heading).count() == allowed
    for name in ("Measure it here", "Make deletions final"):
        assert page.get_by_role("button", name=name).count() == (scope == "admin")
    assert page.locator("[data-undo]").count() == (scope in ("curate", "admin"))


def test_photos_are_added_and_the_job_is_followed_to_its_end(
    change: Watched, changing: Served, probe_photo: Path
) -> None:
    page = change.open("collection", key=changing.keys["enrol"])
    page.get_by_label("Photos from this device").set_input_files(probe_photo)
    page.get_by_role("button", name="Add", exact=True).click()
    job = page.locator(".job").first
    job.get_by_role("progressbar").wait_for()
    job.get_by_text("1 photo looked at; the collection now holds 8 faces.").wait_for()
    assert job.get_attribute("data-state") == "done"
    assert any(url.endswith("/events") for url in change.requests)


@pytest.mark.lasting
@pytest.mark.slow
def test_a_face_is_deleted_and_comes_back(
    change: Watched, changing: Served, probe_photo: Path
) -> None:
    page = change.open(key=changing.keys["curate"])
    before = len(search_for(page, probe_photo))
    page.locator(".card", has_text="biden").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("1 face deleted.").wait_for()
    assert len(search_for(page, probe_photo)) == before - 1
    page.get_by_role("link", name="Collection").click()
    page.get_by_role("button", name="Take back").click()
    page.locator(".job[data-state=done]", has_text="Take back a deletion").wait_for()
    page.get_by_role("link", name="Search").click()
    assert len(search_for(page, probe_photo)) == before


@pytest.mark.parametrize("scope", ["search", "admin"])
def test_a_search_needs_the_keyboard_alone(
    visit: Watched, served: Served, probe_photo: Path, scope: Scope
) -> None:
    # Choosers are caught from now on: told only when one is awaited, the browser may be too late.
    visit.page.on("filechooser", lambda _: None)
    page = visit.open(key=served.keys[scope])
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "file"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(probe_photo)
    page.locator(".matches .card").first.wait_for()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.card')"):
            break
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".frame.large").wait_for()
    page.keyboard.press("3")
    page.get_by_role("heading", name="Collection").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard").wait_for()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0


VIEWS = ("search", "collection")


@pytest.mark.parametrize("visit", [PHONE], indirect=True, ids=["phone"])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_phone_shows_everything_without_scrolling_sideways(
    visit: Watched, served: Served, probe_photo: Path, scope: Scope
) -> None:
    page = visit.open(key=served.keys[scope])
    for view in VIEWS:
        page.goto(f"/#/{view}")
        page.locator("#main h1").wait_for()
        if view == "search" and scope != "enrol":
            search_for(page, probe_photo)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
        small = "[...document.querySelectorAll('main button')].filter(b => b.offsetHeight && "
        small += "b.offsetHeight < 24).map(b => b.outerHTML)"
        assert page.evaluate(small) == []


THEMES = [
    ({"color_scheme": "light"}, "admin"),
    ({"color_scheme": "dark"}, "admin"),
    ({"color_scheme": "light"}, "search"),
    ({"color_scheme": "dark"}, "enrol"),
]


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize(("visit", "scope"), THEMES, indirect=["visit"])
def test_axe_finds_nothing_serious(
    visit: Watched, served: Served, probe_photo: Path, scope: Scope
) -> None:
    visit.page.goto("/")
    visit.page.get_by_label("Key").wait_for()
    assert serious_findings(visit.page) == []
    page = visit.open(key=served.keys[scope])
    if scope != "enrol":
        search_for(page, probe_photo)
        assert serious_findings(page) == []
        page.locator(".card").first.click()
        page.locator(".frame.large").wait_for()
        assert serious_findings(page) == []
    page.goto("/#/collection")
    page.get_by_role("heading", name="Jobs").wait_for()
    assert serious_findings(page) == []


@pytest.mark.parametrize("visit", [{"locale": "de-DE"}], indirect=True, ids=["German"])
def test_a_german_browser_is_spoken_to_in_german_and_any_other_can_choose(
    visit: Watched, served: Served, probe_photo: Path, expected: list[Match]
) -> None:
    visit.page.goto("/")
    visit.page.get_by_label("Schlüssel").fill(served.keys["search"])
    visit.page.keyboard.press("Enter")
    visit.page.get_by_role("heading", name="Wer ist das?").wait_for()
    assert visit.page.evaluate("document.documentElement.lang") == "de"
    cards = search_for(visit.page, probe_photo)
    similarity = f"{expected[0].similarity:.3f}".replace(".", ",")
    assert "höchstens 1 von 1.000" in cards[0] and similarity in cards[0]
    visit.page.get_by_label("Sprache").select_option("en")
    visit.page.get_by_role("heading", name="Who is this?").wait_for()


def test_the_first_view_is_small(visit: Watched, served: Served) -> None:
    page = visit.open(key=served.keys["admin"])
    page.wait_for_load_state("networkidle")
    assert 20_000 < visit.num_bytes < MAX_FIRST_VIEW_BYTES


def test_a_server_that_is_gone_is_told_of(browser: Any, demo_index: Path) -> None:
    with serving(demo_index, read_only=True) as client:
        visit = Watched(browser, str(client.base_url))
        page = visit.open()
        assert page.locator("[data-undo]").count() == 0
    page.get_by_role("link", name="Collection").click()
    page.get_by_text("The server does not answer.").wait_for()
    visit.close()


def test_no_style_or_script_stands_in_the_markup(visit: Watched, served: Served) -> None:
    page = visit.open(key=served.keys["admin"])
    markup = page.request.get("/").text()
    assert not re.search(r"<style|<script(?! type=\"module\" src=)|\son\w+=|style=", markup)
    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            try { script.textContent = "window.ran = true"; } catch { return "refused"; }
            document.head.append(script);
            return window.ran ?? "refused";
        }"""
    )
    assert ran == "refused"
    visit.complaints.clear()
