"""`facetrove delete`: delete faces from a dataset and its indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

import facetrove as ft
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.progress import OnProgress
from faces.core.words import counted
from facetrove.cli.options import gathered, json_option, require_answer
from facetrove.cli.terminal import index_progress, print_json, show_first, shown_uri
from facetrove.cli.text import printable
from indexer.people_columns import mentions_people
from search.sheet_files import require_picture_name

CONTRADICTIONS_SHOWN = 20
"""At most so many labels that differ from place to place are printed."""


@dataclass(frozen=True)
class _Likeness:
    """The options of a deletion by a portrait.

    Attributes:
        like: path of the portrait; None: no face is selected by a portrait.
        fpir, min_similarity: how similar a face must be; see `ft.find_held`.
        sheet: path of the contact sheet to draw; None: none.
    """

    like: Path | None
    fpir: float | None
    min_similarity: float | None
    sheet: Path | None

    def check(self) -> None:
        """Raise WrongUsageError if the options do not fit together."""
        if self.sheet is not None:
            require_picture_name(self.sheet)
        rest = {"--fpir": self.fpir, "--min-similarity": self.min_similarity, "--sheet": self.sheet}
        for name, value in rest.items():
            if self.like is None and value is not None:
                raise WrongUsageError(f"{name} goes with --like; give a portrait, or leave it out")

    def find(self, dataset: Path, indexes: Sequence[Path], on_progress: OnProgress) -> list[str]:
        """Return the ids of the faces like the portrait's, and draw the contact sheet."""
        if self.like is None:
            return []
        found = ft.find_held(
            dataset,
            indexes,
            self.like,
            fpir=self.fpir,
            min_similarity=self.min_similarity,
            on_progress=on_progress,
        )
        if self.sheet is not None:
            found.write_sheet(self.sheet, self.like)
        return [face.face_id for face in found.faces]


