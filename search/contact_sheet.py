"""Contact sheets: pictures or a page of search results, each probe's face beside its matches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL.Image
from PIL import ImageDraw

from faces.core.errors import WrongUsageError
from faces.core.storage import put_file
from faces.models.face import Box
from faces.photos.decoding import Image, Photo, as_photo
from faces.photos.limited import decode_limited, read_limited
from faces.photos.metadata import PERSON
from faces.photos.rejection import PhotoRejectedError
from search.html_sheet import figure, page
from search.sheet_files import EXIF_SOFTWARE, SHEET_MARK, require_picture_name, sheet_paths
from search.sheet_fonts import SheetFont
from search.shown_face import FoundFace, columns_to_show, in_words, place_of, value_of

MAX_SIDE = 8_000
"""Largest width and height of a picture in pixels: 190 MB in memory. What does not fit goes into
further columns, and then into further files."""

TILE = 160
"""Side of a face's tile in pixels; the gaps and captions below are in pixels too."""

GAP = 16
TITLE_HEIGHT, LINE_HEIGHT = 26, 17
MATCHES_PER_ROW = 6
CONTEXT = 1.6
"""Side of the square that a tile shows, relative to the longer side of the face's box."""

MAX_COPIES = 8
"""Number of places of a photo that are tried until one can be read."""

BACKGROUND, INK, FAINT, ACCENT, DOUBT = "#ffffff", "#1c1c1e", "#6e6e73", "#0a5fb4", "#d97706"
FONT = SheetFont(15)
SMALL_FONT = SheetFont(12)


class ShownFace(Protocol):
    """A face of the photo that was searched for, with its matches, such as a `Probe`."""

    @property
    def box(self) -> Box:
        """The face's box: x, y, width, height in pixels of the photo."""
        ...

    @property
    def matches(self) -> Sequence[FoundFace]:
        """The face's matches, most similar first."""
        ...


@dataclass(frozen=True)
class SheetCell:
    """A face with its caption.

    Attributes:
        tile: picture of the face.
        title: first line of the caption.
        details: further lines: the photo's name, its folder, and its columns.
        is_probe: whether it is a face that was searched for, and stands before the others.
        is_marked: whether it is to be looked at with doubt.
    """

    tile: PIL.Image.Image
    title: str
    details: tuple[str, ...]
    is_probe: bool = False
    is_marked: bool = False


def write_contact_sheet(
    path: Path,
    photo: Photo | Image | None,
    probes: Sequence[ShownFace],
    *,
    columns: Sequence[str] | None = None,
) -> list[Path]:
    """Draw a contact sheet: a band for each probe, its face first, then its matches.

    Args:
        path: path of the file, ending in .jpg, .jpeg, .png, .webp or .html; only an earlier contact
            sheet is replaced. A web page is one file, which loads nothing and needs no other.
        photo: the photo that was searched for; an array is (height, width, 3) uint8 RGB; None: no
            photo was, and the faces stand without the probe.
        probes: the result of the search, at least one probe.
        columns: names of columns of the photo lists to show below each match, besides the photo's
            name and folder; None: `person`, `taken` and `album`, as far as the photos have them.

    Returns:
        The paths of the files: `path`, or if the picture would be too large sheet-1.jpg, and so on.

    Raises:
        WrongUsageError: the file cannot be written at this path, or there is no such column.
    """
    require_picture_name(path)
    found = [list(probe.matches) for probe in probes]
    known = {PERSON: None} | {n: None for faces in found for face in faces for n in face.metadata}
    shown = columns_to_show(columns, list(known)) if any(found) else ()
    asked = None if photo is None else as_photo(photo)
    bands = (
        _cells(asked, number, probe.box, faces, shown)
        for number, (probe, faces) in enumerate(zip(probes, found, strict=True), start=1)
    )
    return write_bands(path, bands)


def write_bands(path: Path, bands: Iterable[Sequence[SheetCell]]) -> list[Path]:
    """Write a contact sheet of bands of cells, and return the paths of its files.

    Args:
        path: path of the file, see `write_contact_sheet`.
        bands: the bands, at least one.
    """
    if path.suffix.lower() == ".html":
        with put_file(path) as file:
            figures = (
                [
                    figure(c.tile, c.title, c.details, is_probe=c.is_probe, is_marked=c.is_marked)
                    for c in band
                ]
                for band in bands
            )
            file.writelines(piece.encode() for piece in page(figures))
        return [path]
    pictures = draw_contact_sheets(list(bands))
    paths = sheet_paths(path, len(pictures))
    for one, picture in zip(paths, pictures, strict=True):
        with put_file(one) as file:
            exif = PIL.Image.Exif()
            exif[EXIF_SOFTWARE] = SHEET_MARK
            image_format = PIL.Image.registered_extensions()[path.suffix.lower()]
            picture.save(file, format=image_format, quality=92, exif=exif)
    return paths


