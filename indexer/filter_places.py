"""The faces whose photo lies at several places with different labels, with a row for each place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.photos.metadata import places_column


@dataclass(frozen=True)
class FacesAtPlaces:
    """Faces whose values of some column differ from place to place.

    Attributes:
        rows: (m,) int64, the rows of these faces in the table that they are from, ascending.
        faces: the columns asked for, with a row for each place of each of these faces, face by
            face.
        numbers: (p,) int64, for each row of `faces` the face's row in that table.
    """

    rows: NDArray[np.int64]
    faces: pa.Table
    numbers: NDArray[np.int64]


def faces_at_places(
    faces: pa.Table, columns: Sequence[str], deleted: NDArray[np.bool_] | None
) -> FacesAtPlaces | None:
    """Find the faces whose values of some columns differ from place to place.

    Args:
        faces: n faces, with the columns of `faces.photos.metadata.places_columns`, if there are
            any.
        columns: names of the columns that are looked at.
        deleted: (n,) bool, rows that are left out; None: none is.

    Returns:
        These faces; None if there are none.
    """
    lists = {
        name: faces[places_column(name)]
        for name in columns
        if places_column(name) in faces.column_names
    }
    differs = np.zeros(len(faces), dtype=bool)
    for values in lists.values():
        if values.null_count < len(values):
            differs |= values.is_valid().to_numpy()
    if deleted is not None:
        differs &= ~deleted
    rows = np.flatnonzero(differs)
    if not len(rows):
        return None
    chosen = faces.select([*columns]).take(pa.array(rows))
    lists = {name: values.take(pa.array(rows)) for name, values in lists.items()}
    lengths = np.zeros(len(rows), dtype=np.int64)
    for values in lists.values():
        lengths = np.maximum(lengths, pc.list_value_length(values).fill_null(0).to_numpy())
    of_place = np.repeat(np.arange(len(rows)), lengths)
    at_places = chosen.take(pa.array(of_place))
    for name, values in lists.items():
        listed = values.is_valid().to_numpy()[of_place]
        filled = pc.replace_with_mask(
            at_places[name].combine_chunks(),
            pa.array(listed),
            pc.list_flatten(values.combine_chunks()),
        )
        position = at_places.schema.get_field_index(name)
        at_places = at_places.set_column(position, name, filled)
    return FacesAtPlaces(rows, at_places, rows[of_place])
