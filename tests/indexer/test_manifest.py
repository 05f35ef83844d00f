from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.storage import FileDigest
from indexer.manifest import (
    FORMAT_VERSION,
    DeletionsEntry,
    Manifest,
    Measured,
    SegmentEntry,
    current_line,
    publish,
    read_current,
)
from indexer.options import IndexOptions, Recipe
from tests.support.manifests import rewrite_manifest


@pytest.fixture
def manifest(contract: ModelContract) -> Manifest:
    files = {"vectors.npy": FileDigest(7, "ab" * 32), "faces.arrow": FileDigest(8, "cd" * 32)}
    measured = Measured(0.9, 0.8, None, None, 100, 0, 1000.0, 100.0, 0.5, 1.5, 2)
    return Manifest(
        version=1,
        contract=contract,
        wanted=IndexOptions(target_recall=0.9, memory_bytes=1000),
        segments=(
            SegmentEntry("a" * 12, 3, 2, Recipe("IVF4,SQ8", nprobe=2), measured, files),
            SegmentEntry("b" * 12, 5, 2, Recipe(), None, files),
        ),
        deletions=DeletionsEntry("c" * 12 + ".arrow", 1, FileDigest(9, "ef" * 32)),
    )


def test_a_manifest_survives_its_file(tmp_path: Path, manifest: Manifest) -> None:
    publish(tmp_path, manifest)
    assert read_current(tmp_path) == manifest
    assert manifest.num_faces == 7


def test_a_manifest_is_shown_in_one_line(manifest: Manifest) -> None:
    assert repr(manifest) == "<manifest: version 1, 7 faces in 2 segments>"


def test_current_names_the_newest_version(tmp_path: Path, manifest: Manifest) -> None:
    publish(tmp_path, manifest)
    publish(tmp_path, replace(manifest, version=2), previous=current_line(tmp_path))
    assert read_current(tmp_path).version == 2
    assert (tmp_path / "manifest-000001.json").exists()


def test_a_manifest_written_but_not_published_is_not_in_force(
    tmp_path: Path, manifest: Manifest
) -> None:
    publish(tmp_path, manifest)
    (tmp_path / "manifest-000002.json").write_text("{}")
    assert read_current(tmp_path) == manifest


def test_every_changed_byte_of_manifest_or_current_is_refused_by_name(
    tmp_path: Path, manifest: Manifest
) -> None:
    publish(tmp_path, manifest)
    for name in ("CURRENT", "manifest-000001.json"):
        path = tmp_path / name
        whole = path.read_bytes()
        for offset in range(len(whole)):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :])
            with pytest.raises(CorruptFileError, match=r"CURRENT|manifest-"):
                read_current(tmp_path)
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(CorruptFileError, match=r"CURRENT|manifest-"):
                read_current(tmp_path)
        path.write_bytes(whole)
    assert read_current(tmp_path) == manifest


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 1},
        {"format_version": str(FORMAT_VERSION)},
        {"metric": "l2"},
        {"segments": [{}]},
        {"segments": 3},
        {"segments": [{"segment_id": "../../elsewhere", "num_faces": 1, "measured": None}]},
        {"segments": [{"segment_id": 5, "num_faces": 1, "measured": None}]},
        {"segments": [{"segment_id": "a" * 12, "num_faces": -1, "measured": None}]},
        {"deletions": {"name": "../elsewhere.arrow", "num_faces": 1, "file": {}}},
        {"wanted": {"name": "ivf"}},
        {"surprise": 1},
        {"contract": {}},
    ],
)
def test_a_manifest_of_another_format_is_refused_by_name(
    tmp_path: Path, manifest: Manifest, change: dict[str, object]
) -> None:
    """CURRENT has the manifest's sha256, as if another version of facetrove had written both."""
    publish(tmp_path, manifest)
    rewrite_manifest(tmp_path, lambda document: document.update(change))
    with pytest.raises(CorruptFileError, match="manifest-000001"):
        read_current(tmp_path)


def test_a_folder_without_an_index_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WrongUsageError, match="not a facetrove index; make one with"):
        read_current(tmp_path)
    with pytest.raises(WrongUsageError, match="does not exist; make one with"):
        read_current(tmp_path / "nowhere")
