"""`facetrove evaluate` and `facetrove calibrate`: how good is it, and where to draw the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facetrove.cli.options import json_option

if TYPE_CHECKING:
    from faces.core.contract import ModelContract
    from facetrove.evaluation.breakdown import WrongAnswer
    from facetrove.evaluation.identify import Identification
    from facetrove.evaluation.labels import FaceChoice
    from facetrove.evaluation.pairs import Verification
    from facetrove.evaluation.report_page import Page
    from facetrove.evaluation.robustness import Robustness
    from facetrove.evaluation.tables import Table

people_option = click.option(
    "--people",
    metavar="COLUMN",
    help="Column that says who is in a photo, or `folder`: each person's photos lie in a folder "
    "of their name.  [default: the column person]",
)
where_option = click.option("--where", help="Only faces that pass a filter, as of a search.")
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn."
)
by_option = click.option(
    "--by", multiple=True, metavar="COLUMN", help="Also tell error rates by the groups of a column."
)
report_option = click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Also write a web page with plots and definitions, all in this one file (.html).",
)
examples_option = click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=0,
    metavar="COUNT",
    help="Name so many of the worst errors of each kind, and show their faces in the report.",
)


def face_option(default: FaceChoice | None) -> Callable[[Any], Any]:
    """Which of several faces in a photo is meant."""
    return click.option(
        "--face",
        type=click.Choice(["largest", "central", "only"]),
        default=default,
        show_default=default is not None,
        help="The face that a photo's label is for: the largest, the one at the centre, or that of "
        "photos with one face only."
        + ("" if default else "  [default: central for LFW's lists, else largest]"),
    )


@click.group(short_help="Measure how well a model and an index do on your photos.")
def evaluate() -> None:
    """Measure how well a model and an index do on your photos.

    \b
    pairs        are these two photos of one person? (LFW's protocol, or your own pairs)
    identify     who is it? Among enrolled people, and among people who are not enrolled
    robustness   the same under damage: compression, blur, noise, rotation, covered eyes...

    See docs/evaluation.md.
    """


@evaluate.command(short_help="1:1: are two photos of one person?")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("pairs", type=click.Path(path_type=Path), metavar="PAIRS")
@face_option(None)
@click.option(
    "--threshold-from",
    type=click.Path(path_type=Path),
    metavar="PAIRS",
    help="Take the threshold from these pairs, instead of ten folds (LFW's View 1).",
)
@by_option
@examples_option
@report_option
@seed_option
@json_option
def pairs(
    dataset: Path,
    pairs: Path,
    face: FaceChoice | None,
    threshold_from: Path | None,
    by: tuple[str, ...],
    examples: int,
    report: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure how well the embeddings of DATASET tell whether two photos show one person.

    PAIRS is LFW's pairs.txt, pairsDevTrain.txt or pairsDevTest.txt, or a .csv with the columns
    photo1, photo2 and same (1 or 0), and if you like fold, person1, person2 and others for --by.

    \b
    Examples:
      facetrove evaluate pairs lfw.dataset pairs.txt --report pairs.html
      facetrove evaluate pairs faces.dataset my_pairs.csv --by camera
    """
    from faces.dataset.store import Dataset
    from facetrove.evaluation.pair_lists import read_pairs
    from facetrove.evaluation.pairs import evaluate_pairs
    from facetrove.evaluation.report_page import require_report_name, verification_page

    if report is not None:
        require_report_name(report)
    listed = read_pairs(pairs)
    other = None if threshold_from is None else read_pairs(threshold_from)
    result = evaluate_pairs(
        dataset, listed, face=face, threshold_from=other, by=by, num_worst=examples, seed=seed
    )
    about = _About(dataset, Dataset.open(dataset).contract)
    page = partial(verification_page, result, examples=examples > 0)
    _tell(result, about, page, report, show=_show_verification, as_json=as_json)


@evaluate.command(short_help="1:N: who is it, and is it anybody?")
@click.argument("index", type=click.Path(path_type=Path))
@people_option
@face_option("largest")
@click.option(
    "--enrol",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="COUNT",
    help="Photos enrolled of each person who has more.",
)
@click.option(
    "--splits",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="COUNT",
    help="Random splits, taken together.",
)
@click.option(
    "--strangers",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Share of the people who are not enrolled in the open set.",
)
@where_option
@by_option
@examples_option
@report_option
@seed_option
@json_option
def identify(
    index: Path,
    people: str | None,
    face: FaceChoice,
    enrol: int,
    splits: int,
    strangers: float,
    where: str | None,
    by: tuple[str, ...],
    examples: int,
    report: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure how well INDEX finds the people in it, and nobody for people who are not.

    Some photos of each person are enrolled and the others searched for, through the index itself
    and comparing with every face, so that what the index misses is seen beside what the model
    does.

    \b
    Examples:
      facetrove evaluate identify faces.index --report identify.html
      facetrove evaluate identify lfw.index --people folder --face central
    """
    from facetrove.cli.report import index_progress
    from facetrove.evaluation.identify import Protocol, evaluate_identification
    from facetrove.evaluation.report_page import identification_page, require_report_name
    from indexer.manifest import read_current

    if report is not None:
        require_report_name(report)
    protocol = Protocol(enrol, splits, strangers, seed)
    with index_progress() as on_progress:
        result = evaluate_identification(
            index,
            people=people,
            face=face,
            where=where,
            protocol=protocol,
            by=by,
            num_worst=examples,
            on_progress=on_progress,
        )
    about = _About(index, read_current(index).contract)
    page = partial(identification_page, result, examples=examples > 0)
    _tell(result, about, page, report, show=_show_identification, as_json=as_json)


@evaluate.command(short_help="1:N under damage to the photos.")
@click.argument("index", type=click.Path(path_type=Path))
@people_option
@face_option("largest")
@click.option(
    "--damage",
    "damages",
    multiple=True,
    metavar="NAME",
    help="Only this: compression, blur, noise, small, dark, bright, rotation, 'eyes covered', "
    "'mouth covered'.  [default: all]",
)
@click.option(
    "--probes",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    metavar="COUNT",
    help="Photos of enrolled people to damage, and as many of strangers.",
)
@where_option
@report_option
@seed_option
@json_option
def robustness(
    index: Path,
    people: str | None,
    face: FaceChoice,
    damages: tuple[str, ...],
    probes: int,
    where: str | None,
    report: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure what damage to the photos searched for does to identification in INDEX.

    Faces are cut out of their photos, which must be where they were, damaged at stated strengths,
    looked for by the detector again, and searched for among undamaged ones. Takes some minutes.

    \b
    Examples:
      facetrove evaluate robustness faces.index --report robustness.html
      facetrove evaluate robustness faces.index --damage blur --damage 'eyes covered'
    """
    from facetrove.cli.report import index_progress, quiet_libraries
    from facetrove.evaluation.report_page import require_report_name, robustness_page
    from facetrove.evaluation.robustness import evaluate_robustness
    from indexer.manifest import read_current

    quiet_libraries()
    if report is not None:
        require_report_name(report)
    with index_progress() as on_progress:
        result = evaluate_robustness(
            index,
            people=people,
            face=face,
            where=where,
            damages=damages,
            num_probes=probes,
            seed=seed,
            on_progress=on_progress,
        )
    about = _About(index, read_current(index).contract)
    page = partial(robustness_page, result)
    _tell(result, about, page, report, show=_show_robustness, as_json=as_json)


@click.command(short_help="Measure what similarities mean in an index.")
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--fpir",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help="Also say the threshold at this rate; fail if the faces do not carry so far.",
)
@people_option
@click.option(
    "--by-likeness", is_flag=True, help="Go by the likeness of faces whatever labels say."
)
@face_option("largest")
@json_option
def calibrate(
    index: Path,
    fpir: float | None,
    people: str | None,
    by_likeness: bool,
    face: FaceChoice,
    as_json: bool,
) -> None:
    """Measure how similar strangers look in INDEX, and keep that with it.

    Afterwards `facetrove search --fpir 0.01` gives only matches as similar as somebody who is not
    in the index finds in one search of a hundred, and every match says at which rate it would
    still be given. Goes by labelled people, 200 or more with half of the faces, or else by the
    likeness of the faces. Do it again when the index has become twice as large.

    \b
    Examples:
      facetrove calibrate faces.index
      facetrove calibrate lfw.index --people folder --face central --fpir 0.01
    """
    from dataclasses import asdict

    from facetrove.cli.report import index_progress, print_json, printable, show_calibration
    from facetrove.evaluation.calibrate import calibrate_index

    with index_progress() as on_progress:
        manifest = calibrate_index(
            index, people=people, by_likeness=by_likeness, face=face, on_progress=on_progress
        )
    calibration = manifest.calibration
    assert calibration is not None
    threshold = None if fpir is None else calibration.threshold(fpir, manifest.num_faces)
    if as_json:
        asked = {} if fpir is None else {"fpir": fpir, "threshold": threshold}
        print_json({"index": str(index), **asked, "calibration": asdict(calibration)})
        return
    if calibration.method == "gallery" and not by_likeness:
        click.echo(
            "no labels of 200 people and half of the faces (column person, or --people): went by "
            "the likeness of faces"
        )
    click.echo(f"{printable(str(index))} (version {manifest.version})")
    show_calibration(calibration, manifest.num_faces)
    if threshold is not None:
        click.echo(f"at an FPIR of {fpir:g} matches count from similarity {threshold:.3f} on")


def _options() -> dict[str, str]:
    """What was asked, so that it can be asked again; of a filter, which may name somebody, that."""
    given = click.get_current_context().params
    names = ("people", "face", "enrol", "splits", "strangers", "probes", "damages", "by", "seed")
    said = {name: given[name] for name in names if given.get(name) not in (None, ())}
    if given.get("where") is not None:
        said["where"] = "a filter"
    return {
        name: " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in said.items()
    }


@dataclass(frozen=True)
class _About:
    """What was evaluated, and what made its embeddings."""

    source: Path
    contract: ModelContract


def _tell(
    result: Any,
    about: _About,
    page: Callable[[], Page],
    report: Path | None,
    *,
    show: Callable[[Any], None],
    as_json: bool,
) -> None:
    """Write a result's page, if that is wanted, and print the result."""
    from datetime import UTC, datetime
    from importlib.metadata import version

    from facetrove.cli.report import print_json, printable
    from facetrove.evaluation.as_json import as_json as to_json
    from facetrove.evaluation.report_page import write_page

    source, contract = about.source, about.contract
    if report is not None:
        write_page(report, page(), source=source.name, contract=contract, options=_options())
    if as_json:
        origin = {
            "evaluated": str(source),
            "options": _options(),
            "contract": contract.to_json(),
            "facetrove": version("facetrove"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        print_json({**origin, **to_json(result)})
        return
    show(result)
    if report is not None:
        click.echo(f"report: {printable(str(report))}")


def _show_verification(result: Verification) -> None:
    from facetrove.evaluation.tables import accept_table, group_table, reject_table, said

    click.echo(
        f"{result.num_mated:,} pairs of one person, {result.num_non_mated:,} of two; "
        f"{result.num_without_face:,} with a photo in which no face was found"
    )
    folds = {
        "list": f"over the list's {len(result.fold_accuracies)} folds",
        "drawn": f"over {len(result.fold_accuracies)} folds drawn at random",
        "other list": f"at the threshold of the other list, {result.fold_thresholds[0]:.3f}",
    }[result.folds]
    error = result.accuracy_error
    spread = "" if error is None else f" +- {error:.4f} (standard error)"
    click.echo(f"accuracy {result.accuracy:.4f}{spread} {folds}")
    click.echo(f"equal error rate {said(result.equal_error_rate)}, area {result.area:.4f}")
    _print(accept_table(result))
    if result.grouped_at is not None:
        click.echo(f"at a FAR of {result.grouped_at:g}, pairs without a face left out:")
        for column, errors in result.groups.items():
            _print(group_table(column, errors, "FRR", "FAR"))
        _print(reject_table(result.qualities, "FRR"))
    for answer in result.worst:
        _show_wrong(answer, "one person" if answer.mated else "two people")


def _show_identification(result: Identification) -> None:
    from facetrove.evaluation.tables import (
        closed_set_table,
        group_table,
        open_set_table,
        reject_table,
    )

    protocol = result.protocol
    click.echo(
        f"{result.num_faces:,} labelled photos of {result.num_people:,} people; "
        f"{result.num_unlabelled:,} photos with faces left out for want of a label or of its face"
    )
    click.echo(
        f"closed set: {result.num_closed:,} searches in {protocol.num_splits} splits, among "
        f"{result.closed_gallery[0]:,.0f} people with {result.closed_gallery[1]:,.0f} photos"
    )
    _print(closed_set_table(result))
    click.echo(
        f"open set: {result.num_mated:,} searches for enrolled people and "
        f"{result.num_non_mated:,} for strangers, among {result.open_gallery[0]:,.0f} people with "
        f"{result.open_gallery[1]:,.0f} photos"
    )
    _print(open_set_table(result))
    if result.grouped_at is not None:
        click.echo(f"at an FPIR of {result.grouped_at:g}:")
        for column, errors in result.groups.items():
            _print(group_table(column, errors, "FNIR", "FPIR"))
        _print(reject_table(result.qualities, "FNIR"))
    for answer in result.worst:
        _show_wrong(answer, "missed" if answer.mated else "a stranger")


def _show_robustness(result: Robustness) -> None:
    from facetrove.evaluation.tables import damage_table

    click.echo(
        f"{result.num_mated:,} photos of enrolled people and {result.num_strangers:,} of "
        f"strangers, among {result.gallery[0]:,} people; threshold {result.threshold:.3f}, at an "
        f"FPIR of 0.01 of all {result.num_clean:,} undamaged photos of strangers"
    )
    if result.num_unreadable:
        click.echo(f"{result.num_unreadable:,} photos could not be read any more, and are left out")
    _print(damage_table(result))


def _show_wrong(answer: WrongAnswer, kind: str) -> None:
    from facetrove.cli.report import shown_uri

    both = f"{shown_uri(answer.uri)}  {shown_uri(answer.other_uri)}"
    click.echo(f"{answer.similarity:.3f}  {kind}: {both}")


def _print(table: Table) -> None:
    import rich.table
    from rich.text import Text

    from facetrove.cli.report import print_table, printable

    shown = rich.table.Table(box=None, pad_edge=False)
    for number, title in enumerate(table.titles):
        shown.add_column(title, justify="left" if number == 0 else "right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(Text(printable(value)) for value in row))
    print_table(shown)
