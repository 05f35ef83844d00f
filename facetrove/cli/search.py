"""`facetrove search`: find the faces most like those in a photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.settings import Device
from faces.photos.reading import open_photo
from facetrove.cli.options import device_option, gathered, json_option
from facetrove.cli.terminal import print_json, print_table, shown_path, shown_uri
from facetrove.cli.text import counted, printable
from search.contact_sheet import require_picture_name, write_contact_sheet
from search.results import Match, Probe
from search.searcher import FaceSearcher, Query

query_options = gathered(
    "query",
    Query,
    click.option(
        "-k",
        type=int,
        help="Matches per face.  [default: 10, or all of a smaller index; all with "
        "--min-similarity or --fpir]",
    ),
    click.option(
        "--where",
        help="Only faces that pass a filter, as \"album = '2019'\"; see docs/search.md.",
    ),
    click.option("--min-similarity", type=click.FloatRange(-1, 1), help="Only matches above."),
    click.option(
        "--fpir",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="RATE",
        help="Only matches as similar as a stranger finds in this share of searches, as 0.01; see "
        "`facetrove calibrate`.",
    ),
    click.option(
        "--one-per",
        type=click.Choice(["photo", "person"]),
        help="The best match of each photo, or person, only.",
    ),
)


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("photo", type=click.Path(path_type=Path), required=False)
@click.option("--face", metavar="FACE_ID", help="More like this face of the index.")
@query_options
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    help="Also draw the faces and their matches into this picture (.jpg, .png, .webp).",
)
@device_option
@json_option
def search(
    index: Path,
    photo: Path | None,
    face: str | None,
    query: Query,
    sheet: Path | None,
    device: Device,
    as_json: bool,
) -> None:
    """Find the faces in INDEX most like each face in PHOTO.

    \b
    Examples:
      facetrove search faces.index me.jpg -k 5 --sheet matches.jpg
      facetrove search faces.index me.jpg --where "taken < DATE '1990-01-01'" --one-per photo
      facetrove search faces.index me.jpg --fpir 0.01
    """
    if (photo is None) == (face is None):
        raise WrongUsageError("name a photo, or a face with --face")
    if sheet is not None:
        require_picture_name(sheet)
        if photo is None:
            raise WrongUsageError("a contact sheet shows the faces of a photo; name one")
    searcher = FaceSearcher.open(index, device=device)
    shown = _Shown.by(searcher, query, as_json=as_json)
    if photo is None:
        assert face is not None
        matches = searcher.search_face(face, **vars(query))
        _show_matches(matches, face, shown)
        return
    image = open_photo(photo, searcher.pipeline.detector.reduction_for)
    probes = searcher.search(image, **vars(query))
    if not probes:
        raise FaceTroveError(
            f"no face was found in {photo}; try a photo where the face is larger or turned more "
            "towards the camera"
        )
    _show_probes(probes, photo, shown)
    if sheet is not None:
        write_contact_sheet(sheet, image, probes)
        if not as_json:
            click.echo(f"contact sheet: {sheet}")


@dataclass(frozen=True)
class _Shown:
    """What is said of every search, and how.

    Attributes:
        device: where the search was done.
        line: the FPIR asked for, and the least similarity that it means; None: not asked for.
        min_fpir: the lowest FPIR that the index can tell; None: it is not calibrated.
        as_json: print a document for machines.
    """

    device: str
    line: tuple[float, float] | None
    min_fpir: float | None
    as_json: bool

    @classmethod
    def by(cls, searcher: FaceSearcher, query: Query, *, as_json: bool) -> _Shown:
        """What a searcher says of a query."""
        line = None if query.fpir is None else (query.fpir, searcher.threshold(query.fpir))
        return cls(searcher.device, line, searcher.min_fpir, as_json)

    def to_json(self) -> dict[str, Any]:
        """The fields of the printed document that every search has."""
        line = {} if self.line is None else {"max_fpir": self.line[0], "threshold": self.line[1]}
        return {"device": self.device, **line}


def _show_probes(probes: Sequence[Probe], photo: Path, shown: _Shown) -> None:
    """Print the matches of each face of a photo as a table."""
    if shown.as_json:
        found = [probe.to_json() for probe in probes]
        print_json({"photo": str(photo), **shown.to_json(), "probes": found})
        return
    _say_where(shown)
    for number, probe in enumerate(probes, start=1):
        x, y, width, height = (round(value) for value in probe.box)
        _print_matches(
            f"face {number} of {len(probes)} in {shown_path(Path(photo.name))}, "
            f"{width}x{height} at {x},{y}",
            probe.matches,
            shown.min_fpir,
        )


def _show_matches(matches: Sequence[Match], face_id: str, shown: _Shown) -> None:
    """Print the matches of a face of the index as a table."""
    if shown.as_json:
        found = [match.to_json() for match in matches]
        print_json({"face_id": face_id, **shown.to_json(), "matches": found})
        return
    _say_where(shown)
    _print_matches(f"more like face {printable(face_id)}", matches, shown.min_fpir)


def _say_where(shown: _Shown) -> None:
    if shown.device == "cuda":
        click.echo("searched on the GPU")
    if shown.line is not None:
        fpir, threshold = shown.line
        click.echo(
            f"matches from similarity {threshold:.3f} on: {100 * fpir:.3g}% of the searches for "
            "people who are not in the index get one"
        )


def _print_matches(title: str, matches: Sequence[Match], min_fpir: float | None) -> None:
    click.echo(title)
    if not len(matches):
        click.echo("nobody was found")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("similarity", justify="right")
    if min_fpir is not None:
        table.add_column("FPIR", justify="right")
    table.add_column("face at", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    has_people = any(match.person is not None for match in matches)
    if has_people:
        table.add_column("person", overflow="fold")
    table.add_column("photo", overflow="fold")
    for match in matches:
        x, y, width, height = (round(value) for value in match.box)
        name = shown_uri(match.uri)
        if match.also_at:
            name += f" (and in {counted(len(match.also_at), 'other place')})"
        person = [Text(printable(match.person or ""))] if has_people else []
        table.add_row(
            str(match.rank),
            f"{match.similarity:.3f}",
            *([] if min_fpir is None else [_said_fpir(match.fpir, min_fpir)]),
            f"{x},{y}",
            f"{width}x{height}",
            *person,
            Text(name),
        )
    print_table(table)


def _said_fpir(fpir: float | None, least: float) -> str:
    if fpir is None:
        return ""
    return f"<={fpir:.2g}" if fpir <= least else f"{fpir:.2g}"
