"""The plan of a run: which of the listed photos are new, changed or to be retried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from beam_jobs.possible_copies import group_copies
from faces.dataset.deletions import read_deletions
from faces.dataset.earlier_faces import ContentLookup, content_lookup
from faces.dataset.missing import missing_in
from faces.dataset.schema import (
    PHOTO_SCHEMA,
    PhotoStatus,
    current_photos,
    dropped_uris,
    forgotten_uris,
)
from faces.dataset.store import Dataset
from faces.photos.listed import LISTING_SCHEMA, PhotoListing
from faces.photos.metadata import TAKEN, as_taken, finite
from faces.photos.mounts import mount_points
from faces.photos.rejection import RejectReason
from faces.photos.uris import is_path

MAX_CONTENTS_PER_SIZE = 1000
"""At most so many of the dataset's contents per file size are checked for copies. Copies of further
contents are embedded again, so that work files stay small."""


@dataclass(frozen=True)
class Plan:
    """The photos that a run embeds, and how the listed photos compare with the dataset.

    Attributes:
        to_do: n photos to embed, with the columns uri, num_bytes, mtime_ns, the metadata of listing
            and dataset, and result_before: null for a new photo and one whose faces were deleted,
            the reason of a rejected photo, "" for a photo that was embedded or has no face.
            Possible copies are adjacent.
        group: (n,) int64, equal for rows of `to_do` that may be copies of each other.
        stored: contents in the dataset that photos to do may be copies of, sorted by num_bytes:
            num_bytes, photo_id, width, height, num_faces, status, partly_read.
        earlier: where the dataset has the earlier faces of contents; empty if nothing is to do.
        vanished: (v,) string, uris in the dataset that the listing covers but no longer has.
        excluded: (e,) string, uris in the dataset that the listing leaves out by a pattern.
        below_gone: (b,) string, uris in the dataset that lie in the places of `drop_below`, and
            are not there.
        num_kept: numbers of photos in the dataset below folders about which nothing is known, such
            as those without any photo, by folder.
        num_new, num_changed, num_retried: numbers of new, changed and retried photos in `to_do`.
            A photo of which a face was let in again counts as changed.
        num_unchanged: number of listed photos that the dataset has as they are.
        num_out_of_reach: number of unchanged photos whose files cannot be read now.
        num_gone: number of listed photos that were dropped and whose files are still gone.
    """

    to_do: pa.Table
    group: NDArray[np.int64]
    stored: pa.Table
    earlier: ContentLookup
    vanished: pa.Array
    excluded: pa.Array
    below_gone: pa.Array
    num_kept: dict[str, int]
    num_new: int
    num_changed: int
    num_retried: int
    num_unchanged: int
    num_out_of_reach: int
    num_gone: int


def metadata_of(listing: PhotoListing) -> pa.Schema:
    """Return the metadata columns of a listing in which at least one photo has a value."""
    return pa.schema(
        field
        for field in listing.photos.schema
        if field.name not in LISTING_SCHEMA.names
        and listing.photos[field.name].null_count < len(listing.photos)
    )


def make_plan(
    listing: PhotoListing,
    dataset: Dataset | None,
    retry: Iterable[RejectReason],
    *,
    drop_below: Sequence[str | Path] = (),
    look_for_copies: bool = True,
) -> Plan:
    """Compare a listing with a dataset, and return the plan of a run.

    Args:
        listing: the listed photos.
        dataset: the dataset, with the listing's metadata columns added; None: it is new.
        retry: reasons of the rejected photos that are tried again.
        drop_below: places in which missing photos are to be dropped, see `EmbedOptions`.
        look_for_copies: whether to look for possible copies, for which files are opened.

    Raises:
        WrongUsageError: a place of `drop_below` holds everything.
    """
    if dataset is not None:
        listing = listing.spelled_like(dataset.metadata)
    metadata = metadata_of(listing) if dataset is None else dataset.metadata
    rows = _rows_of_dataset(dataset, metadata)
    stored = current_photos(rows)
    let_in = _have_let_in_faces(dataset, stored)
    listed = listing.photos.take(listing.reading_order)
    row = pc.index_in(listed["uri"], value_set=stored["uri"].combine_chunks())
    is_new = pc.is_null(row)
    previous = stored.take(row)
    has_result = _has_result(previous)
    # A photo that cannot be read now keeps its result: its disk may be disconnected.
    out_of_reach = pc.and_(has_result, pc.equal(listed["num_bytes"], -1))
    columns = {name: listed[name] for name in ("uri", "num_bytes", "mtime_ns")}
    columns |= _metadata_columns(metadata, listing, listed, previous)
    same = _unchanged(columns, previous, out_of_reach)
    same = pc.and_not(same, pc.fill_null(let_in.take(row), False))
    gone = _dropped_and_still_gone(rows, listed, is_new)
    is_new, same = pc.and_not(is_new, gone), pc.or_(same, gone)
    to_retry = pc.is_in(previous["reason"], value_set=pa.array(list(retry), pa.string()))
    retried, selected = pc.and_(same, to_retry), pc.or_(pc.invert(same), to_retry)
    num_new, num_retried, num_to_do, num_gone = map(_count, (is_new, retried, selected, gone))
    if TAKEN in columns:
        columns[TAKEN] = _taken_by_lists(columns[TAKEN], listing, previous)
    columns["result_before"] = pc.if_else(has_result, "", previous["reason"])
    to_do, group = _grouped(_with_mounts(pa.table(columns).filter(selected)), look_for_copies)
    return Plan(
        to_do=to_do,
        group=group,
        stored=_contents(stored.filter(pc.invert(let_in)), to_do["num_bytes"]),
        earlier=content_lookup(rows if len(to_do) else rows.slice(0, 0)),
        **_missing(stored["uri"], listing, drop_below),
        num_new=num_new,
        num_changed=num_to_do - num_new - num_retried,
        num_retried=num_retried,
        num_unchanged=len(listed) - num_to_do - num_gone,
        num_gone=num_gone,
        num_out_of_reach=_num_files(listed["uri"].filter(pc.and_(same, out_of_reach))),
    )


def _count(mask: pa.ChunkedArray) -> int:
    """Return how many values of a mask are true."""
    return int(pc.sum(mask).as_py() or 0)


def _grouped(to_do: pa.Table, look_for_copies: bool) -> tuple[pa.Table, NDArray[np.int64]]:
    """Put possible copies side by side; return the photos, and the number of each one's group."""
    if not look_for_copies:
        return to_do, np.arange(len(to_do))
    order, group = group_copies(to_do)
    return to_do.take(order), group


