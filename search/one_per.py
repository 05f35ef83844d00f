"""One match for each photo or person: which faces, in the order of an answer, are the first ones.

A photo counts once, though it lies there in several sizes: as a thumbnail, or made smaller for the
web. The hash of its picture tells that (`faces.dataset.picture_hash`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.dataset.picture_hash import PackedHashes, packed_hashes, same_pictures
from indexer.faces_file import PICTURE_HASH
from indexer.people_columns import PERSON_ID
from indexer.snapshot import Snapshot

OnePer = Literal["photo", "person"]
GROUP_COLUMN = {"photo": "photo_id", "person": "person"}

BLOCK_FACES = 256
"""Faces that are looked at together."""

MAX_COMPARED = 4096
"""A picture is compared with this many pictures before it, so that the time for many faces is
bounded. Further copies of earlier ones are recognised only if they are the same file."""


def first_of_each(
    snapshot: Snapshot, positions: NDArray[np.int64], one_per: OnePer
) -> Iterator[int]:
    """Yield the numbers, ascending, of the faces that are the first of their photo or person.

    Args:
        snapshot: the version of the index that has the faces.
        positions: (n,) positions of faces, in the order of the answer.
        one_per: `photo` or `person`. A face without a person is always yielded.
    """
    seen: set[str | int] = set()
    by_number = one_per == "person" and snapshot.people is not None
    column = PERSON_ID if by_number else GROUP_COLUMN[one_per]
    pictures = packed_hashes([])
    for start in range(0, len(positions), BLOCK_FACES):
        some = positions[start : start + BLOCK_FACES]
        firsts = _unseen(snapshot.values(column, some), seen)
        if one_per == "photo":
            hashes = snapshot.values(PICTURE_HASH.name, some[firsts])
            firsts, new = _new_pictures(firsts, hashes, pictures)
            pictures = np.concatenate([pictures, new])[-MAX_COMPARED:]
        yield from (start + number for number in firsts)


def _unseen(groups: Sequence[str | int | None], seen: set[str | int]) -> list[int]:
    """Return the numbers of groups that are not in `seen`, each once, and add them to it."""
    firsts = []
    for number, group in enumerate(groups):
        if group is None or group not in seen:
            firsts.append(number)
        if group is not None:
            seen.add(group)
    return firsts


def _new_pictures(
    numbers: list[int], stored: Sequence[bytes | None], before: PackedHashes
) -> tuple[list[int], PackedHashes]:
    """Return the numbers of photos that show a picture for the first time, and their hashes.

    Args:
        numbers: numbers of n photos, in the order of the answer.
        stored: n hashes; None where there is none, so that the photo counts as a picture of its
            own.
        before: hashes of m earlier pictures.
    """
    hashed = [row for row, one in enumerate(stored) if one is not None]
    hashes = packed_hashes([one for one in stored if one is not None])
    is_known = np.asarray(same_pictures(hashes, before).any(axis=1))
    # Only rows that are the same as an earlier one of this block need a closer look, in order.
    same = np.tril(same_pictures(hashes, hashes), -1)
    for row in np.flatnonzero(same.any(axis=1)).tolist():
        is_known[row] |= (same[row] & ~is_known).any()
    copies = {hashed[row] for row in np.flatnonzero(is_known).tolist()}
    kept = [number for row, number in enumerate(numbers) if row not in copies]
    return kept, hashes[~is_known]
