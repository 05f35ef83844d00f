"""Everything public is documented: commands in their help and the docs, the API in docstrings.

The rules are those of the section "Sentences" of the project's style: a first line is a sentence,
every parameter is described, arrays have their shapes, and errors are listed.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Literal, NamedTuple

import click
import pytest

import facetrove as ft
from faces.core.errors import FaceTroveError
from facetrove import beam, demo_photos
from facetrove.cli.lazy_group import LazyGroup
from facetrove.cli.main import cli
from tests.support.command import ROOT

DOCUMENTS = [
    path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
]

ROOMS = ("faces", "indexer", "beam_jobs", "search", "facetrove")

HELP_SENTENCE = re.compile(r"[A-Z].*(\.|\[default: [^][]+\])", re.DOTALL)
"""A capital letter first, and last a full stop or the default in brackets."""

SHAPE = re.compile(r"\(\w+(, \w+)*,?\)")
"""The shape of an array: (n, d), (n,), (height, width, 3)."""

ARRAY_TYPES = re.compile(r"\b(NDArray|ArrayLike|Image)\b")
"""Annotations of arrays; `Image` is an alias of NDArray[np.uint8]."""


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        name: the words that run it, as `facetrove evaluate pairs`.
        command: its definition in click.
        short_help: its line in the help of its group; None: it is the outermost group.
    """

    name: str
    command: click.Command
    short_help: str | None


def commands(group: LazyGroup = cli, name: str = "facetrove") -> Iterator[Command]:
    """Yield a group's commands, and those of the groups in it, without hidden ones."""
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        if command.hidden:
            continue
        yield Command(f"{name} {word}", command, group.lazy_commands[word].short_help)
        if isinstance(command, LazyGroup):
            yield from commands(command, f"{name} {word}")


def options(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option) and not p.hidden]


COMMANDS = [Command("facetrove", cli, None), *commands()]
WITH_OPTIONS = [
    pytest.param(c, o, id=f"{c.name} {o.opts[0]}") for c in COMMANDS for o in options(c.command)
]
EACH_COMMAND = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


@EACH_COMMAND
def test_the_help_of_a_command_is_a_sentence(command: Command) -> None:
    summary = inspect.cleandoc(command.command.help or "").split("\n\n")[0]
    assert HELP_SENTENCE.fullmatch(summary), summary
    assert command.short_help is None or HELP_SENTENCE.fullmatch(command.short_help)


@EACH_COMMAND
def test_the_help_of_a_command_names_its_arguments(command: Command) -> None:
    for parameter in command.command.params:
        if isinstance(parameter, click.Argument):
            for name in re.findall(r"[A-Z][A-Z_]*", parameter.make_metavar(click.Context(cli))):
                assert re.search(rf"\b{name}\b", command.command.help or ""), name


@pytest.mark.parametrize(("command", "option"), WITH_OPTIONS)
def test_the_help_of_an_option_is_a_sentence(command: Command, option: click.Option) -> None:
    assert HELP_SENTENCE.fullmatch(option.help or ""), option.help


@EACH_COMMAND
def test_a_command_stands_in_the_documents(command: Command) -> None:
    assert stands_in_documents(command.name), f"neither README.md nor docs/ has {command.name}"


@pytest.mark.parametrize(("command", "option"), WITH_OPTIONS)
def test_an_option_stands_in_the_documents(command: Command, option: click.Option) -> None:
    names = [name for name in option.opts if name.startswith("--")] or option.opts
    assert any(map(stands_in_documents, names)), f"neither README.md nor docs/ has {names}"


def stands_in_documents(words: str) -> bool:
    """Whether words stand in a document, and are not part of a longer option or command."""
    pattern = re.compile(rf"(?<![\w-]){re.escape(words)}(?![\w-])")
    return any(map(pattern.search, DOCUMENTS))


