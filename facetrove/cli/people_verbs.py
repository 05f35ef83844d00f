"""`facetrove people name`, `merge`, `split` and their like: what a human decides."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.people_options import (
    dataset_argument,
    decision_options,
    faces_argument,
    people_in_words,
    person_argument,
    show_decision,
)
from facetrove.cli.text import printable

no_option = click.option("--no", "off", is_flag=True, help="Take it back: list them again.")
people_argument = click.argument("people", nargs=-1, required=True, metavar="PERSON...")


@click.command()
@dataset_argument
@person_argument
@click.argument("name")
@decision_options
def name(dataset: Path, person: str, name: str, author: str | None, as_json: bool) -> None:
    """Give PERSON of DATASET the name NAME; an empty one takes the name away.

    The next search in an index of the dataset knows the name.

    \b
    Examples:
      facetrove people name faces.dataset 17 "Ann Lee"
      facetrove people name faces.dataset "Ann Lee" "Ann Lee-Ray"
    """
    people = ft.open_people(dataset, author=author)
    done = people.name(person, name or None)
    number = done.people[0]
    text = (
        f"person {number} is {printable(done.name)}" if done.name else f"{number} has no name now"
    )
    show_decision(dataset, done, text, as_json=as_json, name=done.name)
    if done.name and not as_json:
        _tell_namesakes(people, done)


def _tell_namesakes(people: ft.People, done: ft.Decision) -> None:
    """Print which other people have the name that one was given."""
    rows = people.named(done.name or "")
    others = [number for number in rows if number not in done.people]
    if others:
        click.echo(
            f"person {people_in_words(others)} has the same name; if that is one person, "
            f"`facetrove people merge {printable(str(people.dataset.path))} "
            f"{' '.join(map(str, [*done.people, *others][:10]))}` says so",
            err=True,
        )


@click.command()
@dataset_argument
@people_argument
@decision_options
def merge(dataset: Path, people: tuple[str, ...], author: str | None, as_json: bool) -> None:
    """Say that each PERSON of DATASET is one, who keeps number and name of the first.

    \b
    Example:
      facetrove people merge faces.dataset 17 204 311
    """
    done = ft.open_people(dataset, author=author).merge(people)
    into, *others = done.people
    text = f"person {people_in_words(others)} is person {into}"
    show_decision(dataset, done, text, as_json=as_json)


@click.command()
@dataset_argument
@person_argument
@click.argument("other")
@decision_options
def separate(dataset: Path, person: str, other: str, author: str | None, as_json: bool) -> None:
    """Say that PERSON and OTHER of DATASET are not one.

    They are never grouped together, nor merged.

    \b
    Example:
      facetrove people separate faces.dataset 17 204
    """
    done = ft.open_people(dataset, author=author).separate(person, other)
    text = f"person {done.people[0]} is not person {done.people[1]}"
    show_decision(dataset, done, text, as_json=as_json)


@click.command()
@dataset_argument
@person_argument
@faces_argument
@decision_options
def split(
    dataset: Path, person: str, faces: tuple[str, ...], author: str | None, as_json: bool
) -> None:
    """Say that each FACE of PERSON in DATASET is somebody else's, who gets a number.

    \b
    Example:
      facetrove people split faces.dataset 17 2f7c8a01d9e4b35660aa3cf1e25b7d94
    """
    done = ft.open_people(dataset, author=author).split(person, faces)
    old, new = done.people
    text = f"{counted(len(done.faces), 'face')} of person {old} is now of person {new}"
    show_decision(dataset, done, text, as_json=as_json)


@click.command()
@dataset_argument
@faces_argument
@person_argument
@decision_options
def move(
    dataset: Path, faces: tuple[str, ...], person: str, author: str | None, as_json: bool
) -> None:
    """Say that each FACE of DATASET is PERSON's.

    \b
    Example:
      facetrove people move faces.dataset 2f7c8a01d9e4b35660aa3cf1e25b7d94 204
    """
    done = ft.open_people(dataset, author=author).move(faces, person)
    text = f"{counted(len(done.faces), 'face')} is of person {done.people[0]}"
    show_decision(dataset, done, text, as_json=as_json)


@click.command()
@dataset_argument
@person_argument
@click.argument("faces", nargs=-1, metavar="[FACE]...")
@decision_options
def confirm(
    dataset: Path, person: str, faces: tuple[str, ...], author: str | None, as_json: bool
) -> None:
    """Say that each FACE of DATASET is PERSON's, as it is taken for: no grouping moves it.

    Without FACE, all faces of the person are confirmed.

    \b
    Example:
      facetrove people confirm faces.dataset "Ann Lee"
    """
    done = ft.open_people(dataset, author=author).confirm(person, faces)
    text = f"{counted(len(done.faces), 'face')} of person {done.people[0]} confirmed"
    show_decision(dataset, done, text, as_json=as_json)


@click.command()
@dataset_argument
@faces_argument
@person_argument
@decision_options
def reject(
    dataset: Path, faces: tuple[str, ...], person: str, author: str | None, as_json: bool
) -> None:
    """Say that each FACE of DATASET is not PERSON's, whoever it is.

    \b
    Example:
      facetrove people reject faces.dataset 2f7c8a01d9e4b35660aa3cf1e25b7d94 17
    """
    done = ft.open_people(dataset, author=author).reject(faces, person)
    text = f"{counted(len(done.faces), 'face')} is not of person {done.people[0]}"
    show_decision(dataset, done, text, as_json=as_json)


@click.command()
@dataset_argument
@people_argument
@no_option
@decision_options
def ignore(
    dataset: Path, people: tuple[str, ...], off: bool, author: str | None, as_json: bool
) -> None:
    """Say that each PERSON of DATASET is a stranger, who is no longer listed or asked about.

    \b
    Examples:
      facetrove people ignore faces.dataset 512
      facetrove people ignore faces.dataset 512 --no
    """
    done = ft.open_people(dataset, author=author).ignore(people, on=not off)
    state = "listed again" if off else "ignored"
    text = f"person {people_in_words(done.people)} is {state}"
    show_decision(dataset, done, text, as_json=as_json)


@click.command()
@dataset_argument
@people_argument
@no_option
@decision_options
def hide(
    dataset: Path, people: tuple[str, ...], off: bool, author: str | None, as_json: bool
) -> None:
    """Leave each PERSON of DATASET out of lists and sheets; searches still find them.

    \b
    Examples:
      facetrove people hide faces.dataset 17
      facetrove people hide faces.dataset 17 --no
    """
    done = ft.open_people(dataset, author=author).hide(people, on=not off)
    text = f"person {people_in_words(done.people)} is {'shown again' if off else 'hidden'}"
    show_decision(dataset, done, text, as_json=as_json)
