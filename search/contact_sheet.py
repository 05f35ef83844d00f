"""Contact sheets: a picture of search results, with each probe's face beside its matches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from faces.core.errors import WrongUsageError
from faces.core.storage import put_file
from faces.models.face import Box
from faces.photos.decoding import Image, Photo, as_photo
from faces.photos.limited import decode_limited, read_limited
from faces.photos.rejection import PhotoRejectedError
from faces.photos.uris import photo_name
from search.results import Match
from search.sheet_files import EXIF_SOFTWARE, SHEET_MARK, require_picture_name

MAX_SIDE = 16_383
"""Largest width and height in pixels, which is WebP's limit."""

TILE = 160
"""Side of a face's tile in pixels; the gaps and captions below are in pixels too."""

GAP = 16
CAPTION_HEIGHT = 44
MATCHES_PER_ROW = 6
CONTEXT = 1.6
"""Side of the square that a tile shows, relative to the longer side of the face's box."""

MAX_SHOWN = 32
"""Number of characters at either end of a photo's name that can be shown; a tile has room for about
25 in all."""

MAX_COPIES = 8
"""Number of places of a photo that are tried until one can be read."""

BACKGROUND, INK, FAINT, ACCENT = "#ffffff", "#1c1c1e", "#6e6e73", "#0a5fb4"
FONT = ImageFont.load_default(15)
SMALL_FONT = ImageFont.load_default(12)


class ShownFace(Protocol):
    """A face of the photo that was searched for, with its matches, such as a `Probe`."""

    @property
    def box(self) -> Box:
        """The face's box: x, y, width, height in pixels of the photo."""
        ...

    @property
    def matches(self) -> Sequence[Match]:
        """The face's matches, most similar first."""
        ...


def draw_contact_sheet(photo: Photo | Image, probes: Sequence[ShownFace]) -> PIL.Image.Image:
    """Draw a contact sheet: a band for each probe, its face to the left, its matches to the right.

    Args:
        photo: the photo that was searched for; an array is (height, width, 3) uint8 RGB.
        probes: the result of the search, at least one probe.

    Returns:
        The sheet, as an RGB picture.
    """
    photo = as_photo(photo)
    bands = [_draw_band(photo, number, probe) for number, probe in enumerate(probes, start=1)]
    width = max(band.width for band in bands)
    sheet = PIL.Image.new("RGB", (width, sum(band.height for band in bands)), BACKGROUND)
    top = 0
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    return sheet


def write_contact_sheet(path: Path, photo: Photo | Image, probes: Sequence[ShownFace]) -> None:
    """Draw a contact sheet and write it to a file, whose suffix decides the format.

    Args:
        path: path of the file, ending in .jpg, .jpeg, .png or .webp; only an earlier contact
            sheet is replaced.
        photo: the photo that was searched for; an array is (height, width, 3) uint8 RGB.
        probes: the result of the search, at least one probe.

    Raises:
        WrongUsageError: the file cannot be written at this path, or the sheet would be larger
            than `MAX_SIDE`.
    """
    require_picture_name(path)
    sheet = draw_contact_sheet(photo, probes)
    if max(sheet.size) > MAX_SIDE:
        raise WrongUsageError(
            f"a contact sheet of all these matches would be {sheet.height} pixels high; ask for "
            "fewer with -k"
        )
    image_format = PIL.Image.registered_extensions()[path.suffix.lower()]
    with put_file(path) as file:
        exif = PIL.Image.Exif()
        exif[EXIF_SOFTWARE] = SHEET_MARK
        sheet.save(file, format=image_format, quality=92, exif=exif)


