"""Other vector indexes as search engines: hnswlib, usearch, LanceDB and autofaiss.

Each index is built from the gallery's embeddings in a NumPy file, and returns their rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index_engines import Engine, Facetrove
from benchmarks.index_galleries import Gallery, K, Rows, Vectors
from benchmarks.measure import CORES

BATCH_ROWS = 1 << 16
"""Number of embeddings that are added to an index at once."""

EF_SEARCH = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Values of graphs' search setting: the number of candidates kept during a search."""


AUTOFAISS_DIR = Path(sys.prefix) / "autofaiss"
"""Folder into which `make bench-setup` installs autofaiss. It is kept apart because autofaiss asks
for NumPy 1 and another FAISS wheel, though it runs without them, and brings a package `tests`."""


def _batches(gallery: Gallery) -> Iterator[tuple[int, Vectors]]:
    """Yield batches of the gallery: the first row, and the (m, d) embeddings from it on."""
    vectors = np.load(gallery.vectors_path, mmap_mode="r")
    for start in range(0, len(vectors), BATCH_ROWS):
        yield start, np.ascontiguousarray(vectors[start : start + BATCH_ROWS])


class Hnswlib:
    """hnswlib's HNSW graph over float32 embeddings."""

    def __init__(self, links: int, ef_construction: int) -> None:
        self.name = f"hnswlib M={links}"
        self._links, self._ef_construction = links, ef_construction

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Build and save the index."""
        index = self._empty()
        index.init_index(
            gallery.count, M=self._links, ef_construction=self._ef_construction, random_seed=1
        )
        index.set_num_threads(CORES)
        for start, vectors in _batches(gallery):
            index.add_items(vectors, np.arange(start, start + len(vectors)))
        index.save_index(str(folder / "index.bin"))

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Load the index."""
        self._index = self._empty()
        self._index.load_index(str(folder / "index.bin"))
        self._index.set_num_threads(CORES)

    def _empty(self) -> Any:
        import hnswlib

        return hnswlib.Index(space="ip", dim=128)

    def ladders(self) -> Sequence[Sequence[int]]:
        """Return values of ef."""
        return [EF_SEARCH]

    def use(self, setting: int) -> None:
        """Set ef."""
        self._index.set_ef(setting)

    def search(self, probes: Vectors) -> Any:
        """Return (p, 10) labels, which are rows."""
        return self._index.knn_query(probes, K)[0]

    def rows(self, answer: Any) -> Rows:
        """Return the labels as rows."""
        return np.asarray(answer, dtype=np.int64)


class Usearch:
    """usearch's HNSW graph over embeddings of a data type: f32, f16 or i8."""

    def __init__(self, dtype: str) -> None:
        self.name = f"usearch {dtype}"
        self._dtype = dtype

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Build and save the index."""
        from usearch.index import Index

        index = Index(ndim=128, metric="ip", dtype=self._dtype, connectivity=16, expansion_add=128)
        for start, vectors in _batches(gallery):
            index.add(np.arange(start, start + len(vectors)), vectors, threads=CORES)
        index.save(str(folder / "index.usearch"))

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Load the index."""
        from usearch.index import Index

        self._index = Index.restore(str(folder / "index.usearch"))

    def ladders(self) -> Sequence[Sequence[int]]:
        """Return values of expansion_search."""
        return [EF_SEARCH]

    def use(self, setting: int) -> None:
        """Set expansion_search."""
        self._index.expansion_search = setting

    def search(self, probes: Vectors) -> Any:
        """Return usearch's matches."""
        return self._index.search(probes, K, threads=CORES)

    def rows(self, answer: Any) -> Rows:
        """Return the keys of the matches, which are rows."""
        return np.asarray(answer.keys, dtype=np.int64).reshape(-1, K)


