"""The people of the page: named, merged, split, hidden and ignored, by clicks and by keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

import facetrove as ft
from facetrove.service.keys import SCOPES, Scope, add_key
from indexer.build import build_index
from tests.support.browser import Watched, serious_findings, watched
from tests.support.people import album, face_id, group, grouped_collection
from tests.support.service import serving

pytestmark = pytest.mark.slow

ANN, ANN_AGAIN, BOB, CY, STRANGER = 1, 2, 3, 4, 5

PHOTOS = [*[[0]] * 7, *[[1]] * 3, *[[0, 1]] * 2, *[[2, 1]] * 2, [3], [4]]
"""Who is in each photo: Ann is 0, Bob 1, Cy 2; photo 14 shows 3, whom the machine took for Bob."""

PEOPLE = [*[[ANN]] * 4, *[[ANN_AGAIN]] * 3, *[[BOB]] * 3, *[[ANN, BOB]] * 2, *[[CY, BOB]] * 2]
PEOPLE += [[BOB], [STRANGER]]

NOT_THERE = r"404 \(Not Found\)"
"""What the console says of thumbnails: the photos of these tests are no files."""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    dataset = album(tmp_path / "d.dataset", [(None, faces) for faces in PHOTOS])
    build_index(dataset, tmp_path / "d.index")
    people = {
        face_id(photo, place): number
        for photo, numbers in enumerate(PEOPLE)
        for place, number in enumerate(numbers)
    }
    group(dataset, people)
    return dataset


@pytest.fixture
def address(dataset: Path) -> Iterator[str]:
    with serving(dataset.with_name("d.index")) as client:
        yield str(client.base_url)


@pytest.fixture
def visit(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Watched]:
    options = getattr(request, "param", {})
    with watched(browser, address, forgiven=NOT_THERE, **options) as visit:
        yield visit


def look(browser: Any, client: httpx.Client) -> AbstractContextManager[Watched]:
    return watched(browser, str(client.base_url), forgiven=NOT_THERE)


def names(dataset: Path) -> dict[int, str | None]:
    rows = ft.open_people(dataset).list(hidden=True, ignored=True).to_list()
    return {row["person_id"]: row["person"] for row in rows}


def sizes(dataset: Path) -> dict[int, int]:
    rows = ft.open_people(dataset).list(hidden=True, ignored=True).to_list()
    return {row["person_id"]: row["num_faces"] for row in rows}


def card(page: Any, number: int) -> Any:
    return page.locator(f".card:has(a[href='#/person/{number}'])")


def say_name(page: Any, name: str) -> None:
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    page.keyboard.press("Enter")


def test_a_person_is_named_in_the_grid_and_the_name_is_taken_back(
    visit: Watched, dataset: Path
) -> None:
    page = visit.open("people")
    page.get_by_text("5 people").wait_for()
    card(page, BOB).get_by_role("button", name="Who is this?").click()
    say_name(page, "Bob Ray")
    card(page, BOB).get_by_text("Bob Ray").wait_for()
    assert names(dataset)[BOB] == "Bob Ray"
    page.locator(".notice").get_by_role("button", name="Undo").click()
    card(page, BOB).get_by_role("button", name="Who is this?").wait_for()
    assert names(dataset)[BOB] is None


def test_a_name_is_completed_and_one_that_is_taken_offers_to_merge(
    visit: Watched, dataset: Path
) -> None:
    ft.open_people(dataset).name(ANN, "Ann Lee")
    page = visit.open("people")
    card(page, ANN_AGAIN).get_by_role("button", name="Who is this?").click()
    page.get_by_role("dialog").get_by_label("Name").press_sequentially("le")
    page.locator("dialog option[value='Ann Lee']").wait_for(state="attached")
    say_name(page, "Ann Lee")
    page.get_by_text("Is this the same Ann Lee, with 6 faces?").wait_for()
    page.get_by_role("button", name="Yes, merge them").click()
    card(page, ANN).get_by_text("9 faces").wait_for()
    assert card(page, ANN_AGAIN).count() == 0
    assert sizes(dataset)[ANN] == 9
    page.keyboard.press("Control+z")
    card(page, ANN_AGAIN).wait_for()
    assert sizes(dataset) == {ANN: 6, ANN_AGAIN: 3, BOB: 8, CY: 2, STRANGER: 1}


def test_several_are_merged_by_the_keyboard_alone_and_the_history_takes_it_back(
    visit: Watched, dataset: Path
) -> None:
    page = visit.open("people")
    card(page, BOB).wait_for()
    page.keyboard.press("/")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.card-link')"):
            break
    page.keyboard.press("ArrowRight")  # Bob has most faces, then Ann
    for _ in range(2):
        page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
    page.get_by_text("2 selected").wait_for()
    page.get_by_role("button", name="Merge").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Are these one person?").wait_for()
    page.keyboard.press("Enter")
    card(page, ANN).get_by_text("9 faces").wait_for()
    assert sizes(dataset)[ANN] == 9
    page.get_by_role("link", name="History").click()
    page.locator(".decisions li", has_text="Merged").get_by_role("button", name="Undo").click()
    page.locator(".decisions li.undone", has_text="Merged").wait_for()
    assert sizes(dataset)[ANN] == 6


def test_faces_that_are_clicked_become_somebody_else(visit: Watched, dataset: Path) -> None:
    page = visit.open(f"person/{BOB}")
    page.get_by_label("Select the face in 14.jpg").check()
    page.get_by_role("button", name="Somebody else").click()
    page.get_by_text("1 face is a person of its own now.").wait_for()
    page.get_by_text("7 faces · 7 photos").wait_for()
    assert page.locator("#main .card").count() == 7
    found = sizes(dataset)
    assert found[BOB] == 7 and found[max(found)] == 1 and len(found) == 6
    page.get_by_label("Select the face in 7.jpg").check()
    page.get_by_role("button", name="This is Person 3").click()
    page.get_by_text("confirmed", exact=True).wait_for()
    ft.open_people(dataset).name(CY, "Cy Ott")
    page.get_by_label("Select the face in 8.jpg").check()
    page.get_by_role("button", name="Move to…").click()
    page.get_by_role("dialog").get_by_label("Name of the person").fill("Cy Ott")
    page.keyboard.press("Enter")
    page.get_by_text("1 face moved.").wait_for()
    assert sizes(dataset)[CY] == 3


def test_strangers_are_ignored_and_hidden_and_come_back(visit: Watched, dataset: Path) -> None:
    page = visit.open("people")
    for number, verb, shown, back in (
        (STRANGER, "Ignore", "ignored", "Do not ignore"),
        (CY, "Hide", "hidden", "Show again"),
    ):
        page.get_by_label(f"Select Person {number}").check()
        page.get_by_role("button", name=verb, exact=True).click()
        card(page, number).wait_for(state="detached")
        page.get_by_label("Show").select_option(shown)
        card(page, number).wait_for()
        assert page.locator("#main .card").count() == 1
        page.get_by_label(f"Select Person {number}").check()
        page.get_by_role("button", name=back).click()
        card(page, number).wait_for(state="detached")
        page.get_by_label("Show").select_option("all")
        card(page, number).wait_for()
    assert len(ft.open_people(dataset).list()) == 5


def test_questions_are_answered_by_keys(visit: Watched, dataset: Path) -> None:
    page = visit.open("questions")
    sides = page.locator(".question section")
    assert {text.split("\n")[0] for text in sides.all_inner_texts()} == {"Person 1", "Person 2"}
    page.keyboard.press("s")
    page.get_by_text("There is nothing to ask now.").wait_for()
    page.reload()
    sides.first.wait_for()
    page.keyboard.press("y")
    page.get_by_text("2 people are one now.").wait_for()
    assert sizes(dataset)[ANN] == 9
    page.keyboard.press("Control+z")
    sides.first.wait_for()
    page.keyboard.press("n")
    page.get_by_text("Noted: two different people.").wait_for()
    assert len(ft.open_people(dataset).questions()) == 0


def test_photos_of_this_person_with_that_one(visit: Watched, dataset: Path) -> None:
    ft.open_people(dataset).name(CY, "Cy Ott")
    page = visit.open(f"person/{ANN}")
    page.locator(".chip", has_text="Person 3").click()
    page.get_by_text("2 photos", exact=True).wait_for()
    assert page.locator("#main .card").all_inner_texts() == ["10.jpg", "11.jpg"]
    page.get_by_role("button", name="Remove Person 1").click()
    page.get_by_text("8 photos", exact=True).wait_for()
    page.get_by_role("button", name="Leave a person out").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Cy Ott")
    page.keyboard.press("Enter")
    page.get_by_text("6 photos", exact=True).wait_for()
    assert all("Cy" not in url and "Ott" not in url for url in visit.requests)


@pytest.mark.lasting
@pytest.mark.slow
def test_long_lists_are_loaded_as_one_scrolls(browser: Any, tmp_path: Path) -> None:
    collection = grouped_collection(tmp_path / "d.dataset", photos=60, people=150)
    build_index(collection.path, tmp_path / "d.index")
    with serving(tmp_path / "d.index") as client, look(browser, client) as visit:
        page = visit.open("people")
        page.get_by_text("150 people").wait_for()
        page.locator("#main .card").first.wait_for()
        assert page.locator("#main .card").count() == 60
        for shown in (120, 150):
            page.mouse.wheel(0, 20_000)
            page.wait_for_function(
                f"() => document.querySelectorAll('#main .card').length == {shown}"
            )
        assert page.get_by_role("button", name="Show more").count() == 0


PEOPLE_VIEWS = ("people", f"person/{ANN}", "questions", f"together?with={ANN}", "history")

PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "color_scheme": "dark"}


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("visit", [{}, PHONE], indirect=True, ids=["desk", "phone"])
def test_every_view_of_people_fits_and_is_for_everybody(visit: Watched, dataset: Path) -> None:
    ft.open_people(dataset).name(ANN, "Ann Lee")
    for view in PEOPLE_VIEWS:
        page = visit.open(view)
        page.locator("#main li, #main .question").first.wait_for()
        if page.locator(".pick input").count():
            page.locator(".pick input").first.check()
        width = page.viewport_size["width"]
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, view
        assert serious_findings(page) == [], view
    page = visit.open("people")
    page.get_by_role("button", name="Who is this?").first.click()
    page.get_by_role("dialog").wait_for()
    assert serious_findings(page) == []


@pytest.mark.parametrize("scope", SCOPES)
def test_people_are_decided_about_by_those_whose_key_allows_it(
    browser: Any, dataset: Path, tmp_path: Path, scope: Scope
) -> None:
    keys = tmp_path / "keys.toml"
    key = add_key(keys, scope, ["search", scope] if scope == "curate" else [scope])
    index = dataset.with_name("d.index")
    with serving(index, keys=keys) as client, look(browser, client) as visit:
        page = visit.open("people", key=key)
        if scope == "enrol":  # a key that may not search sees no face
            page.get_by_role("heading", name="Collection").wait_for()
            assert not any("/v1/people" in url or "/v1/faces" in url for url in visit.requests)
            return
        card(page, ANN).wait_for()
        decides = scope in ("curate", "admin")
        assert (page.get_by_role("checkbox").count() > 0) == decides
        assert (page.get_by_role("button", name="Who is this?").count() > 0) == decides
        visit.open(f"person/{ANN}")
        page.get_by_role("heading", name="Person 1").wait_for()
        assert (page.get_by_role("button", name="Name", exact=True).count() > 0) == decides
