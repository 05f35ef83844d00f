"""Move the rows of photos whose folder, archive or address has another name now.

What a dataset knows of a photo stays: faces, labels, deletions. No photo is read. The rows that say
so are one part, so that a relocation is there as a whole or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.dataset.missing import is_there
from faces.dataset.passed_over_names import move_passed_over
from faces.dataset.schema import PHOTO_SCHEMA, PhotoStatus, gone_rows
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.photos.mounts import file_of
from faces.photos.places import Place

_LOOKED_FOR = 100
"""Number of photos that are looked for at the new place, without reading them."""


@dataclass(frozen=True)
class Relocation:
    """What a relocation changes in a dataset.

    Attributes:
        old: path or URL of the place where the photos were.
        new: path or URL of the place where they are now.
        num_photos: number of photos whose rows move.
        num_known: number of these that the dataset has at the new place, too: their rows are
            joined, and have the labels of both.
        num_there_already: number of further photos that the dataset has at the new place.
        num_looked_for: number of photos that were looked for at the new place, at most 100.
        num_found: number of these that are there.
    """

    old: str
    new: str
    num_photos: int
    num_known: int
    num_there_already: int
    num_looked_for: int
    num_found: int


def plan_relocation(dataset: Dataset, old: str | Path, new: str | Path) -> Relocation:
    """Count what `relocate_photos` would change, without writing anything.

    Raises: the errors of `relocate_photos`, except BusyError.
    """
    return _moved_rows(dataset, *_places(old, new))[0]


def relocate_photos(dataset: Dataset, old: str | Path, new: str | Path) -> Relocation:
    """Give the photos below a place the uris that they have since the place has another name.

    If it is stopped at any point, the next call does it. If it was done before, nothing changes.

    Args:
        dataset: the dataset.
        old: folder, photo, archive or address where the photos were.
        new: where it is now.

    Returns:
        What was changed.

    Raises:
        WrongUsageError: the dataset has no photo in either place, or one place lies in the other
            so that the same call again would move photos twice.
        BusyError: another process is writing the dataset.
    """
    old_place, new_place = _places(old, new)
    relocation, _ = _moved_rows(dataset, old_place, new_place)
    if not relocation.num_photos:
        return relocation
    with DatasetWriter.open(dataset.path, dataset.settings) as writer:
        relocation, rows = _moved_rows(writer.dataset, old_place, new_place)
        move_passed_over(dataset.folder, old_place, new_place)
        if len(rows):
            writer.write_photos(writer.part_name(0), rows)
        writer.finish(None)
    return relocation


def _places(old: str | Path, new: str | Path) -> tuple[Place, Place]:
    """Return the places that were named.

    Raises:
        WrongUsageError: they are one, or the new one lies in the old one.
    """
    old_place, new_place = Place.named(old), Place.named(new)
    if new_place.is_in(old_place):
        raise WrongUsageError(
            f"{new_place.name} lies in {old_place.name}, so that a second call would move the "
            "photos once more; relocate them to a name that does not exist first, and from there "
            "to the new place"
        )
    return old_place, new_place


def _moved_rows(dataset: Dataset, old: Place, new: Place) -> tuple[Relocation, pa.Table]:
    """Return what a relocation changes, and the rows that say so: old uris first, then new ones.

    Raises:
        WrongUsageError: the dataset has no photo in either place.
    """
    schema = dataset.photo_schema
    photos = dataset.photos_in_parts().select(schema.names)
    is_moving = old.mask(photos["uri"])
    moving = photos.filter(pa.array(is_moving))
    uris, _ = old.moved_all(moving["uri"], new)
    staying = photos.filter(pa.array(~is_moving))
    known = pc.index_in(uris, value_set=staying["uri"].combine_chunks())
    num_known = len(known) - known.null_count
    num_there = int(new.mask(staying["uri"]).sum()) - num_known
    if not len(moving) and not num_there:
        raise WrongUsageError(
            f"dataset {dataset.path} has no photo in {old.name}, nor in {new.name}; give the old "
            "place, as the uris that searches show begin, and then the new one"
        )
    looked_for = [uri for uri in uris[:_LOOKED_FOR].to_pylist() if file_of(uri) is not None]
    relocation = Relocation(
        old=old.name,
        new=new.name,
        num_photos=len(moving),
        num_known=num_known,
        num_there_already=num_there,
        num_looked_for=len(looked_for),
        num_found=sum(map(is_there, looked_for)),
    )
    gone = gone_rows(moving["uri"], schema)
    return relocation, pa.concat_tables([gone, _rows_at(uris, moving, staying.take(known))])


def _rows_at(uris: pa.Array, moving: pa.Table, known: pa.Table) -> pa.Table:
    """Return the rows of photos at their new uris.

    Args:
        uris: (n,) string, the new uris.
        moving: n rows of the photos at their old uris.
        known: n rows that the dataset has of the new uris; null where it has none. What they say of
            the photo holds, if it could be read there; what they do not say of it is as before.
    """
    finished = pa.array([s.value for s in PhotoStatus if s is not PhotoStatus.REJECTED])
    is_known = pc.is_in(known["status"], value_set=finished)
    columns = {}
    for field in moving.schema:
        first = pc.if_else(is_known, known[field.name], moving[field.name])
        if field.nullable and field.name in _labels(moving.schema):
            first = pc.coalesce(first, moving[field.name], known[field.name])
        columns[field.name] = first
    # The part has no faces: those of each content stay where they are.
    columns["is_copy"] = pc.equal(columns["status"], PhotoStatus.EMBEDDED.value)
    columns["uri"] = pa.chunked_array([uris])
    return pa.table(columns).cast(moving.schema)


def _labels(schema: pa.Schema) -> list[str]:
    """Return the names of the columns of photo lists, which come last."""
    return list(schema.names[len(PHOTO_SCHEMA) :])
