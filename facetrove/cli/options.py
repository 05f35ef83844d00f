"""Options that several commands have, and how options that travel together become one argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

import click

CommandFunction = Callable[..., None]
Decorator = Callable[[CommandFunction], CommandFunction]


def gathered(into: str, make: Callable[..., object], *options: Decorator) -> Decorator:
    """One decorator for options that travel together, and one argument for the command.

    Args:
        into: name of the command's argument.
        make: makes the argument from the options' values: a dataclass, or a function. Its
            parameters have the options' names.
        options: `click.option` of each, in the order of the help.
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


class Size(click.ParamType[int]):
    """A number of bytes: 500000000, 500MB, 4GiB."""

    name = "SIZE"
    units: ClassVar = {"": 1, "B": 1} | {
        prefix + unit: base ** (power + 1)
        for unit, base in (("B", 1000), ("iB", 1024), ("", 1024))
        for power, prefix in enumerate("KMGT")
    }

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The bytes of a size as it is written."""
        match = re.fullmatch(r"([0-9.]+) ?([A-Za-z]*)", str(value))
        try:
            assert match is not None
            return int(float(match[1]) * self.units[match[2]])
        except (AssertionError, ValueError, KeyError):
            self.fail(f"{value!r} is not a size such as 500MB or 4GiB", param, ctx)


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to do the work; auto: on a GPU where there is one.",
)
model_device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt", "coreml", "openvino"]),
    default="auto",
    show_default=True,
    help="Where the models run; auto: on an NVIDIA card where ONNX Runtime sees one.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Worker processes on this machine.  [default: one per core]",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document, for machines."
)
