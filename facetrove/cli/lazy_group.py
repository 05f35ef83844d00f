"""A click group that imports a command's module when that command is called.

After click's documentation, "Complex Applications", "Lazily Loading Subcommands". Beam, FAISS and
the networks' engines take seconds to import; `facetrove --help` needs none of them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem


class LazyCommand(NamedTuple):
    """A command that has not been imported.

    Attributes:
        place: the module in `facetrove.cli` and the command in it: `embed:embed`.
        short_help: the command's line in the group's help.
        quiet: whether libraries must be silenced before the module is imported.
    """

    place: str
    short_help: str
    quiet: bool = False


class LazyGroup(click.Group):
    """A group of commands whose modules are imported one by one, when a command is called.

    `commands` holds the names and short helps alone; `get_command` gives the real commands.
    """

    def __init__(self, *args: Any, lazy_commands: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy_commands = lazy_commands
        for name, lazy in lazy_commands.items():
            self.add_command(click.Command(name, short_help=lazy.short_help))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command; None if there is no such command."""
        lazy = self.lazy_commands.get(cmd_name)
        if lazy is None:
            return None
        if lazy.quiet:
            quiet_libraries()
        module, name = lazy.place.split(":")
        command = getattr(import_module(f"facetrove.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' short helps without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.lazy_commands[name].short_help) for name in self.list_commands(ctx)]
            )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without importing the commands."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        commands = [
            CompletionItem(name, help=self.lazy_commands[name].short_help) for name in names
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


def quiet_libraries() -> None:
    """Keep what Beam tells itself off the terminal; errors reach the user as exceptions.

    Call before Beam is imported.
    """
    logging.basicConfig(level=logging.CRITICAL)
    warnings.simplefilter("ignore")
