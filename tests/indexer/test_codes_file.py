"""FAISS files are read by an allow-list, and never have another file opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.storage import Folder
from indexer.codes_file import read_codes, require_known_kind, write_codes
from indexer.faiss_library import faiss
from indexer.recipes import empty_index
from tests.support.command import ROOT
from tests.support.vectors import unit_vectors

DIMENSION = 8
VECTORS = unit_vectors(300, DIMENSION, seed=1)
FACTORIES = (
    *("IVF4,Flat", "IVF4,SQ8", "IVF4,PQ4x4fs", "IVF4_HNSW8,SQ8", "OPQ4,IVF4,PQ4x4"),
    *("HNSW8", "HNSW8,SQ8", "PCA4,HNSW8,SQ8", "SQ8", "Flat"),
)


def filled(factory: str) -> faiss.Index:
    index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(VECTORS)
    index.add(VECTORS)
    return index


@pytest.mark.parametrize("factory", FACTORIES)
def test_an_index_survives_its_file(tmp_path: Path, factory: str) -> None:
    folder, index = Folder(tmp_path), filled(factory)
    write_codes(folder, "codes.faiss", index)
    faiss.write_index(index, str(tmp_path / "by-faiss"))
    assert (tmp_path / "codes.faiss").read_bytes() == (tmp_path / "by-faiss").read_bytes()
    read = read_codes(folder, "codes.faiss")
    for found, expected in zip(
        read.search(VECTORS[:5], 5), index.search(VECTORS[:5], 5), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def write_with_lists_in(lists_path: Path, path: Path, *, is_wrapped: bool) -> None:
    """Write an index whose inverted lists lie in another file."""
    index = filled("IVF1,Flat")
    lists = faiss.OnDiskInvertedLists(1, index.code_size, str(lists_path))
    lists.merge_from_1(index.invlists)
    index.replace_invlists(lists)
    rotation = faiss.RandomRotationMatrix(DIMENSION, DIMENSION)
    rotation.init(1)
    faiss.write_index(faiss.IndexPreTransform(rotation, index) if is_wrapped else index, str(path))


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_no_other_file_is_opened(tmp_path: Path, is_wrapped: bool) -> None:
    lists = tmp_path / "elsewhere"
    write_with_lists_in(lists, tmp_path / "codes.faiss", is_wrapped=is_wrapped)
    lists.write_bytes(b"")  # FAISS would map it, and crash
    with pytest.raises(CorruptFileError, match=r"codes\.faiss cannot be read"):
        read_codes(Folder(tmp_path), "codes.faiss")
    lists.unlink()
    with pytest.raises(CorruptFileError, match=r"codes\.faiss cannot be read"):
        read_codes(Folder(tmp_path), "codes.faiss")
    assert not lists.exists()


@pytest.mark.parametrize("factory", ["IVF4(IVF2,Flat),SQ8", "IDMap,Flat", "PQ4x4", "NSG8"])
def test_an_index_of_another_kind_is_neither_read_nor_made(tmp_path: Path, factory: str) -> None:
    index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    with pytest.raises(ValueError, match="which facetrove does not use"):
        require_known_kind(index)
    faiss.write_index(index, str(tmp_path / "codes.faiss"))
    with pytest.raises(CorruptFileError, match="which facetrove does not use"):
        read_codes(Folder(tmp_path), "codes.faiss")
    with pytest.raises(WrongUsageError):
        empty_index(factory, DIMENSION)


def test_faiss_s_limits_are_those_of_the_process_again_afterwards(tmp_path: Path) -> None:
    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    write_codes(Folder(tmp_path), "codes.faiss", filled("IVF4,SQ8"))
    read_codes(Folder(tmp_path), "codes.faiss")
    (tmp_path / "codes.faiss").write_bytes(b"nothing")
    with pytest.raises(CorruptFileError):
        read_codes(Folder(tmp_path), "codes.faiss")
    assert before == (
        faiss.get_deserialization_vector_byte_limit(),
        faiss.get_deserialization_loop_limit(),
    )


@pytest.mark.lasting
@pytest.mark.slow
def test_changed_bytes_never_crash_or_hang(tmp_path: Path) -> None:
    """It runs in a process of its own, which a crash would end."""
    script = "from tests.indexer.test_codes_file import search_changed; search_changed()"
    finished = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert int(finished.stdout) > 50 * len(FACTORIES)


def search_changed() -> None:
    """Change bytes of FAISS files, read them, search what is read, and print how many were."""
    chance, num_searched = np.random.default_rng(1), 0
    folder = Folder(Path.cwd())
    mask = faiss.IDSelectorBitmap(np.packbits(np.arange(len(VECTORS)) % 2 == 0))
    for factory in FACTORIES:
        write_codes(folder, "codes.faiss", filled(factory))
        content = folder.read("codes.faiss")
        for number in range(200):
            changed = bytearray(content)
            reach = len(content) if number % 3 else 400
            start = int(chance.integers(0, min(reach, len(content) - 4)))
            value = int(chance.choice([-1, 0, 1, 255, 1000, 2**30, 2**31 - 1, -(2**31)]))
            changed[start : start + 4] = value.to_bytes(4, "little", signed=True)
            folder.at("codes.faiss").write_bytes(changed)
            try:
                codes = read_codes(folder, "codes.faiss")
            except CorruptFileError:
                continue
            if (codes.ntotal, codes.d) == VECTORS.shape:
                num_searched += 1
                try:
                    codes.search(VECTORS[:3], 5)
                    if factory not in ("HNSW8", "HNSW8,SQ8"):
                        continue
                    codes.search(VECTORS[:3], 5, params=faiss.SearchParametersHNSW(sel=mask))
                except (RuntimeError, MemoryError):
                    continue
    print(num_searched)  # noqa: T201
