"""Plots of report pages, as SVG documents that a child process draws by matplotlib.

matplotlib obeys a file `matplotlibrc` of the current folder, which may be a stranger's, and makes
folders at home. So it is loaded only in a child process, `plot_process`, which runs in a folder of
the program's and keeps its list of fonts in the program's cache. A host program that has loaded
matplotlib with settings of its own gets the same plots.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from faces.core.child_process import child_environment, python_command
from faces.core.environment import folders_of_libraries
from faces.core.errors import FaceTroveError

_BINS = np.linspace(-0.4, 1.0, 71)
"""Edges of a histogram's bins, which are similarities."""

_ERRORS_FILE = "errors.txt"


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


class PlotProcess:
    """A child process that draws plots; a context manager, which ends it."""

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="facetrove-")
        self._errors_path = Path(self._folder.name, _ERRORS_FILE)
        environment = child_environment() | folders_of_libraries()
        environment.pop("MATPLOTLIBRC", None)
        with self._errors_path.open("w") as errors:
            self._process = subprocess.Popen(
                python_command("facetrove.evaluation.plot_process"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self._folder.name,
                env=environment,
                encoding="utf-8",
            )
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def line_plot(
        self,
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

        Raises:
            FaceTroveError: the plot cannot be drawn.
        """
        curves = [
            {"name": line.name, "x": np.asarray(line.x).tolist(), "y": np.asarray(line.y).tolist()}
            for line in lines
        ]
        return self._drawn(
            "line_plot", lines=curves, x=asdict(x), y=asdict(y), markers=markers, steps=steps
        )

    def histogram_plot(
        self,
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

        Raises:
            FaceTroveError: the plot cannot be drawn.
        """
        densities = []
        for values in (mated, non_mated):
            shown = np.clip(values[np.isfinite(values)], _BINS[0], _BINS[-1])
            density = np.histogram(shown, _BINS, density=True)[0] if len(shown) else None
            densities.append(None if density is None else density.tolist())
        return self._drawn(
            "histogram_plot",
            bins=_BINS.tolist(),
            densities=densities,
            names=names,
            threshold=None if threshold is None else float(threshold),
            threshold_name=threshold_name,
        )

    def _drawn(self, kind: str, **arguments: Any) -> str:
        """Have a function of `plot_process` called, and return what it returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps([kind, arguments]), file=self._process.stdin, flush=True)
            return str(json.loads(self._process.stdout.readline()))
        except (OSError, ValueError) as error:  # the process has ended
            said = self._errors_path.read_text(errors="replace").strip().splitlines()
            raise FaceTroveError(
                f"matplotlib cannot draw the plots of the report ({(said or ['no message'])[-1]}); "
                "run the command without --report"
            ) from error
