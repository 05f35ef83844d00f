"""The card of a trained network, written as TOML and read back."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from faces.core.errors import WrongUsageError
from faces.dataset.deletions import face_digest
from facetrove.training.card import (
    card_path,
    read_card,
    toml_text,
    write_card,
)
from tests.support.training import CARD


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_card(tmp_path / "mood.toml", CARD)
    assert read_card(tmp_path / "mood.toml") == CARD


def test_a_card_counts_the_faces_that_were_deleted_and_has_no_face_id(tmp_path: Path) -> None:
    assert CARD.num_digests == 3
    assert CARD.num_deleted(pa.array([face_digest(face) for face in "bcd"])) == 2
    assert CARD.num_deleted(pa.array([], pa.string())) == 0


def test_what_is_no_card_is_refused_in_one_line(tmp_path: Path) -> None:
    model = tmp_path / "mood.toml"
    with pytest.raises(WrongUsageError, match="only networks that `facetrove train` made"):
        read_card(model)
    for content in ("kind = 3", "not toml", "\xff", 'kind = "classifier"'):
        card_path(model).write_bytes(content.encode("latin-1"))
        with pytest.raises(WrongUsageError, match="not a card"):
            read_card(model)
    with pytest.raises(WrongUsageError, match="damaged digests"):
        replace(CARD, face_digests="abc").num_deleted(pa.array([], pa.string()))


def test_toml_is_what_tomllib_reads() -> None:
    values = {"a b": 1, "list": [1, 2], "none": {}, "t": {"x": {"y": True}}, "rows": [{"k": "v"}]}
    assert tomllib.loads(toml_text(values)) == values