def _num_files(uris: pa.ChunkedArray) -> int:
    """Count the files; a URL of a photo list never has a size, so it is not out of reach."""
    return sum(map(is_path, uris.to_pylist()))


def _with_mounts(to_do: pa.Table) -> pa.Table:
    """Return photos with the column `mount`, null for files that cannot be examined."""
    mounts = pa.array(mount_points(to_do["uri"].to_pylist()), pa.string())
    there = pc.not_equal(to_do["num_bytes"], -1)
    return to_do.append_column("mount", pc.if_else(there, mounts, pa.scalar(None, pa.string())))


def _dropped_and_still_gone(
    stored: pa.Table, listed: pa.Table, is_new: pa.ChunkedArray
) -> pa.Array:
    """Return an (n,) bool mask of the listed photos that were dropped because they are gone."""
    gone = np.zeros(len(listed), dtype=bool)
    rows = pc.indices_nonzero(pc.and_(is_new, pc.equal(listed["num_bytes"], -1)))
    if len(rows):
        uris = listed["uri"].take(rows)
        dropped = dropped_uris(stored)
        known = pc.is_in(uris, value_set=dropped)
        known = pc.or_(known, pc.is_in(forgotten_uris(uris), value_set=dropped))
        paths = pa.array(list(map(is_path, uris.to_pylist())), pa.bool_())
        gone[rows.to_numpy()] = pc.and_(known, paths).to_numpy(zero_copy_only=False)
    return pa.array(gone)


def _rows_of_dataset(dataset: Dataset | None, metadata: pa.Schema) -> pa.Table:
    """Return all rows of a dataset's photos, with the columns to compare; None: no rows.

    They are as the parts hold them: a copy of a photo whose faces are withheld is a copy, which
    has its faces again when the deletion is taken back.
    """
    if dataset is None:
        return pa.schema([*PHOTO_SCHEMA, *metadata, pa.field("part", pa.string())]).empty_table()
    compared = ["num_bytes", "mtime_ns", "width", "height", "num_faces", "reason"]
    compared += ["kept_away", "partly_read", "exif_taken"]
    return dataset.photo_rows([*compared, *metadata.names])


def _have_let_in_faces(dataset: Dataset | None, photos: pa.Table) -> pa.Array:
    """Return an (n,) bool mask of the photos with faces that were kept away and no longer are.

    Such a face was let in, or its deletion was taken back.

    Args:
        dataset: the dataset; None: it is new.
        photos: the dataset's current photos, with the column kept_away.
    """
    mask = np.zeros(len(photos), dtype=bool)
    rows = np.flatnonzero(photos["kept_away"].is_valid().to_numpy())
    if dataset is not None and len(rows):
        deletions = read_deletions(dataset.path)
        allowed = set(deletions.allowed.to_pylist())
        deleted = {*deletions.digests.to_pylist(), *deletions.emptied.to_pylist()}
        lists = photos["kept_away"].take(pa.array(rows)).to_pylist()
        mask[rows] = [
            any(face["digest"] in allowed or face["deletion"] not in deleted for face in kept)
            for kept in lists
        ]
    return pa.array(mask)


