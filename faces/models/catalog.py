"""Model cards: licence, accuracy, size and speed of every model, to choose one by.

Licences are those of the weights, as their publishers state them. Accuracies on LFW are the
published ones, except those that say "measured", which are facetrove's. File sizes are approximate
until the file is on this machine.
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
from faces.models.custom_models import CustomModel, registered_models
from faces.models.engines import ENGINES
from faces.models.heads import HeadModel, registered_heads
from faces.models.pipeline import FaceDetector, FaceEmbedder
from faces.models.published_classifiers import PUBLISHED_CLASSIFIERS
from faces.models.registry import load_detector, load_embedder
from faces.models.weights import prepared_path, recorded_milliseconds, smooth_images
from faces.photos.decoding import Photo

Commercial = Literal["yes", "no", "unclear"]
"""Whether a licence allows commercial use; unclear: ask a lawyer. It is unclear, whatever the
licence, where a network was trained on photos that were gathered for research: SFace on
CASIA-WebFace, VGGFace2 and MS-Celeb-1M, dlib's on FaceScrub and VGG's faces, OpenFace on
CASIA-WebFace and FaceScrub; YuNet, CenterFace, RetinaFace and MTCNN on WIDER FACE; both
classifiers of expressions on FER-2013."""


@dataclass(frozen=True)
class ModelCard:
    """A detector, embedder or classifier, with the facts to choose it by.

    Attributes:
        name: the model's name, as `facetrove embed --detector` and `--embedder`, or
            `facetrove measure --with` take it.
        kind: "detector", "embedder" or "classifier".
        dimension: number of dimensions of an embedding; None for other models.
        input: width, height and colour order of an embedder's crops, such as "112x112 RGB"; of a
            head the embedder whose embeddings it takes; "" for a detector or classifier.
        origin: where the weights come from.
        num_bytes: size of the weights in bytes; None where it is not known.
        licence: licence of the weights.
        commercial: whether that licence allows commercial use: "yes", "no", or "unclear".
        lfw: published accuracy on LFW's pairs, in [0, 1]; None where none is published.
        lfw_source: who published that accuracy.
        here: whether this machine has the weights, and the packages of a deepface detector.
        faces_per_second: an embedder's speed on one core of this machine, timed when it was
            prepared; None before that, and for other models.
    """

    name: str
    kind: Literal["detector", "embedder", "classifier"]
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
    "unclear",
    0.9936,
    "measured, on its development pairs",
)
_BUILT_IN = (
    replace(_SFACE, name="sface-int8", lfw=0.9941),
    _SFACE,
    replace(_SFACE, name="sface-int8-mirrored", lfw=None, lfw_source=""),
    ModelCard("yunet", "detector", None, "", _ZOO, 100_000, "MIT", "unclear"),
    ModelCard("yunet-refined", "detector", None, "", _ZOO, 100_000, "MIT", "unclear"),
)

_EMBEDDERS: tuple[tuple[str, int, str, Commercial, float | None, str], ...] = (
    ("ArcFace", 137, "MIT code; InsightFace's weights", "unclear", 0.9950, "deepface"),
    ("Buffalo_L", 174, "InsightFace: research only", "no", 0.9983, "InsightFace"),
    ("DeepFace", 551, "MIT code; trained on VGGFace2", "unclear", None, ""),
    ("DeepID", 2, "MIT", "unclear", None, ""),
    ("Dlib", 22, "public domain", "unclear", 0.9938, "dlib.net"),
    ("Facenet", 92, "MIT", "unclear", 0.9920, "davidsandberg/facenet"),
    ("Facenet512", 95, "MIT", "unclear", 0.9965, "davidsandberg/facenet"),
    ("GhostFaceNet", 17, "MIT", "unclear", 0.9976, "Alansari, IEEE Access 2023"),
    ("OpenFace", 15, "Apache-2.0", "unclear", 0.9292, "cmusatyalab/openface"),
    ("SFace", 39, "Apache-2.0", "unclear", 0.9940, "OpenCV Zoo"),
    ("VGG-Face", 580, "CC BY-NC 4.0", "no", None, ""),
)
"""deepface's embedders: name in deepface, megabytes, licence, commercial use, accuracy on LFW and
its source, with the alignment in `deepface_weights.RECOGNISERS`. None is published for the weights
of DeepFace, DeepID and VGG-Face as deepface has them: the accuracies of the papers by Taigman
(0.9735), Sun (0.9745) and Parkhi (0.9895) are of other weights, of a mean of many networks or
crops, or of crops made in 3D."""

_DETECTORS: tuple[tuple[str, str, Commercial], ...] = (
    ("centerface", "MIT", "unclear"),
    ("dlib", "Boost; landmarks public domain", "yes"),
    ("fastmtcnn", "MIT", "unclear"),
    ("mediapipe", "Apache-2.0", "yes"),
    ("mtcnn", "MIT", "unclear"),
    ("opencv", "Apache-2.0", "yes"),
    ("retinaface", "MIT", "unclear"),
    ("ssd", "BSD-3-Clause", "yes"),
    ("yolo", "AGPL-3.0", "unclear"),
    ("yunet", "MIT", "unclear"),
)
"""deepface's detectors: name in deepface, licence, commercial use. "yolo" stands for all versions
and sizes of YOLO."""


def list_models() -> list[ModelCard]:
    """List every model: the built-in ones, deepface's, and the custom models that are registered.

    Returns:
        A card for each model. Custom models and then heads come last, of each kind the one
        registered last first. deepface's models are listed even where deepface is not installed.

    Raises:
        ModelUnavailableError: every user of this machine may write in the register of networks.
    """
    known = (_built_in(), _deepface_embedders(), _deepface_detectors(), _classifiers())
    return [card for cards in (*known, _custom(), _heads()) for card in cards]


def check_model(name: str) -> tuple[ModelCard, dict[str, str]]:
    """Fetch and prepare one model, run it once, and return its card.

    Args:
        name: the model's name, or the path of a TOML file that describes a custom model.

    Returns:
        The model's card, and a dict of further facts: "digest" (of the weights), "runs on" (engine
        and device) and, for an embedder, "alignment" (its name).

    Raises:
        WrongUsageError: there is no model of that name, or the model cannot be run.
        ModelUnavailableError: the model's weights cannot be fetched.
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
            raise WrongUsageError(
                f"model {name} cannot be used as an embedder: {error}; choose another network"
            ) from error
        found = {"alignment": alignment.name}
    # Of custom models with one name, the last registered, which is listed first, is set last.
    cards = {card.name: card for card in reversed(list_models())}
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
    terms = {name: (licence, commercial) for name, licence, commercial in _DETECTORS}
    for name, parts in deepface_weights.DETECTORS.items():
        licence, commercial = terms["yolo" if name.startswith("yolo") else name]
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


