from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from beam_jobs.in_flight import MAX_DEATHS, InFlight, PoisonRecord, clear_in_flight, photo_keys


def test_a_worker_s_death_is_laid_on_the_photo_it_had_alone_in_hand(tmp_path: Path) -> None:
    for death in range(1, MAX_DEATHS + 1):
        hand = InFlight(tmp_path / "in-hand" / "part")
        hand.take(["a long name of a photo", "b"])
        hand.take(["c"])  # and here the worker dies
        suspects = PoisonRecord(tmp_path)
        assert suspects.collect()
        assert suspects.deaths == {"c": death}
        assert "c" in suspects
        assert "b" not in suspects
        assert suspects.quarantined() == ({"c"} if death == MAX_DEATHS else set())
    assert not PoisonRecord(tmp_path).collect()
    assert PoisonRecord(tmp_path).deaths == {"c": MAX_DEATHS}  # the count outlives the process


def test_photos_in_hand_together_are_suspects_but_not_to_blame(tmp_path: Path) -> None:
    InFlight(tmp_path / "in-hand" / "part").take(["a", "b\nb"])
    suspects = PoisonRecord(tmp_path)
    suspects.collect()
    assert suspects.deaths == {"a": 0, "b\nb": 0}


def test_what_is_committed_is_in_nobody_s_hand(tmp_path: Path) -> None:
    hand = InFlight(tmp_path / "in-hand" / "part")
    hand.take(["a"])
    hand.done()
    suspects = PoisonRecord(tmp_path)
    assert not suspects.collect()
    assert not suspects.deaths


def test_a_worker_that_ends_in_order_leaves_nobody_suspected(tmp_path: Path) -> None:
    InFlight(tmp_path / "in-hand" / "part").take(["a"])
    clear_in_flight()
    assert not PoisonRecord(tmp_path).collect()


def test_a_corrupt_record_is_as_good_as_none(tmp_path: Path) -> None:
    for content in ("{", "[1]", '{"a": "x"}', ""):
        (tmp_path / "suspects.json").write_text(content)
        assert not PoisonRecord(tmp_path).deaths


def test_a_file_that_was_replaced_is_another_photo() -> None:
    photos = pa.table({"uri": ["a", "a"], "num_bytes": [1, 2], "mtime_ns": [3, 3]})
    first, second = photo_keys(photos)
    assert first != second
