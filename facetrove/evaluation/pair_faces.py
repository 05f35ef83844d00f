"""The faces of a dataset that a list of pairs means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.photos.uris import photo_uri
from facetrove.evaluation.labels import MEASURES, FaceChoice, choose_faces, path_of, quality_of
from facetrove.evaluation.pair_lists import Pairs

NO_FACE = np.float32(-1)
"""Similarity of a pair with a photo in which no face was found: they are not called one person, as
ISO/IEC 19795-1 has it (failure to acquire)."""

NO_ROW = -1


class PhotoNames:
    """Which photo of a dataset a list means by a name.

    Args:
        uris: of the photos.
        source: what they are in, for messages.
    """

    def __init__(self, uris: Iterable[str], source: str) -> None:
        self._source = source
        self._uris = frozenset(uris)
        self._by_name = defaultdict(list)
        self._by_stem = defaultdict(list)
        for uri in self._uris:
            path = path_of(uri)
            self._by_name[path.name].append(uri)
            self._by_stem[path.stem].append(uri)

    def uri_of(self, name: str) -> str:
        """The uri of a photo by its uri, its path or the end of it, with or without `.jpg`.

        Raises:
            WrongUsageError: there is none, or several that it may mean.
        """
        if name in self._uris:
            return name
        path = PurePosixPath(name)
        if path.is_absolute() and "\0" not in name and (uri := photo_uri(name)) in self._uris:
            return uri
        ending, last = str(path), path.name
        candidates = [
            uri for uri in self._by_name.get(last, ()) if _ends_with(str(path_of(uri)), ending)
        ] or [
            uri
            for uri in self._by_stem.get(last, ())
            if _ends_with(str(path_of(uri).with_suffix("")), ending)
        ]
        if len(candidates) != 1:
            problem = f"is the name of {len(candidates)} photos" if candidates else "is not there"
            raise WrongUsageError(
                f"photo {name!r} of the list {problem} in {self._source}; embed the photos of all "
                "pairs, and name them by their paths where names repeat"
            )
        return candidates[0]


def _ends_with(path: str, ending: str) -> bool:
    return path == ending or path.endswith("/" + ending)


@dataclass(frozen=True)
class PairFaces:
    """The faces of the photos in lists of pairs.

    Attributes:
        table: m faces with all columns but the embedding.
        embeddings: (m, d).
        rows: row of each photo, by what the lists call it; `NO_ROW` where no face was found.
    """

    table: pa.Table
    embeddings: NDArray[np.float32]
    rows: dict[str, int]

    @classmethod
    def of(
        cls, dataset: Dataset, lists: Sequence[Pairs], face: FaceChoice, columns: Sequence[str]
    ) -> PairFaces:
        """Read them.

        Args:
            dataset: with the photos.
            lists: of pairs.
            face: which of a photo's faces is meant.
            columns: of the photos, wanted too.

        Raises:
            WrongUsageError: a photo is not there, or none has such a face.
        """
        photos = dataset.photos(["width", "height", *columns])
        names = PhotoNames(photos["uri"].to_pylist(), f"dataset {dataset.path}")
        meant = dict.fromkeys(n for pairs in lists for pair in pairs.photos for n in pair)
        uris = {name: names.uri_of(name) for name in meant}
        here = pc.is_in(photos["uri"], value_set=pa.array(set(uris.values()), pa.string()))
        contents = photos["photo_id"].filter(here).drop_null().unique()
        photos = photos.filter(pc.is_in(photos["photo_id"], value_set=contents))
        wanted = [*("photo_id", "uri", "also_at", "box", "yaw", "embedding"), *MEASURES, *columns]
        tables = list(dataset.faces(wanted, photos=photos))
        table = pa.concat_tables(tables) if tables else None
        chosen = np.zeros(0) if table is None else choose_faces(table, face, photos)
        if table is None or not len(chosen):
            raise WrongUsageError(
                f"no photo of the list has a face that --face {face} means in dataset "
                f"{dataset.path}"
            )
        table = table.take(pa.array(chosen))
        rows: dict[str, int] = {}
        places = zip(table["uri"].to_pylist(), table["also_at"].to_pylist(), strict=True)
        for row, (uri, also_at) in enumerate(places):
            rows |= dict.fromkeys([uri, *also_at], row)
        return cls(
            table.drop(["embedding"]),
            embedding_matrix(table),
            {name: rows.get(uri, NO_ROW) for name, uri in uris.items()},
        )

    def rows_of(self, pairs: Pairs) -> NDArray[np.int64]:
        """(n, 2) rows of the pairs' faces, `NO_ROW` where none was found."""
        return np.array([[self.rows[name] for name in pair] for pair in pairs.photos])

    def similarities(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) of pairs by their rows."""
        first, second = self.embeddings[rows[:, 0]], self.embeddings[rows[:, 1]]
        similarities = np.einsum("nd,nd->n", first, second)
        return np.where((rows < 0).any(axis=1), NO_FACE, np.minimum(similarities, 1))

    def quality(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """(n,) of each measure the lesser of both faces', which must be there."""
        return {name: values[rows].min(axis=1) for name, values in quality_of(self.table).items()}
