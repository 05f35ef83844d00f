"""Line charts drawn with OpenCV, which is installed anyway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 900, 560
"""Size of a chart in pixels."""

LEFT, RIGHT, TOP, BOTTOM = 90, 690, 40, 500
"""Edges of the plotted area in pixels."""

COLOURS = (
    *((160, 90, 20), (40, 40, 200), (50, 140, 40), (30, 140, 220), (150, 50, 150), (90, 90, 90)),
    *((170, 170, 40), (80, 60, 120)),
)


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Attributes:
        title: the text beside the axis.
        ticks: values with a grid line, ascending; the first and last are the ends of the axis.
        label: returns the text of a tick.
        scale: maps a value to a number that is linear on the chart, such as its logarithm.
    """

    title: str
    ticks: Sequence[float]
    label: Callable[[float], str]
    scale: Callable[[float], float]

    def share(self, value: float) -> float:
        """Return the position of a value along the axis, clipped to 0 to 1."""
        ends = self.scale(self.ticks[0]), self.scale(self.ticks[-1])
        position = (self.scale(value) - ends[0]) / (ends[1] - ends[0])
        return min(1.0, max(0.0, position))


@dataclass(frozen=True)
class Line:
    """A named line through points (x, y), in their order."""

    name: str
    points: Sequence[tuple[float, float]]


def logarithmic(title: str, values: Sequence[float]) -> Axis:
    """Make a logarithmic axis for values > 0, with ticks at 1, 2 and 5 times powers of ten."""
    low, high = min(values), max(values)
    ticks = [m * 10.0**e for e in range(-4, 11) for m in (1, 2, 5)]
    below = [tick for tick in ticks if tick <= low][-1]
    above = next(tick for tick in ticks if tick >= high and tick > below)
    within = [tick for tick in ticks if below <= tick <= above]
    return Axis(title, within, _count, lambda value: float(np.log10(value)))


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def recall_axis(title: str) -> Axis:
    """Make an axis for recall that is logarithmic in 1 - recall, the share that is missed."""
    missing = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
    ticks = [1 - share for share in missing]
    return Axis(title, ticks, lambda value: f"{value:g}", lambda v: -float(np.log10(1 - v + 1e-9)))


def draw(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> NDArray[np.uint8]:
    """Draw a chart of lines, a (560, 900, 3) uint8 BGR picture."""
    picture = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    for tick in x.ticks:
        at = _x(x, tick)
        cv2.line(picture, (at, TOP), (at, BOTTOM), (225, 225, 225), 1)
        width = cv2.getTextSize(x.label(tick), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
        _write(picture, x.label(tick), (at - width // 2, BOTTOM + 18))
    for tick in y.ticks:
        at = _y(y, tick)
        cv2.line(picture, (LEFT, at), (RIGHT, at), (225, 225, 225), 1)
        _write(picture, y.label(tick), (14, at + 4))
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [(_x(x, across), _y(y, up)) for across, up in line.points]
        cv2.polylines(picture, [np.array(points)], False, colour, 2, cv2.LINE_AA)
        for point in points:
            cv2.circle(picture, point, 4, colour, -1, cv2.LINE_AA)
        _write(picture, line.name, (RIGHT + 14, TOP + 12 + 18 * number), colour)
    _write(picture, f"{title}: {y.title} by {x.title}", (LEFT, 20))
    return picture


def save(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a BGR picture to a PNG file."""
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} cannot be written; name a .png in a folder that exists")


def _x(axis: Axis, value: float) -> int:
    return round(LEFT + axis.share(value) * (RIGHT - LEFT))


def _y(axis: Axis, value: float) -> int:
    return round(BOTTOM - axis.share(value) * (BOTTOM - TOP))


def _write(
    picture: NDArray[np.uint8],
    text: str,
    origin: tuple[int, int],
    colour: tuple[int, int, int] = (60, 60, 60),
) -> None:
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
