"""Photos that would cost gigabytes or minutes are rejected at the cost of their limit."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from faces.core.limited import RequestFailedError
from faces.core.settings import PhotoLimits
from faces.photos import limited
from faces.photos.decoding import decode_photo
from faces.photos.headers import (
    TooMuchInHeaderError,
    exif_orientation,
    is_plain_jpeg,
    require_bounded_header,
)
from faces.photos.limited import decode_limited, open_photo
from faces.photos.rejection import PhotoRejectedError, RejectReason
from tests.support.costly_files import (
    bmp_of_far_jumps,
    gif_of_comments,
    png,
    png_chunk,
    slow_gif,
    tiff,
    tiff_of_one_value_many_times,
)


def reason_of(content: bytes, limits: PhotoLimits = PhotoLimits()) -> RejectReason:
    with pytest.raises(PhotoRejectedError) as caught:
        decode_limited(content, limits=limits)
    return caught.value.reason


@pytest.fixture(scope="module")
def portrait(demo_photos: Path) -> PIL.Image.Image:
    with PIL.Image.open(demo_photos / "grace_hopper.jpg") as photo:
        return photo.convert("RGB").resize((400, 500))


def encoded(photo: PIL.Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
@pytest.mark.parametrize("apart", [False, True])
def test_a_photo_is_the_same_as_without_limits(
    portrait: PIL.Image.Image, form: str, apart: bool
) -> None:
    content = encoded(portrait, form)
    here, there = decode_photo(content), decode_limited(content, apart=apart)
    assert np.array_equal(here.image, there.image)
    assert (here.width, here.height) == (there.width, there.height)


def test_a_jpeg_is_reduced_and_decoded_again_alike(portrait: PIL.Image.Image) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = encoded(portrait.resize((1600, 2000)), "JPEG", exif=exif)
    here = decode_photo(content, reduction_for=lambda _: 4)
    there = decode_limited(content, reduction_for=lambda side: side // 500, apart=True)
    assert there.reduction == here.reduction == 4
    assert (there.width, there.height) == (2000, 1600)
    assert np.array_equal(here.image, there.image)
    assert np.array_equal(here.finer(1).image, there.finer(1).image)


def test_memory_that_a_photo_really_takes_is_limited() -> None:
    start = time.process_time()
    assert reason_of(bmp_of_far_jumps(3)) is RejectReason.OUT_OF_MEMORY
    assert time.process_time() - start < 1
    assert decode_limited(png()).image.shape == (64, 64, 3)


def test_time_that_a_photo_takes_is_limited() -> None:
    content = slow_gif()
    start = time.monotonic()
    assert reason_of(content, PhotoLimits(photo_timeout=0.5)) is RejectReason.OUT_OF_TIME
    assert time.monotonic() - start < 20  # on a busy machine
    assert decode_limited(png()).image.shape == (64, 64, 3)


def test_a_directory_that_refers_to_the_same_bytes_again_and_again_is_corrupt() -> None:
    costly = tiff_of_one_value_many_times(5_000, 100_000)
    assert reason_of(costly) is RejectReason.CORRUPT
    exif = png_chunk(b"eXIf", costly)
    assert reason_of(png(before_pixels=exif)) is RejectReason.CORRUPT
    require_bounded_header(tiff_of_one_value_many_times(3, 1_000))


def test_a_tile_far_larger_than_the_photo_is_too_large() -> None:
    side = 131_056
    tags = {
        **{256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 1), 259: (3, 1, 4), 262: (3, 1, 0)},
        **{277: (3, 1, 1), 322: (4, 1, side), 323: (4, 1, side)},
        **{324: (4, 1, 142), 325: (4, 1, 16_000)},
    }
    assert reason_of(tiff(tags, b"\xff" * 16_000)) is RejectReason.TOO_LARGE


@pytest.mark.parametrize(
    "content",
    [
        gif_of_comments(30_000),
        b"\xff\xd8" + b"\xff" * 100_000 + b"\xd9",
        b"\xff\xd8" + b"\xff\xfe\0\3A" * 10_000 + b"\xff\xd9",
    ],
    ids=["comments", "fill bytes", "segments"],
)
def test_headers_that_take_long_to_read_are_corrupt(content: bytes) -> None:
    with pytest.raises(TooMuchInHeaderError):
        require_bounded_header(content)
    assert reason_of(content) is RejectReason.CORRUPT


def test_jpegs_of_cameras_are_plain_and_others_are_not(portrait: PIL.Image.Image) -> None:
    plain = encoded(portrait, "JPEG")
    progressive = encoded(portrait, "JPEG", progressive=True)
    exif = PIL.Image.Exif()
    exif[0x0110] = "camera"
    with_exif = encoded(portrait, "JPEG", exif=exif)
    block = b"\xff\xe1\0\x0aExif\0\0II"
    others = {
        "two EXIF blocks": plain[:2] + block * 2 + plain[2:],
        "pictures behind it": plain[:2] + b"\xff\xe2\0\x08MPF\0II" + plain[2:],
        "fill bytes": plain[:2] + b"\xff" * 10_000 + plain[2:],
        "no scan": plain[:100],
        "many scans": plain + b"\xff\xda" * 100,
        "arithmetic coding": plain.replace(b"\xff\xc0", b"\xff\xc9", 1),
        "another format": png(),
        "nothing": b"",
    }
    for content in (plain, progressive, with_exif):
        assert is_plain_jpeg(content, max_pixels=200_000, seconds=30)
        assert not is_plain_jpeg(content, max_pixels=199_999, seconds=30)
        assert not is_plain_jpeg(content, max_pixels=200_000, seconds=0.001)
    for what, content in others.items():
        assert not is_plain_jpeg(content, max_pixels=10**9, seconds=30), what


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("order", ["<", ">"])
def test_an_orientation_is_read_from_exif(order: str, orientation: int) -> None:
    head = b"II*\0" if order == "<" else b"MM\0*"
    block = head + struct.pack(f"{order}IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0) + bytes(4)
    assert exif_orientation(block) == exif_orientation(b"Exif\0\0" + block) == orientation
    for stop in range(len(block) - 4):
        assert exif_orientation(block[:stop]) in (None, orientation)


def test_a_probe_photo_over_a_limit_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(bmp_of_far_jumps(3))
    with pytest.raises(Exception, match="too_expensive:max-memory"):
        open_photo(tmp_path / "a.bmp")


def test_a_zip_bomb_in_a_png_costs_no_more_than_its_pixels() -> None:
    packed = zlib.compress(bytes(200_000_000), 9)
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    limits = PhotoLimits(max_memory=60_000_000)
    assert decode_limited(b"\x89PNG\r\n\x1a\n" + chunks, limits=limits).image.shape[:2] == (64, 64)


def test_an_error_with_a_reason_of_its_own_is_no_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of SSL and of encodings have an attribute `reason` as rejections have."""

    class Decoder:
        def call(self, *_: object, **__: object) -> None:
            raise RequestFailedError("SSLError", "no handshake", "CERTIFICATE_VERIFY_FAILED")

    monkeypatch.setattr(limited, "_decoder", Decoder())
    assert reason_of(b"\x89PNG\r\n\x1a\n") == RejectReason.CORRUPT
