"""Filters: what they select, what they refuse, and what they can cost."""

from __future__ import annotations

import threading
import time
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.core.errors import WrongUsageError
from indexer import filter_words, filters
from indexer.filter_rendering import MAX_DEPTH, MAX_STEPS, MAX_TEXTS
from indexer.filter_text import MAX_CHARACTERS
from indexer.filters import FilterTable, rows_matching
from indexer.selection import Selection

FACES = pa.table(
    {
        "face_id": ["f0", "f1", "f2", "f3"],
        "uri": ["/a/1.jpg", "/a/2.jpg", "/b/it's.jpg", "/b/4.jpg"],
        "also_at": [[], ["/c/2.jpg"], [], ["/c/4.jpg", "/d/4.jpg"]],
        "photo_id": ["p0", "p1", "p2", "p3"],
        "person": ["Ann", None, "Bob", "Ann"],
        "taken": [date(1990, 1, 1), date(2020, 5, 5), None, date(2021, 1, 1)],
        "sharpness": pa.array([0.1, 0.5, 0.9, 0.3], pa.float32()),
        "box": pa.array([[1, 2, 30, 40], [1, 2, 300, 400], [1, 2, 30, 40], [1, 2, 30, 4]]),
        "box number": [1, 2, 3, None],
    }
)


def matching(where: str, faces: pa.Table = FACES, deleted: list[int] | None = None) -> list[int]:
    """Return the rows of one table that match a filter."""
    gone = None if deleted is None else np.isin(np.arange(len(faces)), deleted)
    (mask,) = rows_matching([FilterTable(faces, gone)], where)
    return np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("person = 'Ann'", [0, 3]),
        ("person <> 'Ann'", [2]),  # not the null
        ("person IS NULL", [1]),
        ("person IS DISTINCT FROM 'Ann'", [1, 2]),
        ("coalesce(person, 'nobody') NOT IN ('Ann', 'Bob')", [1]),
        ("taken >= DATE '2020-01-01'", [1, 3]),
        ("taken BETWEEN DATE '1985-01-01' AND DATE '1999-12-31'", [0]),
        ("taken + INTERVAL 1 YEAR > DATE '2021-01-01'", [1, 3]),
        ("taken < current_date", [0, 1, 3]),
        ("year(taken) = 1990 OR sharpness > 0.8", [0, 2]),
        ("extract(month FROM taken) = 5", [1]),
        ("strftime(taken, '%d.%m.') = '05.05.'", [1]),
        ("starts_with(uri, '/b/')", [2, 3]),
        ("uri LIKE '%.jpg' AND NOT person IN ('Bob')", [0, 3]),
        ("uri ILIKE '/A/%'", [0, 1]),
        ("uri NOT LIKE '/a/_.jpg'", [2, 3]),
        ("uri LIKE '/a/!1.jpg' ESCAPE '!'", [0]),
        ("uri SIMILAR TO '/[ac]/.*'", [0, 1]),
        ("regexp_matches(uri, '[12]')", [0, 1]),
        ("lower(person) = 'ann' AND length(uri) = 8", [0, 3]),
        ("person || ' Lee' = 'Ann Lee'", [0, 3]),
        ("len(also_at) > 0", [1, 3]),
        ("list_contains(also_at, '/d/4.jpg') OR '/c/2.jpg' IN also_at", [1, 3]),
        ("box[3] * box[4] >= 100 * 100", [1]),
        ("CASE WHEN person IS NULL THEN sharpness > 0.4 ELSE person = 'Bob' END", [1, 2]),
        ('"box number" = 2', [1]),
        ("PERSON = 'Ann'", [0, 3]),  # names in any case, as in SQL
        ("TRY_CAST(person AS INTEGER) IS NULL", [0, 1, 2, 3]),
        ("sharpness::DECIMAL(4, 2) = 0.5", [1]),
        ("uri = '/b/it''s.jpg'", [2]),
        ("NULL::BOOLEAN", []),
        ("false", []),
        ("true", [0, 1, 2, 3]),
    ],
)
def test_a_filter_selects_the_rows_that_match(where: str, rows: list[int]) -> None:
    assert matching(where) == rows


