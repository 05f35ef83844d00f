"""Purge a dataset and its indexes: remove every byte of deleted faces, check that, and report."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.named import as_list
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.crop_cache import purge_crops
from faces.dataset.deleted_pictures import drop_released_pictures, read_deleted_pictures
from faces.dataset.deletions import face_digests, read_deletions
from faces.dataset.exports import Compared, deletions_digest, mark_exports
from faces.dataset.names import (
    PEOPLE_BOOK,
    NameLeft,
    names_left,
    people_of,
    person_names,
    redact_records,
    remove_names,
)
from faces.dataset.passed_over_names import forget_passed_over
from faces.dataset.people_book import PeopleBook
from faces.dataset.people_purge import BookPurge, has_book, purge_book
from faces.dataset.rewrite import (
    Leftovers,
    embedding_digests,
    purge_dataset,
    remove_deleted_faces,
    superseded_faces,
)
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.compact import rewrite_index
from indexer.delete import open_all
from indexer.folder import open_segments
from indexer.layout import index_folder
from indexer.manifest import read_current
from indexer.traces import TraceSearch, search_for_traces


@dataclass(frozen=True)
class PurgeReport:
    """The record of a purge: what was removed, and how the absence of it was checked.

    Attributes:
        dataset: path of the dataset that was purged.
        indexes: paths of the indexes that were purged.
        started, finished: times in UTC, ISO 8601.
        deletions: ids of the deletions that the report is confined to; empty: all that there were.
        num_faces_removed: number of rows of faces removed from the dataset's files, superseded rows
            too.
        num_photos_removed: number of rows of photos removed from the dataset's files.
        num_index_rows_removed: number of rows of faces removed from each index's files, by the
            index's path.
        num_crops_removed: number of crops of deleted faces removed from this machine's cache.
        num_book_faces_removed: number of faces removed from the people book, each counted in every
            decision and in the grouping.
        num_book_names_removed: number of entries of the people book from which a name was removed.
        num_models_removed: number of read models of people books removed from this machine's cache,
            with their free pages; they are built again when they are next needed.
        num_name_rows_cleaned: number of rows of photos from which a name was removed.
        num_name_rows_left: number of rows of photos in which a name is left: one that was to be
            removed, or that of a person of whose photos faces were removed.
        deleted_face_digests: digests of the faces of `deletions`, or of all faces ever purged from
            this dataset. No face can be identified from them; one whose face id is at hand is
            recognised by sha256("facetrove deleted " + face_id).
        kept: one line for each kind of data that is kept on purpose, so that deleted faces stay
            away, with its amount. No face can be identified, searched for or rebuilt from it.
        files_checked: number of files that were read again after the removal.
        faces_checked: number of rows of faces in these files, each compared with what was removed.
        not_found: one line for each kind of removed data that these files were searched for.
        unknown_files: paths of files in these folders that are not facetrove's; not searched.
        exports: addresses of the vector databases that may hold what was removed, now or before,
            until `facetrove export` is run there again.
        limits: one line for each kind of copy that a purge cannot reach.
        names_left: the names that are left, with the rows that have them; not part of `to_json`.
    """

    dataset: str
    indexes: tuple[str, ...]
    started: str
    finished: str
    deletions: tuple[str, ...]
    num_faces_removed: int
    num_photos_removed: int
    num_index_rows_removed: dict[str, int]
    num_crops_removed: int
    num_book_faces_removed: int
    num_book_names_removed: int
    num_models_removed: int
    num_name_rows_cleaned: int
    num_name_rows_left: int
    deleted_face_digests: tuple[str, ...]
    kept: tuple[str, ...]
    files_checked: int
    faces_checked: int
    not_found: tuple[str, ...]
    unknown_files: tuple[str, ...]
    exports: tuple[str, ...]
    limits: tuple[str, ...]
    names_left: tuple[NameLeft, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields that identify nobody as a dictionary for `json.dump`."""
        fields = asdict(self)
        del fields["names_left"]
        return fields


LIMITS = (
    "Backups, file-system snapshots and other copies of these folders are not reached.",
    "Disk blocks of the removed files are released, and may not be overwritten yet; that is up to "
    "the file system.",
    "The photos themselves are untouched, and so are indexes that were not named.",
    "Networks that were trained on these faces stay as they are: `facetrove models MODEL --dataset "
    "DATASET` counts them; train again without them. Crops in caches of other machines are not "
    "reached.",
    "Read models of the people book in caches of other machines hold what they read until they are "
    "next used, which builds them again; contact sheets, reports, CSV files and sidecars that were "
    "written stay.",
    "Vector databases hold what was exported to them until `facetrove export` is run there again; "
    "their own logs, backups and older versions are not reached.",
)
"""The copies of faces that a purge cannot reach, for `PurgeReport.limits`."""


