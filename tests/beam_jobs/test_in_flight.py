from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from beam_jobs.in_flight import MAX_DEATHS, InFlight, PoisonRecord, clear_in_flight, photo_keys
from faces.core.storage import Folder


def test_a_worker_s_death_counts_for_the_photo_that_was_alone_in_flight(tmp_path: Path) -> None:
    for death in range(1, MAX_DEATHS + 1):
        marker = InFlight(Folder(tmp_path), "part")
        marker.take(["a long name of a photo", "b"])
        marker.take(["c"])  # the worker dies here
        poison_record = PoisonRecord(Folder(tmp_path))
        assert poison_record.collect()
        assert poison_record.deaths == {"c": death}
        assert "c" in poison_record
        assert "b" not in poison_record
        assert poison_record.quarantined() == ({"c"} if death == MAX_DEATHS else set())
    assert not PoisonRecord(Folder(tmp_path)).collect()
    assert PoisonRecord(Folder(tmp_path)).deaths == {
        "c": MAX_DEATHS
    }  # the count outlives the process


def test_photos_in_flight_together_are_recorded_without_a_death(tmp_path: Path) -> None:
    InFlight(Folder(tmp_path), "part").take(["a", "b\nb"])
    poison_record = PoisonRecord(Folder(tmp_path))
    poison_record.collect()
    assert poison_record.deaths == {"a": 0, "b\nb": 0}


def test_committed_photos_are_not_in_flight(tmp_path: Path) -> None:
    marker = InFlight(Folder(tmp_path), "part")
    marker.take(["a"])
    marker.done()
    poison_record = PoisonRecord(Folder(tmp_path))
    assert not poison_record.collect()
    assert not poison_record.deaths


def test_a_worker_that_exits_deliberately_leaves_no_in_flight_photos(tmp_path: Path) -> None:
    InFlight(Folder(tmp_path), "part").take(["a"])
    clear_in_flight()
    assert not PoisonRecord(Folder(tmp_path)).collect()


def test_a_corrupt_poison_record_is_an_empty_one(tmp_path: Path) -> None:
    for content in ("{", "[1]", '{"a": "x"}', ""):
        (tmp_path / "suspects.json").write_text(content)
        assert not PoisonRecord(Folder(tmp_path)).deaths


def test_a_file_that_was_replaced_is_another_photo() -> None:
    photos = pa.table({"uri": ["a", "a"], "num_bytes": [1, 2], "mtime_ns": [3, 3]})
    first, second = photo_keys(photos)
    assert first != second
