"""What is held about a person: everything that is stored of the faces like a portrait."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import facetrove as ft
from faces.models.face import Box
from facetrove import held
from facetrove.cli import held as held_command
from indexer.build import build_index
from tests.support.people import group
from tests.support.small_collections import Collection, Photo


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """Photos of one content at three places, labelled differently, and another content."""
    collection = Collection(tmp_path / "d")
    photos = {
        "/a.jpg": Photo(1, person="Ann", year=1990),
        "/b.jpg": Photo(1, person="Bea", year=1990),
        "/c.jpg": Photo(1),
        "/d.jpg": Photo(2, person="Cy"),
    }
    collection.embed(photos)
    build_index(collection.path, tmp_path / "i")
    return collection


@pytest.mark.parametrize("gone_from_the_dataset", [False, True])
def test_the_labels_of_every_place_are_told(
    collection: Collection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    gone_from_the_dataset: bool,
) -> None:
    probe = collection.photos["/a.jpg"].vectors[0]
    monkeypatch.setattr(held, "_one_face", lambda *_: (Box(0, 0, 1, 1), probe))
    if gone_from_the_dataset:  # the index still has the face
        collection.embed({}, gone=["/a.jpg", "/b.jpg", "/c.jpg"])
    found = held.find_held(
        collection.path, collection.path.parent / "i", "portrait.jpg", min_similarity=0.999
    )
    assert len(found.only_in_indexes) == gone_from_the_dataset
    (face,) = json.loads(json.dumps(found.to_json()))["faces"]
    assert (face["uri"], face["also_at"], face["person"]) == ("/a.jpg", ["/b.jpg", "/c.jpg"], "Ann")
    assert face["values_at_places"] == {
        "person": {"/a.jpg": "Ann", "/b.jpg": "Bea", "/c.jpg": "Ann"}
    }
    assert not any(name.startswith("facetrove_") for name in face)
    held_command._show_held(found)
    assert "(and 2 other files; person Ann; person Bea" in capsys.readouterr().out


def test_where_all_places_agree_there_is_nothing_more_to_tell(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = np.asarray(collection.photos["/d.jpg"].vectors[0])
    monkeypatch.setattr(held, "_one_face", lambda *_: (Box(0, 0, 1, 1), probe))
    found = held.find_held(collection.path, [], "portrait.jpg", min_similarity=0.999)
    assert [columns["values_at_places"] for columns in found.columns] == [{}]


@pytest.mark.usefixtures("own_folders")
def test_the_people_book_is_part_of_what_is_held(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = np.asarray(collection.photos["/d.jpg"].vectors[0])
    monkeypatch.setattr(held, "_one_face", lambda *_: (Box(0, 0, 1, 1), probe))
    group(collection.path, dict.fromkeys(collection.photos["/d.jpg"].face_ids, 7))
    for name, shown in ((None, "7"), ("Cy Ott", "Cy Ott")):
        if name:
            ft.open_people(collection.path).name(7, name)
        found = held.find_held(collection.path, [], "portrait.jpg", min_similarity=0.999)
        (face,) = found.to_json()["faces"]
        assert face["in_people_book_as"] == shown
