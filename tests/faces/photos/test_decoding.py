from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from pillow_heif import register_heif_opener

from faces.core.settings import PhotoLimits
from faces.photos import decoding as images
from faces.photos.decoding import decode_photo
from faces.photos.rejection import PhotoRejectedError, RejectReason

register_heif_opener()  # lets Pillow write HEIC


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
    image = decode_photo(encoded(portrait, image_format)).image
    assert image.dtype == np.uint8
    assert image.shape == (portrait.height, portrait.width, 3)
    difference = np.abs(image.astype(int) - np.asarray(portrait, dtype=int)).mean()
    assert difference < (12 if image_format == "GIF" else 4)


def test_progressive_and_cmyk_jpegs_are_read(portrait: PIL.Image.Image) -> None:
    for content in (
        encoded(portrait, "JPEG", progressive=True),
        encoded(portrait.convert("CMYK"), "JPEG"),
    ):
        assert (
            np.abs(decode_photo(content).image.astype(int) - np.asarray(portrait, int)).mean() < 6
        )


# The orientation says which corner of the upright photo the first stored pixel is, and whether
# rows and columns are swapped: Exif 2.32, tag 0x0112.
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
    assert np.array_equal(decode_photo(content).image, upright)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    image = decode_photo(encoded(PIL.Image.fromarray(ramp), "PNG")).image
    assert np.array_equal(image[..., 0], (ramp >> 8).astype(np.uint8))


def test_transparent_pixels_are_blended_with_white() -> None:
    clear = PIL.Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    assert (decode_photo(encoded(clear, "PNG")).image == 255).all()


def test_grey_and_palette_become_rgb(portrait: PIL.Image.Image) -> None:
    for mode in ("L", "P", "1", "LA"):
        assert decode_photo(encoded(portrait.convert(mode), "PNG")).image.shape[2] == 3


def reason_of(content: bytes, limits: PhotoLimits = PhotoLimits()) -> RejectReason:
    with pytest.raises(PhotoRejectedError) as caught:
        decode_photo(content, limits=limits)
    return caught.value.reason


def test_empty_and_foreign_files_are_rejected_with_their_reason() -> None:
    assert reason_of(b"") is RejectReason.EMPTY_FILE
    assert reason_of(b"just some text, no photo at all") is RejectReason.UNSUPPORTED_FORMAT
    postscript = encoded(PIL.Image.new("RGB", (9, 9)), "EPS")  # Pillow would run Ghostscript
    assert reason_of(postscript) is RejectReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_photo_is_rejected_not_decoded_in_part(
    portrait: PIL.Image.Image, share: float
) -> None:
    for image_format in ("JPEG", "PNG", "WEBP"):
        content = encoded(portrait, image_format)
        assert reason_of(content[: int(len(content) * share)]) is RejectReason.TRUNCATED


@pytest.mark.slow
def test_a_decompression_bomb_is_rejected_before_it_is_decoded() -> None:
    content = encoded(PIL.Image.new("1", (40_000, 40_000)), "PNG")
    assert len(content) < 1_000_000
    assert reason_of(content) is RejectReason.TOO_LARGE
    small = encoded(PIL.Image.new("RGB", (20, 20)), "PNG")
    assert reason_of(small, PhotoLimits(max_pixels=399)) is RejectReason.TOO_LARGE
    assert decode_photo(small, limits=PhotoLimits(max_pixels=400)).width == 20


def test_the_limit_of_pixels_may_be_raised_beyond_pillow_s_own() -> None:
    content = encoded(PIL.Image.new("1", (20_000, 20_000)), "PNG")
    assert reason_of(content) is RejectReason.TOO_LARGE
    limits = PhotoLimits(max_pixels=500_000_000, max_memory=4_000_000_000)
    cut = content[: len(content) // 2]  # decoding it whole would take long
    assert reason_of(cut, limits) is RejectReason.TRUNCATED


def test_a_jpeg_of_absurdly_many_scans_is_rejected() -> None:
    content = encoded(PIL.Image.new("RGB", (99, 99)), "JPEG")
    assert reason_of(content + b"\xff\xda" * 200) is RejectReason.TOO_LARGE
    assert decode_photo(content + b"\xff\xda" * 99).width == 99


def test_a_photo_that_takes_too_much_memory_is_rejected_though_it_has_few_pixels() -> None:
    square = PIL.Image.new("RGB", (200, 200))
    limits = PhotoLimits(max_memory=150_000)
    for image_format, options in (("WEBP", {}), ("JPEG", {"progressive": True, "subsampling": 0})):
        content = encoded(square, image_format, **options)
        assert reason_of(content, limits) is RejectReason.TOO_LARGE
        assert decode_photo(content).width == 200
    assert decode_photo(encoded(square, "JPEG"), limits=limits).width == 200


def test_a_photo_of_fifteen_pixels_height_is_too_small() -> None:
    assert reason_of(encoded(PIL.Image.new("RGB", (900, 15)), "PNG")) is RejectReason.TOO_SMALL


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_reduced_while_it_is_decoded_and_can_be_decoded_again_at_full_size(
    portrait: PIL.Image.Image, reduction: int, orientation: int
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    content = encoded(portrait, "JPEG", quality=95, exif=exif)
    whole = decode_photo(content)
    photo = decode_photo(content, reduction_for=lambda side: reduction if side == 600 else 1)
    assert (photo.width, photo.height) == (whole.width, whole.height)
    assert photo.reduction == reduction
    expected = PIL.Image.fromarray(whole.image).reduce(reduction)
    assert photo.image.shape[:2] == (expected.height, expected.width)
    assert np.abs(photo.image.astype(int) - np.asarray(expected, int)).mean() < 2
    again = photo.finer(1)
    assert again.reduction == 1
    assert (again.width, again.height) == (whole.width, whole.height)
    assert np.abs(again.image.astype(int) - whole.image.astype(int)).max() <= 2
    assert photo.finer(reduction) is photo


def test_a_huge_photo_is_halved_band_by_band(
    portrait: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decode_photo(encoded(portrait, "PNG"))
    monkeypatch.setattr(images, "MAX_KEPT_PIXELS", 100_000)
    monkeypatch.setattr(images, "_BAND_PIXELS", 10_000)
    for image_format in ("PNG", "JPEG"):
        photo = decode_photo(encoded(portrait, image_format))
        assert (photo.reduction, photo.width, photo.height) == (2, 512, 600)
        expected = PIL.Image.fromarray(whole.image).reduce(2)
        assert np.abs(photo.image.astype(int) - np.asarray(expected, int)).mean() < 3
        assert photo.finer(1).reduction == 2


def test_a_photo_with_corrupt_exif_data_is_decoded(portrait: PIL.Image.Image) -> None:
    content = encoded(portrait, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode_photo(content).width == 512
