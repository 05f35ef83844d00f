"""Lists of pairs of photos, read from LFW's files or from CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line

FIRST, SECOND, SAME, FOLD = "photo1", "photo2", "same", "fold"
"""Columns of a CSV list of pairs."""

TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
"""Values of the column `same`, in lower case."""


@dataclass(frozen=True)
class Pairs:
    """A list of n pairs of photos, each of which shows one person (mated) or two (non-mated).

    Attributes:
        photos: n pairs of photo names: a photo's uri, its path or the end of its path, with or
            without its suffix. LFW's lists give names such as `Ann_Lee_0001`.
        mated: (n,) bool, whether a pair shows one person.
        folds: (n,) int64 number of each pair's fold, from 0; None where the list has no folds.
        people: n pairs of names of the people in the two photos; None where the list has no names.
        columns: n values of each further column of the list, by the column's name.
        of_lfw: whether the list was read from one of LFW's files.
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

    A CSV has the columns photo1, photo2 and same (1 or 0). It may have the columns fold, person1
    and person2, and others that error rates can be grouped by. The first line of LFW's files holds
    the number of folds (left out where it is 1) and the number of pairs of each kind in a fold; in
    each fold the mated pairs come first.

    Args:
        path: the list's file; one that ends in `.csv` is read as CSV, any other as LFW's.

    Raises:
        WrongUsageError: the file cannot be read, or is not such a list.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_csv(file, path) if path.suffix.lower() == ".csv" else _read_lfw(file, path)
    except UnicodeDecodeError as error:
        raise WrongUsageError(f"{path} is not a UTF-8 text file; save it as one") from error
    except OSError as error:
        raise WrongUsageError(
            f"{path} cannot be read ({error.strerror}); give the dataset first, then the list of "
            "pairs"
        ) from error
    except csv.Error as error:
        raise WrongUsageError(f"{path} is not a CSV file ({first_line(error)})") from error


def _read_lfw(lines: Iterable[str], path: Path) -> Pairs:
    """Read one of LFW's lists; the format is that of LFW's README.

    Raises:
        WrongUsageError: the lines are not such a list.
    """
    rows = [line.split() for line in lines]
    try:
        if not rows or not all(text.isdecimal() for text in rows[0]):
            raise ValueError("its first line is not a number of pairs")
        header = [int(number) for number in rows[0]]
        num_folds, num_each = header if len(header) == 2 else (1, *header)
        body = [row for row in rows[1:] if row]
        if num_folds < 1 or num_each < 1 or len(body) != 2 * num_folds * num_each:
            raise ValueError(
                f"it has {len(body)} pairs, and its first line announces {2 * num_folds * num_each}"
            )
        pairs = [_lfw_pair(row) for row in body]
        mated = np.array([len(row) == 3 for row in body])
        if not np.array_equal(mated, np.tile(np.repeat([True, False], num_each), num_folds)):
            raise ValueError(
                f"expected {num_each} mated pairs, then {num_each} non-mated pairs, in each fold"
            )
    except (ValueError, IndexError, TypeError) as error:
        raise WrongUsageError(
            f"{path} is not a list of pairs of LFW ({first_line(error)}); write a list of your own "
            f"as a .csv with the columns {FIRST}, {SECOND} and {SAME}"
        ) from error
    folds = np.repeat(np.arange(num_folds), 2 * num_each) if num_folds > 1 else None
    return Pairs(
        photos=[tuple(f"{name}_{number:04d}" for name, number in pair) for pair in pairs],  # type: ignore[misc]
        mated=mated,
        folds=folds,
        people=[(first, second) for (first, _), (second, _) in pairs],
        of_lfw=True,
    )


def _lfw_pair(row: Sequence[str]) -> tuple[tuple[str, int], tuple[str, int]]:
    """Read a line's two photos, each as a name and a number: `Ann 1 2` or `Ann 1 Bob 2`."""
    match row:
        case [name, first, second]:
            return (name, int(first)), (name, int(second))
        case [name, first, other, second]:
            return (name, int(first)), (other, int(second))
    raise ValueError(f"{' '.join(row)[:80]!r} is not a pair")


def _read_csv(lines: Iterable[str], path: Path) -> Pairs:
    """Read a CSV list of pairs.

    Raises:
        WrongUsageError: a column is missing or repeated, or a row is not a pair.
    """
    reader = csv.DictReader(lines, skipinitialspace=True)
    names = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = names
    if len(set(names)) < len(names):
        raise WrongUsageError(
            f"{path} has two columns of one name (its columns are {', '.join(names)}); rename one"
        )
    if missing := [name for name in (FIRST, SECOND, SAME) if name not in names]:
        raise WrongUsageError(
            f"{path} lacks the columns {', '.join(missing)}; expected {FIRST}, {SECOND} and "
            f"{SAME}, separated by commas, and its columns are {', '.join(names) or 'none'}"
        )
    rows = list(reader)
    if not rows:
        raise WrongUsageError(f"{path} lists no pair; add a row for each pair")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise WrongUsageError(
                f"{path}, row {number} has another number of cells than the first row; write "
                f"{len(names)} cells"
            )
        if not row[FIRST] or not row[SECOND] or row[FIRST] == row[SECOND]:
            raise WrongUsageError(
                f"{path}, row {number} does not name two photos: {FIRST} is {row[FIRST]!r}, "
                f"{SECOND} is {row[SECOND]!r}"
            )
        if row.get(FOLD) == "":
            raise WrongUsageError(f"{path}, row {number} has no {FOLD}; give every pair one")
    mated = [_truth(row[SAME], f"{path}, row {number}") for number, row in enumerate(rows, 2)]
    folds = None
    if FOLD in names:
        fold_names, folds = np.unique([row[FOLD] for row in rows], return_inverse=True)
        if len(fold_names) == 1:
            raise WrongUsageError(
                f"{path} has only one {FOLD}, {fold_names[0]}; use two or more, or leave the "
                "column out"
            )
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


def _truth(text: str, cell: str) -> bool:
    """Read a truth value; `cell` names the file and row, for the error."""
    lowered = text.strip().lower()
    if lowered not in (*TRUE, *FALSE):
        raise WrongUsageError(f"{cell}: {SAME} is {text!r}; write 1 or 0")
    return lowered in TRUE