@pytest.mark.parametrize(
    "where",
    ["persn = 'Ann'", "person = ", "", "  ", "person", "1; DROP TABLE faces", "person = Ann", "\0"],
)
def test_an_invalid_filter_is_refused_with_the_columns_that_exist(where: str) -> None:
    with pytest.raises(WrongUsageError, match=r"(?s)cannot be applied.*person, taken, sharpness"):
        matching(where)


@pytest.mark.parametrize(
    ("where", "character", "says"),
    [
        # Beyond the condition.
        ("false) OR (true", 6, "syntax error"),
        ("true ORDER BY 1", None, "more than one condition"),
        ("true UNION SELECT 1", None, "more than one condition"),
        ("true GROUP BY ALL", None, "more than one condition"),
        ("true QUALIFY true", None, "more than one condition"),
        ("true; SELECT 1", 5, "semicolon"),
        ("true -- OR false", 6, "comment"),
        ("true /* or */ AND false", 6, "comment"),
        # Queries.
        ("exists(SELECT 1)", 1, "a query"),
        ("'ü' = uri OR (SELECT true)", 14, "a query"),
        ("'x' = ANY(also_at)", 1, "a query"),
        ("1 IN (FROM range(9))", 6, "a query"),
        ("exists(WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL FROM t) SELECT i FROM t)", 1, "query"),
        ("(SELECT count(*) FROM read_csv('/etc/passwd')) > 0", 1, "a query"),
        # What is no function of one face's values.
        ("count(*) > 1", 1, "'count_star' is none that a filter may use"),
        ("sum(sharpness) OVER () > 1", 1, "window function"),
        ("row_number() OVER () = 1", 1, "window function"),
        ("list_filter(also_at, x -> true) = []", 1, "'list_filter'"),
        ("[x FOR x IN also_at] = []", 1, "'list_apply'"),
        ("list_contains(also_at, lambda x: x)", 24, "lambda"),
        ("COLUMNS(*) = 1", 9, "COLUMNS"),
        ("person = ?", 10, "parameter"),
        ("#1 = 'f0'", 1, "named, not numbered"),
        ("faces.person = 'Ann'", 1, "no column"),
        ("person.list_contains('x')", 1, "schema is no part"),
        ("main.lower(person) = 'x'", 1, "schema is no part"),
        ("lower(DISTINCT person) = 'ann'", 1, "distinct is no part"),
        ("lower(string := person) = 'ann'", 1, "has a name"),
        ("{'a': 1} = {'a': 1}", 1, "'struct_pack'"),
        ("row(1) = row(1)", 1, "'row'"),
        ("person COLLATE nocase = 'ann'", 1, "COLLATE"),
        ("person::BLOB IS NULL", 7, "'BLOB' is no type"),
        ("x'ff' = person", 1, "no text, number"),
        # Other functions.
        ("sleep_ms(100000) IS NULL", 1, "'sleep_ms'"),
        ("error(uri)", 1, "'error'"),
        ("getenv('HOME') = ''", 1, "'getenv'"),
        ("current_setting('threads') = ''", 1, "'current_setting'"),
        ("length(repeat('x', 1000000000)) > 1", 8, "'repeat'"),
        ("replace(uri, '/', '///') = ''", 1, "'replace'"),
        ("range(9) = []", 1, "'range'"),
        ("random() > 0.5", 1, "'random'"),
        # What has a price.
        ("person LIKE uri", 8, "pattern must be written"),
        ("regexp_matches(person, uri)", 1, "pattern must be written"),
        (f"regexp_matches(uri, '{'a' * 201}')", 1, "more than 200 characters"),
        ("NOT " * (MAX_DEPTH + 1) + "true", None, f"nested more than {MAX_DEPTH} deep"),
        ("NOT " * 600 + "true", None, f"nested more than {MAX_DEPTH} deep"),
        (" OR ".join(["person IS NULL"] * MAX_STEPS), None, f"more than {MAX_STEPS:,} operators"),
        ("||".join(["uri"] * (MAX_TEXTS + 2)) + " = ''", 1, f"more than {MAX_TEXTS} new texts"),
        (f"[{', '.join(['uri'] * (MAX_TEXTS + 1))}] = []", 1, f"more than {MAX_TEXTS} new texts"),
        ("'" + "x" * MAX_CHARACTERS + "' = uri", None, "has 100,008 characters"),
        # What DuckDB says of types.
        ("'ü' < 'x' AND year(person) = 1", 15, "'year\\(VARCHAR\\)'"),
        ("uri > 5", 1, "explicit cast"),
        ("sharpness", None, "type FLOAT, which is neither true nor false"),
    ],
)
def test_what_is_no_condition_on_one_face_is_refused_with_its_place(
    where: str, character: int | None, says: str
) -> None:
    with pytest.raises(WrongUsageError, match=says) as caught:
        matching(where)
    assert character is None or f"at character {character}, " in str(caught.value)
    assert len(str(caught.value)) < 800


