"""What there is to know of each model before it is chosen, and whether it is on this machine.

Licences are those of the weights as their publishers state them, and accuracies on LFW what they
publish; "measured" ones are ours. Sizes of files that are not here are approximate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from faces.core.errors import WrongUsageError
from faces.core.vectors import unit_length
from faces.models import deepface_weights
from faces.models.choice import DEEPFACE, ModelChoice
from faces.models.custom_models import remembered_models
from faces.models.engines import ENGINES
from faces.models.pipeline import FaceDetector, FaceEmbedder
from faces.models.registry import load_detector, load_embedder
from faces.models.weights import prepared_path, recorded_milliseconds, smooth_images
from faces.photos.decoding import Photo

Commercial = Literal["yes", "no", "unclear"]


@dataclass(frozen=True)
class ModelCard:
    """One model.

    Attributes:
        name: as `facetrove embed` takes it.
        kind: detector or embedder.
        dimension: numbers in an embedding; None for a detector.
        input: its crops' width, height and colour order; of a detector, what it does with photos.
        origin: where the weights come from.
        num_bytes: of the weights; None where it is not known.
        licence: of the weights.
        commercial: whether that allows commercial use; unclear: ask a lawyer.
        lfw: accuracy on LFW's pairs, as published; None where nobody did.
        lfw_source: who says so.
        here: whether the weights are on this machine.
        faces_per_second: measured on this machine, on one core, once it was prepared here.
    """

    name: str
    kind: Literal["detector", "embedder"]
    dimension: int | None
    input: str
    origin: str
    num_bytes: int | None
    licence: str
    commercial: Commercial
    lfw: float | None = None
    lfw_source: str = ""
    here: bool = False
    faces_per_second: float | None = None


_ZOO = "OpenCV Zoo; in a wheel on PyPI"
_DEEPFACE = "fetched by deepface"
_PACKAGE = "comes with a package"

_SFACE = ModelCard(
    "sface",
    "embedder",
    128,
    "112x112 RGB",
    _ZOO,
    11_000_000,
    "Apache-2.0",
    "yes",
    0.9936,
    "measured, on its development pairs",
)
_BUILT_IN = (
    replace(_SFACE, name="sface-int8", lfw=0.9941),
    _SFACE,
    ModelCard("yunet", "detector", None, "", _ZOO, 100_000, "MIT", "yes"),
)

_EMBEDDERS: tuple[tuple[str, int, str, Commercial, float | None, str], ...] = (
    ("ArcFace", 137, "MIT code; InsightFace's weights", "unclear", 0.9950, "deepface"),
    ("Buffalo_L", 174, "InsightFace: research only", "no", 0.9983, "InsightFace"),
    ("DeepFace", 551, "MIT code; trained on VGGFace2", "unclear", 0.9735, "Taigman, CVPR 2014"),
    ("DeepID", 2, "MIT", "unclear", 0.9745, "Sun, CVPR 2014"),
    ("Dlib", 22, "public domain", "yes", 0.9938, "dlib.net"),
    ("Facenet", 92, "MIT", "unclear", 0.9920, "davidsandberg/facenet"),
    ("Facenet512", 95, "MIT", "unclear", 0.9965, "davidsandberg/facenet"),
    ("GhostFaceNet", 17, "MIT", "unclear", 0.9976, "Alansari, IEEE Access 2023"),
    ("OpenFace", 15, "Apache-2.0", "yes", 0.9292, "cmusatyalab/openface"),
    ("SFace", 39, "Apache-2.0", "yes", 0.9940, "OpenCV Zoo"),
    ("VGG-Face", 580, "CC BY-NC 4.0", "no", 0.9895, "Parkhi, BMVC 2015"),
)
"""deepface's name, millions of bytes, licence, commercial use, LFW and its source. Of networks
trained on photos that were gathered for research alone, commercial use is unclear whatever the
licence."""

_DETECTORS: tuple[tuple[str, str, Commercial], ...] = (
    ("centerface", "MIT", "yes"),
    ("dlib", "Boost; landmarks public domain", "yes"),
    ("fastmtcnn", "MIT", "yes"),
    ("mediapipe", "Apache-2.0", "yes"),
    ("mtcnn", "MIT", "yes"),
    ("opencv", "Apache-2.0", "yes"),
    ("retinaface", "MIT", "unclear"),
    ("ssd", "BSD-3-Clause", "yes"),
    ("yolo", "AGPL-3.0", "unclear"),
    ("yunet", "MIT", "yes"),
)


def list_models() -> list[ModelCard]:
    """Every model there is: built in, deepface's, and those of one's own used on this machine."""
    return [*_built_in(), *_deepface_embedders(), *_deepface_detectors(), *_own()]


def check_model(name: str) -> tuple[ModelCard, dict[str, str]]:
    """Fetch and prepare one model, run it once, and say what it is.

    Args:
        name: of a model, or the path of a file that describes one.

    Returns:
        Its card, and by name: its digest, what it runs on, and how its crops are made.

    Raises:
        WrongUsageError: there is none of that name, or it cannot be run.
        ModelUnavailableError: its weights cannot be had.
    """
    cards = {card.name: card for card in list_models()}
    model: FaceDetector | FaceEmbedder
    if name in cards and cards[name].kind == "detector":
        model = load_detector(ModelChoice(detector=name), threads=1)
        model.detect([Photo(np.zeros((64, 64, 3), np.uint8))])
        found = {}
    else:
        model = load_embedder(ModelChoice(embedder=name), threads=1)
        alignment = model.alignment
        vectors = model.embed(smooth_images(2, alignment.height, alignment.width))
        try:
            unit_length(vectors)
        except ValueError as error:
            raise WrongUsageError(f"model {name} cannot be used: {error}") from error
        found = {"alignment": alignment.name}
    cards = {card.name: card for card in reversed(list_models())}  # of own models the newest
    found |= {"digest": model.weights_digest, "runs on": model.runs_on}
    return cards[model.name], found


def _built_in() -> Iterator[ModelCard]:
    for card in _BUILT_IN:
        speed = _faces_per_second(card.name) if card.kind == "embedder" else None
        here = recorded_milliseconds(card.name) is not None
        yield replace(card, here=here, faces_per_second=speed)


def _deepface_embedders() -> Iterator[ModelCard]:
    for name, megabytes, licence, commercial, lfw, source in _EMBEDDERS:
        recogniser = deepface_weights.RECOGNISERS[name]
        colours = "BGR" if dict(recogniser.settings).get("bgr") else "RGB"
        path = deepface_weights.weights_folder() / recogniser.file
        yield ModelCard(
            DEEPFACE + name,
            "embedder",
            recogniser.dimension,
            f"{recogniser.width}x{recogniser.height} {colours}",
            _DEEPFACE,
            path.stat().st_size if path.is_file() else megabytes * 1_000_000,
            licence,
            commercial,
            lfw,
            source,
            here=path.is_file(),
            faces_per_second=_faces_per_second(f"deepface-{name}"),
        )


def _deepface_detectors() -> Iterator[ModelCard]:
    known = {name: (licence, commercial) for name, licence, commercial in _DETECTORS}
    for name, parts in deepface_weights.DETECTORS.items():
        licence, commercial = known["yolo" if name.startswith("yolo") else name]
        files = [deepface_weights.weights_folder() / file for file in parts.files]
        found = [path for path in files if path.is_file()]
        yield ModelCard(
            DEEPFACE + name,
            "detector",
            None,
            "",
            _DEEPFACE if files else _PACKAGE,
            sum(path.stat().st_size for path in found) if found else None,
            licence,
            commercial,
            here=deepface_weights.detector_is_here(name),
        )


def _own() -> Iterator[ModelCard]:
    for model in remembered_models():
        path = prepared_path(model.cache_name)
        yield ModelCard(
            model.name,
            "embedder",
            model.dimension,
            f"{model.width}x{model.height} {'BGR' if model.bgr else 'RGB'}",
            model.origin or model.network,
            path.stat().st_size if path.is_file() else None,
            model.licence or "not said",
            "unclear",
            here=path.is_file(),
            faces_per_second=_faces_per_second(model.cache_name),
        )


def _faces_per_second(cache_name: str) -> float | None:
    """Of the fastest engine, as it was timed when the network was prepared."""
    milliseconds = recorded_milliseconds(cache_name) or {}
    here = [taken for engine, taken in milliseconds.items() if engine in ENGINES]
    return round(1000 / min(here), 1) if here else None
