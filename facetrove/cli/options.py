"""Options that several commands have."""

from __future__ import annotations

import re
from typing import ClassVar

import click


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
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Worker processes on this machine.  [default: one per core]",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document, for machines."
)
