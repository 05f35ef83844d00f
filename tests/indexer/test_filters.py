from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from faces.core.errors import WrongUsageError
from indexer.filters import any_of, in_photo, rows_matching

FACES = pa.table(
    {
        "face_id": ["f0", "f1", "f2", "f3"],
        "uri": ["/a/1.jpg", "/a/2.jpg", "/b/it's.jpg", "/b/4.jpg"],
        "also_at": [[], ["/c/2.jpg"], [], ["/c/4.jpg", "/d/4.jpg"]],
        "photo_id": ["p0", "p1", "p2", "p3"],
        "person": ["Ann", None, "Bob", "Ann"],
        "taken": [date(1990, 1, 1), date(2020, 5, 5), None, date(2021, 1, 1)],
        "sharpness": pa.array([0.1, 0.5, 0.9, 0.3], pa.float32()),
    }
)


@pytest.mark.parametrize(
    ("where", "matching_rows"),
    [
        ("person = 'Ann'", [0, 3]),
        ("person <> 'Ann'", [2]),  # not the null
        ("person IS NULL", [1]),
        ("taken >= DATE '2020-01-01'", [1, 3]),
        ("year(taken) = 1990 OR sharpness > 0.8", [0, 2]),
        ("starts_with(uri, '/b/')", [2, 3]),
        ("uri LIKE '%.jpg' AND NOT person IN ('Bob')", [0, 3]),
        ("len(also_at) > 0", [1, 3]),
        ("false", []),
        ("true", [0, 1, 2, 3]),
        (any_of("face_id", ["f1", "f3", "other"]), [1, 3]),
        (any_of("person", ["it's", "Bob"]), [2]),
        (in_photo(["/b/it's.jpg"]), [2]),
        (in_photo(["/d/4.jpg", "p0"]), [0, 3]),
    ],
)
def test_a_filter_selects_the_rows_that_match(where: str, matching_rows: list[int]) -> None:
    assert np.flatnonzero(rows_matching(FACES, where)).tolist() == matching_rows


@pytest.mark.parametrize(
    "where",
    [
        "persn = 'Ann'",
        "person = ",
        "",
        "person",
        "1; DROP TABLE faces",
        "person = Ann",
    ],
)
def test_an_invalid_filter_is_refused_with_the_columns_that_exist(where: str) -> None:
    with pytest.raises(WrongUsageError, match=r"(?s)cannot be applied.*person, taken, sharpness"):
        rows_matching(FACES, where)


def test_a_filter_reaches_nothing_but_the_faces(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("word\nsecret\n")
    secret = pa.table({"word": ["secret"]})
    for source in (f"read_csv('{tmp_path}/secret.csv')", f"'{tmp_path}/secret.csv'", "secret"):
        with pytest.raises(WrongUsageError, match="cannot be applied"):
            rows_matching(FACES, f"(SELECT count(*) FROM {source}) > 0")
    for where in ("1=1) TO '/tmp/x' --", "getenv('HOME') IS NOT NULL"):
        with pytest.raises(WrongUsageError, match="cannot be applied"):
            rows_matching(FACES, where)
    assert len(secret) == 1


def test_a_filter_of_no_faces_selects_none() -> None:
    assert rows_matching(FACES.slice(0, 0), "person = 'Ann'").tolist() == []
