"""`facetrove search`: find the faces of an index that are most similar to those in a photo."""

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
        metavar="COUNT",
        help="Number of matches per face.  [default: 10, or all faces of a smaller index; all "
        "matches with --min-similarity or --fpir]",
    ),
    click.option(
        "--where",
        metavar="FILTER",
        help="Search only faces that match this filter, such as \"album = '2019'\"; see "
        "docs/search.md.",
    ),
    click.option(
        "--min-similarity",
        type=click.FloatRange(-1, 1),
        help="Return only matches with at least this similarity.",
    ),
    click.option(
        "--fpir",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="RATE",
        help="Return only matches above the threshold of this false-positive rate, such as 0.01: "
        "the share of searches for people who are not in the index that return a match. The index "
        "must be calibrated (see `facetrove calibrate`).",
    ),
    click.option(
        "--one-per",
        type=click.Choice(["photo", "person"]),
        help="Return only the best match of each photo, or of each person.",
    ),
)


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("photo", type=click.Path(path_type=Path), required=False)
@click.option(
    "--face", metavar="FACE_ID", help="Search for this face of the index instead of a photo."
)
@query_options
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    help="Also draw the faces and their matches side by side, in this picture file (.jpg, .png, "
    ".webp).",
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
    """Find the faces in INDEX that are most similar to each face in PHOTO.

    Similarity lies between -1 and 1; higher is nearer. Which similarity tells one person from two
    depends on the model and the index: `facetrove calibrate` measures how often searches for
    strangers reach it.

    \b
    Examples:
      facetrove search faces.index me.jpg -k 5 --sheet matches.jpg
      facetrove search faces.index me.jpg --where "taken < DATE '1990-01-01'" --one-per photo
      facetrove search faces.index me.jpg --fpir 0.01
    """
    if (photo is None) == (face is None):
        raise WrongUsageError("give either a photo to search for, or a face with --face")
    if sheet is not None:
        require_picture_name(sheet)
        if photo is None:
            raise WrongUsageError(
                "--sheet shows the faces of a photo; give a photo instead of --face, or leave "
                "--sheet out"
            )
    searcher = FaceSearcher.open(index, device=device)
    shown = _Shown.of(searcher, query, as_json=as_json)
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
    """What is printed about a search beside its matches, and how.

    Attributes:
        device: device that answered the search.
        fpir_threshold: the FPIR of the query and the similarity threshold that it stands for;
            None: the query has no FPIR.
        min_fpir: lowest FPIR that the index's calibration covers; None: it is not calibrated.
        as_json: whether to print one JSON document.
    """

    device: str
    fpir_threshold: tuple[float, float] | None
    min_fpir: float | None
    as_json: bool

    @classmethod
    def of(cls, searcher: FaceSearcher, query: Query, *, as_json: bool) -> _Shown:
        """Describe how a searcher answers a query.

        Raises:
            WrongUsageError: the query has an FPIR that the index's calibration does not cover.
        """
        fpir_threshold = None
        if query.fpir is not None:
            fpir_threshold = query.fpir, searcher.threshold(query.fpir)
        return cls(searcher.device, fpir_threshold, searcher.min_fpir, as_json)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that the JSON document of every search has."""
        if self.fpir_threshold is None:
            return {"device": self.device}
        fpir, threshold = self.fpir_threshold
        return {"device": self.device, "max_fpir": fpir, "threshold": threshold}


def _show_probes(probes: Sequence[Probe], photo: Path, shown: _Shown) -> None:
    """Print a table of matches for each face of a photo, or all as one JSON document."""
    if shown.as_json:
        found = [probe.to_json() for probe in probes]
        print_json({"photo": str(photo), **shown.to_json(), "probes": found})
        return
    _print_conditions(shown)
    for number, probe in enumerate(probes, start=1):
        x, y, width, height = (round(value) for value in probe.box)
        _print_matches(
            f"face {number} of {len(probes)} in {shown_path(Path(photo.name))}, "
            f"{width}x{height} at {x},{y}",
            probe.matches,
            shown.min_fpir,
        )


def _show_matches(matches: Sequence[Match], face_id: str, shown: _Shown) -> None:
    """Print the matches of a face of the index as a table, or as one JSON document."""
    if shown.as_json:
        found = [match.to_json() for match in matches]
        print_json({"face_id": face_id, **shown.to_json(), "matches": found})
        return
    _print_conditions(shown)
    _print_matches(f"most similar to face {printable(face_id)}", matches, shown.min_fpir)


def _print_conditions(shown: _Shown) -> None:
    """Print the device of a search if it is a GPU, and the threshold if an FPIR was asked for."""
    if shown.device == "cuda":
        click.echo("searched on the GPU")
    if shown.fpir_threshold is not None:
        fpir, threshold = shown.fpir_threshold
        click.echo(
            f"matches have similarity {threshold:.3f} or more: {100 * fpir:.3g}% of searches for "
            "people who are not in the index return one"
        )


def _print_matches(title: str, matches: Sequence[Match], min_fpir: float | None) -> None:
    """Print matches as a table with a title.

    Args:
        title: line above the table.
        matches: matches of one face, best first.
        min_fpir: lowest FPIR that the calibration covers; None: print no column FPIR.
    """
    click.echo(title)
    if not len(matches):
        click.echo("no match was found")
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
            name += f" (and {counted(len(match.also_at), 'other file')} of the same content)"
        person = [Text(printable(match.person or ""))] if has_people else []
        table.add_row(
            str(match.rank),
            f"{match.similarity:.3f}",
            *([] if min_fpir is None else [_fpir_in_words(match.fpir, min_fpir)]),
            f"{x},{y}",
            f"{width}x{height}",
            *person,
            Text(name),
        )
    print_table(table)


def _fpir_in_words(fpir: float | None, min_fpir: float) -> str:
    """Return a match's FPIR as text, `<=0.01` where the calibration does not reach lower."""
    if fpir is None:
        return ""
    return f"<={fpir:.2g}" if fpir <= min_fpir else f"{fpir:.2g}"
