"""The files of contact sheets: where one may be written, told without what is needed to draw it."""

from __future__ import annotations

import re
from pathlib import Path

import PIL.Image

from faces.core.errors import WrongUsageError
from faces.core.named import require_no_address

SHEET_MARK = "facetrove contact sheet"
"""Value of the Exif tag `EXIF_SOFTWARE` by which contact sheets are recognised."""

EXIF_SOFTWARE = 0x0131
"""The Exif 2.32 tag that names the program that made a picture."""

HTML_MARK = '<meta name="generator" content="facetrove contact sheet">'
"""Tag near the beginning of every contact sheet that is a web page."""

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SHEET_SUFFIXES = (*PICTURE_SUFFIXES, ".html")


def require_picture_name(path: Path) -> None:
    """Raise WrongUsageError unless a contact sheet can be written to a path.

    An existing file is replaced only if it is a contact sheet: a mistyped path must not cost
    anyone a photo. That counts for the files of `sheet_paths`, too.

    Raises:
        WrongUsageError: the suffix is not one of `SHEET_SUFFIXES`, the file exists and is no
            contact sheet, or its folder does not exist.
    """
    require_no_address(path)
    if path.suffix.lower() not in SHEET_SUFFIXES:
        raise WrongUsageError(
            f"{path} does not name a picture format; end it in one of {', '.join(SHEET_SUFFIXES)}"
        )
    for existing in (path, *further_sheets(path)):
        if existing.exists() and not (existing.is_file() and _is_contact_sheet(existing)):
            raise WrongUsageError(f"{existing} exists and is no contact sheet; name another file")
    if not path.parent.is_dir():
        raise WrongUsageError(f"folder {path.parent} does not exist; make it first")


def sheet_paths(path: Path, count: int) -> list[Path]:
    """Return the paths of a sheet's files: the path itself, or of several sheet-1.jpg and so on."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def further_sheets(path: Path) -> list[Path]:
    """Return the existing files that a sheet of several files would replace; a page is one file."""
    pattern = re.compile(re.escape(path.stem) + "-[0-9]+" + re.escape(path.suffix))
    if path.suffix.lower() not in PICTURE_SUFFIXES or not path.parent.is_dir():
        return []
    return [one for one in sorted(path.parent.iterdir()) if pattern.fullmatch(one.name)]


def _is_contact_sheet(path: Path) -> bool:
    """Return whether a file is a contact sheet, by what stands before its pixels."""
    if path.suffix.lower() == ".html":
        with path.open("rb") as file:
            return HTML_MARK.encode() in file.read(1000)
    try:
        with PIL.Image.open(path, formats=("JPEG", "PNG", "WEBP")) as picture:
            # Without that, Pillow would decode a PNG to look for what may stand behind its pixels.
            if "exif" not in picture.info:
                return False
            return bool(picture.getexif().get(EXIF_SOFTWARE) == SHEET_MARK)
    except Exception:  # Pillow raises nearly any for odd files
        return False
