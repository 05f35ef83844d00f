from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from faces.core.errors import WrongUsageError
from faces.models.face import Box
from faces.photos.decoding import decode_photo
from search import contact_sheet
from search.contact_sheet import GAP, TILE, write_contact_sheet
from search.results import Match, Probe
from search.sheet_files import require_picture_name
from search.sheet_fonts import SheetFont
from tests.support.costly_files import png_chunk


def solid(folder: Path, name: str, colour: tuple[int, int, int]) -> str:
    PIL.Image.new("RGB", (300, 200), colour).save(folder / name)
    return str(folder / name)


def match(rank: int, uri: str, box: Box = Box(100, 50, 80, 80)) -> Match:
    return Match(rank, 1 / rank, uri, box, f"face {rank}", "photo", 0.9)


def drawn(folder: Path, probes: Sequence[Probe], **options: Any) -> np.ndarray:
    """Draw a sheet that is one picture, and return the picture."""
    (path,) = write_contact_sheet(folder / "drawn.png", BLUE_PHOTO, probes, **options)
    return np.asarray(PIL.Image.open(path))


def probe_of(*matches: Match) -> Probe:
    return Probe(Box(10, 10, 50, 60), 0.9, matches)


BLUE_PHOTO = np.full((200, 300, 3), (0, 0, 200), np.uint8)


def test_the_probe_stands_beside_its_matches(tmp_path: Path) -> None:
    red = match(1, solid(tmp_path, "red.png", (200, 0, 0)))
    green = match(2, solid(tmp_path, "green.png", (0, 200, 0)))
    sheet = drawn(tmp_path, [probe_of(red, green)])
    middle = GAP + TILE // 2
    first = 2 * GAP + TILE + GAP + TILE // 2
    assert tuple(sheet[middle, middle]) == (0, 0, 200)
    assert tuple(sheet[middle, first]) == (200, 0, 0)
    assert tuple(sheet[middle, first + TILE + GAP]) == (0, 200, 0)
    assert (sheet[GAP + TILE + 4 : GAP + TILE + 40, :TILE] < 128).any()  # a caption is written


def test_every_probe_and_every_match_has_a_tile(tmp_path: Path) -> None:
    uri = solid(tmp_path, "red.png", (200, 0, 0))
    probes = [probe_of(*(match(rank, uri) for rank in range(1, 14))), probe_of(match(1, uri))]
    sheet = drawn(tmp_path, probes)
    red = (sheet == (200, 0, 0)).all(axis=2).sum()
    assert red == 14 * TILE * TILE


def test_a_photo_that_is_gone_and_boxes_outside_leave_a_note_not_an_error(tmp_path: Path) -> None:
    uri = solid(tmp_path, "red.png", (200, 0, 0))
    odd = [Box(-50, -50, 100, 100), Box(5000, 5000, 10, 10), Box(0, 0, 0, 0), Box(-9, 0, 9999, 9)]
    matches = [match(rank, uri, box) for rank, box in enumerate(odd, start=2)]
    sheet = drawn(tmp_path, [probe_of(match(1, str(tmp_path / "gone.jpg")), *matches)])
    assert sheet.shape[1] > TILE


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    probes = [probe_of(match(1, solid(tmp_path, "red.png", (200, 0, 0))))]
    for name in ("sheet.jpg", "sheet.PNG", "sheet.webp"):
        write_contact_sheet(tmp_path / name, BLUE_PHOTO, probes)
        assert decode_photo((tmp_path / name).read_bytes()).image.shape[1] > TILE
    for name in ("sheet", "sheet.txt", "sheet.pickle"):
        with pytest.raises(WrongUsageError, match=r"end it in one of \.jpg"):
            write_contact_sheet(tmp_path / name, BLUE_PHOTO, probes)
    with pytest.raises(WrongUsageError, match="make it first"):
        write_contact_sheet(tmp_path / "nowhere" / "sheet.jpg", BLUE_PHOTO, probes)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_only_an_earlier_sheet_is_replaced(tmp_path: Path, suffix: str) -> None:
    probes = [probe_of(match(1, solid(tmp_path, "red.png", (200, 0, 0))))]
    for name in (f"photo{suffix}", f"text{suffix}"):
        path = tmp_path / name
        path.write_text("text")
        if name.startswith("photo"):
            PIL.Image.new("RGB", (9, 9)).save(path)
        before = path.read_bytes()
        with pytest.raises(WrongUsageError, match="is no contact sheet; name another"):
            write_contact_sheet(path, BLUE_PHOTO, probes)
        assert path.read_bytes() == before
    for _ in range(2):
        write_contact_sheet(tmp_path / f"sheet{suffix}", BLUE_PHOTO, probes)


