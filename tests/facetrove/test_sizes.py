"""Modules and functions stay small enough to be read at once; the few exceptions say why."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("faces", "indexer", "beam_jobs", "search", "facetrove")

MAX_MODULE_LINES, MAX_FUNCTION_LINES = 400, 60
MAX_EXCEPTIONS = 3
"""Maximum number of modules that are longer, and of functions."""


def test_modules_and_functions_are_short_or_say_why() -> None:
    long_modules, long_functions = [], []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            lines = path.read_text().splitlines()
            if len(lines) > MAX_MODULE_LINES:
                long_modules.append(path)
                assert any(line.startswith("# Over 400 lines") for line in lines), path
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES:
                    long_functions.append(f"{path}: {node.name}")
                    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                    assert lines[first - 2].startswith("# Over 60 lines"), (path, node.name)
    assert len(long_modules) <= MAX_EXCEPTIONS, long_modules
    assert len(long_functions) <= MAX_EXCEPTIONS, long_functions
