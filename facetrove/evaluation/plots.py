"""Plots of report pages, as SVG documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, FAINT = "#1c1c1e", "#d2d2d7"
"""Colours of text and axes, and of grid lines."""

COLOURS = ("#0a5fb4", "#c8553d", "#2f8f5b", "#8b5fbf", "#b08900", "#5c6770")
"""Colours of curves, in order of use, which colour-blind people can tell apart."""

SIZE = 6.4, 4.2
"""Width and height of a plot in inches."""
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "facetrove",  # the same plot is the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Line:
    """A curve through points (x, y), with its name in the legend."""

    name: str
    x: NDArray[np.number] | Sequence[float]
    y: NDArray[np.number] | Sequence[float]


@dataclass(frozen=True)
class Axis:
    """An axis of a plot.

    Attributes:
        title: the text beside the axis.
        log: whether the scale is logarithmic.
        ends: the values at both ends; None fits an end to the data.
        ticks: labels of the values 0, 1, 2, ...; None for numbers.
    """

    title: str
    log: bool = False
    ends: tuple[float | None, float | None] = (None, None)
    ticks: Sequence[str] | None = None


def line_plot(
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    markers: bool = False,
    steps: bool = False,
) -> str:
    """Plot curves over one pair of axes, as an SVG document.

    Args:
        lines: the curves; with more than one there is a legend.
        x: the horizontal axis.
        y: the vertical axis.
        markers: whether to mark the points.
        steps: whether to draw steps instead of straight lines between points.
    """

    def draw(axes: Axes) -> None:
        for line, colour in zip(lines, COLOURS * len(lines), strict=False):
            axes.plot(
                line.x,
                line.y,
                label=line.name,
                color=colour,
                linewidth=1.8,
                marker="o" if markers else None,
                markersize=4,
                drawstyle="steps-post" if steps else "default",
            )
        _scale(axes, x, y)
        if len(lines) > 1:
            axes.legend(frameon=False)

    return _svg(draw)


def histogram_plot(
    mated: NDArray[np.floating],
    non_mated: NDArray[np.floating],
    *,
    names: tuple[str, str],
    threshold: float | None = None,
    threshold_name: str = "",
) -> str:
    """Plot the densities of mated and non-mated similarities, as an SVG document.

    Args:
        mated, non_mated: similarities; infinite ones are left out.
        names: names of both in the legend.
        threshold: similarity at which to draw a vertical line.
        threshold_name: name of that line in the legend.
    """

    def draw(axes: Axes) -> None:
        bins = np.linspace(-0.4, 1.0, 71)
        for values, name, colour in zip((mated, non_mated), names, COLOURS, strict=False):
            shown = np.clip(values[np.isfinite(values)], bins[0], bins[-1])
            if len(shown):
                axes.hist(shown, bins, density=True, alpha=0.55, label=name, color=colour)
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1, linestyle="--", label=threshold_name)
        _scale(axes, Axis("similarity", ends=(-0.4, 1)), Axis("density"))
        axes.legend(frameon=False)

    return _svg(draw)


def _scale(axes: Axes, x: Axis, y: Axis) -> None:
    for axis, name in ((x, "x"), (y, "y")):
        getattr(axes, f"set_{name}label")(axis.title)
        if axis.log:
            getattr(axes, f"set_{name}scale")("log")
        getattr(axes, f"set_{name}lim")(*axis.ends)
        if axis.ticks is not None:
            getattr(axes, f"set_{name}ticks")(range(len(axis.ticks)), labels=axis.ticks)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _svg(draw: Callable[[Axes], None]) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        draw(figure.add_subplot())
        text = StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    return text.getvalue()
