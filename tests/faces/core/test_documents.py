"""JSON is read by typed models, and what is written is always JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from faces.core.documents import Count, document_of, json_text, parse
from faces.core.errors import CorruptFileError
from faces.core.storage import Folder


@dataclass(frozen=True)
class Inner:
    share: Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True)
class Document:
    count: Count
    inner: tuple[Inner, ...] = ()
    names: dict[str, Inner] = field(default_factory=dict)


def test_a_document_is_a_value_of_its_model() -> None:
    content = '{"count": 3, "inner": [{"share": 1}], "names": {"a": {"share": 0.5}}}'
    assert parse(content, Document) == Document(3, (Inner(1.0),), {"a": Inner(0.5)})
    assert parse(b'{"count": 0}', Document) == Document(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"count": "3"}', r"Expected `int`, got `str` - at `\$.count`"),
        ('{"count": true}', "got `bool`"),
        ('{"count": -1}', ">= 0"),
        (f'{{"count": {10**30}}}', "<= 1000000000000000"),
        ('{"count": 1, "inner": [{"share": 1.5}]}', r"<= 1.0 - at `\$.inner\[0\].share`"),
        ('{"count": 1, "inner": [{"share": NaN}]}', "malformed"),
        ('{"count": 1, "inner": [{"share": 1e999}]}', "out of range"),
        (
            '{"count": 1, "inner": [{"share": 1, "more": 2}]}',
            r"no field 'more' - at `\$.inner\[0\]`",
        ),
        ('{"count": 1, "names": {"a": {"share": 1, "more": 2}}}', "no field 'more'"),
        ("{}", "missing required field `count`"),
        ("[" * 100_000, "Expected `object`"),
        (b'{"count": 1, "names": {"\xff": {"share": 1}}}', "."),
        ("", "truncated"),
    ],
)
def test_anything_else_is_refused_with_its_place(content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(content, Document)
    assert len(str(caught.value).splitlines()) == 1


def test_a_corrupt_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"count": null}')
    with pytest.raises(CorruptFileError, match=r"file cannot be read .*count.*; build it anew"):
        folder = Folder(tmp_path, remedy="build it anew")
        document_of(folder, "file", folder.read("file"), Document)


def test_numbers_that_are_not_finite_are_written_as_null() -> None:
    document: dict[str, Any] = {
        "a": math.nan,
        "b": [math.inf, 1.5, (-math.inf,)],
        "c": {"d": math.nan},
        "text": "NaN \udcff",
    }
    assert json.loads(json_text(document)) == {
        "a": None,
        "b": [None, 1.5, [None]],
        "c": {"d": None},
        "text": "NaN \udcff",
    }
    assert "NaN \\udcff" in json_text(document)
