from __future__ import annotations

import io
import re
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from pillow_heif import register_heif_opener

from faces.core.settings import PhotoLimits
from faces.photos import decoding as images
from faces.photos import pixels
from faces.photos.decoding import decode_photo
from faces.photos.limited import decode_limited
from faces.photos.opencv import cv2
from faces.photos.rejection import PartlyRead, PhotoRejectedError, RejectReason
from faces.photos.tiffs import bits_per_sample, has_further_pages, is_raw_file
from tests.support.costly_files import png_chunk, tiff

END = b"\xff\xd9"
"""End mark of a JPEG."""

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


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_photo_of_which_much_is_missing_is_rejected_not_decoded_in_part(
    portrait: PIL.Image.Image, share: float
) -> None:
    for image_format in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        content = encoded(portrait, image_format)
        assert reason_of(content[: int(len(content) * share)]) is RejectReason.TRUNCATED


@pytest.mark.lasting
@pytest.mark.slow
def test_a_decompression_bomb_is_rejected_before_it_is_decoded() -> None:
    content = encoded(PIL.Image.new("1", (40_000, 40_000)), "PNG")
    assert len(content) < 1_000_000
    assert reason_of(content) is RejectReason.TOO_LARGE
    small = encoded(PIL.Image.new("RGB", (20, 20)), "PNG")
    assert reason_of(small, PhotoLimits(max_pixels=399)) is RejectReason.TOO_LARGE
    assert decode_photo(small, limits=PhotoLimits(max_pixels=400)).width == 20


def test_a_jpeg_of_absurdly_many_scans_is_rejected() -> None:
    content = encoded(PIL.Image.new("RGB", (99, 99)), "JPEG")
    assert content.endswith(END)
    scans = b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0data"
    assert reason_of(content[:-2] + scans * 200 + END) is RejectReason.TOO_LARGE
    assert reason_of(content[:-2] + b"\xff\xfe\0\2" * 10_000 + END) is RejectReason.CORRUPT


@pytest.mark.parametrize("image_format", ["JPEG", "progressive", "MPO"])
def test_what_is_behind_the_end_mark_does_not_belong_to_a_jpeg(
    portrait: PIL.Image.Image, image_format: str
) -> None:
    if image_format == "progressive":
        content = encoded(portrait, "JPEG", progressive=True)
    else:
        content = encoded(portrait, image_format)
    film = np.random.default_rng(5).bytes(3_000_000)
    limits = PhotoLimits(max_memory=len(content) + len(film) + 6 * 512 * 600)
    plain = decode_photo(content)
    for behind in (b"\xff\xda" * 201, film, b"\xff\xfe\0\2" * 20_000):
        photo = decode_photo(content + behind, limits=limits)
        assert np.array_equal(photo.image, plain.image)
        assert photo.partly_read == ()


@pytest.mark.parametrize("image_format", ["JPEG", "progressive", "PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("missing", ["mark", "little"])
def test_a_photo_of_which_little_is_missing_is_decoded_and_says_so(
    portrait: PIL.Image.Image, image_format: str, missing: str
) -> None:
    if image_format == "progressive":
        content = encoded(portrait, "JPEG", progressive=True)
    else:
        content = encoded(portrait, image_format)
    whole = decode_photo(content)
    cut = 2 if missing == "mark" else len(content) // 50
    photo = decode_photo(content[:-cut], reduction_for=lambda _: 4)
    assert photo.image.shape == whole.image.shape
    assert (photo.width, photo.height, photo.reduction) == (512, 600, 1)
    assert photo.finer(1) is photo
    slack = 60 if missing == "little" else 1
    rows = slice(slack, None) if image_format == "BMP" else slice(0, 600 - slack)
    difference = np.abs(photo.image[rows].astype(int) - whole.image[rows])
    assert difference.mean() < 0.5
    complete = missing == "mark" and image_format == "PNG"
    assert photo.partly_read == (() if complete else (PartlyRead.CUT_SHORT,))


def test_a_progressive_jpeg_is_decoded_only_if_all_its_detail_has_begun(
    portrait: PIL.Image.Image,
) -> None:
    content = encoded(portrait, "JPEG", progressive=True, quality=95)
    scans = [match.start() for match in re.finditer(b"\xff\xda", content)]
    assert reason_of(content[: scans[-1]]) is RejectReason.TRUNCATED
    assert reason_of(content[: scans[1]]) is RejectReason.TRUNCATED
    photo = decode_photo(content[: (scans[-1] + len(content)) // 2])
    assert np.abs(photo.image.astype(int) - decode_photo(content).image).mean() < 3


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP", "wrong checksum", "many"])
def test_a_png_needs_no_text_and_no_profile(
    portrait: PIL.Image.Image, kind: str, behind: bool
) -> None:
    content = encoded(portrait, "PNG")
    long = zlib.compress(bytes(3_000_000))
    added = {
        "zTXt": png_chunk(b"zTXt", b"history\0\0" + long),
        "iTXt": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + long),
        "iCCP": png_chunk(b"iCCP", b"profile\0\0" + long),
        "wrong checksum": png_chunk(b"tEXt", b"a\0b")[:-1] + b"!",
        "many": png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000))) * 100,
    }[kind]
    place = len(content) - 12 if behind else 33  # before IEND, or behind IHDR
    photo = decode_photo(content[:place] + added + content[place:])
    assert np.array_equal(photo.image, decode_photo(content).image)
    assert photo.partly_read == ()


