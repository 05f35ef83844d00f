"""The files of contact sheets: where one may be written, told without what is needed to draw it."""

from __future__ import annotations

from pathlib import Path

import PIL.Image

from faces.core.errors import WrongUsageError
from faces.core.named import require_no_address

SHEET_MARK = "facetrove contact sheet"
"""Value of the Exif tag `EXIF_SOFTWARE` by which contact sheets are recognised."""

EXIF_SOFTWARE = 0x0131
"""The Exif 2.32 tag that names the program that made a picture."""

SHEET_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def require_picture_name(path: Path) -> None:
    """Raise WrongUsageError unless a contact sheet can be written to a path.

    An existing file is replaced only if it is a contact sheet: a mistyped path must not cost
    anyone a photo.

    Raises:
        WrongUsageError: the suffix is not one of `SHEET_SUFFIXES`, the file exists and is no
            contact sheet, or its folder does not exist.
    """
    require_no_address(path)
    if path.suffix.lower() not in SHEET_SUFFIXES:
        raise WrongUsageError(
            f"{path} does not name a picture format; end it in one of {', '.join(SHEET_SUFFIXES)}"
        )
    if path.exists() and not _is_contact_sheet(path):
        raise WrongUsageError(f"{path} exists and is no contact sheet; name another file")
    if not path.parent.is_dir():
        raise WrongUsageError(f"folder {path.parent} does not exist; make it first")


def _is_contact_sheet(path: Path) -> bool:
    try:
        with PIL.Image.open(path) as picture:
            return bool(picture.getexif().get(EXIF_SOFTWARE) == SHEET_MARK)
    except OSError:
        return False