def png(width: int, height: int, exif: bytes = b"") -> bytes:
    """A PNG without pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    middle = png_chunk(b"eXIf", exif) if exif else b""
    end = png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + middle + end


@pytest.mark.parametrize(
    "content",
    [png(60_000, 60_000), png(64, 64, exif=b"x" * 12), png(64, 64, exif=b"II*\0\xff\xff\xff\xff")],
)
def test_an_odd_picture_is_no_sheet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.png").write_bytes(content)
    with pytest.raises(WrongUsageError, match="is no contact sheet; name another"):
        require_picture_name(tmp_path / "odd.png")


def test_files_like_those_of_a_sheet_of_several_count_for_pictures_alone(tmp_path: Path) -> None:
    for suffix in (".png", ".html"):
        (tmp_path / f"sheet-1{suffix}").write_text("mine")
    with pytest.raises(WrongUsageError, match=r"sheet-1\.png exists and is no contact sheet"):
        require_picture_name(tmp_path / "sheet.png")
    require_picture_name(tmp_path / "sheet.html")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(WrongUsageError, match="is no contact sheet"):
        require_picture_name(tmp_path / "pipe.png")


def test_a_long_name_costs_no_time_and_many_copies_are_not_all_tried(tmp_path: Path) -> None:
    long = f"tar://{'x' * 1_000_000}.jpg::/archive.tar"
    copies = tuple(str(tmp_path / f"{number}.jpg") for number in range(100_000))
    matches = [match(1, long), replace(match(2, copies[0]), also_at=copies)]
    started = time.monotonic()
    write_contact_sheet(tmp_path / "sheet.jpg", BLUE_PHOTO, [probe_of(*matches)])
    assert time.monotonic() - started < 5


def test_no_address_of_an_index_is_asked_that_no_list_may_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        for scheme in ("http", "https", "webhdfs", "ftp", "tar://a.jpg::http"):
            probe = probe_of(match(1, f"{scheme}://127.0.0.1:{port}/service"))
            write_contact_sheet(tmp_path / "sheet.jpg", BLUE_PHOTO, [probe])
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_new_sheet_is_for_its_owner_alone(tmp_path: Path) -> None:
    probes = [probe_of(match(1, solid(tmp_path, "red.png", (200, 0, 0))))]
    write_contact_sheet(tmp_path / "sheet.jpg", BLUE_PHOTO, probes)
    assert (tmp_path / "sheet.jpg").stat().st_mode & 0o777 == 0o600


def test_a_sheet_of_a_crowd_has_columns_and_then_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = solid(tmp_path, "red.png", (200, 0, 0))
    one = probe_of(match(1, uri))
    monkeypatch.setattr(contact_sheet, "MAX_SIDE", 1000)
    sheet = drawn(tmp_path, [one] * 6)
    assert sheet.shape[:2] < (1000, 1000)
    assert (sheet == (200, 0, 0)).all(axis=2).sum() == 6 * TILE * TILE
    paths = write_contact_sheet(tmp_path / "many.png", BLUE_PHOTO, [one] * 8)
    assert [path.name for path in paths] == ["many-1.png", "many-2.png"]
    pictures = [np.asarray(PIL.Image.open(path)) for path in paths]
    assert all(max(picture.shape) <= 1000 for picture in pictures)
    tiles = [(picture == (200, 0, 0)).all(axis=2).sum() for picture in pictures]
    assert tiles == [6 * TILE * TILE, 2 * TILE * TILE]
    # A band that is higher than a picture goes on in the next one.
    monkeypatch.setattr(contact_sheet, "MATCHES_PER_ROW", 1)
    long = drawn(tmp_path, [probe_of(*(match(rank, uri) for rank in range(1, 6)))])
    assert (long == (200, 0, 0)).all(axis=2).sum() == 5 * TILE * TILE


def test_further_files_of_a_sheet_replace_no_photo(tmp_path: Path) -> None:
    probes = [probe_of(match(1, solid(tmp_path, "red.png", (200, 0, 0))))]
    solid(tmp_path, "sheet-2.png", (1, 2, 3))
    with pytest.raises(WrongUsageError, match=r"sheet-2\.png exists and is no contact sheet"):
        write_contact_sheet(tmp_path / "sheet.png", BLUE_PHOTO, probes)


LABELLED = {"taken": datetime(1996, 3, 19, 14, 5), "album": "Zürich <b>", "day": date(2020, 1, 2)}


def test_a_web_page_has_everything_in_itself(tmp_path: Path) -> None:
    (tmp_path / "Größe").mkdir()
    uri = solid(tmp_path / "Größe", "写真 & <i>.png", (200, 0, 0))
    found = replace(match(1, uri), metadata=LABELLED, person="Ann")
    (path,) = write_contact_sheet(tmp_path / "sheet.html", BLUE_PHOTO, [probe_of(found)])
    text = path.read_text(encoding="utf-8")
    for shown in ("写真 &amp; &lt;i&gt;.png", f"{tmp_path}/Größe", "Zürich &lt;b&gt;"):
        assert f"<span>{shown}</span>" in text
    assert "<span>1996-03-19 14:05</span>" in text and "<span>Ann</span>" in text
    assert "2020-01-02" not in text
    assert not re.search(r"<(script|link|iframe)|(src|href)=\"(?!data:)", text)
    assert "default-src 'none'" in text and text.count("data:image/jpeg") == 2
    write_contact_sheet(path, BLUE_PHOTO, [probe_of(found)], columns=["DAY"])
    assert "<span>2020-01-02</span>" in path.read_text(encoding="utf-8")
    with pytest.raises(WrongUsageError, match="no column 'camera'; the photos have person, taken"):
        write_contact_sheet(path, BLUE_PHOTO, [probe_of(found)], columns=["camera"])
    path.write_text("<html>my own page</html>")
    with pytest.raises(WrongUsageError, match="is no contact sheet"):
        write_contact_sheet(path, BLUE_PHOTO, [probe_of(found)])


def test_columns_of_no_matches_are_no_error(tmp_path: Path) -> None:
    (path,) = write_contact_sheet(
        tmp_path / "sheet.png", BLUE_PHOTO, [probe_of()], columns=["album"]
    )
    assert path.is_file()


def test_names_that_are_no_unicode_are_escaped_in_a_web_page(tmp_path: Path) -> None:
    probe = probe_of(match(1, "file:///photos%FE/a%FF.jpg"))
    (path,) = write_contact_sheet(tmp_path / "sheet.html", BLUE_PHOTO, [probe])
    text = path.read_text(encoding="utf-8")
    assert "<span>a\\xff.jpg</span>" in text and "<span>/photos\\xfe</span>" in text


def test_folder_and_columns_stand_below_a_match(tmp_path: Path) -> None:
    found = match(1, solid(tmp_path, "red.png", (200, 0, 0)))
    bare, labelled = (
        drawn(tmp_path, [probe_of(one)]) for one in (found, replace(found, metadata=LABELLED))
    )
    assert labelled.shape[0] > bare.shape[0]
    assert (labelled[bare.shape[0] - GAP :, 2 * GAP + TILE + GAP :] < 128).any()


@pytest.mark.parametrize("text", ["Zürich", "Łódź", "Ελλάδα", "Москва", "Tiếng Việt"])
def test_letters_of_other_languages_are_no_boxes(text: str) -> None:
    font = SheetFont(15)
    missing = bytes(font._first.getmask("\U0010ffff"))
    for letter in text:
        assert [run for _, run in font._runs(letter)] == [letter]
        assert letter == " " or bytes(font._first.getmask(letter)) != missing


def test_a_character_that_no_font_has_is_a_question_mark() -> None:
    font = SheetFont(15)
    assert [run for _, run in font._runs("a\U0010fffeb")] == ["a?b"]
    short = font.shortened("/a/very/long/" * 1000 + "ä.jpg", TILE)
    assert font.length(short) <= TILE and "…" in short and short.endswith(".jpg")