def test_a_filter_reaches_no_file_and_no_variable(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("word\nsecret\n")
    secret = pa.table({"word": ["secret"]})
    for source in (f"read_csv('{tmp_path}/secret.csv')", f"'{tmp_path}/secret.csv'", "secret"):
        with pytest.raises(WrongUsageError, match="cannot be applied"):
            matching(f"(SELECT count(*) FROM {source}) > 0")
    with pytest.raises(WrongUsageError, match="cannot be applied"):
        matching("1=1) TO '/tmp/x' --")
    assert len(secret) == 1


def test_a_filter_of_no_faces_selects_none() -> None:
    assert matching("person = 'Ann'", FACES.slice(0, 0)) == []


def test_a_filter_does_not_see_deleted_rows() -> None:
    numbers = "CAST(regexp_extract(uri, '[0-9]') AS INTEGER) > 1"
    with pytest.raises(WrongUsageError, match="at character 1, a value cannot be converted"):
        matching(numbers)
    assert matching(numbers, deleted=[2]) == [1, 3]
    assert matching("true", deleted=[0, 3]) == [1, 2]
    assert matching("true", deleted=[0, 1, 2, 3]) == []


@pytest.mark.parametrize(
    ("where", "character"),
    [
        ("CAST(uri AS INTEGER) > 0", 1),
        ("length(person) > 9 OR uri::DATE = taken", 26),
        ("CASE WHEN uri LIKE '%it%' THEN CAST(uri AS INTEGER) > 0 ELSE true END", 32),
        ("to_days(CAST(1e9 * len(also_at) AS INTEGER)) + taken > taken", None),
    ],
)
def test_an_error_in_computing_shows_no_value_of_a_face(where: str, character: int | None) -> None:
    with pytest.raises(WrongUsageError) as caught:
        matching(where)
    message = str(caught.value).replace(repr(where), "")
    assert not any(f"{word}" in message for word in ("jpg", "/a/", "/b/", "Ann", "2000000000"))
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert character is None or f"at character {character}, " in message


def test_a_column_may_have_any_name() -> None:
    names = ["n", "c0", "c1", "faces", "facetrove_row", 'a "quoted" name', "Score", "score", "true"]
    faces = pa.table({name: [number == k for k in range(9)] for number, name in enumerate(names)})
    for number, name in enumerate(names):
        quoted = '"' + name.replace('"', '""') + '"'
        assert matching(quoted, faces) == [number]
        assert matching(f"NOT {quoted} AND n", faces) == ([0] if number else [])
    with pytest.raises(WrongUsageError, match="'SCORE' may be Score or score"):
        matching("SCORE", faces)


def test_all_functions_of_the_vocabulary_exist() -> None:
    query = "SELECT function_name FROM duckdb_functions() WHERE function_type <> 'aggregate'"
    known = [name for (name,) in DUCKDB.execute(query).fetchall()]
    # These are made by the parser.
    known += ["coalesce", "if", "nullif", "position", "ifnull"]
    assert set(known) >= filter_words.ALL_FUNCTIONS


NUMBERS = st.one_of(
    st.sampled_from(["sharpness", "length(uri)", "box[3]", "year(taken)", "NULL::INTEGER"]),
    st.integers(-3, 400).map(str),
    st.sampled_from(["0.5", "1e2", ".25", "1_000"]),
)
TEXTS = st.one_of(
    st.sampled_from(["uri", "person", "lower(person)", "photo_id", "also_at[1]", "left(uri, 3)"]),
    st.text("aAnb'/%_. ü", max_size=4).map(lambda text: "'" + text.replace("'", "''") + "'"),
)
CONDITIONS = st.one_of(
    st.tuples(NUMBERS, st.sampled_from(["=", "<>", "<", ">=", "!=", "=="]), NUMBERS).map(" ".join),
    st.tuples(TEXTS, st.sampled_from(["=", "<", ">="]), TEXTS).map(" ".join),
    st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda n: f"{n[0]} BETWEEN {n[1]} AND {n[2]}"),
    st.tuples(TEXTS, TEXTS, TEXTS).map(lambda t: f"{t[0]} NOT IN ({t[1]}, {t[2]})"),
    st.tuples(TEXTS, st.text("an%_/.", max_size=4)).map(lambda t: f"{t[0]} LIKE '{t[1]}'"),
    TEXTS.map(lambda text: f"{text} IS NOT NULL"),
    TEXTS.map(lambda text: f"list_contains(also_at, {text})"),
    st.sampled_from(["true", "false", "taken > DATE '2000-01-01'"]),
)
"""Conditions without parentheses around them, so that it shows how operators bind."""

