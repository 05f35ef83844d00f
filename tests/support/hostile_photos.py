"""Corrupt, odd and malicious files for a folder of photos, made from one good photo.

Each file comes with its expected outcomes: embedding must give it one row, with one of some
statuses or reasons. The corruption is seeded, so the files are the same on every run with the same
versions of the encoders.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
from numpy.typing import NDArray
from pillow_heif import register_heif_opener

from faces.dataset.schema import PhotoStatus
from faces.photos.rejection import RejectReason
from tests.support.costly_files import png_chunk

SIZE = (320, 384)
"""Width and height of most photos. As multiples of 16 they are whole JPEG blocks, so a photo turned
by 90 degrees loses the same detail in JPEG."""

LARGE = (1603, 1921)
"""Width and height of photos that may be decoded at reduced size. They are multiples of no block
size, for the sake of the edges."""

LOSSLESS, LOSSY = 0.998, 0.97
"""Minimum similarity of an embedding to that of the same face in the good photo. In lossless
formats pixels are equal except for rounding, which can decide whether a cell of the detector's grid
contributes to the landmarks. In lossy formats the similarity is near 0.99."""

FLIPS_PER_FORMAT = 10
"""Number of files of each format with altered bytes."""

LOCKED = "locked"
"""Name of the folder with files and folders whose permissions forbid reading."""

EMBEDDED, NO_FACE = PhotoStatus.EMBEDDED.value, PhotoStatus.NO_FACE.value
READ_ERROR, EMPTY = RejectReason.READ_ERROR.value, RejectReason.EMPTY_FILE.value
UNSUPPORTED, TOO_LARGE = RejectReason.UNSUPPORTED_FORMAT.value, RejectReason.TOO_LARGE.value
TRUNCATED, CORRUPT = RejectReason.TRUNCATED.value, RejectReason.CORRUPT.value
TOO_SMALL = RejectReason.TOO_SMALL.value
OUT_OF_MEMORY = RejectReason.OUT_OF_MEMORY.value

CUT_EARLY = frozenset({TRUNCATED, CORRUPT, UNSUPPORTED})
"""Outcomes of a file that ends within its header, whose cause cannot be told more exactly."""

ENDS_EARLY = frozenset({TRUNCATED, CORRUPT, NO_FACE})
"""Outcomes of a photo whose end mark comes before all pixels: some decoders fill it with grey."""

ALTERED = frozenset(
    {EMBEDDED, NO_FACE, TRUNCATED, CORRUPT, UNSUPPORTED, TOO_LARGE, TOO_SMALL, OUT_OF_MEMORY}
)
"""Outcomes of a file with altered bytes. Any status is fine, as long as the file has a row and the
worker survives."""

Picture = PIL.Image.Image


@dataclass(frozen=True)
class HostileFile:
    """A file, and its expected outcomes.

    Attributes:
        name: the file's path below the folder, as `os.fsdecode` returns it.
        content: the file's bytes; None for a link, a pipe or the like.
        outcomes: the statuses, or for a rejected photo the reasons, of which its row must have one.
        shows: the upright RGB picture whose faces the file must have, if it is embedded; None where
            its picture is not known.
        min_similarity: minimum similarity of its faces' embeddings to those of `shows`.
    """

    name: str
    content: bytes | None
    outcomes: frozenset[str]
    shows: Picture | None = None
    min_similarity: float = LOSSLESS


def make_hostile_folder(folder: Path, portrait: Picture, stranger: Picture) -> list[HostileFile]:
    """Write all files into a new folder.

    Args:
        folder: the folder to make.
        portrait: RGB picture with a face that is detected at `SIZE`.
        stranger: RGB picture with another person's face, for pictures that must be ignored, such
            as thumbnails and further pages.

    Returns:
        The files that must have a row, in the order in which they are made; names are unique.
    """
    register_heif_opener()
    large, portrait, stranger = portrait.resize(LARGE), portrait.resize(SIZE), stranger.resize(SIZE)
    samples = _samples(portrait)
    files = [
        *_truncated(samples),
        *_altered(samples),
        *_foreign(portrait),
        *_bombs(),
        *_oversized(portrait),
        *_odd_metadata(portrait, stranger),
        *_jpeg_modes(portrait, stranger),
        *_png_modes(portrait),
        *_tiff_modes(portrait, stranger),
        *_other_modes(portrait, stranger),
        *_turned(portrait),
        *_large(large, portrait),
        *_strips(portrait),
        *_copies(portrait),
        *_odd_names(portrait),
    ]
    for file in files:
        assert file.content is not None
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    return [*files, *_make_no_files(folder, portrait), *_lock(folder, portrait)]


def unlock(folder: Path) -> None:
    """Restore the permissions of the locked files, so that the folder can be deleted."""
    for path in (folder / LOCKED).iterdir():
        path.chmod(0o700)


_FAST: Mapping[str, dict[str, object]] = {
    "HEIF": {"quality": 90, "enc_params": {"preset": "ultrafast"}},
    "AVIF": {"quality": 90, "speed": 10},
    "JPEG": {"quality": 95},
    "MPO": {"quality": 95},
    "WEBP": {"quality": 90, "method": 1},
}
"""Default options of the encoders: fast, with little loss."""


def encoded(picture: Picture, image_format: str, **options: object) -> bytes:
    """Encode a picture, with `_FAST` options unless others are given."""
    buffer = io.BytesIO()
    # A copy, because saving as JPEG leaves attributes on a picture that break saving as TIFF.
    picture.copy().save(buffer, format=image_format, **{**_FAST.get(image_format, {}), **options})
    return buffer.getvalue()


def _file(name: str, content: bytes, *outcomes: str) -> HostileFile:
    return HostileFile(name, content, frozenset(outcomes))


def _good(
    name: str, content: bytes, shows: Picture, *, min_similarity: float = LOSSLESS
) -> HostileFile:
    return HostileFile(name, content, frozenset({EMBEDDED}), shows, min_similarity)


# Corrupt files of every format.


@dataclass(frozen=True)
class _Sample:
    """A good file of some format.

    Attributes:
        suffix: the suffix of its name.
        content: the file's bytes.
        body: offset of the pixels, in bytes.
        cut_outcomes: expected outcomes if the file is cut within its pixels.
    """

    suffix: str
    content: bytes
    body: int
    cut_outcomes: frozenset[str]


def _samples(portrait: Picture) -> dict[str, _Sample]:
    """Encode the portrait in every format.

    A format that does not state the file's length may report a cut file as corrupt in another way.
    """
    cut, broken = frozenset({TRUNCATED}), frozenset({TRUNCATED, CORRUPT})
    encode = partial(encoded, portrait)
    return {
        "jpeg": _sample(".jpg", encode("JPEG"), b"\xff\xda", cut),
        "progressive": _sample(".jpg", encode("JPEG", progressive=True), b"\xff\xda", cut),
        "png": _sample(".png", encode("PNG"), b"IDAT", cut),
        "webp": _sample(".webp", encode("WEBP"), b"VP8 ", broken),
        "webp-lossless": _sample(".webp", encode("WEBP", lossless=True), b"VP8L", broken),
        "tiff": _sample(".tif", encode("TIFF"), portrait.tobytes()[:64], broken),
        "tiff-lzw": _sample(".tif", encode("TIFF", compression="tiff_lzw"), b"II*\0", broken),
        "bmp": _sample(".bmp", encode("BMP"), encode("BMP")[54:118], cut),
        "gif": _sample(".gif", encode("GIF"), b"\x2c\0\0\0\0", broken),
        "heic": _sample(".heic", encode("HEIF"), b"mdat", broken),
        "avif": _sample(".avif", encode("AVIF"), b"mdat", broken),
    }


def _sample(suffix: str, content: bytes, mark: bytes, cut_outcomes: frozenset[str]) -> _Sample:
    return _Sample(suffix, content, content.index(mark) + 16, cut_outcomes)


def _truncated(samples: Mapping[str, _Sample]) -> Iterator[HostileFile]:
    for kind, sample in samples.items():
        content, body = sample.content, sample.body
        for length in sorted({1, 3, 12, body // 2, body}):
            yield HostileFile(
                f"truncated/{kind}-{length}{sample.suffix}", content[:length], CUT_EARLY
            )
        for share in (0.02, 0.2, 0.5, 0.8, 0.95):
            length = body + int((len(content) - body) * share)
            # A photo that lacks a little of its end is read, as viewers read it.
            is_nearly_whole = share >= (0.8 if kind == "progressive" else 0.95)
            yield HostileFile(
                f"truncated/{kind}-{length}{sample.suffix}",
                content[:length],
                sample.cut_outcomes | ({EMBEDDED} if is_nearly_whole else set()),
            )
        # The last byte may belong to an end mark, and the picture be complete without it.
        yield HostileFile(
            f"truncated/{kind}-less-1{sample.suffix}",
            content[:-1],
            sample.cut_outcomes | {EMBEDDED},
        )
    yield _file("truncated/nothing.jpg", b"", EMPTY)
    yield _file("truncated/nothing.heic", b"", EMPTY)
    yield _file("truncated/one-byte.png", b"\0", UNSUPPORTED)


def _altered(samples: Mapping[str, _Sample]) -> Iterator[HostileFile]:
    """Alter one byte of the header in half of the files, and some adjacent pixel bytes in half."""
    draws = np.random.default_rng(20)
    for kind, sample in samples.items():
        for number in range(FLIPS_PER_FORMAT):
            in_header = number % 2 == 0
            start, end = (0, sample.body) if in_header else (sample.body, len(sample.content))
            content = bytearray(sample.content)
            offset = int(draws.integers(start, end))
            for at in range(offset, min(offset + (1 if in_header else number), end)):
                content[at] ^= int(draws.integers(1, 256))
            yield HostileFile(
                f"altered/{kind}-{number}-at-{offset}{sample.suffix}", bytes(content), ALTERED
            )


# Photos whose suffix is of another format, and files that are no photos.


def _foreign(portrait: Picture) -> Iterator[HostileFile]:
    jpeg, png = encoded(portrait, "JPEG"), encoded(portrait, "PNG")
    heic = encoded(portrait, "HEIF")
    for suffix in (".png", ".heic", ".JPG", ".Jpeg"):
        yield _good(f"foreign/jpeg{suffix}", jpeg, portrait, min_similarity=LOSSY)
    yield _good("foreign/png.jpg", png, portrait)
    yield _good("foreign/png.tiff", png, portrait)
    yield _good("foreign/heic.jpg", heic, portrait, min_similarity=LOSSY)
    yield _good("foreign/jpeg and more.jpg", jpeg + b"more" * 999, portrait, min_similarity=LOSSY)
    for name, content in _no_photos(portrait).items():
        yield _file(f"foreign/{name}", content, UNSUPPORTED)


def _no_photos(portrait: Picture) -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photo.jpg", encoded(portrait, "JPEG"))
    return {
        "text.jpg": b"This is no photo.\n" * 99,
        "page.png": b"<!DOCTYPE html><title>404 Not Found</title><p>No such photo.\n",
        "drawing.jpg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\n',
        "document.jpg": encoded(portrait, "PDF"),
        "postscript.jpg": encoded(portrait, "EPS"),
        "layers.jpg": b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 384, 320, 8, 3) + bytes(9999),
        "archive.heic": archive.getvalue(),
        "film.heic": struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom") + bytes(9999),
        "jpeg 2000.jpg": encoded(portrait, "JPEG2000"),
        "portable.png": encoded(portrait, "PPM"),
        "icon.png": encoded(portrait, "ICO"),
        "targa.bmp": encoded(portrait, "TGA"),
        "program.gif": b"\x7fELF" + bytes(range(256)) * 16,
        "zeros.jpg": bytes(9999),
        "noise.jpg": np.random.default_rng(21).bytes(9999),
    }


# Decompression bombs: small files of huge pictures.


def _bombs() -> Iterator[HostileFile]:
    blank = PIL.Image.new("RGB", (32, 32), "white")
    tall = struct.pack(">II", 60_000, 60_000)
    zeros = zlib.compress(bytes(20_000 * (1 + 20_000 // 8)), 9)
    yield _file("bombs/declared.png", _png(tall + b"\x08\x02\0\0\0", b"\0" * 99), TOO_LARGE)
    yield _file(
        "bombs/zeros.png",
        _png(struct.pack(">II", 20_000, 20_000) + b"\x01\0\0\0\0", zeros, packed=True),
        TOO_LARGE,
    )
    excess = zlib.compress(bytes(64_000_000))
    yield _file(
        "bombs/more-than-declared.png",
        _png(struct.pack(">II", 400, 400) + b"\x08\0\0\0\0", excess, packed=True),
        *(NO_FACE, CORRUPT),
    )
    yield _file("bombs/canvas.gif", _patched(encoded(blank, "GIF"), 6, "<HH", 65_500), TOO_LARGE)
    jpeg = encoded(blank, "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    yield _file("bombs/declared.jpg", _patched(jpeg, frame, ">HH", 65_500), TOO_LARGE)
    yield _file("bombs/declared-allowed.jpg", _patched(jpeg, frame, ">HH", 6_000), *ENDS_EARLY)
    yield _file("bombs/flat.jpg", _patched(jpeg, frame, ">HH", 0), *CUT_EARLY)
    yield _file("bombs/scans.jpg", _jpeg_of_many_scans(2_000, 300), NO_FACE, CORRUPT, TOO_LARGE)
    bmp = encoded(blank, "BMP")
    yield _file("bombs/declared.bmp", _patched(bmp, 18, "<ii", 60_000), TOO_LARGE)
    yield _file("bombs/negative.bmp", _patched(bmp, 18, "<ii", -60_000), *CUT_EARLY, TOO_LARGE)
    for side, outcomes in ((60_000, {TOO_LARGE}), (4_000_000_000, {TOO_LARGE, CORRUPT})):
        tiff = _tiff({**_tiff_tags(blank), 256: ("I", [side]), 257: ("I", [side])}, [bytes(3072)])
        yield HostileFile(f"bombs/declared-{side}.tif", tiff, frozenset(outcomes))
    heavy = {TOO_LARGE, CORRUPT, TRUNCATED, OUT_OF_MEMORY}
    webp, lossless = encoded(blank, "WEBP"), encoded(blank, "WEBP", lossless=True)
    yield _file(
        "bombs/lossy.webp",
        _patched(webp, webp.index(b"\x9d\x01\x2a") + 3, "<HH", 16_383),
        *heavy,
    )
    yield _file(
        "bombs/lossless.webp",
        _patched(lossless, lossless.index(b"VP8L") + 9, "<HH", 0xFFFF),
        *heavy,
    )
    for image_format in ("HEIF", "AVIF"):
        content = encoded(blank, image_format)
        offset = content.index(b"ispe") + 8
        yield _file(
            f"bombs/declared.{image_format.lower()}",
            _patched(content, offset, ">II", 60_000),
            *heavy,
        )


def _oversized(portrait: Picture) -> Iterator[HostileFile]:
    """Make good photos with 100 MB of compressed metadata: embedded, or rejected with a reason."""
    filler = zlib.compress(bytes(100_000_000))
    for kind, data in (
        ("zTXt", b"Comment\0\0" + filler),
        ("iTXt", b"Comment\0\x01\0\0\0" + filler),
        ("iCCP", b"profile\0\0" + filler),
    ):
        yield HostileFile(
            f"bombs/{kind}.png",
            _png_with(encoded(portrait, "PNG"), kind.encode(), data),
            frozenset({EMBEDDED, CORRUPT, TOO_LARGE}),
            portrait,
        )


def _patched(content: bytes, offset: int, layout: str, side: int) -> bytes:
    """Overwrite the width and height that a file declares."""
    sides = struct.pack(layout, side, side)
    return content[:offset] + sides + content[offset + len(sides) :]


def _jpeg_of_many_scans(side: int, scans: int) -> bytes:
    """Make a progressive grey JPEG of many scans, each over the whole picture with almost no data.

    The only Huffman codes are 0, for a DC difference of 0, and 0, for a run of blocks without
    AC coefficients whose length, up to 32767, follows (ISO/IEC 10918-1, G.1.2.2).
    """
    blocks = (-(-side // 8)) ** 2
    table = bytes([1] + [0] * 15)
    runs = "".join(["0" + "1" * 14] * -(-blocks // 32_767))
    runs += "1" * (-len(runs) % 8)
    data = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\0")
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xDB, b"\0" + b"\x10" * 64),
            _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\0"),
            _segment(0xC4, b"\0" + table + b"\0"),
            _segment(0xC4, b"\x10" + table + b"\xe0"),
            _segment(0xDA, b"\x01\x01\0\0\0\0") + bytes(-(-blocks // 8)),
            *[_segment(0xDA, b"\x01\x01\0\x01\x3f\0") + data] * scans,
            b"\xff\xd9",
        ]
    )


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(payload)) + payload


# Good photos with odd metadata, or in unusual modes of their format.


def _odd_metadata(portrait: Picture, stranger: Picture) -> Iterator[HostileFile]:
    stranger = stranger.resize((160, 192))
    metadata: dict[str, dict[str, object]] = {
        "noise in EXIF": {"exif": b"Exif\0\0" + np.random.default_rng(22).bytes(999)},
        "cut EXIF": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12"},
        "EXIF in circles": {"exif": b"Exif\0\0MM\0*\0\0\0\x08" + b"\0\0\0\0\0\x08"},
        "no such orientation": {"exif": _exif(99).tobytes()},
        "text for orientation": {
            "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x03up\0\0" + bytes(4)
        },
        "thumbnail of a stranger": {"exif": _exif_with_thumbnail(stranger)},
        "noise for colours": {"icc_profile": b"noise" * 9_999},
        "long comment": {"comment": b"x" * 65_000},
    }
    for name, options in metadata.items():
        content = encoded(portrait, "JPEG", **options)
        yield _good(f"metadata/{name}.jpg", content, portrait, min_similarity=LOSSY)
    for name in ("noise in EXIF", "cut EXIF", "EXIF in circles", "no such orientation"):
        exif = metadata[name]["exif"]
        yield _good(f"metadata/{name}.png", encoded(portrait, "PNG", exif=exif), portrait)
        webp = encoded(portrait, "WEBP", lossless=True, exif=exif)
        yield _good(f"metadata/{name}.webp", webp, portrait)


def _exif(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def _exif_with_thumbnail(thumbnail: Picture) -> bytes:
    """Make EXIF with a JPEG as second directory (CIPA DC-008, 4.6.5), near the 64 KB limit."""
    jpeg = encoded(thumbnail, "JPEG")
    jpeg += bytes(64_000 - len(jpeg))
    first = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 1, 0, 26)
    second = struct.pack(
        ">HHHIHHHHIIHHIII", 3, 0x0103, 3, 1, 6, 0, 0x0201, 4, 1, 68, 0x0202, 4, 1, len(jpeg), 0
    )
    return b"Exif\0\0MM\0*\0\0\0\x08" + first + second + jpeg


def _jpeg_modes(portrait: Picture, stranger: Picture) -> Iterator[HostileFile]:
    grey, cmyk = portrait.convert("L"), portrait.convert("CMYK")
    encode = partial(encoded, image_format="JPEG")
    for name, content, shows in (
        ("grey", encode(grey), grey.convert("RGB")),
        ("4-4-4", encode(portrait, subsampling=0), portrait),
        ("4-2-0", encode(portrait, subsampling=2), portrait),
        ("progressive", encode(portrait, progressive=True), portrait),
        ("progressive grey", encode(grey, progressive=True), grey.convert("RGB")),
        ("restarts", encode(portrait, restart_marker_rows=1), portrait),
        ("rgb", encode(portrait, keep_rgb=True), portrait),
        ("cmyk", encode(cmyk), portrait),
        ("progressive cmyk", encode(cmyk, progressive=True), portrait),
        ("ycck", _ycck_jpeg(cmyk), portrait),
        (
            "two pictures",
            encoded(portrait, "MPO", save_all=True, append_images=[stranger.copy()]),
            portrait,
        ),
    ):
        yield _good(f"modes/{name}.jpg", content, shows, min_similarity=LOSSY)


def _ycck_jpeg(cmyk: Picture) -> bytes:
    """Encode a picture as Adobe's programs do: inverted CMY as YCbCr, and inverted K.

    Pillow writes inverted CMYK and marks it so. Here it is given channels that come out as YCCK,
    and the mark is changed.
    """
    cyan, magenta, yellow, black = cmyk.split()
    ycc = PIL.Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr")
    inverted = [channel.point(lambda value: 255 - value) for channel in ycc.split()]
    content = encoded(PIL.Image.merge("CMYK", (*inverted, black)), "JPEG")
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    return content[:transform] + b"\x02" + content[transform + 1 :]


def _png_modes(portrait: Picture) -> Iterator[HostileFile]:
    grey, inside = portrait.convert("L"), _ellipse(portrait.size)
    two, some = _black_and_white(portrait), portrait.quantize(64)
    clear, shown = _transparent(portrait, inside)
    clear_grey, shown_grey = _transparent(grey.convert("RGB"), inside)
    holed, shown_holed = _with_clear_colour(some)
    for name, picture, shows, options in (
        ("1", two, two.convert("RGB"), {}),
        ("L", grey, grey.convert("RGB"), {}),
        ("LA", clear_grey.convert("LA"), shown_grey, {}),
        ("P", some, some.convert("RGB"), {}),
        ("P with a clear colour", holed, shown_holed, {"transparency": 0}),
        ("P with alpha", *_with_half_clear_palette(some)),
        ("RGB", portrait, portrait, {}),
        ("RGB with a clear colour", portrait, portrait, {"transparency": (1, 2, 3)}),
        ("RGBA", clear, shown, {}),
        ("I16", _sixteen_bit(grey), grey.convert("RGB"), {}),
        ("stored", portrait, portrait, {"compress_level": 0}),
    ):
        yield _good(f"modes/{name}.png", encoded(picture, "PNG", **options), shows)
    yield _good("modes/interlaced.png", _interlaced_png(portrait), portrait)
    yield _good("modes/RGB16.png", _sixteen_bit_png(portrait), portrait)
    frames = encoded(portrait, "PNG", save_all=True, append_images=[grey.convert("RGB")])
    yield _good("modes/animated.png", frames, portrait)


def _black_and_white(picture: Picture) -> Picture:
    """Convert to black and white without dithering, whose dots hide the face at this size."""
    return picture.convert("1", dither=PIL.Image.Dither.NONE)


def _ellipse(size: tuple[int, int]) -> Picture:
    mask = PIL.Image.new("L", size, 0)
    PIL.ImageDraw.Draw(mask).ellipse((8, 8, size[0] - 8, size[1] - 8), fill=255)
    return mask


def _transparent(picture: Picture, inside: Picture) -> tuple[Picture, Picture]:
    """Return the picture with `inside` as its alpha channel, and as it looks on white."""
    clear = picture.copy()
    clear.putalpha(inside)
    return clear, PIL.Image.composite(picture, PIL.Image.new("RGB", picture.size, "white"), inside)


def _with_clear_colour(some: Picture) -> tuple[Picture, Picture]:
    """Return a palette picture whose colour 0 is transparent, and as it looks on white."""
    indices, colours = np.asarray(some).copy(), _colours(some)
    indices[:24] = 0
    colours[0] = 255
    holed = PIL.Image.fromarray(indices)
    holed.putpalette(_colours(some).tobytes())
    return holed, PIL.Image.fromarray(colours[indices])


def _with_half_clear_palette(some: Picture) -> tuple[Picture, Picture, dict[str, object]]:
    """Return a palette picture with alpha by colour, as it looks on white, and options to save."""
    colours = _colours(some)
    alpha = np.full(len(colours), 255, dtype=np.uint8)
    alpha[::8] = 200
    palette = PIL.Image.fromarray(np.dstack([colours[None], alpha[None]]))
    white = PIL.Image.new("RGBA", palette.size, "white")
    shown = np.asarray(PIL.Image.alpha_composite(white, palette).convert("RGB"))[0]
    options: dict[str, object] = {"transparency": alpha.tobytes()}
    return some, PIL.Image.fromarray(shown[np.asarray(some)]), options


def _colours(some: Picture) -> NDArray[np.uint8]:
    return np.asarray(some.getpalette(), dtype=np.uint8).reshape(-1, 3)


def _sixteen_bit(grey: Picture) -> Picture:
    return PIL.Image.fromarray(np.asarray(grey).astype(np.uint16) * 256 + 7)


def _interlaced_png(picture: Picture) -> bytes:
    """Encode a PNG with Adam7 interlacing (PNG specification, 8.2): seven subsampled passes."""
    pixels = np.asarray(picture)
    passes = [
        *[(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)],
        *[(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)],
    ]
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx]]
    return _png(struct.pack(">II", *picture.size) + b"\x08\x02\0\0\x01", b"".join(rows))


def _sixteen_bit_png(picture: Picture) -> bytes:
    samples = np.asarray(picture).astype(np.uint16) * 256 + 7
    rows = [b"\0" + row.tobytes() for row in samples.astype(">u2")]
    return _png(struct.pack(">II", *picture.size) + b"\x10\x02\0\0\0", b"".join(rows))


def _png(header: bytes, data: bytes, *, packed: bool = False) -> bytes:
    """Make a PNG from its IHDR and its image data, which are compressed already if `packed`."""
    chunks = ((b"IHDR", header), (b"IDAT", data if packed else zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, payload) for kind, payload in chunks)


def _png_with(content: bytes, kind: bytes, payload: bytes) -> bytes:
    """Insert a chunk after a PNG's header."""
    return content[:33] + png_chunk(kind, payload) + content[33:]