class Documented(NamedTuple):
    """Something public that has a docstring.

    Attributes:
        name: how a user writes it, as `Dataset.open`.
        target: the function or class itself; of a property its getter.
        kind: what it is.
    """

    name: str
    target: Callable[..., Any]
    kind: Literal["class", "function", "method", "property"]

    @property
    def doc(self) -> str:
        """The docstring without its indentation; "" if there is none."""
        return inspect.cleandoc(self.target.__doc__ or "")

    def section(self, title: str) -> dict[str, str]:
        """Return the entries of a section of the docstring, such as Args, by name."""
        found = re.search(rf"^{title}:\n((?: +.*\n|\n)*)", self.doc + "\n", re.MULTILINE)
        entries = {}
        body = textwrap.dedent(found[1]) if found else ""
        for names, text in re.findall(
            r"^(\w[\w, ]*): ((?:.*\n|\n(?= ))(?: .*\n|\n(?= ))*)", body, re.M
        ):
            entries |= dict.fromkeys(names.split(", "), text)
        return entries

    def raises_itself(self) -> bool:
        """Whether its own code has a `raise` of a facetrove error."""
        tree = ast.parse(textwrap.dedent(inspect.getsource(self.target)))
        raised = {
            node.exc.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Call)
            and isinstance(node.exc.func, ast.Name)
        }
        return bool(raised & ERRORS)


def public_things() -> Iterator[Documented]:
    """Yield everything public: functions, classes, and their public methods and properties."""
    things = {name: getattr(ft, name) for name in ft.__all__ if name != "__version__"}
    things |= {f"beam.{name}": getattr(beam, name) for name in beam.__all__}
    things["demo_photos.fetch_demo_photos"] = demo_photos.fetch_demo_photos
    for name, thing in things.items():
        if isinstance(thing, type):
            yield Documented(name, thing, "class")
            yield from members(name, thing)
        else:  # a bound class method has the same docstring as its function
            yield Documented(name, getattr(thing, "__func__", thing), "function")


def members(name: str, cls: type) -> Iterator[Documented]:
    """Yield the public methods and properties that a class defines, or inherits from our rooms."""
    seen = set()
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] not in ROOMS:
            continue
        for attribute, value in vars(owner).items():
            if attribute.startswith("_") or attribute in seen:
                continue
            seen.add(attribute)
            if isinstance(value, property):
                yield Documented(f"{name}.{attribute}", value.fget, "property")
            elif isinstance(value, cached_property):
                yield Documented(f"{name}.{attribute}", value.func, "property")
            elif isinstance(value, classmethod | staticmethod):
                yield Documented(f"{name}.{attribute}", value.__func__, "method")
            elif inspect.isfunction(value):
                yield Documented(f"{name}.{attribute}", value, "method")


def error_names(error: type[FaceTroveError] = FaceTroveError) -> set[str]:
    return {error.__name__}.union(*map(error_names, error.__subclasses__()))


ERRORS = error_names()
THINGS = list(public_things())
FUNCTIONS = [thing for thing in THINGS if thing.kind in ("function", "method")]
CLASSES = [thing for thing in THINGS if thing.kind == "class"]
BY_NAME = {"ids": lambda thing: thing.name}


def parameters(function: Documented) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function by name, without self and cls."""
    found = inspect.signature(function.target).parameters
    return {name: found[name] for name in found if name not in ("self", "cls")}


@pytest.mark.parametrize("thing", THINGS, **BY_NAME)
def test_the_first_line_of_a_docstring_is_a_sentence(thing: Documented) -> None:
    first, *rest = thing.doc.splitlines() or [""]
    assert re.fullmatch(r"[A-Z`(].*[.]", first), first
    assert not rest or rest[0] == "", "an empty line follows the first sentence"


@pytest.mark.parametrize("function", FUNCTIONS, **BY_NAME)
def test_every_parameter_is_described(function: Documented) -> None:
    described = function.section("Args")
    assert [name for name in parameters(function) if name not in described] == []


@pytest.mark.parametrize("thing", THINGS, **BY_NAME)
def test_every_array_has_a_shape(thing: Documented) -> None:
    described = {**thing.section("Attributes"), **thing.section("Args"), "return": thing.doc}
    for name, annotation in inspect.get_annotations(thing.target).items():
        if not name.startswith("_") and ARRAY_TYPES.search(str(annotation)):
            assert SHAPE.search(described.get(name, "")), f"{name} has no shape"


@pytest.mark.parametrize("function", FUNCTIONS, **BY_NAME)
def test_errors_are_listed(function: Documented) -> None:
    """A method need not list errors if its own code raises none: it may only pass values on."""
    if function.kind == "method" and not function.raises_itself():
        return
    assert function.section("Raises").keys() & ERRORS, "there is no section Raises"


@pytest.mark.parametrize("cls", CLASSES, **BY_NAME)
def test_every_field_of_a_public_dataclass_is_described(cls: Documented) -> None:
    fields = getattr(cls.target, "__dataclass_fields__", {})
    described = {**cls.section("Attributes"), **cls.section("Args")}
    assert [name for name in fields if not name.startswith("_") and name not in described] == []