def _cells(
    photo: Photo | None, number: int, box: Box, faces: Sequence[FoundFace], columns: Sequence[str]
) -> list[SheetCell]:
    """Return the cells of a band: the probe's face, if there is a photo, then its matches."""
    cells = []
    if photo is not None:
        tile = _face_tile(photo, box)
        cells.append(
            SheetCell(tile, f"face {number}", ("in the photo asked about",), is_probe=True)
        )
    for match in faces:
        name, folder = place_of(match.uri)
        values = filter(None, (in_words(value_of(match, column)) for column in columns))
        rank, similarity = getattr(match, "rank", None), getattr(match, "similarity", None)
        title = name if similarity is None else f"{rank}.  {similarity:.3f}"
        lines = (folder, *values) if similarity is None else (name, folder, *values)
        cells.append(SheetCell(face_tile_of(match.uri, match.box, match.also_at), title, lines))
    return cells


def draw_contact_sheets(bands: Sequence[Sequence[SheetCell]]) -> list[PIL.Image.Image]:
    """Draw bands of cells on as many RGB pictures as are needed, none larger than `MAX_SIDE`."""
    lines = max((len(cell.details) for band in bands for cell in band), default=1)
    step_y = TILE + TITLE_HEIGHT + LINE_HEIGHT * lines + GAP
    drawn = [piece for band in bands for piece in _draw_band(band, step_y)]
    width = max(piece.width for piece in drawn)
    columns: list[list[PIL.Image.Image]] = [[]]
    for piece in drawn:
        if sum(one.height for one in columns[-1]) + piece.height > MAX_SIDE:
            columns.append([])
        columns[-1].append(piece)
    per_picture = max(1, MAX_SIDE // width)
    pictures = []
    for start in range(0, len(columns), per_picture):
        shown = columns[start : start + per_picture]
        height = max(sum(piece.height for piece in column) for column in shown)
        picture = PIL.Image.new("RGB", (width * len(shown), height), BACKGROUND)
        for number, column in enumerate(shown):
            top = 0
            for piece in column:
                picture.paste(piece, (number * width, top))
                top += piece.height
        pictures.append(picture)
    return pictures


def _draw_band(cells: Sequence[SheetCell], step_y: int) -> Iterator[PIL.Image.Image]:
    """Draw a band of cells, the probe's to the left; a band that is too high in several pieces."""
    probe = cells[0] if cells and cells[0].is_probe else None
    matches = cells if probe is None else cells[1:]
    per_piece = MATCHES_PER_ROW * max(1, (MAX_SIDE - GAP) // step_y)
    for start in range(0, max(1, len(matches)), per_piece):
        yield _draw_piece(probe, matches[start : start + per_piece], step_y)


def _draw_piece(
    probe: SheetCell | None, matches: Sequence[SheetCell], step_y: int
) -> PIL.Image.Image:
    columns = min(MATCHES_PER_ROW, max(1, len(matches)))
    num_rows = -(-max(1, len(matches)) // MATCHES_PER_ROW)
    step_x = TILE + GAP
    first = GAP if probe is None else 2 * GAP + step_x
    band = PIL.Image.new(
        "RGB", (first + columns * step_x + GAP, GAP + num_rows * step_y), BACKGROUND
    )
    draw = ImageDraw.Draw(band)
    if probe is not None:
        _draw_cell(band, draw, (GAP, GAP), probe)
        draw.rectangle((GAP - 3, GAP - 3, GAP + TILE + 2, GAP + TILE + 2), outline=ACCENT, width=3)
        divider = GAP + step_x + GAP // 2
        draw.line((divider, GAP, divider, band.height - GAP), fill="#d2d2d7")
    for number, cell in enumerate(matches):
        left = first + number % MATCHES_PER_ROW * step_x
        _draw_cell(band, draw, (left, GAP + number // MATCHES_PER_ROW * step_y), cell)
    return band


def _draw_cell(
    band: PIL.Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: SheetCell
) -> None:
    left, top = corner
    band.paste(cell.tile, (left, top))
    if cell.is_marked:
        draw.rectangle((left - 3, top - 3, left + TILE + 2, top + TILE + 2), outline=DOUBT, width=3)
    ink = ACCENT if cell.is_probe else INK
    FONT.draw(draw, (left, top + TILE + 4), FONT.shortened(cell.title, TILE), ink)
    for number, line in enumerate(cell.details):
        place = (left, top + TILE + TITLE_HEIGHT + number * LINE_HEIGHT)
        SMALL_FONT.draw(draw, place, SMALL_FONT.shortened(line, TILE), FAINT)


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
    for number, line in enumerate(text.splitlines()):
        SMALL_FONT.draw(ImageDraw.Draw(tile), (10, 60 + number * LINE_HEIGHT), line, FAINT)
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
