"""`facetrove keys`: the group of commands for the keys of the HTTP service."""

from __future__ import annotations

import click

from facetrove.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "add": LazyCommand("keys_commands:add", "Make a key, and print it once."),
    "list": LazyCommand("keys_commands:list_keys", "List the keys of a file."),
    "remove": LazyCommand("keys_commands:remove", "Remove a key from a file."),
}
"""The commands of the group by name."""


@click.group(cls=LazyGroup, lazy_commands=COMMANDS)
def keys() -> None:
    """Add, list or remove keys of `facetrove serve`.

    The file has the hash of each key, never the key. A server that is running reads it again when
    it changes.
    """
