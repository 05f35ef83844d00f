from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.options import EmbedOptions
from beam_jobs.plan import Plan, make_plan, metadata_of
from beam_jobs.shard import embed_shard
from faces.core.errors import WrongUsageError
from faces.dataset.columns import remove_column
from faces.dataset.header import DatasetSettings
from faces.dataset.layout import part_file
from faces.dataset.missing import drop_photos, find_missing
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.pipeline import FacePipeline
from faces.photos.listing import list_photos
from faces.photos.rejection import TRANSIENT_REASONS, RejectReason
from indexer.purge import purge
from tests.support.photo_files import write_tar


def plan(dataset: Dataset | None, *sources: Path, retry: tuple[RejectReason, ...] = ()) -> Plan:
    listing = list_photos(sources)
    if dataset is not None:
        dataset = Dataset.open(dataset.path).with_metadata(metadata_of(listing))
    return make_plan(listing, dataset, retry)


def names(uris: pa.Array | pa.ChunkedArray) -> list[str]:
    return [Path(uri).name for uri in uris.to_pylist()]


@pytest.fixture
def embedded(
    tmp_path: Path, demo_photos: Path, pipeline: FacePipeline
) -> tuple[Dataset, Path, FacePipeline]:
    """A dataset of three photos, and their folder."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("biden.jpg", "coffee.png"):
        shutil.copy(demo_photos / name, photos)
    (photos / "text.jpg").write_text("text")
    write_to(tmp_path / "d", DatasetSettings(pipeline.contract), plan(None, photos), pipeline)
    return Dataset.open(tmp_path / "d"), photos, pipeline


def write(dataset: Dataset, todo: Plan, pipeline: FacePipeline) -> None:
    write_to(dataset.path, dataset.settings, todo, pipeline)


def write_to(path: Path, settings: DatasetSettings, todo: Plan, pipeline: FacePipeline) -> None:
    with DatasetWriter.open(path, settings) as writer:
        schema = writer.dataset.photo_schema
        result = embed_shard(pipeline, todo.to_do, schema, stored=todo.stored)
        writer.write_part(writer.part_name(0), result.photos, result.faces, result.seconds)


def counts(todo: Plan) -> tuple[int, int, int, int]:
    return todo.num_new, todo.num_changed, todo.num_retried, todo.num_unchanged


def test_a_single_pattern_or_place_is_not_taken_letter_by_letter() -> None:
    options = EmbedOptions(exclude="*.tif", drop_below=Path("old"))
    assert (options.exclude, options.drop_below) == (("*.tif",), (Path("old"),))
    assert EmbedOptions(exclude=["a", "b"]).exclude == ("a", "b")


def test_new_changed_unchanged_and_vanished_photos_are_told_apart(
    embedded: tuple[Dataset, Path, FacePipeline], demo_photos: Path
) -> None:
    dataset, photos, _ = embedded
    assert counts(plan(dataset, photos)) == (0, 0, 0, 3)
    shutil.copy(demo_photos / "obama2.jpg", photos / "new.jpg")
    shutil.copy(demo_photos / "obama3.jpg", photos / "biden.jpg")
    (photos / "coffee.png").unlink()
    todo = plan(dataset, photos)
    assert counts(todo) == (1, 1, 0, 1)
    assert names(todo.to_do["uri"]) == ["biden.jpg", "new.jpg"]
    assert names(todo.vanished) == ["coffee.png"]
    # A photo that is named alone makes no others vanish.
    assert len(plan(dataset, photos / "new.jpg").vanished) == 0


def test_rejected_photos_are_tried_again_when_asked(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, _ = embedded
    assert counts(plan(dataset, photos, retry=TRANSIENT_REASONS)) == (0, 0, 0, 3)
    todo = plan(dataset, photos, retry=(RejectReason.UNSUPPORTED_FORMAT,))
    assert counts(todo) == (0, 0, 1, 2)
    assert names(todo.to_do["uri"]) == ["text.jpg"]


def test_a_touched_photo_is_recognised_by_its_content(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    before = [table.to_pylist() for table in dataset.faces()]
    os.utime(photos / "biden.jpg", ns=(1, 1))
    todo = plan(dataset, photos)
    assert counts(todo) == (0, 1, 0, 2)
    assert todo.stored["num_faces"].to_pylist() == [1]
    write(dataset, todo, pipeline)
    dataset = Dataset.open(dataset.path)
    assert [table.to_pylist() for table in dataset.faces()] == before
    assert dataset.counts().num_faces == 1
    assert counts(plan(dataset, photos)) == (0, 0, 0, 3)


def test_copies_are_kept_together_and_files_of_one_size_apart(
    tmp_path: Path, demo_photos: Path
) -> None:
    content = bytearray((demo_photos / "biden.jpg").read_bytes())
    for name in ("a.jpg", "m.jpg", "z.jpg"):
        (tmp_path / name).write_bytes(content)
    content[-1] ^= 1
    (tmp_path / "b.jpg").write_bytes(content)
    todo = plan(None, tmp_path)
    assert names(todo.to_do["uri"]) == ["a.jpg", "m.jpg", "z.jpg", "b.jpg"]
    assert todo.group.tolist() == [0, 0, 0, 1]


def test_metadata_of_photo_lists_is_stored_and_its_change_is_a_change(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    people = photos / "people.csv"
    people.write_text("path,person,year\nbiden.jpg,Joe,2013\ncoffee.png,,\n")
    todo = plan(dataset, people)
    assert counts(todo) == (0, 1, 0, 1)  # the list has no values for the coffee
    write(dataset.with_metadata(metadata_of(list_photos([people]))), todo, pipeline)
    dataset = Dataset.open(dataset.path)
    assert {field.name: str(field.type) for field in dataset.metadata} == {
        "person": "string",
        "year": "int64",
    }
    rows = {Path(row["uri"]).name: row for row in dataset.photos().to_pylist()}
    assert (rows["biden.jpg"]["person"], rows["biden.jpg"]["year"]) == ("Joe", 2013)
    assert rows["text.jpg"]["person"] is None
    assert dataset.counts().num_faces == 1
    assert counts(plan(dataset, people)) == (0, 0, 0, 2)
    assert counts(plan(dataset, photos)) == (0, 0, 0, 3)  # a folder has no metadata
    people.write_text("path,person,year\nbiden.jpg,Joseph,\n")
    assert counts(plan(dataset, people)) == (0, 1, 0, 0)
    (photos / "biden.jpg").write_bytes((photos / "biden.jpg").read_bytes() + b"\0")
    todo = plan(dataset, photos)
    assert counts(todo) == (0, 1, 0, 2)
    assert todo.to_do["person"].to_pylist() == ["Joe"]  # a changed photo keeps its metadata


def test_a_photo_that_cannot_be_reached_keeps_its_result(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, _ = embedded
    (photos / "biden.jpg").rename(photos.parent / "elsewhere.jpg")
    named = [photos / "coffee.png", photos / "list.txt"]
    (photos / "list.txt").write_text("biden.jpg\ntext.jpg\n")
    todo = plan(dataset, *named)
    assert counts(todo) == (0, 0, 0, 3)
    assert todo.num_out_of_reach == 1


def test_a_transient_failure_replaces_no_result(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    before = dataset.counts()
    os.utime(photos / "biden.jpg", ns=(1, 1))
    (photos / "new.jpg").symlink_to("nowhere")
    todo = plan(dataset, photos)
    assert counts(todo) == (1, 1, 0, 2)
    (photos / "biden.jpg").unlink()  # after it was listed
    write(dataset, todo, pipeline)
    after = Dataset.open(dataset.path)
    assert after.counts().num_faces == before.num_faces == 1
    assert after.counts().by_reason == {"read_error": 1, "unsupported_format": 1}
    # A photo that could be read neither before nor now gets no new row.
    todo = plan(after, photos, retry=TRANSIENT_REASONS)
    assert counts(todo) == (0, 0, 1, 2)
    result = embed_shard(pipeline, todo.to_do, after.photo_schema)
    assert len(result.photos) == 0


def test_lost_faces_are_embedded_again_although_a_copy_has_a_row(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    shutil.copy(photos / "biden.jpg", photos / "copy.jpg")
    write(dataset, plan(dataset, photos), pipeline)
    owner = dataset.photos()["faces_part"].drop_null()[0].as_py()
    (dataset.path / "faces" / f"{owner}.parquet").unlink()
    todo = plan(dataset, photos)
    assert "copy.jpg" in names(todo.to_do["uri"])
    write(dataset, todo, pipeline)
    (table,) = Dataset.open(dataset.path).faces()
    assert table["also_at"].to_pylist() == [[str(photos / "copy.jpg")]]


def test_numbers_go_into_a_column_of_text(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    (photos / "first.csv").write_text("path,album\nbiden.jpg,Summer\n")
    (photos / "second.csv").write_text("path,album\ncoffee.png,2020\n")
    for name in ("first.csv", "second.csv"):
        listing = list_photos([photos / name])
        write(
            Dataset.open(dataset.path).with_metadata(metadata_of(listing)),
            plan(dataset, photos / name),
            pipeline,
        )
    rows = Dataset.open(dataset.path).photos().to_pylist()
    assert {row["album"] for row in rows} == {"Summer", "2020", None}


def test_what_a_dataset_has_of_a_place_that_is_gone_is_dropped_on_request_alone(
    embedded: tuple[Dataset, Path, FacePipeline], tmp_path: Path, demo_photos: Path
) -> None:
    dataset, photos, pipeline = embedded
    (tmp_path / "gone").mkdir()
    archive = write_tar(tmp_path / "gone" / "a.tar", {"x.png": b"text", "y.txt": b""})
    shutil.copy(demo_photos / "rocket.jpg", tmp_path / "gone")
    listing = list_photos([tmp_path / "gone", archive])
    write(dataset, make_plan(listing, dataset, ()), pipeline)
    listing = list_photos([photos])
    for place in (tmp_path / "gone", archive, photos):  # which are all there
        assert len(make_plan(listing, dataset, (), drop_below=[place]).below_gone) == 0
    archive.unlink()
    todo = make_plan(listing, dataset, (), drop_below=[archive])
    assert todo.below_gone.to_pylist() == [f"tar://x.png::{archive}"]
    shutil.rmtree(tmp_path / "gone")
    todo = make_plan(listing, dataset, (), drop_below=[tmp_path / "gone"])
    assert sorted(names(todo.below_gone)) == ["a.tar", "rocket.jpg"]
    assert len(make_plan(listing, dataset, ()).vanished) == 0


def embed_list(
    dataset: Dataset, pipeline: FacePipeline, folder: Path, text: str, *more: Path
) -> tuple[Dataset, tuple[int, int, int, int]]:
    """Embed a photo list; return the dataset, and how many photos were new, changed and so on."""
    path = folder / "list.csv"
    path.write_text(text)
    listing = list_photos([path, *more])
    todo = plan(dataset, path, *more)
    if len(todo.to_do):
        write(Dataset.open(dataset.path).with_metadata(metadata_of(listing)), todo, pipeline)
    return Dataset.open(dataset.path), counts(todo)


def column_by_name(dataset: Dataset, column: str) -> dict[str, object]:
    photos = dataset.photos([column])
    return dict(zip(names(photos["uri"]), photos[column].to_pylist(), strict=True))


def test_a_corrected_header_is_the_same_column(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    dataset, _ = embed_list(dataset, pipeline, photos, "path,Person,Album\nbiden.jpg,Joe,DC\n")
    dataset, counted = embed_list(
        dataset, pipeline, photos, "path,person,album\nbiden.jpg,Joe,Camp\n"
    )
    assert counted == (0, 1, 0, 0)
    assert dataset.metadata.names == ["person", "Album"]
    assert column_by_name(dataset, "Album")["biden.jpg"] == "Camp"


def test_an_empty_value_of_a_list_is_empty(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    begun = "path,person,year\nbiden.jpg,Wrong,2013\ncoffee.png,Cup,\n"
    dataset, _ = embed_list(dataset, pipeline, photos, begun)
    # Neither a folder, nor a list without the column or the photo, says anything of it.
    assert counts(plan(dataset, photos)) == (0, 0, 0, 3)
    for text in ("path,year\nbiden.jpg,2013\n", "path,person\ncoffee.png,Cup\n"):
        dataset, counted = embed_list(dataset, pipeline, photos, text, photos)
        assert counted == (0, 0, 0, 3)
    dataset, counted = embed_list(dataset, pipeline, photos, "path,person\nbiden.jpg,\n")
    assert counted == (0, 1, 0, 0)
    assert column_by_name(dataset, "person")["biden.jpg"] is None
    assert column_by_name(dataset, "year")["biden.jpg"] == 2013
    assert counts(plan(dataset, photos / "list.csv")) == (0, 0, 0, 1)


def test_a_number_that_is_not_finite_changes_no_photo(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    table = pa.table({"path": ["biden.jpg", "coffee.png"], "rating": [1.5, float("nan")]})
    pq.write_table(table, photos / "list.parquet")
    listing = list_photos([photos / "list.parquet"])
    settings = dataset.with_metadata(metadata_of(listing))
    write(settings, plan(dataset, photos / "list.parquet"), pipeline)
    assert counts(plan(dataset, photos / "list.parquet")) == (0, 0, 0, 2)
    # A dataset of an earlier version may hold such a number.
    dataset = Dataset.open(dataset.path)
    for part in dataset.committed_parts():
        path = dataset.folder.at(part_file("photos", part))
        photos_table = pq.read_table(path)
        if "rating" in photos_table.column_names:
            numbers = pa.chunked_array([pa.array([float("nan")] * len(photos_table))])
            position = photos_table.schema.get_field_index("rating")
            pq.write_table(photos_table.set_column(position, "rating", numbers), path)
    assert counts(plan(dataset, photos)) == (0, 0, 0, 3)


def test_dates_go_into_a_column_of_times(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    dataset, _ = embed_list(dataset, pipeline, photos, "path,at\nbiden.jpg,2013-01-01 10:00\n")
    dataset, _ = embed_list(dataset, pipeline, photos, "path,at\ncoffee.png,2014-02-03\n")
    assert column_by_name(dataset, "at")["coffee.png"] == datetime(2014, 2, 3)
    with pytest.raises(WrongUsageError, match=r"--remove at, .*--date-order says what dates begin"):
        embed_list(dataset, pipeline, photos, "path,at\ncoffee.png,03.02.2014\n")


def test_a_photo_says_when_it_was_taken_and_a_list_says_it_better(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded

    def shoot(day: int) -> None:
        exif = PIL.Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"1996:03:{day:02d} 14:05:07"
        with PIL.Image.open(photos / "biden.jpg") as picture:
            picture.save(photos / "biden.jpg", exif=exif.tobytes())

    def taken(*sources: Path) -> datetime | None:
        todo = plan(dataset, *sources)
        if len(todo.to_do):
            write(Dataset.open(dataset.path), todo, pipeline)
        assert len(plan(dataset, *sources).to_do) == 0  # and the next run finds nothing to do
        value = column_by_name(Dataset.open(dataset.path), "taken")["biden.jpg"]
        assert isinstance(value, datetime | None)
        return value

    with_taken = dataset.with_metadata(pa.schema([pa.field("taken", pa.timestamp("us"))]))
    shoot(19)
    write(with_taken, plan(dataset, photos), pipeline)
    list_path = photos / "list.csv"
    assert taken(photos) == datetime(1996, 3, 19, 14, 5, 7)
    list_path.write_text("path,taken\nbiden.jpg,1985-01-02\n")
    assert taken(list_path) == datetime(1985, 1, 2)
    shoot(20)
    assert taken(photos) == datetime(1985, 1, 2)
    list_path.write_text("path,taken\nbiden.jpg,\ncoffee.png,2000-01-01\n")
    assert taken(list_path) == datetime(1996, 3, 20, 14, 5, 7)
    shoot(21)
    assert taken(photos) == datetime(1996, 3, 21, 14, 5, 7)
    shutil.copy(photos / "biden.jpg", photos / "copy.jpg")  # whose content is not decoded
    assert taken(photos) == datetime(1996, 3, 21, 14, 5, 7)
    copied = column_by_name(Dataset.open(dataset.path), "taken")["copy.jpg"]
    assert copied == datetime(1996, 3, 21, 14, 5, 7)
    list_path.write_text("path,taken\nbiden.jpg,1985-01-02\n")
    assert taken(list_path) == datetime(1985, 1, 2)
    remove_column(dataset.path, "taken")
    assert taken(photos) == datetime(1996, 3, 21, 14, 5, 7)


def test_a_dropped_photo_that_a_list_still_names_is_not_new(
    embedded: tuple[Dataset, Path, FacePipeline],
) -> None:
    dataset, photos, pipeline = embedded
    (photos / "list.txt").write_text("biden.jpg\ncoffee.png\n")
    os.utime(photos / "biden.jpg", ns=(1, 1))
    write(dataset, plan(dataset, photos), pipeline)
    moved = photos.parent / "elsewhere.jpg"
    (photos / "biden.jpg").rename(moved)
    assert plan(dataset, photos / "list.txt").num_out_of_reach == 1
    found = find_missing(dataset.path)
    assert names(pa.array(found.vanished)) == ["biden.jpg"]
    assert drop_photos(dataset.path, found.vanished) == 1
    for _ in range(3):
        todo = plan(dataset, photos / "list.txt")
        assert (counts(todo), todo.num_gone) == ((0, 0, 0, 1), 1)
        purge(dataset.path, [])
    for path in dataset.path.rglob("*.parquet"):
        assert b"biden.jpg" not in path.read_bytes()
    moved.rename(photos / "biden.jpg")
    todo = plan(dataset, photos / "list.txt")
    assert (counts(todo), todo.num_gone) == ((1, 0, 0, 1), 0)
