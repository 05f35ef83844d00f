"""The files of a join: its plan, the results of its pieces, and the Parquet file at the end.

OUT.parquet                      the result: face_id, rank, neighbour, similarity
OUT.parquet.work/plan.json       while the join runs: what is joined, cut into pieces
                /<piece>.photos  the photos of a piece, where A is a dataset
                /<piece>.found   pairs that the faces of a piece found, where A is B
                /<piece>.arrow   the result of a piece; it appears when the piece is done
                /.lock           held by the one process that drives the join
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta

from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.documents import Count, Share, document_of, json_text, parse
from faces.core.errors import CorruptFileError, FaceTroveError, WrongUsageError, first_line
from faces.core.storage import LOCK_FILE, TEMPORARY_SUFFIX, Folder, put_file

MAX_K = 1000
"""Largest number of neighbours of a face: those of a piece then take 0.8 GB of memory."""

ENDING = ".parquet"

PLAN_FILE, _REPORT_KEY = "plan.json", b"facetrove"

NEIGHBOURS_SCHEMA = pa.schema(
    [
        pa.field("face_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("neighbour", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)

FOUND_SCHEMA = pa.schema(
    [
        pa.field("own", pa.int64(), nullable=False),
        pa.field("other", pa.int64(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)
"""Pairs of positions in the index: a face of a piece, and a face that it found; by the latter."""

_DICTIONARY_BYTES = 1 << 30
"""Largest size of a Parquet dictionary: the face_ids of a piece are written once, not per row."""

Similarity = Annotated[float, Meta(ge=-1, le=1)]


@dataclass(frozen=True)
class JoinOptions:
    """The options of a join.

    Attributes:
        k: number of neighbours of each face, 1 or more.
        min_similarity: smallest similarity of a neighbour, [-1, 1]; None: no limit.
        target_recall: share of the exact neighbours that must be found, (0, 1], of those that
            reach `min_similarity` or, without one, the threshold of the index.

    Raises:
        WrongUsageError: an option is out of range.
    """

    k: int = 50
    min_similarity: Similarity | None = None
    target_recall: Share = 0.99

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise WrongUsageError(f"k is {self.k}; give 1 to {MAX_K:,}")
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise WrongUsageError(f"min_similarity is {self.min_similarity}; give one from -1 to 1")
        if not 0 < self.target_recall <= 1:
            raise WrongUsageError(f"target_recall is {self.target_recall}; give one above 0, to 1")


@dataclass(frozen=True)
class JoinRequest:
    """What is joined: two collections as they are now, and the options.

    Attributes:
        a: path of the dataset or index whose faces are looked up.
        a_state: text that differs where the faces of A do.
        b: path of the index in which they are looked up.
        b_state: text that differs where the version of B does.
        options: the options.
    """

    a: str
    a_state: str
    b: str
    b_state: str
    options: JoinOptions


@dataclass(frozen=True)
class JoinPiece:
    """A piece of a join.

    Attributes:
        name: the piece's name.
        num_faces: number of its faces; of a dataset's, about.
        start: where A is an index, the number of the piece's first face among those of A that are
            not deleted; None where A is a dataset.
    """

    name: Annotated[str, Meta(pattern=r"\Apiece-\d{6}\Z")]
    num_faces: Count
    start: Count | None


@dataclass(frozen=True)
class JoinPlan:
    """The plan of a join, as plan.json has it.

    Attributes:
        request: what is joined.
        threshold: smallest similarity of the neighbours that the target recall counts; None: all.
        nprobes: number of inverted lists to probe, by id of B's segments that have some.
        pieces: the pieces, in the order of the result.
        mutual: whether a pair is found if either of its faces finds the other, which takes far
            fewer inverted lists. So it is where A is B, and the options have `min_similarity`:
            without it, a face is often not among the k nearest of those that are among its own.
    """

    request: JoinRequest
    threshold: float | None
    nprobes: dict[str, Count]
    pieces: tuple[JoinPiece, ...]
    mutual: bool = False


@dataclass(frozen=True)
class PieceReport:
    """Counts of a piece, or of all.

    Attributes:
        num_faces: number of faces that were looked up.
        num_neighbours: number of neighbours found.
        num_alone: number of faces without a neighbour.
        num_sampled: number of faces whose neighbours were found by exact search, too.
        num_exact, num_found: number of the exact neighbours of these, and of those found.
        num_exact_matches, num_found_matches: the same of those that reach the plan's threshold.
    """

    num_faces: Count = 0
    num_neighbours: Count = 0
    num_alone: Count = 0
    num_sampled: Count = 0
    num_exact: Count = 0
    num_found: Count = 0
    num_exact_matches: Count = 0
    num_found_matches: Count = 0

    def __add__(self, other: PieceReport) -> PieceReport:
        ours, theirs = asdict(self), asdict(other)
        return PieceReport(**{name: ours[name] + theirs[name] for name in ours})


@dataclass(frozen=True)
class JoinResult:
    """What a join found, as the metadata of its Parquet file says it too.

    Attributes:
        request: what was joined.
        contract: the models that made the embeddings, as text.
        threshold: smallest similarity of the neighbours that `recall_of_matches` counts; None: the
            index has no threshold.
        counts: the counts of all pieces.
        is_exact: whether every face was compared with every face of the index.
    """

    request: JoinRequest
    contract: str
    threshold: float | None
    counts: PieceReport = field(default_factory=PieceReport)
    is_exact: bool = False

    @property
    def recall(self) -> float | None:
        """Share of the exact neighbours that were found, in the sample; None: there are none."""
        return _share(self.counts.num_found, self.counts.num_exact)

    @property
    def recall_of_matches(self) -> float | None:
        """Share of the exact neighbours from `threshold` on that were found; None: none are."""
        return _share(self.counts.num_found_matches, self.counts.num_exact_matches)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that `json` can write."""
        return {
            "a": self.request.a,
            "b": self.request.b,
            **asdict(self.request.options),
            "contract": self.contract,
            **asdict(self.counts),
            "is_exact": self.is_exact,
            "recall": self.recall,
            "threshold": self.threshold,
            "recall_of_matches": self.recall_of_matches,
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def write_result(out: Path, folder: Folder, plan: JoinPlan, result: JoinResult) -> None:
    """Put the results of all pieces together as the Parquet file `out`, whole or not at all."""
    metadata = {_REPORT_KEY: json_text(asdict(result))}
    with (
        put_file(out) as file,
        pq.ParquetWriter(
            file,
            NEIGHBOURS_SCHEMA.with_metadata(metadata),
            compression="zstd",
            write_page_checksum=True,
            use_dictionary=["face_id", "neighbour"],
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
        ) as writer,
    ):
        for piece in plan.pieces:
            table, _ = read_piece(folder, piece.name)
            writer.write_table(table.replace_schema_metadata(metadata))


def work_folder(out: Path) -> Folder:
    """Return the storage of the work folder of a join."""
    return Folder(
        out.with_name(out.name + ".work"),
        remedy="remove that folder and run the same command again",
    )


def remove_work(out: Path) -> None:
    """Remove the work folder of a join that is done, if it is there."""
    name = work_folder(out).path.name
    if all(map(is_join_file, Folder(out.parent).names(name))):
        Folder(out.parent).remove_folder(name)


def finished_join(request: JoinRequest, out: Path) -> JoinResult | None:
    """Return the result of a join that is complete under its final name; None: there is none.

    Raises:
        WrongUsageError: there is another file by that name, or none can be written.
    """
    if out.suffix != ENDING:
        raise WrongUsageError(f"{out} does not end in {ENDING}; name a Parquet file")
    if not out.parent.is_dir():
        raise WrongUsageError(
            f"the folder {out.parent} does not exist; name another for {out.name}"
        )
    if not out.exists() and not out.is_symlink():
        return None
    try:
        with Folder(out.parent).open(out.name) as file:
            result = parse(pq.read_schema(file).metadata[_REPORT_KEY], JoinResult)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, FaceTroveError):
        result = None
    if result is None or result.request != request:
        raise WrongUsageError(f"{out} exists and is not the result of this join; name a new file")
    return result


