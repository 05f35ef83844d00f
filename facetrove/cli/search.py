"""`facetrove search`: find the faces of an index that are most similar to those in a photo."""

# Over 400 lines: a command with its options, checks and text.
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click

from faces.core.errors import WrongUsageError
from faces.core.settings import Device
from faces.core.words import counted
from faces.models.face import Box, box_in_words
from faces.models.ranking import no_face
from faces.photos.decoding import Photo
from faces.photos.limited import open_photo
from faces.photos.metadata import PERSON
from facetrove.cli.faces_table import print_faces
from facetrove.cli.hand_on import HandOn, hand_on_options, print_csv
from facetrove.cli.options import device_option, gathered, json_option
from facetrove.cli.terminal import print_json, shown_path
from facetrove.cli.text import printable
from indexer.people_columns import mentions_people
from indexer.stranger_rates import StrangerRates
from search.answering import Query
from search.contact_sheet import ShownFace, write_contact_sheet
from search.index_people import NamesFrom
from search.listing import ListedFace
from search.results import JOINT_GROWTH, CandidateList, JointProbe, Match, Probe, ProbeFace
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
        sheet = hand_on.sheet
        _require_probe(photos, face, probe_faces, together=together, sheet=sheet)
    hand_on.check(as_json=as_json)
    searcher = FaceSearcher.open(index, device=device, dataset=dataset)
    _tell_of_names(searcher, query)
    columns = hand_on.columns(searcher.columns)
    if is_listing:
        _list_faces(searcher, query, hand_on, columns, as_json=as_json)
        return
    shown = _Shown.of(searcher, query, columns=columns, as_json=as_json)
    if face is not None:
        matches = searcher.search_face(face, **vars(query))
        answers = _Answers([matches], partial(_show_matches, matches, face, shown))
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
    shown: _Shown,
) -> _Answers:
    numbers = probe_faces[0] if len(probe_faces) == 1 else probe_faces or 1
    joint = searcher.search_together(photos, face=numbers, **vars(query))
    return _Answers([joint.matches], partial(_show_joint, joint, photos, shown))


def _search_photo(
    searcher: FaceSearcher, photo: Path, probe_faces: tuple[int, ...], query: Query, shown: _Shown
) -> _Answers:
    probes = searcher.search(photo, face=next(iter(probe_faces), None), **vars(query))
    if not probes:
        raise no_face(str(photo))
    show = partial(_show_probes, probes, photo, shown)
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


@dataclass(frozen=True)
class _Shown:
    """What is printed about a search beside its matches, and how.

    Attributes:
        device: device that answered the search.
        fpir_threshold: the FPIR of the query and the similarity threshold that it stands for;
            None: the query has no FPIR.
        rates: how often searches for strangers find a match.
        names_from: where names of people come from.
        columns: names of columns of the photo lists that the table has.
        as_json: whether to print one JSON document.
    """

    device: str
    fpir_threshold: tuple[float, float] | None
    rates: StrangerRates
    names_from: NamesFrom
    columns: Sequence[str]
    as_json: bool

    @classmethod
    def of(
        cls, searcher: FaceSearcher, query: Query, *, columns: Sequence[str] | None, as_json: bool
    ) -> _Shown:
        """Describe how a searcher answers a query.

        Raises:
            WrongUsageError: the query has an FPIR at which no threshold is known.
        """
        fpir_threshold = None
        if query.fpir is not None:
            fpir_threshold = query.fpir, searcher.threshold(query.fpir)
        return cls(
            *(searcher.device, fpir_threshold, searcher.rates, searcher.names_from),
            columns or (),
            as_json,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields that the JSON document of every search has."""
        basis = {"fpir_basis": self.rates.basis, "fpir_explanation": self.rates.explanation}
        head = {"device": self.device, "names_from": self.names_from, **basis}
        if self.fpir_threshold is None:
            return head
        fpir, threshold = self.fpir_threshold
        return {**head, "max_fpir": fpir, "threshold": threshold}


def _show_probes(probes: Sequence[Probe], photo: Path, shown: _Shown) -> None:
    """Print a table of matches for each face of a photo, or all as one JSON document."""
    if shown.as_json:
        found = [probe.to_json() for probe in probes]
        print_json({"photo": str(photo), **shown.to_json(), "probes": found})
        return
    _print_conditions(shown)
    for probe in probes:
        print_faces(_face_in_words(probe, photo), probe.matches, shown.columns)


def _show_joint(probe: JointProbe, photos: Sequence[Path], shown: _Shown) -> None:
    """Print the matches of several photos of one person as a table, or as one JSON document."""
    if shown.as_json:
        named = [str(photo) for photo in photos]
        print_json({"photos": named, **shown.to_json(), **probe.to_json()})
        return
    _print_conditions(shown)
    if len(photos) > 1:
        click.echo(
            f"the probe is the mean of {len(photos)} faces; the two least alike of them have "
            f"similarity {probe.min_similarity:.3f}"
        )
        if shown.rates.basis is not None:
            click.echo(
                "the rates are those of probes of one face: strangers whom several photos show "
                f"find a match as similar about {JOINT_GROWTH} times as often"
            )
    faces = map(_face_in_words, probe.faces, photos)
    print_faces("; ".join(faces), probe.matches, shown.columns)


def _show_matches(matches: Sequence[Match], face_id: str, shown: _Shown) -> None:
    """Print the matches of a face of the index as a table, or as one JSON document."""
    if shown.as_json:
        found = [match.to_json() for match in matches]
        print_json({"face_id": face_id, **shown.to_json(), "matches": found})
        return
    _print_conditions(shown)
    print_faces(f"most similar to face {printable(face_id)}", matches, shown.columns)


def _face_in_words(face: Probe | ProbeFace, photo: Path) -> str:
    """Describe a face of a probe photo: `face 1 of 3 in party.jpg, 240x329 at 370,91`."""
    name = shown_path(Path(photo.name))
    return f"face {face.number} of {face.num_faces} in {name}, {box_in_words(face.box)}"


def _print_conditions(shown: _Shown) -> None:
    """Print the device if it is a GPU, the query's threshold, and what the rates rest on."""
    if shown.device == "cuda":
        click.echo("searched on the GPU")
    if shown.fpir_threshold is not None:
        fpir, threshold = shown.fpir_threshold
        click.echo(
            f"matches have similarity {threshold:.3f} or more: {100 * fpir:.3g}% of searches for "
            "people who are not in the index return one"
        )
    rates = shown.rates
    if rates.basis is None:
        click.echo("how often strangers look as similar is not known:")
    else:
        click.echo(
            "strangers: how many searches for people who are not in the index find a match as "
            "similar"
        )
    click.echo("  " + printable(rates.explanation).replace("; ", "\n  "))
