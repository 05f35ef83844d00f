"""Selections: which faces a deletion is about, by face id, by photo or by a filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.named import as_list
from faces.core.progress import OnProgress, Progress
from faces.dataset.deleted_pictures import PLACE_COLUMNS
from faces.dataset.store import Dataset
from faces.photos.metadata import PERSON, places_column
from faces.photos.uris import is_unicode, names_of
from indexer.faces_file import faces_schema
from indexer.filters import FilterTable, rows_matching
from indexer.folder import open_segments
from indexer.manifest import Manifest
from indexer.people_columns import PHOTO_PERSON, PeopleColumns, mentions_people
from indexer.segment import filter_tables, metadata_of


@dataclass(frozen=True)
class Selection:
    """Faces that are named, or that match a filter. Use `of`.

    Attributes:
        face_ids: face ids.
        photos: uris and photo ids of photos, in Unicode NFC; their copies count too.
        where: a condition as in SQL's WHERE; None: no further faces.
    """

    face_ids: tuple[str, ...]
    photos: tuple[str, ...]
    where: str | None

    @classmethod
    def of(
        cls,
        faces: str | Sequence[str],
        photos: str | Path | Sequence[str | Path],
        where: str | None,
    ) -> Selection:
        """Make a selection of faces by face id, by photo (path, uri or photo id) or by a filter.

        Raises:
            WrongUsageError: nothing is given, which would select every face.
        """
        names = [name for photo in as_list(photos) for name in names_of(str(photo))]
        photo_names = tuple(normalize("NFC", name) for name in names)
        selection = cls(tuple(map(str, as_list(faces))), photo_names, where)
        if not (selection.face_ids or selection.photos or where is not None):
            raise WrongUsageError("say which faces: by --face, --photo or --where")
        return selection

    def masks(self, tables: Sequence[FilterTable]) -> list[NDArray[np.bool_]]:
        """Return for each table of n faces (n,) bool: which are selected and not deleted.

        Args:
            tables: tables of faces, at least one, all with the same columns.

        Raises:
            WrongUsageError: the filter cannot be applied; see `indexer.filters.rows_matching`.
        """
        masks = [self._named(table.faces) for table in tables]
        if self.where is not None:
            matching = rows_matching(tables, self.where)
            masks = [named | rows for named, rows in zip(masks, matching, strict=True)]
        return [
            mask if table.deleted is None else mask & ~table.deleted
            for mask, table in zip(masks, tables, strict=True)
        ]

    def _named(self, faces: pa.Table) -> NDArray[np.bool_]:
        """Return (n,) bool: which faces `face_ids` and `photos` name."""
        face_ids = pa.array(filter(is_unicode, self.face_ids), pa.string())
        photos = pa.array(self.photos, pa.string())
        mask = [np.zeros(0, dtype=bool)]
        columns = faces.select(["face_id", "uri", "photo_id", "also_at"])
        for batch in columns.to_batches():
            by_name = pc.or_(
                pc.is_in(batch["face_id"], value_set=face_ids),
                pc.or_(
                    pc.is_in(self._composed(batch["uri"]), value_set=photos),
                    pc.is_in(batch["photo_id"], value_set=photos),
                ),
            )
            named = by_name.to_numpy(zero_copy_only=False)
            also_at = batch["also_at"]
            copies = pc.is_in(self._composed(pc.list_flatten(also_at)), value_set=photos)
            named[pc.list_parent_indices(also_at).filter(copies).to_numpy()] = True
            mask.append(named)
        return np.concatenate(mask)

    def _composed(self, uris: pa.Array) -> pa.Array:
        """Return uris in Unicode NFC, as far as one of `photos` may equal them."""
        if all(map(str.isascii, self.photos)) or pc.all(pc.string_is_ascii(uris)).as_py():
            return uris
        texts = [None if uri is None else normalize("NFC", uri) for uri in uris.to_pylist()]
        return pa.array(texts, pa.string())


def faces_in_indexes(
    opened: Sequence[tuple[Path, Manifest]],
    selection: Selection,
    source: Dataset,
    people: PeopleColumns | None,
    on_progress: OnProgress,
) -> pa.Array:
    """Return the ids of the live faces in indexes that are selected, (n,) string.

    Columns that the dataset has and an index does not have yet are null in that index.

    Args:
        opened: paths and manifests of the indexes.
        selection: the selection.
        source: the dataset.
        people: the people of the faces by the dataset's people book; None: it has none.
        on_progress: called with each index.
    """
    found = [pa.array([], pa.string())]
    for index_dir, manifest in opened:
        on_progress(Progress(f"looking through {index_dir}"))
        segments = open_segments(index_dir, manifest)
        metadata = pa.unify_schemas([metadata_of(segments), source.face_metadata])
        tables = filter_tables(segments, metadata, people)
        for table, mask in zip(tables, selection.masks(tables), strict=True):
            found.append(table.faces["face_id"].filter(pa.array(mask)).combine_chunks())
    return pa.concat_arrays(found).unique()


def faces_in_dataset(
    source: Dataset, selection: Selection, people: PeopleColumns | None
) -> pa.Table:
    """Return `PLACE_COLUMNS` of the faces of a dataset that are selected.

    A photo's content may be at several places, with other metadata at each: the filter is asked
    about all of them, see `indexer.filters`.

    Args:
        source: the dataset.
        selection: the selection.
        people: the people of the faces by the dataset's people book; None: it has none.
    """
    faces = source.faces(faces_schema(source.face_metadata).names).to_arrow()
    (mask,) = selection.masks([FilterTable(faces if people is None else people.table(faces))])
    return faces.filter(pa.array(mask)).select(PLACE_COLUMNS)


@dataclass(frozen=True, eq=False)
class NamedPhotos:
    """Photos that a filter selects by who is in them, of whose faces it selects none.

    Attributes:
        table: a row for each photo: uri, photo_id, num_faces (that have no named person).
        faces: `PLACE_COLUMNS` of the faces of these photos that have no named person.
    """

    table: pa.Table
    faces: pa.Table


NAMED_PHOTOS_SCHEMA = pa.schema(
    [("uri", pa.string()), ("photo_id", pa.string()), ("num_faces", pa.int64())]
)


def photos_named(source: Dataset, where: str | None, people: PeopleColumns | None) -> NamedPhotos:
    """Find the photos whose lists a filter on `person` matches, and of whose faces it matches none.

    There are none if the filter is not about people, or if `person` is still a photo's.

    Args:
        source: the dataset.
        where: the filter, in which `person` is who a face is; None: there is no filter.
        people: the people of the faces by the dataset's people book; None: it has none.
    """
    if where is None or people is None or not mentions_people(where):
        no_face = faces_schema(source.face_metadata).empty_table().select(PLACE_COLUMNS)
        return NamedPhotos(NAMED_PHOTOS_SCHEMA.empty_table(), no_face)
    faces = source.faces(faces_schema(source.face_metadata).names).to_arrow()
    named = people.table(faces)
    (by_photo,), (by_face,) = (
        Selection((), (), where).masks([FilterTable(table)]) for table in (_by_photo(named), named)
    )
    assigned = faces["photo_id"].filter(pa.array(by_face)).unique()
    left = pc.and_(pa.array(by_photo), pc.invert(pc.is_in(faces["photo_id"], value_set=assigned)))
    photos = faces.filter(left).select(["uri", "photo_id"]).group_by(["uri", "photo_id"])
    unnamed = faces.filter(pc.and_(left, pc.is_null(named[PERSON])))
    counts = unnamed["photo_id"].value_counts()
    table = photos.aggregate([]).sort_by("uri")
    row = pc.index_in(table["photo_id"], value_set=counts.field("values"))
    numbers = pc.fill_null(counts.field("counts").take(row.combine_chunks()), 0)
    table = table.append_column("num_faces", numbers).select(NAMED_PHOTOS_SCHEMA.names)
    return NamedPhotos(table, unnamed.select(PLACE_COLUMNS))


def _by_photo(named: pa.Table) -> pa.Table:
    """Return faces with who is in the photo as their `person`."""
    position = named.schema.get_field_index(PERSON)
    named = named.set_column(position, PERSON, named[PHOTO_PERSON])
    places = places_column(PHOTO_PERSON)
    if places in named.column_names:
        named = named.append_column(places_column(PERSON), named[places])
    return named