likeness_options = gathered(
    "likeness",
    _Likeness,
    click.option(
        "--like",
        type=click.Path(path_type=Path),
        metavar="PORTRAIT",
        help="Delete all faces like the one face in this photo; give --fpir or --min-similarity "
        "too.",
    ),
    click.option(
        "--fpir",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="RATE",
        help="With --like: delete faces above the threshold of this false-positive rate, such as "
        "0.01, by the calibration of the first INDEX or the model's own figure.",
    ),
    click.option(
        "--min-similarity",
        type=click.FloatRange(-1, 1),
        help="With --like: delete faces with at least this similarity.",
    ),
    click.option(
        "--sheet",
        type=click.Path(path_type=Path),
        help="With --like: draw the faces side by side in this picture file (.jpg, .png, .webp), "
        "to look at before confirming.",
    ),
)


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@click.option(
    "--face", "faces", multiple=True, metavar="FACE_ID", help="Delete the face with this face_id."
)
@click.option(
    "--photo",
    "photos",
    multiple=True,
    metavar="PATH",
    help="Delete all faces of the photo with this path, uri or photo_id, and of its copies.",
)
@click.option(
    "--where",
    metavar="FILTER",
    help="Delete all faces that match this filter, such as \"person = 'Ann Lee'\"; see "
    "docs/search.md.",
)
@click.option(
    "--include-photo-person",
    is_flag=True,
    help="Of photos whose list names the person of --where while it is not known which face that "
    "is, delete all faces that are nobody else's.",
)
@likeness_options
@click.option(
    "--dry-run", is_flag=True, help="Only print how many faces would be deleted; change nothing."
)
@click.option("--yes", is_flag=True, help="Delete without asking for confirmation.")
@json_option
def delete(
    dataset: Path,
    indexes: tuple[Path, ...],
    faces: tuple[str, ...],
    photos: tuple[str, ...],
    where: str | None,
    include_photo_person: bool,
    likeness: _Likeness,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete faces from DATASET and from each INDEX, so that no later search finds them.

    Name the faces by --face, --photo, --where or --like. They stay deleted even if their photos, or
    edited copies of these, are embedded again. Until `facetrove purge` removes their bytes from the
    files, `facetrove undo` takes the deletion back. If no face matches, the exit code is 1.

    \b
    Examples:
      facetrove delete faces.dataset faces.index --where "person = 'Ann Lee'"
      facetrove delete faces.dataset faces.index --photo ~/Pictures/party.jpg
      facetrove delete faces.dataset faces.index --like ann.jpg --fpir 0.01 --sheet ann-found.jpg
    """
    likeness.check()
    if where is None and not (faces or photos or likeness.like):
        raise WrongUsageError("no faces are named; name some by --face, --photo, --where or --like")
    if not (dry_run or yes):
        require_answer("delete", "delete")
    with index_progress() as on_progress:
        faces = (*faces, *likeness.find(dataset, indexes, on_progress))
        if where is None and not (faces or photos):
            raise FaceTroveError(_no_match(dataset, photos, indexes))
        plan = ft.plan_deletion(
            dataset,
            indexes,
            faces=faces,
            photos=photos,
            where=where,
            include_photo_person=include_photo_person,
            on_progress=on_progress,
        )
    if not as_json:
        _show_sheet(likeness)
        _show_contradictions(plan)
        _show_photo_person(plan, where, included=include_photo_person)
    if dry_run:
        _show_to_delete(plan, dataset, as_json=as_json)
        return
    if not yes:
        _confirm(plan.num_faces)
    with index_progress() as on_progress:
        deleted = plan.execute(on_progress=on_progress)
    if deleted.deletion_id is None and not deleted.num_faces:
        raise FaceTroveError(_no_match(dataset, photos, indexes))
    _show_deleted(deleted, dataset, as_json=as_json)


def _confirm(num_faces: int) -> None:
    if num_faces:
        click.confirm(
            f"delete {counted(num_faces, 'face')}? (`facetrove undo` takes it back until the "
            "next purge)",
            abort=True,
            err=True,
        )


def _show_sheet(likeness: _Likeness) -> None:
    if likeness.sheet is not None:
        click.echo(f"contact sheet: {printable(str(likeness.sheet))}", err=True)


def _no_match(dataset: Path, photos: tuple[str, ...], indexes: tuple[Path, ...]) -> str:
    """Return the message of a deletion that matches no face."""
    they = "it holds" if not indexes else "it and the indexes named hold"
    hint = "look at the filter with `facetrove search INDEX PHOTO --where FILTER`"
    if photos:
        hint = "name photos by the paths that `facetrove search --json` prints"
    return f"no face of {dataset} matches, so nothing was deleted; {they} no such face; {hint}"


def _show_contradictions(plan: ft.DeletionPlan) -> None:
    """Print, before anything is deleted, which photos' labels differ from place to place."""
    rows = plan.contradictory.to_pylist()
    if not rows:
        return
    click.echo("these photos are labelled differently at several places:", err=True)
    show_first(
        rows,
        lambda row: (
            f"  {printable(row['column'])} {printable(str(row['value']))}: {shown_uri(row['uri'])}"
        ),
        CONTRADICTIONS_SHOWN,
        rest=lambda count: f"  and {count:,} more; --dry-run --json names all",
        err=True,
    )


def _show_photo_person(plan: ft.DeletionPlan, where: str | None, *, included: bool) -> None:
    """Print, before anything is deleted, which photos name a person of whom no face is known."""
    if where is not None and plan.num_faces and not plan.people and mentions_people(where):
        click.echo(
            "the dataset has no people book, so `person` is who is in the photo, and bystanders "
            "are deleted too; `facetrove people group` says whose face each is",
            err=True,
        )
    rows = plan.photo_person.to_pylist()
    if not rows:
        return
    faces = sum(row["num_faces"] for row in rows)
    what = "are deleted too" if included else "stay; --include-photo-person deletes them too"
    click.echo(
        f"{counted(len(rows), 'photo')} named so by a list, of which it is not known which face is "
        f"meant; {counted(faces, 'face')} there of nobody known {what}:",
        err=True,
    )
    show_first(
        rows,
        lambda row: f"  {shown_uri(row['uri'])}",
        CONTRADICTIONS_SHOWN,
        rest=lambda count: f"  and {count:,} more; --dry-run --json names all",
        err=True,
    )


def _show_to_delete(plan: ft.DeletionPlan, dataset: Path, *, as_json: bool) -> None:
    """Print how many faces a deletion would delete."""
    if as_json:
        contradictory = plan.contradictory.to_pylist()
        counts = {
            "num_faces": plan.num_faces,
            "contradictory": contradictory,
            "photo_person": plan.photo_person.to_pylist(),
        }
        print_json({"dataset": str(dataset), **counts})
    else:
        click.echo(f"would delete {counted(plan.num_faces, 'face')} of {printable(str(dataset))}")


def _show_deleted(deleted: ft.DeletionResult, dataset: Path, *, as_json: bool) -> None:
    """Print how many faces a deletion deleted, and what remains to be done."""
    if as_json:
        print_json({"dataset": str(dataset), **asdict(deleted)})
        return
    name = printable(str(dataset))
    if deleted.num_faces:
        click.echo(f"deleted {counted(deleted.num_faces, 'face')} of {name}")
    else:
        click.echo(f"the faces of {name} that match were deleted before")
    for index, count in deleted.num_faces_of_index.items():
        click.echo(f"  {printable(index)} held {count:,} of them and no longer finds them")
    if unrecognised := deleted.num_faces - deleted.num_recognisable:
        click.echo(
            f"  {unrecognised:,} of them will come back if edited copies of their photos are "
            "embedded (see docs/index.md); files of the same bytes stay away"
        )
    show_unnamed(deleted.unnamed_indexes, dataset, "still finds them")
    if deleted.deletion_id is not None:
        click.echo(
            f"`facetrove undo {name} {deleted.deletion_id}` takes it back, until `facetrove purge` "
            "removes their bytes from the files"
        )


def show_unnamed(indexes: Sequence[str], dataset: Path, state: str) -> None:
    """Print which indexes of a dataset were not named, or that such an index may exist.

    Args:
        indexes: paths of the indexes that were found.
        dataset: the dataset.
        state: what is the matter with an index that is not named.
    """
    name = printable(str(dataset))
    for index in indexes:
        click.echo(
            f"  {printable(index)} was not named and {state}, until "
            f"`facetrove index {name} {printable(index)}` brings it up to date"
        )
    if not indexes:
        click.echo(f"  an index that was not named {state} until it is brought up to date")
