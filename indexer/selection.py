"""Selections: which faces a deletion is about, by face id, by photo or by a filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.named import as_list
from faces.photos.uris import is_url, photo_uri
from indexer.filters import FilterTable, rows_matching


@dataclass(frozen=True)
class Selection:
    """Faces that are named, or that match a filter. Use `of`.

    Attributes:
        face_ids: face ids.
        photos: uris and photo ids of photos; their copies count too.
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
        names = [str(photo) for photo in as_list(photos)]
        uris = [name if is_url(name) else photo_uri(Path(name).absolute()) for name in names]
        selection = cls(tuple(map(str, as_list(faces))), (*uris, *names), where)
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
        face_ids, photos = pa.array(self.face_ids, pa.string()), pa.array(self.photos, pa.string())
        mask = [np.zeros(0, dtype=bool)]
        columns = faces.select(["face_id", "uri", "photo_id", "also_at"])
        for batch in columns.to_batches():
            by_name = pc.or_(
                pc.is_in(batch["face_id"], value_set=face_ids),
                pc.or_(
                    pc.is_in(batch["uri"], value_set=photos),
                    pc.is_in(batch["photo_id"], value_set=photos),
                ),
            )
            named = by_name.to_numpy(zero_copy_only=False)
            also_at = batch["also_at"]
            copies = pc.is_in(pc.list_flatten(also_at), value_set=photos)
            named[pc.list_parent_indices(also_at).filter(copies).to_numpy()] = True
            mask.append(named)
        return np.concatenate(mask)
