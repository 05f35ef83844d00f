from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from faces import images
from faces.images import PhotoRejectedError, RejectReason, decode_photo


@pytest.fixture(scope="module")
def portrait(demo_photos: Path) -> PIL.Image.Image:
    with PIL.Image.open(demo_photos / "grace_hopper.jpg") as photo:
        return photo.convert("RGB")


def encoded(photo: PIL.Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, format=image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "image_format", ["PNG", "BMP", "TIFF", "JPEG", "WEBP", "AVIF", "HEIF", "GIF"]
)
def test_every_format_decodes_to_the_same_picture(
    portrait: PIL.Image.Image, image_format: str
) -> None:
    image = decode_photo(encoded(portrait, image_format))
    assert image.dtype == np.uint8
    assert image.shape == (portrait.height, portrait.width, 3)
    difference = np.abs(image.astype(int) - np.asarray(portrait, dtype=int)).mean()
    assert difference < (12 if image_format == "GIF" else 4)


def test_progressive_and_cmyk_jpegs_are_read(portrait: PIL.Image.Image) -> None:
    for content in (
        encoded(portrait, "JPEG", progressive=True),
        encoded(portrait.convert("CMYK"), "JPEG"),
    ):
        assert np.abs(decode_photo(content).astype(int) - np.asarray(portrait, int)).mean() < 6


# Which corner of the upright picture the file's first pixel is, and whether sides swap:
# Exif 2.32, tag 0x0112.
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(portrait: PIL.Image.Image, orientation: int) -> None:
    upright = np.asarray(portrait)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    content = encoded(PIL.Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(decode_photo(content), upright)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    image = decode_photo(encoded(PIL.Image.fromarray(ramp), "PNG"))
    assert np.array_equal(image[..., 0], (ramp >> 8).astype(np.uint8))


def test_transparency_is_laid_on_white() -> None:
    clear = PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (decode_photo(encoded(clear, "PNG")) == 255).all()


def test_grey_and_palette_become_rgb(portrait: PIL.Image.Image) -> None:
    for mode in ("L", "P", "1", "LA"):
        assert decode_photo(encoded(portrait.convert(mode), "PNG")).shape[2] == 3


def reason_of(content: bytes) -> RejectReason:
    with pytest.raises(PhotoRejectedError) as caught:
        decode_photo(content)
    return caught.value.reason


def test_empty_and_foreign_files_are_rejected_with_their_reason() -> None:
    assert reason_of(b"") is RejectReason.EMPTY_FILE
    assert reason_of(b"just some text, no photo at all") is RejectReason.UNSUPPORTED_FORMAT
    postscript = encoded(PIL.Image.new("RGB", (9, 9)), "EPS")  # Pillow would run Ghostscript
    assert reason_of(postscript) is RejectReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_photo_is_rejected_never_half_read(
    portrait: PIL.Image.Image, share: float
) -> None:
    for image_format in ("JPEG", "PNG", "WEBP"):
        content = encoded(portrait, image_format)
        assert reason_of(content[: int(len(content) * share)]) is RejectReason.DAMAGED


def test_a_bomb_is_rejected_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(PIL.Image.new("1", (40_000, 40_000)), "PNG")
    assert len(content) < 1_000_000
    assert reason_of(content) is RejectReason.TOO_LARGE
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    assert reason_of(encoded(PIL.Image.new("RGB", (10, 10)), "PNG")) is RejectReason.TOO_LARGE