def _tiff_modes(portrait: Picture, stranger: Picture) -> Iterator[HostileFile]:
    grey, two = portrait.convert("L"), _black_and_white(portrait)
    shows_grey = grey.convert("RGB")
    clear, shown = _transparent(portrait, _ellipse(portrait.size))
    sixteen_bits = (np.asarray(grey).astype(np.uint16) * 256).astype(">u2")
    big_endian = PIL.Image.frombytes("I;16B", grey.size, sixteen_bits.tobytes())
    encode = partial(encoded, image_format="TIFF")
    for name, content, shows in (
        ("1", encode(two, compression="group4"), two),
        ("L", encode(grey), shows_grey),
        ("P", encode(portrait.quantize(64)), portrait.quantize(64)),
        ("RGB", encode(portrait), portrait),
        ("RGBA", encode(clear), shown),
        ("CMYK", encode(portrait.convert("CMYK")), portrait),
        ("I16", encode(_sixteen_bit(grey)), shows_grey),
        ("I16B", encode(big_endian), shows_grey),
        ("F", encode(grey.convert("F")), shows_grey),
        ("lzw", encode(portrait, compression="tiff_lzw"), portrait),
        ("deflate", encode(portrait, compression="tiff_adobe_deflate"), portrait),
        ("packbits", encode(portrait, compression="packbits"), portrait),
        ("zstd", encode(portrait, compression="zstd"), portrait),
        ("pages", encode(portrait, save_all=True, append_images=[stranger, grey]), portrait),
        ("big", encode(portrait, big_tiff=True), portrait),
        ("tiles", _tiled_tiff(portrait), portrait),
        ("in circles", _tiff(_tiff_tags(portrait), [portrait.tobytes()], next_at=8), portrait),
    ):
        yield _good(f"modes/{name}.tif", content, shows.convert("RGB"))
    jpeg = encode(portrait, compression="jpeg")
    yield _good("modes/jpeg.tif", jpeg, portrait, min_similarity=LOSSY)


