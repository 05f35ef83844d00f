"""Options that several commands have, and a decorator that makes several options one argument."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar

import click

from faces.core.errors import WrongUsageError
from faces.photos.uris import is_unicode

CommandFunction = Callable[..., None]
Decorator = Callable[[CommandFunction], CommandFunction]


def gathered(into: str, make: Callable[..., object], *options: Decorator) -> Decorator:
    """Return a decorator that adds several options, and passes their values as one argument.

    Args:
        into: name of the command's argument.
        make: dataclass or function that makes the argument; its parameters have the options' names.
        options: decorators made by `click.option`, in the order of the help.
    """
    names = list(inspect.signature(make).parameters)

    def decorate(command: CommandFunction) -> CommandFunction:
        @wraps(command)
        def with_gathered(**arguments: Any) -> None:
            values = {name: arguments.pop(name) for name in names}
            command(**arguments, **{into: make(**values)})

        decorated: CommandFunction = with_gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def renamed_columns(
    context: click.Context, parameter: click.Parameter, pairs: Sequence[str]
) -> dict[str, str]:
    """Split pairs OLD=NEW of column names.

    Raises:
        click.BadParameter: a pair has no `=`, or one of its names is empty or no valid Unicode.
    """
    names = dict(pair.partition("=")[::2] for pair in pairs)
    if not all(old and new for old, new in names.items()):
        raise click.BadParameter("write it as OLD=NEW, the column's name and its new one")
    if not all(map(is_unicode, names.values())):
        raise click.BadParameter("the new name is no valid Unicode; choose another")
    return names


class Size(click.ParamType[int]):
    """A parameter type for numbers of bytes, written as 500000000, 500MB or 4GiB.

    MB is 10^6 bytes; MiB, and M alone, are 2^20.
    """

    name = "SIZE"
    units: ClassVar = {"": 1, "B": 1} | {
        prefix + unit: base ** (power + 1)
        for unit, base in (("B", 1000), ("iB", 1024), ("", 1024))
        for power, prefix in enumerate("KMGT")
    }

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number of bytes that a written size stands for."""
        match = re.fullmatch(r"([0-9.]+) ?([A-Za-z]*)", str(value))
        try:
            assert match is not None
            return int(float(match[1]) * self.units[match[2]])
        except (AssertionError, ValueError, KeyError):
            self.fail(f"{value!r} is not a size such as 500MB or 4GiB", param, ctx)


class Duration(click.ParamType[float]):
    """A parameter type for times of `min_seconds` or more, written as 90s, 15m, 6h or 1d."""

    name = "TIME"
    units: ClassVar = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    max_seconds: ClassVar = 30 * 86_400

    def __init__(self, min_seconds: float) -> None:
        self._min_seconds = min_seconds

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number of seconds that a written time stands for."""
        match = re.fullmatch(r"([0-9]{1,9}) ?([smhd])", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not a time such as 90s, 15m, 6h or 1d", param, ctx)
        seconds = int(match[1]) * self.units[match[2]]
        if not self._min_seconds <= seconds <= self.max_seconds:
            self.fail(f"{value!r} is not {self._min_seconds:g}s to 30d", param, ctx)
        return float(seconds)


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device to use; auto is a GPU where FAISS sees one, else the CPU.",
)
model_device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt", "coreml", "openvino"]),
    default="auto",
    show_default=True,
    help="Device that runs the models; auto is an NVIDIA GPU where ONNX Runtime sees one, else the "
    "CPU.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Number of worker processes on this machine.  [default: one per core, as memory allows]",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON document."
)


def require_answer(command: str, verb: str) -> None:
    """Require a terminal on which a question can be answered.

    Args:
        command: the command that asks, for the message.
        verb: what it does when it is told to, for the message.

    Raises:
        WrongUsageError: standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise WrongUsageError(
            f"{command} asks for confirmation, and standard input is no terminal to answer on; "
            f"give --yes to {verb} without confirmation"
        )
