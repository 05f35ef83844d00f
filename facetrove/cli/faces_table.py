"""Tables of faces that were found, which `facetrove search` prints."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.table import Table
from rich.text import Text

from faces.core.words import counted
from faces.photos.metadata import PERSON
from facetrove.cli.terminal import print_table, shown_uri
from facetrove.cli.text import printable
from search.listing import ListedFace
from search.results import Match
from search.shown_face import in_words, value_of


def print_faces(
    title: str, faces: Sequence[Match] | Sequence[ListedFace], columns: Sequence[str]
) -> None:
    """Print matches of one probe, or faces of a listing, as a table with a title.

    Args:
        title: line above the table.
        faces: the faces, best first.
        columns: names of columns of the photo lists to show, besides `person`.
    """
    click.echo(title)
    if not len(faces):
        click.echo("no match was found")
        return
    shown: list[Match | ListedFace] = list(faces)
    first = shown[0]
    has_rates = isinstance(first, Match) and first.strangers is not None
    table = Table(box=None, pad_edge=False)
    if isinstance(first, Match):
        table.add_column("rank", justify="right")
        table.add_column("similarity", justify="right")
    if has_rates:
        table.add_column("strangers", justify="right", no_wrap=True)
    table.add_column("face at", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    more = [PERSON] if any(face.person is not None for face in shown) else []
    more = list(dict.fromkeys([*more, *columns]))
    for name in (*map(printable, more), "photo"):
        table.add_column(name, overflow="fold")
    for face in shown:
        x, y, width, height = (round(value) for value in face.box)
        name = shown_uri(face.uri)
        if face.also_at:
            name += f" (and {counted(len(face.also_at), 'other file')} of the same content)"
        ranked = []
        if isinstance(face, Match):
            ranked = [str(face.rank), f"{face.similarity:.3f}"]
            ranked += [face.strangers or ""] if has_rates else []
        table.add_row(
            *ranked,
            f"{x},{y}",
            f"{width}x{height}",
            *(Text(printable(in_words(value_of(face, column)))) for column in more),
            Text(name),
        )
    print_table(table)
