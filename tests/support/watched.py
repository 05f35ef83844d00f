"""Indexes whose calibration is chosen, and photos of people who come into them later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from faces.core.vectors import unit_length
from indexer.build import build_index
from indexer.calibration import publish_calibration
from indexer.manifest import read_current
from indexer.thresholds import Calibration
from tests.support.service import eventually
from tests.support.small_collections import DIMENSION, Collection, Photo
from tests.support.vectors import unit_vectors

FPIR = 0.01


@dataclass(frozen=True)
class Twin(Photo):
    """A photo of another content, whose faces look nearly as those of the content `like`."""

    like: int = 0

    @property
    def vectors(self) -> np.ndarray:
        found = unit_vectors(self.num_faces, DIMENSION, seed=self.like)
        other = unit_vectors(self.num_faces, DIMENSION, seed=self.content)
        return unit_length(found + 0.001 * other)


def calibrate(index: Path) -> None:
    """Give an index a calibration by which only faces that look alike match at `FPIR`."""
    manifest = read_current(index)
    found = Calibration(
        "people", manifest.num_faces, 1_000, 10_000, (0.98, 0.9999), (0.5, 0.0001), "2026-01-01"
    )
    publish_calibration(index, found, measured_on=manifest)


def arrive(collection: Collection, index: Path, **photos: Photo) -> None:
    """Add photos to a dataset and its index, by names in place of addresses."""
    collection.embed({f"/new/{name}.jpg": photo for name, photo in photos.items()})
    build_index(collection.path, index)


def add_watch(client: httpx.Client, *, fpir: float = FPIR, **body: Any) -> str:
    """Make a watch, and return its id."""
    answer = client.post("/v1/watches", params={"fpir": fpir}, json=body)
    assert answer.status_code == 201, answer.text
    watch_id: str = answer.json()["watch_id"]
    return watch_id


def watch_of(client: httpx.Client, like: int, **body: Any) -> str:
    """Make a watch by the embedding of the first face of a content, and return its id."""
    return add_watch(client, embeddings=unit_vectors(1, DIMENSION, seed=like).tolist(), **body)


def matches_of(client: httpx.Client, watch_id: str, after: int = 0) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/watches/{watch_id}/matches", params={"after": after})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["matches"]
    return found


def faces_of(client: httpx.Client, watch_id: str) -> list[str]:
    return [match["face_id"] for match in matches_of(client, watch_id)]


def wait_for_version(client: httpx.Client, index: Path) -> None:
    """Wait until the newest version of an index has been compared with the watches.

    A further watch waits for the look at the version that the server has open.
    """
    version = read_current(index).version

    def is_open() -> bool:
        return bool(client.post("/v1/index/refresh").json()["version"] == version)

    eventually(is_open)
    watch_id = watch_of(client, 999_999)
    client.delete(f"/v1/watches/{watch_id}")
