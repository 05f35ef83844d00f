"""What a run has to do: the photos listed, compared with those in the dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.dataset.schema import PHOTO_SCHEMA, PhotoStatus, standing_photos
from faces.dataset.store import Dataset
from faces.photos.listed import LISTING_SCHEMA, PhotoListing
from faces.photos.rejection import RejectReason
from faces.photos.uris import is_path, photo_path

FINGERPRINT_BYTES = 4096
"""Read at the beginning, middle and end of files of one size, to see which may be copies."""

FINGERPRINT_THREADS = 8
"""Files opened at once: on a disk or over a network most of the time is waiting."""

MAX_KNOWN = 1000
"""Of one file size, so many contents of the dataset are compared with. More are embedded anew."""


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        to_do: columns uri, num_bytes, mtime_ns, all metadata of listing and dataset, and
            result_before: null for a new photo, the reason of one that was rejected, "" of one
            with a result. What may be copies of one photo lies together.
        group: (n,) int64, the same number for rows of `to_do` that may be copies.
        known: contents in the dataset that rows of `to_do` may be copies of: num_bytes, photo_id,
            width, height, num_faces, status.
        vanished: uris in the dataset that the listing would show if they were still there.
        num_new, num_changed, num_retried: parts of `to_do`.
        num_unchanged: photos listed and in the dataset as they are.
        num_out_of_reach: of these, photos that cannot be looked at now.
    """

    to_do: pa.Table
    group: NDArray[np.int64]
    known: pa.Table
    vanished: pa.Array
    num_new: int
    num_changed: int
    num_retried: int
    num_unchanged: int
    num_out_of_reach: int


def metadata_of(listing: PhotoListing) -> pa.Schema:
    """The columns that photo lists say something in."""
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
    group_copies: bool = True,
) -> Plan:
    """Compare photos listed with a dataset.

    Args:
        listing: what there is.
        dataset: the dataset as it is, with the listing's metadata columns; None: there is none yet.
        retry: rejected photos with these reasons are tried again.
        group_copies: look for possible copies, for which files are opened.
    """
    metadata = metadata_of(listing) if dataset is None else dataset.metadata
    known = _photos_in_dataset(dataset, metadata)
    listed = listing.photos.take(listing.reading_order)
    place = pc.index_in(listed["uri"], value_set=known["uri"].combine_chunks())
    is_new = pc.is_null(place)
    previous = known.take(place)
    has_result = _has_result(previous)
    # What cannot be reached now keeps its result: a disk may not be there.
    out_of_reach = pc.and_(has_result, pc.equal(listed["num_bytes"], -1))
    columns = {name: listed[name] for name in ("uri", "num_bytes", "mtime_ns")}
    columns |= _metadata_columns(metadata, listing, listed, previous)
    same = _unchanged(columns, previous, out_of_reach)
    retried = pc.and_(
        same, pc.is_in(previous["reason"], value_set=pa.array(list(retry), pa.string()))
    )
    wanted = pc.or_(pc.invert(same), retried)
    num_new, num_retried, num_wanted = (
        pc.sum(flags).as_py() or 0 for flags in (is_new, retried, wanted)
    )
    columns["result_before"] = pc.if_else(has_result, "", previous["reason"])
    to_do = pa.table(columns).filter(wanted)
    if group_copies:
        order, group = _copies_together(to_do)
        to_do = to_do.take(order)
    else:
        group = np.arange(len(to_do))
    return Plan(
        to_do=to_do,
        group=group,
        known=_contents(known, to_do["num_bytes"]),
        vanished=_vanished(known["uri"], listing),
        num_new=num_new,
        num_changed=num_wanted - num_new - num_retried,
        num_retried=num_retried,
        num_unchanged=len(listed) - num_wanted,
        # An address in a list has no size, which is no cause for concern.
        num_out_of_reach=sum(
            map(is_path, listed["uri"].filter(pc.and_(same, out_of_reach)).to_pylist())
        ),
    )


def _photos_in_dataset(dataset: Dataset | None, metadata: pa.Schema) -> pa.Table:
    """The photos of a dataset as they stand, to compare; none where there is no dataset."""
    if dataset is None:
        columns = [*PHOTO_SCHEMA, *metadata, pa.field("part", pa.string())]
        return standing_photos(pa.schema(columns).empty_table())
    compared = ["num_bytes", "mtime_ns", "width", "height", "num_faces", "reason"]
    return dataset.photos([*compared, *metadata.names])