def _classifiers() -> Iterator[ModelCard]:
    for model in PUBLISHED_CLASSIFIERS.values():
        path = model.stored_at()
        here = path.is_file()
        yield ModelCard(
            model.name,
            "classifier",
            None,
            "",
            model.origin,
            path.stat().st_size if here else model.num_bytes,
            model.licence,
            "unclear",
            here=here,
        )


def _custom() -> Iterator[ModelCard]:
    for model in registered_models():
        crops = f"{model.width}x{model.height} {'BGR' if model.bgr else 'RGB'}"
        yield _registered(model, crops, _faces_per_second(model.cache_name))


def _heads() -> Iterator[ModelCard]:
    for head in registered_heads():
        yield _registered(head, f"{head.base.embedder}'s embeddings", None)


def _registered(
    model: CustomModel | HeadModel, takes: str, faces_per_second: float | None
) -> ModelCard:
    """Return the card of a model of the user's own, and what it takes."""
    path = prepared_path(model.cache_name)
    return ModelCard(
        model.name,
        "embedder",
        model.dimension,
        takes,
        model.origin or model.network,
        path.stat().st_size if path.is_file() else None,
        model.licence or "not stated",
        "unclear",
        here=path.is_file(),
        faces_per_second=faces_per_second,
    )


def _faces_per_second(cache_name: str) -> float | None:
    """Compute the speed of the fastest CPU engine, as timed when the network was prepared.

    Returns:
        Faces per second on one core; None if the network was not prepared on this machine.
    """
    milliseconds = recorded_milliseconds(cache_name) or {}
    on_cpu = [taken for engine, taken in milliseconds.items() if engine in ENGINES]
    return round(1000 / min(on_cpu), 1) if on_cpu else None
