"""The metadata columns that photo lists add to photos: allowed types and reserved names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from unicodedata import normalize

import pyarrow as pa
import pyarrow.compute as pc

NAME_COLUMNS = ("uri", "path")
"""Names that the column with the photos' names may have."""

PERSON, TAKEN = "person", "taken"
"""The columns that say whom a photo shows, and when it was taken. A list's value of `taken` counts
before the photo's own, which is the column `exif_taken`."""

_KNOWN_COLUMNS = (*NAME_COLUMNS, PERSON, TAKEN)
"""Columns with a meaning, which are always spelled so."""

METADATA_TYPES = {
    str(kind): kind
    for kind in (
        pa.string(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.date32(),
        pa.timestamp("us"),
    )
}
"""Arrow types that metadata columns may have, by the name that dataset.json stores."""

RESERVED_COLUMNS = frozenset(
    {
        # Columns of photos: faces.dataset.schema.PHOTO_SCHEMA.
        *("uri", "num_bytes", "mtime_ns", "photo_id", "width", "height", "num_faces"),
        *("status", "reason", "is_copy", "picture_hash", "kept_away", "partly_read"),
        *("exif_taken", "mount"),
        # Columns of faces: faces.dataset.schema.face_schema.
        *("face_id", "box", "landmarks", "score", "face_size", "sharpness", "brightness"),
        *("yaw", "pitch", "roll", "embedding_norm", "embedding"),
        # Columns that reading a dataset adds: faces.dataset.store.Dataset.photos and faces.
        *("part", "faces_part", "also_at"),
        # Columns that listing photos and planning a job add.
        *("reading_order", "result_before"),
        # Columns to come: people that were named, and a list's columns beside ours of that name.
        *("person_id", "photo_person", "photo_taken", "photo_expression"),
    }
)
"""Names of facetrove's own columns, today's and those to come. No metadata column may have one."""

RESERVED_PREFIX = "facetrove_"
"""Beginning of names that facetrove may give to helper columns, and no metadata column may have."""


_PLACES_PREFIX = f"{RESERVED_PREFIX}places_"


def places_column(name: str) -> str:
    """Return the name of the column with the values that a metadata column has at all places.

    Where a photo's content lies at several places, and these have different values, it lists the
    value of each place, in the order of `uri` and then `also_at`; elsewhere it is null. A place
    without a value has that of the metadata column itself.
    """
    return _PLACES_PREFIX + name


def is_places_column(name: str) -> bool:
    """Return whether a column's name is one that `places_column` makes."""
    return name.startswith(_PLACES_PREFIX)


def places_columns(metadata: pa.Schema) -> list[pa.Field]:
    """Return the fields of the `places_column` of each metadata column."""
    return [pa.field(places_column(field.name), pa.list_(field.type)) for field in metadata]


def is_reserved(name: str) -> bool:
    """Return whether no metadata column of a photo list may have a name, in any case."""
    key = column_key(name)
    return key in RESERVED_COLUMNS or key.startswith(RESERVED_PREFIX)


def column_key(name: str) -> str:
    """Return what is equal for two names of columns that mean one column.

    Upper and lower case, spaces around the name and the form in Unicode make no difference.
    """
    return normalize("NFC", normalize("NFC", name.strip()).casefold())


def column_name(name: str) -> str:
    """Return the name of a list's column as it is stored: `Person` is `person`."""
    key = column_key(name)
    return key if key in _KNOWN_COLUMNS else normalize("NFC", name.strip())


def spelled_as(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return names of columns, each as it is spelled among the known ones if it is one of them."""
    exact = list(known)
    spellings: dict[str, str] = {}
    for name in exact:
        spellings.setdefault(column_key(name), name)
    return [name if name in exact else spellings.get(column_key(name), name) for name in names]


class Renamed:
    """The names that columns of photo lists get instead of those in the files.

    Args:
        names: the new names by the old ones; upper and lower case of an old one make no difference.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._by_name = dict(names)
        self._by_key = {column_key(name): new for name, new in names.items()}

    def name_of(self, name: str) -> str:
        """Return the name that a list's column is stored by."""
        new = self._by_name.get(name) or self._by_key.get(column_key(name), name)
        return column_name(new)


def finite(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return decimal numbers with null for those that are not finite, as in a photo list."""
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, numbers.type))


def as_taken(times: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """Return (n,) timestamp[us] as values of a column `taken` of some type; null if none fits."""
    if pa.types.is_string(kind):
        return pc.strftime(pc.cast(times, pa.timestamp("s"), safe=False), "%Y-%m-%d %H:%M:%S")
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return pc.cast(times, kind, safe=False)
    return pa.nulls(len(times), kind)