@pytest.mark.parametrize("image_format", ["TIFF", "PNG"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_any_depth_in_sixteen_bits_is_as_bright_as_it_is(
    portrait: PIL.Image.Image, image_format: str, bits: int
) -> None:
    grey = np.asarray(portrait.convert("L"))
    grey = grey + (255 - grey.max())
    deep = grey.astype(np.uint16) << (bits - 8)
    image = decode_photo(encoded(PIL.Image.fromarray(deep), image_format)).image
    assert np.array_equal(image, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_colour_of_any_depth_in_sixteen_bits_is_as_bright_as_it_is(
    portrait: PIL.Image.Image, ending: str, bits: int, has_alpha: bool
) -> None:
    colour = np.asarray(portrait)[:, :, ::-1].astype(np.uint16)
    colour = np.minimum(colour + (255 - colour.max()), 255)
    deep = colour << (bits - 8)
    if has_alpha:
        deep = np.dstack([deep, np.full(deep.shape[:2], 65535, np.uint16)])
    content = cv2.imencode(ending, deep)[1].tobytes()
    image = decode_photo(content).image
    assert np.abs(image.astype(int) - colour[:, :, ::-1]).max() <= 1


def test_fractions_are_grey_or_colour_from_nothing_to_one(portrait: PIL.Image.Image) -> None:
    grey, colour = np.asarray(portrait.convert("L")), np.asarray(portrait)
    fractions = (grey / 255).astype(np.float32)
    fractions[0, :3] = np.nan, np.inf, -5
    image = decode_photo(encoded(PIL.Image.fromarray(fractions), "TIFF")).image
    assert np.abs(image[1:, :, 0].astype(int) - grey[1:]).max() <= 1
    thousands = PIL.Image.fromarray(grey.astype(np.float32) * 16)  # as 12 bits
    image = decode_photo(encoded(thousands, "TIFF")).image
    assert np.abs(image[:, :, 0].astype(int) - grey).max() <= 1
    content = cv2.imencode(".tif", (colour[:, :, ::-1] / 255).astype(np.float32))[1].tobytes()
    assert np.abs(decode_photo(content).image.astype(int) - colour).max() <= 1
    assert reason_of(content, PhotoLimits(max_pixels=1000)) is RejectReason.TOO_LARGE


def fractions_tiff(*pages: np.ndarray) -> bytes:
    """Return a TIFF of (h, w, 3) uint8 RGB pictures, as floating-point numbers up to 1."""
    deep = [(page[:, :, ::-1] / 255).astype(np.float32) for page in pages]
    return bytes(cv2.imencodemulti(".tif", deep)[1])


def test_a_colour_tiff_of_fractions_passes_the_checks_of_all_photos(
    portrait: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    colour = np.asarray(portrait)
    photo = decode_photo(fractions_tiff(colour, colour))
    assert photo.partly_read == (PartlyRead.FURTHER_PAGES,)
    assert decode_photo(fractions_tiff(colour)).partly_read == ()
    assert reason_of(fractions_tiff(colour[:15])) is RejectReason.TOO_SMALL
    assert decode_photo(fractions_tiff(colour[:16])).height == 16
    limits = PhotoLimits(max_memory=colour.size * 16)
    assert reason_of(fractions_tiff(colour), limits) is RejectReason.TOO_LARGE
    monkeypatch.setattr(images, "MAX_KEPT_PIXELS", colour.size // 12)
    small = decode_photo(fractions_tiff(colour))
    assert (small.width, small.height, small.reduction) == (*portrait.size, 2)
    halved = np.asarray(portrait.reduce(2))
    assert small.image.shape == halved.shape
    assert np.abs(small.image.astype(int) - halved).max() <= 1


def test_a_raw_file_of_fractions_is_no_photo(portrait: PIL.Image.Image) -> None:
    content = fractions_tiff(np.asarray(portrait))
    rgb = struct.pack("<HHIHH", 262, 3, 1, 2, 0)
    assert content.count(rgb) == 1
    linear_raw = struct.pack("<HHIHH", 262, 3, 1, 34892, 0)
    assert reason_of(content.replace(rgb, linear_raw)) is RejectReason.UNSUPPORTED_FORMAT
    with pytest.raises(PhotoRejectedError, match="raw file"):
        decode_photo(content.replace(rgb, linear_raw))


def test_a_large_tile_of_a_tiff_of_fractions_counts(portrait: PIL.Image.Image) -> None:
    colour = np.asarray(portrait.resize((32, 32)))
    data = (colour / np.float32(255)).astype("<f4").tobytes()
    start = 8 + 2 + 10 * 12 + 4
    tags = {256: (4, 1, 32), 257: (4, 1, 32), 258: (3, 3, start), 259: (3, 1, 1)}
    tags |= {262: (3, 1, 2), 277: (3, 1, 3), 322: (4, 1, 32), 323: (4, 1, 32)}
    tags |= {324: (4, 1, start + 6), 339: (3, 1, 3)}
    extra = struct.pack("<3H", 32, 32, 32) + data
    assert reason_of(tiff(tags, extra), PhotoLimits(max_pixels=1023)) is RejectReason.TOO_LARGE
    tags[322] = tags[323] = (4, 1, 20_000)
    with pytest.raises(PhotoRejectedError, match="tile"):
        decode_photo(tiff(tags, extra))


def colour_tiff(deep: np.ndarray, orientation: int) -> bytes:
    """Return an uncompressed TIFF of (h, w, 3) uint16 RGB that is to be turned."""
    height, width = deep.shape[:2]
    data = deep.tobytes()
    start = 8 + 2 + 10 * 12 + 4
    long = {256: width, 257: height, 273: start + 6, 278: height, 279: len(data)}
    tags = {tag: (4, 1, value) for tag, value in long.items()}
    short = {259: 1, 262: 2, 274: orientation, 277: 3}
    tags |= {tag: (3, 1, value) for tag, value in short.items()} | {258: (3, 3, start)}
    return tiff(tags, struct.pack("<3H", 16, 16, 16) + data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_of_twelve_bits_is_turned_once(
    portrait: PIL.Image.Image, orientation: int
) -> None:
    deep = np.asarray(portrait).astype(np.uint16)
    bright = decode_photo(colour_tiff(deep * 257, orientation)).image  # by Pillow alone
    assert np.array_equal(decode_photo(colour_tiff(deep << 4, orientation)).image, bright)


def test_zero_is_white_where_a_tiff_says_so(portrait: PIL.Image.Image) -> None:
    grey = np.asarray(portrait.convert("L"))
    deep = PIL.Image.fromarray((255 - grey).astype(np.uint16) * 257)
    content = encoded(deep, "TIFF", tiffinfo={262: 0})
    assert np.array_equal(decode_photo(content).image[:, :, 0], grey)


@pytest.mark.parametrize("tag", ["reduced", "dng", "sensor"])
def test_a_camera_s_raw_file_is_not_read_as_its_preview(
    portrait: PIL.Image.Image, tag: str
) -> None:
    small = portrait.resize((160, 120))
    tags = {"reduced": {254: 1, 271: "NIKON"}, "dng": {50706: b"\1\4\0\0"}, "sensor": {}}[tag]
    content = encoded(small, "TIFF", tiffinfo=tags)
    if tag == "sensor":
        pages = [small.convert("L")]
        content = encoded(small, "TIFF", save_all=True, append_images=pages)
        entry = content.rindex(b"\x06\x01\x03\0\x01\0\0\0")
        content = content[: entry + 8] + (32803).to_bytes(2, "little") + content[entry + 10 :]
    assert reason_of(content) is RejectReason.UNSUPPORTED_FORMAT


def test_canon_s_raw_files_and_jpegs_of_twelve_bits_are_unsupported(
    portrait: PIL.Image.Image,
) -> None:
    content = encoded(portrait, "TIFF")
    assert reason_of(b"II*\0\x10\0\0\0CR\2\0" + bytes(500)) is RejectReason.UNSUPPORTED_FORMAT
    jpeg = bytearray(encoded(portrait, "JPEG"))
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12
    assert reason_of(bytes(jpeg)) is RejectReason.UNSUPPORTED_FORMAT
    assert reason_of(content[:8]) is RejectReason.CORRUPT


@pytest.mark.parametrize("image_format", ["TIFF", "GIF", "WEBP", "PNG", "AVIF", "MPO", "HEIF"])
def test_further_pages_and_frames_are_told(portrait: PIL.Image.Image, image_format: str) -> None:
    small = portrait.resize((64, 64))
    other = PIL.ImageOps.mirror(small)
    assert decode_photo(encoded(small, image_format)).partly_read == ()
    content = encoded(small, image_format, save_all=True, append_images=[other])
    photo = decode_photo(content)
    assert photo.partly_read == (PartlyRead.FURTHER_PAGES,)
    assert np.abs(photo.image.astype(int) - np.asarray(small)).mean() < 12


def test_previews_and_brightness_maps_are_no_further_pages(portrait: PIL.Image.Image) -> None:
    small = portrait.resize((64, 64))
    preview = small.resize((32, 32))
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    content = encoded(small, "TIFF", save_all=True, append_images=[preview])
    assert decode_photo(content).partly_read == ()
    xmp = b'<rdf:Description hdrgm:Version="1.0"/>'
    phone = encoded(small, "MPO", save_all=True, append_images=[preview], xmp=xmp)
    assert decode_photo(phone).partly_read == ()


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
    monkeypatch.setattr(pixels, "_BAND_PIXELS", 10_000)
    for image_format in ("PNG", "JPEG"):
        photo = decode_photo(encoded(portrait, image_format))
        assert (photo.reduction, photo.width, photo.height) == (2, 512, 600)
        expected = PIL.Image.fromarray(whole.image).reduce(2)
        assert np.abs(photo.image.astype(int) - np.asarray(expected, int)).mean() < 3
        assert photo.finer(1).reduction == 2


def test_a_photo_with_corrupt_exif_data_is_decoded(portrait: PIL.Image.Image) -> None:
    content = encoded(portrait, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode_limited(content).width == 512
    assert decode_limited(content, apart=True).width == 512


@pytest.mark.slow
def test_decoding_changes_nothing_of_the_process(portrait: PIL.Image.Image) -> None:
    contents = [
        encoded(portrait, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        *(encoded(portrait, form) for form in ("PNG", "TIFF", "HEIF")),
    ]
    limit, filters = PIL.Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    formats = dict(PIL.Image.OPEN)
    start = threading.Barrier(6)

    def decode() -> None:
        start.wait()
        for content in contents:
            decode_limited(content)

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(decode) for _ in range(6)]:
            done.result()
    assert limit == PIL.Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters
    assert formats == PIL.Image.OPEN


def test_another_limit_of_the_process_for_pictures_does_not_matter(
    portrait: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    for image_format in ("JPEG", "PNG"):
        assert decode_limited(encoded(portrait, image_format)).width == 512


@pytest.mark.lasting
@pytest.mark.slow
def test_the_limit_of_pixels_may_be_raised_beyond_pillow_s_own() -> None:
    content = encoded(PIL.Image.new("1", (20_000, 20_000)), "PNG")
    with pytest.raises(PhotoRejectedError, match="too_large"):
        decode_limited(content)
    limits = PhotoLimits(max_pixels=500_000_000, max_memory=4_000_000_000)
    with pytest.raises(PhotoRejectedError, match="truncated"):
        decode_limited(content[: len(content) // 2], limits=limits)


def test_a_tiff_that_refers_beyond_its_end_is_rejected() -> None:
    tags = {
        256: (4, 1, 64),
        257: (4, 1, 64),
        258: (3, 3, 10**6),
        262: (3, 1, 2),
        330: (4, 9, 10**6),
    }
    content = tiff(tags)
    assert bits_per_sample(content) == (0, 0, False)
    assert not is_raw_file(content)
    assert not has_further_pages(content)
    assert reason_of(content) is RejectReason.TRUNCATED
    in_a_circle = content[:-4] + (8).to_bytes(4, "little")
    assert has_further_pages(in_a_circle)  # and the search for them ends
    assert not is_raw_file(in_a_circle)
