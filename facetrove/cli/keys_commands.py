"""The commands of `facetrove keys`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
from rich.table import Table

from facetrove.cli.options import json_option
from facetrove.cli.terminal import print_json, print_table
from facetrove.cli.text import printable
from facetrove.service.keys import Scope, add_key, read_keys, remove_key


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(get_args(Scope)),
    help="What the key allows: searches and reading; deleting and taking that back (curate); "
    "adding photos (enrol); everything (admin). May be given several times.",
)
@json_option
def add(file: Path, name: str, scopes: tuple[Scope, ...], as_json: bool) -> None:
    """Make a key called NAME, and add its hash to FILE, which is made if there is none.

    The key is printed once and stands nowhere else. To replace a key, add a new one, and remove the
    old one when its owner has the new one.

    \b
    Example:
      facetrove keys add keys.toml picture-desk --scope search
    """
    secret = add_key(file, name, scopes)
    if as_json:
        print_json({"name": name, "scopes": list(scopes), "key": secret})
        return
    click.echo(secret)
    click.echo(
        f"this is the key of {name} for {', '.join(scopes)}; it is not shown again", err=True
    )


@click.command("list")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def list_keys(file: Path, as_json: bool) -> None:
    """List names, scopes and times of the keys in FILE.

    \b
    Example:
      facetrove keys list keys.toml
    """
    found = read_keys(file)
    if as_json:
        rows = [{"name": k.name, "scopes": list(k.scopes), "created": k.created} for k in found]
        print_json({"keys": rows})
        return
    if not found:
        click.echo(f"{printable(str(file))} has no keys")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "scopes", "made (UTC)"):
        table.add_column(column, no_wrap=True)
    for key in found:
        made = key.created.partition("+")[0].replace("T", " ")
        table.add_row(key.name, ", ".join(key.scopes), made)
    print_table(table)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name")
@json_option
def remove(file: Path, name: str, as_json: bool) -> None:
    """Remove the key called NAME from FILE; a server that is running refuses it from then on.

    \b
    Example:
      facetrove keys remove keys.toml picture-desk
    """
    remove_key(file, name)
    if as_json:
        print_json({"removed": name})
    else:
        click.echo(f"removed the key of {name}")