FORMS = ["{} AND {}", "{} OR {}", "NOT {} AND {}", "({}) = ({})", "CASE WHEN {} THEN {} END"]


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(FORMS), inner, inner).map(lambda t: t[0].format(t[1], t[2]))


@settings(deadline=None)
@given(where=st.recursive(CONDITIONS, _grown, max_leaves=6))
def test_a_filter_gives_what_duckdb_gives(where: str) -> None:
    try:
        expected = _by_duckdb(where)
    except duckdb.Error:
        with pytest.raises(WrongUsageError):
            matching(where)
    else:
        assert matching(where) == expected


DUCKDB = duckdb.connect()


def _by_duckdb(where: str) -> list[int]:
    numbered = FACES.append_column("row", pa.array(range(len(FACES))))
    relation = DUCKDB.from_arrow(numbered).filter(where).select("row")
    return sorted(relation.fetchnumpy()["row"].tolist())


HOSTILE = (
    *("(", ")", ";", "--", "/*", "*/", "'", '"', "$$", "SELECT", "FROM", "range(9)", "EXISTS"),
    *("UNION", "->", "lambda x:", "OVER ()", "COLUMNS(*)", "*", "?", "#1", "$1", ":=", ".", "::"),
    *("[", "]", "{", "}", "error(uri)", "uri", "true", "1", "AND", "OR", "NOT", ",", "PRAGMA"),
    *("WHERE", "LIMIT 1", "ORDER BY", "unnest(also_at)", "IN", "CAST(", "AS", "INTEGER", "\n", "é"),
)


@settings(deadline=None)
@given(where=st.lists(st.sampled_from(HOSTILE), max_size=8).map(" ".join))
def test_a_text_of_any_words_is_a_condition_or_refused(where: str) -> None:
    try:
        rows = matching(where)
    except WrongUsageError as error:
        assert "cannot be applied" in str(error)
        return
    # What passed as a condition is one for DuckDB, too, inside parentheses.
    assert rows == _by_duckdb(f"({where}) AND ({where})")


def slow_table(count: int) -> tuple[pa.Table, str]:
    """Return a table, and a filter that takes a minute over it."""
    text = "ab/.x1" * 25
    pattern = r"(\pL?){100}Q"
    return pa.table({"uri": [text[k % 100 :] + text for k in range(count)]}), (
        f"regexp_matches(uri, '{pattern}')"
    )


def test_a_filter_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_SECONDS", 0.3)
    faces, where = slow_table(20_000)
    started = time.monotonic()
    with pytest.raises(WrongUsageError, match="it takes longer than 0 s; simplify it"):
        matching(where, faces)
    assert time.monotonic() - started < 0.3 + filters.STOP_SECONDS + 1
    assert matching("person = 'Ann'") == [0, 3]  # the next one is not disturbed


