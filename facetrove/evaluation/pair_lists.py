"""Lists of pairs of photos: LFW's own files, and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line

FIRST, SECOND, SAME, FOLD = "photo1", "photo2", "same", "fold"
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@dataclass(frozen=True)
class Pairs:
    """A list of pairs of photos.

    Attributes:
        photos: (n, 2) names: of LFW as Name_0001, else what the list says.
        mated: (n,) bool, whether they show one person.
        folds: (n,) fold of each, from 0; None: the list has none.
        people: (n, 2) who is in them; None: the list does not say.
        columns: (n,) of each further column of the list.
        of_lfw: whether it is LFW's own.
    """

    photos: Sequence[tuple[str, str]]
    mated: NDArray[np.bool_]
    folds: NDArray[np.int64] | None = None
    people: Sequence[tuple[str, str]] | None = None
    columns: dict[str, list[str]] = field(default_factory=dict)
    of_lfw: bool = False

    def __len__(self) -> int:
        return len(self.mated)


def read_pairs(path: str | Path) -> Pairs:
    """Read a list of pairs: LFW's pairsDevTrain.txt, pairsDevTest.txt or pairs.txt, or a CSV.

    A CSV has the columns photo1, photo2 and same (1 or 0), may have fold, person1 and person2, and
    others to tell groups by. LFW's files say in their first line how many folds there are (one, if
    it is a single number) and how many pairs of each kind a fold has, the mated first.

    Raises:
        WrongUsageError: the file is neither, or cannot be read.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_csv(file, path) if path.suffix.lower() == ".csv" else _read_lfw(file, path)
    except UnicodeDecodeError as error:
        raise WrongUsageError(f"{path} is no text file in UTF-8; save it as one") from error
    except OSError as error:
        raise WrongUsageError(
            f"{path} cannot be read ({error.strerror}); the dataset is named first, then the list"
        ) from error
    except csv.Error as error:
        raise WrongUsageError(f"{path} is no CSV ({first_line(error)})") from error


def _read_lfw(lines: Iterable[str], path: Path) -> Pairs:
    rows = [line.split() for line in lines]
    try:
        if not rows or not all(text.isdecimal() for text in rows[0]):
            raise ValueError("its first line is no number of pairs")
        header = [int(number) for number in rows[0]]
        num_folds, of_each = header if len(header) == 2 else (1, *header)
        body = [row for row in rows[1:] if row]
        if num_folds < 1 or of_each < 1 or len(body) != 2 * num_folds * of_each:
            raise ValueError(f"its first line announces {2 * num_folds * of_each} pairs")
        pairs = [_lfw_pair(row) for row in body]
        mated = np.array([len(row) == 3 for row in body])
        if not np.array_equal(mated, np.tile(np.repeat([True, False], of_each), num_folds)):
            raise ValueError("mated and non-mated pairs are not where its first line says")
    except (ValueError, IndexError, TypeError) as error:
        raise WrongUsageError(
            f"{path} is no list of pairs of LFW ({first_line(error)}); a list of your own is a "
            f".csv with the columns {FIRST}, {SECOND} and {SAME}"
        ) from error
    folds = np.repeat(np.arange(num_folds), 2 * of_each) if num_folds > 1 else None
    return Pairs(
        photos=[tuple(f"{name}_{number:04d}" for name, number in pair) for pair in pairs],  # type: ignore[misc]
        mated=mated,
        folds=folds,
        people=[(first, second) for (first, _), (second, _) in pairs],
        of_lfw=True,
    )


def _lfw_pair(row: Sequence[str]) -> tuple[tuple[str, int], tuple[str, int]]:
    match row:
        case [name, first, second]:
            return (name, int(first)), (name, int(second))
        case [name, first, other, second]:
            return (name, int(first)), (other, int(second))
    raise ValueError(f"{' '.join(row)[:80]!r} is no pair")


def _read_csv(lines: Iterable[str], path: Path) -> Pairs:
    reader = csv.DictReader(lines, skipinitialspace=True)
    names = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = names
    if len(set(names)) < len(names):
        raise WrongUsageError(f"{path} has two columns of one name")
    if missing := [name for name in (FIRST, SECOND, SAME) if name not in names]:
        raise WrongUsageError(
            f"{path} lacks the columns {', '.join(missing)}; a list of pairs has {FIRST}, {SECOND} "
            f"and {SAME}, parted by commas, and this has {', '.join(names) or 'none'}"
        )
    rows = list(reader)
    if not rows:
        raise WrongUsageError(f"{path} lists no pair")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise WrongUsageError(
                f"{path}, row {number} has another number of cells than the first row"
            )
        if not row[FIRST] or not row[SECOND] or row[FIRST] == row[SECOND]:
            raise WrongUsageError(f"{path}, row {number} does not name two photos")
        if row.get(FOLD) == "":
            raise WrongUsageError(f"{path}, row {number} has no {FOLD}")
    mated = [_truth(row[SAME], f"{path}, row {number}") for number, row in enumerate(rows, 2)]
    folds = None
    if FOLD in names:
        known, folds = np.unique([row[FOLD] for row in rows], return_inverse=True)
        if len(known) == 1:
            raise WrongUsageError(f"{path} has one {FOLD} only; leave the column out, or use more")
    people = None
    if {"person1", "person2"} <= set(names):
        people = [(row["person1"], row["person2"]) for row in rows]
    used = {FIRST, SECOND, SAME, FOLD, "person1", "person2"}
    return Pairs(
        photos=[(row[FIRST], row[SECOND]) for row in rows],
        mated=np.array(mated),
        folds=folds,
        people=people,
        columns={name: [row[name] for row in rows] for name in names if name not in used},
    )


def _truth(text: str, place: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in (*TRUE, *FALSE):
        raise WrongUsageError(f"{place}: {SAME} is {text!r}; write 1 or 0")
    return lowered in TRUE
