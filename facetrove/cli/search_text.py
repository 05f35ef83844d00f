"""The text of `facetrove search`: tables of matches, and what their rates rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from faces.models.face import box_in_words
from facetrove.cli.faces_table import print_faces
from facetrove.cli.terminal import print_json, shown_path
from facetrove.cli.text import printable
from indexer.stranger_rates import StrangerRates
from search.answering import Query
from search.index_people import NamesFrom
from search.results import JOINT_GROWTH, JointProbe, Match, Probe, ProbeFace
from search.searcher import FaceSearcher


@dataclass(frozen=True)
class ShownSearch:
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
    ) -> ShownSearch:
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


def show_probes(probes: Sequence[Probe], photo: Path, shown: ShownSearch) -> None:
    """Print a table of matches for each face of a photo, or all as one JSON document."""
    if shown.as_json:
        found = [probe.to_json() for probe in probes]
        print_json({"photo": str(photo), **shown.to_json(), "probes": found})
        return
    _print_conditions(shown)
    for probe in probes:
        print_faces(_face_in_words(probe, photo), probe.matches, shown.columns)


def show_joint(probe: JointProbe, photos: Sequence[Path], shown: ShownSearch) -> None:
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


def show_matches(matches: Sequence[Match], face_id: str, shown: ShownSearch) -> None:
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


def _print_conditions(shown: ShownSearch) -> None:
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