_TiffTags = Mapping[int, tuple[str, list[int]]]
"""The struct letter of the type (H or I) and the values, by tag (TIFF 6.0, section 2)."""

_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324
"""Tags whose values are offsets of the strips or the tiles."""


def _tiff_tags(picture: Picture) -> dict[int, tuple[str, list[int]]]:
    """Return the tags of an RGB picture in one strip, whose offset `_tiff` fills in."""
    width, height = picture.size
    return {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [8, 8, 8]),
        259: ("H", [1]),
        262: ("H", [2]),
        _STRIP_OFFSETS: ("I", []),
        277: ("H", [3]),
        278: ("I", [height]),
        279: ("I", [3 * width * height]),
    }


def _tiff(tags: _TiffTags, blocks: list[bytes], *, next_at: int = 0) -> bytes:
    """Make a little-endian TIFF: header, directory, pixel blocks, and values of the directory.

    Args:
        tags: the directory's tags; offsets of strips or tiles are filled in.
        blocks: the strips or tiles.
        next_at: declared offset of the next directory in bytes, or 0 for none.
    """
    start = 8 + 2 + 12 * len(tags) + 4
    ends = np.cumsum([start, *map(len, blocks)]).tolist()
    directory, beyond = struct.pack("<H", len(tags)), b""
    for tag, (kind, given) in sorted(tags.items()):
        values = ends[:-1] if tag in {_STRIP_OFFSETS, _TILE_OFFSETS} else given
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", ends[-1] + len(beyond)), beyond + packed
        directory += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(values))
        directory += packed.ljust(4, b"\0")
    header = struct.pack("<2sHI", b"II", 42, 8)
    return b"".join([header, directory, struct.pack("<I", next_at), *blocks, beyond])


