"""Photos that lie at several places, at which photo lists say different things of them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from faces.dataset.schema import PhotoStatus, one_row_per_content
from faces.dataset.store import Dataset
from faces.photos.metadata import places_column

CONTRADICTIONS_SCHEMA = pa.schema(
    [
        pa.field("column", pa.string(), nullable=False),
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
    ]
)
"""A value of a column at one place of a photo."""


def contradictions(dataset: Dataset, photo_ids: pa.Array | None = None) -> pa.Table:
    """Return the labels of photos that are different at several places of the same content.

    A place without a value contradicts none.

    Args:
        dataset: the dataset.
        photo_ids: (n,) string, contents that are looked at; None: all with faces.

    Returns:
        Rows of `CONTRADICTIONS_SCHEMA`, by column, then photo_id, then uri.

    Raises:
        CorruptFileError: a part cannot be read.
    """
    names = dataset.metadata.names
    if not names:
        return CONTRADICTIONS_SCHEMA.empty_table()
    photos = dataset.photos(names)
    if photo_ids is not None:
        photos = photos.filter(pc.is_in(photos["photo_id"], value_set=photo_ids))
    return contradictions_among(photos, names)


def contradictions_among(photos: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return what `contradictions` does, for photos that have been read.

    Args:
        photos: rows of `Dataset.photos` with the columns `names`.
        names: names of columns of photo lists.
    """
    photos = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
    photos = photos.sort_by([("photo_id", "ascending"), ("uri", "ascending")])
    contents = one_row_per_content(photos.select(["photo_id", "uri", *names]), filled=names)
    found = [CONTRADICTIONS_SCHEMA.empty_table()]
    for name in names:
        differs = contents.filter(pc.is_valid(contents[places_column(name)]))
        said = photos.filter(
            pc.and_(
                pc.is_in(photos["photo_id"], value_set=differs["photo_id"].combine_chunks()),
                pc.is_valid(photos[name]),
            )
        )
        columns = [
            pa.repeat(pa.scalar(name), len(said)),
            *(said["photo_id"], said["uri"], said[name].cast(pa.string())),
        ]
        found.append(pa.Table.from_arrays(columns, schema=CONTRADICTIONS_SCHEMA))
    return pa.concat_tables(found)


def num_contradictory(found: pa.Table) -> dict[str, int]:
    """Count the photos of `contradictions` by column; columns without any are left out."""
    counted = found.group_by("column", use_threads=False).aggregate(
        [("photo_id", "count_distinct")]
    )
    names: Sequence[str] = counted["column"].to_pylist()
    return dict(zip(names, counted["photo_id_count_distinct"].to_pylist(), strict=True))
