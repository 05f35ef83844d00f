"""Bring a table of faces in a vector database up to date with an index."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.deletions import read_deletions
from faces.dataset.exports import Compared, deletions_digest, running_export
from faces.dataset.store import Dataset
from facetrove.export.addresses import Address
from facetrove.export.comparing import Comparing, ExportVerification
from facetrove.export.face_table import FaceTable, SearchSettings
from facetrove.export.gallery import DIGEST, FACE_ID, Gallery
from facetrove.export.opening import open_table
from indexer.changes import indexed_photos
from indexer.origin import find_dataset
from search.searcher import FaceSearcher

TARGET_RECALL = 0.99
"""Default share of the exact ten nearest faces that a search in the database finds."""


@dataclass(frozen=True)
class ExportResult:
    """The result of an export.

    Attributes:
        database: address of the database and the table, without any secret.
        num_faces: number of faces that the table has now.
        num_sent: number of faces that were new to it.
        num_changed: number of faces whose names or other columns have changed.
        num_removed: number of faces that it had and the index has no more: deleted ones, purged
            ones, and those of photos that changed or vanished.
        seconds: seconds that the export took, `index_seconds` of them to make and tune the index.
        index_seconds: seconds to make and tune the vector index.
        settings: how the database searches, with settings that reach the recall.
        recall_at_10: share of the exact ten nearest faces that a search with these settings finds,
            [0, 1], measured on faces of the table; None: there are fewer than two.
        renamed: names in the database of the columns that it has by another name, by ours.
        verification: the comparison with searches of the index; None: none was asked for.
    """

    database: str
    num_faces: int
    num_sent: int
    num_changed: int
    num_removed: int
    seconds: float
    index_seconds: float
    settings: SearchSettings
    recall_at_10: float | None
    renamed: dict[str, str]
    verification: ExportVerification | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return asdict(self)


def export_index(
    index: str | Path,
    database: str,
    *,
    target_recall: float = TARGET_RECALL,
    dataset: str | Path | None = None,
    verify: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> ExportResult:
    """Send the faces of an index to a vector database, or bring them up to date there.

    Rows that are new are sent, rows whose names or other columns changed are replaced, and rows
    that the index has no more are removed, these first. If it is stopped at any point, the same
    call continues it. The dataset notes where its faces went: a purge names the databases that
    still have what it removed.

    Args:
        index: path of the index's folder.
        database: address of the database: `lancedb:FOLDER`, `postgresql://HOST/DATABASE`,
            `milvus://HOST/COLLECTION`, `milvus:FILE`, `qdrant://HOST/COLLECTION` or
            `qdrant:FOLDER`; with `?table=NAME`, the name of the table, which is `faces` otherwise.
            Passwords and keys come from the environment or the client's own files.
        target_recall: share of the exact ten nearest faces that a search in the database should
            find, in (0, 1]; the vector index is set so that it does.
        dataset: path of the dataset that the index was built from; None: where the index says.
        verify: whether to compare the ten nearest of a thousand probes with those of the index.
        on_progress: called with each step and how far it is.

    Returns:
        What was sent and removed, and how to search.

    Raises:
        WrongUsageError: there is no such index, its dataset is not found, the address is not valid,
            the database's client is not installed, or the table is not one of facetrove.
        ContractMismatchError: the table holds embeddings of other models.
        BusyError: another process exports the dataset to that address.
        FaceTroveError: the database cannot be reached, or refuses.
    """
    if not 0 < target_recall <= 1:
        raise WrongUsageError(
            f"the target recall is {target_recall}; give a share above 0 and up to 1"
        )
    began = time.perf_counter()
    address = Address.parse(database)
    searcher = FaceSearcher.open(index, device="cpu", dataset=dataset)
    dataset_dir = _dataset_of(searcher, dataset)
    with running_export(dataset_dir, str(address)) as record:
        searcher.refresh()
        gallery, compared = _compared_gallery(searcher, dataset_dir)
        with open_table(address, gallery) as table:
            record.begin(compared)
            sent = _Sent.to(table, gallery, on_progress)
            record.finish(compared)
            return sent.result(
                Comparing(table, gallery, on_progress),
                str(address),
                target_recall,
                verify=verify,
                began=began,
            )


@dataclass(frozen=True)
class _Sent:
    """What is in a table once its rows are up to date, and the database's index is made.

    Attributes:
        table: the table.
        num_faces: number of its faces.
        counts: what was sent, changed and removed.
        words: what the database's index is; "": there is none.
        indexing: when the rows were up to date, by `time.perf_counter`.
    """

    table: FaceTable
    num_faces: int
    counts: _Counts
    words: str
    indexing: float

    @classmethod
    def to(cls, table: FaceTable, gallery: Gallery, on_progress: OnProgress) -> _Sent:
        """Bring the rows of a table up to date, and make the database's index."""
        counts = _bring_up_to_date(table, gallery, on_progress)
        indexing = time.perf_counter()
        on_progress(Progress("making the database's index"))
        words = table.finish(removed=counts.num_changed + counts.num_removed > 0)
        return cls(table, len(gallery), counts, words, indexing)

    def result(
        self,
        comparing: Comparing,
        database: str,
        target_recall: float,
        *,
        verify: bool,
        began: float,
    ) -> ExportResult:
        """Choose the settings of searches for a recall, and return what was done."""
        effort, recall = comparing.tune(target_recall, is_indexed=bool(self.words))
        effort_words = {} if effort is None else self.table.effort_in_words(effort)
        now = time.perf_counter()
        return ExportResult(
            database,
            self.num_faces,
            self.counts.num_sent,
            self.counts.num_changed,
            self.counts.num_removed,
            now - began,
            now - self.indexing,
            SearchSettings(self.words, effort_words),
            recall,
            dict(self.table.renamed),
            comparing.verify(effort) if verify else None,
        )