def purge(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    *,
    deletions: Sequence[str] | None = None,
    names: str | Sequence[str] = (),
    on_progress: OnProgress = ignore_progress,
) -> PurgeReport:
    """Remove deleted and superseded faces and photos from all files of a dataset and its indexes.

    From then on the deletions cannot be taken back. The indexes are updated first. Their older
    versions are removed at once; a reader that is just opening one opens the new version instead.
    If this is interrupted, the same call finishes it.

    Args:
        dataset: path of the dataset's folder.
        indexes: paths of indexes built from the dataset.
        deletions: ids of the deletions to make final, and to report; None: all of them. The others
            can still be taken back.
        names: names of people to remove from the photos' text columns, in the dataset and in its
            indexes; an index with a name in it is built from nothing.
        on_progress: called with each step and how far it is.

    Returns:
        The record of what was removed and checked.

    Raises:
        WrongUsageError: the dataset or an index does not exist, or there is no deletion with one of
            the ids.
        ContractMismatchError: an index holds embeddings of another model than the dataset.
        BusyError: another process is writing the dataset or an index.
        CorruptFileError: a file is corrupt, or still holds removed data when it is checked, or
            there is a link in one of the folders: what it leads to would keep its data.
    """
    started = _now()
    source, paths = _open_without_links(dataset, indexes)
    before = read_deletions(source.path)
    contents = before.contents_to_purge(deletions)
    compared = Compared(deletions_digest(before), max(source.committed_parts(), default=""))
    wanted = [str(name) for name in as_list(names)]
    people = {*people_of(source, contents), *_people_of_deleted(source, contents), *wanted}
    removed = _remove(source, paths, deletions, wanted, on_progress)
    source = Dataset.open(source.path)
    on_progress(Progress("checking that nothing is left"))
    search = search_for_traces(
        source,
        paths,
        leftovers=removed.leftovers,
        dead=removed.dead,
        deletion_ids=deletions,
        names=wanted,
    )
    exports = _exports_behind(source, removed, compared, names=bool(wanted))
    return _report(
        *(started, source, paths, removed, search),
        exports=exports,
        deletions=deletions,
        people=people,
    )


def _open_without_links(
    dataset: str | Path, indexes: str | Path | Sequence[str | Path]
) -> tuple[Dataset, list[Path]]:
    """Open a dataset and its indexes, in none of which there is a link."""
    source, opened = open_all(dataset, indexes)
    paths = [path for path, _ in opened]
    for folder in (source.folder, *map(index_folder, paths)):
        folder.require_no_links()
    return source, paths


def _people_of_deleted(source: Dataset, contents: pa.Array) -> set[str]:
    """Return the names by the people book of those whose faces a purge removes.

    Args:
        source: the dataset.
        contents: photo_ids of the faces that the purge takes out of the parts.
    """
    view = PeopleBook(source.path).view()
    if view.is_empty or not len(contents):
        return set()
    withheld = read_deletions(source.path).pending.to_pylist()
    names = (view.names.get(number) for number in view.people_of(withheld) if number is not None)
    return {name for name in names if name is not None}


class _Removed(NamedTuple):
    """What a purge took out of a dataset and its indexes.

    Attributes:
        num_faces: number of rows of deleted faces removed from the dataset.
        leftovers: the other rows removed from the dataset.
        dead: for each index, ids and embedding digests of faces only in its deleted rows.
        num_index_rows: number of rows removed, by the index's path.
        num_name_rows: number of rows of photos from which names were removed.
        num_crops: number of crops of deleted faces removed from this machine's cache.
        book: what was removed from the people book.
    """

    num_faces: int
    leftovers: Leftovers
    dead: list[tuple[pa.Array, pa.Array]]
    num_index_rows: dict[str, int]
    num_name_rows: int
    num_crops: int
    book: BookPurge


def _remove(
    source: Dataset,
    indexes: Sequence[Path],
    deletions: Sequence[str] | None,
    names: Sequence[str],
    on_progress: OnProgress,
) -> _Removed:
    """Remove what a purge removes from all files; arguments as of `purge`."""
    num_faces = remove_deleted_faces(source, deletions, on_progress)
    for path in indexes:
        build_index(source.path, path, on_progress=on_progress)
    withheld = read_deletions(source.path).withheld
    dead = [_dead_faces(path, withheld) for path in indexes]
    num_rows = {path: _num_rows(path) for path in indexes}
    on_progress(Progress("purging the people book"))
    # Before the parts, from which a purge that goes on after a kill tells what was superseded.
    superseded = superseded_faces(source) if has_book(source.path) else pa.array([], pa.string())
    gone_ids = pa.concat_arrays([superseded, *(ids for ids, _ in dead)])
    final = read_deletions(source.path).final_digests
    book = purge_book(source.path, lambda ids: _are_gone(ids, gone_ids, final), person_names(names))
    leftovers = purge_dataset(source, on_progress)
    drop_released_pictures(source.path)
    forget_passed_over(source.folder)
    source, num_name_rows = remove_names(Dataset.open(source.path), names, on_progress)
    redact_records(source.path, names)
    for path in indexes:
        if num_name_rows:  # the index has the names too: this builds it from nothing
            build_index(source.path, path, on_progress=on_progress)
        rewrite_index(path, source, on_progress=on_progress)
    num_index_rows = {str(path): count - _num_rows(path) for path, count in num_rows.items()}
    num_crops = purge_crops(source.path, read_deletions(source.path).final_digests)
    return _Removed(num_faces, leftovers, dead, num_index_rows, num_name_rows, num_crops, book)


