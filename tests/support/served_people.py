"""A service of a dataset whose faces are grouped by person, and how tests ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from indexer.build import build_index
from tests.support.people import album, face_id, group

PHOTOS = [
    *(("Ann Lee", [0]) for _ in range(4)),
    *((None, [0, 1]) for _ in range(3)),
    *((None, [1, 2, 3]) for _ in range(2)),
    *((None, [4]) for _ in range(3)),
    (None, [5, 6]),
]
"""Person n + 1 is identity n. Ann is person 1, alone in photos 0 to 3, and first of 4 to 6."""

ANN = [face_id(photo) for photo in range(7)]


def grouped_album(folder: Path) -> Path:
    """Make a dataset with its index `d.index` beside it, whose faces are grouped."""
    dataset = album(folder / "d.dataset", PHOTOS)
    build_index(dataset, folder / "d.index")
    people = {
        face_id(photo, place): who + 1
        for photo, (_, faces) in enumerate(PHOTOS)
        for place, who in enumerate(faces)
        if who < 6
    }
    group(dataset, people, dict.fromkeys(ANN[:4], "Ann Lee"))
    return dataset


def posted(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def got(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