def _tiled_tiff(picture: Picture, side: int = 64) -> bytes:
    width, height = picture.size
    corners = [(x, y) for y in range(0, height, side) for x in range(0, width, side)]
    tiles = [picture.crop((x, y, x + side, y + side)).tobytes() for x, y in corners]
    tags = {tag: entry for tag, entry in _tiff_tags(picture).items() if tag not in {273, 278, 279}}
    sizes = [len(tile) for tile in tiles]
    layout = {322: ("H", [side]), 323: ("H", [side]), _TILE_OFFSETS: ("I", []), 325: ("I", sizes)}
    return _tiff({**tags, **layout}, tiles)


def _other_modes(portrait: Picture, stranger: Picture) -> Iterator[HostileFile]:
    grey, two, some = portrait.convert("L"), _black_and_white(portrait), portrait.quantize(64)
    clear, shown = _transparent(portrait, _ellipse(portrait.size))
    holed, shown_holed = _with_clear_colour(some)
    film: dict[str, object] = {"save_all": True, "append_images": [stranger] * 2, "duration": 40}
    some_film = {**film, "append_images": [stranger.quantize(64)] * 2}
    for name, content, shows in (
        ("lossless.webp", encoded(portrait, "WEBP", lossless=True), portrait),
        ("alpha.webp", encoded(clear, "WEBP", lossless=True, exact=True), shown),
        ("film.webp", encoded(portrait, "WEBP", lossless=True, **film), portrait),
        ("still.gif", encoded(some, "GIF"), some),
        ("film.gif", encoded(some, "GIF", **some_film), some),
        ("clear.gif", encoded(holed, "GIF", transparency=0, optimize=False), shown_holed),
        ("grey.gif", encoded(grey, "GIF"), grey),
        ("L.bmp", encoded(grey, "BMP"), grey),
        ("RGB.bmp", encoded(portrait, "BMP"), portrait),
        ("P.bmp", encoded(some, "BMP"), some),
        ("1.bmp", encoded(two, "BMP"), two),
    ):
        yield _good(f"modes/{name}", content, shows.convert("RGB"))
    for name, content, shows in (
        ("lossy.webp", encoded(portrait, "WEBP"), portrait),
        ("lossy alpha.webp", encoded(clear, "WEBP"), shown),
        ("RGB.avif", encoded(portrait, "AVIF"), portrait),
        ("grey.avif", encoded(grey, "AVIF"), grey),
        ("alpha.avif", encoded(clear, "AVIF"), shown),
        ("film.avif", encoded(portrait, "AVIF", **film), portrait),
        ("RGB.heic", encoded(portrait, "HEIF"), portrait),
        ("4-4-4.heif", encoded(portrait, "HEIF", chroma="444"), portrait),
        ("grey.heic", encoded(grey, "HEIF"), grey),
        ("alpha.heic", encoded(clear, "HEIF"), shown),
        ("I16.heic", encoded(_sixteen_bit(grey), "HEIF"), grey),
        (
            "two.heic",
            encoded(portrait, "HEIF", save_all=True, append_images=[stranger]),
            portrait,
        ),
    ):
        yield _good(f"modes/{name}", content, shows.convert("RGB"), min_similarity=LOSSY)