def _unchanged(
    columns: dict[str, pa.ChunkedArray], previous: pa.Table, out_of_reach: pa.Array
) -> pa.Array:
    """(n,) bool: which photos listed are in the dataset as they are, with all their faces."""
    same = pa.array(np.ones(len(previous), dtype=bool))
    for name, now in columns.items():
        before = previous[name]
        equal = pc.or_(
            pc.and_(pc.is_null(now), pc.is_null(before)),
            pc.fill_null(pc.equal(now, before), False),
        )
        if name in ("num_bytes", "mtime_ns"):
            equal = pc.or_(equal, out_of_reach)
        same = pc.and_(same, equal)
    # Faces whose file was lost are to be made again.
    lost = pc.and_(
        pc.equal(previous["status"], PhotoStatus.EMBEDDED.value), pc.is_null(previous["faces_part"])
    )
    return pc.and_not(same, pc.fill_null(lost, False))


def _metadata_columns(
    metadata: pa.Schema, listing: PhotoListing, listed: pa.Table, previous: pa.Table
) -> dict[str, pa.ChunkedArray]:
    """The dataset's metadata for each photo listed.

    Of a photo about which no list says anything, what was said before stays.
    """
    said = _said_in_a_list(listing, listed)
    columns = {}
    for field in metadata:
        before = previous[field.name]
        now = pa.nulls(len(listed), field.type)
        if field.name in listed.column_names:
            now = listed[field.name].cast(field.type)
        columns[field.name] = pc.if_else(said, now, before)
    return columns


def _said_in_a_list(listing: PhotoListing, listed: pa.Table) -> pa.Array:
    """(n,) bool: whether a photo list has a value for the photo in any column."""
    said = np.zeros(len(listed), dtype=bool)
    for field in metadata_of(listing):
        said |= listed[field.name].is_valid().to_numpy()
    return pa.array(said)


def _has_result(known: pa.Table) -> pa.Array:
    """(n,) bool: whether the networks have seen a photo."""
    finished = pa.array([PhotoStatus.EMBEDDED.value, PhotoStatus.NO_FACE.value])
    return pc.is_in(known["status"], value_set=finished)


def _vanished(uris: pa.ChunkedArray, listing: PhotoListing) -> pa.Array:
    """Those uris of a dataset that the listing would show if the photos were still there."""
    gone = pc.invert(pc.is_in(uris, value_set=listing.photos["uri"].combine_chunks()))
    return uris.filter(pc.and_(gone, listing.covers(uris))).combine_chunks()


def _contents(known: pa.Table, sizes_to_do: pa.ChunkedArray) -> pa.Table:
    """What a copy need not be decoded for again: contents of the sizes of photos to do."""
    columns = ["num_bytes", "photo_id", "width", "height", "num_faces", "status"]
    without_faces = pc.equal(known["status"], PhotoStatus.NO_FACE.value)
    usable = pc.and_(_has_result(known), pc.or_(without_faces, pc.is_valid(known["faces_part"])))
    contents = known.filter(usable).select(columns)
    contents = contents.group_by(columns).aggregate([]).sort_by([("num_bytes", "ascending")])
    sizes = contents["num_bytes"].to_numpy()
    rank = np.arange(len(sizes)) - np.searchsorted(sizes, sizes)
    contents = contents.filter(pa.array(rank < MAX_KNOWN))
    return contents.filter(pc.is_in(contents["num_bytes"], value_set=sizes_to_do.combine_chunks()))


def _copies_together(
    to_do: pa.Table,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An order of the rows in which possible copies lie together, and the groups they form.

    Files of one size are told apart by a few of their blocks. In an archive or an object store,
    where that is slow, they are not: copies there may be embedded twice.
    """
    sizes = to_do["num_bytes"].to_numpy()
    _, kind, count = np.unique(sizes, return_inverse=True, return_counts=True)
    leader = np.arange(len(sizes))
    firsts: dict[tuple[int, bytes], int] = {}
    rows = np.flatnonzero(count[kind] > 1).tolist()
    uris = to_do["uri"].take(pa.array(rows, pa.int64())).to_pylist()
    with ThreadPoolExecutor(FINGERPRINT_THREADS) as threads:
        marks = threads.map(_fingerprint, uris, sizes[rows].tolist())
        for row, mark in zip(rows, marks, strict=True):
            if mark is not None:
                leader[row] = firsts.setdefault((int(sizes[row]), mark), row)
    order = np.argsort(leader, kind="stable")
    return order, leader[order]


def _fingerprint(uri: str, size: int) -> bytes | None:
    """A digest of three blocks of a file; None where it cannot be read, or only slowly."""
    if size <= 0 or not is_path(uri):
        return None
    digest = hashlib.blake2b(digest_size=16)
    try:
        path = photo_path(uri)
        if not path.is_file():  # a pipe would keep us for ever
            return None
        with path.open("rb", buffering=0) as file:
            for start in sorted({0, max(0, size // 2), max(0, size - FINGERPRINT_BYTES)}):
                file.seek(start)
                digest.update(file.read(FINGERPRINT_BYTES))
    except OSError:
        return None
    return digest.digest()