def _are_gone(face_ids: pa.Array, gone_ids: pa.Array, final: pa.Array) -> pa.Array:
    """Return (n,) bool: which faces are among `gone_ids`, or have a digest of `final`."""
    gone = pc.is_in(face_ids, value_set=gone_ids)
    return pc.or_(gone, pc.is_in(face_digests(face_ids), value_set=final)) if len(final) else gone


def _exports_behind(
    source: Dataset, removed: _Removed, compared: Compared, *, names: bool
) -> tuple[str, ...]:
    """Mark the exports that may hold what a purge removed; return the addresses of all such.

    Args:
        source: the dataset.
        removed: what the purge removed.
        compared: the state of the dataset when the purge began.
        names: whether names were to be removed.
    """
    superseded = removed.leftovers.num_faces > 0
    return mark_exports(source.path, compared, superseded=superseded, names=names)


def _report(
    started: str,
    source: Dataset,
    indexes: Sequence[Path],
    removed: _Removed,
    search: TraceSearch,
    *,
    exports: tuple[str, ...],
    deletions: Sequence[str] | None,
    people: Collection[str],
) -> PurgeReport:
    """Return the report of a purge that has been done and checked; `people` are the names."""
    left = (*names_left(source, people), *_names_left_in_book(source, people))
    return PurgeReport(
        dataset=str(source.path),
        indexes=tuple(map(str, indexes)),
        started=started,
        finished=_now(),
        deletions=tuple(deletions or ()),
        num_faces_removed=removed.num_faces + removed.leftovers.num_faces,
        num_photos_removed=removed.leftovers.num_photos,
        num_index_rows_removed=removed.num_index_rows,
        num_crops_removed=removed.num_crops,
        num_book_faces_removed=removed.book.num_faces,
        num_book_names_removed=removed.book.num_names,
        num_models_removed=removed.book.num_models,
        num_name_rows_cleaned=removed.num_name_rows,
        num_name_rows_left=len({row.uri for row in left}),
        deleted_face_digests=tuple(search.traces.face_digests.to_pylist()),
        kept=_kept(source),
        files_checked=search.num_files,
        faces_checked=search.num_faces,
        not_found=search.traces.named(),
        unknown_files=tuple(search.unknown_files),
        exports=exports,
        limits=LIMITS,
        names_left=left,
    )


def _names_left_in_book(source: Dataset, people: Collection[str]) -> list[NameLeft]:
    """Return the names of people that are left in the people book, or as a decision's author."""
    seen = PeopleBook(source.path).view().seen
    texts = {text for d in seen.decisions for text in (d.name, d.author, *d.names) if text}
    texts.update(seen.listed.values())
    found = {
        name.name for name in person_names(sorted(people)) for text in texts if name.is_in(text)
    }
    return [NameLeft(name, "", PEOPLE_BOOK) for name in sorted(found)]


def _kept(dataset: Dataset) -> tuple[str, ...]:
    """Describe what a dataset keeps so that deleted faces stay away, see `PurgeReport.kept`."""
    deletions = read_deletions(dataset.path)
    pictures = read_deleted_pictures(dataset.path, deletions)
    return (
        f"a digest of each of the {len(deletions.final_digests)} faces purged so far, of the "
        f"{len(deletions.final_contents)} photos that lost all faces, and of the "
        f"{len(deletions.allowed)} faces that were let in again",
        f"of {len(pictures)} deleted faces the place in the photo, and a hash of what is around "
        "the photo's faces",
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _num_rows(index_dir: Path) -> int:
    return sum(entry.num_faces for entry in read_current(index_dir).segments)


def _dead_faces(index_dir: Path, withheld: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return ids and embedding digests of faces that are only in deleted rows of an index.

    Args:
        index_dir: path of the index's folder.
        withheld: face_ids that the dataset withholds and keeps.
    """
    ids, embeddings, live = [pa.array([], pa.string())], [pa.array([], pa.binary())], []
    for segment in open_segments(index_dir, read_current(index_dir)):
        is_live, column = segment.live(), segment.faces.table["face_id"]
        ids.append(column.filter(pa.array(~is_live)).combine_chunks())
        embeddings.append(embedding_digests(segment.vectors[~is_live]))
        live.append(column.filter(pa.array(is_live)).combine_chunks())
    dead = pa.table({"face_id": pa.concat_arrays(ids), "embedding": pa.concat_arrays(embeddings)})
    # A face whose photo was moved has a live row in a newer segment.
    alive = pc.is_in(dead["face_id"], value_set=pa.concat_arrays([withheld, *live]))
    dead = dead.filter(pc.invert(alive))
    return dead["face_id"].combine_chunks(), dead["embedding"].combine_chunks()