class LanceDb:
    """A LanceDB table with an index, whose candidates are compared again exactly (refine)."""

    def __init__(self, kind: str) -> None:
        self.name = f"LanceDB {kind}"
        self._kind = kind

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Write the table, and build its index."""
        import lancedb
        import pyarrow as pa
        from lancedb.index import HnswSq, IvfPq

        kind = pa.list_(pa.float32(), 128)
        schema = pa.schema([("vector", kind), ("row", pa.int64())])

        def batches() -> Iterator[pa.RecordBatch]:
            for start, vectors in _batches(gallery):
                columns = [
                    pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 128),
                    pa.array(np.arange(start, start + len(vectors))),
                ]
                yield pa.record_batch(columns, schema=schema)

        table = lancedb.connect(folder).create_table("faces", batches(), schema=schema)
        num_lists = max(1, round(gallery.count**0.5))
        if self._kind == "IVF_PQ":
            # One byte for four dimensions: 32 bytes per face, as in facetrove's codes.
            config = IvfPq(distance_type="dot", num_partitions=num_lists, num_sub_vectors=32)
        else:
            config = HnswSq(distance_type="dot", num_partitions=max(1, gallery.count >> 20))
        table.create_index("vector", config=config)

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Open the table."""
        import lancedb

        self._table = lancedb.connect(folder).open_table("faces")
        self._count = gallery.count

    def ladders(self) -> Sequence[Sequence[tuple[int, int]]]:
        """Return values of (nprobes or ef, refine_factor)."""
        if self._kind != "IVF_PQ":
            return [[(ef, refine) for ef in EF_SEARCH if ef >= K * refine] for refine in (2, 5)]
        num_lists = max(1, round(self._count**0.5))
        efforts = [n for n in (4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512) if n <= num_lists]
        return [[(n, refine) for n in efforts] for refine in (4, 16)]

    def use(self, setting: tuple[int, int]) -> None:
        """Set nprobes or ef, and refine_factor."""
        self._effort, self._refine = setting

    def search(self, probes: Vectors) -> Any:
        """Return an Arrow table of rows and distances, with the number of the probe."""
        query = self._table.search(probes if len(probes) > 1 else probes[0]).distance_type("dot")
        if self._kind == "IVF_PQ":
            query = query.nprobes(self._effort)
        else:
            query = query.nprobes(max(1, self._count >> 20)).ef(self._effort)
        query = query.refine_factor(self._refine).limit(K)
        return query.select(["row", "_distance"]).to_arrow()

    def rows(self, answer: Any) -> Rows:
        """Return the rows by probe, in the order of their distances."""
        probes = answer["query_index"].to_numpy()
        found = np.full((int(probes.max()) + 1, K), -1, dtype=np.int64)
        order = np.lexsort((answer["_distance"].to_numpy(), probes))
        probes, rows = probes[order], answer["row"].to_numpy()[order]
        ranks = np.arange(len(probes)) - np.searchsorted(probes, probes)
        found[probes, ranks] = rows
        return found


class Autofaiss:
    """The FAISS index that autofaiss chooses and tunes."""

    name = "autofaiss"

    def build(self, gallery: Gallery, folder: Path) -> None:
        """Let autofaiss choose, build and tune an index.

        The index and autofaiss's report are written here, because autofaiss fails to write its
        report with NumPy 2.
        """
        import json

        from indexer.faiss_library import faiss

        sys.path.append(str(AUTOFAISS_DIR))  # last, so that its package `tests` is not imported
        from autofaiss import build_index

        source = folder / "embeddings"
        source.mkdir()
        (source / "vectors.npy").symlink_to(gallery.vectors_path.absolute())
        index, infos = build_index(
            str(source),
            save_on_disk=False,
            metric_type="ip",
            nb_cores=CORES,
            max_index_memory_usage="8G",
            current_memory_available="12G",
            verbose=40,
        )
        faiss.write_index(index, str(folder / "knn.index"))
        (folder / "infos.json").write_text(json.dumps(infos, default=float))
        (source / "vectors.npy").unlink()

    def open(self, gallery: Gallery, folder: Path) -> None:
        """Load the index."""
        import json

        from indexer.faiss_library import faiss

        self._index = faiss.read_index(str(folder / "knn.index"))
        infos = json.loads((folder / "infos.json").read_text())
        print(f"(autofaiss chose {infos['index_key']} {infos['index_param']})", flush=True)
        self._chosen = infos["index_param"]
        self._has_graph = "HNSW" in infos["index_key"] and "IVF" not in infos["index_key"]

    def ladders(self) -> Sequence[Sequence[str]]:
        """Return the setting that autofaiss chose, then settings of growing effort."""
        if self._has_graph:
            return [[self._chosen], [f"efSearch={ef}" for ef in EF_SEARCH]]
        if "nprobe" not in self._chosen:
            return [[self._chosen]]
        others = [part for part in self._chosen.split(",") if not part.startswith("nprobe")]
        steps = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
        return [[self._chosen], [",".join([f"nprobe={n}", *others]) for n in steps]]

    def use(self, setting: str) -> None:
        """Set FAISS's search parameters."""
        from indexer.faiss_library import faiss

        if setting:
            faiss.ParameterSpace().set_index_parameters(self._index, setting)

    def search(self, probes: Vectors) -> Any:
        """Return the (p, 10) rows of the nearest faces."""
        return self._index.search(probes, K)[1]

    def rows(self, answer: Any) -> Rows:
        """Return the rows as they are."""
        return np.asarray(answer, dtype=np.int64)


ENGINES: dict[str, Engine] = {
    "facetrove": Facetrove(),
    "hnswlib-16": Hnswlib(16, 200),
    "hnswlib-32": Hnswlib(32, 200),
    "usearch-f32": Usearch("f32"),
    "usearch-f16": Usearch("f16"),
    "usearch-i8": Usearch("i8"),
    "lancedb-pq": LanceDb("IVF_PQ"),
    "lancedb-hnsw": LanceDb("HNSW_SQ"),
    "autofaiss": Autofaiss(),
}
"""All engines, by the name that the option `--engines` takes."""

_PACKAGES = {"hnswlib", "usearch", "lancedb"}
"""Packages that engines need, named as the part of the engine's name before a hyphen."""


def require_engines(names: Sequence[str]) -> None:
    """End the program with advice unless the packages of some engines are installed."""
    wanted = _PACKAGES & {name.split("-")[0] for name in names}
    missing = sorted(name for name in wanted if find_spec(name) is None)
    if "autofaiss" in names and not AUTOFAISS_DIR.is_dir():
        missing.append("autofaiss")
    if missing:
        sys.exit(f"{' and '.join(missing)} not installed; run `make bench-setup` first")
