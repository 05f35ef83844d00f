"""The process that draws the plots of `plots.PlotProcess`, and the only place of matplotlib.

It reads requests from stdin, a line of JSON each, and answers each with a line of JSON on stdout.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

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


def line_plot(
    *,
    lines: Sequence[Mapping[str, Any]],
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    markers: bool,
    steps: bool,
) -> str:
    """Draw what `plots.PlotProcess.line_plot` describes; axes and lines are its dataclasses."""

    def draw(axes: Axes) -> None:
        for line, colour in zip(lines, COLOURS * len(lines), strict=False):
            axes.plot(
                line["x"],
                line["y"],
                label=line["name"],
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
    *,
    bins: Sequence[float],
    densities: Sequence[Sequence[float] | None],
    names: Sequence[str],
    threshold: float | None,
    threshold_name: str,
) -> str:
    """Draw what `plots.PlotProcess.histogram_plot` describes.

    Args:
        bins: n + 1 edges of bins of similarities.
        densities: n densities each of mated and non-mated similarities; None: there are none.
        names: names of both in the legend.
        threshold: similarity at which to draw a vertical line.
        threshold_name: name of that line in the legend.
    """

    def draw(axes: Axes) -> None:
        for density, name, colour in zip(densities, names, COLOURS, strict=False):
            if density is not None:
                axes.hist(bins[:-1], bins, weights=density, alpha=0.55, label=name, color=colour)
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1, linestyle="--", label=threshold_name)
        similarity = {"title": "similarity", "log": False, "ends": (-0.4, 1), "ticks": None}
        density_axis = {"title": "density", "log": False, "ends": (None, None), "ticks": None}
        _scale(axes, similarity, density_axis)
        axes.legend(frameon=False)

    return _svg(draw)


def _scale(axes: Axes, x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
    for axis, name in ((x, "x"), (y, "y")):
        getattr(axes, f"set_{name}label")(axis["title"])
        if axis["log"]:
            getattr(axes, f"set_{name}scale")("log")
        getattr(axes, f"set_{name}lim")(*axis["ends"])
        if axis["ticks"] is not None:
            getattr(axes, f"set_{name}ticks")(range(len(axis["ticks"])), labels=axis["ticks"])
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


def main() -> None:
    """Answer requests until stdin ends."""
    drawing: dict[str, Callable[..., str]] = {
        "line_plot": line_plot,
        "histogram_plot": histogram_plot,
    }
    for request in sys.stdin:
        kind, arguments = json.loads(request)
        print(json.dumps(drawing[kind](**arguments)), flush=True)


if __name__ == "__main__":
    main()
