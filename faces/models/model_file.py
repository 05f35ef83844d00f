"""The TOML files that describe custom models, parsed key by key."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from faces.core.errors import WrongUsageError, first_line

MAX_PIXELS = 4096
"""Maximum width and height of a crop, in pixels. Embedders take far less, so a larger value in a
TOML file is a mistake."""

NUM_LANDMARKS = 5

KEYS = (
    *("name", "network", "colour", "range", "mean", "std", "alignment", "input_size"),
    *("output", "flip_averaging", "licence", "origin"),
)
"""Keys that the TOML file of a network for crops may have."""

HEAD_KEYS = (
    "base",
    "base_digest",
    "base_alignment",
    *("name", "network", "output"),
    "licence",
    "origin",
)
"""Keys that the TOML file of a head may have; see `faces.models.heads`."""

OLD_STD = "deviation"
"""The key `std` as older TOML files, which stay valid, and the digests name it."""


class ModelFile:
    """A parsed TOML file, whose keys are taken out one by one.

    Every method that reads a key raises a `WrongUsageError` with the file, the key, and what was
    expected of its value.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._unread: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WrongUsageError(f"there is no model file {path}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise WrongUsageError(
                f"{path} is not a valid TOML file ({first_line(error)}); see docs/models.md"
            ) from error
        if OLD_STD in self._unread:
            if "std" in self._unread:
                self.fail("std", f"{OLD_STD} is the older name of the same key; give only std")
            self._unread["std"] = self._unread.pop(OLD_STD)

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise the WrongUsageError of a key."""
        raise WrongUsageError(f"{self._path}, {key}: {problem}")

    def text(self, key: str, default: str | None = None) -> str:
        """Take a text out of the file; None as default: the key must be given."""
        value = self._unread.pop(key, default)
        if not isinstance(value, str):
            self.fail(key, f"it must be given, as text in quotes; it is {value!r}")
        return value

    def beside(self, key: str) -> Path:
        """Take the name of a file beside this one out of the file, as an absolute path."""
        path = (self._path.parent / self.text(key)).absolute()
        if not path.is_file():
            self.fail(key, f"there is no file {path}")
        return path

    def has(self, key: str) -> bool:
        """Tell whether the file has a key that was not taken out."""
        return key in self._unread

    def flag(self, key: str) -> bool:
        """Take true or false out of the file; false if the key is missing."""
        value = self._unread.pop(key, False)
        if not isinstance(value, bool):
            self.fail(key, f"it must be true or false, not {value!r}")
        return value

    def numbers(self, key: str, count: int, default: tuple[float, ...]) -> tuple[float, ...]:
        """Take a list of `count` finite numbers out of the file."""
        value = self._unread.pop(key, list(default))
        if not _are_numbers(value, count):
            self.fail(key, f"it must be {count} numbers, such as {list(default)}, not {value!r}")
        return tuple(map(float, value))

    def colour(self) -> str:
        """Take the order of the colours out of the file: "rgb" or "bgr"."""
        value = self.text("colour", "rgb")
        if value not in ("rgb", "bgr"):
            self.fail("colour", f'it must be "rgb" or "bgr", not {value!r}')
        return value

    def input_size(self, graph_size: tuple[int | None, ...]) -> tuple[int, int]:
        """Take the size of the crops out of the file.

        Args:
            graph_size: width and height of the graph's input in pixels; None for a dynamic one.

        Returns:
            Width and height in pixels.
        """
        size = self._unread.pop("input_size", None)
        if size is None:
            if None in graph_size:
                self.fail("input_size", "the graph takes any size; give one, such as [112, 112]")
            size = list(graph_size)
        if not _are_numbers(size, 2) or any(
            not 8 <= side <= MAX_PIXELS or side != int(side) for side in size
        ):
            self.fail(
                "input_size",
                f"it must be [width, height], whole pixels from 8 to {MAX_PIXELS}, not {size!r}",
            )
        width, height = map(int, size)
        if any(fixed not in (None, side) for fixed, side in zip(graph_size, size, strict=True)):
            self.fail("input_size", f"{size} is not the graph's, which is {list(graph_size)}")
        return width, height

    def points(self, width: int, height: int) -> tuple[tuple[float, float], ...] | None:
        """Take the landmarks of the alignment out of the file.

        Args:
            width, height: size of the crops in pixels.

        Returns:
            Five (x, y) in pixels of the crop; None: ArcFace's template.
        """
        value = self._unread.pop("alignment", "arcface")
        if value == "arcface":
            if width != height:
                self.fail(
                    "alignment",
                    f'"arcface" is for square crops, not {width}x{height}; give five points',
                )
            return None
        if (
            not isinstance(value, list)
            or len(value) != NUM_LANDMARKS
            or not all(_are_numbers(point, 2) for point in value)
            or not all(0 <= x <= width and 0 <= y <= height for x, y in value)
        ):
            self.fail(
                "alignment",
                'it must be "arcface" or five points [x, y] in pixels of the crop (left eye, right '
                f"eye, nose, left and right mouth corner, as seen in the image), not {value!r}",
            )
        return tuple((float(x), float(y)) for x, y in value)

    def require_nothing_else(self, keys: Sequence[str] = KEYS) -> None:
        """Refuse a key that nothing has taken out; `keys` are those that the file may have."""
        if self._unread:
            self.fail(
                next(iter(self._unread)), f"there is no such key; the keys are {', '.join(keys)}"
            )


def _are_numbers(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
        and all(map(math.isfinite, value))
    )
