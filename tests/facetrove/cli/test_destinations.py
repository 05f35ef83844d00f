"""Addresses as destinations: every command refuses them in one line, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import facetrove as ft
from faces.core.machine import cache_dir
from tests.support.command import require_message

ADDRESS = "s3://bucket/somewhere"


@pytest.mark.parametrize(
    "words",
    [
        "embed PHOTOS s3://bucket/somewhere",
        "embed PHOTOS s3://bucket/somewhere --dry-run",
        "embed DATASET s3://bucket/somewhere",
        "import PROBE s3://bucket/somewhere",
        "index DATASET s3://bucket/somewhere",
        "index DATASET s3://bucket/somewhere --pieces 2",
        "index s3://bucket/somewhere INDEX",
        "compact s3://bucket/somewhere",
        "calibrate s3://bucket/somewhere",
        "search INDEX PROBE --sheet s3://bucket/somewhere.jpg",
        "held DATASET INDEX --like PROBE --fpir 0.1 --sheet s3://bucket/somewhere.jpg",
        "held DATASET INDEX --like PROBE --fpir 0.1 --report s3://bucket/somewhere.json",
        "delete DATASET --like PROBE --min-similarity 0.9 --yes --sheet s3://bucket/somewhere.jpg",
        "purge DATASET --report s3://bucket/somewhere.json",
        "evaluate identify INDEX --report s3://bucket/somewhere.html",
        "info s3://bucket/somewhere",
    ],
)
def test_an_address_as_destination_is_refused_and_nothing_is_written(
    words: str,
    demo_photos: Path,
    probe_photo: Path,
    demo_dataset: Path,
    demo_index: Path,
) -> None:
    names = {"PHOTOS": demo_photos, "PROBE": probe_photo, "DATASET": demo_dataset}
    names["INDEX"] = demo_index
    require_message(
        *(names.get(word, word) for word in words.split()),
        exit_code=2,
        says=["s3://bucket/somewhere", "is an address", "name a path"],
        json_too=False,
    )
    assert not Path("s3:").exists()


def test_python_functions_refuse_addresses_too(
    demo_photos: Path, demo_dataset: Path, demo_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for write in (
        lambda: ft.embed_photos(demo_photos, ADDRESS),
        lambda: ft.plan_embedding(demo_photos, ADDRESS),
        lambda: ft.reembed(demo_dataset, Path(ADDRESS)),
        lambda: ft.plan_reembedding(demo_dataset, ADDRESS),
        lambda: ft.build_index(demo_dataset, ADDRESS),
        lambda: ft.build_index(demo_dataset, Path("gs://bucket/index")),
        lambda: ft.compact_index(ADDRESS),
        lambda: ft.open_dataset(ADDRESS),
        lambda: ft.open_index("file:///tmp/faces.index"),
    ):
        with pytest.raises(ft.WrongUsageError, match="is an address"):
            write()
    monkeypatch.setenv("FACETROVE_CACHE", "s3://bucket/cache")
    with pytest.raises(ft.WrongUsageError, match="s3://bucket/cache is an address"):
        cache_dir()


def test_a_folder_that_looks_like_an_address_can_be_named_by_its_absolute_path(
    tmp_path: Path,
) -> None:
    (tmp_path / "s3:").mkdir()
    with pytest.raises(ft.WrongUsageError, match="is not a facetrove dataset"):
        ft.open_dataset(tmp_path / "s3:")
    with pytest.raises(ft.WrongUsageError, match="does not exist"):
        ft.open_dataset("C:/photos/faces.dataset")  # a path of Windows
