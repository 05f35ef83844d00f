"""The operations that describe the collection, and what a client may do."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from faces.core.contract import ModelContract
from faces.dataset.store import Dataset
from facetrove.photo_lists import LISTS
from facetrove.service.keys import SCOPES, add_key
from facetrove.service.refusals import HiddenPaths
from search.searcher import FaceSearcher
from tests.support.service import bearer, error_of, index_of_contract, serving
from tests.support.small_collections import Collection


def test_columns_have_their_types_and_frequent_values(client: httpx.Client) -> None:
    columns = {
        column["name"]: column for column in client.get("/v1/index/columns").json()["columns"]
    }
    assert {name: column["type"] for name, column in columns.items()} == {
        "person": "text",
        "year": "number",
    }
    assert "person 1" in columns["person"]["common"] and columns["year"]["common"] == []


def test_rates_fall_as_similarity_rises(
    client: httpx.Client, searcher: FaceSearcher, demo_index: Path
) -> None:
    none = client.get("/v1/index/rates").json()
    assert (none["fpir_basis"], none["points"]) == (None, [])
    with serving(demo_index, read_only=True) as known:
        rates = known.get("/v1/index/rates").json()
    fpirs = [point["fpir"] for point in rates["points"]]
    assert fpirs == sorted(fpirs, reverse=True) and fpirs[0] > 0.9 and fpirs[-1] < 0.01
    assert rates["points"][-1]["strangers"] == "at most 1 in 1,000"


@pytest.mark.slow
def test_counts_and_lists_are_those_of_the_dataset(demo_index: Path, demo_dataset: Path) -> None:
    with serving(demo_index, read_only=True, dataset=demo_dataset) as client:
        counts = client.get("/v1/collection").json()
        assert (counts["num_photos"], counts["num_faces"]) == (9, 7)
        assert counts["by_status"]["no_face"] == 2
        expected = LISTS["no-face"](Dataset.open(demo_dataset))["uri"].to_pylist()
        found, after = [], 0
        while after is not None:
            body = {"list": "no-face", "limit": 1, "after": after}
            answer = client.post("/v1/collection/photos", json=body).json()
            assert answer["num_photos"] == 2 and len(answer["photos"]) == 1
            found += [photo["uri"] for photo in answer["photos"]]
            after = answer["next"]
        assert found == expected


def test_a_server_without_the_dataset_says_so(tmp_path: Path, contract: ModelContract) -> None:
    index = index_of_contract(tmp_path, contract)
    shutil.rmtree(tmp_path / "d")
    with serving(index) as client:
        assert error_of(client.get("/v1/collection")) == (409, "no_dataset")
        answer = client.post("/v1/collection/photos", json={"list": "rejected"})
        assert error_of(answer) == (409, "no_dataset")
        assert client.get("/v1/me").json()["jobs"] is False


def test_me_says_what_the_key_allows_and_folders_to_those_who_add_photos(
    small: tuple[Collection, Path], folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys.toml"
    keys = {scope: add_key(file, scope, [scope]) for scope in SCOPES}
    options = {"keys": file, "state": tmp_path / "state", "folders": (folder,)}
    with serving(small[1], uploads=tmp_path / "uploads", **options) as client:
        assert error_of(client.get("/v1/me")) == (401, "no_key")
        for scope, key in keys.items():
            me = client.get("/v1/me", headers=bearer(key)).json()
            assert (me["name"], me["needs_key"], me["jobs"]) == (scope, True, True)
            assert me["scopes"] == (list(SCOPES) if scope == "admin" else [scope])
            may_add = scope in ("enrol", "admin")
            assert (me["uploads"], me["folders"]) == (may_add, [str(folder)] if may_add else [])
    with serving(small[1], read_only=True) as client:
        me = client.get("/v1/me").json()
        assert (me["name"], me["needs_key"], me["jobs"]) == (None, False, False)


def test_messages_say_what_paths_are_and_leave_words_alone() -> None:
    hidden = HiddenPaths.of({"index": Path("i"), "dataset": Path("/srv/faces/d")})
    assert hidden.hidden("k is 24; index i holds 7 faces") == "k is 24; the index holds 7 faces"
    assert hidden.hidden(f"{Path('i').absolute()}/CURRENT is gone") == "the index/CURRENT is gone"
    assert hidden.hidden("'/srv/faces/d' is no dataset") == "'the dataset' is no dataset"
    assert hidden.hidden("/srv/faces/d2 is another") == "/srv/faces/d2 is another"
