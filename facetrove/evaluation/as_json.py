"""Conversion of evaluation results to JSON documents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from facetrove.evaluation.metrics import ErrorCurve, Rate

HISTOGRAM_BINS = np.linspace(-1, 1, 201)
"""Edges of the histogram bins, as similarities."""

SCORES = ("mated", "non_mated")
"""Fields that hold one similarity per comparison or search. JSON has a histogram of each instead,
which stays short."""


class JsonResult:
    """The base of the dataclasses that hold the result of an evaluation."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object, one key per field; infinite and NaN become null."""
        return dict(as_json(self))


def as_json(value: Any) -> Any:
    """Convert dataclasses, arrays and rates to JSON values; infinite and NaN numbers become null.

    A dataclass becomes an object whose keys are the field names, or the names that the fields'
    metadata give under `json`.
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
    """Count similarities by bin, and apart those of -inf: nobody is in the candidate list."""
    finite = similarities[np.isfinite(similarities)]
    counts, _ = np.histogram(finite, HISTOGRAM_BINS)
    return {
        "from": -1,
        "bin_width": 0.01,
        "counts": counts.tolist(),
        "num_not_found": len(similarities) - len(finite),
    }
