"""The faces of a dataset that lists of pairs refer to by their photos."""

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
"""Similarity of a pair with a photo in which no face was found: below every threshold, so that the
pair is rejected, which is how ISO/IEC 19795-1 counts a failure to acquire."""

NO_ROW = -1
"""Row of a photo in which no face was found."""


class PhotoNames:
    """A lookup of a dataset's photos by the names that a list of pairs uses.

    Args:
        uris: the uris of all photos of the dataset.
        source: the dataset, for messages.
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
        """Return the uri of the photo that a name refers to.

        Args:
            name: a photo's uri, its path, or the end of its path from a `/` on; its suffix, such as
                `.jpg`, may be left out.

        Raises:
            WrongUsageError: no photo has that name, or several have.
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
            problem = f"is the name of {len(candidates)} photos" if candidates else "is missing"
            raise WrongUsageError(
                f"photo {name!r} of the list of pairs {problem} in {self._source}; embed the "
                "photos of all pairs, and list photos of one name by their paths"
            )
        return candidates[0]


def _ends_with(path: str, ending: str) -> bool:
    """Tell whether a path ends with whole components."""
    return path == ending or path.endswith("/" + ending)


@dataclass(frozen=True)
class PairFaces:
    """The m faces of the photos in lists of pairs, at most one per photo.

    Attributes:
        table: m faces with all columns that were read but the embedding.
        embeddings: (m, d) float32, unit length.
        rows: row of each photo's face in `table`, by the photo's name in the lists; `NO_ROW` where
            no such face was found.
    """

    table: pa.Table
    embeddings: NDArray[np.float32]
    rows: dict[str, int]

    @classmethod
    def of(
        cls, dataset: Dataset, lists: Sequence[Pairs], face: FaceChoice, columns: Sequence[str]
    ) -> PairFaces:
        """Read the faces of all photos in some lists of pairs.

        Args:
            dataset: the dataset that has the photos.
            lists: lists of pairs.
            face: which of a photo's faces is compared.
            columns: columns of the photos to read besides.

        Raises:
            WrongUsageError: a photo is not in the dataset, or no photo has such a face.
        """
        photos = dataset.photos(["width", "height", *columns])
        names = PhotoNames(photos["uri"].to_pylist(), f"dataset {dataset.path}")
        listed = dict.fromkeys(n for pairs in lists for pair in pairs.photos for n in pair)
        uris = {name: names.uri_of(name) for name in listed}
        is_listed = pc.is_in(photos["uri"], value_set=pa.array(set(uris.values()), pa.string()))
        contents = photos["photo_id"].filter(is_listed).drop_null().unique()
        photos = photos.filter(pc.is_in(photos["photo_id"], value_set=contents))
        names_read = ("photo_id", "uri", "also_at", "box", "yaw", "embedding")
        tables = list(dataset.faces([*names_read, *MEASURES, *columns], photos=photos))
        table = pa.concat_tables(tables) if tables else None
        chosen = np.zeros(0) if table is None else choose_faces(table, face, photos)
        if table is None or not len(chosen):
            raise WrongUsageError(
                f"in dataset {dataset.path} no photo of the list of pairs has a face that --face "
                f"{face} selects; choose another --face"
            )
        table = table.take(pa.array(chosen))
        rows: dict[str, int] = {}
        locations = zip(table["uri"].to_pylist(), table["also_at"].to_pylist(), strict=True)
        for row, (uri, also_at) in enumerate(locations):
            rows |= dict.fromkeys([uri, *also_at], row)
        return cls(
            table.drop(["embedding"]),
            embedding_matrix(table),
            {name: rows.get(uri, NO_ROW) for name, uri in uris.items()},
        )

    def rows_of(self, pairs: Pairs) -> NDArray[np.int64]:
        """Return the (n, 2) rows of the faces of n pairs, `NO_ROW` where no face was found."""
        return np.array([[self.rows[name] for name in pair] for pair in pairs.photos])

    def similarities(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Compute the (n,) similarities of pairs by their (n, 2) rows; `NO_FACE` without a face."""
        first, second = self.embeddings[rows[:, 0]], self.embeddings[rows[:, 1]]
        similarities = np.einsum("nd,nd->n", first, second)
        return np.where((rows < 0).any(axis=1), NO_FACE, np.minimum(similarities, 1))

    def quality(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Return each quality measure's (n,) lower value of the two faces of a pair.

        Args:
            rows: (n, 2) rows of pairs in which both faces were found.
        """
        return {name: values[rows].min(axis=1) for name, values in quality_of(self.table).items()}
