"""When a photo was taken, as its EXIF says it."""

from __future__ import annotations

import io
import time
from datetime import datetime
from functools import cache

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pillow_heif import register_heif_opener

from faces.photos.taken import exif_taken

register_heif_opener()

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"]


@cache
def photo(image_format: str, text: str | None, *, order: str = "II", tag: int = 0x9003) -> bytes:
    """Return a small photo whose EXIF has a text in the given tag of the EXIF directory."""
    exif = PIL.Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    if text is not None:
        exif.get_ifd(0x8769)[tag] = text
    exif[0x0132] = "2001:01:01 00:00:00"  # DateTime, which programs change
    content = io.BytesIO()
    PIL.Image.new("RGB", (64, 48)).save(content, image_format, exif=exif.tobytes())
    return content.getvalue()


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("order", ["II", "MM"])
def test_the_time_is_read_from_every_format(image_format: str, order: str) -> None:
    content = photo(image_format, "1996:03:19 14:05:07", order=order)
    expected = datetime(1996, 3, 19, 14, 5, 7)
    assert exif_taken(content) == expected
    assert exif_taken(memoryview(content)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "0000:00:00 00:00:00",
            "1996:13:01 00:00:00",
            "1996:02:30 00:00:00",
            "    :  :     :  :  ",
        ),
        *("1996:03:19 24:00:00", "1996:03:19", "", "9999999999999999999", None),
    ],
)
def test_a_time_that_does_not_exist_is_none(text: str | None) -> None:
    assert exif_taken(photo("JPEG", text)) is None


def test_no_other_tag_is_taken_for_it() -> None:
    assert exif_taken(photo("JPEG", "1996:03:19 14:05:07", tag=0x9004)) is None


@pytest.mark.parametrize("image_format", FORMATS)
@given(data=st.data())
def test_changed_and_cut_photos_raise_nothing(image_format: str, data: st.DataObject) -> None:
    content = bytearray(photo(image_format, "1996:03:19 14:05:07"))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    assert isinstance(exif_taken(bytes(content[:end])), datetime | None)


def test_a_large_file_takes_little_time() -> None:
    """Of hostile content every byte is looked at once at most."""
    heads = [b"\xff\xd8" + b"\xff\xe1\0\x02" * 199, b"RIFF\0\0\0\0WEBP", b"\0\0\0\x1cftypheic"]
    heads.append(b"II*\0\x08\0\0\0\xff\xff" + b"\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" * 65_535)
    for head in heads:
        content = head + b"\0\0\0\x06Exif\0\0" * 5_000_000
        started = time.process_time()
        assert exif_taken(content) is None
        assert time.process_time() - started < 2
