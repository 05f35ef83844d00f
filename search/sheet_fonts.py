"""Fonts of contact sheets, which show names in any script that this machine has a font for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageDraw, ImageFont

_FOLDERS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    *("C:/Windows/Fonts", "~/AppData/Local/Microsoft/Windows/Fonts"),
)
"""Folders in which systems keep fonts."""

_WIDE_FONTS = re.compile(
    r"(noto ?sans|noto ?serif|droidsansfallback|wqy|unifont|uming|ukai|ipag|takao|nanum|freesans"
    r"|arial ?uni|pingfang|hiragino|applesdgothic|malgun|msgothic|msyh|yugoth|nirmala|segoeui"
    r"|leelaw|kacst|lohit|gargi|tlwg|garuda|loma)",
    re.IGNORECASE,
)
"""Names of fonts for scripts that DejaVu Sans has not."""

_MAX_FONTS = 300
"""At most so many fonts are looked at."""

_NO_CHARACTER = "\U0010ffff"
"""A character that no font has: what is drawn for it is drawn for every missing one."""


def _dejavu() -> Path | None:
    """Return the path of DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, ..."""
    found = find_spec("matplotlib")  # which is not imported
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return path if path.is_file() else None


@lru_cache(maxsize=1)
def _wide_fonts() -> tuple[Path, ...]:
    """Return the paths of this machine's fonts for further scripts, the most general ones first."""
    found = []
    for folder in _FOLDERS:
        for base, _, names in os.walk(os.path.expanduser(folder)):  # noqa: PTH111
            found += [
                Path(base) / name
                for name in names
                if name.lower().endswith((".ttf", ".otf", ".ttc")) and _WIDE_FONTS.match(name)
            ]
    return tuple(sorted(found, key=lambda path: (len(path.name), path.name))[:_MAX_FONTS])


class SheetFont:
    """A font of one size that takes the characters that it lacks from other fonts.

    Args:
        size: size in pixels.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._of_character: dict[str, ImageFont.FreeTypeFont | ImageFont.ImageFont | None] = {}

    @cached_property
    def _first(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """The font that is tried first, opened when something is drawn."""
        path = _dejavu()
        return ImageFont.load_default(self._size) if path is None else _opened(path, self._size)

    def draw(
        self, draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, fill: str
    ) -> None:
        """Draw one line of text with its upper left corner at a place."""
        left, top = corner
        for font, run in self._runs(text):
            draw.text((left, top), run, font=font, fill=fill)
            left += font.getlength(run)

    def length(self, text: str) -> float:
        """Return the width of a line of text in pixels."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def shortened(self, text: str, width: int) -> str:
        """Return a text that is at most `width` pixels wide, with "…" in its middle where cut."""
        shown = "".join(c if c.isprintable() else "?" for c in text)
        half = len(shown) // 2
        if len(shown) > width:  # measuring takes time by the length; a character has some pixels
            half = width // 2
        cut = shown
        while half > 1 and (len(cut) > width or self.length(cut) > width):
            half -= 1
            cut = f"{shown[:half]}…{shown[-half:]}"
        return cut

    def _runs(
        self, text: str
    ) -> Iterator[tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, str]]:
        """Yield the parts of a text that are drawn in one font; "?" for what no font has."""
        run, last = "", self._first
        for character in text:
            font = self._font_of(character)
            shown, font = ("?", self._first) if font is None else (character, font)
            if font is not last and run:
                yield last, run
                run = ""
            run, last = run + shown, font
        if run:
            yield last, run

    def _font_of(self, character: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
        if character.isascii():
            return self._first
        if character not in self._of_character:
            self._of_character[character] = self._search(character)
        return self._of_character[character]

    def _search(self, character: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
        if _has(self._first, character):
            return self._first
        for path in _wide_fonts():
            font = _opened_if_usable(path, self._size)
            if font is not None and _has(font, character):
                return font
        return None


def _has(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, character: str) -> bool:
    return bytes(font.getmask(character)) != _missing(font)


@lru_cache(maxsize=2 * _MAX_FONTS)
def _missing(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> bytes:
    """Return what a font draws for a character that it does not have."""
    return bytes(font.getmask(_NO_CHARACTER))


def _opened(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@lru_cache(maxsize=2 * _MAX_FONTS)
def _opened_if_usable(path: Path, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return _opened(path, size)
    except OSError:  # no font that FreeType reads
        return None
