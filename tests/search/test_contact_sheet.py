from __future__ import annotations

import os
import socket
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from faces.core.errors import WrongUsageError
from faces.models.face import Box
from faces.photos.decoding import decode_photo
from search.contact_sheet import GAP, TILE, draw_contact_sheet, write_contact_sheet
from search.results import Match, Probe
from search.sheet_files import require_picture_name


def solid(folder: Path, name: str, colour: tuple[int, int, int]) -> str:
    PIL.Image.new("RGB", (300, 200), colour).save(folder / name)
    return str(folder / name)


def match(rank: int, uri: str, box: Box = Box(100, 50, 80, 80)) -> Match:
    return Match(rank, 1 / rank, uri, box, f"face {rank}", "photo", 0.9)


def probe_of(*matches: Match) -> Probe:
    return Probe(Box(10, 10, 50, 60), 0.9, matches)


BLUE_PHOTO = np.full((200, 300, 3), (0, 0, 200), np.uint8)


def test_the_probe_stands_beside_its_matches(tmp_path: Path) -> None:
    red = match(1, solid(tmp_path, "red.png", (200, 0, 0)))
    green = match(2, solid(tmp_path, "green.png", (0, 200, 0)))
    sheet = np.asarray(draw_contact_sheet(BLUE_PHOTO, [probe_of(red, green)]))
    middle = GAP + TILE // 2
    first = 2 * GAP + TILE + GAP + TILE // 2
    assert tuple(sheet[middle, middle]) == (0, 0, 200)
    assert tuple(sheet[middle, first]) == (200, 0, 0)
    assert tuple(sheet[middle, first + TILE + GAP]) == (0, 200, 0)
    assert (sheet[GAP + TILE + 4 : GAP + TILE + 40, :TILE] < 128).any()  # a caption is written


def test_every_probe_and_every_match_has_a_tile(tmp_path: Path) -> None:
    uri = solid(tmp_path, "red.png", (200, 0, 0))
    probes = [probe_of(*(match(rank, uri) for rank in range(1, 14))), probe_of(match(1, uri))]
    sheet = np.asarray(draw_contact_sheet(BLUE_PHOTO, probes))
    red = (sheet == (200, 0, 0)).all(axis=2).sum()
    assert red == 14 * TILE * TILE


def test_a_photo_that_is_gone_and_boxes_outside_leave_a_note_not_an_error(tmp_path: Path) -> None:
    uri = solid(tmp_path, "red.png", (200, 0, 0))
    odd = [Box(-50, -50, 100, 100), Box(5000, 5000, 10, 10), Box(0, 0, 0, 0), Box(-9, 0, 9999, 9)]
    matches = [match(rank, uri, box) for rank, box in enumerate(odd, start=2)]
    sheet = draw_contact_sheet(
        BLUE_PHOTO, [probe_of(match(1, str(tmp_path / "gone.jpg")), *matches)]
    )
    assert sheet.width > TILE


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

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    middle = chunk(b"eXIf", exif) if exif else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + middle
        + chunk(b"IDAT", b"")
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content",
    [png(60_000, 60_000), png(64, 64, exif=b"x" * 12), png(64, 64, exif=b"II*\0\xff\xff\xff\xff")],
)
def test_an_odd_picture_is_no_sheet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.png").write_bytes(content)
    with pytest.raises(WrongUsageError, match="is no contact sheet; name another"):
        require_picture_name(tmp_path / "odd.png")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(WrongUsageError, match="is no contact sheet"):
        require_picture_name(tmp_path / "pipe.png")


def test_a_long_name_costs_no_time_and_many_copies_are_not_all_tried(tmp_path: Path) -> None:
    long = f"tar://{'x' * 1_000_000}.jpg::/archive.tar"
    copies = tuple(str(tmp_path / f"{number}.jpg") for number in range(100_000))
    matches = [match(1, long), replace(match(2, copies[0]), also_at=copies)]
    started = time.monotonic()
    draw_contact_sheet(BLUE_PHOTO, [probe_of(*matches)])
    assert time.monotonic() - started < 5


def test_no_address_of_an_index_is_asked_that_no_list_may_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        for scheme in ("http", "https", "webhdfs", "ftp", "tar://a.jpg::http"):
            draw_contact_sheet(
                BLUE_PHOTO, [probe_of(match(1, f"{scheme}://127.0.0.1:{port}/service"))]
            )
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_new_sheet_is_for_its_owner_alone(tmp_path: Path) -> None:
    probes = [probe_of(match(1, solid(tmp_path, "red.png", (200, 0, 0))))]
    write_contact_sheet(tmp_path / "sheet.jpg", BLUE_PHOTO, probes)
    assert (tmp_path / "sheet.jpg").stat().st_mode & 0o777 == 0o600
