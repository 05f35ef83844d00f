"""`facetrove people`: the group of commands about who is who."""

from __future__ import annotations

import click

from facetrove.cli.lazy_group import LazyCommand, LazyGroup

PEOPLE = {
    "confirm": LazyCommand("people_verbs:confirm", "Say that faces are this person, for sure."),
    "export": LazyCommand("people_files:export", "Write who is who as CSV, or as XMP sidecars."),
    "group": LazyCommand("people_group:group", "Group the faces of a dataset by person."),
    "hide": LazyCommand("people_verbs:hide", "Leave people out of lists and sheets."),
    "ignore": LazyCommand("people_verbs:ignore", "Say that people are strangers."),
    "import": LazyCommand("people_files:import_people", "Take over who is who from a CSV file."),
    "list": LazyCommand("people_list:list_people", "List the people, largest first."),
    "merge": LazyCommand("people_verbs:merge", "Say that people are one."),
    "move": LazyCommand("people_verbs:move", "Say whose face a face is."),
    "name": LazyCommand("people_verbs:name", "Give a person a name."),
    "photos": LazyCommand("people_list:photos", "List the photos that show people."),
    "reject": LazyCommand("people_verbs:reject", "Say that a face is not this person's."),
    "same": LazyCommand("people_same:same", "Ask which people are the same."),
    "separate": LazyCommand("people_verbs:separate", "Say that two people are not one."),
    "sheet": LazyCommand("people_files:sheet", "Draw the people, a row for each."),
    "split": LazyCommand("people_verbs:split", "Say that faces are somebody else's."),
}
"""The commands of the group by name."""


@click.group(cls=LazyGroup, lazy_commands=PEOPLE)
def people() -> None:
    """Say who is who in a dataset: faces into people, by machine and by hand.

    \b
    Examples:
      facetrove people group faces.dataset faces.index    faces into people; again when faces came
      facetrove people list faces.dataset                 the people, with their numbers
      facetrove people name faces.dataset 17 "Ann Lee"    a name, seen by the next search

    A person is named by number or by name. What a human says counts before what the machine says,
    and `facetrove undo` takes it back; docs/people.md explains it.
    """
