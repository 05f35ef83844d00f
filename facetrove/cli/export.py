"""`facetrove export`: send the faces of an index to a vector database, or bring them up to date."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import printable


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("database")
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    help="Share of the exact ten nearest faces that a search in the database should find. A lower "
    "share is faster.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Afterwards compare the ten nearest of a thousand faces with those that INDEX finds.",
)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Dataset that INDEX was built from, which notes where its faces go.  [default: where "
    "INDEX says]",
)
@json_option
def export(
    index: Path,
    database: str,
    target_recall: float,
    verify: bool,
    dataset: Path | None,
    as_json: bool,
) -> None:
    """Send the faces of INDEX to a vector database, or bring them up to date there.

    DATABASE is lancedb:FOLDER, postgresql://HOST/DATABASE, milvus://HOST/COLLECTION, milvus:FILE,
    qdrant://HOST/COLLECTION or qdrant:FOLDER. Behind a ?, table=NAME names the table, which is
    `faces` otherwise.

    Embeddings, metadata and the names of people are sent. The next run sends what is new or has
    changed, and removes what was deleted or purged. An export that was stopped goes on where it
    was when the same command is run again.

    A password or key is not part of DATABASE: set PGPASSWORD (or write ~/.pgpass), MILVUS_TOKEN,
    QDRANT_API_KEY or LANCEDB_API_KEY.

    \b
    Examples:
      facetrove export faces.index lancedb:faces.lancedb
      facetrove export faces.index "postgresql://host/db?table=faces" --verify
    """
    with index_progress() as on_progress:
        result = ft.export_index(
            index,
            database,
            target_recall=target_recall,
            dataset=dataset,
            verify=verify,
            on_progress=on_progress,
        )
    if as_json:
        print_json(result.to_json())
        return
    click.echo(
        f"{printable(result.database)}: {counted(result.num_faces, 'face')}; "
        f"{result.num_sent:,} sent, {result.num_changed:,} changed, {result.num_removed:,} removed "
        f"in {result.seconds:.1f} s"
    )
    _show_search(result, target_recall)
    for ours, theirs in sorted(result.renamed.items()):
        click.echo(f"column {printable(ours)!r} is called {printable(theirs)!r} there")
    if result.verification is not None:
        _show_verification(result.verification)


def _show_search(result: ft.ExportResult, target_recall: float) -> None:
    """Print how the database searches, and what share of the nearest faces it finds."""
    settings = result.settings
    if not settings.index:
        click.echo("the database compares with every face")
        return
    effort = ", ".join(f"{name} = {value}" for name, value in settings.effort.items())
    recall = "" if result.recall_at_10 is None else f"; recall {result.recall_at_10:.4f}"
    click.echo(f"index {settings.index}; search with {effort}{recall}")
    if result.recall_at_10 is not None and result.recall_at_10 < target_recall:
        click.echo(f"that is below the target of {target_recall:g}; no setting reaches it")


def _show_verification(found: ft.ExportVerification) -> None:
    """Print a comparison with searches of the index."""
    text = (
        f"of the ten nearest of {counted(found.num_probes, 'face')} by the index, the database "
        f"finds {found.recall_at_10:.4f}"
    )
    if found.recall_of_matches is not None:
        matches = "1 match" if found.num_matches == 1 else f"{found.num_matches:,} matches"
        text += (
            f", and {found.recall_of_matches:.4f} of the {matches} from {found.threshold:.3f} on"
        )
    click.echo(text)
    click.echo(
        f"median of a search: {found.latency_ms_p50:.1f} ms, and "
        f"{found.index_latency_ms_p50:.1f} ms by the index"
    )