def _unchanged(
    columns: dict[str, pa.ChunkedArray], previous: pa.Table, out_of_reach: pa.Array
) -> pa.Array:
    """Return an (n,) bool mask of the listed photos that the dataset has as they are now."""
    same = pa.array(np.ones(len(previous), dtype=bool))
    for name, now in columns.items():
        before = previous[name]
        if pa.types.is_floating(before.type):
            before = finite(before)
        equal = pc.or_(
            pc.and_(pc.is_null(now), pc.is_null(before)),
            pc.fill_null(pc.equal(now, before), False),
        )
        if name in ("num_bytes", "mtime_ns"):
            equal = pc.or_(equal, out_of_reach)
        same = pc.and_(same, equal)
    # Photos whose faces file was lost are embedded again.
    lost = pc.and_(
        pc.equal(previous["status"], PhotoStatus.EMBEDDED.value), pc.is_null(previous["faces_part"])
    )
    return pc.and_not(same, pc.fill_null(lost, False))


def _metadata_columns(
    metadata: pa.Schema, listing: PhotoListing, listed: pa.Table, previous: pa.Table
) -> dict[str, pa.ChunkedArray]:
    """Return the metadata columns of the listed photos.

    A photo has the value of the photo lists that name it and have the column, even a null. Where
    there is no such list, it keeps the value that it has in the dataset.
    """
    columns = {}
    for field in metadata:
        columns[field.name] = previous[field.name]
        if pa.types.is_floating(field.type):
            columns[field.name] = finite(previous[field.name])
        if field.name in listed.column_names:
            now = listed[field.name].cast(field.type)
            if listing.given is not None:
                given = listing.given[field.name].take(listing.reading_order)
                now = pc.if_else(given, now, columns[field.name])
            if field.name == TAKEN:
                now = pc.coalesce(now, as_taken(previous["exif_taken"], field.type))
            columns[field.name] = now
    return columns


def _taken_by_lists(
    taken: pa.ChunkedArray, listing: PhotoListing, previous: pa.Table
) -> pa.ChunkedArray:
    """Return the values of `taken` that lists gave, which count before what the photos say.

    Args:
        taken: (n,) the values of the listed photos.
        listing: the listing.
        previous: the listed photos' rows in the dataset.
    """
    of_photo = as_taken(previous["exif_taken"], taken.type)
    by_list = pc.invert(pc.fill_null(pc.equal(taken, of_photo), False))
    if TAKEN in listing.photos.column_names:
        is_said = listing.photos[TAKEN].is_valid().take(listing.reading_order)
        by_list = pc.or_(by_list, is_said)
    return pc.if_else(by_list, taken, pa.scalar(None, taken.type))


def _has_result(photos: pa.Table) -> pa.Array:
    """Return an (n,) bool mask of the photos in which faces were detected, or none was found."""
    finished = pa.array([PhotoStatus.EMBEDDED.value, PhotoStatus.NO_FACE.value])
    return pc.is_in(photos["status"], value_set=finished)


class _Missing(TypedDict):
    """The photos of a dataset that a listing does not have: attributes of `Plan`."""

    vanished: pa.Array
    excluded: pa.Array
    below_gone: pa.Array
    num_kept: dict[str, int]


def _missing(
    uris: pa.ChunkedArray, listing: PhotoListing, drop_below: Sequence[str | Path]
) -> _Missing:
    """Sort the uris of a dataset that a listing does not have."""
    listed = listing.photos["uri"].combine_chunks()
    missing = uris.filter(pc.invert(pc.is_in(uris, value_set=listed))).combine_chunks()
    below_gone = missing_in(missing, drop_below)
    covered = listing.covers(missing).to_numpy(zero_copy_only=False) & ~below_gone
    excluded = listing.excludes(missing).to_numpy(zero_copy_only=False) & covered
    return _Missing(
        vanished=missing.filter(pa.array(covered & ~excluded)),
        excluded=missing.filter(pa.array(excluded)),
        below_gone=missing.filter(pa.array(below_gone)),
        num_kept=listing.skipped_folders(missing.filter(pa.array(~covered & ~below_gone))),
    )


def _contents(stored: pa.Table, sizes_to_do: pa.ChunkedArray) -> pa.Table:
    """Return the contents in the dataset that have a result and the size of a photo to do."""
    columns = ["num_bytes", "photo_id", "width", "height", "num_faces", "status", "partly_read"]
    without_faces = pc.equal(stored["status"], PhotoStatus.NO_FACE.value)
    usable = pc.and_(_has_result(stored), pc.or_(without_faces, pc.is_valid(stored["faces_part"])))
    contents = stored.filter(usable).select(columns)
    contents = contents.group_by(columns).aggregate([]).sort_by([("num_bytes", "ascending")])
    sizes = contents["num_bytes"].to_numpy()
    position_in_size = np.arange(len(sizes)) - np.searchsorted(sizes, sizes)
    contents = contents.filter(pa.array(position_in_size < MAX_CONTENTS_PER_SIZE))
    return contents.filter(pc.is_in(contents["num_bytes"], value_set=sizes_to_do.combine_chunks()))
