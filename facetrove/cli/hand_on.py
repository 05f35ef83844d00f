"""What `facetrove search` hands on beside the table: a sheet, CSV, copies of the photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from faces.core.errors import WrongUsageError
from faces.core.words import counted
from faces.photos.metadata import PERSON
from facetrove.cli.csv_text import as_csv
from facetrove.cli.options import gathered
from facetrove.cli.terminal import show_first, shown_uri
from facetrove.cli.text import printable
from search.copies import copy_photos, require_new_folder
from search.sheet_files import require_picture_name
from search.shown_face import FoundFace, columns_to_show, place_of, value_of

FAILURES_SHOWN = 5
"""At most so many photos that could not be copied are named."""


@dataclass(frozen=True)
class HandOn:
    """What is handed on of the faces that a search finds.

    Attributes:
        sheet: path of the contact sheet; None: none is drawn.
        as_csv: whether the faces are printed as CSV.
        asked_columns: names of the columns that are shown, joined by commas; None: the usual ones.
        copy_to: folder that the photos are copied to; None: they are not.
    """

    sheet: Path | None
    as_csv: bool
    asked_columns: str | None
    copy_to: Path | None

    def check(self, *, as_json: bool) -> None:
        """Raise WrongUsageError if the options do not fit together, or files cannot be written."""
        if self.as_csv and as_json:
            raise WrongUsageError("--csv and --json are given; leave one of them out")
        if self.sheet is not None:
            require_picture_name(self.sheet)
        if self.copy_to is not None:
            require_new_folder(self.copy_to)

    def columns(self, known: Sequence[str]) -> tuple[str, ...] | None:
        """Return the columns that were asked for, as the index spells them; None: none was.

        Raises:
            WrongUsageError: the index has no such column.
        """
        if self.asked_columns is None:
            return None
        return columns_to_show([name.strip() for name in self.asked_columns.split(",")], known)

    def copy(self, faces: Iterable[FoundFace], *, quiet: bool) -> None:
        """Copy the photos of faces, if that was asked for."""
        if self.copy_to is None:
            return
        done = copy_photos(faces, self.copy_to)
        if not quiet:
            name = printable(str(self.copy_to))
            click.echo(f"copied {counted(len(done.copied), 'photo')} to {name}")
        show_first(
            done.failed,
            lambda failed: f"not copied: {shown_uri(failed[0])} ({printable(failed[1])})",
            FAILURES_SHOWN,
            rest=lambda count: f"nor {counted(count, 'further photo')}",
            err=True,
        )


def print_csv(
    faces: Iterable[tuple[int | None, FoundFace]],
    columns: Sequence[str] | None,
    known: Sequence[str],
) -> None:
    """Print faces as CSV, each with the number of its probe.

    Args:
        faces: the faces, each with the number of the probe that it was found for, if any.
        columns: the columns of photo lists that are asked for, from `HandOn.columns`; None: all.
        known: names of the index's columns of photo lists.
    """
    shown = columns or tuple(dict.fromkeys([PERSON, *known]))
    rows = [_csv_row(probe, face, shown) for probe, face in faces]
    click.echo(as_csv([*_CSV_COLUMNS, *shown], rows), nl=False)


_CSV_COLUMNS = (
    *("probe", "rank", "similarity", "strangers", "name", "folder", "uri", "also_at"),
    *("x", "y", "width", "height", "face_id", "photo_id"),
)


def _csv_row(probe: int | None, face: FoundFace, columns: Sequence[str]) -> dict[str, Any]:
    name, folder = place_of(face.uri)
    fields = ("rank", "similarity", "strangers", "uri", "also_at", "face_id", "photo_id")
    return {
        "probe": probe,
        **{field: getattr(face, field, None) for field in fields},
        "name": name,
        "folder": folder,
        **{side: round(value, 1) for side, value in face.box._asdict().items()},
        **{column: value_of(face, column) for column in columns},
    }


hand_on_options = gathered(
    "hand_on",
    HandOn,
    click.option(
        "--sheet",
        type=click.Path(path_type=Path),
        help="Also draw the faces and their matches side by side, in this picture file (.jpg, "
        ".png, .webp), or on this web page (.html), which is one file and shows every script.",
    ),
    click.option("--csv", "as_csv", is_flag=True, help="Print the result as CSV."),
    click.option(
        "--columns",
        "asked_columns",
        metavar="NAMES",
        help="Show these columns of the photo lists, such as person,album, in the table, the sheet "
        "and the CSV.",
    ),
    click.option(
        "--copy-to",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Also copy the photos that were found to this folder, which must be new or empty.",
    ),
)
