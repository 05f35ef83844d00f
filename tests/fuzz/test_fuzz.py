"""Every parser of what strangers wrote refuses what is wrong, and each harness finds a fault."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faces.core import channel
from faces.photos import access, headers, list_values, lists, tar_photos, zip_photos
from tests.fuzz.engine import FaultFoundError, Fuzzer, kept_inputs
from tests.fuzz.harnesses import HARNESSES

SECONDS = float(os.environ.get("FACETROVE_FUZZ_SECONDS", "120")) / len(HARNESSES)
"""Seconds for each harness: two minutes for all of them."""

CORPUS = Path(__file__).with_name("corpus")


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.parametrize("name", HARNESSES)
def test_a_parser_refuses_or_reads_whatever_it_is_given(name: str) -> None:
    fuzzer = Fuzzer(HARNESSES[name])
    fuzzer.run(SECONDS, kept_inputs(CORPUS / name))
    assert fuzzer.num_runs > len(fuzzer.corpus) > 0


@pytest.mark.parametrize("name", HARNESSES)
def test_kept_inputs_show_no_fault(name: str) -> None:
    Fuzzer(HARNESSES[name]).run(0, kept_inputs(CORPUS / name))


def faulty(original: Callable[..., Any], is_hit: Callable[..., bool]) -> Callable[..., Any]:
    """Return a function that fails where a condition on its arguments and result holds."""

    def function(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if is_hit(result, *arguments):
            raise IndexError("the planted fault")
        return result

    return function


def segment_of_scan(_: object, content: bytes) -> bool:
    return content.startswith(b"\xff\xd8") and b"\xff\xe2\0\x08MPF\0" in content


PLANTED: dict[str, tuple[object, str, Callable[..., bool]]] = {
    "headers": (headers, "require_bounded_header", segment_of_scan),
    "orientation": (headers, "exif_orientation", lambda result, _: result not in (None, 6)),
    "tar": (
        tar_photos.TarPhotos,
        "members",
        lambda _, archive: any(letter >= "\udc80" for name in archive._extents for letter in name),
    ),
    "zip": (
        zip_photos.ZipPhotos,
        "members",
        lambda _, archive: any(info.file_size > 1_000 for info in archive._members.values()),
    ),
    "csv": (list_values, "_all_match", lambda result, _, pattern: result and "true" in pattern),
    "text": (lists, "is_file_uri", lambda result, name: result and "::" in name),
    "parquet": (lists, "_require_entries", lambda _, count, *__: count != 2),
    "address": (access, "is_public", lambda result, host: result),
    "message": (channel.Channel, "_receive_bytes", lambda result, *_: len(result) > 200),
}
"""For each harness a function, and a condition on its result and arguments: where it holds, the
function is made to fail."""


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("name", HARNESSES)
def test_each_harness_finds_a_planted_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, function, is_hit = PLANTED[name]
    monkeypatch.setattr(owner, function, faulty(getattr(owner, function), is_hit))
    with pytest.raises(FaultFoundError, match="planted fault"):
        Fuzzer(HARNESSES[name]).run(60)


def test_an_endless_parser_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.engine.MAX_SECONDS", 0.0)
    with pytest.raises(FaultFoundError, match="takes over"):
        Fuzzer(HARNESSES["headers"]).run(1)
