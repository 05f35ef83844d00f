"""A click group that imports a command's module when that command is called.

The pattern is that of click's documentation, "Complex Applications", "Lazily Loading Subcommands".
Beam, FAISS and the inference engines take seconds to import; `facetrove --help` needs none of them.
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
    """A command whose module has not been imported.

    Attributes:
        target: module in `facetrove.cli` and the command's name in it, as `embed:embed`.
        short_help: one line about the command for the group's help.
        quiet: whether to silence the libraries that the module imports, of which Beam logs a lot.
    """

    target: str
    short_help: str
    quiet: bool = False


class LazyGroup(click.Group):
    """A group of commands that imports a command's module when that command is called.

    `commands` holds placeholders with the names and short helps; `get_command` returns the real
    commands.

    Attributes:
        lazy_commands: the commands by name.
    """

    def __init__(self, *args: Any, lazy_commands: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy_commands = lazy_commands
        for name, lazy in lazy_commands.items():
            self.add_command(click.Command(name, short_help=lazy.short_help))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module, and return the command or None if there is no such command."""
        lazy = self.lazy_commands.get(cmd_name)
        if lazy is None:
            return None
        if lazy.quiet:
            quiet_libraries()
        module, name = lazy.target.split(":")
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
    """Keep log messages and warnings of libraries off the terminal; call before importing Beam.

    Errors still reach the user, as exceptions.
    """
    logging.basicConfig(level=logging.CRITICAL)
    warnings.simplefilter("ignore")