# By EXIF orientation, the transposition of an upright picture to the pixels that are stored.
_STORED: Mapping[int, Callable[[Picture], Picture]] = {
    1: lambda upright: upright,
    2: lambda upright: upright.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda upright: upright.transpose(PIL.Image.Transpose.ROTATE_180),
    4: lambda upright: upright.transpose(PIL.Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda upright: upright.transpose(PIL.Image.Transpose.TRANSPOSE),
    6: lambda upright: upright.transpose(PIL.Image.Transpose.ROTATE_90),
    7: lambda upright: upright.transpose(PIL.Image.Transpose.TRANSVERSE),
    8: lambda upright: upright.transpose(PIL.Image.Transpose.ROTATE_270),
}


def _turned(portrait: Picture) -> Iterator[HostileFile]:
    """Make photos of all orientations in all formats that have one; JPEG at its best quality."""
    formats: dict[str, tuple[str, float, dict[str, object]]] = {
        ".jpg": ("JPEG", LOSSLESS, {"quality": 100, "subsampling": 0}),
        ".png": ("PNG", LOSSLESS, {}),
        ".webp": ("WEBP", LOSSLESS, {"lossless": True}),
        ".tif": ("TIFF", LOSSLESS, {}),
        ".heic": ("HEIF", LOSSY, {}),
        ".avif": ("AVIF", LOSSY, {}),
    }
    for suffix, (image_format, min_similarity, options) in formats.items():
        for orientation, store in _STORED.items():
            content = encoded(
                store(portrait), image_format, exif=_exif(orientation).tobytes(), **options
            )
            yield _good(
                f"turned/{orientation}{suffix}", content, portrait, min_similarity=min_similarity
            )


def _large(picture: Picture, portrait: Picture) -> Iterator[HostileFile]:
    """Make large photos with a large face, which reduced size suffices for, or a small one."""
    grey, turned = picture.convert("L"), _STORED[6](picture)
    far = PIL.Image.new("RGB", picture.size, "gray")
    far.paste(portrait, (1111, 1333))
    exif = _exif(6).tobytes()
    for name, content, shows in (
        ("plain", encoded(picture, "JPEG"), picture),
        ("progressive", encoded(picture, "JPEG", progressive=True), picture),
        ("turned", encoded(turned, "JPEG", exif=exif), picture),
        ("turned and progressive", encoded(turned, "JPEG", exif=exif, progressive=True), picture),
        ("grey", encoded(grey, "JPEG"), grey.convert("RGB")),
        ("cmyk", encoded(picture.convert("CMYK"), "JPEG"), picture),
        ("far", encoded(far, "JPEG"), far),
        ("far and turned", encoded(_STORED[6](far), "JPEG", exif=exif), far),
        ("far and cmyk", encoded(far.convert("CMYK"), "JPEG"), far),
    ):
        yield _good(f"large/{name}.jpg", content, shows, min_similarity=LOSSY)
    png = encoded(turned, "PNG", compress_level=1, exif=exif)
    yield _good("large/turned.png", png, picture)
    for name, options in (("plain", {}), ("progressive", {"progressive": True})):
        content = encoded(far, "JPEG", **options)
        for share in (0.1, 0.5, 0.7, 0.9):
            offset = int(share * len(content))
            altered = content[:offset] + bytes(9) + content[offset + 9 :]
            yield HostileFile(f"large/altered {name} at {share}.jpg", altered, ALTERED)


def _strips(portrait: Picture) -> Iterator[HostileFile]:
    for size, outcome in {
        (10_000, 20): NO_FACE,
        (20, 10_000): NO_FACE,
        (10_000, 8): TOO_SMALL,
        (8, 10_000): TOO_SMALL,
        (16, 16): NO_FACE,
        (400, 15): TOO_SMALL,
        (1, 1): TOO_SMALL,
    }.items():
        picture = portrait.resize(size)
        for suffix, image_format in ((".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP")):
            name = f"strips/{size[0]} by {size[1]}{suffix}"
            yield _file(name, encoded(picture, image_format), outcome)


def _copies(portrait: Picture) -> Iterator[HostileFile]:
    content = encoded(portrait, "JPEG", comment=b"copied")
    for name in ("one.jpg", "two.jpg", "THREE.JPEG", "four.png", "deeper/and deeper/five.jpg"):
        yield _good(f"copies/{name}", content, portrait, min_similarity=LOSSY)


def _odd_names(portrait: Picture) -> Iterator[HostileFile]:
    names = [
        *("new\nline.jpg", "tab\t.jpg", "'quotes\".jpg", "\U0001f469\u200d\U0001f680.jpg"),
        *("-leading-dash.jpg", "--json.jpg", " leading.jpg", "trailing .jpg", "back\\slash.jpg"),
        *("100%41.jpg", "a,b;c.jpg", "$HOME `id`.jpg", "*.jpg", "x?y=z#w.jpg", "x::y.jpg"),
        *("\u202eright to left.jpg", "\x7f.jpg", "l" * 246 + ".jpg"),
        *("file:/x.jpg", "zip:/x.jpg", "https:/x.jpg", "trailing /in a folder.jpg", "x.jpg/y.jpg"),
    ]
    if sys.platform == "linux":  # names are bytes there; macOS takes only Unicode, and normalises
        names += ["\u00e9 composed.jpg", "e\u0301 composed.jpg"]
        names += [os.fsdecode(b"caf\xe9.jpg"), os.fsdecode(b"\xff\xfe/\x80.jpg")]
    for number, name in enumerate(names):
        content = encoded(portrait, "JPEG", comment=b"%d" % number)
        yield _good(f"names/{name}", content, portrait, min_similarity=LOSSY)


# Links, pipes and other things that are no regular files.


def _make_no_files(folder: Path, portrait: Picture) -> Iterator[HostileFile]:
    """Make links, pipes and the like, and yield those that must have a row."""
    odd_dir = folder / "no files"
    odd_dir.mkdir()
    good = replace(next(_copies(portrait)), content=None)
    (odd_dir / "gone.jpg").symlink_to("no such file.jpg")
    (odd_dir / "itself.jpg").symlink_to("itself.jpg")
    os.mkfifo(odd_dir / "pipe.jpg")
    with suppress(PermissionError):  # on macOS only root may make a socket in this way
        os.mknod(odd_dir / "socket.jpg", 0o600 | stat.S_IFSOCK)
    (odd_dir / "endless.jpg").symlink_to("/dev/zero")
    (odd_dir / "terminal.jpg").symlink_to("/dev/tty")
    for path in sorted(odd_dir.iterdir()):
        yield HostileFile(f"no files/{path.name}", None, frozenset({READ_ERROR}))
    (odd_dir / "link.jpg").symlink_to(folder / good.name)
    yield replace(good, name="no files/link.jpg")
    # These have no row: folders are searched, links to folders and hidden names are skipped.
    (odd_dir / "folder.jpg").mkdir()
    (odd_dir / "link to a folder.jpg").symlink_to(folder)
    (odd_dir / "link upwards").symlink_to("..")
    (odd_dir / ".hidden.jpg").write_bytes(b"x")
    (odd_dir / ".jpg").write_bytes(b"x")
    (odd_dir / "notes.txt").write_bytes(b"x")


def _lock(folder: Path, portrait: Picture) -> Iterator[HostileFile]:
    """Make a photo and a folder that cannot be read, and a folder that can only be listed."""
    locked, content = folder / LOCKED, encoded(portrait, "JPEG")
    for name in ("folder", "names only"):
        (locked / name).mkdir(parents=True)
        (locked / name / "photo.jpg").write_bytes(content)
    (locked / "photo.jpg").write_bytes(content)
    (locked / "photo.jpg").chmod(0)
    (locked / "folder").chmod(0)
    (locked / "names only").chmod(stat.S_IRUSR)
    for name in ("photo.jpg", "folder", "names only/photo.jpg"):
        yield HostileFile(f"{LOCKED}/{name}", None, frozenset({READ_ERROR}))
