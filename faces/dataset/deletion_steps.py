"""The steps of a deletion: withhold faces, take the deletion back, or make it final.

Each step replaces the file of deletions once, so that a process that is killed leaves the state
before the step or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from faces.core.errors import WrongUsageError
from faces.dataset.deletion_records import DeletionRequest, new_deletion_id, record_of
from faces.dataset.deletions import (
    ALLOWED_PREFIX,
    FINAL_PREFIX,
    OF_SOURCE,
    DeletionRow,
    Deletions,
    content_digest,
    face_digest,
    read_deletions,
    sole_writer,
    write_deletions,
)
from faces.dataset.layout import DELETIONS_FILE, dataset_folder


class Withheld(NamedTuple):
    """The result of withholding faces.

    Attributes:
        deletion_id: id by which the deletion can be taken back; None if there is nothing to take
            back, because no face was named or a purge has made all of them final.
        before: `Deletions.state` before.
        after: `Deletions.state` after.
    """

    deletion_id: str | None
    before: str
    after: str


def withhold(
    dataset_dir: Path,
    contents: Mapping[str, str | None],
    emptied: Iterable[str],
    request: DeletionRequest,
) -> Withheld:
    """Withhold faces from readers from now on, as one deletion that can be taken back.

    A face that an unfinished or earlier deletion of the same request withholds stays in that one. A
    face that had been let in again is withheld like any other.

    Args:
        dataset_dir: folder of the dataset.
        contents: photo_ids of the faces by face_id; None where a face's photo is not known.
        emptied: photo_ids of the contents of which no other face is left.
        request: the faces that were asked for.

    Raises:
        BusyError: another process is writing the deletions.
    """
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        same = [d.deletion_id for d in before.undoable if d.request == request]
        settled = {*before.digests_of(same).to_pylist(), *before.final_digests.to_pylist()}
        digests = {face_id: face_digest(face_id) for face_id in contents}
        new = {face_id: digest for face_id, digest in digests.items() if digest not in settled}
        if not new:
            return Withheld(same[-1] if same else None, before.state, before.state)
        deletion_id = new_deletion_id()
        let_in = {ALLOWED_PREFIX + digest for digest in digests.values()}
        kept = [
            row
            for row in before.rows
            if row.digest not in let_in and not (row.is_restored and row.face_id in contents)
        ]
        faces = [DeletionRow(f, digest, contents[f], deletion_id) for f, digest in new.items()]
        whole = [DeletionRow(None, content_digest(c), c, deletion_id) for c in emptied]
        record = DeletionRow(deletion=deletion_id, record=record_of(request))
        write_deletions(dataset_dir, [*kept, *faces, *whole, record])
        return Withheld(deletion_id, before.state, read_deletions(dataset_dir).state)


def take_back(dataset_dir: Path, deletion_id: str) -> int:
    """Show the faces of a deletion to readers again, unless another deletion withholds them too.

    Args:
        dataset_dir: folder of the dataset.
        deletion_id: id of the deletion. One that was taken back since the last purge is accepted.

    Returns:
        The number of faces that were taken back.

    Raises:
        WrongUsageError: there is no such deletion, or a purge has made it final.
        BusyError: another process is writing the deletions.
    """
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        restored = [row for row in before.rows if row.is_restored and row.deletion == deletion_id]
        if deletion_id not in {deletion.deletion_id for deletion in before.undoable}:
            if restored:
                return len(restored)
            raise WrongUsageError(_no_such_deletion(dataset_dir, before, deletion_id))
        rows = _without_deletion(before.rows, lambda row: row.deletion == deletion_id)
        write_deletions(dataset_dir, rows)
        return sum(row.is_restored and row.deletion == deletion_id for row in rows)


def _no_such_deletion(dataset_dir: Path, deletions: Deletions, deletion_id: str) -> str:
    if len(deletions.digests_of([deletion_id])):
        return (
            f"deletion {deletion_id} of {dataset_dir} cannot be taken back: a purge has made it "
            "final; to have the faces again, embed their photos into a new dataset"
        )
    return (
        f"{dataset_dir} has no deletion {deletion_id!r} that can be taken back; "
        f"`facetrove undo {dataset_dir}` lists those that can"
    )


def _without_deletion(
    rows: Sequence[DeletionRow], goes: Callable[[DeletionRow], bool]
) -> list[DeletionRow]:
    """Return the rows without some withheld ones, whose faces are recorded as taken back.

    Contents to which one of these faces belongs are no longer withheld as a whole.
    """
    kept = [row for row in rows if not (goes(row) and not row.is_restored)]
    still = {row.digest for row in kept if row.is_face}
    restored = {
        row.face_id: row._replace(digest=None)
        for row in rows
        if goes(row) and row.is_face and row.digest not in still
    }
    contents = {row.content for row in restored.values()}
    kept = [r for r in kept if not (r.is_content and r.is_withheld and r.content in contents)]
    return [*kept, *restored.values()]


def seal(dataset_dir: Path, deletion_ids: Collection[str] | None = None) -> Deletions:
    """Make deletions final: drop their records, so that they cannot be taken back any more.

    Args:
        dataset_dir: folder of the dataset, which this process holds the lock of.
        deletion_ids: ids of the deletions; None: all of them. A deletion that is final already is
            accepted, so that a purge that was interrupted can be repeated.

    Returns:
        All deletions as they are afterwards.

    Raises:
        WrongUsageError: there is no deletion with one of the ids.
        BusyError: another process is writing the deletions.
    """
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        for deletion_id in deletion_ids or ():
            if not len(before.digests_of([deletion_id])):
                raise WrongUsageError(_no_such_deletion(dataset_dir, before, deletion_id))
        rows = _without_idle_records(_sealed(before.rows, deletion_ids))
        if rows != [*before.rows]:
            write_deletions(dataset_dir, rows)
        return read_deletions(dataset_dir)


def _sealed(rows: Sequence[DeletionRow], deletion_ids: Collection[str] | None) -> list[DeletionRow]:
    """Return the rows with the faces and contents of some deletions made final; see `seal`.

    A face that two deletions asked for becomes final with the first of them. A content from which
    two deletions took all faces becomes final with the last of them.
    """

    def is_named(row: DeletionRow) -> bool:
        return row.is_withheld and (deletion_ids is None or row.deletion in deletion_ids)

    final = {row.digest for row in rows if row.is_face and is_named(row)}
    others = {r.content: r for r in rows if r.is_face and r.is_withheld and r.digest not in final}

    def after(row: DeletionRow) -> DeletionRow:
        if row.is_content and row.is_withheld and row.content in others:
            return row._replace(deletion=others[row.content].deletion)
        if (row.is_withheld and row.digest in final) or (row.is_content and is_named(row)):
            return row._replace(deletion=f"{FINAL_PREFIX}{row.deletion}")
        return row

    return list(map(after, rows))


def add_emptied(dataset_dir: Path, photo_ids: pa.Array) -> None:
    """Record contents that lost all their faces for good, so that they get no faces any more."""
    digests = {content_digest(photo_id) for photo_id in photo_ids.to_pylist()}
    if not digests:
        return
    with sole_writer(dataset_dir):
        rows = read_deletions(dataset_dir).rows
        digests -= {row.digest for row in rows if row.is_final}
        write_deletions(dataset_dir, [*rows, *(DeletionRow(digest=d) for d in digests)])


def settle_deletions(dataset_dir: Path, face_ids: pa.Array) -> None:
    """Record that sealed faces are in no part any more: keep digests of them, and no ids.

    Args:
        dataset_dir: folder of the dataset.
        face_ids: (n,) string, faces that were taken out of all parts.
    """
    gone = {*face_ids.to_pylist()}
    with sole_writer(dataset_dir):
        rows = [
            row._replace(face_id=None, content=None)
            if row.is_final and (row.face_id in gone or row.is_content)
            else row
            for row in read_deletions(dataset_dir).rows
        ]
        write_deletions(dataset_dir, rows)


def forget_restored(dataset_dir: Path, present: pa.ChunkedArray | pa.Array) -> None:
    """Drop the rows of faces that were taken back and that no part has any more.

    Args:
        dataset_dir: folder of the dataset.
        present: (n,) string, the face_ids of all faces in the parts.
    """
    with sole_writer(dataset_dir):
        rows = read_deletions(dataset_dir).rows
        found = {*present.to_pylist()} if any(row.is_restored for row in rows) else set()
        kept = [row for row in rows if not (row.is_restored and row.face_id not in found)]
        if len(kept) < len(rows):
            write_deletions(dataset_dir, kept)


def allow_faces(dataset_dir: Path, digests: Iterable[str]) -> None:
    """Let faces in again: nothing withholds them from parts that are written from now on.

    Args:
        dataset_dir: the dataset's folder.
        digests: the `face_digest` of each face.

    Raises:
        BusyError: another process is writing the deletions.
    """
    let_in = set(digests)
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        rows = _without_deletion(
            [row for row in before.rows if not (row.is_final and row.digest in let_in)],
            lambda row: row.is_face and row.digest in let_in,
        )
        allowed = [DeletionRow(digest=f"{ALLOWED_PREFIX}{digest}") for digest in let_in]
        write_deletions(dataset_dir, [*_without_idle_records(rows), *allowed])


def _without_idle_records(rows: Sequence[DeletionRow]) -> list[DeletionRow]:
    """Return the rows without the records of deletions that withhold no face any more."""
    left = {row.deletion for row in rows if row.is_face and row.is_withheld}
    return [row for row in rows if row.record is None or row.deletion in left]


def replace_requests(
    dataset_dir: Path, replaced: Callable[[DeletionRequest], DeletionRequest]
) -> None:
    """Replace the requests in the records of deletions that can be taken back.

    Args:
        dataset_dir: folder of the dataset.
        replaced: function of a request that returns the request to record instead.
    """
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        changed = {
            deletion.deletion_id: record_of(request, deletion.deleted_at)
            for deletion in before.undoable
            if (request := replaced(deletion.request)) != deletion.request
        }
        if changed:
            rows = [
                row._replace(record=changed[row.deletion])
                if row.record is not None and row.deletion in changed
                else row
                for row in before.rows
            ]
            write_deletions(dataset_dir, rows)


def follow_source(dataset_dir: Path, source: Deletions, contents: Mapping[str, str]) -> None:
    """Withhold the faces that are withheld from the dataset that a dataset was embedded from.

    Faces that the source has taken back are taken back, those that it has purged are sealed, and
    those that it has let in are let in, unless this dataset has deleted them itself.

    Args:
        dataset_dir: folder of the dataset.
        source: deletions of the dataset that it follows, with the ids of this one.
        contents: photo_ids by face_id of faces in the dataset that the source has purged.

    Raises:
        BusyError: another process is writing the deletions.
    """
    if not source.rows and not dataset_folder(dataset_dir).exists(DELETIONS_FILE):
        return
    with sole_writer(dataset_dir):
        before = read_deletions(dataset_dir)
        final_here = {row.digest for row in before.rows if row.is_final}
        final = _final_rows(before, source, contents, final_here)
        theirs = {
            row.digest: row._replace(deletion=OF_SOURCE)
            for row in source.rows
            if row.is_withheld and row.digest not in final_here
        }
        rows = _without_deletion(
            [row for row in before.rows if not (row.deletion == OF_SOURCE and row.digest in final)],
            lambda row: row.deletion == OF_SOURCE and row.digest not in theirs,
        )
        kept = [
            row
            for row in rows
            if not (row.deletion == OF_SOURCE and row.is_withheld)
            and not (row.is_restored and face_digest(str(row.face_id)) in theirs)
        ]
        rows = [*kept, *theirs.values(), *final.values()]
        write_deletions(
            dataset_dir, _with_let_in(rows, source, deleted=theirs.keys() | final.keys())
        )


def _with_let_in(
    rows: Sequence[DeletionRow], source: Deletions, deleted: Collection[str | None]
) -> list[DeletionRow]:
    """Return the rows with the faces that a source lets in, and without those it has deleted since.

    Args:
        rows: rows of the dataset that follows.
        source: deletions of the source.
        deleted: digests of the faces that the source has deleted.
    """
    gone = {ALLOWED_PREFIX + str(digest) for digest in deleted}
    rows = [row for row in rows if row.digest not in gone]
    deleted_here = {ALLOWED_PREFIX + str(row.digest) for row in rows if row.is_face}
    let_in = [row for row in source.rows if row.is_allowed and row.digest not in deleted_here]
    return [*rows, *let_in]


def _final_rows(
    before: Deletions,
    source: Deletions,
    contents: Mapping[str, str],
    final_here: Collection[str | None],
) -> dict[str, DeletionRow]:
    """Return the rows of faces and contents that a source purged and a dataset has not, by digest.

    They have the ids of faces and contents that the dataset's parts still have.
    """
    ids = {row.digest: (row.face_id, row.content) for row in before.rows}
    ids |= {face_digest(face_id): (face_id, photo_id) for face_id, photo_id in contents.items()}
    digests = [row.digest for row in source.rows if row.is_final and not row.is_allowed]
    return {
        digest: DeletionRow(face_id, digest, content)
        for digest in digests
        if digest is not None and digest not in final_here
        for face_id, content in [ids.get(digest, (None, None))]
    }
