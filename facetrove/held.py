"""Find every face that a dataset and its indexes hold of the person in a portrait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.deletions import read_deletions
from faces.dataset.people_book import PeopleBook
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset, FaceTables
from faces.models.face import Box
from faces.models.ranking import faces_of
from faces.models.registry import load_pipeline_for
from faces.photos.limited import open_photo
from faces.photos.metadata import is_places_column, places_column
from indexer.delete import open_all
from indexer.faces_file import faces_schema, with_columns
from indexer.folder import open_segments
from indexer.manifest import Manifest
from indexer.stranger_rates import StrangerRates, threshold_at
from search.contact_sheet import write_contact_sheet
from search.results import Match, stored_fields


@dataclass(frozen=True)
class HeldFaces:
    """The faces that a dataset and its indexes hold of the person in a portrait.

    Attributes:
        dataset: path of the dataset.
        indexes: paths of the indexes that were looked through.
        looked_at: time in UTC, ISO 8601.
        min_similarity: smallest similarity of a face that counts, [-1, 1].
        fpir: the false-positive identification rate that was asked for, (0, 1); None: none was.
        probe_box: box of the face in the portrait, in pixels.
        faces: the faces that were found, most similar first, as matches.
        columns: all that is stored of each face but its embedding, by column name, row-aligned
            with `faces`. Where the places of its photo have different values in columns of photo
            lists, `values_at_places` has those of each place, by column and then by uri.
        only_in_indexes: face_ids of faces that indexes have and the dataset has not: they go with
            the next update of the index.
        withheld: face_ids of faces that are deleted, and stay in the files until a purge.
        people: name, or else number, of the person whom the people book has for a face, by face_id.
    """

    dataset: str
    indexes: tuple[str, ...]
    looked_at: str
    min_similarity: float
    fpir: float | None
    probe_box: Box
    faces: tuple[Match, ...]
    columns: tuple[dict[str, Any], ...]
    only_in_indexes: frozenset[str]
    withheld: frozenset[str]
    people: Mapping[str, str]

    @property
    def matches(self) -> Sequence[Match]:
        """The faces that were found, most similar first."""
        return self.faces

    @property
    def box(self) -> Box:
        """The box of the face in the portrait, in pixels."""
        return self.probe_box

    def to_json(self) -> dict[str, Any]:
        """Return the answer to "what do you hold about me?" as a dictionary for `json.dump`."""
        faces = [
            {
                "similarity": face.similarity,
                **columns,
                "has_embedding": True,
                "only_in_indexes": face.face_id in self.only_in_indexes,
                "deleted_but_not_purged": face.face_id in self.withheld,
                "in_people_book_as": self.people.get(face.face_id),
            }
            for face, columns in zip(self.faces, self.columns, strict=True)
        ]
        return {
            "dataset": self.dataset,
            "indexes": self.indexes,
            "looked_at": self.looked_at,
            "min_similarity": self.min_similarity,
            "fpir": self.fpir,
            "num_faces": len(faces),
            "faces": faces,
        }

    def write_sheet(self, path: Path, portrait: str | Path) -> None:
        """Draw the portrait's face and the faces that were found in a picture file.

        Args:
            path: path of the file, ending in .jpg, .jpeg, .png or .webp.
            portrait: path of the portrait.

        Raises:
            WrongUsageError: the file cannot be written at this path, or there are too many faces
                for one picture.
        """
        write_contact_sheet(path, open_photo(Path(portrait)), [self])


def find_held(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    portrait: str | Path,
    *,
    fpir: float | None = None,
    min_similarity: float | None = None,
    on_progress: OnProgress = ignore_progress,
) -> HeldFaces:
    """Find every face of a dataset and its indexes that is like the one face of a portrait.

    The portrait is compared with every embedding, whatever the recipe of an index, and with those
    of deleted faces that no purge has removed.

    Args:
        dataset: path of the dataset's folder.
        indexes: paths of indexes built from the dataset.
        portrait: path of a photo of one person.
        fpir: share of people who are not in the dataset for whom a face may be found, (0, 1), by
            the threshold of the first index; the stricter of this and `min_similarity` counts.
        min_similarity: smallest similarity of a face that counts, [-1, 1].
        on_progress: called with each step and how far it is.

    Returns:
        The faces that were found.

    Raises:
        WrongUsageError: the dataset, an index or the portrait does not exist, the portrait has no
            face or several, neither `fpir` nor `min_similarity` is given, or the index has no
            threshold for `fpir`.
        ContractMismatchError: an index holds embeddings of another model than the dataset.
        CorruptFileError: a file of the dataset or of an index is corrupt.
    """
    source, opened = open_all(dataset, indexes)
    threshold = _threshold(opened, fpir, min_similarity)
    on_progress(Progress("looking at the portrait"))
    box, probe = _one_face(source, portrait)
    on_progress(Progress("comparing with the dataset"))
    tables = [*_in_dataset(source, probe, threshold)]
    in_dataset = {face_id for table in tables for face_id in table["face_id"].to_pylist()}
    for path, manifest in opened:
        on_progress(Progress(f"comparing with {path}"))
        tables += _in_index(path, manifest, probe, threshold)
    rows = _most_similar_first(tables, faces_schema(source.face_metadata))
    ids = [row["face_id"] for row in rows]
    return HeldFaces(
        dataset=str(source.path),
        indexes=tuple(str(path) for path, _ in opened),
        looked_at=datetime.now(UTC).isoformat(timespec="seconds"),
        min_similarity=threshold,
        fpir=fpir,
        probe_box=box,
        faces=_matches(rows, source.face_metadata.names),
        columns=tuple(_for_json(row, source.face_metadata.names) for row in rows),
        only_in_indexes=frozenset(ids) - in_dataset,
        withheld=frozenset(read_deletions(source.path).pending.to_pylist()) & frozenset(ids),
        people=_in_people_book(source, ids),
    )


def _in_people_book(source: Dataset, face_ids: Sequence[str]) -> dict[str, str]:
    """Return the name, or else the number, that the people book has of each face it knows."""
    view = PeopleBook(source.path).view()
    if view.is_empty:
        return {}
    numbers = zip(face_ids, view.people_of(face_ids), strict=True)
    return {face: view.names.get(n) or str(n) for face, n in numbers if n is not None}


def _matches(rows: Sequence[Mapping[str, Any]], metadata: Sequence[str]) -> tuple[Match, ...]:
    """Return rows of faces, most similar first, as matches."""
    return tuple(
        Match(
            rank=rank,
            similarity=min(float(row["similarity"]), 1.0),
            **stored_fields(row, metadata),
        )
        for rank, row in enumerate(rows, start=1)
    )


def _threshold(
    indexes: Sequence[tuple[Path, Manifest]], fpir: float | None, min_similarity: float | None
) -> float:
    if fpir is None and min_similarity is None:
        raise WrongUsageError(
            "say how similar a face must be: by --fpir, such as 0.01, or by --min-similarity"
        )
    if min_similarity is not None and not -1 <= min_similarity <= 1:
        raise WrongUsageError(f"min_similarity is {min_similarity}; give one from -1 to 1")
    limits = [] if min_similarity is None else [min_similarity]
    if fpir is not None:
        if not indexes:
            raise WrongUsageError(
                "an FPIR is that of searches in an index; name an index of the dataset, or give "
                "--min-similarity instead of --fpir"
            )
        path, manifest = indexes[0]
        limits.append(threshold_at(StrangerRates(manifest), fpir, path))
    return max(limits)


def _one_face(source: Dataset, portrait: str | Path) -> tuple[Box, np.ndarray]:
    """Return the box and the (d,) float32 embedding of the one face of a portrait."""
    pipeline = load_pipeline_for(source.contract, contract_owner=f"dataset {source.path}")
    faces = faces_of(portrait, pipeline)
    if len(faces) != 1:
        raise WrongUsageError(
            f"{portrait} shows {len(faces)} faces; give a portrait of one person, such as that "
            "face cut out of the photo with some space around it"
        )
    return Box(*faces[0].detection.box.tolist()), np.asarray(faces[0].embedding, np.float32)


def _in_dataset(source: Dataset, probe: np.ndarray, threshold: float) -> Iterator[pa.Table]:
    """Yield the faces of a dataset that are similar enough, with the column `similarity`."""
    columns = [*faces_schema(source.face_metadata).names, "embedding"]
    for table in FaceTables(source, columns, with_withheld=True):
        similarities = embedding_matrix(table) @ probe
        yield _alike(table.drop_columns(["embedding"]), similarities, similarities >= threshold)


def _in_index(
    path: Path, manifest: Manifest, probe: np.ndarray, threshold: float
) -> Iterator[pa.Table]:
    """Yield the live faces of an index that are similar enough, with the column `similarity`."""
    for segment in open_segments(path, manifest):
        similarities = np.asarray(segment.vectors @ probe)
        is_alike = (similarities >= threshold) & segment.live()
        yield _alike(segment.faces.table, similarities, is_alike)


def _alike(table: pa.Table, similarities: np.ndarray, is_alike: np.ndarray) -> pa.Table:
    """Return the rows of a table that a mask selects, with their similarities."""
    selected = table.filter(pa.array(is_alike))
    return selected.append_column("similarity", pa.array(similarities[is_alike]))


def _most_similar_first(tables: Sequence[pa.Table], columns: pa.Schema) -> list[dict[str, Any]]:
    """Return the rows of tables as dicts, each face once, as the first table has it."""
    shown = columns.append(pa.field("similarity", pa.float32()))
    found = [with_columns(table, columns).select(shown.names) for table in tables]
    faces = pa.concat_tables([shown.empty_table(), *found], promote_options="default")
    first: dict[str, int] = {}
    for row, face_id in enumerate(faces["face_id"].to_pylist()):
        first.setdefault(face_id, row)
    faces = faces.take(pa.array([*first.values()], pa.int64()))
    order = pc.sort_indices(faces, [("similarity", "descending")])
    return list(faces.take(order).to_pylist())


def _for_json(row: dict[str, Any], metadata: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a face as JSON can hold them: dates are ISO 8601, NaN is null.

    Args:
        row: the face's columns, with those of `faces_schema`.
        metadata: names of the columns of photo lists.
    """

    def value_of(value: Any) -> Any:
        if isinstance(value, float) and not np.isfinite(value):
            return None
        if isinstance(value, list):
            return list(map(value_of, value))
        return value.isoformat() if hasattr(value, "isoformat") else value

    values = {name: value_of(value) for name, value in row.items() if name != "similarity"}
    places = [row["uri"], *(row["also_at"] or ())]
    at_places = {
        name: dict(zip(places, values[places_column(name)], strict=True))
        for name in metadata
        if values[places_column(name)] is not None
    }
    shown = {name: value for name, value in values.items() if not is_places_column(name)}
    return {**shown, "values_at_places": at_places}
