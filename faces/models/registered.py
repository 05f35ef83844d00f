"""Descriptions of the user's own models in the cache, which are trusted if they are registered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from faces.core.machine import cache_dir
from faces.core.storage import Folder
from faces.models.register import register, registered_at

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Model = TypeVar("Model")


def remember(model: DataclassInstance, folder: str, cache_name: str) -> None:
    """Register a model and write its description to the cache, so that its TOML file is not needed.

    Args:
        model: the description, a dataclass that JSON can hold.
        folder: name of the cache's folder for models of its kind.
        cache_name: name of the description without its ending.

    Raises:
        ModelUnavailableError: the register cannot be written.
    """
    content = (json.dumps(asdict(model), indent=2) + "\n").encode()
    register(content, cache_name)
    path = models_dir(folder)
    path.mkdir(parents=True, exist_ok=True)
    with Folder(path).put(f"{cache_name}.json") as file:
        file.write(content)


def registered_models_of(folder: str, parsed: Callable[[bytes], Model]) -> list[tuple[int, Model]]:
    """List the registered models of one kind, the one registered last first.

    Args:
        folder, parsed: see `models_in_cache`.

    Returns:
        When each model was registered, in nanoseconds since 1970, and the model.
    """
    found = [
        (registered, model)
        for content, model in models_in_cache(folder, parsed)
        if (registered := registered_at(content)) is not None
    ]
    return sorted(found, key=lambda entry: -entry[0])


def models_in_cache(folder: str, parsed: Callable[[bytes], Model]) -> list[tuple[bytes, Model]]:
    """Read the models of one kind in the cache, registered or not.

    Args:
        folder: name of the cache's folder for models of that kind.
        parsed: function from the content of a description to the model; ValueError for any other.

    Returns:
        The content of each description, and the model.
    """
    found = []
    for path in sorted(models_dir(folder).glob("*.json")):
        try:
            content = path.read_bytes()
            found.append((content, parsed(content)))
        except (OSError, ValueError):
            continue  # written by another version of facetrove
    return found


def models_dir(folder: str) -> Path:
    """Return the path of one of the cache's folders of models."""
    return cache_dir() / folder