def _dataset_of(searcher: FaceSearcher, given: str | Path | None) -> Path:
    """Return the folder of an index's dataset.

    Raises:
        WrongUsageError: it is not where the index says, or is another dataset.
    """
    manifest = searcher.manifest
    if given is None:
        found = find_dataset(searcher.path, manifest)
        if found is None:
            raise WrongUsageError(
                f"the dataset of index {searcher.path} is not where it was; name it with "
                "--dataset: it notes where its faces go, so that a purge can say which databases "
                "still have deleted ones"
            )
        return found
    dataset = Dataset.open(given)
    if manifest.dataset_id and dataset.settings.dataset_id != manifest.dataset_id:
        raise WrongUsageError(f"index {searcher.path} was not built from {given}; name its dataset")
    return dataset.path


def _compared_gallery(searcher: FaceSearcher, dataset_dir: Path) -> tuple[Gallery, Compared]:
    """Return the faces that may be sent, and what they were compared with."""
    deletions = read_deletions(dataset_dir)
    snapshot = searcher.snapshot
    segments = snapshot.manifest.segments
    parts = indexed_photos(searcher.path, segments)["part"].unique() if segments else []
    newest = max((str(part) for part in parts), default="")
    return Gallery.of(snapshot, deletions), Compared(deletions_digest(deletions), newest)


@dataclass
class _Counts:
    """The numbers of rows that an export sent, replaced and removed."""

    num_sent: int = 0
    num_changed: int = 0
    num_removed: int = 0


def _bring_up_to_date(table: FaceTable, gallery: Gallery, on_progress: OnProgress) -> _Counts:
    """Remove, add and replace rows until a table has the gallery's faces and no others."""
    on_progress(Progress("reading what the database has"))
    known, counts = table.known(), _Counts()
    face_ids, twice = _once(known[FACE_ID])
    rows = [
        _rows_of(ids, face_ids, mask)
        for ids, mask in zip(gallery.face_ids(), gallery.masks, strict=False)
    ]
    is_here = np.zeros(len(face_ids), bool)
    for of_segment in rows:
        is_here[of_segment[of_segment >= 0]] = True
    gone = pa.concat_arrays([face_ids.filter(pa.array(~is_here)), twice])
    if len(gone):
        on_progress(Progress("removing faces", 0, len(gone)))
        table.remove(gone)
        counts.num_removed = int(np.count_nonzero(~is_here))
    digests = known[DIGEST].to_numpy()[
        pc.index_in(face_ids, value_set=known[FACE_ID].combine_chunks()).to_numpy()
    ]
    total = len(gallery)
    table.expect(total - int(is_here.sum()))
    done = 0
    for number, numbers, batch in gallery.batches(lambda n: gallery.masks[n], table.rows_at_once):
        _send(table, batch, rows[number][numbers], digests, counts)
        done += len(batch)
        on_progress(Progress("sending faces", done, total))
    return counts


def _send(
    table: FaceTable,
    batch: pa.Table,
    rows: NDArray[np.int64],
    digests: NDArray[np.int64],
    counts: _Counts,
) -> None:
    """Send what is new or has changed of a batch.

    Args:
        table: the table.
        batch: n faces.
        rows: (n,) the row of each face among those that the table has; -1: it does not have it.
        digests: digests of the rows that the table has.
        counts: numbers of rows, which are increased.
    """
    is_new = rows < 0
    has_changed = ~is_new
    has_changed[~is_new] = digests[rows[~is_new]] != batch[DIGEST].to_numpy()[~is_new]
    if is_new.any():
        table.add(batch if is_new.all() else batch.filter(pa.array(is_new)))
    if has_changed.any():
        table.replace(batch.filter(pa.array(has_changed)))
    counts.num_sent += int(is_new.sum())
    counts.num_changed += int(has_changed.sum())


def _once(face_ids: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Return the face_ids that are there once, and those that are there several times.

    Two programs that write into one table at once can leave a row twice.
    """
    counted = face_ids.combine_chunks().value_counts()
    ids, counts = counted.field("values"), counted.field("counts")
    return ids.filter(pc.equal(counts, 1)), ids.filter(pc.greater(counts, 1))


def _rows_of(
    ids: pa.ChunkedArray, face_ids: pa.Array, mask: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return (n,) the row of each of a segment's faces among face_ids; -1: none, or not masked."""
    found = pc.fill_null(pc.index_in(ids, value_set=face_ids), -1).to_numpy()
    return np.where(mask, found, -1).astype(np.int64)
