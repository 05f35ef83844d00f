"""What a run has to do: the photos listed, compared with those in the dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.dataset import Dataset, PhotoStatus
from faces.images import RejectReason
from faces.photos import is_url, photo_path, unescape_url
from faces.sources import LISTING_SCHEMA, PhotoListing

FINGERPRINT_BYTES = 4096
"""Read at the beginning, middle and end of files of one size, to see which may be copies."""

MOST_KNOWN = 1000
"""Of one file size, so many contents of the dataset are compared with. More are embedded anew."""


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        to_do: columns uri, num_bytes, mtime_ns and all metadata of listing and dataset. What may
            be copies of one photo lies together.
        group: (n,) int64, the same number for rows of `to_do` that may be copies.
        known: contents in the dataset that rows of `to_do` may be copies of: num_bytes, photo_id,
            width, height, num_faces, status.
        vanished: uris in the dataset that the listing would show if they were still there.
        num_new, num_changed, num_retried: parts of `to_do`.
        num_unchanged: photos listed and in the dataset as they are.
    """

    to_do: pa.Table
    group: NDArray[np.int64]
    known: pa.Table
    vanished: pa.Array
    num_new: int
    num_changed: int
    num_retried: int
    num_unchanged: int


def metadata_of(listing: PhotoListing) -> pa.Schema:
    """The columns that photo lists say something in."""
    return pa.schema(
        field
        for field in listing.photos.schema
        if field.name not in LISTING_SCHEMA.names
        and listing.photos[field.name].null_count < len(listing.photos)
    )


def make_plan(listing: PhotoListing, dataset: Dataset, retry: Iterable[RejectReason]) -> Plan:
    """Compare photos listed with a dataset.

    Args:
        listing: what there is.
        dataset: what was done, with the listing's metadata columns; may not exist yet.
        retry: rejected photos with these reasons are tried again.
    """
    compared = ["num_bytes", "mtime_ns", "width", "height", "num_faces", "reason"]
    known = dataset.photos([*compared, *dataset.metadata.names])
    listed = listing.photos.take(listing.reading_order)
    place = pc.index_in(listed["uri"], value_set=known["uri"].combine_chunks())
    is_new = pc.is_null(place)
    as_known = known.take(place)
    same = pa.array(np.ones(len(listed), dtype=bool))
    for name in ("num_bytes", "mtime_ns"):
        same = pc.and_(same, pc.equal(listed[name], as_known[name]))
    columns = {name: listed[name] for name in ("uri", "num_bytes", "mtime_ns")}
    said = _said_in_a_list(listing, listed)
    for field in dataset.metadata:
        before, now = (
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(listed), field.type)
            for table in (as_known, listed)
        )
        # Of a photo about which no list says anything, what was said before stays.
        columns[field.name] = now = pc.if_else(said, now, before)
        both_missing = pc.and_(pc.is_null(now), pc.is_null(before))
        same = pc.and_(same, pc.or_(both_missing, pc.fill_null(pc.equal(now, before), False)))
    same = pc.fill_null(same, False)
    retried = pc.and_(
        same, pc.is_in(as_known["reason"], value_set=pa.array(list(retry), pa.string()))
    )
    wanted = pc.or_(pc.invert(same), retried)
    num_new, num_retried = (pc.sum(flags).as_py() or 0 for flags in (is_new, retried))
    num_wanted = pc.sum(wanted).as_py() or 0
    to_do = pa.table(columns).filter(wanted)
    contents = _contents(known)
    order, group = _copies_together(to_do)
    gone = pc.invert(pc.is_in(known["uri"], value_set=listed["uri"].combine_chunks()))
    vanished = known["uri"].filter(pc.and_(gone, listing.covers(known["uri"])))
    return Plan(
        to_do=to_do.take(order),
        group=group,
        known=contents.filter(
            pc.is_in(contents["num_bytes"], value_set=to_do["num_bytes"].combine_chunks())
        ),
        vanished=vanished.combine_chunks(),
        num_new=num_new,
        num_changed=num_wanted - num_new - num_retried,
        num_retried=num_retried,
        num_unchanged=len(listed) - num_wanted,
    )


def _said_in_a_list(listing: PhotoListing, listed: pa.Table) -> pa.Array:
    """(n,) bool: whether a photo list has a value for the photo in any column."""
    said = np.zeros(len(listed), dtype=bool)
    for field in metadata_of(listing):
        said |= listed[field.name].is_valid().to_numpy()
    return pa.array(said)


def _contents(known: pa.Table) -> pa.Table:
    """What a copy need not be decoded for again."""
    finished = pa.array([PhotoStatus.EMBEDDED.value, PhotoStatus.NO_FACE.value])
    columns = ["num_bytes", "photo_id", "width", "height", "num_faces", "status"]
    contents = known.filter(pc.is_in(known["status"], value_set=finished)).select(columns)
    keys = ["num_bytes", "photo_id", "width", "height", "num_faces", "status"]
    contents = contents.group_by(keys).aggregate([]).sort_by([("num_bytes", "ascending")])
    sizes = contents["num_bytes"].to_numpy()
    rank = np.arange(len(sizes)) - np.searchsorted(sizes, sizes)
    return contents.filter(pa.array(rank < MOST_KNOWN))


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
    for row in np.flatnonzero(count[kind] > 1).tolist():
        uri, size = to_do["uri"][row].as_py(), int(sizes[row])
        mark = _fingerprint(photo_path(uri), size) if not is_url(unescape_url(uri)) else None
        if mark is not None:
            leader[row] = firsts.setdefault((size, mark), row)
    order = np.argsort(leader, kind="stable")
    return order, leader[order]


def _fingerprint(path: Path, size: int) -> bytes | None:
    """A digest of three blocks of a file; None where it cannot be read."""
    if size <= 0 or not path.is_file():
        return None
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb", buffering=0) as file:
            for start in sorted({0, max(0, size // 2), max(0, size - FINGERPRINT_BYTES)}):
                file.seek(start)
                digest.update(file.read(FINGERPRINT_BYTES))
    except OSError:
        return None
    return digest.digest()