def test_the_memory_of_a_filter_is_bounded() -> None:
    with filters._connection() as connection:
        (limit,) = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0]
        assert limit == "488.2 MiB"
        with pytest.raises(duckdb.Error, match=r"(?i)memory"):
            connection.execute("SELECT list(r) FROM range(300_000_000) t(r)").fetchall()


def test_filters_in_several_threads_do_not_meet() -> None:
    found: list[list[int]] = []
    wanted = [("person = 'Ann'", [0, 3]), ("person = 'Bob'", [2])] * 10
    threads = [
        threading.Thread(target=lambda where=where: found.append(matching(where)))
        for where, _ in wanted
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(rows for _, rows in wanted)


@pytest.mark.parametrize(
    ("faces", "photos", "where", "rows"),
    [
        (["f1", "f3", "other"], [], None, [1, 3]),
        ("f1", [], "person = 'Bob'", [1, 2]),
        ([], ["/b/it's.jpg"], None, [2]),
        ([], ["/d/4.jpg", "p0"], None, [0, 3]),
        (["f0"], ["p1"], None, [0, 1]),
        (["it's"], [], "false", []),
    ],
)
def test_faces_are_selected_by_name_or_by_a_filter(
    faces: list[str], photos: list[str], where: str | None, rows: list[int]
) -> None:
    tables = [FilterTable(FACES), FilterTable(FACES, np.array([True, False, True, True]))]
    whole, partly = Selection.of(faces, photos, where).masks(tables)
    assert np.flatnonzero(whole).tolist() == rows
    assert np.flatnonzero(partly).tolist() == [row for row in rows if row == 1]


PLACES = pa.table(
    {
        "person": ["Ann", "Ann", None, "Bea", "Cy"],
        "album": ["Rome", "Rome", "Oslo", None, "Bonn"],
        "facetrove_places_person": [None, ["Ann", "Bea"], None, None, ["Cy", "Bea", "Cy"]],
        "facetrove_places_album": pa.array(
            [["Rome", "Oslo"], None, None, None, ["Bonn", "Rome", "Bonn"]], pa.list_(pa.string())
        ),
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("person = 'Ann'", [0, 1]),
        ("person = 'Bea'", [1, 3, 4]),
        ("person <> 'Bea'", [0]),
        ("NOT person = 'Bea'", [0]),
        ("NOT (person <> 'Bea')", [1, 3, 4]),
        ("person IN ('Bea')", [1, 3, 4]),
        ("person NOT IN ('Ann', 'Cy')", [3]),
        ("person LIKE 'B%'", [1, 3, 4]),
        ("person NOT LIKE 'B%'", [0]),
        ("NOT starts_with(person, 'C')", [0, 1, 3]),
        ("person IS NULL", [2]),
        ("person IS NOT NULL", [0, 1, 3, 4]),
        ("person IS DISTINCT FROM 'Bea'", [0, 2]),
        ("person = 'Bea' AND album = 'Rome'", [1, 4]),
        ("person = 'Bea' OR album = 'Oslo'", [0, 1, 2, 3, 4]),
        ("NOT (person = 'Bea' OR album = 'Oslo')", []),
        ("album <> 'Rome'", [2]),
        ("lower(person) || lower(album) = 'bearome'", [1, 4]),
        ("person = 'Bé'", []),
        ("person <> 'Bé'", [0, 1, 3, 4]),
    ],
)
def test_a_photo_at_several_places_has_the_labels_of_all(where: str, rows: list[int]) -> None:
    assert matching(where, PLACES) == rows
    assert matching(where, PLACES, [4]) == [row for row in rows if row != 4]
    assert matching(where, PLACES, [0, 1]) == [row for row in rows if row > 1]


def test_what_helps_with_several_places_is_no_column() -> None:
    with pytest.raises(WrongUsageError, match=r"no column 'facetrove_places_person'.*person, alb"):
        matching("facetrove_places_person IS NULL", PLACES)