def _draw_band(photo: Photo, number: int, probe: ShownFace) -> PIL.Image.Image:
    columns = min(MATCHES_PER_ROW, max(1, len(probe.matches)))
    num_rows = -(-max(1, len(probe.matches)) // MATCHES_PER_ROW)
    step_x, step_y = TILE + GAP, TILE + CAPTION_HEIGHT + GAP
    band = PIL.Image.new(
        "RGB", (3 * GAP + (columns + 1) * step_x, GAP + num_rows * step_y), BACKGROUND
    )
    draw = ImageDraw.Draw(band)
    band.paste(_face_tile(photo, probe.box), (GAP, GAP))
    draw.rectangle((GAP - 3, GAP - 3, GAP + TILE + 2, GAP + TILE + 2), outline=ACCENT, width=3)
    _caption(draw, (GAP, GAP + TILE), f"face {number}", "in the photo asked about", ACCENT)
    divider = GAP + step_x + GAP // 2
    draw.line((divider, GAP, divider, band.height - GAP), fill="#d2d2d7")
    for cell, match in enumerate(probe.matches):
        left = 2 * GAP + step_x + cell % MATCHES_PER_ROW * step_x
        top = GAP + cell // MATCHES_PER_ROW * step_y
        band.paste(face_tile_of(match.uri, match.box, match.also_at), (left, top))
        title = f"{match.rank}.  {match.similarity:.3f}"
        _caption(draw, (left, top + TILE), title, photo_name(match.uri), INK)
    return band


def _caption(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], title: str, detail: str, ink: str
) -> None:
    left, top = corner
    draw.text((left, top + 5), title, font=FONT, fill=ink)
    if len(detail) > 2 * MAX_SHOWN:  # measuring a text takes time by its length
        detail = f"{detail[:MAX_SHOWN]}…{detail[-MAX_SHOWN:]}"
    shown = "".join(c if c.isprintable() else "?" for c in detail)
    while len(shown) > 4 and draw.textlength(shown, font=SMALL_FONT) > TILE:
        shown = (
            f"{shown[: len(shown) // 2 - 1].rstrip('…')}…{shown[len(shown) // 2 + 1 :].lstrip('…')}"
        )
    draw.text((left, top + 24), shown, font=SMALL_FONT, fill=FAINT)


def face_tile_of(uri: str, box: Box, also_at: Sequence[str] = ()) -> PIL.Image.Image:
    """Draw a square picture of a face, or of the reason why its photo cannot be shown.

    Args:
        uri: uri of the photo.
        box: box of the face, in pixels of the photo.
        also_at: uris of the photo's other copies, of which the first `MAX_COPIES` are tried if it
            cannot be read.

    Returns:
        An RGB picture with sides of `TILE` pixels.
    """
    text = ""
    for copy in (uri, *also_at[:MAX_COPIES]):
        try:
            return _face_tile(decode_limited(read_limited(copy)), box)
        except PhotoRejectedError as error:
            text = text or f"photo not shown:\n{error.reason.value}"
        except WrongUsageError:  # an address that is not allowed, or needs another package
            text = text or "photo not shown:\nits address"
    tile = PIL.Image.new("RGB", (TILE, TILE), "#f2f2f7")
    ImageDraw.Draw(tile).text((10, 60), text, font=SMALL_FONT, fill=FAINT)
    return tile


def _face_tile(photo: Photo, whole_box: Box) -> PIL.Image.Image:
    """Cut out the square around a face, and fill it with grey where it reaches beyond the photo."""
    image = photo.image
    box = Box(*(value / photo.reduction for value in whole_box))
    side = max(2, round(CONTEXT * max(box.width, box.height)))
    left = round(box.x + box.width / 2 - side / 2)
    top = round(box.y + box.height / 2 - side / 2)
    height, width = image.shape[:2]
    inside = image[max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)]
    if inside.size == 0:
        return PIL.Image.new("RGB", (TILE, TILE), "#e5e5ea")
    scale = TILE / side
    size = [max(1, round(length * scale)) for length in (inside.shape[1], inside.shape[0])]
    tile = PIL.Image.new("RGB", (TILE, TILE), "#e5e5ea")
    shrunk = PIL.Image.fromarray(np.ascontiguousarray(inside)).resize(
        size, PIL.Image.Resampling.LANCZOS
    )
    tile.paste(shrunk, (round(max(0, -left) * scale), round(max(0, -top) * scale)))
    return tile
