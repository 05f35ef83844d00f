"""Results of an evaluation as a JSON document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from facetrove.evaluation.metrics import ErrorCurve, Rate

HISTOGRAM_BINS = np.linspace(-1, 1, 201)
SCORES = ("mated", "non_mated")
"""Fields with a similarity for each comparison, of which a histogram is given."""


class JsonResult:
    """A dataclass that is the result of an evaluation."""

    def to_json(self) -> dict[str, Any]:
        """Give the result as a JSON object."""
        return dict(as_json(self))


def as_json(value: Any) -> Any:
    """Give dataclasses, arrays and rates as what JSON has; infinite and unknown numbers as null.

    A field's key is its name, or what its metadata has under `json`.
    """
    if isinstance(value, Rate):
        low, high = value.interval
        return {"value": as_json(value.value), "low": as_json(low), "high": as_json(high)}
    if isinstance(value, ErrorCurve):
        value = value.thinned()
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.metadata.get("json", field.name): _histogram(found)
            if field.name in SCORES and isinstance(found := getattr(value, field.name), np.ndarray)
            else as_json(getattr(value, field.name))
            for field in fields(value)
        }
    if isinstance(value, Mapping):
        return {
            f"{key:g}" if isinstance(key, float) else str(key): as_json(found)
            for key, found in value.items()
        }
    if isinstance(value, list | tuple | np.ndarray):
        return [as_json(found) for found in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _histogram(similarities: np.ndarray) -> dict[str, Any]:
    found = similarities[np.isfinite(similarities)]
    counts, _ = np.histogram(found, HISTOGRAM_BINS)
    return {
        "from": -1,
        "bin_width": 0.01,
        "counts": counts.tolist(),
        "num_not_found": len(similarities) - len(found),
    }
