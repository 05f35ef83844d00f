"""Columns of photo lists in a dataset: removing, renaming, contradictions between places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faces.core.errors import WrongUsageError
from faces.core.storage import Folder
from faces.dataset import columns as columns_module
from faces.dataset.columns import ListColumn, list_columns, remove_column, rename_column
from faces.dataset.contradictions import contradictions, num_contradictory
from faces.dataset.header import DatasetSettings
from faces.dataset.layout import part_file
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from indexer.build import build_index
from search.searcher import FaceSearcher
from tests.support.command import ROOT
from tests.support.small_collections import CONTRACT, Collection, Photo, photo_id_of


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """A dataset of four photos in two parts, of which two have one content."""
    collection = Collection(tmp_path / "d")
    collection.embed(
        {
            "/a/1.jpg": Photo(1, person="Ann", year=1),
            "/b/1.jpg": Photo(1, person="Bea"),
            "/a/2.jpg": Photo(2, person="Cy", year=2),
            "/a/3.jpg": Photo(3, year=2),
        },
        photos_per_part=2,
    )
    return collection


def people(dataset: Path, column: str = "person") -> dict[str, str | None]:
    photos = Dataset.open(dataset).photos([column])
    return dict(zip(photos["uri"].to_pylist(), photos[column].to_pylist(), strict=True))


def with_column(dataset: Path, name: str, values: dict[str, str]) -> None:
    """Add a text column to a dataset, as a version before would that kept upper and lower case."""
    opened = Dataset.open(dataset)
    metadata = opened.metadata.append(pa.field(name, pa.string()))
    with DatasetWriter.open(dataset, DatasetSettings(CONTRACT, metadata=metadata)) as writer:
        for part in writer.dataset.committed_parts():
            path = writer.dataset.folder.at(part_file("photos", part))
            table = pq.read_table(path)
            column = pa.array([values.get(uri) for uri in table["uri"].to_pylist()], pa.string())
            table = table.append_column(name, column)
            pq.write_table(table.replace_schema_metadata(pq.read_schema(path).metadata), path)
        writer.dataset = Dataset(dataset, DatasetSettings(CONTRACT, metadata=metadata))
        writer.finish(None)


def test_columns_are_listed_with_their_counts(collection: Collection) -> None:
    assert list_columns(collection.path) == [
        ListColumn("person", "string", 3, 3),
        ListColumn("year", "int64", 3, 2),
    ]


def test_a_removed_column_is_in_no_file_and_in_no_index(
    collection: Collection, tmp_path: Path
) -> None:
    index = tmp_path / "i"
    build_index(collection.path, index)
    remove_column(collection.path, "PERSON")
    assert Dataset.open(collection.path).metadata.names == ["year"]
    for path in collection.path.rglob("photos/*.parquet"):
        assert "person" not in pq.read_schema(path).names
    build_index(collection.path, index)
    assert len(FaceSearcher.open(index)) == 3
    with pytest.raises(WrongUsageError, match="no column 'person'"):
        FaceSearcher.open(index).search_embeddings(Photo(1).vectors, where="person = 'Ann'")
    with pytest.raises(WrongUsageError, match=r"no column 'person' of photo lists; it has year"):
        remove_column(collection.path, "person")


def test_a_renamed_column_keeps_its_values(collection: Collection) -> None:
    before = people(collection.path)
    rename_column(collection.path, "person", "who")
    assert Dataset.open(collection.path).metadata.names == ["who", "year"]
    assert people(collection.path, "who") == before
    rename_column(collection.path, "WHO", "Person")  # which is always spelled person
    assert people(collection.path) == before


@pytest.mark.parametrize(
    "new", ["year", "YEAR", "place", "score", "uri", "facetrove_x", " ", "\udcff"]
)
def test_a_name_that_is_taken_or_reserved_is_refused(collection: Collection, new: str) -> None:
    with_column(collection.path, "place", {"/a/1.jpg": "Rome"})
    with pytest.raises(
        WrongUsageError, match=r"already with other values; rem|is reserved|Unicode"
    ):
        rename_column(collection.path, "person", new)


def test_two_columns_that_differ_in_case_become_one(collection: Collection) -> None:
    with_column(collection.path, "Person", {"/a/1.jpg": "Old", "/a/3.jpg": "Dee"})
    rename_column(collection.path, "Person", "person")
    assert sorted(Dataset.open(collection.path).metadata.names) == ["person", "year"]
    merged = {"/a/1.jpg": "Ann", "/b/1.jpg": "Bea", "/a/2.jpg": "Cy", "/a/3.jpg": "Dee"}
    assert people(collection.path) == merged


@pytest.mark.parametrize("change", ["rename", "remove"])
def test_a_change_that_is_stopped_is_finished_by_the_same_call(
    collection: Collection, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = people(collection.path)

    def apply() -> None:
        if change == "rename":
            rename_column(collection.path, "person", "who")
        else:
            remove_column(collection.path, "person")

    replace_photos = columns_module.replace_photos
    calls = []

    def stops(folder: Folder, name: str, photos: pa.Table) -> None:
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace_photos(folder, name, photos)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(columns_module, "replace_photos", stops)
        apply()
    Dataset.open(collection.path).photos()  # is readable meanwhile
    apply()
    if change == "rename":
        assert people(collection.path, "who") == before
    else:
        assert Dataset.open(collection.path).metadata.names == ["year"]


def test_labels_that_differ_from_place_to_place_are_found(collection: Collection) -> None:
    found = contradictions(Dataset.open(collection.path))
    rows = [tuple(row.values()) for row in found.to_pylist()]
    photo = photo_id_of(1)
    assert rows == [("person", photo, "/a/1.jpg", "Ann"), ("person", photo, "/b/1.jpg", "Bea")]
    assert num_contradictory(found) == {"person": 1}
    none = contradictions(Dataset.open(collection.path), pa.array([photo_id_of(2)]))
    assert len(none) == 0


def test_the_documents_read_columns_that_came_later(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts have different columns, and a plain reader takes those of the first."""
    first = min(collection.path.glob("photos/*.parquet"))
    table = pq.read_table(first)
    pq.write_table(table.drop_columns(["person"]), first)
    guide = (ROOT / "docs" / "embed.md").read_text()
    code = guide.split("superseded ones too, are read with\n\n```python\n")[1].split("```")[0]
    collection.path.rename(collection.path.with_name("faces.dataset"))
    monkeypatch.chdir(collection.path.parent)
    names: dict[str, Any] = {}
    exec(code, names)
    for frame in (names["by_duckdb"], names["by_pandas"]):
        people = frame.set_index("uri")["person"]
        assert people["/a/2.jpg"] == "Cy" and people.isna()["/a/1.jpg"]
