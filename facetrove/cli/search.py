"""`facetrove search`: find the faces of an index that are most similar to those in a photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import click

from faces.core.errors import WrongUsageError
from faces.core.settings import Device
from faces.core.words import counted
from faces.models.face import Box
from faces.models.ranking import no_face
from faces.photos.decoding import Photo
from faces.photos.limited import open_photo
from faces.photos.metadata import PERSON
from facetrove.cli.faces_table import print_faces
from facetrove.cli.hand_on import HandOn, hand_on_options, print_csv
from facetrove.cli.options import device_option, gathered, json_option
from facetrove.cli.search_text import ShownSearch, show_joint, show_matches, show_probes
from facetrove.cli.terminal import print_json
from facetrove.cli.text import printable
from indexer.people_columns import mentions_people
from search.answering import Query
from search.contact_sheet import ShownFace, write_contact_sheet
from search.listing import ListedFace
from search.results import CandidateList, Probe
from search.searcher import FaceSearcher

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
        "the share of searches for people who are not in the index that return a match. The "
        "threshold is the index's own (see `facetrove calibrate`), or the models' figure.",
    ),
    click.option(
        "--one-per",
        type=click.Choice(["photo", "person"]),
        help="Return only the best match of each photo, whatever sizes it exists in, or of each "
        "person.",
    ),
)


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("photos", type=click.Path(path_type=Path), nargs=-1, metavar="[PHOTO]...")
@click.option(
    "--face", metavar="FACE_ID", help="Search for this face of the index instead of a photo."
)
@click.option(
    "--probe-face",
    "probe_faces",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="NUMBER",
    help="Search only for this face of the photo, counted from the largest. With --together, the "
    "person's face in each photo, given once or once for each photo.  [default: all faces; with "
    "--together, the largest]",
)
@click.option(
    "--together",
    is_flag=True,
    help="Search for one person, whom all PHOTOs show, by the mean of the embeddings.",
)
@query_options
@hand_on_options
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Dataset whose people book says who is who.  [default: the one that INDEX was built from]",
)
@device_option
@json_option
def search(
    index: Path,
    photos: tuple[Path, ...],
    face: str | None,
    probe_faces: tuple[int, ...],
    together: bool,
    query: Query,
    hand_on: HandOn,
    dataset: Path | None,
    device: Device,
    as_json: bool,
) -> None:
    """Find the faces in INDEX that are most similar to each face in PHOTO.

    Similarity lies between -1 and 1; higher is nearer. The column `strangers` says how many
    searches for people who are not in the index find a match as similar, such as `1 in 27`. That is
    the models' figure for an index of this size, until `facetrove calibrate` measures it.

    Several photos of one person make one probe with --together, which misses the person less often.
    Without a photo, --where lists all faces that match the filter.

    \b
    Examples:
      facetrove search faces.index me.jpg -k 5 --sheet matches.jpg
      facetrove search faces.index me.jpg --where "taken < DATE '1990-01-01'" --one-per photo
      facetrove search faces.index me.jpg --fpir 0.01
      facetrove search faces.index party.jpg --probe-face 2
      facetrove search faces.index me1.jpg me2.jpg me3.jpg --together
      facetrove search faces.index --where "person = 'Ann'" --copy-to ann --sheet ann.html
    """
    is_listing = not photos and face is None and query.where is not None
    if is_listing:
        _require_listing(query, probe_faces, together=together)
    else:
        _require_probe(photos, face, probe_faces, together=together, sheet=hand_on.sheet)
    hand_on.check(as_json=as_json)
    searcher = FaceSearcher.open(index, device=device, dataset=dataset)
    _tell_of_names(searcher, query)
    columns = hand_on.columns(searcher.columns)
    if is_listing:
        _list_faces(searcher, query, hand_on, columns, as_json=as_json)
        return
    shown = ShownSearch.of(searcher, query, columns=columns, as_json=as_json)
    if face is not None:
        matches = searcher.search_face(face, **vars(query))
        answers = _Answers([matches], partial(show_matches, matches, face, shown))
    elif together:
        answers = _search_together(searcher, photos, probe_faces, query, shown)
    else:
        answers = _search_photo(searcher, photos[0], probe_faces, query, shown)
    if hand_on.as_csv:
        faces = ((number, match) for number, one in enumerate(answers.lists, 1) for match in one)
        print_csv(faces, columns, searcher.columns)
    else:
        answers.show()
    quiet = as_json or hand_on.as_csv
    if hand_on.sheet is not None:
        image = open_photo(photos[0], searcher.pipeline.detector.reduction_for)
        _write_sheet(hand_on.sheet, image, answers.probes, columns, quiet=quiet)
    hand_on.copy(chain.from_iterable(answers.lists), quiet=quiet)


def _tell_of_names(searcher: FaceSearcher, query: Query) -> None:
    """Print that names are old ones, where they are asked for or shown."""
    asked = query.one_per == "person" or (query.where and mentions_people(query.where))
    if searcher.names_from == "build" and (asked or PERSON in searcher.columns):
        click.echo(
            "names of people are those that photo lists gave when the index was built: its dataset "
            "is not where it was; --dataset names it",
            err=True,
        )


class _Answers(NamedTuple):
    """The answers to a search: a candidate list for each probe, and how to print them.

    Attributes:
        lists: the candidate lists.
        show: function that prints them as tables or as JSON.
        probes: the faces of the photo, for a contact sheet; empty for another search.
    """

    lists: Sequence[CandidateList]
    show: Callable[[], None]
    probes: Sequence[Probe] = ()


def _search_together(
    searcher: FaceSearcher,
    photos: Sequence[Path],
    probe_faces: tuple[int, ...],
    query: Query,
    shown: ShownSearch,
) -> _Answers:
    numbers = probe_faces[0] if len(probe_faces) == 1 else probe_faces or 1
    joint = searcher.search_together(photos, face=numbers, **vars(query))
    return _Answers([joint.matches], partial(show_joint, joint, photos, shown))


def _search_photo(
    searcher: FaceSearcher,
    photo: Path,
    probe_faces: tuple[int, ...],
    query: Query,
    shown: ShownSearch,
) -> _Answers:
    probes = searcher.search(photo, face=next(iter(probe_faces), None), **vars(query))
    if not probes:
        raise no_face(str(photo))
    show = partial(show_probes, probes, photo, shown)
    return _Answers([probe.matches for probe in probes], show, probes)


def _write_sheet(
    sheet: Path,
    image: Photo | None,
    probes: Sequence[ShownFace],
    columns: Sequence[str] | None,
    *,
    quiet: bool,
) -> None:
    for path in write_contact_sheet(sheet, image, probes, columns=columns):
        if not quiet:
            click.echo(f"contact sheet: {printable(str(path))}")


@dataclass(frozen=True)
class _Listing:
    """The faces of a listing, as one band of a contact sheet, which has no probe."""

    matches: Sequence[ListedFace]
    box: Box


def _require_listing(query: Query, probe_faces: tuple[int, ...], *, together: bool) -> None:
    """Raise WrongUsageError for options that need a face to compare with."""
    given = {
        "--together": together,
        "--probe-face": probe_faces,
        "--min-similarity": query.min_similarity is not None,
        "--fpir": query.fpir is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise WrongUsageError(
                f"{option} compares with a face, and no photo is given; give a photo, or leave "
                "it out to list the faces that match the filter"
            )


def _list_faces(
    searcher: FaceSearcher,
    query: Query,
    hand_on: HandOn,
    columns: Sequence[str] | None,
    *,
    as_json: bool,
) -> None:
    """Print the faces that match a filter, without a probe."""
    assert query.where is not None
    faces = searcher.list_faces(query.where, k=query.k, one_per=query.one_per)
    if hand_on.as_csv:
        print_csv(((None, face) for face in faces), columns, searcher.columns)
    elif as_json:
        head = {"where": query.where, "names_from": searcher.names_from}
        print_json({**head, "faces": [face.to_json() for face in faces]})
    else:
        verb = "matches" if len(faces) == 1 else "match"
        print_faces(f"{counted(len(faces), 'face')} {verb} the filter", faces, columns or ())
    quiet = as_json or hand_on.as_csv
    if hand_on.sheet is not None and faces:
        _write_sheet(hand_on.sheet, None, [_Listing(faces, Box(0, 0, 0, 0))], columns, quiet=quiet)
    hand_on.copy(faces, quiet=quiet)


def _require_probe(
    photos: tuple[Path, ...],
    face: str | None,
    probe_faces: tuple[int, ...],
    *,
    together: bool,
    sheet: Path | None,
) -> None:
    """Raise WrongUsageError unless the arguments name one probe photo, face or set of photos."""
    if bool(photos) == (face is not None):
        raise WrongUsageError(
            "give either a photo to search for, or a face with --face; or --where alone, to list "
            "the faces that match a filter"
        )
    if face is not None and (together or probe_faces):
        raise WrongUsageError(
            "--together and --probe-face are about the faces of photos; leave them out with --face"
        )
    if len(photos) > 1 and not together:
        raise WrongUsageError(
            f"{len(photos)} photos are given; add --together if all show the person to search for, "
            "or search for one photo at a time"
        )
    if not together and len(probe_faces) > 1:
        raise WrongUsageError(
            f"--probe-face is given {len(probe_faces)} times for one photo; give it once, or leave "
            "it out to search for all faces"
        )
    if sheet is not None and (face is not None or together):
        raise WrongUsageError(
            "--sheet shows the faces of one photo; give one photo instead of --face or "
            "--together, or leave --sheet out"
        )