def write_plan(folder: Folder, plan: JoinPlan) -> None:
    """Write the plan of a join, without which there is no join in the work folder."""
    with folder.put(PLAN_FILE) as file:
        file.write(json_text(asdict(plan)).encode())


def read_plan(folder: Folder) -> JoinPlan | None:
    """Return the plan in a work folder; None if there is none."""
    if not folder.exists(PLAN_FILE):
        return None
    return document_of(folder, PLAN_FILE, folder.read(PLAN_FILE), JoinPlan)


def write_piece(folder: Folder, name: str, table: pa.Table, report: PieceReport) -> None:
    """Write the result of a piece, rows of `NEIGHBOURS_SCHEMA`; then the piece is done."""
    metadata = {_REPORT_KEY: json_text(asdict(report))}
    write_arrow(folder, result_name(name), table.replace_schema_metadata(metadata))


def read_piece(folder: Folder, name: str) -> tuple[pa.Table, PieceReport]:
    """Read the result of a piece, and its report."""
    content = folder.mapped(result_name(name))
    try:
        table = read_arrow(content)
        report = parse(table.schema.metadata[_REPORT_KEY], PieceReport)
        if not table.schema.equals(NEIGHBOURS_SCHEMA):
            raise ValueError("it has other columns")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{folder.at(result_name(name))} is corrupt ({first_line(error)}); {folder.remedy}"
        ) from error
    return table, report


def write_found(folder: Folder, name: str, table: pa.Table) -> None:
    """Write what the faces of a piece found, rows of `FOUND_SCHEMA`, ascending by `other`."""
    write_arrow(folder, found_name(name), table)


def read_found(folder: Folder, name: str) -> pa.Table:
    """Read what the faces of a piece found."""
    content = folder.mapped(found_name(name))
    try:
        table = read_arrow(content)
        if not table.schema.equals(FOUND_SCHEMA):
            raise ValueError("it has other columns")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{folder.at(found_name(name))} is corrupt ({first_line(error)}); {folder.remedy}"
        ) from error
    return table


def piece_name(number: int) -> str:
    """Return the name of a piece by its number, from 0."""
    return f"piece-{number:06d}"


def photos_name(piece: str) -> str:
    """Return the name of the file with a piece's photos, rows of `Dataset.photos`."""
    return f"{piece}.photos"


def result_name(piece: str) -> str:
    """Return the name of the file with the result of a piece."""
    return f"{piece}.arrow"


def found_name(piece: str) -> str:
    """Return the name of the file with what the faces of a piece found."""
    return f"{piece}.found"


def is_join_file(name: str) -> bool:
    """Return whether a join writes a file of that name into its work folder."""
    known = name in (PLAN_FILE, LOCK_FILE) or name.endswith(TEMPORARY_SUFFIX)
    return known or (name.startswith("piece-") and name.endswith((".photos", ".found", ".arrow")))
