"""The transforms in a pipeline that is not ours."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from beam_jobs.transforms import EmbeddedPhotos, EmbedPhotos
from faces.core.errors import WrongUsageError
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.schema import face_schema
from faces.dataset.store import Dataset
from faces.models.registry import ModelChoice

Rows = list[dict[str, Any]]


def pipeline() -> beam.Pipeline:
    return beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))


def embedded(
    uris: Sequence[str], transform: EmbedPhotos, check: Callable[[Rows, Rows, Rows], None]
) -> beam.runners.runner.PipelineResult:
    """Run the transform, and check its three outputs inside the pipeline."""
    test = pipeline()
    outputs = test | beam.Create(list(uris)) | transform
    assert isinstance(outputs, EmbeddedPhotos)
    joined = [
        output | f"Name {name}" >> beam.Map(lambda row, name=name: (name, row))
        for name, output in outputs._asdict().items()
    ] | beam.Flatten()

    def check_all(rows: list[tuple[str, dict[str, Any]]]) -> None:
        of = {name: [row for tag, row in rows if tag == name] for name in EmbeddedPhotos._fields}
        check(of["faces"], of["without_faces"], of["rejected"])

    assert_that(joined, check_all)
    result = test.run()
    result.wait_until_finish()
    return result


def names(rows: Rows) -> list[str]:
    return sorted(Path(row["uri"]).name for row in rows)


def test_faces_are_those_of_the_dataset(demo_photos: Path, demo_dataset: Path) -> None:
    """The embed job embeds faces in other batches, which changes the last digits."""
    expected = {
        row["face_id"]: row
        for table in Dataset.open(demo_dataset).faces()
        for row in table.to_pylist()
    }
    columns = face_schema(128).names

    def check(faces: Rows, without_faces: Rows, rejected: Rows) -> None:
        assert {row["face_id"] for row in faces} == expected.keys()
        assert len(faces) == len(expected) == 7
        for row in faces:
            theirs = expected[row["face_id"]]
            assert list(row) == columns
            assert np.dot(row["embedding"], theirs["embedding"]) > 0.99999
            assert all(row[name] == theirs[name] for name in ("uri", "photo_id"))
            for name in ("box", "landmarks", "score", "sharpness", "embedding_norm"):
                assert row[name] == pytest.approx(theirs[name], rel=1e-3, abs=0.05)
        assert names(without_faces) == ["coffee.png", "rocket.jpg"]
        assert rejected == []

    embedded([str(path) for path in demo_photos.iterdir()], EmbedPhotos(), check)


def test_every_photo_is_in_one_of_the_outputs_and_counted(
    tmp_path: Path, demo_photos: Path
) -> None:
    for name in ("biden.jpg", "coffee.png"):
        shutil.copy(demo_photos / name, tmp_path)
    (tmp_path / "text.jpg").write_text("text")
    (tmp_path / "large.jpg").write_bytes(bytes(2_000_000))
    uris = [str(tmp_path / f"{name}") for name in ("biden.jpg", "coffee.png", "text.jpg")]
    uris += [str(tmp_path / "large.jpg"), str(tmp_path / "nowhere.jpg")]

    def check(faces: Rows, without_faces: Rows, rejected: Rows) -> None:
        assert names(faces) == ["biden.jpg"]
        assert names(without_faces) == ["coffee.png"]
        assert {Path(row["uri"]).name: row["reason"] for row in rejected} == {
            "text.jpg": "unsupported_format",
            "large.jpg": "too_large",
            "nowhere.jpg": "read_error",
        }

    limits = PhotoLimits(max_bytes=1_000_000)
    result = embedded(uris, EmbedPhotos(limits=limits, batch_photos=2), check)
    counters = result.metrics().query(MetricsFilter().with_namespace("facetrove"))["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counters} == {
        "photos": 5,
        "faces": 1,
        "without_faces": 1,
        "rejected": 3,
    }


@pytest.mark.parametrize("batch_photos", [1, 8])
def test_each_copy_of_a_photo_has_its_faces(
    tmp_path: Path, demo_photos: Path, batch_photos: int
) -> None:
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(demo_photos / "biden.jpg", tmp_path / name)

    def check(faces: Rows, without_faces: Rows, rejected: Rows) -> None:
        assert names(faces) == ["a.jpg", "b.jpg"]
        assert len({(row["photo_id"], row["face_id"]) for row in faces}) == 1
        assert without_faces == rejected == []

    uris = [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    embedded(uris, EmbedPhotos(batch_photos=batch_photos), check)


def test_rows_are_plain_values_that_beam_encodes_itself(demo_photos: Path) -> None:
    coder = FastPrimitivesCoder(fallback_coder=NoCoder())

    def check(faces: Rows, without_faces: Rows, rejected: Rows) -> None:
        rows = [*faces, *without_faces, *rejected]
        assert len(rows) == 3
        assert all(coder.decode(coder.encode(row)) == row for row in rows)

    names_of_photos = ("biden.jpg", "coffee.png", "nowhere.jpg")
    embedded([str(demo_photos / name) for name in names_of_photos], EmbedPhotos(), check)


class NoCoder(beam.coders.Coder):
    def encode(self, value: object) -> bytes:
        raise AssertionError(f"{value!r} is no plain value")


def test_the_selection_is_applied_and_the_contract_is_given(
    demo_photos: Path, demo_dataset: Path
) -> None:
    transform = EmbedPhotos(selection=FaceSelection(min_face=200))
    assert transform.contract == Dataset.open(demo_dataset).contract

    def check(faces: Rows, without_faces: Rows, rejected: Rows) -> None:
        assert all(min(row["box"][2:]) >= 200 for row in faces)
        assert 0 < len(faces) < 7
        assert len(faces) + len(without_faces) == 9

    embedded([str(path) for path in demo_photos.iterdir()], transform, check)


def test_an_unknown_model_is_refused_at_once() -> None:
    with pytest.raises(WrongUsageError, match="no embedder is called 'nonsense'"):
        EmbedPhotos(models=ModelChoice(embedder="nonsense"))


class DaskRunner(FnApiRunner):
    """A runner with the name of the one that loses batched elements."""


def test_a_runner_that_would_lose_photos_is_refused() -> None:
    dask = beam.Pipeline(DaskRunner(), options=PipelineOptions([]))
    with pytest.raises(WrongUsageError, match="run EmbedPhotos on another runner"):
        _ = dask | beam.Create(["a.jpg"]) | EmbedPhotos()
