"""Output that all commands of `evaluate` share: report page, JSON document, tables, errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import click
import rich.table
from rich.text import Text

from faces.core.contract import ModelContract
from facetrove.cli.evaluation_options import Run
from facetrove.cli.terminal import print_json, print_table, shown_uri
from facetrove.cli.text import printable
from facetrove.evaluation.breakdown import WrongAnswer
from facetrove.evaluation.identify import Identification
from facetrove.evaluation.page import write_page
from facetrove.evaluation.pairs import Verification
from facetrove.evaluation.robustness import Robustness
from facetrove.evaluation.tables import Table

Result = TypeVar("Result", Verification, Identification, Robustness)


@dataclass(frozen=True)
class Evaluated:
    """The dataset or index that was evaluated.

    Attributes:
        source: path of its folder.
        contract: models that made its embeddings.
    """

    source: Path
    contract: ModelContract


def show_result(
    result: Result,
    evaluated: Evaluated,
    run: Run,
    *,
    show: Callable[[Result], None],
    examples: bool = False,
) -> None:
    """Print the result of an evaluation, and write its report if one was asked for.

    Args:
        result: the result to print.
        evaluated: the dataset or index that was evaluated.
        run: options that say how to print the result and where to write the report.
        show: function that prints the result as tables.
        examples: whether the report shows the faces of the worst errors.

    Raises:
        WrongUsageError: the report cannot be written.
    """
    source, contract = evaluated.source, evaluated.contract
    if run.report is not None:
        from facetrove.evaluation.report_pages import page_of

        page = page_of(result, examples=examples)
        write_page(run.report, page, source=source.name, contract=contract, options=_options())
    if run.as_json:
        origin = {
            "evaluated": str(source),
            "options": _options(),
            "contract": contract.to_json(),
            "facetrove": version("facetrove"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        print_json({**origin, **result.to_json()})
        return
    show(result)
    if run.report is not None:
        click.echo(f"report: {printable(str(run.report))}")


def _options() -> dict[str, str]:
    """Return the command's options as text, so that the evaluation can be repeated.

    A filter may name a person, so only the fact that there was one is returned.
    """
    given = click.get_current_context().params
    names = (
        "people",
        "face",
        "enrol",
        "splits",
        "strangers",
        "probes",
        "corruptions",
        "by",
        "seed",
    )
    options = {name: given[name] for name in names if given.get(name) not in (None, ())}
    if given.get("where") is not None:
        options["where"] = "a filter"
    return {
        name: " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in options.items()
    }


def show_wrong(answer: WrongAnswer, kind: str) -> None:
    """Print an error with its similarity and the photos of both faces.

    Args:
        answer: the error.
        kind: name of its kind, such as `false accept`.
    """
    both = f"{shown_uri(answer.uri)}  {shown_uri(answer.other_uri)}"
    click.echo(f"{answer.similarity:.3f}  {kind}: {both}")


def show_table(table: Table) -> None:
    """Print a table of results."""
    shown = rich.table.Table(box=None, pad_edge=False)
    for number, title in enumerate(table.titles):
        shown.add_column(title, justify="left" if number == 0 else "right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(Text(printable(value)) for value in row))
    print_table(shown)
